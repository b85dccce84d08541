//! Devices that went away under the driver are opened again.
//!
//! Purpose   an underlay device that is made anew, by a network manager or a
//!           module that is loaded again, has another number, often another
//!           address, and peers that know nothing of us. The socket of the old
//!           one never wakes up.
//!
//! Flow      every [`PERIOD`]: Registry::make_lost_taps, and for each link of
//!           Registry::links_to_open: the underlay without it, then as it was
//!
//! Rules     G1  the engine closes and opens a link itself, by the commands
//!               that an operator would give: so it learns the address, checks
//!               the MTU, finds the neighbours and tells the switches anew.
//!           G2  what was left out is put back, unless somebody else changed the
//!               underlay meanwhile: then it is theirs.

use super::{Control, Parts};
use anyhow::Context;
use opte_core::api::{Command, ConfigError, LinkSpec, Response, UnderlaySpec};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// How often devices are looked after.
const PERIOD: Duration = Duration::from_secs(1);

/// An underlay on its way to what it was.
#[derive(Debug)]
pub(super) struct Unfinished {
    link: String,
    without: UnderlaySpec,
    whole: UnderlaySpec,
}

/// Looks after devices on a thread of its own, until the process ends.
pub(crate) fn look_after(control: Arc<Control>) -> anyhow::Result<()> {
    thread::Builder::new()
        .name("devices".into())
        .spawn(move || {
            loop {
                thread::sleep(PERIOD);
                control.look_after();
            }
        })
        .context("cannot start a thread")?;
    Ok(())
}

impl Control {
    /// Opens again what went away and is there again.
    fn look_after(&self) {
        let parts = &mut *self.parts.lock();
        parts.registry.make_lost_taps();
        self.finish(parts);
        for link in parts.registry.links_to_open() {
            if parts.unfinished.is_some() {
                break;
            }
            if let Err(error) = self.renew(parts, &link) {
                tracing::warn!(link, %error, "the link's device is back and can't be opened");
            }
        }
    }

    /// Takes a link out of the underlay and puts it in again.
    fn renew(&self, parts: &mut Parts, link: &str) -> Result<(), ConfigError> {
        let Some(whole) = self.underlay(parts)? else {
            return Ok(());
        };
        let mut without = whole.clone();
        without.links.retain(|other| other.name != link);
        without.routes.retain(|route| route.link != link);
        self.carry_out(parts, Command::SetUnderlay(without.clone()))?;
        parts.unfinished = Some(Unfinished {
            link: link.into(),
            without,
            whole,
        });
        self.finish(parts);
        Ok(())
    }

    /// Puts in again what was taken out (G2).
    fn finish(&self, parts: &mut Parts) {
        let Some(unfinished) = parts.unfinished.take() else {
            return;
        };
        let now = self.underlay(parts);
        if !now.is_ok_and(|now| now.as_ref() == Some(&unfinished.without)) {
            return;
        }
        let link = &unfinished.link;
        match self.carry_out(parts, Command::SetUnderlay(unfinished.whole.clone())) {
            Ok(_) => tracing::info!(link, "the link is back"),
            Err(error) => {
                tracing::debug!(link, %error, "the link can't be opened again yet");
                parts.unfinished = Some(unfinished);
            }
        }
    }

    /// The underlay as it was set.
    fn underlay(&self, parts: &mut Parts) -> Result<Option<UnderlaySpec>, ConfigError> {
        let Response::Underlay(entry) = self.carry_out(parts, Command::ShowUnderlay)? else {
            return Ok(None);
        };
        let Some(address) = entry.address else {
            return Ok(None);
        };
        let mut routes = Vec::new();
        let mut from = Some(0);
        while let Some(cursor) = from {
            let page = self.carry_out(parts, Command::DumpUnderlayRoutes(cursor))?;
            let Response::UnderlayRoutes(page) = page else {
                return Ok(None);
            };
            routes.extend(page.entries);
            from = page.next;
        }
        let links = entry.links.into_iter().map(|link| LinkSpec {
            name: link.name,
            mtu: link.mtu,
        });
        Ok(Some(UnderlaySpec {
            address,
            links: links.collect(),
            routes,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::device::{Poll, Registry, Shared, Source};
    use crate::engine::Engine;
    use crate::sys::probe::Probes;
    use crate::sys::tests::{Cable, inside, taken};
    use opte_core::api::Setup;
    use opte_core::host::HostConfig;
    use opte_core::verdict::LinkId;
    use std::collections::BTreeMap;

    const SETUP: &str = r#"
        [underlay]
        address = "fd00::1"
        link = [{ name = "net0", mtu = 1500 }, { name = "net1", mtu = 1500 }]
        route = [
            { dest = "fd00::/16", via = "fe80::99", link = "net1" },
            { dest = "fd00::/16", via = "fe80::99", link = "net0" },
            { dest = "fd01::/16", via = "fe80::99", link = "net1" },
        ]
    "#;

    #[test]
    fn a_link_whose_device_is_made_anew_is_opened_again() {
        if !inside("control::lost::tests::a_link_whose_device_is_made_anew_is_opened_again") {
            return;
        }
        let (one, _two) = (Cable::new("net0"), Cable::new("net1"));
        let config = HostConfig { seed: 1, lanes: 1 };
        let engine = Arc::new(Engine::new(config, Probes));
        let (shared, poll) = (Arc::new(Shared::default()), Arc::new(Poll::new().unwrap()));
        let registry = Registry::new(Arc::clone(&shared), vec![poll], BTreeMap::new());
        let lane = engine.lane(0).unwrap();
        let control = Control::new(engine, lane, registry, shared.view(), Clock::start());
        let setup: Setup = toml::from_str(SETUP).unwrap();
        control.command(Command::Apply(setup.clone())).unwrap();
        let macs = || {
            let Ok(Response::Underlay(entry)) = control.command(Command::ShowUnderlay) else {
                panic!("no underlay")
            };
            let links = entry.links.into_iter();
            links
                .map(|link| (link.name, link.mac.0))
                .collect::<Vec<_>>()
        };
        let before = macs();
        control.look_after();
        assert_eq!(macs(), before);
        // Gone: the engine keeps what was set, so nothing is to be applied.
        drop(one);
        control.look_after();
        assert_eq!(macs(), before);
        // Back, with another address.
        let mac = [0xa8, 0x40, 0x25, 0xf0, 0, 0x77];
        let again = Cable::with_mac("net0", mac);
        control.look_after();
        assert_eq!(macs(), [("net0".into(), mac), before[1].clone()]);
        again.send();
        let view = shared.view();
        let link = view.table().get(Source::Link(LinkId(0)));
        assert_eq!(taken(link.unwrap()), 1);
        let Ok(Response::Applied(applied)) = control.command(Command::Apply(setup)) else {
            panic!("it was applied before")
        };
        assert!(applied.changes.is_empty(), "{:?}", applied.changes);
    }
}

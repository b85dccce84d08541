//! `stats` on illumos: what the kernel module shows by kstat, which everybody
//! may read, not only who may administer.
//!
//! Failure   no such kstat: the module isn't loaded, or there is no such port.

use opte_core::DropReason;
use opte_core::api::counter;
use opte_core::api::dump::{Counter, Stats};
#[cfg(target_os = "illumos")]
use {
    opte_core::api::{ConfigError, ErrorCode, Name, ObjectKind},
    opte_ioctl::{client::ClientError, device},
};

/// Puts named values into the form in which a driver answers. Modules that
/// don't show their generation have none.
pub(crate) fn sorted<'a>(values: impl Iterator<Item = (&'a str, u64)>) -> (Option<u64>, Stats) {
    let mut generation = None;
    let mut stats = Stats {
        generation: 0,
        flows: 0,
        counters: Vec::new(),
        drops: Vec::new(),
    };
    for (name, value) in values {
        let counter = || Counter {
            name: name.into(),
            value,
        };
        match name {
            "generation" => generation = Some(value),
            "flows" => stats.flows = u32::try_from(value).unwrap_or(u32::MAX),
            // As drivers do: a limit and pools that there aren't.
            _ if value == 0 && may_be_absent(name) => {}
            _ if !DropReason::ALL.iter().any(|reason| reason.name() == name) => {
                stats.counters.push(counter());
            }
            _ if value == 0 => {}
            _ => stats.drops.push(counter()),
        }
    }
    (generation, stats)
}

/// Whether a driver leaves a counter out that is zero.
fn may_be_absent(name: &str) -> bool {
    let [_, limit] = counter::HOST;
    let mut names = counter::POOLS.as_flattened().iter().chain([&limit]);
    names.any(|absent| absent.to_bytes() == name.as_bytes())
}

/// Reads the host's or a port's.
#[cfg(target_os = "illumos")]
pub(crate) fn read(port: Option<Name>) -> Result<(Option<u64>, Stats), ClientError> {
    use kstat_rs::{Ctl, Data, NamedData};
    let fail = |error: kstat_rs::Error| ClientError::Io {
        path: "kstat".into(),
        source: std::io::Error::other(error),
    };
    let chain = Ctl::new().map_err(fail)?;
    let find = |(instance, name): (u8, &str)| {
        let module = device::STATS.to_str().unwrap_or_default();
        let at = (module, i32::from(instance), name);
        let mut all = chain.iter();
        all.find(|kstat| (kstat.ks_module, kstat.ks_instance, kstat.ks_name) == at)
    };
    let host = (0, device::HOST_STATS.to_str().unwrap_or_default());
    let host = find(host).ok_or_else(|| ClientError::NoDriver {
        path: device::PATH.into(),
    })?;
    let mut kstat = match &port {
        None => host,
        Some(port) => find(device::kstat_of(port)).ok_or_else(|| {
            ClientError::Refused(ConfigError::new(
                ErrorCode::NotFound,
                ObjectKind::Port,
                port.as_str(),
            ))
        })?,
    };
    match chain.read(&mut kstat).map_err(fail)? {
        Data::Named(values) => Ok(sorted(values.iter().filter_map(
            |named| match named.value {
                NamedData::UInt64(value) => Some((named.name, value)),
                _ => None,
            },
        ))),
        _ => Err(ClientError::Protocol("its statistics have no names")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_told_from_counters_and_zeroes_are_left_out() {
        let values = [
            ("no_memory", 3),
            ("flows", 7),
            ("in_packets", 0),
            ("flows_max", 0),
            ("snat_tcp4_used", 0),
            ("snat_tcp4_ports", 16),
            ("firewall_deny", 2),
            ("firewall_default", 0),
        ];
        let (generation, stats) = sorted(values.into_iter());
        let names = |counters: &[Counter]| {
            let texts = counters.iter().map(|c| format!("{}={}", c.name, c.value));
            texts.collect::<Vec<_>>().join(" ")
        };
        assert_eq!((generation, stats.flows), (None, 7));
        assert_eq!(
            names(&stats.counters),
            "no_memory=3 in_packets=0 snat_tcp4_ports=16"
        );
        assert_eq!(names(&stats.drops), "firewall_deny=2");
    }
}

//! What a change of the underlay's configuration will do, checked beforehand.
//!
//! Flow      `Plan::new` (pure: may refuse, changes nothing)
//!           -> the shell opens what `Plan::opens` names
//!           -> `Plan::admit` (may refuse what the devices can't do)
//!           -> `Underlay::commit` (can't fail)
//!           -> the shell closes what `Plan::closes` names
//! Rules     A link is known by its name: one that stays keeps its number, its
//!           neighbours and its paths. A new link never gets the number of
//!           one that goes in the same plan, as both are open for a while.

use super::route::{NextHop, Routes};
use crate::api::{ConfigError, ErrorCode, LinkSpec, ObjectKind, UnderlayRoute, UnderlaySpec};
use crate::flow::Family;
use crate::host::LinkDevice;
use crate::limits::{
    LINK_MTU_MIN, LINKS_MAX, NAME_LEN_MAX, UNDERLAY_NEXT_HOPS_MAX, UNDERLAY_ROUTES_MAX,
};
use crate::verdict::LinkId;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv6Addr;

/// Link numbers are below this: links that stay or go, and as many new ones.
pub(super) const LINK_IDS: u16 = 32;
const _: () = assert!(LINKS_MAX * 2 == 32, "one half goes while the other comes");

/// A checked change of the underlay. Good until another one is committed.
#[derive(Debug)]
pub struct Plan {
    pub(super) spec: Option<UnderlaySpec>,
    /// The links there will be, in the order of `spec`.
    pub(super) links: Vec<PlannedLink>,
    pub(super) gone: Vec<LinkId>,
    pub(super) routes: Routes,
    pub(super) changes: bool,
}

/// A link of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlannedLink {
    pub(super) id: LinkId,
    pub(super) spec: LinkSpec,
    /// What the device can carry, when it is open already.
    pub(super) device_mtu: Option<u16>,
}

/// A link there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OpenLink {
    pub(super) id: LinkId,
    pub(super) name: String,
    pub(super) device_mtu: u16,
}

impl Plan {
    /// The change from `links` and `old` to `spec`; without a `spec` there
    /// will be no underlay.
    pub(super) fn new(
        links: &[OpenLink],
        old: Option<&UnderlaySpec>,
        spec: Option<&UnderlaySpec>,
    ) -> Result<Self, ConfigError> {
        let changes = old != spec;
        let Some(spec) = spec else {
            return Ok(Self {
                spec: None,
                links: Vec::new(),
                gone: links.iter().map(|l| l.id).collect(),
                routes: Routes::default(),
                changes,
            });
        };
        check_address(&spec.address)?;
        check_links(&spec.links)?;
        let planned = number(links, &spec.links);
        let routes = check_routes(spec, &planned)?;
        let plan = Self {
            spec: Some(spec.clone()),
            gone: links
                .iter()
                .map(|l| l.id)
                .filter(|id| planned.iter().all(|p| p.id != *id))
                .collect(),
            links: planned,
            routes,
            changes,
        };
        plan.admit(&[])?;
        Ok(plan)
    }

    /// Links that the shell has to open before the plan is committed.
    pub fn opens(&self) -> impl Iterator<Item = (LinkId, &LinkSpec)> {
        let new = self.links.iter().filter(|l| l.device_mtu.is_none());
        new.map(|l| (l.id, &l.spec))
    }

    /// Links that the shell has to close once the plan is committed.
    pub fn closes(&self) -> impl Iterator<Item = LinkId> {
        self.gone.iter().copied()
    }

    /// Whether committing the plan changes anything.
    #[must_use]
    pub const fn changes(&self) -> bool {
        self.changes
    }

    /// Checks that the devices can do what the plan asks of them.
    ///
    /// # Errors
    ///
    /// Names a link whose device carries less than its MTU or whose MAC
    /// address is none that a station can have.
    pub fn admit(&self, devices: &[(LinkId, LinkDevice)]) -> Result<(), ConfigError> {
        for link in &self.links {
            let device = devices.iter().find(|(id, _)| *id == link.id);
            let device = device.map(|(_, device)| device);
            let error = |code| ConfigError::new(code, ObjectKind::Link, &link.spec.name);
            if let Some(mtu) = device.map(|d| d.mtu).or(link.device_mtu)
                && mtu < link.spec.mtu
            {
                let hint = alloc::format!("the device carries {mtu}");
                return Err(error(ErrorCode::OutOfRange)
                    .field("mtu", link.spec.mtu)
                    .hint(hint));
            }
            if let Some(mac) = device.map(|d| d.mac)
                && (mac.is_multicast() || mac == crate::wire::MacAddr::ZERO)
            {
                return Err(error(ErrorCode::NotUnicast).field("mac", mac));
            }
        }
        Ok(())
    }
}

fn check_address(address: &Ipv6Addr) -> Result<(), ConfigError> {
    let error = |code| {
        ConfigError::new(code, ObjectKind::Underlay, "")
            .field("address", address)
            .hint("a global or unique local address")
    };
    if address.is_multicast() {
        return Err(error(ErrorCode::NotUnicast));
    }
    if !is_routable(address) {
        return Err(error(ErrorCode::OutOfRange));
    }
    Ok(())
}

/// Whether the address can be some station's beyond its own link.
pub(in crate::host) fn is_routable(address: &Ipv6Addr) -> bool {
    is_station(address) && !address.is_unicast_link_local()
}

/// Whether the address can be some station's.
fn is_station(address: &Ipv6Addr) -> bool {
    !(address.is_multicast()
        || address.is_unspecified()
        || address.is_loopback()
        || address.to_ipv4_mapped().is_some())
}

fn check_links(links: &[LinkSpec]) -> Result<(), ConfigError> {
    if links.len() > LINKS_MAX {
        return Err(
            ConfigError::new(ErrorCode::LimitReached, ObjectKind::Underlay, "")
                .field("link", links.len())
                .hint(LINKS_MAX),
        );
    }
    let mut names = BTreeSet::new();
    for link in links {
        let error = |code| ConfigError::new(code, ObjectKind::Link, &link.name);
        let printable = link.name.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
        if link.name.is_empty() || link.name.len() > NAME_LEN_MAX || !printable {
            return Err(error(ErrorCode::Malformed)
                .field("name", "")
                .hint("a device's name of 1 to 31 characters"));
        }
        if !names.insert(&link.name) {
            return Err(error(ErrorCode::Exists).field("name", ""));
        }
        if link.mtu < LINK_MTU_MIN {
            return Err(error(ErrorCode::OutOfRange)
                .field("mtu", link.mtu)
                .hint(LinkSpec::mtu_range()));
        }
    }
    Ok(())
}

/// Gives every link its number.
fn number(open: &[OpenLink], specs: &[LinkSpec]) -> Vec<PlannedLink> {
    let mut free = (0..LINK_IDS)
        .map(LinkId)
        .filter(|id| open.iter().all(|l| l.id != *id));
    let planned = specs.iter().map(|spec| {
        let kept = open.iter().find(|l| l.name == spec.name);
        Some(PlannedLink {
            id: kept.map(|l| l.id).or_else(|| free.next())?,
            spec: spec.clone(),
            device_mtu: kept.map(|l| l.device_mtu),
        })
    });
    // With `LINKS_MAX` open and `LINKS_MAX` new ones, numbers suffice.
    planned.flatten().collect()
}

fn check_routes(spec: &UnderlaySpec, links: &[PlannedLink]) -> Result<Routes, ConfigError> {
    if spec.routes.len() > UNDERLAY_ROUTES_MAX {
        return Err(
            ConfigError::new(ErrorCode::LimitReached, ObjectKind::Underlay, "")
                .field("route", spec.routes.len())
                .hint(UNDERLAY_ROUTES_MAX),
        );
    }
    let ids: BTreeMap<&str, LinkId> = links.iter().map(|l| (l.spec.name.as_str(), l.id)).collect();
    let mut seen = BTreeSet::new();
    let mut width = BTreeMap::new();
    let mut routes = Vec::with_capacity(spec.routes.len());
    for route in &spec.routes {
        let error = |code| ConfigError::new(code, ObjectKind::UnderlayRoute, route.dest);
        if route.dest.family() != Family::V6 {
            return Err(error(ErrorCode::FamilyMismatch).field("dest", route.dest));
        }
        let Some(link) = ids.get(route.link.as_str()).copied() else {
            return Err(error(ErrorCode::NotFound).field("link", &route.link));
        };
        if let Some(via) = route.via {
            check_via(route, &via, spec)?;
        }
        let hop = NextHop {
            link,
            via: route.via,
        };
        if !seen.insert((route.dest, hop)) {
            return Err(error(ErrorCode::Exists));
        }
        let width: &mut usize = width.entry(route.dest).or_default();
        *width = width.saturating_add(1);
        if *width > UNDERLAY_NEXT_HOPS_MAX {
            return Err(error(ErrorCode::LimitReached)
                .field("via", "")
                .hint(alloc::format!("{UNDERLAY_NEXT_HOPS_MAX} equal next hops")));
        }
        routes.push((route.dest, hop));
    }
    Ok(Routes::build(routes))
}

fn check_via(
    route: &UnderlayRoute,
    via: &Ipv6Addr,
    spec: &UnderlaySpec,
) -> Result<(), ConfigError> {
    let error =
        |code| ConfigError::new(code, ObjectKind::UnderlayRoute, route.dest).field("via", via);
    if via.is_multicast() {
        return Err(error(ErrorCode::NotUnicast));
    }
    if !is_station(via) {
        return Err(error(ErrorCode::OutOfRange).hint("a neighbour's address"));
    }
    if *via == spec.address {
        return Err(error(ErrorCode::Conflict).hint("it is the host's own address"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::MacAddr;
    use alloc::string::ToString;
    use std::vec;

    fn spec(text: &[(&str, Option<&str>, &str)]) -> UnderlaySpec {
        let link = |name: &str| LinkSpec {
            name: name.into(),
            mtu: 9_000,
        };
        UnderlaySpec {
            address: "fd00::1".parse().unwrap(),
            links: vec![link("net0"), link("net1")],
            routes: text
                .iter()
                .map(|(dest, via, link)| UnderlayRoute {
                    dest: dest.parse().unwrap(),
                    via: via.map(|via| via.parse().unwrap()),
                    link: (*link).to_string(),
                })
                .collect(),
        }
    }

    fn plan(spec: &UnderlaySpec) -> Result<Plan, ConfigError> {
        Plan::new(&[], None, Some(spec))
    }

    fn open(plan: &Plan) -> Vec<OpenLink> {
        let links = plan.links.iter().map(|l| OpenLink {
            id: l.id,
            name: l.spec.name.clone(),
            device_mtu: 9_000,
        });
        links.collect()
    }

    #[test]
    fn links_that_stay_keep_their_numbers() {
        let first = spec(&[]);
        let plan = plan(&first).unwrap();
        assert_eq!(plan.opens().map(|(id, _)| id.0).collect::<Vec<_>>(), [0, 1]);
        assert!(plan.changes());
        let open = open(&plan);

        let same = Plan::new(&open, Some(&first), Some(&first)).unwrap();
        assert!(!same.changes());
        assert_eq!(same.opens().count(), 0);

        let mut second = first.clone();
        second.links[0].name = "net9".into();
        let plan = Plan::new(&open, Some(&first), Some(&second)).unwrap();
        let opens: Vec<_> = plan
            .opens()
            .map(|(id, l)| (id.0, l.name.as_str()))
            .collect();
        assert_eq!(opens, [(2, "net9")], "not the number of the one that goes");
        assert_eq!(plan.closes().collect::<Vec<_>>(), [LinkId(0)]);
        assert_eq!(plan.links[1].id, LinkId(1));

        let none = Plan::new(&open, Some(&first), None).unwrap();
        assert_eq!(none.closes().count(), 2);
    }

    #[test]
    fn there_are_numbers_for_a_full_set_of_new_links() {
        let full = |prefix: &str| UnderlaySpec {
            links: (0..LINKS_MAX)
                .map(|i| LinkSpec {
                    name: alloc::format!("{prefix}{i}"),
                    mtu: 1_500,
                })
                .collect(),
            ..spec(&[])
        };
        let first = plan(&full("a")).unwrap();
        let second = Plan::new(&open(&first), None, Some(&full("b"))).unwrap();
        let ids: BTreeSet<_> = first
            .links
            .iter()
            .chain(&second.links)
            .map(|l| l.id)
            .collect();
        assert_eq!(ids.len(), 2 * LINKS_MAX);
        let third = Plan::new(&open(&second), None, Some(&full("c"))).unwrap();
        assert_eq!(third.links.len(), LINKS_MAX);
    }

    /// Every refusal names its object and field.
    #[test]
    fn impossible_configurations_are_refused() {
        let route = |dest, via, link| spec(&[(dest, via, link)]);
        let with = |change: fn(&mut UnderlaySpec)| {
            let mut spec = spec(&[]);
            change(&mut spec);
            spec
        };
        let cases = [
            (
                with(|s| s.address = "ff02::1".parse().unwrap()),
                "underlay: address ff02::1",
            ),
            (
                with(|s| s.address = "::".parse().unwrap()),
                "underlay: address ::",
            ),
            (
                with(|s| s.address = "::1".parse().unwrap()),
                "underlay: address ::1",
            ),
            (
                with(|s| s.address = "fe80::1".parse().unwrap()),
                "underlay: address fe80::1",
            ),
            (
                with(|s| s.address = "::ffff:10.0.0.1".parse().unwrap()),
                "underlay: address ::ffff:10.0.0.1",
            ),
            (with(|s| s.links[1].name = "net0".into()), "link net0: name"),
            (with(|s| s.links[1].name = String::new()), "link: name"),
            (with(|s| s.links[1].name = "a b".into()), "link a b: name"),
            (with(|s| s.links[1].mtu = 1_349), "link net1: mtu 1349"),
            (
                with(|s| s.links = vec![s.links[0].clone(); LINKS_MAX + 1]),
                "underlay: link 17",
            ),
            (
                with(|s| {
                    let route = UnderlayRoute {
                        dest: "::/0".parse().unwrap(),
                        via: None,
                        link: "net0".into(),
                    };
                    s.routes = vec![route; UNDERLAY_ROUTES_MAX + 1];
                }),
                "underlay: route 65537",
            ),
            (
                route("10.0.0.0/8", None, "net0"),
                "underlay route 10.0.0.0/8: dest",
            ),
            (
                route("::/0", None, "net7"),
                "underlay route ::/0: link net7",
            ),
            (
                route("::/0", Some("ff02::2"), "net0"),
                "underlay route ::/0: via ff02::2",
            ),
            (
                route("::/0", Some("::1"), "net0"),
                "underlay route ::/0: via ::1",
            ),
            (
                route("::/0", Some("fd00::1"), "net0"),
                "underlay route ::/0: via fd00::1",
            ),
            (
                spec(&[("::/0", None, "net0"), ("::/0", None, "net0")]),
                "underlay route ::/0 exists already",
            ),
        ];
        for (spec, expected) in cases {
            let text = plan(&spec).unwrap_err().to_string();
            assert!(text.contains(expected), "{text} is not about {expected}");
        }
    }

    #[test]
    fn a_destination_has_a_bounded_number_of_next_hops() {
        let routes = |n: usize| UnderlaySpec {
            routes: (0..n)
                .map(|i| UnderlayRoute {
                    dest: "::/0".parse().unwrap(),
                    via: Some(Ipv6Addr::from_bits(0xfe80 << 112 | (i as u128 + 1))),
                    link: "net0".into(),
                })
                .collect(),
            ..spec(&[])
        };
        assert!(plan(&routes(UNDERLAY_NEXT_HOPS_MAX)).is_ok());
        let error = plan(&routes(UNDERLAY_NEXT_HOPS_MAX + 1)).unwrap_err();
        assert_eq!(error.code, ErrorCode::LimitReached);
        assert_eq!(error.field, "via");
    }

    #[test]
    fn devices_must_carry_what_is_asked_of_them() {
        let plan = plan(&spec(&[])).unwrap();
        let device = |mtu, mac| LinkDevice {
            mac: MacAddr(mac),
            mtu,
        };
        let good = device(9_000, [2, 0, 0, 0, 0, 1]);
        assert_eq!(plan.admit(&[(LinkId(0), good), (LinkId(1), good)]), Ok(()));
        let small = plan
            .admit(&[(LinkId(1), device(1_500, [2; 6]))])
            .unwrap_err();
        assert_eq!(
            (small.object.as_str(), small.field.as_str()),
            ("net1", "mtu")
        );
        for mac in [[0; 6], [1, 0, 0, 0, 0, 1]] {
            let error = plan.admit(&[(LinkId(0), device(9_000, mac))]).unwrap_err();
            assert_eq!(error.field, "mac");
        }
        // A kept link is held against the device that is open.
        let mut larger = spec(&[]);
        larger.links[0].mtu = 9_001;
        let error = Plan::new(&open(&plan), None, Some(&larger)).unwrap_err();
        assert_eq!(error.field, "mtu");
    }
}

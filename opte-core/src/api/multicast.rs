//! Multicast: which groups there are, who hears them, and where copies go.
//!
//! Terms     group           a multicast address that guests send to
//!           underlay group  the group in ff04::/16 (RFC 7346: admin-local)
//!                           that its frames travel to between hosts
//!           fleet's group   one that every VPC may use, in the multicast VNI;
//!                           a mapping with another VNI makes it that VPC's own
//!           next hop        who copies for an underlay group are sent to
//!           member          a port whose guest is given copies

use super::Name;
use super::list::at_most;
use super::text::serde_text;
use crate::limits::{
    M2P_MAX, MCAST_FORWARD_MAX, MCAST_HOPS_MAX, MCAST_MEMBERS_MAX, MCAST_SOURCES_MAX, PORTS_MAX,
};
use crate::wire::Vni;
use crate::wire::geneve::Replication;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use core::{fmt, str::FromStr};
use serde::{Deserialize, Serialize};

/// The VNI of the fleet's groups unless configured otherwise.
pub const MULTICAST_VNI: u32 = 77;

/// All of a host's multicast configuration. In the setup file, `[multicast]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MulticastSpec {
    /// The VNI of the fleet's groups.
    pub vni: Vni,
    /// Groups.
    #[serde(deserialize_with = "at_most::<_, _, M2P_MAX>")]
    pub m2p: Vec<M2p>,
    /// Where frames for underlay groups are sent.
    #[serde(deserialize_with = "at_most::<_, _, MCAST_FORWARD_MAX>")]
    pub forward: Vec<McastForward>,
    /// Memberships that the operator gives to ports.
    #[serde(deserialize_with = "at_most::<_, _, MCAST_MEMBERS_MAX>")]
    pub member: Vec<McastMember>,
    /// Ports whose guests join groups themselves, by IGMP and MLD.
    #[serde(deserialize_with = "at_most::<_, _, PORTS_MAX>")]
    pub listen: Vec<Name>,
}

impl Default for MulticastSpec {
    fn default() -> Self {
        Self {
            vni: Vni::new(MULTICAST_VNI).unwrap_or_default(),
            m2p: Vec::new(),
            forward: Vec::new(),
            member: Vec::new(),
            listen: Vec::new(),
        }
    }
}

/// Multicast to physical: the underlay group of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct M2p {
    /// The group.
    pub group: IpAddr,
    /// The underlay group.
    pub underlay: Ipv6Addr,
    /// The VPC whose own the group is; none for a fleet's group.
    #[serde(default)]
    pub vni: Option<Vni>,
}

/// Where frames for an underlay group are sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McastForward {
    /// The underlay group.
    pub underlay: Ipv6Addr,
    /// Next hops. Those on one link share a copy.
    #[serde(deserialize_with = "at_most::<_, _, MCAST_HOPS_MAX>")]
    pub hops: Vec<McastHop>,
}

/// Who a copy is sent to and what for, `ADDRESS` or `ADDRESS,MODE` as text,
/// where MODE is `external`, `underlay` (the default) or `both`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct McastHop {
    /// A neighbour's or host's address, whose route says which link the copy
    /// leaves by; or the underlay group itself, to go by the group's route.
    pub address: Ipv6Addr,
    /// Who is to have it: receivers outside of the fleet, hosts, or both.
    pub mode: Replication,
}

/// A port's membership in a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McastMember {
    /// The port.
    pub port: Name,
    /// The group.
    pub group: IpAddr,
    /// From which sources.
    #[serde(default)]
    pub filter: SourceFilter,
}

/// Which sources of a group a member hears (RFC 3376 section 3.1): `any`,
/// `include=LIST` or `exclude=LIST` as text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SourceFilter {
    /// Whether the sources are those that are heard, or those that aren't.
    pub mode: FilterMode,
    /// The sources.
    pub sources: Vec<IpAddr>,
}

/// What the sources of a [`SourceFilter`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FilterMode {
    /// Heard; no others are.
    Include,
    /// Not heard; all others are.
    Exclude,
}

/// A membership as it is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct McastSub {
    /// The port.
    pub port: Name,
    /// The group.
    pub group: IpAddr,
    /// From which sources.
    pub filter: SourceFilter,
    /// Who asked for it.
    pub by: McastOrigin,
    /// Milliseconds until it ends unless the guest says again that it
    /// listens; none when the operator gave it.
    pub expires_ms: Option<u64>,
}

/// Who asked for a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum McastOrigin {
    /// The operator.
    Operator,
    /// The guest, by IGMP or MLD.
    Guest,
}

/// Whether an address is a group that guests may send to and join: one that
/// leaves its link (RFC 5771 section 4, RFC 4291 section 2.7).
#[must_use]
pub fn is_routable_group(group: &IpAddr) -> bool {
    match group {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            v4.is_multicast() && [a, b, c] != [224, 0, 0]
        }
        IpAddr::V6(v6) => {
            let [first, flags_scope, ..] = v6.octets();
            first == 0xff && (3..=14).contains(&(flags_scope & 0x0f))
        }
    }
}

/// Whether a group is only heard source by source (RFC 4607 section 1).
#[must_use]
pub fn is_source_specific(group: &IpAddr) -> bool {
    match group {
        IpAddr::V4(v4) => matches!(v4.octets(), [232, ..]),
        IpAddr::V6(v6) => {
            let [first, second, ..] = v6.segments();
            first & 0xfff0 == 0xff30 && second == 0
        }
    }
}

/// Whether an address is an underlay group.
#[must_use]
pub const fn is_underlay_group(group: &Ipv6Addr) -> bool {
    let [first, ..] = group.segments();
    first == 0xff04
}

impl SourceFilter {
    /// Every source.
    pub const ANY: Self = Self {
        mode: FilterMode::Exclude,
        sources: Vec::new(),
    };
}

impl Default for SourceFilter {
    fn default() -> Self {
        Self::ANY
    }
}

impl FromStr for SourceFilter {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        const WHY: &str = "a source filter is any, include=ADDRESS,.. or exclude=ADDRESS,..";
        let (mode, list) = match s.split_once('=') {
            Some(("include", list)) => (FilterMode::Include, list),
            Some(("exclude", list)) => (FilterMode::Exclude, list),
            None if s == "any" => return Ok(Self::ANY),
            _ => return Err(WHY.into()),
        };
        let mut sources = Vec::new();
        for word in list.split(',') {
            if sources.len() >= MCAST_SOURCES_MAX {
                return Err(alloc::format!("at most {MCAST_SOURCES_MAX} sources"));
            }
            let source = word.parse();
            sources.push(source.map_err(|_| alloc::format!("`{word}`: {WHY}"))?);
        }
        Ok(Self { mode, sources })
    }
}

impl fmt::Display for SourceFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = match (self.mode, self.sources.is_empty()) {
            (FilterMode::Exclude, true) => return f.pad("any"),
            (FilterMode::Exclude, false) => "exclude=",
            (FilterMode::Include, _) => "include=",
        };
        for source in &self.sources {
            write!(f, "{separator}{source}")?;
            separator = ",";
        }
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct WireFilter {
    mode: FilterMode,
    #[serde(deserialize_with = "at_most::<_, _, MCAST_SOURCES_MAX>")]
    sources: Vec<IpAddr>,
}

serde_text!(
    SourceFilter,
    WireFilter,
    |filter| WireFilter {
        mode: filter.mode,
        sources: filter.sources.clone(),
    },
    |wire| Some(SourceFilter {
        mode: wire.mode,
        sources: wire.sources,
    }),
    "a source filter: any, include=ADDRESS,.. or exclude=ADDRESS,.."
);

impl FromStr for McastHop {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        const WHY: &str = "a next hop is an IPv6 address, or ADDRESS,MODE with a mode of external, underlay or both";
        let (address, mode) = s.split_once(',').unwrap_or((s, "underlay"));
        Ok(Self {
            address: address.parse().map_err(|_| WHY)?,
            mode: mode.parse().map_err(|()| WHY)?,
        })
    }
}

impl fmt::Display for McastHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.address, self.mode.name())
    }
}

serde_text!(
    McastHop,
    (Ipv6Addr, u8),
    |hop| (hop.address, hop.mode.bits()),
    |(address, bits)| Some(McastHop {
        address,
        mode: Replication::from_bits(bits)?
    }),
    "a next hop with a mode of external, underlay or both"
);

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn text_prints_as_it_is_read() {
        for text in ["any", "include=10.0.0.1", "exclude=fd00::1,fd00::2"] {
            assert_eq!(text.parse::<SourceFilter>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "include",
            "include=",
            "only=10.0.0.1",
            "include=10.0.0.1,",
        ] {
            assert!(bad.parse::<SourceFilter>().is_err(), "{bad}");
        }
        let hop: McastHop = "fd00::1".parse().unwrap();
        assert_eq!(hop.to_string(), "fd00::1,underlay");
        for text in ["fd00::1,external", "ff04::1,both"] {
            assert_eq!(text.parse::<McastHop>().unwrap().to_string(), text);
        }
        assert!("fd00::1,all".parse::<McastHop>().is_err());
        assert!("10.0.0.1".parse::<McastHop>().is_err());
    }

    #[test]
    fn groups_have_scopes() {
        let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
        for (group, routable, specific) in [
            ("224.0.0.251", false, false),
            ("224.0.1.1", true, false),
            ("232.1.1.1", true, true),
            ("239.255.255.255", true, false),
            ("240.0.0.1", false, false),
            ("10.0.0.1", false, false),
            ("255.255.255.255", false, false),
            ("ff01::1", false, false),
            ("ff02::fb", false, false),
            ("ff05::1", true, false),
            ("ff0f::1", false, false),
            ("ff3e::8000:1", true, true),
            ("ff3e:40:2001:db8::1", true, false),
            ("fd00::1", false, false),
        ] {
            assert_eq!(is_routable_group(&ip(group)), routable, "{group}");
            assert_eq!(is_source_specific(&ip(group)), specific, "{group}");
        }
        assert!(is_underlay_group(&"ff04::1".parse().unwrap()));
        assert!(!is_underlay_group(&"ff14::1".parse().unwrap()));
    }
}

//! Firewall rules as people write them.

use super::list::at_most;
use super::text::serde_text;
use super::{Name, Prefix};
use crate::Direction;
use crate::flow::Proto;
use crate::limits::PREDICATE_LIST_MAX;
use crate::wire::Vni;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt::{self, Write as _};
use core::str::FromStr;
use serde::{Deserialize, Serialize};

/// What a rule does with a flow that it matches.
///
/// At equal priority, [`FwAction::Deny`] is asked before [`FwAction::Reject`]
/// and that before [`FwAction::Allow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FwAction {
    /// Drops it.
    Deny,
    /// Lets it and its replies pass.
    Allow,
    /// Drops it and says so to its sender: with a reset if it is TCP, else
    /// with an ICMP error.
    Reject,
}

impl FwAction {
    const fn rank(self) -> u8 {
        match self {
            Self::Deny => 0,
            Self::Reject => 1,
            Self::Allow => 2,
        }
    }
}

impl Ord for FwAction {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for FwAction {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The far side of a flow: destination of outbound, source of inbound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HostFilter {
    /// An address or a prefix.
    Prefix(Prefix),
    /// Every guest of a VPC.
    Vni(Vni),
    /// Whoever is in the address set of this name.
    Set(Name),
}

/// A protocol, with type and code when it is ICMP of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProtoFilter {
    /// The protocol.
    pub proto: Proto,
    /// The ICMP type; none for any.
    pub icmp_type: Option<u8>,
    /// The ICMP code; none for any.
    pub icmp_code: Option<u8>,
}

/// A range of ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortRange {
    /// The first port.
    pub first: u16,
    /// The last port; not below the first.
    pub last: u16,
}

/// A firewall rule. An empty list means any; a list matches when one of its
/// entries does; a rule matches when all of its lists do.
///
/// As text, `KEY=VALUE` words in any order, lists with commas:
/// `dir=in priority=100 action=allow hosts=10.0.0.0/8,vni=7 protocols=tcp ports=22,8000-8100`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FwRule {
    /// Direction in which the flow is opened.
    pub dir: Direction,
    /// Lower numbers are asked first.
    pub priority: u16,
    /// What to do.
    pub action: FwAction,
    /// The far side.
    pub hosts: Vec<HostFilter>,
    /// Protocols.
    pub protocols: Vec<ProtoFilter>,
    /// Destination ports.
    pub ports: Vec<PortRange>,
    /// Source ports.
    pub source_ports: Vec<PortRange>,
}

impl FromStr for HostFilter {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s.split_once('=') {
            Some(("vni", vni)) => vni.parse().map(Self::Vni),
            Some(("set", name)) => name.parse().map(Self::Set),
            Some(_) => Err("a host is an address, a prefix, vni=NUMBER or set=NAME"),
            None => s.parse().map(Self::Prefix),
        }
    }
}

impl fmt::Display for HostFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(prefix) if *prefix == Prefix::host(prefix.addr()) => {
                write!(f, "{}", prefix.addr())
            }
            Self::Prefix(prefix) => write!(f, "{prefix}"),
            Self::Vni(vni) => write!(f, "vni={vni}"),
            Self::Set(name) => write!(f, "set={name}"),
        }
    }
}

impl FromStr for ProtoFilter {
    type Err = &'static str;

    /// `PROTOCOL`, `icmp:TYPE` or `icmp:TYPE/CODE`.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        const WHY: &str = "an ICMP filter is icmp:TYPE or icmp:TYPE/CODE with numbers to 255";
        let (name, detail) = match s.split_once(':') {
            Some((name, detail)) => (name, Some(detail)),
            None => (s, None),
        };
        let proto: Proto = name.parse()?;
        let Some(detail) = detail else {
            return Ok(Self {
                proto,
                icmp_type: None,
                icmp_code: None,
            });
        };
        if !proto.is_icmp() {
            return Err("only icmp and icmp6 have a type");
        }
        let (kind, code) = match detail.split_once('/') {
            Some((kind, code)) => (kind, Some(code.parse().map_err(|_| WHY)?)),
            None => (detail, None),
        };
        Ok(Self {
            proto,
            icmp_type: Some(kind.parse().map_err(|_| WHY)?),
            icmp_code: code,
        })
    }
}

impl fmt::Display for ProtoFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.proto)?;
        if let Some(kind) = self.icmp_type {
            write!(f, ":{kind}")?;
            if let Some(code) = self.icmp_code {
                write!(f, "/{code}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for PortRange {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        const WHY: &str = "a port is a number from 0 to 65535 or a range FIRST-LAST";
        let (first, last) = s.split_once('-').unwrap_or((s, s));
        let first = first.parse().map_err(|_| WHY)?;
        let last = last.parse().map_err(|_| WHY)?;
        if first <= last {
            Ok(Self { first, last })
        } else {
            Err(WHY)
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

fn list<T: FromStr<Err = &'static str>>(text: &str) -> Result<Vec<T>, String> {
    if text == "any" {
        return Ok(Vec::new());
    }
    let items = text.split(',');
    if items.clone().count() > PREDICATE_LIST_MAX {
        return Err(alloc::format!(
            "a list has at most {PREDICATE_LIST_MAX} entries"
        ));
    }
    items
        .map(|item| {
            item.parse()
                .map_err(|why| alloc::format!("`{item}`: {why}"))
        })
        .collect()
}

impl FromStr for FwRule {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let (mut dir, mut priority, mut action) = (None, None, None);
        let (mut hosts, mut protocols, mut ports, mut source_ports) = (None, None, None, None);
        for word in s.split_ascii_whitespace() {
            let (key, value) = word
                .split_once('=')
                .ok_or_else(|| alloc::format!("`{word}` isn't KEY=VALUE"))?;
            let twice = match key {
                "dir" => dir.replace(direction(value)?).is_some(),
                "priority" => priority
                    .replace(
                        value
                            .parse()
                            .map_err(|_| "a priority is a number from 0 to 65535")?,
                    )
                    .is_some(),
                "action" => action.replace(value.parse()?).is_some(),
                "hosts" => hosts.replace(list(value)?).is_some(),
                "protocols" => protocols.replace(list(value)?).is_some(),
                "ports" => ports.replace(list(value)?).is_some(),
                "source_ports" => source_ports.replace(list(value)?).is_some(),
                _ => {
                    return Err(alloc::format!(
                        "`{key}` is none of dir, priority, action, hosts, protocols, ports, source_ports"
                    ));
                }
            };
            if twice {
                return Err(alloc::format!("`{key}` is there twice"));
            }
        }
        Ok(Self {
            dir: dir.ok_or("a rule needs dir=in or dir=out")?,
            priority: priority.ok_or("a rule needs priority=NUMBER")?,
            action: action.ok_or("a rule needs action=allow, action=deny or action=reject")?,
            hosts: hosts.unwrap_or_default(),
            protocols: protocols.unwrap_or_default(),
            ports: ports.unwrap_or_default(),
            source_ports: source_ports.unwrap_or_default(),
        })
    }
}

fn direction(text: &str) -> Result<Direction, &'static str> {
    match text {
        "in" => Ok(Direction::In),
        "out" => Ok(Direction::Out),
        _ => Err("a direction is in or out"),
    }
}

impl FromStr for FwAction {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "allow" => Ok(Self::Allow),
            "deny" => Ok(Self::Deny),
            "reject" => Ok(Self::Reject),
            _ => Err("an action is allow, deny or reject"),
        }
    }
}

impl fmt::Display for FwAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Reject => "reject",
        })
    }
}

impl fmt::Display for FwRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T: fmt::Display>(
            f: &mut fmt::Formatter<'_>,
            key: &str,
            items: &[T],
        ) -> fmt::Result {
            for (i, item) in items.iter().enumerate() {
                if i == 0 {
                    write!(f, " {key}=")?;
                } else {
                    f.write_char(',')?;
                }
                write!(f, "{item}")?;
            }
            Ok(())
        }
        write!(
            f,
            "dir={} priority={} action={}",
            self.dir, self.priority, self.action
        )?;
        list(f, "hosts", &self.hosts)?;
        list(f, "protocols", &self.protocols)?;
        list(f, "ports", &self.ports)?;
        list(f, "source_ports", &self.source_ports)
    }
}

#[derive(Serialize, Deserialize)]
struct WireRule {
    dir: Direction,
    priority: u16,
    action: FwAction,
    #[serde(deserialize_with = "at_most::<_, _, PREDICATE_LIST_MAX>")]
    hosts: Vec<HostFilter>,
    #[serde(deserialize_with = "at_most::<_, _, PREDICATE_LIST_MAX>")]
    protocols: Vec<ProtoFilter>,
    #[serde(deserialize_with = "at_most::<_, _, PREDICATE_LIST_MAX>")]
    ports: Vec<PortRange>,
    #[serde(deserialize_with = "at_most::<_, _, PREDICATE_LIST_MAX>")]
    source_ports: Vec<PortRange>,
}

serde_text!(
    FwRule,
    WireRule,
    |rule| {
        let FwRule {
            dir,
            priority,
            action,
            hosts,
            protocols,
            ports,
            source_ports,
        } = rule.clone();
        WireRule {
            dir,
            priority,
            action,
            hosts,
            protocols,
            ports,
            source_ports,
        }
    },
    |wire| {
        let WireRule {
            dir,
            priority,
            action,
            hosts,
            protocols,
            ports,
            source_ports,
        } = wire;
        let ordered = |range: &PortRange| range.first <= range.last;
        let icmp = |p: &ProtoFilter| {
            (p.icmp_type.is_none() || p.proto.is_icmp())
                && (p.icmp_code.is_none() || p.icmp_type.is_some())
        };
        let good = ports.iter().all(ordered)
            && source_ports.iter().all(ordered)
            && protocols.iter().all(icmp);
        good.then_some(FwRule {
            dir,
            priority,
            action,
            hosts,
            protocols,
            ports,
            source_ports,
        })
    },
    "a firewall rule with ordered port ranges and ICMP types on ICMP only"
);

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn rules_print_as_they_are_read() {
        for text in [
            "dir=in priority=65535 action=deny",
            "dir=out priority=9 action=reject protocols=tcp",
            "dir=out priority=0 action=allow hosts=10.0.0.0/8,192.168.0.1,vni=7,set=web_1 protocols=tcp,icmp:8/0,gre,89 ports=22,80-90 source_ports=1024-65535",
        ] {
            assert_eq!(text.parse::<FwRule>().unwrap().to_string(), text);
        }
        let any: FwRule = "dir=in priority=1 action=deny hosts=any".parse().unwrap();
        assert!(any.hosts.is_empty());
    }

    #[test]
    fn bad_rules_are_refused_with_the_reason() {
        for (text, why) in [
            ("priority=1 action=deny", "dir"),
            ("dir=in action=deny", "priority"),
            ("dir=in priority=70000 action=deny", "65535"),
            ("dir=in priority=1 action=deny ports=9-8", "9-8"),
            ("dir=in priority=1 action=deny protocols=tcp:1", "only icmp"),
            ("dir=in priority=1 action=deny dir=in", "twice"),
            ("dir=in priority=1 action=deny hosts=set=Web", "a name is"),
            ("dir=in priority=1 action=deny hosts=sett=web", "set=NAME"),
            ("dir=in priority=1 action=deny colour=red", "colour"),
            ("nonsense", "nonsense"),
        ] {
            let error = text.parse::<FwRule>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}

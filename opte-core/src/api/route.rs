//! A port's routes.

use super::Prefix;
use super::text::serde_text;
use alloc::string::String;
use core::net::IpAddr;
use core::{fmt, str::FromStr};
use serde::{Deserialize, Serialize};

/// Names an internet gateway: a UUID (RFC 9562).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GatewayId(pub [u8; 16]);

impl fmt::Display for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for GatewayId {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        const WHY: &str = "a gateway is a UUID, as 01234567-89ab-cdef-0123-456789abcdef";
        let dashes = [8, 13, 18, 23]
            .iter()
            .all(|at| s.as_bytes().get(*at) == Some(&b'-'));
        if s.len() != 36 || !dashes {
            return Err(WHY);
        }
        let mut digits = s
            .bytes()
            .filter(|b| *b != b'-')
            .map(|b| char::from(b).to_digit(16));
        let mut id = [0; 16];
        for byte in &mut id {
            let mut digit = || digits.next().flatten().and_then(|d| u8::try_from(d).ok());
            *byte = (digit().ok_or(WHY)? << 4) | digit().ok_or(WHY)?;
        }
        if digits.next().is_some() {
            Err(WHY)
        } else {
            Ok(Self(id))
        }
    }
}

serde_text!(
    GatewayId,
    [u8; 16],
    |id| id.0,
    |bytes| Some(GatewayId(bytes)),
    "a UUID"
);

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteTarget {
    /// Nowhere.
    Drop,
    /// An internet gateway, perhaps a certain one.
    Gateway(Option<GatewayId>),
    /// A guest of the VPC as the next hop.
    Ip(IpAddr),
    /// A subnet of the VPC: straight to the destination.
    Subnet(Prefix),
}

impl FromStr for RouteTarget {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        const WHY: &str = "a target is one of drop, ig, ig=UUID, ip4=ADDRESS, ip6=ADDRESS, sub4=PREFIX, sub6=PREFIX";
        let (kind, value) = match s.split_once('=') {
            Some((kind, value)) => (kind, Some(value)),
            None => (s, None),
        };
        let v6 = kind.ends_with('6');
        match (kind, value) {
            ("drop", None) => Ok(Self::Drop),
            ("ig", None) => Ok(Self::Gateway(None)),
            ("ig", Some(id)) => Ok(Self::Gateway(Some(id.parse()?))),
            ("ip4" | "ip6", Some(ip)) => match ip.parse::<IpAddr>() {
                Ok(ip) if ip.is_ipv6() == v6 => Ok(Self::Ip(ip)),
                _ => Err("the address isn't of the target's family"),
            },
            ("sub4" | "sub6", Some(prefix)) => {
                let prefix: Prefix = prefix.parse()?;
                if prefix.addr().is_ipv6() == v6 {
                    Ok(Self::Subnet(prefix))
                } else {
                    Err("the prefix isn't of the target's family")
                }
            }
            _ => Err(WHY),
        }
    }
}

impl fmt::Display for RouteTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digit = |ip: &IpAddr| if ip.is_ipv6() { '6' } else { '4' };
        match self {
            Self::Drop => f.write_str("drop"),
            Self::Gateway(None) => f.write_str("ig"),
            Self::Gateway(Some(id)) => write!(f, "ig={id}"),
            Self::Ip(ip) => write!(f, "ip{}={ip}", digit(ip)),
            Self::Subnet(prefix) => write!(f, "sub{}={prefix}", digit(&prefix.addr())),
        }
    }
}

#[derive(Serialize, Deserialize)]
enum WireTarget {
    Drop,
    Gateway(Option<[u8; 16]>),
    Ip(IpAddr),
    Subnet(Prefix),
}

serde_text!(
    RouteTarget,
    WireTarget,
    |target| match *target {
        RouteTarget::Drop => WireTarget::Drop,
        RouteTarget::Gateway(id) => WireTarget::Gateway(id.map(|id| id.0)),
        RouteTarget::Ip(ip) => WireTarget::Ip(ip),
        RouteTarget::Subnet(prefix) => WireTarget::Subnet(prefix),
    },
    |wire| Some(match wire {
        WireTarget::Drop => RouteTarget::Drop,
        WireTarget::Gateway(id) => RouteTarget::Gateway(id.map(GatewayId)),
        WireTarget::Ip(ip) => RouteTarget::Ip(ip),
        WireTarget::Subnet(prefix) => RouteTarget::Subnet(prefix),
    }),
    "a route target"
);

/// Who made a route. At equal prefix length a custom route wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteClass {
    /// A user of the VPC.
    Custom,
    /// The VPC itself.
    System,
}

impl FromStr for RouteClass {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "custom" => Ok(Self::Custom),
            "system" => Ok(Self::System),
            _ => Err("a class is custom or system"),
        }
    }
}

impl fmt::Display for RouteClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Custom => "custom",
            Self::System => "system",
        })
    }
}

/// One route. Routes with equal destination and class and several `ip`
/// targets share the flows between them.
///
/// As text: `DEST TARGET CLASS`, as `10.0.0.0/16 sub4=10.0.0.0/16 system`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteSpec {
    /// The destination.
    pub dest: Prefix,
    /// Where it leads.
    pub target: RouteTarget,
    /// Who made it.
    pub class: RouteClass,
}

impl FromStr for RouteSpec {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let mut words = s.split_ascii_whitespace();
        let mut word = || words.next().ok_or("a route is DESTINATION TARGET CLASS");
        let route = Self {
            dest: word()?.parse()?,
            target: word()?.parse()?,
            class: word()?.parse()?,
        };
        match words.next() {
            None => Ok(route),
            Some(extra) => Err(alloc::format!("`{extra}` after the class")),
        }
    }
}

impl fmt::Display for RouteSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.dest, self.target, self.class)
    }
}

serde_text!(
    RouteSpec,
    (Prefix, RouteTarget, RouteClass),
    |route| (route.dest, route.target, route.class),
    |(dest, target, class)| Some(RouteSpec {
        dest,
        target,
        class
    }),
    "a route"
);

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn routes_print_as_they_are_read() {
        for text in [
            "0.0.0.0/0 ig system",
            "::/0 ig=01234567-89ab-cdef-0123-456789abcdef custom",
            "10.0.0.0/16 sub4=10.0.0.0/16 system",
            "fd00::/64 ip6=fd00::1 custom",
            "1.0.0.0/8 drop custom",
        ] {
            assert_eq!(text.parse::<RouteSpec>().unwrap().to_string(), text);
        }
        for bad in [
            "0.0.0.0/0 ig",
            "0.0.0.0/0 ip4=::1 system",
            "0.0.0.0/0 igg system",
            "a b c d",
        ] {
            assert!(bad.parse::<RouteSpec>().is_err(), "{bad}");
        }
    }
}

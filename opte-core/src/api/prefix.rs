//! IP prefixes.

use super::text::serde_text;
use crate::flow::Family;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::{fmt, str::FromStr};

/// An IP prefix whose host bits are zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    addr: IpAddr,
    len: u8,
}

impl Prefix {
    /// Every IPv4 address.
    pub const V4_ANY: Self = Self {
        addr: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        len: 0,
    };
    /// Every IPv6 address.
    pub const V6_ANY: Self = Self {
        addr: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        len: 0,
    };

    /// The prefix `addr/len`.
    ///
    /// # Errors
    ///
    /// When `len` is more than the family's bits or a host bit is set.
    pub const fn new(addr: IpAddr, len: u8) -> Result<Self, &'static str> {
        let zero = match addr {
            IpAddr::V4(v4) if len <= 32 => v4.to_bits() & !mask_v4(len) == 0,
            IpAddr::V6(v6) if len <= 128 => v6.to_bits() & !mask_v6(len) == 0,
            IpAddr::V4(_) => return Err("an IPv4 prefix length is 0 to 32"),
            IpAddr::V6(_) => return Err("an IPv6 prefix length is 0 to 128"),
        };
        if zero {
            Ok(Self { addr, len })
        } else {
            Err("the bits after the prefix length must be zero")
        }
    }

    /// The prefix that holds just `addr`.
    #[must_use]
    pub const fn host(addr: IpAddr) -> Self {
        let len = match addr {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        Self { addr, len }
    }

    /// The first address.
    #[must_use]
    pub const fn addr(&self) -> IpAddr {
        self.addr
    }

    /// How many leading bits count.
    #[must_use]
    pub const fn bits(&self) -> u8 {
        self.len
    }

    /// The family of the addresses in it.
    #[must_use]
    pub const fn family(&self) -> Family {
        Family::of(&self.addr)
    }

    /// Whether `addr` is in the prefix. An address of the other family isn't.
    #[must_use]
    pub const fn contains(&self, addr: &IpAddr) -> bool {
        match (&self.addr, addr) {
            (IpAddr::V4(p), IpAddr::V4(a)) => (p.to_bits() ^ a.to_bits()) & mask_v4(self.len) == 0,
            (IpAddr::V6(p), IpAddr::V6(a)) => (p.to_bits() ^ a.to_bits()) & mask_v6(self.len) == 0,
            _ => false,
        }
    }
}

const fn mask_v4(len: u8) -> u32 {
    match u32::MAX.checked_shl(32_u32.saturating_sub(len as u32)) {
        Some(mask) => mask,
        None => 0,
    }
}

const fn mask_v6(len: u8) -> u128 {
    match u128::MAX.checked_shl(128_u32.saturating_sub(len as u32)) {
        Some(mask) => mask,
        None => 0,
    }
}

impl FromStr for Prefix {
    type Err = &'static str;

    /// `ADDRESS/LENGTH`, or an address alone for the prefix of just it.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        const WHY: &str = "a prefix is ADDRESS/LENGTH, as 10.0.0.0/24 or fd00::/64";
        let (addr, len) = match s.split_once('/') {
            Some((addr, len)) => (addr, Some(len)),
            None => (s, None),
        };
        let addr: IpAddr = addr.parse().map_err(|_| WHY)?;
        match len {
            Some(len) => Self::new(addr, len.parse().map_err(|_| WHY)?),
            None => Ok(Self::host(addr)),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

serde_text!(
    Prefix,
    (IpAddr, u8),
    |prefix| (prefix.addr, prefix.len),
    |(addr, len)| Prefix::new(addr, len).ok(),
    "a prefix with a length that fits and no host bits"
);

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_prefix_holds_its_addresses_and_no_others() {
        let p: Prefix = "10.1.2.0/23".parse().unwrap();
        assert!(p.contains(&"10.1.3.255".parse().unwrap()));
        assert!(!p.contains(&"10.1.4.0".parse().unwrap()));
        assert!(!p.contains(&"::".parse().unwrap()));
        assert!(Prefix::V4_ANY.contains(&"255.0.0.1".parse().unwrap()));
        assert!(Prefix::V6_ANY.contains(&"ff02::1".parse().unwrap()));
        assert_eq!(
            "fd00::1".parse::<Prefix>().unwrap().to_string(),
            "fd00::1/128"
        );
    }

    #[test]
    fn bad_prefixes_are_refused() {
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0.1/24",
            "fd00::/129",
            "fd00::1/64",
            "10.0.0.0/-1",
        ] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
    }
}

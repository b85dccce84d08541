//! Ethernet II (IEEE 802.3).

use core::{fmt, str::FromStr};

/// An Ethernet hardware address.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// Every station on the link.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// No address.
    pub const ZERO: Self = Self([0; 6]);
    /// The virtual gateway that every guest sees as its first hop.
    pub const GATEWAY: Self = Self([0xa8, 0x40, 0x25, 0xff, 0x77, 0x77]);
    /// The inner destination of frames to a boundary tunnel end point.
    pub const BOUNDARY: Self = Self([0xa8, 0x40, 0x25, 0x77, 0x77, 0x77]);

    /// Whether the group bit is set (broadcast included).
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02X}:{b:02X}:{c:02X}:{d:02X}:{e:02X}:{g:02X}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = &'static str;

    /// Six groups of one or two hexadecimal digits with colons between them.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        const WHY: &str =
            "a MAC address is six hexadecimal bytes with colons, as A8:40:25:F0:00:01";
        let mut mac = [0; 6];
        let mut parts = s.split(':');
        for byte in &mut mac {
            let part = parts.next().ok_or(WHY)?;
            if part.is_empty() || part.len() > 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(WHY);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| WHY)?;
        }
        if parts.next().is_some() {
            Err(WHY)
        } else {
            Ok(Self(mac))
        }
    }
}

//! Geneve (RFC 8926), a second time: the lab judges the engine's frames, so it
//! doesn't read them with the engine's code.

/// The tunnel's UDP port.
pub(crate) const PORT: u16 = 6_081;

const HEADER_LEN: usize = 8;
const ETHERNET: u16 = 0x6558;
/// Class of this project's options.
const OPTION_CLASS: u16 = 0x0129;
/// Type of the option that says a packet came from outside of the fleet.
const OPTION_EXTERNAL: u8 = 0;
/// Type bit of options that the receiver must understand.
const CRITICAL: u8 = 0x80;

/// A tunnelled frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geneve<'a> {
    /// The virtual network.
    pub(crate) vni: u32,
    /// Whether it came from outside of the fleet.
    pub(crate) external: bool,
    /// The Ethernet frame.
    pub(crate) inner: &'a [u8],
}

impl<'a> Geneve<'a> {
    /// Reads the payload of a datagram to [`PORT`].
    ///
    /// # Errors
    ///
    /// Which rule of RFC 8926 it breaks.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, &'static str> {
        let (header, rest) = bytes
            .split_at_checked(HEADER_LEN)
            .ok_or("a truncated header")?;
        if header[0] >> 6 != 0 {
            return Err("a version other than 0");
        }
        if header[1] & 0x3f != 0 || header[7] != 0 {
            return Err("reserved bits that are set");
        }
        if u16::from_be_bytes([header[2], header[3]]) != ETHERNET {
            return Err("a payload other than Ethernet");
        }
        let (mut options, inner) = rest
            .split_at_checked(usize::from(header[0] & 0x3f) * 4)
            .ok_or("truncated options")?;
        let (mut external, mut critical) = (false, false);
        while !options.is_empty() {
            let (option, body) = options.split_at_checked(4).ok_or("a truncated option")?;
            let len = usize::from(option[3] & 0x1f) * 4;
            options = body.get(len..).ok_or("an option longer than its header")?;
            critical |= option[2] & CRITICAL != 0;
            let class = u16::from_be_bytes([option[0], option[1]]);
            external |= (class, option[2] & !CRITICAL) == (OPTION_CLASS, OPTION_EXTERNAL);
        }
        if critical != (header[1] & 0x40 != 0) {
            return Err("a critical bit that isn't its options'");
        }
        Ok(Self {
            vni: u32::from_be_bytes([0, header[4], header[5], header[6]]),
            external,
            inner,
        })
    }

    /// The payload of a datagram to [`PORT`].
    #[must_use]
    pub(crate) fn emit(&self) -> Vec<u8> {
        let [_, a, b, c] = self.vni.to_be_bytes();
        let [class_high, class_low] = OPTION_CLASS.to_be_bytes();
        let [kind_high, kind_low] = ETHERNET.to_be_bytes();
        let option = [class_high, class_low, OPTION_EXTERNAL, 0];
        let options = if self.external { &option[..] } else { &[] };
        let words = u8::from(self.external);
        let header = [words, 0, kind_high, kind_low, a, b, c, 0];
        [&header, options, self.inner].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_by_hand() {
        let bytes = [
            0x01, 0x00, 0x65, 0x58, 0x00, 0x00, 0x63, 0x00, // VNI 99, one word of options
            0x01, 0x29, 0x00, 0x00, // from outside
            0xaa, 0xbb,
        ];
        let geneve = Geneve {
            vni: 99,
            external: true,
            inner: &[0xaa, 0xbb],
        };
        assert_eq!(Geneve::parse(&bytes), Ok(geneve));
        assert_eq!(geneve.emit(), bytes);
        for len in 0..12 {
            assert!(Geneve::parse(&bytes[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn other_options_are_skipped_and_broken_headers_told() {
        let good = [
            0x02, 0x00, 0x65, 0x58, 0xff, 0xff, 0xff, 0x00, // the largest VNI, two words
            0x01, 0x29, 0x02, 0x01, 0x00, 0x00, 0x05, 0xb4, // a segment size
        ];
        let parsed = Geneve::parse(&good).unwrap();
        assert_eq!((parsed.vni, parsed.external), (Vni::MAX, false));
        for (at, bit) in [
            (0, 0x40),
            (1, 0x01),
            (1, 0x40),
            (2, 1),
            (7, 1),
            (10, 0x80),
            (11, 2),
        ] {
            let mut bad = good;
            bad[at] ^= bit;
            assert!(Geneve::parse(&bad).is_err(), "byte {at}");
        }
    }

    use opte_core::wire::Vni;
}

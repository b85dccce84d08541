//! Geneve (RFC 8926) and the options of ours that it carries.
//!
//! Rules     G1  Options fill their part of the header exactly and are no more
//!               than [`GENEVE_OPTIONS_MAX`].
//!           G2  An unknown option that is critical refuses the packet; an
//!               unknown one that isn't is read over (section 3.5). Each
//!               option's own bit decides, whatever the header's C bit says.
//!           G3  Ours are known with and without the critical bit: it is the
//!               sender's wish, not another option. One that comes twice or
//!               with another length is malformed.

use super::Writer;
use super::ethernet::EtherType;
use crate::DropReason;
use crate::limits::GENEVE_OPTIONS_MAX;
use core::{fmt, str::FromStr};

/// The UDP port that Geneve is sent to.
pub const PORT: u16 = 6081;
/// Bytes of a header without options.
pub const HEADER_LEN: usize = 8;
/// The class of our options.
pub const OPTION_CLASS: u16 = 0x0129;

/// The whole of the option that says that a packet came from outside of the
/// fleet, when it isn't critical.
pub(super) const FROM_OUTSIDE: [u8; 4] = [0x01, 0x29, EXTERNAL, 0];

const CRITICAL: u8 = 0x80;
const EXTERNAL: u8 = 0;
const REPLICATION: u8 = 1;
const MSS: u8 = 2;

/// A header that can be acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The network that the packet belongs to.
    pub vni: Vni,
    /// A message to the tunnel end point itself, not for a network (the O
    /// bit).
    pub control: bool,
    /// What the tunnel carries.
    pub protocol: EtherType,
    /// Bytes of the header, options included.
    pub len: usize,
    /// What the options say.
    pub options: Options,
}

/// What our options say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The packet came from outside of the fleet (type 0).
    pub external: bool,
    /// Who has to replicate a multicast packet (type 1).
    pub replication: Option<Replication>,
    /// Maximum segment size of the sender, in bytes (type 2).
    pub mss: Option<u32>,
}

/// Where a multicast packet has to be replicated to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Replication {
    /// Receivers outside of the fleet.
    External = 0,
    /// Hosts on the underlay.
    Underlay = 1,
    /// Both.
    Both = 2,
}

impl Replication {
    /// Bytes of the option that carries it.
    pub const OPTION_LEN: usize = 8;

    /// The two bits on the wire.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::External => 0,
            Self::Underlay => 1,
            Self::Both => 2,
        }
    }

    /// What two bits mean; `None` for the reserved value.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::External),
            1 => Some(Self::Underlay),
            2 => Some(Self::Both),
            _ => None,
        }
    }

    /// The option on the wire, not critical.
    #[must_use]
    pub const fn option(self) -> [u8; Self::OPTION_LEN] {
        let [c0, c1] = OPTION_CLASS.to_be_bytes();
        [c0, c1, REPLICATION, 1, self.bits() << 6, 0, 0, 0]
    }

    /// What both ask for together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        if self == other { self } else { Self::Both }
    }

    /// The part of this that is also in `asked`.
    #[must_use]
    pub fn within(self, asked: Self) -> Option<Self> {
        match (self, asked) {
            (mode, Self::Both) | (Self::Both, mode) => Some(mode),
            (mode, other) => (mode == other).then_some(mode),
        }
    }

    /// Whether hosts are to have the packet.
    #[must_use]
    pub const fn has_hosts(self) -> bool {
        matches!(self, Self::Underlay | Self::Both)
    }

    /// The mode's one spelling.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::External => "external",
            Self::Underlay => "underlay",
            Self::Both => "both",
        }
    }
}

impl FromStr for Replication {
    type Err = ();

    fn from_str(s: &str) -> Result<Self, ()> {
        [Self::External, Self::Underlay, Self::Both]
            .into_iter()
            .find(|mode| mode.name() == s)
            .ok_or(())
    }
}

/// Why bytes are no Geneve header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// They end before the header does.
    Truncated,
    /// The version isn't zero.
    Version,
    /// An option is longer than the options, or one of ours has another length
    /// than it can have.
    OptionLen,
    /// One of ours has a value that means nothing.
    OptionValue,
    /// One of ours comes twice.
    OptionTwice,
    /// More options than are walked.
    OptionLimit,
    /// An unknown option is critical.
    Critical,
}

impl From<Error> for DropReason {
    fn from(error: Error) -> Self {
        match error {
            Error::Critical => Self::GeneveCriticalOption,
            Error::Version => Self::GeneveVersion,
            Error::Truncated
            | Error::OptionLen
            | Error::OptionValue
            | Error::OptionTwice
            | Error::OptionLimit => Self::BadGeneve,
        }
    }
}

impl Header {
    /// Splits a header off the front of `bytes`; the rest is what the tunnel
    /// carries.
    ///
    /// # Errors
    ///
    /// When the header is cut off, of another version, or an option is
    /// malformed or critical and unknown.
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let ([vl, oc, p0, p1, v0, v1, v2, _], rest) =
            bytes.split_first_chunk().ok_or(Error::Truncated)?;
        if vl >> 6 != 0 {
            return Err(Error::Version);
        }
        let options_len = usize::from(vl & 0x3f) << 2;
        let (options, inner) = rest.split_at_checked(options_len).ok_or(Error::Truncated)?;
        let header = Self {
            vni: Vni::from_bytes([*v0, *v1, *v2]),
            control: oc & 0x80 != 0,
            protocol: EtherType(u16::from_be_bytes([*p0, *p1])),
            len: HEADER_LEN.saturating_add(options_len),
            options: Options::parse(options)?,
        };
        Ok((header, inner))
    }
}

impl Options {
    fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut found = Self::default();
        let mut rest = bytes;
        for _ in 0..GENEVE_OPTIONS_MAX {
            if rest.is_empty() {
                return Ok(found);
            }
            let ([c0, c1, kind, len], after) = rest.split_first_chunk().ok_or(Error::OptionLen)?;
            let (body, after) = after
                .split_at_checked(usize::from(len & 0x1f) << 2)
                .ok_or(Error::OptionLen)?;
            rest = after;
            let is_known = u16::from_be_bytes([*c0, *c1]) == OPTION_CLASS
                && found.take(kind & !CRITICAL, body)?;
            if !is_known && kind & CRITICAL != 0 {
                return Err(Error::Critical);
            }
        }
        if rest.is_empty() {
            Ok(found)
        } else {
            Err(Error::OptionLimit)
        }
    }

    /// Takes one option of our class; `false` when its type is unknown.
    fn take(&mut self, kind: u8, body: &[u8]) -> Result<bool, Error> {
        let word = |body: &[u8]| -> Result<[u8; 4], Error> {
            body.try_into().map_err(|_| Error::OptionLen)
        };
        let is_second = match kind {
            EXTERNAL if !body.is_empty() => return Err(Error::OptionLen),
            EXTERNAL => core::mem::replace(&mut self.external, true),
            REPLICATION => {
                let [first, ..] = word(body)?;
                let replication = Replication::from_bits(first >> 6).ok_or(Error::OptionValue)?;
                self.replication.replace(replication).is_some()
            }
            MSS => {
                let mss = u32::from_be_bytes(word(body)?);
                self.mss.replace(mss).is_some()
            }
            _ => return Ok(false),
        };
        if is_second {
            Err(Error::OptionTwice)
        } else {
            Ok(true)
        }
    }

    /// Bytes of these options on the wire.
    #[must_use]
    pub const fn len(&self) -> usize {
        let external = if self.external { 4 } else { 0_usize };
        let replication = if self.replication.is_some() { 8 } else { 0 };
        let mss = if self.mss.is_some() { 8 } else { 0 };
        external.saturating_add(replication).saturating_add(mss)
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The fixed part of the header of an Ethernet frame in network `vni`, with
/// room declared for `options_len` bytes of options: a multiple of four, 252
/// at most. None of ours is critical.
#[must_use]
pub fn fixed(vni: Vni, options_len: usize) -> [u8; HEADER_LEN] {
    let words = u8::try_from(options_len >> 2).unwrap_or(0x3f).min(0x3f);
    let [p0, p1] = EtherType::ETHERNET.0.to_be_bytes();
    let [v0, v1, v2] = vni.to_bytes();
    [words, 0, p0, p1, v0, v1, v2, 0]
}

/// Appends the header of an Ethernet frame in network `vni`.
pub fn emit(vni: Vni, options: &Options, out: &mut Writer) {
    out.put(&fixed(vni, options.len()));
    let mut option = |kind: u8, body: &[u8]| {
        out.put_u16(OPTION_CLASS);
        out.put_u8(kind);
        out.put_u8(if body.is_empty() { 0 } else { 1 });
        out.put(body);
    };
    if options.external {
        option(EXTERNAL, &[]);
    }
    if let Some(replication) = options.replication {
        option(REPLICATION, &[replication.bits() << 6, 0, 0, 0]);
    }
    if let Some(mss) = options.mss {
        option(MSS, &mss.to_be_bytes());
    }
}

/// A virtual network identifier: 24 bits, kept as on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Vni([u8; 3]);

impl Vni {
    /// The largest identifier.
    pub const MAX: u32 = 0x00ff_ffff;

    /// Checks that `vni` fits 24 bits.
    #[must_use]
    pub const fn new(vni: u32) -> Option<Self> {
        match vni.to_be_bytes() {
            [0, a, b, c] => Some(Self([a, b, c])),
            _ => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        let [a, b, c] = self.0;
        u32::from_be_bytes([0, a, b, c])
    }

    /// The three bytes on the wire.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 3] {
        self.0
    }

    /// The identifier in three bytes off the wire.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 3]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.get(), f)
    }
}

impl FromStr for Vni {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        s.parse()
            .ok()
            .and_then(Self::new)
            .ok_or("a VNI is a number from 0 to 16777215")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::{refuses_truncation, survives_anything};
    use std::vec::Vec;

    const ALL: Options = Options {
        external: true,
        replication: Some(Replication::Both),
        mss: Some(1_448),
    };

    fn vni() -> Vni {
        Vni::new(0x01_02_03).unwrap()
    }

    fn written(options: &Options) -> Vec<u8> {
        let mut out = Writer::default();
        emit(vni(), options, &mut out);
        assert_eq!(out.len(), HEADER_LEN + options.len());
        out.into_bytes()
    }

    /// A header with these option bytes.
    fn with_options(options: &[u8]) -> Result<Options, Error> {
        let mut bytes = fixed(vni(), options.len()).to_vec();
        bytes.extend(options);
        Header::parse(&bytes).map(|(header, _)| header.options)
    }

    #[test]
    fn a_header_on_the_wire() {
        assert_eq!(
            written(&ALL),
            [
                5, 0, 0x65, 0x58, 1, 2, 3, 0, // fixed
                0x01, 0x29, 0, 0, // external
                0x01, 0x29, 1, 1, 0x80, 0, 0, 0, // replication
                0x01, 0x29, 2, 1, 0, 0, 0x05, 0xa8, // segment size
            ]
        );
        assert!(Options::default().is_empty());
    }

    #[test]
    fn a_header_reads_as_it_was_written() {
        for replication in [
            None,
            Some(Replication::External),
            Some(Replication::Underlay),
        ] {
            for (external, mss) in [(false, None), (true, Some(9)), (false, Some(0))] {
                let options = Options {
                    external,
                    replication,
                    mss,
                };
                let mut bytes = written(&options);
                let len = bytes.len();
                bytes.extend([7; 3]);
                let (header, inner) = Header::parse(&bytes).unwrap();
                assert_eq!(
                    (header.vni, header.control, header.len),
                    (vni(), false, len)
                );
                assert_eq!(
                    (header.options, header.protocol),
                    (options, EtherType::ETHERNET)
                );
                assert_eq!(inner, [7; 3]);
            }
        }
    }

    #[test]
    fn the_critical_bit_decides_about_unknown_options() {
        // Another class, and an unknown type of ours.
        for class in [0x01, 0x02] {
            assert_eq!(
                with_options(&[class, 0x29, 0x11, 1, 9, 9, 9, 9, 0x01, 0x29, 0, 0]),
                Ok(Options {
                    external: true,
                    ..Options::default()
                })
            );
            assert_eq!(with_options(&[class, 0x29, 0x91, 0]), Err(Error::Critical));
        }
        assert_eq!(
            with_options(&[0x01, 0x29, 0x82, 1, 0, 0, 0, 5]),
            Ok(Options {
                mss: Some(5),
                ..Options::default()
            })
        );
    }

    #[test]
    fn malformed_options_are_refused() {
        let ours = |kind, len, first| {
            let mut option = std::vec![0x01, 0x29, kind, len, first];
            option.resize(4 + usize::from(len) * 4, 0);
            option
        };
        assert_eq!(with_options(&ours(0, 1, 0)), Err(Error::OptionLen));
        assert_eq!(with_options(&ours(1, 0, 0)), Err(Error::OptionLen));
        assert_eq!(with_options(&ours(1, 2, 0)), Err(Error::OptionLen));
        assert_eq!(with_options(&ours(2, 2, 0)), Err(Error::OptionLen));
        assert_eq!(with_options(&ours(1, 1, 0xc0)), Err(Error::OptionValue));
        assert_eq!(
            with_options(&[ours(1, 1, 0), ours(1, 1, 0)].concat()),
            Err(Error::OptionTwice)
        );
        assert_eq!(
            with_options(&[ours(0, 0, 0), ours(0, 0, 0)].concat()),
            Err(Error::OptionTwice)
        );
        assert_eq!(with_options(&[0, 0, 1, 1]), Err(Error::OptionLen));
        let most = [0, 0, 1, 0].repeat(GENEVE_OPTIONS_MAX);
        assert!(with_options(&most).is_ok());
        let more = [0, 0, 1, 0].repeat(GENEVE_OPTIONS_MAX + 1);
        assert_eq!(with_options(&more), Err(Error::OptionLimit));
    }

    #[test]
    fn short_and_random_headers_are_refused() {
        let good = written(&ALL);
        refuses_truncation(&good, Header::parse);
        survives_anything(&good, |bytes| _ = Header::parse(bytes));
        let mut bytes = good.clone();
        bytes[0] |= 0x40;
        assert_eq!(Header::parse(&bytes), Err(Error::Version));
        bytes = good;
        bytes[1] = 0x80;
        assert!(Header::parse(&bytes).unwrap().0.control);
    }

    #[test]
    fn a_vni_has_24_bits() {
        assert_eq!(Vni::new(Vni::MAX + 1), None);
        assert_eq!("16777215".parse(), Ok(Vni([0xff; 3])));
        assert!("16777216".parse::<Vni>().is_err());
    }
}

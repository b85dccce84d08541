//! One frame as the script says it.
//!
//! ```text
//! FRAME  = KIND ARGUMENTS.. OPTION.. [ `/` FRAME ]
//! ```
//!
//! What stands after `/` is carried: the inner frame of `geneve`, the quoted
//! packet of an ICMP error.

use super::dhcp::{self, Dhcp};
use super::dhcp6::{self, Dhcp6};
use super::scene::Mac;
use super::wire::{ICMP, ICMPV6, Ip};
use super::word::{Words, hex, number};
use anyhow::{Context, Result, bail, ensure};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    pub(super) kind: Kind,
    pub(super) smac: Option<Mac>,
    pub(super) dmac: Option<Mac>,
    pub(super) vlan: Option<u16>,
    pub(super) ip: Ip,
    /// The transport's checksum is wrong.
    pub(super) bad_checksum: bool,
    pub(super) payload: Vec<u8>,
    /// Bytes that are left of the frame.
    pub(super) cut: Option<usize>,
    /// What comes behind it.
    pub(super) trailer: Vec<u8>,
    pub(super) carried: Option<Box<Spec>>,
}

/// What a frame is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bytes as they are.
    Raw(Vec<u8>),
    Arp(Arp),
    Udp {
        src: SocketAddr,
        dst: SocketAddr,
    },
    Tcp {
        src: SocketAddr,
        dst: SocketAddr,
        tcp: Tcp,
    },
    Icmp {
        src: IpAddr,
        dst: IpAddr,
        icmp: Icmp,
    },
    /// A neighbour discovery message (RFC 4861).
    Ndp {
        src: Ipv6Addr,
        dst: Ipv6Addr,
        ndp: Ndp,
    },
    /// Any other protocol, by number.
    Ip {
        src: IpAddr,
        dst: IpAddr,
        proto: u8,
    },
    Dhcp(Dhcp),
    Dhcp6(Dhcp6),
    Geneve {
        src: IpAddr,
        dst: IpAddr,
        geneve: Geneve,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Arp {
    WhoHas {
        target: Ipv4Addr,
        sender: Ipv4Addr,
    },
    IsAt {
        sender: Ipv4Addr,
        mac: Option<Mac>,
        target: Ipv4Addr,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tcp {
    pub(super) flags: u8,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) window: Option<u16>,
    /// Options, padded when they are written.
    pub(super) options: Vec<u8>,
}

/// The first eight bytes of an ICMP message, without the checksum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Icmp {
    pub(super) kind: u8,
    pub(super) code: u8,
    pub(super) rest: [u8; 4],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ndp {
    Solicit { target: Ipv6Addr },
    Advertise { target: Ipv6Addr, mac: Option<Mac> },
    RouterSolicit,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Geneve {
    pub(super) vni: u32,
    pub(super) source_port: Option<u16>,
    pub(super) options: Vec<u8>,
}

/// Parses the words that are left of a line.
pub(super) fn parse(words: &mut Words<'_>) -> Result<Spec> {
    let kind = words.next("the kind of frame")?;
    let mut spec = Spec {
        kind: parse_kind(kind, words)?,
        smac: None,
        dmac: None,
        vlan: None,
        ip: Ip::default(),
        bad_checksum: false,
        payload: Vec::new(),
        cut: None,
        trailer: Vec::new(),
        carried: None,
    };
    while let Some(word) = words.next_if_any() {
        if word == "/" {
            spec.carried = Some(Box::new(parse(words)?));
        } else if !spec.kind.option(word, words)? && !spec.option(word, words)? {
            bail!("`{word}` says nothing about a frame of kind `{kind}`");
        }
    }
    spec.check(kind)?;
    Ok(spec)
}

fn parse_kind(kind: &str, words: &mut Words<'_>) -> Result<Kind> {
    Ok(match kind {
        "raw" => Kind::Raw(words.bytes("bytes in hexadecimal")?),
        "arp" => Kind::Arp(parse_arp(words)?),
        "udp" => {
            let (src, dst) = ends(words)?;
            Kind::Udp { src, dst }
        }
        "tcp" => {
            let (src, dst) = ends(words)?;
            let tcp = Tcp::default();
            Kind::Tcp { src, dst, tcp }
        }
        "icmp" => {
            let (src, dst) = addresses(words)?;
            let icmp = parse_icmp(src.is_ipv6(), words)?;
            Kind::Icmp { src, dst, icmp }
        }
        "ip" => {
            let proto = words.number("a protocol's number")?;
            let (src, dst) = addresses(words)?;
            Kind::Ip { src, dst, proto }
        }
        "geneve" => {
            let (src, dst) = addresses(words)?;
            words.expect("vni")?;
            let vni = words.number("a VNI")?;
            ensure!(vni < 1 << 24, "a VNI has 24 bits");
            let geneve = Geneve {
                vni,
                ..Geneve::default()
            };
            Kind::Geneve { src, dst, geneve }
        }
        "ns" | "na" | "rs" => parse_ndp(kind, words)?,
        "dhcp" => Kind::Dhcp(dhcp::parse(words)?),
        "dhcp6" => Kind::Dhcp6(dhcp6::parse(words)?),
        other => bail!(
            "`{other}` is no kind of frame: udp, tcp, icmp, ip, arp, ns, na, rs, dhcp, dhcp6, geneve, raw"
        ),
    })
}

/// `SOURCE:PORT > DESTINATION:PORT`.
fn ends(words: &mut Words<'_>) -> Result<(SocketAddr, SocketAddr)> {
    let src = words.parse("ADDRESS:PORT or [ADDRESS]:PORT")?;
    words.expect(">")?;
    Ok((src, words.parse("ADDRESS:PORT or [ADDRESS]:PORT")?))
}

/// `SOURCE > DESTINATION`.
fn addresses(words: &mut Words<'_>) -> Result<(IpAddr, IpAddr)> {
    let src = words.parse("an address")?;
    words.expect(">")?;
    Ok((src, words.parse("an address")?))
}

/// `who-has TARGET tell SENDER` or `SENDER is-at MAC to TARGET`.
fn parse_arp(words: &mut Words<'_>) -> Result<Arp> {
    if words.take("who-has") {
        let target = words.parse("an IPv4 address")?;
        words.expect("tell")?;
        let sender = words.parse("an IPv4 address")?;
        return Ok(Arp::WhoHas { target, sender });
    }
    let sender = words.parse("an IPv4 address or `who-has`")?;
    words.expect("is-at")?;
    let mac = own_or_mac(words)?;
    words.expect("to")?;
    let target = words.parse("an IPv4 address")?;
    Ok(Arp::IsAt {
        sender,
        mac,
        target,
    })
}

/// `me`, which is the frame's source address, or a MAC address.
fn own_or_mac(words: &mut Words<'_>) -> Result<Option<Mac>> {
    if words.take("me") {
        Ok(None)
    } else {
        words.parse("`me` or a MAC address").map(Some)
    }
}

/// `ns TARGET from SENDER [to ADDRESS]`, `na TARGET is-at MAC to ADDRESS`,
/// `rs from SENDER`.
fn parse_ndp(kind: &str, words: &mut Words<'_>) -> Result<Kind> {
    const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
    if kind == "rs" {
        words.expect("from")?;
        return Ok(Kind::Ndp {
            src: words.parse("an IPv6 address")?,
            dst: ALL_ROUTERS,
            ndp: Ndp::RouterSolicit,
        });
    }
    let target: Ipv6Addr = words.parse("an IPv6 address")?;
    if kind == "na" {
        words.expect("is-at")?;
        let mac = own_or_mac(words)?;
        words.expect("to")?;
        return Ok(Kind::Ndp {
            src: target,
            dst: words.parse("an IPv6 address")?,
            ndp: Ndp::Advertise { target, mac },
        });
    }
    words.expect("from")?;
    let src = words.parse("an IPv6 address")?;
    let dst = if words.take("to") {
        words.parse("an IPv6 address")?
    } else {
        solicited_node(target)
    };
    let ndp = Ndp::Solicit { target };
    Ok(Kind::Ndp { src, dst, ndp })
}

/// The group that everybody with this address listens to (RFC 4291 section
/// 2.7.1).
fn solicited_node(target: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = target.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low)
}

/// What an ICMP message says, in the numbers of the family.
fn parse_icmp(v6: bool, words: &mut Words<'_>) -> Result<Icmp> {
    let pick = |four: (u8, u8), six: (u8, u8)| if v6 { six } else { four };
    let mut rest = [0; 4];
    let (kind, code) = match words.next("what the ICMP message says")? {
        "echo" => pick((8, 0), (128, 0)),
        "reply" => pick((0, 0), (129, 0)),
        "unreachable" => {
            let code = words.number("a code")?;
            pick((3, code), (1, code))
        }
        "too-big" => {
            let mtu: u16 = words.number("an MTU")?;
            let [high, low] = mtu.to_be_bytes();
            // Both families end the word with the MTU.
            rest = [0, 0, high, low];
            pick((3, 4), (2, 0))
        }
        "time-exceeded" => pick((11, 0), (3, 0)),
        "type" => {
            let kind = words.number("a type")?;
            words.expect("code")?;
            (kind, words.number("a code")?)
        }
        other => bail!(
            "`{other}`: an ICMP message is echo, reply, unreachable CODE, too-big MTU, time-exceeded or type N code N"
        ),
    };
    Ok(Icmp { kind, code, rest })
}

impl Kind {
    /// Takes an option that only this kind has.
    fn option(&mut self, word: &str, words: &mut Words<'_>) -> Result<bool> {
        match self {
            Self::Tcp { tcp, .. } => tcp.option(word, words),
            Self::Icmp { icmp, .. } => icmp.option(word, words),
            Self::Geneve { geneve, .. } => geneve.option(word, words),
            Self::Dhcp(dhcp) => dhcp.option(word, words),
            Self::Dhcp6(dhcp) => dhcp.option(word, words),
            _ => Ok(false),
        }
    }

    /// Whether something can be carried after `/`.
    fn carries(&self) -> bool {
        matches!(self, Self::Icmp { .. } | Self::Geneve { .. })
    }
}

impl Tcp {
    fn option(&mut self, word: &str, words: &mut Words<'_>) -> Result<bool> {
        const FLAGS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
        // `ack 5` is the flag with its number, `ack` alone can't be.
        match word {
            "seq" => self.seq = words.number("a sequence number")?,
            "ack" => {
                self.ack = words.number("an acknowledgement number")?;
                self.flags |= 1 << 4;
            }
            "win" => self.window = Some(words.number("a window")?),
            "mss" => {
                let mss: u16 = words.number("a segment size")?;
                self.options.extend([2, 4]);
                self.options.extend(mss.to_be_bytes());
            }
            "wscale" => self.options.extend([3, 3, words.number("a shift")?]),
            "sack-ok" => self.options.extend([4, 2]),
            flag => {
                let Some(bit) = FLAGS.iter().position(|f| *f == flag) else {
                    return Ok(false);
                };
                self.flags |= 1 << bit;
            }
        }
        Ok(true)
    }
}

impl Icmp {
    fn option(&mut self, word: &str, words: &mut Words<'_>) -> Result<bool> {
        let at = match word {
            "id" => 0,
            "seq" => 2,
            _ => return Ok(false),
        };
        let value: u16 = words.number("a number of 16 bits")?;
        super::wire::put16(&mut self.rest, at, value);
        Ok(true)
    }
}

impl Geneve {
    fn option(&mut self, word: &str, words: &mut Words<'_>) -> Result<bool> {
        match word {
            "sport" => self.source_port = Some(words.number("a port")?),
            // It came from outside of the fleet.
            "outside" => self.push_option(0x0129, 0, &[])?,
            "mss" => {
                let mss: u32 = words.number("a segment size")?;
                self.push_option(0x0129, 2, &mss.to_be_bytes())?;
            }
            "option" => {
                let text = words.next("CLASS:TYPE:BYTES")?;
                let mut parts = text.splitn(3, ':');
                let mut part = || parts.next().context("an option is CLASS:TYPE:BYTES");
                let (class, kind) = (number(part()?)?, number(part()?)?);
                self.push_option(class, kind, &hex(part()?)?)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// RFC 8926 section 3.5.
    fn push_option(&mut self, class: u16, kind: u8, data: &[u8]) -> Result<()> {
        ensure!(
            data.len().is_multiple_of(4) && data.len() <= 124,
            "an option has a multiple of four bytes, at most 124"
        );
        let len_words = u8::try_from(data.len() / 4)?;
        self.options.extend(class.to_be_bytes());
        self.options.extend([kind, len_words]);
        self.options.extend(data);
        ensure!(self.options.len() <= 252, "more options than fit");
        Ok(())
    }
}

impl Spec {
    /// Takes an option that every frame has.
    fn option(&mut self, word: &str, words: &mut Words<'_>) -> Result<bool> {
        match word {
            "len" => {
                let len: usize = words.number("a number of bytes")?;
                ensure!(len <= 65_535, "more than 65535 bytes");
                self.payload = (0..=u8::MAX).cycle().take(len).collect();
            }
            "data" => self.payload = words.bytes("bytes in hexadecimal")?,
            "smac" => self.smac = Some(words.parse("a MAC address")?),
            "dmac" => self.dmac = Some(words.parse("a MAC address")?),
            "vlan" => self.vlan = Some(words.number("a VLAN tag")?),
            "ttl" => self.ip.ttl = Some(words.number("a hop limit")?),
            "tos" => self.ip.tos = words.number("a traffic class")?,
            "ip-id" => self.ip.id = words.number("an identification")?,
            "df" => self.ip.df = true,
            "fragment" => {
                let size: usize = words.number("bytes of each fragment")?;
                ensure!(
                    size > 0 && size.is_multiple_of(8),
                    "fragments are multiples of eight bytes"
                );
                self.ip.fragment = Some((size, words.number("which fragment, from 0")?));
            }
            "bad-checksum" => self.bad_checksum = true,
            "bad-ip-checksum" => self.ip.bad_checksum = true,
            "trailer" => self.trailer = words.bytes("bytes in hexadecimal")?,
            "cut" => self.cut = Some(words.number("a number of bytes")?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Things that can't be said together.
    fn check(&self, kind: &str) -> Result<()> {
        ensure!(
            self.carried.is_none() || self.kind.carries(),
            "`{kind}` carries nothing"
        );
        ensure!(
            self.carried.is_none() || self.payload.is_empty(),
            "both a payload and something carried"
        );
        let needs = matches!(self.kind, Kind::Geneve { .. }) && self.payload.is_empty();
        ensure!(
            !needs || self.carried.is_some(),
            "`geneve` carries a frame: write it after `/`"
        );
        Ok(())
    }
}

/// The protocol's number of an ICMP message.
pub(super) fn icmp_proto(address: IpAddr) -> u8 {
    if address.is_ipv4() { ICMP } else { ICMPV6 }
}

//! DHCPv6 messages of a client (RFC 8415).

use super::scene::Mac;
use super::word::{Words, number};
use anyhow::{Context, Result, bail, ensure};
use std::net::{Ipv6Addr, SocketAddr};

/// All servers and relays on the link (section 7.1).
const ALL_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// A message from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dhcp6 {
    kind: u8,
    xid: u32,
    from: Ipv6Addr,
    to: Ipv6Addr,
    /// The client says nothing of who it is.
    nameless: bool,
    options: Vec<(u16, Vec<u8>)>,
}

const KINDS: [(&str, u8); 8] = [
    ("solicit", 1),
    ("request", 3),
    ("confirm", 4),
    ("renew", 5),
    ("rebind", 6),
    ("release", 8),
    ("decline", 9),
    ("information-request", 11),
];

/// Identity associations: word, code, bytes before the options in them.
const IAS: [(&str, u16, usize); 3] = [("na", 3, 12), ("ta", 4, 4), ("pd", 25, 12)];

/// Parses what follows `dhcp6`.
pub(super) fn parse(words: &mut Words<'_>) -> Result<Dhcp6> {
    let word = words.next("the type of the DHCPv6 message")?;
    let Some((_, kind)) = KINDS.iter().find(|(name, _)| *name == word) else {
        let known = KINDS.map(|(name, _)| name).join(", ");
        bail!("`{word}`: a client's message is one of {known}");
    };
    words.expect("xid")?;
    let xid: u32 = words.number("a transaction's number")?;
    ensure!(xid < 1 << 24, "a transaction's number has 24 bits");
    words.expect("from")?;
    Ok(Dhcp6 {
        kind: *kind,
        xid,
        from: words.parse("an IPv6 address")?,
        to: ALL_SERVERS,
        nameless: false,
        options: Vec::new(),
    })
}

impl Dhcp6 {
    pub(super) fn option(&mut self, word: &str, words: &mut Words<'_>) -> Result<bool> {
        if let Some((_, code, len)) = IAS.iter().find(|(name, ..)| *name == word) {
            let id: u32 = words.number("an association's number")?;
            let mut data = id.to_be_bytes().to_vec();
            data.resize(*len, 0);
            self.options.push((*code, data));
            return Ok(true);
        }
        match word {
            "to" => self.to = words.parse("an IPv6 address")?,
            "nameless" => self.nameless = true,
            "server" => {
                let mac: Mac = words.parse("the server's MAC address")?;
                self.options.push((2, duid(mac)));
            }
            "want" => {
                let address: Ipv6Addr = words.parse("an IPv6 address")?;
                let ia = self.options.last_mut();
                let ia = ia.filter(|(code, _)| IAS.iter().any(|(_, known, _)| known == code));
                let (_, data) = ia.context("`want` goes behind `na`, `ta` or `pd`")?;
                // Without wishes for its lifetimes (section 21.6).
                data.extend([0, 5, 0, 24]);
                data.extend(address.octets());
                data.extend([0; 8]);
            }
            "rapid" => self.options.push((14, Vec::new())),
            "params" => {
                let list = words.next("options' numbers with commas")?;
                let numbers: Result<Vec<u16>> = list.split(',').map(number).collect();
                let numbers = numbers.with_context(|| format!("`{list}`"))?;
                let data = numbers.into_iter().flat_map(u16::to_be_bytes).collect();
                self.options.push((6, data));
            }
            "fqdn" => {
                let name = words.next("a name")?;
                // The server shall update DNS (RFC 4704 section 4.1).
                let mut data = vec![1];
                for label in name.split('.') {
                    data.push(u8::try_from(label.len())?);
                    data.extend(label.bytes());
                }
                data.push(0);
                self.options.push((39, data));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// From the client's port to the server's.
    pub(super) fn ends(&self) -> (SocketAddr, SocketAddr) {
        ((self.from, 546).into(), (self.to, 547).into())
    }

    /// RFC 8415 section 8.
    pub(super) fn message(&self, client: Mac) -> Result<Vec<u8>> {
        let [_, x0, x1, x2] = self.xid.to_be_bytes();
        let mut out = vec![self.kind, x0, x1, x2];
        let own = (!self.nameless).then(|| (1, duid(client)));
        for (code, data) in own.iter().chain(&self.options) {
            out.extend(code.to_be_bytes());
            out.extend(u16::try_from(data.len())?.to_be_bytes());
            out.extend(data);
        }
        Ok(out)
    }
}

/// DUID-LL (section 11.4).
fn duid(mac: Mac) -> Vec<u8> {
    [&[0, 3, 0, 1][..], &mac.0].concat()
}

//! DHCP messages of a client (RFC 2131, RFC 2132).

use super::scene::Mac;
use super::word::{Words, number};
use anyhow::{Context, Result, bail, ensure};
use std::net::{Ipv4Addr, SocketAddr};

/// A message from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dhcp {
    kind: u8,
    xid: u32,
    /// The client's address, when it has one already.
    from: Ipv4Addr,
    to: Ipv4Addr,
    /// The reply has to be broadcast.
    broadcast: bool,
    /// Options after the message type, as they go on the wire.
    options: Vec<u8>,
}

const KINDS: [(&str, u8); 5] = [
    ("discover", 1),
    ("request", 3),
    ("decline", 4),
    ("release", 7),
    ("inform", 8),
];

/// Parses what follows `dhcp`.
pub(super) fn parse(words: &mut Words<'_>) -> Result<Dhcp> {
    let word = words.next("the type of the DHCP message")?;
    let Some((_, kind)) = KINDS.iter().find(|(name, _)| *name == word) else {
        bail!("`{word}`: a client's message is discover, request, decline, release or inform");
    };
    words.expect("xid")?;
    Ok(Dhcp {
        kind: *kind,
        xid: words.number("a transaction's number")?,
        from: Ipv4Addr::UNSPECIFIED,
        to: Ipv4Addr::BROADCAST,
        broadcast: false,
        options: Vec::new(),
    })
}

impl Dhcp {
    pub(super) fn option(&mut self, word: &str, words: &mut Words<'_>) -> Result<bool> {
        match word {
            "from" => self.from = words.parse("an IPv4 address")?,
            "to" => self.to = words.parse("an IPv4 address")?,
            "broadcast" => self.broadcast = true,
            "want" => self.push_address(50, words)?,
            "server" => self.push_address(54, words)?,
            // RFC 4039: without a value.
            "rapid" => self.options.extend([80, 0]),
            "lease" => {
                let seconds: u32 = words.number("seconds")?;
                self.push(51, &seconds.to_be_bytes())?;
            }
            "hostname" => self.push(12, words.next("a name")?.as_bytes())?,
            "params" => {
                let list = words.next("options' numbers with commas")?;
                let numbers: Result<Vec<u8>> = list.split(',').map(number).collect();
                self.push(55, &numbers.with_context(|| format!("`{list}`"))?)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn push_address(&mut self, option: u8, words: &mut Words<'_>) -> Result<()> {
        let address: Ipv4Addr = words.parse("an IPv4 address")?;
        self.push(option, &address.octets())
    }

    fn push(&mut self, option: u8, value: &[u8]) -> Result<()> {
        ensure!(!value.is_empty(), "an option without a value");
        let len = u8::try_from(value.len()).context("an option has at most 255 bytes")?;
        self.options.extend([option, len]);
        self.options.extend(value);
        Ok(())
    }

    /// From the client's port to the server's.
    pub(super) fn ends(&self) -> (SocketAddr, SocketAddr) {
        ((self.from, 68).into(), (self.to, 67).into())
    }

    /// RFC 2131 section 2.
    pub(super) fn message(&self, client: Mac) -> Result<Vec<u8>> {
        const BOOTREQUEST: u8 = 1;
        const ETHERNET: [u8; 2] = [1, 6];
        const BROADCAST: [u8; 2] = [0x80, 0];
        const MAGIC: [u8; 4] = [99, 130, 83, 99];
        /// What a relay from the days of BOOTP takes (RFC 951).
        const LEN_MIN: usize = 300;
        let mut out = vec![BOOTREQUEST];
        out.extend(ETHERNET);
        out.push(0);
        out.extend(self.xid.to_be_bytes());
        out.extend([0, 0]);
        out.extend(if self.broadcast { BROADCAST } else { [0, 0] });
        out.extend(self.from.octets());
        out.extend([0; 12]);
        out.extend(client.0);
        // The rest of the hardware address, the server's name, the file.
        out.resize(236, 0);
        out.extend(MAGIC);
        out.extend([53, 1, self.kind]);
        out.extend(&self.options);
        out.push(255);
        out.resize(out.len().max(LEN_MIN), 0);
        Ok(out)
    }
}

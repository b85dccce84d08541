//! ARP for IPv4 over Ethernet (RFC 826).

use super::{MacAddr, Writer};
use crate::DropReason;
use core::net::Ipv4Addr;

/// Bytes of an ARP packet.
pub const PACKET_LEN: usize = 28;

/// Hardware type Ethernet, protocol type IPv4, and the lengths of both.
const FORM: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];

/// An ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What it wants.
    pub operation: Operation,
    /// MAC address of the sender.
    pub sender_mac: MacAddr,
    /// IPv4 address of the sender; zero in a probe (RFC 5227).
    pub sender: Ipv4Addr,
    /// MAC address of the target; means nothing in a request.
    pub target_mac: MacAddr,
    /// IPv4 address of the target.
    pub target: Ipv4Addr,
}

/// What an ARP packet wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation(pub u16);

impl Operation {
    /// Who has the target address?
    pub const REQUEST: Self = Self(1);
    /// The sender has the sender address.
    pub const REPLY: Self = Self(2);
}

/// Why bytes are no ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// They are fewer than the packet has.
    Truncated,
    /// It is about something else than IPv4 on Ethernet.
    Form,
}

impl From<Error> for DropReason {
    fn from(error: Error) -> Self {
        match error {
            Error::Truncated => Self::Truncated,
            Error::Form => Self::BadArp,
        }
    }
}

impl Packet {
    /// Reads a packet; what follows it is padding.
    ///
    /// # Errors
    ///
    /// When the bytes are too few or aren't about IPv4 on Ethernet.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let (form, rest) = bytes.split_first_chunk().ok_or(Error::Truncated)?;
        let (operation, rest) = rest.split_first_chunk().ok_or(Error::Truncated)?;
        let (sender_mac, rest) = rest.split_first_chunk().ok_or(Error::Truncated)?;
        let (sender, rest) = rest.split_first_chunk().ok_or(Error::Truncated)?;
        let (target_mac, rest) = rest.split_first_chunk().ok_or(Error::Truncated)?;
        let (target, _) = rest.split_first_chunk().ok_or(Error::Truncated)?;
        if *form != FORM {
            return Err(Error::Form);
        }
        Ok(Self {
            operation: Operation(u16::from_be_bytes(*operation)),
            sender_mac: MacAddr(*sender_mac),
            sender: Ipv4Addr::from_octets(*sender),
            target_mac: MacAddr(*target_mac),
            target: Ipv4Addr::from_octets(*target),
        })
    }

    /// Appends the packet.
    pub fn emit(&self, out: &mut Writer) {
        out.put(&FORM);
        out.put_u16(self.operation.0);
        out.put(&self.sender_mac.0);
        out.put(&self.sender.octets());
        out.put(&self.target_mac.0);
        out.put(&self.target.octets());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::{refuses_truncation, survives_anything};

    const BYTES: [u8; PACKET_LEN] = [
        0, 1, 8, 0, 6, 4, 0, 1, //
        1, 2, 3, 4, 5, 6, 10, 0, 0, 1, //
        7, 8, 9, 10, 11, 12, 10, 0, 0, 2,
    ];

    #[test]
    fn a_packet_is_read_and_written() {
        let packet = Packet::parse(&BYTES).unwrap();
        assert_eq!(
            packet,
            Packet {
                operation: Operation::REQUEST,
                sender_mac: MacAddr([1, 2, 3, 4, 5, 6]),
                sender: Ipv4Addr::new(10, 0, 0, 1),
                target_mac: MacAddr([7, 8, 9, 10, 11, 12]),
                target: Ipv4Addr::new(10, 0, 0, 2),
            }
        );
        let mut out = Writer::default();
        packet.emit(&mut out);
        assert_eq!(out.bytes(), BYTES);
        let padded = [&BYTES[..], &[0; 18]].concat();
        assert_eq!(Packet::parse(&padded), Ok(packet));
    }

    #[test]
    fn other_forms_are_refused() {
        for at in 0..FORM.len() {
            let mut bytes = BYTES;
            bytes[at] ^= 1;
            assert_eq!(Packet::parse(&bytes), Err(Error::Form), "{at}");
        }
        refuses_truncation(&BYTES, Packet::parse);
        survives_anything(&BYTES, |bytes| _ = Packet::parse(bytes));
    }
}

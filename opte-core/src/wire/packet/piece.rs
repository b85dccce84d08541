//! Fragments (RFC 791 section 3.2, RFC 8200 section 4.5).
//!
//! A fragment is read out of the cached path's line: the first has a flow key
//! like any packet, later ones only addresses and the number that joins them.

use super::{ETHERNET_LEN, Packet};
use crate::flow::tuple::{Family, Proto, from_ip};
use crate::wire::{ipv4, ipv6};
use crate::{Direction, DropReason};

/// Which part of a packet a fragment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Joins the fragments of a packet; 16 bits for IPv4.
    pub id: u32,
    /// The protocol, where it helps to tell packets apart: for IPv4. In IPv6
    /// only the first fragment's counts.
    pub proto: Proto,
    /// Where its data begins in the whole packet's payload, in bytes.
    pub start: u16,
    /// Where its data ends.
    pub end: u16,
    /// Whether others follow.
    pub more: bool,
}

impl Piece {
    /// Whether it has the transport header.
    #[must_use]
    pub const fn is_first(&self) -> bool {
        self.start == 0
    }
}

impl Packet {
    /// Reads a fragment. A later one has no ports, and its `transport` is
    /// where its data begins.
    ///
    /// # Errors
    ///
    /// When it is no fragment or an impossible one, or a first one that doesn't
    /// hold all of the headers (RFC 1858, RFC 7112).
    pub(crate) fn read_piece(
        &mut self,
        frame: &[u8],
        frame_len: usize,
        dir: Direction,
    ) -> Result<Piece, DropReason> {
        *self = Self::EMPTY;
        let bytes = frame.get(ETHERNET_LEN..).ok_or(DropReason::Truncated)?;
        let room = frame_len.saturating_sub(ETHERNET_LEN);
        // The data's length, and how much of it isn't its payload's.
        let (fragment, proto, data_len, headers) = match frame.get(12..ETHERNET_LEN) {
            Some([0x08, 0x00]) => {
                let (header, _) = ipv4::Header::read(bytes)?;
                let (src, dst) = (
                    from_ip(header.source.into()),
                    from_ip(header.destination.into()),
                );
                self.set_ends(Family::V4, src, dst, dir);
                self.tuple.proto = header.proto;
                self.ip_len = header.total_len;
                self.transport = ETHERNET_LEN.saturating_add(header.header_len());
                (header.fragment(), header.proto, header.payload_len(), 0)
            }
            Some([0x86, 0xdd]) => {
                let (header, rest) = ipv6::Header::read(bytes)?;
                let found = ipv6::walk(header.next_header, rest)?;
                let (src, dst) = (header.source.octets(), header.destination.octets());
                self.set_ends(Family::V6, src, dst, dir);
                self.tuple.proto = found.proto;
                let len = usize::from(header.payload_len);
                let total = len.saturating_add(ipv6::HEADER_LEN);
                self.ip_len = u16::try_from(total).map_err(|_| DropReason::BadIp)?;
                let transport = ipv6::HEADER_LEN.saturating_add(found.len);
                self.transport = ETHERNET_LEN.saturating_add(transport);
                let data_len = len.checked_sub(found.whole_len);
                let data_len = data_len.ok_or(DropReason::BadExtension)?;
                let headers = found.len.saturating_sub(found.whole_len);
                let fragment = found.fragment.filter(|fragment| !fragment.is_atomic());
                (fragment, Proto(0), data_len, headers)
            }
            _ => return Err(DropReason::UnknownEthertype),
        };
        let fragment = fragment.ok_or(DropReason::BadIp)?;
        let end = usize::from(fragment.offset).saturating_add(data_len);
        let is_odd = data_len == 0 || fragment.more && data_len % 8 != 0;
        if is_odd || usize::from(self.ip_len) > room {
            return Err(DropReason::BadIp);
        }
        let piece = Piece {
            id: fragment.identification,
            proto,
            start: fragment.offset,
            end: u16::try_from(end).map_err(|_| DropReason::BadIp)?,
            more: fragment.more,
        };
        if piece.is_first() {
            let len = data_len.checked_sub(headers);
            self.read_first(frame, len.ok_or(DropReason::BadExtension)?, dir)?;
        }
        Ok(piece)
    }

    /// Reads the transport header, of which `len` bytes are in the fragment.
    fn read_first(&mut self, frame: &[u8], len: usize, dir: Direction) -> Result<(), DropReason> {
        let all = match self.tuple.proto {
            Proto::UDP if len < 8 => return Err(DropReason::BadTransport),
            // Its length is the whole datagram's.
            Proto::UDP => usize::from(u16::MAX),
            _ => len,
        };
        self.read_transport(frame, all, dir)
            .map_err(|reject| match reject {
                super::Reject::Bad(reason) => reason,
                super::Reject::Arp | super::Reject::Fragment => DropReason::BadTransport,
            })
    }
}

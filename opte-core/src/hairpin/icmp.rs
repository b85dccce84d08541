//! Echo: the gateway can be pinged (RFC 792, RFC 4443 section 4.2).

use super::{Config, HOP_LIMIT, frame};
use crate::DropReason;
use crate::wire::Writer;
use crate::wire::icmp::Message;
use crate::wire::ip::{Datagram, Ends};
use alloc::vec::Vec;

/// The bits of the traffic class that a reply keeps (RFC 1122 section
/// 3.2.2.6). Congestion on the way here says nothing about the way back.
const CLASS_KEPT: u8 = 0xfc;

/// Answers an echo request of either family with what came in it.
pub(super) fn answer(config: &Config, datagram: &Datagram<'_>) -> Result<Vec<u8>, DropReason> {
    config.check_source(&datagram.ends)?;
    let Message::EchoRequest(echo) = Message::parse(&datagram.ends, datagram.payload)? else {
        return Err(DropReason::IcmpNotAnswered);
    };
    let ends = reply_ends(config, datagram.ends).ok_or(DropReason::FamilyOff)?;
    let mut out = Writer::with_capacity(datagram.payload.len());
    Message::EchoReply(echo).emit(&ends, &mut out);
    let reply = Datagram {
        ends,
        proto: datagram.proto,
        hop_limit: HOP_LIMIT,
        traffic_class: datagram.traffic_class & CLASS_KEPT,
        fragment: None,
        payload: out.bytes(),
    };
    Ok(frame(config, config.mac, &reply))
}

/// The addresses of a reply. One to a group comes from the gateway's own
/// address on the link (RFC 4443 section 4.2).
fn reply_ends(config: &Config, request: Ends) -> Option<Ends> {
    match request.reverse() {
        Ends::V6 {
            source,
            destination,
        } if source.is_multicast() => Some(Ends::V6 {
            source: config.link_local()?,
            destination,
        }),
        ends => Some(ends),
    }
}

#[cfg(test)]
mod tests;

//! ARP (RFC 826): the gateway has its address, and nobody else has any.

use super::Config;
use crate::DropReason;
use crate::wire::arp::{Operation, Packet};
use crate::wire::ethernet::{self, EtherType};
use crate::wire::{MacAddr, Writer};
use alloc::vec::Vec;
use core::net::IpAddr;

/// Answers a request for the gateway's address, a probe (RFC 5227) included.
///
/// All else isn't answered: the guest's own announcements and probes mustn't
/// meet an objection, and other addresses of the VPC are reached through the
/// gateway.
pub(super) fn answer(
    config: &Config,
    ethernet: &ethernet::Header,
    packet: &[u8],
) -> Result<Vec<u8>, DropReason> {
    let request = Packet::parse(packet)?;
    if ethernet.source != config.mac || request.sender_mac != config.mac {
        return Err(DropReason::SpoofedMac);
    }
    let ipv4 = config.ipv4.ok_or(DropReason::FamilyOff)?;
    let is_heard =
        ethernet.destination == MacAddr::BROADCAST || ethernet.destination == config.gateway_mac;
    let is_asked = request.operation == Operation::REQUEST && request.target == ipv4.gateway;
    if !is_heard || !is_asked {
        return Err(DropReason::ArpNotAnswered);
    }
    if !request.sender.is_unspecified() && !config.may_send_from(IpAddr::V4(request.sender)) {
        return Err(DropReason::SpoofedIp);
    }
    let mut out = Writer::default();
    ethernet::Header {
        destination: config.mac,
        source: config.gateway_mac,
        ethertype: EtherType::ARP,
    }
    .emit(&mut out);
    Packet {
        operation: Operation::REPLY,
        sender_mac: config.gateway_mac,
        sender: ipv4.gateway,
        target_mac: request.sender_mac,
        target: request.sender,
    }
    .emit(&mut out);
    Ok(out.into_bytes())
}

#[cfg(test)]
mod tests;

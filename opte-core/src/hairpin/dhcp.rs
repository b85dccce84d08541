//! What DHCP for IPv4 and for IPv6 have in common.

use super::{Config, HOP_LIMIT, frame};
use crate::DropReason;
use crate::flow::Proto;
use crate::wire::ip::{Datagram, Ends};
use crate::wire::{MacAddr, Writer, udp};
use alloc::vec::Vec;

/// A lease that never ends, in both protocols.
pub(super) const FOREVER: u32 = u32::MAX;
/// Seconds of a lease unless the configuration says otherwise: a day.
const LEASE_S: u32 = 86_400;

/// Seconds that an address is leased for.
pub(super) fn lease_s(config: &Config) -> u32 {
    config.dhcp.lease_s.unwrap_or(LEASE_S)
}

/// The data of a client's datagram, after what there is to check of UDP. A
/// client may leave its checksum to a device, so a partial one is taken; see
/// [`udp::Header::checksum_is_right`].
pub(super) fn received<'p>(datagram: &Datagram<'p>) -> Result<&'p [u8], DropReason> {
    let (header, data) = udp::Header::parse(datagram.payload)?;
    if header.checksum_is_right(&datagram.ends, data) {
        Ok(data)
    } else {
        Err(DropReason::BadChecksum)
    }
}

/// The frame that takes `data` from the server's port to the client's.
pub(super) fn send(
    config: &Config,
    mac: MacAddr,
    ends: Ends,
    [server_port, client_port]: [u16; 2],
    data: &[u8],
) -> Vec<u8> {
    let mut out = Writer::with_capacity(data.len().saturating_add(udp::HEADER_LEN));
    udp::emit(&ends, server_port, client_port, data, &mut out);
    let datagram = Datagram {
        ends,
        proto: Proto::UDP,
        hop_limit: HOP_LIMIT,
        traffic_class: 0,
        fragment: None,
        payload: out.bytes(),
    };
    frame(config, mac, &datagram)
}

/// The data of an option that has a fixed length.
pub(super) fn fixed<const N: usize>(data: &[u8]) -> Result<[u8; N], DropReason> {
    data.try_into().map_err(|_| DropReason::BadDhcp)
}

/// Fills `place`, which has to be empty.
pub(super) fn once<T>(place: &mut Option<T>, value: T) -> Result<(), DropReason> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(DropReason::BadDhcp),
    }
}

//! Encapsulation: Geneve over IPv6 (RFC 8926, RFC 8200).

use super::Host;
use super::underlay::PathId;
use crate::event::Observer;
use crate::frame::Frame;
use crate::limits::ENCAP_LEN;
use crate::port::Env;
use crate::verdict::{Output, Verdict};
use crate::wire::Vni;
use crate::wire::offload::{Pieces, Unfinished};
use crate::wire::packet::Packet;
use crate::{Direction, DropReason};
use lock_api::RawMutex;

/// Bytes of UDP and Geneve headers.
const UDP_GENEVE_LEN: u32 = 16;
/// And with the IPv6 header.
const IP_UDP_GENEVE_LEN: u32 = 56;
/// And with the inner Ethernet header.
const ETHERNET_IP_UDP_GENEVE_LEN: u32 = 70;

impl<R: RawMutex, O: Observer> Host<R, O> {
    /// Puts the outer headers in front of a frame; an unresolved next hop
    /// keeps a copy of it.
    #[inline(always)]
    pub(super) fn encapsulate(
        &self,
        env: &Env<'_, R, O>,
        frame: &mut impl Frame,
        packet: &Packet,
        (id, vni): (PathId, Vni),
        source_port: u16,
        out: &mut impl Output,
    ) -> Result<Verdict, DropReason> {
        let path = self.underlay.path(id).ok_or(DropReason::NoUnderlayRoute)?;
        let len = u32::try_from(frame.frame_len()).map_err(|_| DropReason::TooBig)?;
        if len.saturating_add(IP_UDP_GENEVE_LEN) > u32::from(path.mtu()) {
            check_cut(packet, frame.offload().segment_len, path.mtu())?;
        }
        let payload = u16::try_from(len.saturating_add(UDP_GENEVE_LEN))
            .map_err(|_| DropReason::TooBig)?
            .to_be_bytes();
        let header: &mut [u8; ENCAP_LEN] = frame
            .push(ENCAP_LEN)
            .and_then(|room| room.try_into().ok())
            .ok_or(DropReason::NoHeadroom)?;
        let link = path.write_header(header);
        put(header, 18, payload);
        put(header, 54, source_port.to_be_bytes());
        put(header, 58, payload);
        put(header, 66, vni.to_bytes());
        match link {
            Some(link) => {
                self.count_link(env.lane, link, Direction::Out, frame.frame_len());
                Ok(Verdict::Link(link))
            }
            None => self.hold(env, id, frame, out),
        }
    }

    /// Keeps a copy of a frame until its next hop is known. The copy leaves by
    /// itself, without the device that would finish it, so it is finished here.
    #[inline(never)]
    fn hold(
        &self,
        env: &Env<'_, R, O>,
        id: PathId,
        frame: &mut impl Frame,
        out: &mut impl Output,
    ) -> Result<Verdict, DropReason> {
        let offload = frame.offload();
        if offload.segment_len != 0 {
            return Err(DropReason::NextHopUnresolved);
        }
        if !frame.gather() {
            return Err(DropReason::NoMemory);
        }
        if offload.checksum_partial {
            let inner = frame.head_mut().get_mut(ENCAP_LEN..).unwrap_or_default();
            finish_checksum(inner);
        }
        self.underlay
            .hold(id, frame.head(), env.now, out, env.observer)?;
        Ok(Verdict::Held)
    }
}

/// Lets a large frame pass whose segments fit.
#[inline(never)]
fn check_cut(packet: &Packet, segment_len: u16, mtu: u16) -> Result<(), DropReason> {
    let cut = u32::from(packet.len_cut(segment_len)).saturating_add(ETHERNET_IP_UDP_GENEVE_LEN);
    match segment_len != 0 && cut <= u32::from(mtu) {
        true => Ok(()),
        false => Err(DropReason::TooBig),
    }
}

/// Completes the transport checksum of a frame that is there whole.
pub(super) fn finish_checksum(frame: &mut [u8]) {
    let Some(unfinished) = Unfinished::read(frame, frame.len(), 0) else {
        return;
    };
    let Some((headers, rest)) = frame.split_at_mut_checked(unfinished.headers()) else {
        return;
    };
    let payload = rest.get(..unfinished.payload()).unwrap_or_default();
    unfinished.finish(headers, Pieces::default().bytes(payload));
}

/// Writes a field at its fixed place in the outer header.
#[inline(always)]
pub(super) fn put<const N: usize>(header: &mut [u8; ENCAP_LEN], at: usize, bytes: [u8; N]) {
    if let Some(place) = header.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = bytes;
    }
}

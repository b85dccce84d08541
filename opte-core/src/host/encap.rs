//! Encapsulation: Geneve over IPv6 (RFC 8926, RFC 8200).

use super::Host;
use super::underlay::PathId;
use crate::event::Observer;
use crate::frame::Frame;
use crate::limits::ENCAP_LEN;
use crate::port::Env;
use crate::verdict::{Output, Verdict};
use crate::wire::Vni;
use crate::{Direction, DropReason};
use lock_api::RawMutex;

/// Bytes of UDP and Geneve headers.
const UDP_GENEVE_LEN: usize = 16;
/// And with the IPv6 header.
const IP_UDP_GENEVE_LEN: usize = 56;

impl<R: RawMutex, O: Observer> Host<R, O> {
    /// Puts the outer headers in front of a frame; an unresolved next hop
    /// keeps a copy of it.
    #[inline(always)]
    pub(super) fn encapsulate(
        &self,
        env: &Env<'_, R, O>,
        frame: &mut impl Frame,
        id: PathId,
        vni: Vni,
        source_port: u16,
        out: &mut impl Output,
    ) -> Result<Verdict, DropReason> {
        let path = self.underlay.path(id).ok_or(DropReason::NoUnderlayRoute)?;
        let inner = frame.frame_len();
        let payload = inner.saturating_add(UDP_GENEVE_LEN);
        if inner.saturating_add(IP_UDP_GENEVE_LEN) > usize::from(path.mtu())
            && frame.offload().segment_len == 0
        {
            return Err(DropReason::TooBig);
        }
        let payload = u16::try_from(payload)
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

    #[inline(never)]
    fn hold(
        &self,
        env: &Env<'_, R, O>,
        id: PathId,
        frame: &mut impl Frame,
        out: &mut impl Output,
    ) -> Result<Verdict, DropReason> {
        self.underlay
            .hold(id, frame.head(), env.now, out, env.observer)?;
        Ok(Verdict::Held)
    }
}

/// Writes a field at its fixed place in the outer header.
#[inline(always)]
fn put<const N: usize>(header: &mut [u8; ENCAP_LEN], at: usize, bytes: [u8; N]) {
    if let Some(place) = header.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = bytes;
    }
}

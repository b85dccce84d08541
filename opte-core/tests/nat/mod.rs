//! Address translation by the RFCs, as guests and strangers see it.
//!
//! `docs/nat-conformance.md` names a test for each requirement; most of them
//! are here.

mod gateway;
mod hairpin;
mod icmp;
mod mode;
mod other;
mod tcp;
mod timer;

use crate::sim::Sled;
use crate::sim::frame::{Flow, assert_checksums};
use crate::trial::{BOUNDARY, world};
use crate::{G1, Verdict, geneve};
use opte_core::DropReason;
use std::net::IpAddr;

/// A pool of this range for g1, with these more words of its `external` table.
fn snat(first: u16, last: u16, more: &str) -> String {
    format!(
        "external = {{ snat = [{{ address = \"203.0.113.9\", first_port = {first}, \
         last_port = {last} }}]{more} }}\n"
    )
}

/// How a frame's source is seen: the address, and the port or identifier.
fn source(frame: &[u8]) -> (IpAddr, u16) {
    end(frame, 26, 22, 0)
}

/// The same of its destination.
fn destination(frame: &[u8]) -> (IpAddr, u16) {
    end(frame, 30, 38, 2)
}

fn end(frame: &[u8], v4: usize, v6: usize, port: usize) -> (IpAddr, u16) {
    let is_v4 = frame[12..14] == [8, 0];
    let addr: IpAddr = match is_v4 {
        true => <[u8; 4]>::try_from(&frame[v4..v4 + 4]).unwrap().into(),
        false => <[u8; 16]>::try_from(&frame[v6..v6 + 16]).unwrap().into(),
    };
    let (l4, proto) = if is_v4 {
        (34, frame[23])
    } else {
        (54, frame[20])
    };
    let at = if matches!(proto, 1 | 58) {
        l4 + 4
    } else {
        l4 + port
    };
    (addr, u16::from_be_bytes([frame[at], frame[at + 1]]))
}

/// The inner frame that a frame of g1 leaves with.
fn leaves(sled: &Sled, frame: &[u8]) -> Vec<u8> {
    let (verdict, sent) = sled.tx("g1", frame);
    assert!(matches!(verdict, Verdict::Link(_)), "{verdict:?}");
    let inner = sent.links.last().unwrap().1[70..].to_vec();
    assert_checksums(&inner);
    sled.wire.borrow_mut().clear();
    inner
}

/// A frame that comes from outside: what reaches the guest.
fn comes(sled: &Sled, frame: &[u8]) -> Result<Vec<u8>, DropReason> {
    match sled.rx(&geneve(BOUNDARY, frame)) {
        (Verdict::Port(_), sent) => {
            let frame = sent.ports.last().unwrap().1.clone();
            assert_checksums(&frame);
            Ok(frame)
        }
        (Verdict::Dropped(reason), sent) => {
            // Nobody is told either.
            assert!(sent.ports.is_empty() && sent.links.is_empty());
            Err(reason)
        }
        other => panic!("{other:?}"),
    }
}

/// The way back of what left, as the far end sends it.
fn back(flow: &Flow, left: &[u8]) -> Flow {
    let (src, sport) = source(left);
    let seen = Flow {
        src,
        sport,
        ..*flow
    };
    Flow {
        dst_mac: G1,
        ..seen.back(BOUNDARY)
    }
}

/// A flow of g1 to somebody outside.
fn out(text: &str) -> Flow {
    Flow::new(G1, text)
}

/// One from outside to g1.
fn call(text: &str) -> Flow {
    Flow {
        dst_mac: G1,
        ..Flow::new(BOUNDARY, text)
    }
}

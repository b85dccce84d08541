//! What guests leave to their device: checksums, and cutting large segments.

use super::storm::{packets, settle, wired};
use super::{Play, end, frames, two_guests};
use anyhow::{Context as _, Result, ensure};
use illumos_sys_hdrs as sys;
use opte_core::wire::offload::{LARGE_MAX, Pieces, Unfinished};
use xde_loader::{Context, Layout, Sent, Sled};

/// What this file plays.
pub(super) const PLAYS: &[Play] = &[
    ("capabilities", capabilities),
    ("a large segment to a guest here", large_here),
    ("a large segment to another host", large_away),
    ("no memory while a segment is cut", no_memory),
];

/// Only what is the same in every kernel is written.
fn capabilities(module: &[u8]) -> Result<()> {
    let sled = two_guests(module)?;
    let get = |capability| sled.port_capability("g1", capability);
    let sums = get(sys::MAC_CAPAB_HCKSUM)?.context("no checksums")?;
    ensure!(sums == [sys::HCKSUM_INET_PARTIAL], "{sums:x?}");
    let large = get(sys::MAC_CAPAB_LSO)?.context("no large segments")?;
    ensure!(
        large == [3, LARGE_MAX.into(), LARGE_MAX.into()],
        "{large:?}"
    );
    for other in [2, 0x10, 0x1_0000, 0x10_0000] {
        ensure!(get(other)?.is_none(), "capability {other:#x}");
    }
    end(sled)
}

/// A connection from `g1`, and a segment of it that is too large.
const OPEN: &str = "0.0 tx g1 tcp 10.0.0.1:1001 > 10.0.0.2:80 syn seq 100 mss 1460";
const ANSWER: &str = "0.0 tx g2 tcp 10.0.0.2:80 > 10.0.0.1:1001 syn ack 101 seq 500 mss 1460";
const LARGE: &str = "0.0 tx g1 tcp 10.0.0.1:1001 > 10.0.0.2:80 psh ack 501 seq 101 len 30001";
/// Payload of a segment.
const SEGMENT: u16 = 1_400;

/// The frames that a guest sends who cuts by itself.
fn cut(large: &[u8]) -> Result<Vec<Vec<u8>>> {
    let it = Unfinished::read(large, large.len(), 0).context("it can't be cut")?;
    let (headers, payload) = large.split_at(it.headers());
    let each = it.cuts(SEGMENT).map(|cut| {
        let bytes = payload.get(cut.start..cut.start + cut.len);
        let bytes = bytes.context("it is shorter")?;
        let mut frame = headers.to_vec();
        it.write_cut(&mut frame, cut, Pieces::default().bytes(bytes));
        frame.extend(bytes);
        Ok(frame)
    });
    each.collect()
}

/// How the large segment may lie in memory.
fn layouts() -> impl Iterator<Item = Layout> {
    let blocks = [
        vec![],
        vec![66],
        vec![54, 1, 2, 3, 1_401, 7_000],
        vec![4_095; 7],
        vec![14, 20, 20, 999],
    ];
    blocks.into_iter().map(|blocks| Layout {
        room: 2,
        blocks,
        unsummed: true,
        segment_len: SEGMENT,
        ..Layout::default()
    })
}

/// What comes of the large segment is what comes of its parts.
fn same(sled: &Sled) -> Result<()> {
    let large = frames(LARGE)?;
    let large = large.first().context("no frame")?;
    let parts = cut(large)?;
    ensure!(parts.len() == 22, "{} parts", parts.len());
    let _ = sled.take_sent();
    sled.guest_sends("g1", &packets(&parts), Context::Packet)?;
    let want: Vec<Sent> = sled.take_sent();
    ensure!(want.len() == parts.len(), "{} arrived", want.len());
    for layout in layouts() {
        let mut frame = large.clone();
        // What the guest left in place of the checksum.
        if let Some(sum) = frame.get_mut(50..52) {
            sum.fill(0x5a);
        }
        let shown = layout.blocks.clone();
        sled.guest_sends("g1", &[(&frame, layout)], Context::Interrupt)?;
        let sent = sled.take_sent();
        let differs = sent.iter().zip(&want).position(|(a, b)| a != b);
        ensure!(
            sent.len() == want.len() && differs.is_none(),
            "{shown:?}: {} segments for {}, the first that differs: {differs:?}",
            sent.len(),
            want.len()
        );
    }
    Ok(())
}

fn large_here(module: &[u8]) -> Result<()> {
    let sled = two_guests(module)?;
    for (port, script) in [("g1", OPEN), ("g2", ANSWER)] {
        let frames = frames(script)?;
        sled.guest_sends(port, &packets(&frames), Context::Packet)?;
    }
    same(&sled)?;
    end(sled)
}

fn large_away(module: &[u8]) -> Result<()> {
    let [a, b] = wired(module)?;
    for (sled, port, script) in [(&a, "g1", OPEN), (&b, "g2", ANSWER)] {
        let frames = frames(script)?;
        sled.guest_sends(port, &packets(&frames), Context::Packet)?;
        settle([&a, &b])?;
    }
    same(&a)?;
    end(a)?;
    end(b)
}

/// Segments are lost, and what was made of others is whole.
fn no_memory(module: &[u8]) -> Result<()> {
    let [a, b] = wired(module)?;
    let (open, large) = (frames(OPEN)?, frames(LARGE)?);
    a.guest_sends("g1", &packets(&open), Context::Packet)?;
    settle([&a, &b])?;
    let large = large.first().context("no frame")?;
    let want = cut(large)?.len();
    let layout = layouts().nth(2).context("no layout")?;
    let mut most = 0;
    for left in 0..400 {
        a.fail_memory_after(Some(left));
        a.guest_sends("g1", &[(large, layout.clone())], Context::Interrupt)?;
        a.fail_memory_after(None);
        let sent = a.take_sent().len();
        ensure!(sent <= want, "{sent} segments for {want}");
        most = most.max(sent);
        if sent == want {
            break;
        }
    }
    ensure!(most == want, "{most} segments at most");
    let host = a.kstat("xde:0:host")?;
    ensure!(host.get("no_memory") > Some(&10), "losses don't count");
    ensure!(a.violations().is_empty(), "{:?}", a.violations());
    end(a)?;
    end(b)
}

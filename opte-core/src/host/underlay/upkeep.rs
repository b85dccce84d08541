//! What keeps paths and neighbours going: frames that wait, answers that come
//! or don't, and time.
//!
//! Flow      hold:  path -> neighbour -- known --> send
//!                                    `- not known -> wait, ask
//!           learn: neighbour -> its paths: steer -> frames that waited
//!           tick:  timers -> ask again, or lost: steer -> frames that waited
//!                  used flags of paths -> touch their neighbours

use super::control::{Context, Control};
use super::nd;
use super::neighbour::{Ask, Due, Neighbour, Turn, Waiting};
use super::path::PathId;
use super::table::{Entry, Via};
use crate::limits::ENCAP_LEN;
use crate::verdict::LinkId;
use crate::wire::ethernet;
use crate::{DropReason, fallible};
use core::net::Ipv6Addr;

/// Timers that one tick runs.
const TICK_TIMERS_MAX: usize = 256;
/// Paths that one tick looks at.
const TICK_PATHS_MAX: usize = 4_096;
/// Unsolicited advertisements of an address (`MAX_NEIGHBOR_ADVERTISEMENT`).
const ANNOUNCE_MAX: u8 = 3;
/// Between two of them (`RETRANS_TIMER`).
const ANNOUNCE_MS: u64 = 1_000;

impl Control {
    /// A frame whose path wasn't usable.
    pub(super) fn hold(
        &mut self,
        cx: &mut Context<'_>,
        id: PathId,
        frame: &[u8],
        turn: Turn,
    ) -> Result<(), DropReason> {
        let entry = self.paths.get(id).ok_or(DropReason::NoUnderlayRoute)?;
        if frame.len() < ENCAP_LEN {
            return Err(DropReason::BadUnderlay);
        }
        self.use_path(cx, &entry);
        // Who stands in may be better off than when it was looked at last.
        if self.choose(cx, id.slot()) {
            self.show_path(cx, id.slot());
        }
        let entry = self.paths.get(id).ok_or(DropReason::NoUnderlayRoute)?;
        let template = self.template(&entry).ok_or(DropReason::NoLink)?;
        let packet_len = frame.len().saturating_sub(ethernet::HEADER_LEN);
        if packet_len > usize::from(template.mtu) {
            return Err(DropReason::TooBig);
        }
        if let Via::Neighbour { current, .. } = entry.via
            && template.next_hop.is_none()
        {
            self.touch(cx, current);
            return self.wait(cx, current, id, frame, turn);
        }
        // It was being written, or has been resolved since the frame looked.
        let frame = fallible::copy(0, frame).ok_or(DropReason::NoMemory)?;
        let mut frame = frame.into_boxed_slice();
        template.fill(&mut frame);
        cx.outbox.send(template.link, frame);
        Ok(())
    }

    fn wait(
        &mut self,
        cx: &mut Context<'_>,
        neighbour: u16,
        id: PathId,
        frame: &[u8],
        turn: Turn,
    ) -> Result<(), DropReason> {
        if self.neighbours.get(neighbour).is_none_or(|n| n.is_lost()) {
            return Err(DropReason::NextHopUnresolved);
        }
        let mut displaced = 0;
        let waits = &mut self.neighbours;
        let result = waits.wait(neighbour, id, frame, turn, &mut displaced);
        cx.outbox.give_up(DropReason::NextHopQueueFull, displaced);
        result
    }

    /// A path is in use, and so are its neighbours: also the one that doesn't
    /// answer, so that it is asked again.
    fn use_path(&mut self, cx: &mut Context<'_>, entry: &Entry) {
        self.paths.set_used(entry.id.slot(), cx.now);
        if let Via::Neighbour { chosen, current } = entry.via {
            self.touch(cx, chosen);
            if current != chosen {
                self.touch(cx, current);
            }
        }
    }

    /// A neighbour is in use.
    fn touch(&mut self, cx: &mut Context<'_>, neighbour: u16) {
        let now = cx.now;
        if let Some(Some(ask)) = self.neighbours.update(neighbour, |n| n.touch(now)) {
            self.ask(cx, neighbour, ask);
        }
    }

    /// Sends a neighbour solicitation.
    fn ask(&self, cx: &mut Context<'_>, neighbour: u16, ask: Ask) {
        let Some(neighbour) = self.neighbours.get(neighbour) else {
            return;
        };
        let Some(link) = self.links.get(&neighbour.link) else {
            return;
        };
        let mac = match ask {
            Ask::Group => None,
            Ask::Direct(mac) => Some(mac),
        };
        let frame = nd::solicitation(link.device.mac, &neighbour.address, mac);
        cx.outbox.send(neighbour.link, frame);
    }

    /// Changes a neighbour by what came from the link, if there is such a one.
    pub(super) fn learn(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        address: Ipv6Addr,
        change: impl FnOnce(&mut Neighbour),
    ) -> bool {
        let Some(number) = self.neighbours.find(link, address) else {
            return false;
        };
        let changed = self.neighbours.update(number, |neighbour| {
            let before = neighbour.mac();
            change(neighbour);
            before != neighbour.mac()
        });
        if changed == Some(true) {
            self.steer_users(cx, number);
            for waiting in self.neighbours.take_waiting(number) {
                self.send_waiting(cx, waiting);
            }
        }
        true
    }

    /// Looks again at every path that depends on a neighbour.
    fn steer_users(&mut self, cx: &mut Context<'_>, neighbour: u16) {
        let mut from = Some(0);
        while let Some(slot) = from.and_then(|from| self.paths.user_of(neighbour, from)) {
            self.steer(cx, slot);
            from = slot.checked_add(1);
        }
    }

    /// A neighbour doesn't answer any more.
    fn lost(&mut self, cx: &mut Context<'_>, number: u16) {
        let waiting = self.neighbours.take_waiting(number);
        self.steer_users(cx, number);
        for waiting in waiting {
            match waiting.turn {
                Turn::First => self.send_waiting(cx, waiting),
                // Where nobody answers it would go round for ever.
                Turn::Second => cx.outbox.give_up(DropReason::NextHopUnresolved, 1),
            }
        }
    }

    /// Sends a frame that has waited, or lets it wait once more, for the
    /// neighbour that stands in.
    fn send_waiting(&mut self, cx: &mut Context<'_>, waiting: Waiting) {
        if let Err(reason) = self.hold(cx, waiting.path, &waiting.frame, Turn::Second) {
            let reason = match reason {
                DropReason::NextHopQueueFull => reason,
                _ => DropReason::NextHopUnresolved,
            };
            cx.outbox.give_up(reason, 1);
        }
    }

    /// Does what time asks for.
    pub(super) fn tick(&mut self, cx: &mut Context<'_>) {
        for _ in 0..TICK_TIMERS_MAX {
            match self.neighbours.expire(cx.now) {
                None => break,
                Some((_, Due::Nothing)) => {}
                Some((number, Due::Ask(ask))) => self.ask(cx, number, ask),
                Some((number, Due::Lost)) => self.lost(cx, number),
            }
        }
        for _ in 0..TICK_PATHS_MAX {
            let Some(slot) = self.paths.sweep() else {
                break;
            };
            self.sweep(cx, slot);
        }
        self.announce(cx);
        self.report(cx);
    }

    /// Carries a path's use over to its neighbours, and forgets it when there
    /// was none for long.
    fn sweep(&mut self, cx: &mut Context<'_>, slot: u16) {
        let Some(entry) = self.paths.at(slot) else {
            return;
        };
        if cx.presence.slab.take_used(slot) {
            self.use_path(cx, &entry);
        } else if cx.now.millis_since(entry.used_at) > self.paths.idle_ms() {
            self.forget(cx, slot);
        }
    }

    /// Tells the neighbours our addresses, a few times after they changed
    /// (RFC 4861 section 7.2.6).
    pub(super) fn announce(&mut self, cx: &mut Context<'_>) {
        let Some(tunnel) = self.address() else {
            return;
        };
        for (id, link) in self.links.iter_mut() {
            if link.announced >= ANNOUNCE_MAX || link.announce_at > cx.now {
                continue;
            }
            link.announced = link.announced.saturating_add(1);
            link.announce_at = cx.now.plus_millis(ANNOUNCE_MS);
            let mac = link.device.mac;
            for target in [tunnel, mac.link_local()] {
                let frame = nd::announcement(mac, &target);
                cx.outbox.send(*id, frame);
            }
        }
    }
}

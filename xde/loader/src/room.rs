//! Full NICs, and what MAC keeps of guests' packets meanwhile.

use crate::context::Context;
use crate::kernel::client::Kind;
use crate::sled::Sled;
use anyhow::{Context as _, Result, ensure};
use illumos_sys_hdrs::mblk_t;
use std::ptr;

impl Sled {
    /// Says how many packets a link takes before it is full; any number with
    /// `None`. When nothing waits any more the module is told, and what MAC
    /// keeps of guests' packets is sent.
    ///
    /// # Errors
    ///
    /// When nobody listens there, or the module panics.
    pub fn set_link_room(&self, link: &str, room: Option<usize>) -> Result<()> {
        if self.make_room(link, room) {
            let call =
                |(function, argument)| self.call(Context::Interrupt, function, &[argument, 0]);
            let told = self.kernel.with_callback(link, Kind::Notification, call);
            told.with_context(|| format!("nobody wants to know of room on {link}"))??;
        }
        self.resume()
    }

    /// As [`Sled::set_link_room`], and MAC forgets to tell the module.
    pub fn set_link_room_silently(&self, link: &str, room: Option<usize>) {
        self.make_room(link, room);
    }

    /// Has a link that gets full have room again when anybody asks.
    pub fn have_link_blink(&self, link: &str) {
        self.kernel.state().net.nic(link).blinks = true;
    }

    /// Packets that MAC keeps: of this link, and of this port's guest.
    #[must_use]
    pub fn kept(&self, link: &str, port: &str) -> (usize, usize) {
        let mut state = self.kernel.state();
        let of_link = state.net.nic(link).queue.len();
        let of_port = state.net.provider(port);
        (of_link, of_port.map_or(0, |(_, port)| port.kept.len()))
    }

    /// Packets that links had no room for and freed.
    #[must_use]
    pub fn dropped(&self) -> usize {
        self.kernel.state().net.dropped
    }

    /// Sends what there is room for; whether that ends a time without.
    fn make_room(&self, link: &str, room: Option<usize>) -> bool {
        let mut state = self.kernel.state();
        let nic = state.net.nic(link);
        let was_full = nic.is_full();
        let sent = nic.make_room(room);
        let has_room = was_full && !nic.is_full();
        let sent = sent.into_iter().map(|bytes| (link.to_owned(), bytes));
        state.net.sent.extend(sent);
        has_room
    }

    /// Sends what MAC keeps for ports that the module said to have room.
    ///
    /// # Errors
    ///
    /// When the module panics.
    pub fn resume(&self) -> Result<()> {
        let mut state = self.kernel.state();
        let numbers = state.net.numbers.clone();
        let mut again = Vec::new();
        for provider in state.net.providers.values_mut() {
            if std::mem::take(&mut provider.resumed) && !provider.kept.is_empty() {
                let named = |(_, number): &(&String, &u32)| Some(**number) == provider.number;
                let name = numbers.iter().find(named).map(|(name, _)| name.clone());
                again.push((name.unwrap_or_default(), std::mem::take(&mut provider.kept)));
            }
        }
        drop(state);
        again
            .into_iter()
            .try_for_each(|(port, kept)| self.offer(&port, kept, Context::Packet))
    }

    /// Gives messages to `mc_tx`, as MAC does: behind what it keeps, and again
    /// when the module said meanwhile that there is room.
    pub(crate) fn offer(
        &self,
        port: &str,
        mut messages: Vec<usize>,
        context: Context,
    ) -> Result<()> {
        loop {
            let keeps = self.with_provider(port, |provider| {
                provider.resumed = false;
                !provider.kept.is_empty()
            });
            if keeps.as_ref().is_ok_and(|keeps| *keeps) {
                break;
            }
            let (chain, mut is_there) = (linked(&messages), false);
            let called = self.call_port(port, context, |mac| {
                is_there = true;
                let function = mac.callbacks.mc_tx.ok_or("no mc_tx")?;
                let function = function as *const () as u64;
                self.kernel.enter(function, &[mac.argument, chain])
            });
            if !is_there {
                // It was taken away meanwhile.
                let freed = messages.drain(..);
                freed.for_each(|it| {
                    self.kernel
                        .free_message(ptr::with_exposed_provenance_mut(it))
                });
            }
            let rest = called?;
            let rest = addresses(rest);
            ensure!(
                messages.ends_with(&rest),
                "what the module gives back isn't the rest of what it was given"
            );
            messages = rest;
            if messages.is_empty() {
                return Ok(());
            }
            if !self.with_provider(port, |provider| provider.resumed)? {
                break;
            }
        }
        let any_full = self.kernel.state().net.is_any_full();
        ensure!(
            any_full,
            "the module gave packets back, and no link is full"
        );
        self.with_provider(port, |provider| provider.kept.extend(messages))
    }
}

/// Makes a chain of messages.
fn linked(messages: &[usize]) -> u64 {
    let mut next = ptr::null_mut::<mblk_t>();
    for message in messages.iter().rev() {
        let message = ptr::with_exposed_provenance_mut::<mblk_t>(*message);
        // SAFETY: alive: it is MAC's until the module takes it.
        unsafe { (*message).b_next = next };
        next = message;
    }
    next.expose_provenance() as u64
}

/// The messages of a chain.
pub(crate) fn addresses(chain: u64) -> Vec<usize> {
    let (mut out, mut next) = (Vec::new(), chain as usize);
    while next != 0 {
        out.push(next);
        // SAFETY: alive: the module gave it back or hasn't got it yet.
        next = unsafe {
            (*ptr::with_exposed_provenance::<mblk_t>(next))
                .b_next
                .addr()
        };
    }
    out
}

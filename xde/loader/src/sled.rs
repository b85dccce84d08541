//! A sled: a kernel with the module in it, and what tests do to it.

use crate::context::{self, Context, Role};
use crate::image::Image;
use crate::kernel::client::Kind;
use crate::kernel::{Kernel, Resource};
use crate::probe::Fired;
use anyhow::{Context as _, Result, anyhow, ensure};
use illumos_sys_hdrs as sys;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// How a packet lies in memory when the module gets it.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Bytes in front of the first block's.
    pub room: usize,
    /// Bytes of each block but the last.
    pub blocks: Vec<usize>,
    /// Whether somebody else has the memory, too.
    pub shared: bool,
    /// Whether the transport checksum is left to the device.
    pub unsummed: bool,
    /// Bytes of each segment that the device shall cut the payload into; zero: none.
    pub segment_len: u16,
}

/// A packet that the module handed out: to a guest's port, or to a link.
pub type Sent = (String, Vec<u8>);

/// A kernel with the module in it.
pub struct Sled {
    pub(crate) kernel: Arc<Kernel>,
    image: Image,
}

/// Sleds whose module isn't removed.
static LOADED: AtomicUsize = AtomicUsize::new(0);

impl Sled {
    /// Loads a module and calls `_init`.
    ///
    /// # Errors
    ///
    /// When krtld would refuse it, or it refuses.
    pub fn load(module: &[u8]) -> Result<Self> {
        let image = Image::load(module)?;
        let kernel = Arc::new(Kernel::default());
        kernel.state().probe_names.clone_from(&image.probes);
        kernel.state().kernel_memory.extend(image.memory());
        let sled = Self { kernel, image };
        let info = sled.enter("_info", &[0])?;
        ensure!(info == 1, "_info: {info}");
        let init = sled.enter("_init", &[])?;
        ensure!(init == 0, "_init: error {init}");
        LOADED.fetch_add(1, Ordering::Relaxed);
        Ok(sled)
    }

    /// How many sleds of this process were loaded and not unloaded.
    #[must_use]
    pub fn loaded() -> usize {
        LOADED.load(Ordering::Relaxed)
    }

    /// Where the module's code is in memory.
    #[must_use]
    pub fn code(&self) -> Range<u64> {
        self.image.code.clone()
    }

    /// Calls an entry point of the module.
    fn enter(&self, name: &str, arguments: &[u64]) -> Result<u64> {
        let entry = self.image.entries.get(name);
        let entry = *entry.with_context(|| format!("no {name}"))?;
        self.call(Context::Thread, entry, arguments)
    }

    /// Calls a function of the module; a result of 32 bits.
    pub(crate) fn call(&self, context: Context, function: u64, arguments: &[u64]) -> Result<u64> {
        let enter = || self.kernel.enter(function, arguments);
        context::within(&self.kernel, context, enter)
            .map(|r| r & 0xffff_ffff)
            .map_err(|panic| anyhow!("the module panicked: {panic}"))
    }

    /// The module's operations.
    pub(crate) fn operations(&self) -> &'static sys::dev_ops {
        crate::kernel::operations(&self.kernel)
    }

    /// Attaches the instance.
    ///
    /// # Errors
    ///
    /// When the module refuses.
    pub fn attach(&self) -> Result<()> {
        let attach = self.operations().devo_attach.context("no devo_attach")?;
        let function = attach as *const () as u64;
        let result = self.call(Context::Thread, function, &[crate::kernel::DIP, 0])?;
        ensure!(result == 0, "attach: {result}");
        self.kernel.state().attached = true;
        Ok(())
    }

    /// Removes the module; what it broke and what it left behind.
    ///
    /// # Errors
    ///
    /// When it refuses to go.
    pub fn unload(self) -> Result<Vec<String>> {
        if self.kernel.state().attached {
            self.close()?;
        }
        let fini = self.enter("_fini", &[])?;
        ensure!(fini == 0, "_fini: error {fini}");
        LOADED.fetch_sub(1, Ordering::Relaxed);
        let mut state = self.kernel.state();
        let mut left = std::mem::take(&mut state.violations);
        let mut more = |count: usize, what: &str| {
            if count != 0 {
                left.push(format!("{count} {what} left behind"));
            }
        };
        more(state.memory.len(), "allocations");
        more(state.messages.len(), "blocks of messages");
        more(state.kstats.len(), "statistics");
        more(state.nodes.len(), "nodes");
        more(usize::from(state.periodic.is_some()), "handlers");
        more(state.net.providers.len(), "MACs");
        more(state.net.clients.len(), "clients of datalinks");
        more(usize::from(state.ops != 0), "operations in MAC");
        Ok(left)
    }

    /// What the module broke so far.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.kernel.state().violations.clone()
    }

    /// What the module said.
    #[must_use]
    pub fn console(&self) -> Vec<String> {
        self.kernel.state().console.clone()
    }

    /// How many things the module has: memory, MACs, clients, statistics.
    #[must_use]
    pub fn holdings(&self) -> [usize; 4] {
        let state = self.kernel.state();
        [
            state.memory.len(),
            state.net.providers.len(),
            state.net.clients.len(),
            state.kstats.len(),
        ]
    }

    /// Makes a datalink id, as `dladm_create_datalink_id` does.
    pub fn create_datalink_id(&self, name: &str) {
        let mut state = self.kernel.state();
        let number = u32::try_from(state.net.numbers.len()).unwrap_or(0) + 1;
        state.net.numbers.insert(name.to_owned(), number);
    }

    /// Plugs a NIC in.
    pub fn plug(&self, name: &str, address: [u8; 6], mtu: u16) {
        let mut state = self.kernel.state();
        state
            .net
            .links
            .insert(name.to_owned(), (address, mtu.into()));
    }

    /// Has datalink ids and NICs of every name be there.
    pub fn set_open_world(&self, open: bool) {
        self.kernel.state().net.open_world = open;
    }

    /// Sets the clock, in nanoseconds since boot.
    pub fn set_time(&self, nanos: u64) {
        self.kernel.time.store(nanos, Ordering::Relaxed);
    }

    /// Has the clock go by itself from now on.
    pub fn start_clock(&self) {
        // Once started it goes on.
        let _ = self.kernel.started.set(Instant::now());
    }

    /// Has what the module sends go to `outlet`, with the name of the port or
    /// the link, instead of to [`Sled::take_sent`]. It stays so.
    pub fn set_outlet(&self, outlet: impl Fn(&str, &[u8]) + Send + Sync + 'static) {
        // The first one counts.
        let _ = self.kernel.outlet.set(Box::new(outlet));
    }

    /// Says whether callers may administer datalinks.
    pub fn set_privileged(&self, may: bool) {
        self.kernel.privileged.store(may, Ordering::Relaxed);
    }

    /// Has allocations that may fail do so after `count` more; never with `None`.
    pub fn fail_memory_after(&self, count: Option<u64>) {
        let count = count.unwrap_or(u64::MAX);
        self.kernel.memory_left.store(count, Ordering::Relaxed);
    }

    /// Has one allocation that may fail do so, `count` after the next; none with
    /// `None`.
    pub fn fail_memory_once(&self, count: Option<u64>) {
        let number = count.map_or(u64::MAX, |count| self.allocations() + count);
        self.kernel.memory_fault.store(number, Ordering::Relaxed);
    }

    /// Allocations that may fail since the module was loaded.
    #[must_use]
    pub fn allocations(&self) -> u64 {
        self.kernel.memory_asked.load(Ordering::Relaxed)
    }

    /// Has MAC, DLS and DDI fail after `count` more steps; never with `None`.
    pub fn fail_step_after(&self, count: Option<u64>) {
        let count = count.unwrap_or(u64::MAX);
        self.kernel.steps_left.store(count, Ordering::Relaxed);
    }

    /// Has somebody watch all probes from now on, or nobody. While no thread is
    /// in the module.
    ///
    /// # Errors
    ///
    /// When the module's text can't be changed.
    pub fn watch(&self, watching: bool) -> Result<()> {
        self.image.watch(watching)
    }

    /// Names of the probes that the module has a site of.
    #[must_use]
    pub fn probe_names(&self) -> &[String] {
        &self.image.probes
    }

    /// The probes that fired while they were watched, in their order.
    #[must_use]
    pub fn take_probes(&self) -> Vec<Fired> {
        std::mem::take(&mut self.kernel.state().probes)
    }

    /// Runs the periodic handler once.
    ///
    /// # Errors
    ///
    /// When there is none, or it panics.
    pub fn tick(&self) -> Result<()> {
        let kernel = &self.kernel;
        // One call follows another, and `ddi_periodic_delete` waits for it.
        let _turn = kernel.handler_turn();
        let handler = kernel.state().periodic;
        let (function, argument) = handler.context("no periodic handler")?;
        let call = || self.call(Context::Thread, function, &[argument]);
        let run = || kernel.having(Resource::Handler, call);
        Role::timer().play(run)?;
        Ok(())
    }

    /// Statistics of a name as `kstat` shows it, `MODULE:INSTANCE:NAME`.
    ///
    /// # Errors
    ///
    /// When there are none of this name.
    pub fn kstat(&self, name: &str) -> Result<BTreeMap<String, u64>> {
        let read = || crate::kernel::read_kstat(name);
        context::within(&self.kernel, Context::Thread, read).map_err(|why| anyhow!(why))
    }

    /// A guest sends packets, in one chain. MAC keeps what the module gives
    /// back, which it may only while a link is full.
    ///
    /// # Errors
    ///
    /// When there is no such port, or the module panics.
    pub fn guest_sends(
        &self,
        port: &str,
        packets: &[(&[u8], Layout)],
        context: Context,
    ) -> Result<()> {
        self.with_provider(port, |_| ())?;
        let messages = crate::room::addresses(self.chain(packets));
        self.offer(port, messages, context)
    }

    /// Packets come in on a link, in one chain.
    ///
    /// # Errors
    ///
    /// When nobody listens there, or the module panics.
    pub fn link_receives(
        &self,
        link: &str,
        packets: &[(&[u8], Layout)],
        context: Context,
    ) -> Result<()> {
        // What a promiscuous callback is given is one packet.
        for packet in packets {
            let call = |(function, argument)| {
                let chain = self.chain(std::slice::from_ref(packet));
                self.call(context, function, &[argument, 0, chain, 0])
            };
            let called = self.kernel.with_callback(link, Kind::Receiver, call);
            called.with_context(|| format!("nobody listens on {link}"))??;
        }
        Ok(())
    }

    fn chain(&self, packets: &[(&[u8], Layout)]) -> u64 {
        let mut first = std::ptr::null_mut::<sys::mblk_t>();
        for (bytes, layout) in packets.iter().rev() {
            let (mut pieces, mut rest) = (Vec::new(), *bytes);
            for len in &layout.blocks {
                let (piece, behind) = rest.split_at((*len).min(rest.len()));
                pieces.push(piece);
                rest = behind;
            }
            pieces.push(rest);
            let message = self.kernel.message(layout.room, &pieces, layout.shared);
            let flags = if layout.unsummed {
                sys::HCK_PARTIALCKSUM
            } else {
                0
            };
            self.kernel.mark(message, flags, layout.segment_len.into());
            // SAFETY: made just now.
            unsafe { (*message).b_next = first };
            first = message;
        }
        first.expose_provenance() as u64
    }

    /// What the module sent since the last call.
    #[must_use]
    pub fn take_sent(&self) -> Vec<Sent> {
        std::mem::take(&mut self.kernel.state().net.sent)
    }
}

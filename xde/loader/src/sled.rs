//! A sled: a kernel with the module in it, and what tests do to it.

use crate::call;
use crate::context::{self, Context};
use crate::image::Image;
use crate::kernel::Kernel;
use crate::kernel::mac::Provider;
use crate::probe::Fired;
use anyhow::{Context as _, Result, anyhow, ensure};
use illumos_sys_hdrs as sys;
use opte_core::limits::RESPONSE_BYTES_MAX;
use opte_ioctl::device::{COMMAND, TRANSFER_VERSION, Transfer};
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

/// The device number of the module's node.
const NODE: u64 = 77 << 32 | 0x2_0000;

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
        let result = context::within(&self.kernel, context, || call::module(function, arguments));
        if !context::held().is_empty() {
            self.kernel.violated("a call came back with locks held");
        }
        result
            .map(|r| r & 0xffff_ffff)
            .map_err(|panic| anyhow!("the module panicked: {panic}"))
    }

    /// The module's operations.
    fn operations(&self) -> &'static sys::dev_ops {
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

    /// Detaches the instance; `false` when the module refuses.
    ///
    /// # Errors
    ///
    /// When it panics.
    pub fn detach(&self) -> Result<bool> {
        let result = context::within(&self.kernel, Context::Thread, || {
            crate::kernel::detach(&self.kernel)
        });
        Ok(result.map_err(|panic| anyhow!("{panic}"))? == 0)
    }

    /// Removes the module; what it broke and what it left behind.
    ///
    /// # Errors
    ///
    /// When it refuses to go.
    pub fn unload(self) -> Result<Vec<String>> {
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
        let handler = self.kernel.state().periodic;
        let (function, argument) = handler.context("no periodic handler")?;
        self.call(Context::Thread, function, &[argument])?;
        Ok(())
    }

    /// Opens the device node; the errno.
    ///
    /// # Errors
    ///
    /// When the module panics.
    pub fn open(&self) -> Result<u64> {
        let operations = self.cb_ops()?;
        let open = operations.cb_open.context("no cb_open")?;
        let device = NODE;
        let arguments = [(&raw const device).expose_provenance() as u64, 3, 2, CRED];
        self.call(Context::Thread, open as *const () as u64, &arguments)
    }

    fn cb_ops(&self) -> Result<&'static sys::cb_ops> {
        let operations = self.operations().devo_cb_ops;
        ensure!(!operations.is_null(), "no cb_ops");
        // SAFETY: the module's, which is there as long as it is.
        Ok(unsafe { &*operations })
    }

    /// An ioctl with an argument as it is; the errno.
    ///
    /// # Errors
    ///
    /// When the module panics.
    pub fn raw_ioctl(&self, command: i32, argument: u64) -> Result<u64> {
        let ioctl = self.cb_ops()?.cb_ioctl.context("no cb_ioctl")?;
        let mut value = 0_i32;
        let arguments = [
            NODE,
            u64::from(command.cast_unsigned()),
            argument,
            0,
            CRED,
            (&raw mut value).expose_provenance() as u64,
        ];
        self.call(Context::Thread, ioctl as *const () as u64, &arguments)
    }

    /// A request of `opteadm`'s: an envelope in, an envelope out.
    ///
    /// # Errors
    ///
    /// The errno, as an error.
    pub fn ioctl(&self, request: &[u8]) -> Result<Vec<u8>> {
        let mut response = vec![0; RESPONSE_BYTES_MAX];
        let mut transfer = Transfer {
            version: TRANSFER_VERSION,
            flags: 0,
            request: request.as_ptr().expose_provenance() as u64,
            request_len: request.len() as u64,
            response: response.as_mut_ptr().expose_provenance() as u64,
            response_room: response.len() as u64,
            response_len: 0,
        };
        let argument = (&raw mut transfer).expose_provenance() as u64;
        let errno = self.raw_ioctl(COMMAND, argument)?;
        // SAFETY: written by the module, behind the compiler's back.
        let len = unsafe { (&raw const transfer.response_len).read_volatile() };
        ensure!(errno == 0, "ioctl: error {errno}");
        response.truncate(usize::try_from(len)?);
        Ok(response)
    }

    /// Somebody starts or stops using a port's datalink.
    ///
    /// # Errors
    ///
    /// When there is no such port.
    pub fn use_port(&self, name: &str, start: bool) -> Result<()> {
        let (callbacks, argument) = self.port(name)?;
        let function = if start {
            callbacks.mc_start.map(|f| f as *const () as u64)
        } else {
            callbacks.mc_stop.map(|f| f as *const () as u64)
        };
        self.call(
            Context::Thread,
            function.context("no callback")?,
            &[argument],
        )?;
        self.with_provider(name, |provider| provider.in_use = start)
    }

    /// Somebody has a port's datalink without using it, so that it can't be
    /// taken away and the module isn't told; or lets go of it.
    ///
    /// # Errors
    ///
    /// When there is no such port.
    pub fn hold_port(&self, name: &str, held: bool) -> Result<()> {
        self.with_provider(name, |provider| provider.held = held)
    }

    /// Whether a port is a datalink that is up, and its MTU.
    #[must_use]
    pub fn port_state(&self, name: &str) -> Option<(bool, u32)> {
        let state = self.kernel.state();
        let (_, provider) = state.net.provider(name)?;
        Some((provider.up, provider.mtu))
    }

    /// The hardware address of a port's datalink, and MAC's handle of it.
    #[must_use]
    pub fn port_address(&self, name: &str) -> Option<([u8; 6], u64)> {
        let state = self.kernel.state();
        let (handle, provider) = state.net.provider(name)?;
        Some((provider.address, handle))
    }

    /// What a port's datalink says of a capability: the words that it writes, of
    /// those that are there.
    ///
    /// # Errors
    ///
    /// When the module panics.
    pub fn port_capability(&self, name: &str, capability: i32) -> Result<Option<Vec<u32>>> {
        const UNTOUCHED: u32 = 0xdead_beef;
        let (callbacks, argument) = self.port(name)?;
        let function = callbacks.mc_getcapab.context("no mc_getcapab")?;
        let mut words = [UNTOUCHED; 16];
        let place = words.as_mut_ptr().expose_provenance() as u64;
        let arguments = [argument, u64::from(capability.cast_unsigned()), place];
        let has = self.call(Context::Interrupt, function as *const () as u64, &arguments)?;
        // SAFETY: written by the module, behind the compiler's back.
        let words = unsafe { (&raw const words).read_volatile() };
        let written = words.into_iter().take_while(|word| *word != UNTOUCHED);
        Ok((has != 0).then(|| written.collect()))
    }

    /// A statistic of a port, by MAC's number.
    ///
    /// # Errors
    ///
    /// When the module doesn't have it.
    pub fn port_statistic(&self, name: &str, number: u32) -> Result<u64> {
        let (callbacks, argument) = self.port(name)?;
        let function = callbacks.mc_getstat.context("no mc_getstat")?;
        let mut value = 0_u64;
        let place = (&raw mut value).expose_provenance() as u64;
        let arguments = [argument, number.into(), place];
        let errno = self.call(Context::Interrupt, function as *const () as u64, &arguments)?;
        ensure!(errno == 0, "mc_getstat: error {errno}");
        // SAFETY: written by the module, behind the compiler's back.
        Ok(unsafe { (&raw const value).read_volatile() })
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

    pub(crate) fn with_provider<T>(
        &self,
        name: &str,
        work: impl FnOnce(&mut Provider) -> T,
    ) -> Result<T> {
        let mut state = self.kernel.state();
        let handle = state.net.provider(name).map(|(handle, _)| handle);
        let provider = handle.and_then(|handle| state.net.providers.get_mut(&handle));
        provider
            .map(work)
            .with_context(|| format!("no port {name}"))
    }

    pub(crate) fn port(&self, name: &str) -> Result<(&'static sys::mac_callbacks_t, u64)> {
        let state = self.kernel.state();
        let (_, provider) = state
            .net
            .provider(name)
            .with_context(|| format!("no port {name}"))?;
        let callbacks = std::ptr::with_exposed_provenance(provider.callbacks);
        // SAFETY: the module's, which is there as long as it is.
        Ok((unsafe { &*callbacks }, provider.argument))
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
        self.port(port)?;
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
        let callback = {
            let state = self.kernel.state();
            let mut clients = state.net.clients.values();
            let client = clients.find(|client| client.link == link);
            client.and_then(|client| client.callback)
        };
        let (function, argument) = callback.with_context(|| format!("nobody listens on {link}"))?;
        // What a promiscuous callback is given is one packet.
        for packet in packets {
            let chain = self.chain(std::slice::from_ref(packet));
            self.call(context, function, &[argument, 0, chain, 0])?;
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

/// Credentials: an address, and nothing behind it.
const CRED: u64 = 0x1000_c1ed;

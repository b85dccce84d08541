//! The module's device node, as specfs and `opteadm` use it.

use crate::context::{self, Context};
use crate::kernel::{FKIOCTL, Kernel};
use crate::sled::Sled;
use anyhow::{Context as _, Result, ensure};
use illumos_sys_hdrs as sys;
use opte_core::limits::RESPONSE_BYTES_MAX;
use opte_ioctl::device::{COMMAND, TRANSFER_VERSION, Transfer};
use std::ops::Range;

/// The major number of the module, above a minor one.
const MAJOR: u64 = 77 << 32;
/// The device number of the module's node.
const NODE: u64 = MAJOR | 0x2_0000;
/// Credentials: an address, and nothing behind it.
const CRED: u64 = 0x1000_c1ed;
/// A descriptor that may be read and written (`FREAD`, `FWRITE`).
const MODE: i32 = 3;

/// Memory that the module must take for the kernel's while this is there.
pub struct KernelMemory<'s> {
    kernel: &'s Kernel,
    range: Range<usize>,
}

impl Drop for KernelMemory<'_> {
    fn drop(&mut self) {
        let lent = &mut self.kernel.state().kernel_memory;
        if let Some(at) = lent.iter().position(|range| *range == self.range) {
            lent.remove(at);
        }
    }
}

impl Sled {
    /// Opens the device node, as specfs does: it asks for the instance first.
    /// The errno.
    ///
    /// # Errors
    ///
    /// When the module panics.
    pub fn open(&self) -> Result<u64> {
        let operations = self.cb_ops()?;
        let instance = self.node_answer(NODE & 0xffff_ffff, sys::DDI_INFO_DEVT2INSTANCE)?;
        ensure!(instance == Some(0), "getinfo: instance {instance:?}");
        let open = operations.cb_open.context("no cb_open")?;
        let device = NODE;
        let place = (&raw const device).expose_provenance() as u64;
        let kind = u64::from(sys::OTYP_CHR.cast_unsigned());
        let arguments = [place, u64::from(MODE.cast_unsigned()), kind, CRED];
        let errno = self.call(Context::Thread, open as *const () as u64, &arguments)?;
        if errno == 0 {
            self.kernel.state().opened += 1;
        }
        Ok(errno)
    }

    /// Closes the device node for good: nobody has it open any more. The errno.
    ///
    /// # Errors
    ///
    /// When the module panics.
    pub fn close(&self) -> Result<u64> {
        let close = self.cb_ops()?.cb_close.context("no cb_close")?;
        if std::mem::take(&mut self.kernel.state().opened) == 0 {
            return Ok(0);
        }
        let [mode, kind] = [MODE, sys::OTYP_CHR].map(|it| u64::from(it.cast_unsigned()));
        let arguments = [NODE, mode, kind, CRED];
        self.call(Context::Thread, close as *const () as u64, &arguments)
    }

    /// What `devo_getinfo` says of a minor number; `None` when it fails.
    ///
    /// # Errors
    ///
    /// When the module panics.
    pub fn node_answer(&self, minor: u64, command: i32) -> Result<Option<u64>> {
        const UNTOUCHED: u64 = 0xdead_beef;
        let getinfo = self.operations().devo_getinfo.context("no devo_getinfo")?;
        let mut answer = UNTOUCHED;
        let arguments = [
            crate::kernel::DIP,
            u64::from(command.cast_unsigned()),
            MAJOR | minor,
            (&raw mut answer).expose_provenance() as u64,
        ];
        let result = self.call(Context::Thread, getinfo as *const () as u64, &arguments)?;
        // SAFETY: written by the module, behind the compiler's back.
        let answer = unsafe { (&raw const answer).read_volatile() };
        let succeeded = result == u64::from(sys::DDI_SUCCESS.cast_unsigned());
        ensure!(!succeeded || answer != UNTOUCHED, "getinfo: no answer");
        Ok(succeeded.then_some(answer))
    }

    fn cb_ops(&self) -> Result<&'static sys::cb_ops> {
        let operations = self.operations().devo_cb_ops;
        ensure!(!operations.is_null(), "no cb_ops");
        // SAFETY: the module's, which is there as long as it is.
        Ok(unsafe { &*operations })
    }

    /// An ioctl of a process with an argument as it is; the errno.
    ///
    /// # Errors
    ///
    /// When the module panics.
    pub fn raw_ioctl(&self, command: i32, argument: u64) -> Result<u64> {
        self.ioctl_in_mode(command, argument, MODE)
    }

    /// An ioctl of the kernel itself (FKIOCTL), with an argument as it is; the
    /// errno.
    ///
    /// # Errors
    ///
    /// When the module panics.
    pub fn raw_kernel_ioctl(&self, command: i32, argument: u64) -> Result<u64> {
        self.ioctl_in_mode(command, argument, MODE | FKIOCTL)
    }

    fn ioctl_in_mode(&self, command: i32, argument: u64, mode: i32) -> Result<u64> {
        let ioctl = self.cb_ops()?.cb_ioctl.context("no cb_ioctl")?;
        let mut value = 0_i32;
        let arguments = [
            NODE,
            u64::from(command.cast_unsigned()),
            argument,
            u64::from(mode.cast_unsigned()),
            CRED,
            (&raw mut value).expose_provenance() as u64,
        ];
        self.call(Context::Thread, ioctl as *const () as u64, &arguments)
    }

    /// Has memory be the kernel's, and no process's, while what is returned is
    /// there.
    #[must_use]
    pub fn lend(&self, start: u64, len: usize) -> KernelMemory<'_> {
        let start = usize::try_from(start).unwrap_or(0);
        let range = start..start.saturating_add(len);
        self.kernel.state().kernel_memory.push(range.clone());
        KernelMemory {
            kernel: &self.kernel,
            range,
        }
    }

    /// A request of `opteadm`'s: an envelope in, an envelope out.
    ///
    /// # Errors
    ///
    /// The errno, as an error.
    pub fn ioctl(&self, request: &[u8]) -> Result<Vec<u8>> {
        self.transfer(request, false)
    }

    /// The same request from the kernel: all of its memory is the kernel's.
    ///
    /// # Errors
    ///
    /// The errno, as an error.
    pub fn kernel_ioctl(&self, request: &[u8]) -> Result<Vec<u8>> {
        self.transfer(request, true)
    }

    fn transfer(&self, request: &[u8], by_kernel: bool) -> Result<Vec<u8>> {
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
        let pieces = [
            (argument, size_of::<Transfer>()),
            (transfer.request, request.len()),
            (transfer.response, response.len()),
        ];
        let errno = if by_kernel {
            let _lent = pieces.map(|(start, len)| self.lend(start, len));
            self.raw_kernel_ioctl(COMMAND, argument)?
        } else {
            self.raw_ioctl(COMMAND, argument)?
        };
        // SAFETY: written by the module, behind the compiler's back.
        let len = unsafe { (&raw const transfer.response_len).read_volatile() };
        ensure!(errno == 0, "ioctl: error {errno}");
        response.truncate(usize::try_from(len)?);
        Ok(response)
    }

    /// Detaches the instance, when everybody has closed the node; `false` when
    /// the module refuses.
    ///
    /// # Errors
    ///
    /// When it panics.
    pub fn detach(&self) -> Result<bool> {
        let closed = self.close()?;
        ensure!(closed == 0, "cb_close: error {closed}");
        let detach = || crate::kernel::detach(&self.kernel);
        let result = context::within(&self.kernel, Context::Thread, detach);
        Ok(result.map_err(|panic| anyhow::anyhow!("{panic}"))? == 0)
    }
}

//! User memory: copied whole, never looked at in place (rule L7).

use super::Errno;
use alloc::vec::Vec;
use core::ffi::{c_int, c_void};
use illumos_sys_hdrs as sys;
use opte_ioctl::device::Transfer;

/// The user's memory, as an `ioctl` reaches it. From threads that may sleep.
#[derive(Clone, Copy)]
pub(crate) struct UserMemory {
    /// The call's mode, which says whose memory it is (FKIOCTL).
    mode: c_int,
}

impl UserMemory {
    /// What a call with this mode reaches.
    pub(crate) const fn new(mode: c_int) -> Self {
        Self { mode }
    }

    /// Copies `len` bytes in. The caller has checked `len` against its limit.
    pub(crate) fn read(self, from: u64, len: usize) -> Result<Vec<u8>, Errno> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| NO_MEMORY)?;
        bytes.resize(len, 0);
        self.copy_in(from, &mut bytes)?;
        Ok(bytes)
    }

    /// Copies a transfer's description in.
    pub(crate) fn read_transfer(self, from: u64) -> Result<Transfer, Errno> {
        let mut bytes = [0; size_of::<Transfer>()];
        self.copy_in(from, &mut bytes)?;
        Transfer::from_bytes(&bytes).ok_or(FAULT)
    }

    /// Copies bytes out.
    pub(crate) fn write(self, to: u64, bytes: &[u8]) -> Result<(), Errno> {
        let to = address(to)?;
        // SAFETY: reads a slice of ours; the destination is checked by the
        // kernel and answered with failure when it isn't the caller's.
        let result = unsafe { sys::ddi_copyout(bytes.as_ptr().cast(), to, bytes.len(), self.mode) };
        if result == 0 { Ok(()) } else { Err(FAULT) }
    }

    fn copy_in(self, from: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        let from = address(from)?.cast_const();
        // SAFETY: writes a slice of ours; the source is checked by the kernel
        // and answered with failure when it isn't the caller's.
        let result =
            unsafe { sys::ddi_copyin(from, bytes.as_mut_ptr().cast(), bytes.len(), self.mode) };
        if result == 0 { Ok(()) } else { Err(FAULT) }
    }
}

/// A user's address, for the kernel's copy functions alone (rule K3).
fn address(number: u64) -> Result<*mut c_void, Errno> {
    let number = usize::try_from(number).map_err(|_| FAULT)?;
    Ok(core::ptr::without_provenance_mut(number))
}

/// The address isn't the caller's.
const FAULT: Errno = Errno::new(sys::EFAULT).unwrap();
/// There is no memory for it.
const NO_MEMORY: Errno = Errno::new(sys::ENOMEM).unwrap();

//! Memory of processes and of the kernel.
//!
//! Rules     U1  what an ioctl's mode says decides whose an address is: with
//!               FKIOCTL it is the kernel's, and an address of a process is a
//!               fault; without it is the other way round. The kernel's is what
//!               the module has and what a test lends ([`crate::KernelMemory`]);
//!               all else in this process is a process's.
//!           U2  an address where nothing is, or where nothing may be written, is
//!               a fault, and no more: Linux copies, and says so.

use super::Kernel;
use crate::context;
use std::ffi::{c_int, c_void};

/// The mode of an ioctl whose memory is the kernel's.
pub(crate) const FKIOCTL: c_int = 0x8000_0000_u32.cast_signed();

pub(super) unsafe extern "C" fn ddi_copyin(
    from: *const c_void,
    to: *mut c_void,
    len: usize,
    mode: c_int,
) -> c_int {
    let kernel = context::kernel();
    if !kernel.may_copy("ddi_copyin", from.addr(), len, mode) {
        return -1;
    }
    let [local, remote] = [to, from.cast_mut()].map(|start| piece(start, len));
    // SAFETY: pieces of this process; where there is nothing Linux says so.
    let copied = unsafe { libc::process_vm_readv(me(), &local, 1, &remote, 1, 0) };
    result(copied, len)
}

pub(super) unsafe extern "C" fn ddi_copyout(
    from: *const c_void,
    to: *mut c_void,
    len: usize,
    mode: c_int,
) -> c_int {
    let kernel = context::kernel();
    if !kernel.may_copy("ddi_copyout", to.addr(), len, mode) {
        return -1;
    }
    let [local, remote] = [from.cast_mut(), to].map(|start| piece(start, len));
    // SAFETY: as above; what can't be written isn't.
    let copied = unsafe { libc::process_vm_writev(me(), &local, 1, &remote, 1, 0) };
    result(copied, len)
}

/// This process.
fn me() -> libc::pid_t {
    std::process::id().cast_signed()
}

fn piece(start: *mut c_void, len: usize) -> libc::iovec {
    libc::iovec {
        iov_base: start,
        iov_len: len,
    }
}

fn result(copied: isize, len: usize) -> c_int {
    if usize::try_from(copied) == Ok(len) {
        0
    } else {
        -1
    }
}

impl Kernel {
    /// Whether memory is whose an ioctl's mode says (rule U1).
    fn may_copy(&self, call: &'static str, start: usize, len: usize, mode: c_int) -> bool {
        self.sleeps(call);
        if self.step_fails() {
            return false;
        }
        let Some(end) = start.checked_add(len) else {
            return false;
        };
        let state = self.state();
        let lent = state.kernel_memory.iter().cloned();
        let own = state.memory.iter().map(|(start, len)| *start..start + len);
        let mut kernels = lent.chain(own);
        if mode & FKIOCTL == 0 {
            !kernels.any(|it| it.start < end && start < it.end)
        } else {
            kernels.any(|it| it.start <= start && end <= it.end)
        }
    }
}

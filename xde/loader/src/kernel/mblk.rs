//! Messages: blocks that are counted, and checked when they are used.

use super::Kernel;
use crate::context;
use illumos_sys_hdrs::{self as sys, mblk_t};
use std::ffi::c_uint;
use std::ptr;

/// A data block as this kernel has it: the fields that everybody may know, and
/// more of them.
#[repr(C)]
struct Data {
    free: usize,
    base: *mut u8,
    lim: *mut u8,
    references: u8,
    kind: u8,
    rest: [u8; 86],
    /// What `mac_hcksum_set` was told.
    flags: u32,
    /// Payload of each segment of a large one, which this leads; or zero.
    segment: u32,
    /// Blocks that have it. Somebody else may seem to have it, too.
    owners: usize,
    memory: Vec<u8>,
}

impl Kernel {
    /// A block with room for `size` bytes.
    pub(crate) fn block(&self, size: usize) -> *mut mblk_t {
        let mut memory = vec![0xba; size];
        let base = memory.as_mut_ptr();
        let data = Box::new(Data {
            free: 0,
            base,
            lim: base.wrapping_add(size),
            references: 1,
            kind: 0,
            rest: [0; 86],
            flags: 0,
            segment: 0,
            owners: 1,
            memory,
        });
        self.window(Box::into_raw(data), base, base)
    }

    /// A block that shows this part of some memory.
    fn window(&self, data: *mut Data, start: *mut u8, end: *mut u8) -> *mut mblk_t {
        let block = Box::into_raw(Box::new(mblk_t {
            b_next: ptr::null_mut(),
            b_prev: ptr::null_mut(),
            b_cont: ptr::null_mut(),
            b_rptr: start,
            b_wptr: end,
            b_datap: data.cast(),
            b_band: 0,
            b_tag: 0,
            b_flag: 0,
            b_queue: ptr::null_mut(),
        }));
        self.state().messages.insert(block.addr(), ());
        block.expose_provenance();
        block
    }

    /// Marks a message as its sender does that leaves its transport checksum,
    /// and cutting it into segments, to the device.
    pub(crate) fn mark(&self, message: *mut mblk_t, flags: u32, segment: u32) {
        // SAFETY: a message that was made just now.
        let data = unsafe { (*message).b_datap.cast::<Data>() };
        // SAFETY: a block's data lives as long.
        unsafe { (*data).flags = flags };
        // SAFETY: as above.
        unsafe { (*data).segment = segment };
    }

    /// A message of pieces, with `room` bytes in front of the first.
    pub(crate) fn message(&self, room: usize, pieces: &[&[u8]], shared: bool) -> *mut mblk_t {
        let (mut first, mut last) = (ptr::null_mut::<mblk_t>(), ptr::null_mut::<mblk_t>());
        for piece in pieces {
            let room = if first.is_null() { room } else { 0 };
            let block = self.block(room + piece.len());
            // SAFETY: a block of that size.
            let fields = unsafe { &mut *block };
            fields.b_rptr = fields.b_rptr.wrapping_add(room);
            fields.b_wptr = fields.b_rptr.wrapping_add(piece.len());
            // SAFETY: room for the piece.
            unsafe { ptr::copy_nonoverlapping(piece.as_ptr(), fields.b_rptr, piece.len()) };
            // SAFETY: the block's data.
            unsafe { (*fields.b_datap.cast::<Data>()).references = 1 + u8::from(shared) };
            if last.is_null() {
                first = block;
            } else {
                // SAFETY: the block before.
                unsafe { (*last).b_cont = block };
            }
            last = block;
        }
        first
    }

    /// The bytes of a message.
    pub(crate) fn bytes(&self, message: *const mblk_t) -> Vec<u8> {
        let (mut out, mut next) = (Vec::new(), message);
        while !next.is_null() {
            if !self.state().messages.contains_key(&next.addr()) {
                self.violated("a block that was freed");
                break;
            }
            // SAFETY: alive, as it is known.
            let block = unsafe { &*next };
            // SAFETY: a block's data lives as long.
            let data = unsafe { &*block.b_datap.cast::<Data>() };
            let inside = data.base <= block.b_rptr
                && block.b_rptr <= block.b_wptr
                && block.b_wptr <= data.lim;
            if !inside {
                self.violated("a block whose pointers are outside of its memory");
                break;
            }
            let len = block.b_wptr.addr() - block.b_rptr.addr();
            // SAFETY: inside of the block's memory.
            out.extend(unsafe { std::slice::from_raw_parts(block.b_rptr, len) });
            next = block.b_cont;
        }
        out
    }

    /// What hardware is asked to do for a message, or has done.
    pub(crate) fn checksum_flags(&self, message: *const mblk_t) -> u32 {
        // SAFETY: a message that the module handed over.
        let data = unsafe { (*message).b_datap };
        // SAFETY: a block's data lives as long.
        let data = unsafe { &*data.cast::<Data>() };
        data.flags | if data.segment == 0 { 0 } else { sys::HW_LSO }
    }

    /// The messages of a chain, each by itself.
    pub(crate) fn take_apart(&self, chain: *mut mblk_t) -> Vec<*mut mblk_t> {
        let (mut out, mut next) = (Vec::new(), chain);
        while !next.is_null() {
            out.push(next);
            // SAFETY: a message that the module handed over.
            let block = unsafe { &mut *next };
            next = std::mem::replace(&mut block.b_next, ptr::null_mut());
        }
        out
    }

    /// Frees a block.
    fn free(&self, block: *mut mblk_t) {
        if self.state().messages.remove(&block.addr()).is_none() {
            self.violated("a block was freed twice");
            return;
        }
        // SAFETY: made by `window`, and known until now.
        let block = unsafe { Box::from_raw(block) };
        let data = block.b_datap.cast::<Data>();
        let state = self.state();
        // SAFETY: it lives as long as a block has it, and blocks come and go with
        // the kernel's state locked.
        let owners = unsafe { &mut (*data).owners };
        *owners -= 1;
        let is_last = *owners == 0;
        // SAFETY: as above.
        unsafe { (*data).references -= 1 };
        drop(state);
        if is_last {
            // SAFETY: made by `block`; nobody has it any more.
            drop(unsafe { Box::from_raw(data) });
        }
    }

    /// Frees a message.
    pub(crate) fn free_message(&self, message: *mut mblk_t) {
        let mut next = message;
        while !next.is_null() {
            if !self.state().messages.contains_key(&next.addr()) {
                self.violated("a message was freed twice");
                return;
            }
            // SAFETY: alive, as it is known.
            let behind = unsafe { (*next).b_cont };
            self.free(next);
            next = behind;
        }
    }
}

pub(super) unsafe extern "C" fn allocb(size: usize, _: c_uint) -> *mut mblk_t {
    let kernel = context::kernel();
    if kernel.memory_fails() {
        return ptr::null_mut();
    }
    kernel.block(size)
}

pub(super) unsafe extern "C" fn freeb(mp: *mut mblk_t) {
    context::kernel().free(mp);
}

pub(super) unsafe extern "C" fn freemsg(mp: *mut mblk_t) {
    context::kernel().free_message(mp);
}

pub(super) unsafe extern "C" fn freemsgchain(mp: *mut mblk_t) {
    let kernel = context::kernel();
    for message in kernel.take_apart(mp) {
        kernel.free_message(message);
    }
}

pub(super) unsafe extern "C" fn mac_hcksum_set(
    mp: *mut mblk_t,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    flags: u32,
) {
    // SAFETY: a message of the module's.
    let data = unsafe { (*mp).b_datap };
    // SAFETY: a block's data lives as long.
    unsafe { (*data.cast::<Data>()).flags = flags };
}

pub(super) unsafe extern "C" fn mac_hcksum_get(
    mp: *const mblk_t,
    _: *mut u32,
    _: *mut u32,
    _: *mut u32,
    _: *mut u32,
    place: *mut u32,
) {
    let flags = context::kernel().checksum_flags(mp) & !sys::HW_LSO;
    // SAFETY: the module's place for the answer.
    unsafe { place.write(flags) };
}

pub(super) unsafe extern "C" fn mac_lso_get(mp: *mut mblk_t, mss: *mut u32, place: *mut u32) {
    // SAFETY: a message of the module's.
    let data = unsafe { (*mp).b_datap };
    // SAFETY: a block's data lives as long.
    let segment = unsafe { (*data.cast::<Data>()).segment };
    // SAFETY: the module's place for the answer.
    unsafe { place.write(if segment == 0 { 0 } else { sys::HW_LSO }) };
    if segment != 0 {
        // SAFETY: as above.
        unsafe { mss.write(segment) };
    }
}

/// Blocks that may have the same memory.
const OWNERS_MAX: u8 = 255;

pub(super) unsafe extern "C" fn dupb(mp: *mut mblk_t) -> *mut mblk_t {
    let kernel = context::kernel();
    if kernel.memory_fails() {
        return ptr::null_mut();
    }
    // SAFETY: a block of the module's.
    let block = unsafe { &*mp };
    let data = block.b_datap.cast::<Data>();
    let state = kernel.state();
    // SAFETY: it lives as long as the block, and is counted with the kernel's
    // state locked.
    let fields = unsafe { &mut *data };
    if fields.references == OWNERS_MAX {
        return ptr::null_mut();
    }
    fields.references += 1;
    fields.owners += 1;
    drop(state);
    kernel.window(data, block.b_rptr, block.b_wptr)
}

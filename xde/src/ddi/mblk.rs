//! Packets of the kernel.
//!
//! Terms     block      an mblk: a window on memory that other mblks may share
//!           message    blocks that are one packet, linked by `b_cont`
//!           chain      messages linked by `b_next`
//!           head       the first block of a message
//!
//! Rules     B1  a message that the engine is given has a head that is its own
//!               (nobody shares the memory), holds all headers in one piece,
//!               and has room in front for what will be put there. [`Message::adopt`]
//!               makes it so, by copying headers; payload stays where it is.
//!           B2  a small packet has all of its bytes in the head: a copy costs
//!               less than a second block, and what the gateway answers or the
//!               underlay keeps is whole.
//!
//! Failure   a packet that can't be made so is freed: there is no memory.

use core::ffi::c_uint;
use core::mem::ManuallyDrop;
use core::ptr::{self, NonNull};
use illumos_sys_hdrs::{self as sys, mblk_t};
use opte_core::frame::{Frame, Offload};
use opte_core::limits::{ENCAP_LEN, IPV6_EXTENSION_BYTES_MAX};

/// Bytes in front of a head: what the engine puts there, the option that
/// copies for groups have included, and the IP header behind it aligned.
pub(crate) const ROOM: usize = (ENCAP_LEN + 8 + 2).next_multiple_of(8);
/// Bytes of a packet of which only the head is copied: outer headers with
/// options or extension headers, and inner ones.
const HEAD: usize = 128 + IPV6_EXTENSION_BYTES_MAX;
/// Bytes of a packet that is copied whole (rule B2): a DHCP message is not
/// longer (RFC 2131 section 2) unless the client asks.
const SMALL: usize = 640;

/// A packet that is ours. Its head is as rule B1 says; or nothing, where a packet
/// was.
pub(crate) struct Message {
    head: NonNull<mblk_t>,
    /// Bytes of all blocks.
    len: usize,
    /// What its sender left to its device.
    offload: Offload,
}

// SAFETY: a message belongs to whoever has it, in any thread.
unsafe impl Send for Message {}

/// A block without bytes, which is nobody's and stands for no message.
struct Nothing(mblk_t);

// SAFETY: it is never written.
unsafe impl Sync for Nothing {}

static NOTHING: Nothing = Nothing(mblk_t {
    b_next: ptr::null_mut(),
    b_prev: ptr::null_mut(),
    b_cont: ptr::null_mut(),
    b_rptr: NonNull::dangling().as_ptr(),
    b_wptr: NonNull::dangling().as_ptr(),
    b_datap: ptr::null_mut(),
    b_band: 0,
    b_tag: 0,
    b_flag: 0,
    b_queue: ptr::null_mut(),
});

impl Message {
    /// No packet.
    pub(crate) const NONE: Self = Self {
        head: NonNull::from_ref(&NOTHING.0),
        len: 0,
        offload: FINISHED,
    };

    /// The packet, which isn't here any more.
    #[inline]
    pub(crate) fn take(&mut self) -> Self {
        core::mem::replace(self, Self::NONE)
    }

    fn is_none(&self) -> bool {
        ptr::eq(self.head.as_ptr(), &raw const NOTHING.0)
    }

    /// Takes a packet over and makes its head fit for the engine, with `room`
    /// bytes in front; `None` when it couldn't be, and is freed.
    ///
    /// # Safety
    ///
    /// `mp` is a message of data that is the caller's alone, in no chain.
    #[inline(always)]
    unsafe fn adopt(mp: NonNull<mblk_t>, room: usize, offload: Offload) -> Option<Self> {
        let message = Self {
            head: mp,
            len: len_of(mp),
            offload,
        };
        let want = if message.len <= SMALL {
            message.len
        } else {
            HEAD
        };
        if message.is_ready(want, room) {
            return Some(message);
        }
        message.with_own_head(want)
    }

    /// A packet with these bytes.
    pub(crate) fn copy_of(bytes: &[u8]) -> Option<Self> {
        let mut message = Self::empty(bytes.len())?;
        message.append(bytes);
        Some(message)
    }

    /// A message without bytes, with room in front and for `len` bytes.
    fn empty(len: usize) -> Option<Self> {
        let size = ROOM.checked_add(len)?;
        // SAFETY: doesn't sleep, so it may be called from any context.
        let head = NonNull::new(unsafe { sys::allocb(size, sys::BPRI_HI) })?;
        let message = Self {
            head,
            len: 0,
            offload: FINISHED,
        };
        let block = message.head.as_ptr();
        // SAFETY: the block is ours alone.
        let start = unsafe { (*block).b_rptr }.wrapping_add(ROOM);
        // SAFETY: as above; the room is within the block's memory.
        unsafe { (*block).b_rptr = start };
        // SAFETY: as above.
        unsafe { (*block).b_wptr = start };
        Some(message)
    }

    /// Puts bytes behind those of the head, in memory that `empty` made room for.
    fn append(&mut self, bytes: &[u8]) {
        let block = self.head.as_ptr();
        // SAFETY: the block is ours alone.
        let end = unsafe { (*block).b_wptr };
        // SAFETY: there is room for so many bytes (`empty`), and none of it is
        // in a slice of anybody's.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), end, bytes.len()) };
        // SAFETY: the block is ours alone.
        unsafe { (*block).b_wptr = end.wrapping_add(bytes.len()) };
        self.len += bytes.len();
    }

    /// Whether the head has `want` bytes, room in front, and memory of its own.
    fn is_ready(&self, want: usize, room: usize) -> bool {
        // SAFETY: a block's description of its memory, alive as the block is.
        let data = unsafe { &*self.block().b_datap };
        let there = self.block().b_rptr.addr().wrapping_sub(data.db_base.addr());
        self.head().len() >= want && there >= room && data.db_ref == 1
    }

    /// Copies the first `want` bytes into a new head in front of the rest.
    fn with_own_head(self, want: usize) -> Option<Self> {
        let mut message = Self::empty(want)?;
        message.offload = self.offload;
        let mut rest = Some(ManuallyDrop::new(self).head);
        let mut left = want;
        while let Some(block) = rest
            && left > 0
        {
            // SAFETY: a block of the message that we took apart.
            let block_ref = unsafe { block.as_ref() };
            let bytes = bytes_of(block_ref);
            let (copied, remains) = bytes.split_at(left.min(bytes.len()));
            message.append(copied);
            left -= copied.len();
            if remains.is_empty() {
                rest = NonNull::new(block_ref.b_cont);
                // SAFETY: a block of ours that nothing refers to any more.
                unsafe { sys::freeb(block.as_ptr()) };
            } else {
                let start = remains.as_ptr().cast_mut();
                // SAFETY: the block is ours; its memory isn't written.
                unsafe { (*block.as_ptr()).b_rptr = start };
                break;
            }
        }
        if let Some(rest) = rest {
            message.len += len_of(rest);
            // SAFETY: the new head is ours alone and has nothing behind it.
            unsafe { (*message.head.as_ptr()).b_cont = rest.as_ptr() };
        }
        Some(message)
    }

    /// Nothing is left to do for it any more.
    pub(crate) fn set_finished(&mut self) {
        self.offload = FINISHED;
    }

    /// The first block.
    pub(super) fn head_block(&self) -> NonNull<mblk_t> {
        self.head
    }

    /// Counts bytes of blocks that were put behind the others.
    pub(super) fn grow(&mut self, len: usize) {
        self.len += len;
    }

    /// Hands the message to somebody else.
    fn into_raw(self) -> *mut mblk_t {
        ManuallyDrop::new(self).head.as_ptr()
    }

    fn block(&self) -> &mblk_t {
        // SAFETY: the head is ours alone and alive.
        unsafe { self.head.as_ref() }
    }
}

impl Drop for Message {
    #[inline]
    fn drop(&mut self) {
        if !self.is_none() {
            // SAFETY: the message is ours and isn't used any more.
            unsafe { sys::freemsg(self.head.as_ptr()) }
        }
    }
}

impl Frame for Message {
    #[inline]
    fn head(&self) -> &[u8] {
        bytes_of(self.block())
    }

    #[inline]
    fn head_mut(&mut self) -> &mut [u8] {
        let block = self.block();
        let (start, len) = (block.b_rptr, bytes_of(block).len());
        // SAFETY: initialised memory that nobody else has (rule B1), borrowed
        // for as long as the message is.
        unsafe { core::slice::from_raw_parts_mut(start, len) }
    }

    #[inline]
    fn frame_len(&self) -> usize {
        self.len
    }

    #[inline]
    fn pop(&mut self, len: usize) {
        let len = len.min(self.head().len());
        let start = self.block().b_rptr.wrapping_add(len);
        // SAFETY: the head is ours alone; the place is within its bytes.
        unsafe { (*self.head.as_ptr()).b_rptr = start };
        self.len -= len;
    }

    #[inline]
    fn push(&mut self, len: usize) -> Option<&mut [u8]> {
        if self.is_none() {
            return None;
        }
        let block = self.block();
        // SAFETY: as in `is_ready`.
        let base = unsafe { (*block.b_datap).db_base };
        let room = block.b_rptr.addr().wrapping_sub(base.addr());
        if room < len {
            return None;
        }
        let start = block.b_rptr.wrapping_sub(len);
        // The memory in front is ours as the head is, and the kernel has filled
        // it with something.
        // SAFETY: the head is ours alone.
        unsafe { (*self.head.as_ptr()).b_rptr = start };
        self.len += len;
        self.head_mut().get_mut(..len)
    }

    fn truncate(&mut self, len: usize) {
        if self.is_none() || len >= self.len {
            return;
        }
        self.len = len;
        let (mut block, mut left) = (self.head, len);
        loop {
            // SAFETY: a block of our message.
            let block_ref = unsafe { block.as_ref() };
            let there = bytes_of(block_ref).len();
            if let Some(next) = NonNull::new(block_ref.b_cont)
                && left > there
            {
                (block, left) = (next, left - there);
                continue;
            }
            let (end, rest) = (
                block_ref.b_rptr.wrapping_add(left.min(there)),
                block_ref.b_cont,
            );
            // SAFETY: the block is ours, if not its memory; the place is within its bytes.
            unsafe { (*block.as_ptr()).b_wptr = end };
            // SAFETY: as above; what was behind is freed next.
            unsafe { (*block.as_ptr()).b_cont = ptr::null_mut() };
            if !rest.is_null() {
                // SAFETY: blocks of ours that nothing refers to any more.
                unsafe { sys::freemsg(rest) };
            }
            return;
        }
    }

    fn gather(&mut self) -> bool {
        if self.head().len() == self.len {
            return true;
        }
        let Some(mut whole) = Self::empty(self.len) else {
            return false;
        };
        let mut next = Some(self.head);
        while let Some(block) = next {
            // SAFETY: a block of our message.
            let block = unsafe { block.as_ref() };
            whole.append(bytes_of(block));
            next = NonNull::new(block.b_cont);
        }
        whole.offload = self.offload;
        *self = whole;
        true
    }

    #[inline]
    fn offload(&self) -> Offload {
        self.offload
    }
}

/// The bytes of a block.
#[inline]
pub(super) fn bytes_of(block: &mblk_t) -> &[u8] {
    let len = block.b_wptr.addr().saturating_sub(block.b_rptr.addr());
    // SAFETY: what lies between the two is initialised and, as a message has
    // one owner, written by nobody else while the block is borrowed.
    unsafe { core::slice::from_raw_parts(block.b_rptr, len) }
}

/// Nothing is left to do.
const FINISHED: Offload = Offload {
    checksum_partial: false,
    segment_len: 0,
};

/// What a message says of checksums and segments, which it doesn't any more
/// then: the headers that it says it of will be others. Of a large segment the
/// mark stays, but none of its blocks leads a packet that goes on (`part`).
///
/// # Safety
///
/// `mp` is a message that is the caller's alone.
#[inline(always)]
unsafe fn take_marks(mp: NonNull<mblk_t>) -> Offload {
    let [mut start, mut stuff, mut end, mut value, mut flags] = [0_u32; 5];
    let [start, stuff, end, value] = [&raw mut start, &raw mut stuff, &raw mut end, &raw mut value];
    // SAFETY: the caller's message, and places for the answers.
    unsafe { sys::mac_hcksum_get(mp.as_ptr(), start, stuff, end, value, &raw mut flags) };
    let (mut segment, mut large) = (0, 0);
    // SAFETY: as above.
    unsafe { sys::mac_lso_get(mp.as_ptr(), &raw mut segment, &raw mut large) };
    if flags != 0 {
        // SAFETY: the caller's message.
        unsafe { sys::mac_hcksum_set(mp.as_ptr(), 0, 0, 0, 0, 0) };
    }
    let segment_len = match large & sys::HW_LSO {
        0 => 0,
        _ => u16::try_from(segment).unwrap_or(u16::MAX).max(1),
    };
    Offload {
        checksum_partial: flags & sys::HCK_PARTIALCKSUM != 0,
        segment_len,
    }
}

/// Bytes of a block and those behind it.
fn len_of(first: NonNull<mblk_t>) -> usize {
    let (mut len, mut next) = (0_usize, Some(first));
    while let Some(block) = next {
        // SAFETY: the caller has the message.
        let block = unsafe { block.as_ref() };
        len = len.saturating_add(bytes_of(block).len());
        next = NonNull::new(block.b_cont);
    }
    len
}

/// Packets that somebody gave us.
pub(crate) struct Received(*mut mblk_t);

impl Received {
    /// Takes a chain over.
    ///
    /// # Safety
    ///
    /// `chain` is null or a chain of messages of data that is the caller's
    /// alone.
    pub(crate) unsafe fn new(chain: *mut mblk_t) -> Self {
        Self(chain)
    }

    /// The next packet, with `room` bytes in front: `None` at the end, and
    /// `Some(None)` for one that there was no memory for. A guest's (`unfinished`)
    /// may have something left to do; what a NIC says of the outer headers holds
    /// no more behind them.
    #[inline(always)]
    pub(crate) fn take(&mut self, room: usize, unfinished: bool) -> Option<Option<Message>> {
        let first = NonNull::new(self.0)?;
        let block = first.as_ptr();
        // SAFETY: the chain is ours.
        self.0 = unsafe { (*block).b_next };
        // SAFETY: as above.
        unsafe { (*block).b_next = ptr::null_mut() };
        // SAFETY: as above.
        unsafe { (*block).b_prev = ptr::null_mut() };
        // SAFETY: the message is ours.
        let marks = unsafe { take_marks(first) };
        let offload = if unfinished { marks } else { FINISHED };
        // SAFETY: it is in no chain any more.
        Some(unsafe { Message::adopt(first, room, offload) })
    }

    /// Frees the packets that are left.
    pub(crate) fn free(&mut self) {
        drop(Self(core::mem::replace(&mut self.0, ptr::null_mut())));
    }

    /// Whether there is no packet left.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_null()
    }

    /// Whether there is one packet left.
    pub(crate) fn is_lone(&self) -> bool {
        // SAFETY: the chain is ours.
        let first = unsafe { self.0.as_ref() };
        first.is_some_and(|block| block.b_next.is_null())
    }

    /// Gives the packets that are left back.
    pub(crate) fn into_raw(self) -> *mut mblk_t {
        ManuallyDrop::new(self).0
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the rest of a chain of ours.
            unsafe { sys::freemsgchain(self.0) }
        }
    }
}

/// Packets that go to one place together.
pub(crate) struct Chain {
    first: *mut mblk_t,
    last: *mut mblk_t,
    count: c_uint,
}

// SAFETY: as a message.
unsafe impl Send for Chain {}

impl Chain {
    /// No packets.
    pub(crate) const fn new() -> Self {
        Self {
            first: ptr::null_mut(),
            last: ptr::null_mut(),
            count: 0,
        }
    }

    /// Adds a packet behind the others.
    pub(crate) fn push(&mut self, message: Message) {
        let block = message.into_raw();
        if self.last.is_null() {
            self.first = block;
        } else {
            // SAFETY: the last message of a chain of ours.
            unsafe { (*self.last).b_next = block };
        }
        self.last = block;
        self.count = self.count.saturating_add(1);
    }

    /// How many packets there are.
    pub(crate) fn count(&self) -> c_uint {
        self.count
    }

    /// The packets at its start that are `alike` each to the next.
    #[inline]
    pub(super) fn take_alike(&mut self, alike: impl Fn(&[u8], &[u8]) -> bool) -> Option<Self> {
        let mut last = NonNull::new(self.first)?;
        let mut taken = Self {
            first: self.first,
            ..Self::new()
        };
        loop {
            taken.count = taken.count.saturating_add(1);
            // SAFETY: the chain's messages are ours.
            let block = unsafe { last.as_ref() };
            self.first = block.b_next;
            let Some(next) = NonNull::new(self.first) else {
                self.last = ptr::null_mut();
                break;
            };
            // SAFETY: as above.
            if !alike(bytes_of(block), bytes_of(unsafe { next.as_ref() })) {
                break;
            }
            last = next;
        }
        taken.last = last.as_ptr();
        // SAFETY: as above.
        unsafe { (*taken.last).b_next = ptr::null_mut() };
        self.count = self.count.saturating_sub(taken.count);
        Some(taken)
    }

    /// The bytes at the start of its first packet.
    pub(super) fn first_bytes(&self) -> &[u8] {
        // SAFETY: the chain's messages are ours.
        unsafe { self.first.as_ref() }.map_or(&[], bytes_of)
    }

    /// Hands all of it to somebody else.
    pub(super) fn into_raw(self) -> *mut mblk_t {
        ManuallyDrop::new(self).first
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        if !self.first.is_null() {
            // SAFETY: a chain of ours.
            unsafe { sys::freemsgchain(self.first) }
        }
    }
}

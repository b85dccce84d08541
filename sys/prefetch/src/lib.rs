//! Asks the processor for memory ahead of its use.
//!
//! Purpose   a packet of one flow among a million waits for memory three times
//!           as long as it is worked on. Whoever knows what the next packets
//!           need asks for it while he works on this one.
//! Rules     R1  a hint changes nothing that a program can see, so it is safe
//!               to give for any reference, whatever it points to.
//! Failure   on a processor that we have no instruction for, nothing happens.
//!
//! This is a crate of its own because the engine forbids unsafe code, and the
//! compiler's own intrinsic can't be had where vector registers are off, as in
//! a kernel.
#![no_std]

/// Bytes that are fetched as one.
pub const LINE: usize = 64;

/// Asks for all of what `place` refers to, to be read or written soon.
#[inline(always)]
pub fn prefetch<T>(place: &T) {
    let start = core::ptr::from_ref(place).cast::<u8>();
    let mut offset = 0;
    while offset < size_of::<T>() {
        line(start.wrapping_add(offset));
        offset += LINE;
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
fn line(at: *const u8) {
    // SAFETY: PREFETCHT0 reads no register but the address, writes none and no
    // flags, and doesn't fault whatever the address is (rule R1).
    unsafe {
        core::arch::asm!("prefetcht0 [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
#[inline(always)]
fn line(at: *const u8) {
    // SAFETY: PRFM reads no register but the address, writes none and no
    // flags, and doesn't fault whatever the address is (rule R1).
    unsafe {
        core::arch::asm!("prfm pldl1keep, [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
}

#[cfg(any(not(any(target_arch = "x86_64", target_arch = "aarch64")), miri))]
#[inline(always)]
fn line(_: *const u8) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_as_it_is() {
        let lines = [[7_u8; LINE]; 5];
        prefetch(&lines);
        prefetch(&());
        prefetch(lines.get(5).unwrap_or(&lines[0]));
        assert_eq!(lines, [[7; LINE]; 5]);
    }
}

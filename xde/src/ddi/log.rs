//! What the driver says on the console and in the log, and its last words.

use core::ffi::{c_char, c_int};
use core::fmt::{self, Write};
use illumos_sys_hdrs as sys;

/// Bytes of a line. The kernel cuts longer ones itself.
const LINE: usize = 256;

/// How important a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// For the log.
    Note,
    /// For whoever looks at the console.
    Warning,
}

/// A line that is put together without an allocation; what is too long is cut.
struct Line {
    bytes: [u8; LINE],
    len: usize,
}

impl Line {
    const fn new() -> Self {
        Self {
            bytes: [0; LINE],
            len: 0,
        }
    }

    /// As a C string: a zero always follows.
    fn as_ptr(&self) -> *const c_char {
        self.bytes.as_ptr().cast()
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // One byte stays zero.
        let free = self.bytes.get_mut(self.len..LINE - 1).unwrap_or_default();
        for (place, byte) in free.iter_mut().zip(text.bytes()) {
            *place = byte;
            self.len += 1;
        }
        Ok(())
    }
}

/// Says a line. From any context.
pub(crate) fn say(level: Level, text: fmt::Arguments<'_>) {
    let mut line = Line::new();
    // A line takes what fits.
    let _ = line.write_fmt(text);
    let (level, format): (c_int, _) = match level {
        // To the log alone.
        Level::Note => (sys::CE_NOTE, c"!xde: %s"),
        Level::Warning => (sys::CE_WARN, c"xde: %s"),
    };
    // SAFETY: the format takes one C string, and there is one.
    unsafe { sys::cmn_err(level, format.as_ptr(), line.as_ptr()) }
}

/// Ends the system with the place of a bug. Takes little stack and formats
/// nothing: the panic message's arguments may be what is wrong.
#[cfg(target_os = "illumos")]
#[panic_handler]
fn panicked(info: &core::panic::PanicInfo<'_>) -> ! {
    let mut line = Line::new();
    let place = info.location();
    let _ = line.write_str(place.map_or("?", |place| place.file()));
    let number = place.map_or(0, core::panic::Location::line);
    // SAFETY: the format takes one C string and a number of 32 bits.
    unsafe { sys::panic(c"xde: %s:%u".as_ptr(), line.as_ptr(), number) }
}

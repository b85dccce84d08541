//! Datalink ids of illumos, made and removed through libdladm.
//!
//! Purpose   a port of the kernel module is a datalink, and a datalink has an
//!           id that dlmgmtd gives out. The module finds it by the port's
//!           name; `opteadm` makes it before and removes it afterwards.
//! Rules     D1  libdladm isn't a stable interface (SUNWprivate_1.1): only the
//!               few calls that have been the same since they exist.
//!           D2  a handle is closed when it is dropped.
//! Failure   libdladm's own words.
//!
//! Elsewhere than on illumos the crate is empty.
#![cfg(target_os = "illumos")]

use core::ffi::{CStr, c_char, c_int};
use core::fmt;
use core::ptr;
use std::ffi::CString;

/// `datalink_class_t`: what has no class of its own.
const CLASS_MISC: c_int = 0x400;
/// `DL_ETHER`.
const MEDIA_ETHER: u32 = 4;
/// `DLADM_OPT_ACTIVE`: until the next boot, as the module's ports are.
const ACTIVE: u32 = 1;
/// `DLADM_STATUS_OK`.
const OK: c_int = 0;
/// `DLADM_STATUS_NOTFOUND`.
const NOT_FOUND: c_int = 5;
/// `DLADM_STATUS_EXIST`.
const EXIST: c_int = 8;
/// `DLADM_STRSIZE`.
const TEXT_LEN: usize = 256;

#[repr(C)]
struct Opaque {
    hidden: [u8; 0],
}

#[link(name = "dladm")]
unsafe extern "C" {
    fn dladm_open(handle: *mut *mut Opaque) -> c_int;
    fn dladm_close(handle: *mut Opaque);
    fn dladm_create_datalink_id(
        handle: *mut Opaque,
        name: *const c_char,
        class: c_int,
        media: u32,
        flags: u32,
        id: *mut u32,
    ) -> c_int;
    fn dladm_destroy_datalink_id(handle: *mut Opaque, id: u32, flags: u32) -> c_int;
    fn dladm_name2info(
        handle: *mut Opaque,
        name: *const c_char,
        id: *mut u32,
        flags: *mut u32,
        class: *mut c_int,
        media: *mut u32,
    ) -> c_int;
    fn dladm_status2str(status: c_int, text: *mut c_char) -> *const c_char;
}

/// What libdladm said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    status: c_int,
    text: String,
}

impl Error {
    fn of(status: c_int) -> Self {
        let mut room = [0; TEXT_LEN];
        // SAFETY: the room that the call asks for.
        let text = unsafe { dladm_status2str(status, room.as_mut_ptr()) };
        // SAFETY: it returns the room, ended by a zero.
        let text = unsafe { CStr::from_ptr(text) };
        Self {
            status,
            text: text.to_string_lossy().into_owned(),
        }
    }

    /// Whether the name is taken already.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.status == EXIST
    }

    /// Whether there is no such datalink.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status == NOT_FOUND
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl core::error::Error for Error {}

fn check(status: c_int) -> Result<(), Error> {
    if status == OK {
        Ok(())
    } else {
        Err(Error::of(status))
    }
}

/// The way to dlmgmtd.
#[derive(Debug)]
pub struct Dladm(*mut Opaque);

impl fmt::Debug for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opaque")
    }
}

impl Dladm {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// When the caller may not, or dlmgmtd isn't there.
    pub fn open() -> Result<Self, Error> {
        let mut handle = ptr::null_mut();
        // SAFETY: a place for the handle.
        check(unsafe { dladm_open(&raw mut handle) })?;
        Ok(Self(handle))
    }

    /// Makes a datalink id for `name`, until the next boot.
    ///
    /// # Errors
    ///
    /// When the name is taken ([`Error::is_taken`]) or no datalink's.
    pub fn create_id(&self, name: &str) -> Result<u32, Error> {
        let name = c_string(name)?;
        let mut id = 0;
        let at = &raw mut id;
        // SAFETY: an open handle, a C string, and a place for the id.
        check(unsafe {
            dladm_create_datalink_id(self.0, name.as_ptr(), CLASS_MISC, MEDIA_ETHER, ACTIVE, at)
        })?;
        Ok(id)
    }

    /// Removes the datalink id of `name`, which no datalink has any more, if
    /// it is one of ours.
    ///
    /// # Errors
    ///
    /// When there is none ([`Error::is_not_found`]) or it is in use.
    pub fn destroy_id(&self, name: &str) -> Result<(), Error> {
        let name = c_string(name)?;
        let (mut id, mut class) = (0, 0);
        let (flags, media) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: an open handle, a C string, places for two answers; the
        // others may be null.
        check(unsafe {
            dladm_name2info(
                self.0,
                name.as_ptr(),
                &raw mut id,
                flags,
                &raw mut class,
                media,
            )
        })?;
        if class != CLASS_MISC {
            return Err(Error::of(NOT_FOUND));
        }
        // SAFETY: an open handle.
        check(unsafe { dladm_destroy_datalink_id(self.0, id, ACTIVE) })
    }
}

impl Drop for Dladm {
    fn drop(&mut self) {
        // SAFETY: opened by `open`, and not used any more.
        unsafe { dladm_close(self.0) }
    }
}

/// A name without a zero inside; others name no datalink.
fn c_string(name: &str) -> Result<CString, Error> {
    CString::new(name).map_err(|_| Error::of(NOT_FOUND))
}

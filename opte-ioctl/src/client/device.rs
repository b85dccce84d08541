//! The way to the illumos kernel module: an ioctl on its device.

use super::{Client, ClientError};
use crate::device::{COMMAND, PATH, TRANSFER_VERSION, Transfer};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::ffi::c_int;
use core::time::Duration;
use opte_core::limits::RESPONSE_BYTES_MAX;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;

#[expect(
    unsafe_code,
    reason = "ioctl(2) has no safe form in the standard library"
)]
mod sys {
    use core::ffi::c_int;

    unsafe extern "C" {
        /// ioctl(2).
        pub(super) fn ioctl(fd: c_int, request: c_int, ...) -> c_int;
    }
}

/// An open device of the kernel module.
#[derive(Debug)]
pub struct DeviceClient {
    device: File,
    path: String,
}

impl DeviceClient {
    /// Opens the module's device.
    ///
    /// # Errors
    ///
    /// When the module isn't loaded or the caller has no permission.
    pub fn open() -> Result<Self, ClientError> {
        let fail = |source| ClientError::from_io(PATH, Duration::ZERO, source);
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .open(PATH)
            .map_err(fail)?;
        Ok(Self {
            device,
            path: PATH.into(),
        })
    }

    fn transfer(&self, request: &[u8], response: &mut Vec<u8>) -> io::Result<()> {
        let number = |value: usize| u64::try_from(value).map_err(|_| io::ErrorKind::InvalidInput);
        let mut transfer = Transfer {
            version: TRANSFER_VERSION,
            flags: 0,
            request: number(request.as_ptr().expose_provenance())?,
            request_len: number(request.len())?,
            response: number(response.as_mut_ptr().expose_provenance())?,
            response_room: number(response.len())?,
            response_len: 0,
        };
        let (fd, command): (c_int, c_int) = (self.device.as_raw_fd(), COMMAND);
        #[expect(
            unsafe_code,
            reason = "ioctl(2) has no safe form in the standard library"
        )]
        // SAFETY: `transfer`, the request and the room for the response
        // outlive the call; the module reads `request_len` bytes, writes at
        // most `response_room` bytes and keeps no address.
        let result = unsafe { sys::ioctl(fd, command, &raw mut transfer) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        let len = usize::try_from(transfer.response_len)
            .ok()
            .filter(|len| *len <= response.len())
            .ok_or_else(|| io::Error::other("the answer is longer than the room for it"))?;
        response.truncate(len);
        Ok(())
    }
}

impl Client for DeviceClient {
    fn exchange(&mut self, request: &[u8]) -> Result<Vec<u8>, ClientError> {
        let mut response = vec![0; RESPONSE_BYTES_MAX];
        match self.transfer(request, &mut response) {
            Ok(()) => Ok(response),
            Err(source) => Err(ClientError::from_io(&self.path, Duration::ZERO, source)),
        }
    }
}

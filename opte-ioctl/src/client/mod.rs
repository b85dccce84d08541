//! User space's side of the contract.

#[cfg(target_os = "illumos")]
mod device;
mod error;
mod unix;

use crate::envelope::{self, FLAGS_CRITICAL, VERSION_MAX, VERSION_MIN};
use crate::hello::Hello;
use crate::table::whole;
use crate::{command, response};
use alloc::vec::Vec;
#[cfg(target_os = "illumos")]
pub use device::DeviceClient;
pub use error::ClientError;
use opte_core::api::{Command, ConfigError, ErrorCode, ObjectKind, Response};
use opte_core::limits::REQUEST_BYTES_MAX;
pub use unix::{SOCKET_PATH, TIMEOUT, UnixClient};

/// A way to a driver.
pub trait Client {
    /// Hands a request to the driver and returns its response, as bytes.
    ///
    /// # Errors
    ///
    /// When the driver can't be reached or doesn't answer.
    fn exchange(&mut self, request: &[u8]) -> Result<Vec<u8>, ClientError>;

    /// Has the driver carry out a command.
    ///
    /// # Errors
    ///
    /// When the driver refuses ([`ClientError::Refused`]), can't be reached,
    /// or answers something that isn't an answer.
    fn call(&mut self, command: Command) -> Result<Response, ClientError> {
        let payload = command::encode(&command)
            .map_err(|_| ClientError::Protocol("the command can't be encoded"))?;
        let (number, payload) = roundtrip(self, command::number(&command), &payload)?;
        response::decode(number, &payload).map_err(|why| ClientError::Protocol(why.explanation()))
    }

    /// Asks the driver who it is. Works with every version of the contract.
    ///
    /// # Errors
    ///
    /// Like [`Client::call`].
    fn hello(&mut self) -> Result<Hello, ClientError> {
        let (number, payload) = roundtrip(self, command::HELLO, &[])?;
        if number != response::HELLO {
            return Err(ClientError::Protocol("it is not the answer to hello"));
        }
        whole(&payload).map_err(|why| ClientError::Protocol(why.explanation()))
    }
}

impl<C: Client + ?Sized> Client for &mut C {
    fn exchange(&mut self, request: &[u8]) -> Result<Vec<u8>, ClientError> {
        (**self).exchange(request)
    }
}

/// The request id. One request is under way at a time, so that a constant
/// tells an answer from noise.
const ID: u32 = 1;

fn roundtrip<C: Client + ?Sized>(
    client: &mut C,
    number: u16,
    payload: &[u8],
) -> Result<(u16, Vec<u8>), ClientError> {
    let header = envelope::Request {
        version_min: VERSION_MIN,
        version_max: VERSION_MAX,
        number,
        flags: 0,
        id: ID,
    };
    let request = header
        .emit(payload)
        .map_err(|_| ClientError::RequestTooLarge {
            len: payload.len(),
            max: REQUEST_BYTES_MAX,
        })?;
    let bytes = client.exchange(&request)?;
    let (header, payload) = envelope::Response::parse(&bytes)
        .map_err(|why| ClientError::Protocol(why.explanation()))?;
    if header.status != 0 {
        return Err(ClientError::Refused(refusal(header.status, payload)));
    }
    if header.id != ID {
        return Err(ClientError::Protocol("it answers another request"));
    }
    if header.flags & FLAGS_CRITICAL != 0 {
        return Err(ClientError::Protocol(
            "it has flags that must be understood",
        ));
    }
    let spoken = VERSION_MIN..=VERSION_MAX;
    if number != command::HELLO && !spoken.contains(&header.version) {
        return Err(ClientError::Protocol(
            "it is of a version that wasn't offered",
        ));
    }
    Ok((header.number, payload.into()))
}

/// The refusal that a response carries; its status alone when the rest can't
/// be read. A code that this version doesn't know is named by its number.
fn refusal(status: u16, payload: &[u8]) -> ConfigError {
    let code = ErrorCode::from(status);
    let alone = |_| ConfigError::new(code, ObjectKind::Request, "");
    let error: ConfigError = whole(payload).unwrap_or_else(alone);
    match (error.code, error.hint.as_str()) {
        (ErrorCode::Other, "") => error.hint(format_args!("code {status}")),
        (ErrorCode::Other, more) => {
            let hint = alloc::format!("code {status}: {more}");
            error.hint(hint)
        }
        _ => error,
    }
}

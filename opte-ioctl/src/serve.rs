//! The driver's side: one request in, one response out.

use crate::envelope::{self, EnvelopeError, FLAGS_CRITICAL, VERSION_MAX, VERSION_MIN};
use crate::hello::Hello;
use crate::table::{PayloadError, whole};
use crate::{command, response};
use alloc::format;
use alloc::vec::Vec;
use core::ffi::CStr;
use opte_core::api::{Command, ConfigError, ErrorCode, ObjectKind, Response};
use opte_core::event::{Event, Observer, Probe, Unobserved};
use opte_core::limits::{REQUEST_BYTES_MAX, REQUEST_MEMORY_MAX, RESPONSE_BYTES_MAX};

/// The driver that answers.
#[derive(Clone, Copy, Debug)]
pub struct Driver {
    /// Its name, as `xded`.
    pub name: &'static str,
    /// Its version, as `0.1.0`.
    pub version: &'static str,
}

/// Answers a request: whatever `bytes` are, the result is a response to send.
///
/// `handler` is called once, and only for a request that is a command
/// throughout. Its answer has to fit `RESPONSE_BYTES_MAX`, so it fills pages
/// with `opte_core::api::Pager` and hands out the cursor of the next one.
pub fn serve(
    bytes: &[u8],
    handler: impl FnOnce(Command) -> Result<Response, ConfigError>,
    driver: &Driver,
) -> Vec<u8> {
    serve_observed(bytes, handler, driver, &Unobserved)
}

/// As [`serve`], and has an observer told of the command.
pub fn serve_observed(
    bytes: &[u8],
    handler: impl FnOnce(Command) -> Result<Response, ConfigError>,
    driver: &Driver,
    observer: &impl Observer,
) -> Vec<u8> {
    let (request, payload) = match envelope::Request::parse(bytes) {
        Ok(parts) => parts,
        Err(why) => return refuse(&not_an_envelope(why, bytes.len())),
    };
    let told = Told::new(request.number);
    told.entry(observer, bytes.len(), request.version_max);
    let version = common_version(&request);
    let answer = match version {
        // Hello is for finding out which version fits (C3 in `lib.rs`).
        _ if request.number == command::HELLO => hello(payload, driver),
        Some(_) => answer(&request, payload, handler),
        None => Err(unsupported_version(&request)),
    };
    let error = answer.as_ref().err().map_or(0, |error| error.code.into());
    let response = respond(version.unwrap_or(0), request.id, answer);
    told.leave(observer, error, response.len());
    response
}

/// A command as probes show it.
struct Told {
    number: u16,
    /// Its name, zeroes behind it.
    name: [u8; NAME_BYTES],
}

/// Bytes of a command's name and a zero.
const NAME_BYTES: usize = 32;

impl Told {
    fn new(number: u16) -> Self {
        let mut name = [0; NAME_BYTES];
        let text = match number {
            command::HELLO => "hello",
            _ => name_of(number),
        };
        for (place, byte) in name.iter_mut().zip(text.bytes().take(NAME_BYTES - 1)) {
            *place = byte;
        }
        Self { number, name }
    }

    fn name(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.name).unwrap_or_default()
    }

    fn entry(&self, observer: &impl Observer, len: usize, version: u16) {
        if observer.enabled(Probe::IoctlEntry) {
            observer.event(&Event::IoctlEntry {
                command: self.number,
                name: self.name(),
                len: u32::try_from(len).unwrap_or(u32::MAX),
                version,
            });
        }
    }

    fn leave(&self, observer: &impl Observer, error: u16, len: usize) {
        if observer.enabled(Probe::IoctlReturn) {
            observer.event(&Event::IoctlReturn {
                command: self.number,
                name: self.name(),
                error,
                len: u32::try_from(len).unwrap_or(u32::MAX),
            });
        }
    }
}

/// A response that refuses a request which could not be read as far as its
/// header, as one that is longer than a frame may be.
#[must_use]
pub fn refuse(error: &ConfigError) -> Vec<u8> {
    respond(0, 0, Err(error.clone()))
}

/// The newest version that both sides speak.
fn common_version(request: &envelope::Request) -> Option<u16> {
    let version = request.version_max.min(VERSION_MAX);
    (version >= request.version_min.max(VERSION_MIN)).then_some(version)
}

/// Number and payload of an answer.
type Answer = Result<(u16, Vec<u8>), ConfigError>;

fn hello(payload: &[u8], driver: &Driver) -> Answer {
    whole::<()>(payload).map_err(|why| malformed("hello", why))?;
    match postcard::to_allocvec(&Hello::of(driver)) {
        Ok(payload) => Ok((response::HELLO, payload)),
        Err(_) => Err(refusal(ErrorCode::OutOfMemory, "hello")),
    }
}

fn answer(
    request: &envelope::Request,
    payload: &[u8],
    handler: impl FnOnce(Command) -> Result<Response, ConfigError>,
) -> Answer {
    let critical = request.flags & FLAGS_CRITICAL;
    if critical != 0 {
        let error = refusal(ErrorCode::Unsupported, "");
        return Err(error.field("flags", format!("{critical:#06x}")));
    }
    let command = command::decode(request.number, payload).map_err(|why| match why {
        PayloadError::UnknownNumber => {
            refusal(ErrorCode::UnknownCommand, "").field("command", request.number)
        }
        PayloadError::TooMuchMemory => refusal(ErrorCode::RequestTooLarge, name_of(request.number))
            .hint(format!(
                "what is in it takes up more than {REQUEST_MEMORY_MAX} bytes of memory; \
                 send it in parts"
            )),
        _ => malformed(name_of(request.number), why),
    })?;
    let response = handler(command)?;
    let too_large = || {
        refusal(ErrorCode::ResponseTooLarge, name_of(request.number))
            .hint(format!("at most {RESPONSE_BYTES_MAX} bytes"))
    };
    let payload = response::encode(&response).map_err(|_| too_large())?;
    if payload.len().saturating_add(envelope::HEADER_LEN) > RESPONSE_BYTES_MAX {
        return Err(too_large());
    }
    Ok((response::number(&response), payload))
}

fn respond(version: u16, id: u32, answer: Answer) -> Vec<u8> {
    let (status, number, payload) = match answer {
        Ok((number, payload)) => (0, number, payload),
        Err(error) => {
            let payload = postcard::to_allocvec(&error).unwrap_or_default();
            (error.code.into(), response::HELLO, payload)
        }
    };
    let header = envelope::Response {
        version,
        status,
        number,
        flags: 0,
        id,
    };
    // A refusal that quotes a value of megabytes goes without its sentence:
    // the status says what is wrong.
    header
        .emit(&payload)
        .or_else(|_| header.emit(&[]))
        .unwrap_or_default()
}

fn name_of(number: u16) -> &'static str {
    let found = command::ALL.iter().find(|(known, _)| *known == number);
    found.map_or("", |(_, name)| name)
}

fn refusal(code: ErrorCode, what: &str) -> ConfigError {
    ConfigError::new(code, ObjectKind::Request, what)
}

fn malformed(what: &str, why: PayloadError) -> ConfigError {
    refusal(ErrorCode::Malformed, what).hint(why.explanation())
}

fn not_an_envelope(why: EnvelopeError, len: usize) -> ConfigError {
    if why == EnvelopeError::TooLarge {
        return too_large(len);
    }
    refusal(ErrorCode::Malformed, "").hint(why.explanation())
}

/// The refusal of a request of `len` bytes, which is more than there may be.
pub(crate) fn too_large(len: usize) -> ConfigError {
    refusal(ErrorCode::RequestTooLarge, "")
        .field("length", len)
        .hint(format!("at most {REQUEST_BYTES_MAX} bytes"))
}

fn unsupported_version(request: &envelope::Request) -> ConfigError {
    let asked = format!("{} to {}", request.version_min, request.version_max);
    refusal(ErrorCode::UnsupportedVersion, "")
        .field("version", asked)
        .hint(format!("{VERSION_MIN} to {VERSION_MAX} works"))
}

#[cfg(test)]
mod tests;

//! Why a command didn't get through.

use alloc::string::String;
use core::fmt;
use core::time::Duration;
use opte_core::api::ConfigError;
use std::io;

/// Why there is no answer to work with.
#[derive(Debug)]
pub enum ClientError {
    /// The driver refused the command.
    Refused(ConfigError),
    /// Nobody listens.
    NoDriver {
        /// Socket or device.
        path: String,
    },
    /// The caller may not talk to the driver.
    NotPermitted {
        /// Socket or device.
        path: String,
    },
    /// The driver took too long.
    TimedOut {
        /// Socket or device.
        path: String,
        /// How long it was given.
        after: Duration,
    },
    /// The connection broke.
    Io {
        /// Socket or device.
        path: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// The driver hung up without an answer.
    Closed {
        /// Socket or device.
        path: String,
    },
    /// The command is larger than a request may be.
    RequestTooLarge {
        /// Its bytes.
        len: usize,
        /// Bytes that a request may have.
        max: usize,
    },
    /// The driver's answer makes no sense.
    Protocol(&'static str),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::NoDriver { path } => {
                write!(f, "no driver listens on {path}; is xded running?")
            }
            Self::NotPermitted { path } => write!(
                f,
                "{path} is not yours to use; try as root or as a member of its group"
            ),
            Self::TimedOut { path, after } => write!(
                f,
                "the driver on {path} did not answer within {} s",
                after.as_secs()
            ),
            Self::Io { path, source } => {
                write!(f, "talking to the driver on {path} failed: {source}")
            }
            Self::Closed { path } => {
                write!(f, "the driver on {path} hung up without an answer")
            }
            Self::RequestTooLarge { len, max } => write!(
                f,
                "the command takes {len} bytes, more than the {max} that a request may have"
            ),
            Self::Protocol(why) => {
                write!(f, "the driver's answer makes no sense: {why}")
            }
        }
    }
}

impl core::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl ClientError {
    /// What an operating system's error at `path` means for the caller.
    pub(super) fn from_io(path: &str, after: Duration, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Self::NoDriver { path },
            io::ErrorKind::PermissionDenied => Self::NotPermitted { path },
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TimedOut { path, after },
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset => Self::Closed { path },
            _ => Self::Io { path, source },
        }
    }
}

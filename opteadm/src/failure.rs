//! Why a command ended without success, and with which exit code.

use opte_core::api::ErrorCode;
use opte_ioctl::client::ClientError;
use std::io;

/// What went wrong.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line or a file that it names is wrong.
    Usage(String),
    /// The driver refused, or can't be talked to.
    Client(ClientError),
    /// The output can't be written.
    Output(io::Error),
}

impl Failure {
    /// The exit code; see the table in `--help`.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            // Whoever read our output has seen enough.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Client(ClientError::Refused(_)) => 1,
            Self::Usage(_) | Self::Client(ClientError::RequestTooLarge { .. }) => 2,
            Self::Client(_) => 3,
            // It isn't the driver's failure: what it was to do is done.
            Self::Output(_) => 4,
        }
    }

    /// Whether the driver refused for this reason.
    pub(crate) fn is_refusal(&self, code: ErrorCode) -> bool {
        matches!(self, Self::Client(ClientError::Refused(why)) if why.code == code)
    }

    /// What to say about it, if anything.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::Usage(text) => Some(text.clone()),
            Self::Client(ClientError::Refused(error))
                if self.is_refusal(ErrorCode::UnknownCommand) =>
            {
                let error = error
                    .clone()
                    .hint("it is older than this tool; nothing was changed");
                Some(error.coded().to_string())
            }
            Self::Client(ClientError::Refused(error)) => Some(error.coded().to_string()),
            Self::Client(error) => Some(error.to_string()),
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => None,
            Self::Output(error) => Some(format!("the output can't be written: {error}")),
        }
    }
}

/// Refuses a list that is longer than a request may have.
pub(crate) fn at_most(max: usize, len: usize, what: &str) -> Result<(), Failure> {
    match len > max {
        true => Err(Failure::Usage(format!("{len} {what} are more than {max}"))),
        false => Ok(()),
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

//! Why a command was refused.

use alloc::string::{String, ToString};
use core::fmt;
use serde::{Deserialize, Serialize};

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $number:literal,)+) => {
        /// What is wrong, as a number that never changes its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum ErrorCode {
            $($(#[doc = $doc])+ $variant = $number,)+
            /// A code that this build doesn't know.
            Other = 65_535,
        }

        impl ErrorCode {
            /// Every code that this build knows.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// What is wrong, to follow the object and the field in a sentence.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc,)+).trim_ascii(),)+
                    Self::Other => "refused for a reason that this version doesn't know",
                }
            }
        }

        impl From<u16> for ErrorCode {
            fn from(number: u16) -> Self {
                match number {
                    $($number => Self::$variant,)+
                    _ => Self::Other,
                }
            }
        }
    };
}

error_codes! {
    /// there is no such object
    NotFound = 1,
    /// it exists already
    Exists = 2,
    /// it is out of range
    OutOfRange = 3,
    /// it is not well-formed
    Malformed = 4,
    /// it is in use
    InUse = 5,
    /// there are as many as there may be
    LimitReached = 6,
    /// it is not of the port's or the object's address family
    FamilyMismatch = 7,
    /// it needs something that is not configured
    Missing = 8,
    /// it conflicts with another setting
    Conflict = 9,
    /// the command is unknown
    UnknownCommand = 10,
    /// the version is not supported
    UnsupportedVersion = 11,
    /// the request is too large
    RequestTooLarge = 12,
    /// the operation is not permitted
    NotPermitted = 13,
    /// the operating system refused it
    System = 14,
    /// there is not enough memory
    OutOfMemory = 15,
    /// it is not supported
    Unsupported = 16,
    /// it must be a unicast address
    NotUnicast = 17,
}

impl From<ErrorCode> for u16 {
    fn from(code: ErrorCode) -> Self {
        // Every variant has an explicit number that fits.
        code as Self
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u16((*self).into())
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        <u16 as Deserialize>::deserialize(d).map(Self::from)
    }
}

/// The kind of object that a command was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectKind {
    /// The host as a whole.
    Host,
    /// A port.
    Port,
    /// A firewall rule.
    Rule,
    /// A route of a port.
    Route,
    /// A virtual to physical mapping.
    V2p,
    /// A virtual to boundary mapping.
    V2b,
    /// The underlay.
    Underlay,
    /// An underlay link.
    Link,
    /// An underlay route.
    UnderlayRoute,
    /// A request as a whole.
    Request,
}

impl ObjectKind {
    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Port => "port",
            Self::Rule => "rule",
            Self::Route => "route",
            Self::V2p => "v2p",
            Self::V2b => "v2b",
            Self::Underlay => "underlay",
            Self::Link => "link",
            Self::UnderlayRoute => "underlay route",
            Self::Request => "request",
        }
    }
}

/// A refused command: which object, which field, which value, why.
///
/// Prints as one sentence: `port guest0: mtu: 9999999 is out of range (576 to 65000)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigError {
    /// What is wrong.
    pub code: ErrorCode,
    /// Kind of the object.
    pub kind: ObjectKind,
    /// Which object; empty when there is only one.
    pub object: String,
    /// The field of the object; empty when it is the object as a whole.
    pub field: String,
    /// The value that was refused; may be empty.
    pub value: String,
    /// What would be right, or more about the reason; may be empty.
    pub hint: String,
}

impl ConfigError {
    /// An error about an object as a whole.
    #[must_use]
    pub fn new(code: ErrorCode, kind: ObjectKind, object: impl ToString) -> Self {
        Self {
            code,
            kind,
            object: object.to_string(),
            field: String::new(),
            value: String::new(),
            hint: String::new(),
        }
    }

    /// Names the field and the value that was refused.
    #[must_use]
    pub fn field(mut self, field: &str, value: impl ToString) -> Self {
        self.field = field.into();
        self.value = value.to_string();
        self
    }

    /// Adds what would be right, or more about the reason.
    #[must_use]
    pub fn hint(mut self, hint: impl ToString) -> Self {
        self.hint = hint.to_string();
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        for part in [&self.object, &self.field, &self.value] {
            if !part.is_empty() {
                let colon = if core::ptr::eq(part, &raw const self.object) {
                    " "
                } else {
                    ": "
                };
                write!(f, "{colon}{part}")?;
            }
        }
        write!(f, ": {}", self.code.explanation())?;
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        Ok(())
    }
}

impl core::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_sentence() {
        let error = ConfigError::new(ErrorCode::OutOfRange, ObjectKind::Port, "guest0")
            .field("mtu", 9_999_999)
            .hint("576 to 65000");
        assert_eq!(
            error.to_string(),
            "port guest0: mtu: 9999999: it is out of range (576 to 65000)"
        );
        let error = ConfigError::new(ErrorCode::NotFound, ObjectKind::Port, "guest9");
        assert_eq!(error.to_string(), "port guest9: there is no such object");
    }

    #[test]
    fn codes_survive_the_wire() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from(u16::from(*code)), *code);
        }
        assert_eq!(ErrorCode::from(999), ErrorCode::Other);
    }
}

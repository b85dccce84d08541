//! Why a command was refused.

use alloc::string::{String, ToString};
use core::fmt;
use serde::{Deserialize, Serialize};

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $number:literal, $name:literal;)+) => {
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

            /// The code's one spelling, for scripts.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                    Self::Other => "other",
                }
            }

            /// What is wrong, as the predicate of a sentence whose subject is
            /// the object, its field and the value.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc,)+).trim_ascii(),)+
                    Self::Other => "was refused for a reason that this version doesn't know",
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
    /// does not exist
    NotFound = 1, "not-found";
    /// exists already
    Exists = 2, "exists";
    /// is out of range
    OutOfRange = 3, "out-of-range";
    /// is not well-formed
    Malformed = 4, "malformed";
    /// is in use
    InUse = 5, "in-use";
    /// would be more than there may be
    LimitReached = 6, "limit-reached";
    /// is not of the right address family
    FamilyMismatch = 7, "family-mismatch";
    /// needs something that is not configured
    Missing = 8, "missing";
    /// conflicts with another setting
    Conflict = 9, "conflict";
    /// is not a command that this driver knows
    UnknownCommand = 10, "unknown-command";
    /// is not a version that this driver speaks
    UnsupportedVersion = 11, "unsupported-version";
    /// is too large
    RequestTooLarge = 12, "request-too-large";
    /// is not permitted
    NotPermitted = 13, "not-permitted";
    /// was refused by the operating system
    System = 14, "system";
    /// needs more memory than there is
    OutOfMemory = 15, "out-of-memory";
    /// is not supported
    Unsupported = 16, "unsupported";
    /// is not a unicast address
    NotUnicast = 17, "not-unicast";
    /// has an answer that is too large
    ResponseTooLarge = 18, "response-too-large";
    /// is not a multicast group
    NotMulticast = 50, "not-multicast";
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

macro_rules! object_kinds {
    ($($(#[doc = $doc:literal])+ $variant:ident = $number:literal, $name:literal;)+) => {
        /// The kind of object that a command was about, as a number that never
        /// changes its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum ObjectKind {
            $($(#[doc = $doc])+ $variant = $number,)+
            /// A kind that this build doesn't know.
            Other = 65_535,
        }

        impl ObjectKind {
            /// Every kind that this build knows.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// What people call it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                    Self::Other => "object",
                }
            }
        }

        impl From<u16> for ObjectKind {
            fn from(number: u16) -> Self {
                match number {
                    $($number => Self::$variant,)+
                    _ => Self::Other,
                }
            }
        }
    };
}

object_kinds! {
    /// The host as a whole.
    Host = 1, "host";
    /// A port.
    Port = 2, "port";
    /// A firewall rule.
    Rule = 3, "rule";
    /// A route of a port.
    Route = 4, "route";
    /// A virtual to physical mapping.
    V2p = 5, "v2p";
    /// A virtual to boundary mapping.
    V2b = 6, "v2b";
    /// The underlay.
    Underlay = 7, "underlay";
    /// An underlay link.
    Link = 8, "link";
    /// An underlay route.
    UnderlayRoute = 9, "underlay route";
    /// A request as a whole.
    Request = 10, "request";
    /// A multicast to physical mapping.
    M2p = 50, "m2p";
    /// The next hops of an underlay group.
    McastForward = 51, "mcast-fwd";
    /// A port's membership in a group.
    McastMember = 52, "mcast-sub";
    /// A named set of addresses.
    AddressSet = 40, "address set";
}

impl From<ObjectKind> for u16 {
    fn from(kind: ObjectKind) -> Self {
        // Every variant has an explicit number that fits.
        kind as Self
    }
}

// A number on the wire and in JSON, so that a newer driver's kind is no
// decoding error for an older tool.
impl Serialize for ObjectKind {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u16((*self).into())
    }
}

impl<'de> Deserialize<'de> for ObjectKind {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        <u16 as Deserialize>::deserialize(d).map(Self::from)
    }
}

/// A refused command: which object, which field, which value, why.
///
/// Prints as one sentence: `port guest0: mtu 9999999 is out of range (576 to 65000)`.
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
        if !self.object.is_empty() {
            write!(f, " {}", self.object)?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        if !self.value.is_empty() {
            write!(f, " {}", self.value)?;
        }
        write!(f, " {}", self.code.explanation())?;
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        Ok(())
    }
}

impl core::error::Error for ConfigError {}

/// An error with its code, as people and scripts are told.
struct Coded<'e>(&'e ConfigError);

impl fmt::Display for Coded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(error) = self;
        let (number, name) = (u16::from(error.code), error.code.name());
        write!(f, "{error} [E{number} {name}]")
    }
}

impl ConfigError {
    /// The sentence and, behind it, the code: `[E3 out-of-range]`.
    #[must_use]
    pub fn coded(&self) -> impl fmt::Display {
        Coded(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn an_error_is_one_sentence() {
        let error = ConfigError::new(ErrorCode::OutOfRange, ObjectKind::Port, "guest0")
            .field("mtu", 9_999_999)
            .hint("576 to 65000");
        assert_eq!(
            error.to_string(),
            "port guest0: mtu 9999999 is out of range (576 to 65000)"
        );
        let error = ConfigError::new(ErrorCode::NotFound, ObjectKind::Port, "guest9");
        assert_eq!(error.to_string(), "port guest9 does not exist");
    }

    #[test]
    fn codes_survive_the_wire() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from(u16::from(*code)), *code);
        }
        assert_eq!(ErrorCode::from(999), ErrorCode::Other);
        for kind in ObjectKind::ALL {
            assert_eq!(ObjectKind::from(u16::from(*kind)), *kind);
        }
        assert_eq!(ObjectKind::from(999), ObjectKind::Other);
    }

    #[test]
    fn codes_have_one_spelling_each() {
        let names: BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), ErrorCode::ALL.len());
    }
}

//! Single settings that are changed while everything else stays.
//!
//! A setting is a number and a value on the wire, and `NAME=VALUE` as text with
//! the names of the setup file. Numbers are append-only, so a driver that is
//! older than the tool says which setting it doesn't know.

use super::dump::PortEntry;
use super::port::{PortOptions, PortSpec};
use super::{Advertise, ConfigError, ErrorCode, HostOptions, LinkSpec, ObjectKind};
use crate::limits::{PORT_MTU_MAX, PORT_MTU_MIN};
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A value for one setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Setting {
    /// Which setting, by the table of what it is for.
    pub number: u16,
    /// Its value; a switch is 0 or 1.
    pub value: u64,
}

macro_rules! settings {
    ($object:ty, $table:ident, $put:ident, $get:ident: $($number:literal $name:literal |$spec:ident| $place:expr;)+) => {
        /// Number and name of each.
        const $table: &[(u16, &str)] = &[$(($number, $name),)+];

        /// Stores a value where its number says; `None` when it says nothing.
        fn $put(object: &mut $object, setting: Setting) -> Option<Stored> {
            match setting.number {
                $($number => { let $spec = object; Some($place.store(setting.value)) })+
                _ => None,
            }
        }

        /// All of them, as they are.
        fn $get(object: &$object) -> Vec<Setting> {
            let settings = [$({
                let $spec = object;
                Setting { number: $number, value: $place.load() }
            }),+];
            settings.into()
        }
    };
}

/// What of a port settings are about.
struct OfPort {
    mtu: u16,
    options: PortOptions,
}

settings! { OfPort, PORT, put_port, get_port:
    1 "mtu" |port| port.mtu;
    2 "flows_max" |port| port.options.flows_max;
    3 "udp_one_way_s" |port| port.options.udp_one_way_s;
    4 "udp_s" |port| port.options.udp_s;
    5 "icmp_s" |port| port.options.icmp_s;
    6 "other_s" |port| port.options.other_s;
    7 "tcp_opening_s" |port| port.options.tcp_opening_s;
    8 "tcp_established_s" |port| port.options.tcp_established_s;
    9 "tcp_closing_s" |port| port.options.tcp_closing_s;
    10 "tcp_time_wait_s" |port| port.options.tcp_time_wait_s;
    11 "tcp_reset_s" |port| port.options.tcp_reset_s;
    12 "uft_s" |port| port.options.uft_s;
    13 "tcp_mid_stream" |port| port.options.tcp_mid_stream;
    14 "decrement_ttl" |port| port.options.decrement_ttl;
    15 "mss_max" |port| port.options.mss_max;
    16 "fragment_s" |port| port.options.fragment_s;
    17 "fragments_max" |port| port.options.fragments_max;
}

settings! { HostOptions, HOST, put_host, get_host:
    1 "flows_max" |options| options.flows_max;
}

impl Setting {
    /// A setting of a port, from `NAME=VALUE`.
    ///
    /// # Errors
    ///
    /// Says which names there are, or what a value is.
    pub fn of_port(text: &str) -> Result<Self, String> {
        read(PORT, text)
    }

    /// A setting of the host, from `NAME=VALUE`.
    ///
    /// # Errors
    ///
    /// As [`Setting::of_port`].
    pub fn of_host(text: &str) -> Result<Self, String> {
        read(HOST, text)
    }
}

impl PortSpec {
    /// Changes one setting. Whether the value makes sense is checked with the
    /// rest of the port.
    ///
    /// # Errors
    ///
    /// When this version doesn't know the setting, or its field can't hold the
    /// value.
    pub fn set(&mut self, setting: Setting) -> Result<(), ConfigError> {
        let name = self.name;
        let error = |code| ConfigError::new(code, ObjectKind::Port, name);
        let mut port = OfPort {
            mtu: self.mtu,
            options: self.options,
        };
        let stored = put_port(&mut port, setting);
        (self.mtu, self.options) = (port.mtu, port.options);
        let range = |known: &str| match known {
            "mtu" => {
                let range = self.mtu_range();
                Some(alloc::format!("{} to {}", range.start(), range.end()))
            }
            "mss_max" => Some(PortOptions::mss_range()),
            _ => in_words(&self.options.ranges(), known),
        };
        finish(PORT, setting, stored, range, error)
    }

    /// Every setting of the port, as it is.
    #[must_use]
    pub fn settings(&self) -> Vec<Setting> {
        get_port(&OfPort {
            mtu: self.mtu,
            options: self.options,
        })
    }
}

impl PortEntry {
    /// Takes over settings of the port; one that this version doesn't know is
    /// left out.
    pub fn learn(&mut self, settings: &[Setting]) {
        let mut port = OfPort {
            mtu: self.mtu,
            options: self.options,
        };
        for setting in settings {
            let _ = put_port(&mut port, *setting);
        }
        (self.mtu, self.options) = (port.mtu, port.options);
    }
}

impl HostOptions {
    /// Changes one setting.
    ///
    /// # Errors
    ///
    /// As [`PortSpec::set`].
    pub fn set(&mut self, setting: Setting) -> Result<(), ConfigError> {
        let error = |code| ConfigError::new(code, ObjectKind::Host, "");
        let stored = put_host(self, setting);
        let range = |known: &str| in_words(&self.ranges(), known);
        finish(HOST, setting, stored, range, error)
    }

    /// Every setting of the host, as it is.
    #[must_use]
    pub fn settings(&self) -> Vec<Setting> {
        get_host(self)
    }
}

/// Whether a field could hold a value, and the largest one if not.
type Stored = Result<(), u64>;

/// An option with a range from 1 on: its name, its value, and the largest one.
pub(crate) type Range = (&'static str, u32, u32);

/// The range of an option, if it is one of these.
fn in_words(ranges: &[Range], name: &str) -> Option<String> {
    let (.., max) = ranges.iter().find(|(known, ..)| *known == name)?;
    Some(alloc::format!("1 to {max}"))
}

/// What a number of a setup file may be, by its place there without indices, as
/// `port.options.udp_s`; `None` where any number that its type can hold may be.
#[must_use]
pub fn range_of(place: &str) -> Option<String> {
    let port = PortOptions::default();
    match place {
        "port.mtu" => Some(alloc::format!("{PORT_MTU_MIN} to {PORT_MTU_MAX}")),
        "port.options.mss_max" => Some(PortOptions::mss_range()),
        "port.advertise.interval_s" => Some(Advertise::interval_range()),
        "underlay.link.mtu" => Some(LinkSpec::mtu_range()),
        _ => match place.rsplit_once('.')? {
            ("port.options", name) => in_words(&port.ranges(), name),
            ("host", name) => in_words(&HostOptions::default().ranges(), name),
            _ => None,
        },
    }
}

/// Checks options against their ranges; `group` is in front of their names.
pub(crate) fn check_ranges(
    ranges: &[Range],
    group: &str,
    error: impl Fn(ErrorCode) -> ConfigError,
) -> Result<(), ConfigError> {
    for (name, value, max) in ranges {
        if !(1..=*max).contains(value) {
            return Err(error(ErrorCode::OutOfRange)
                .field(&alloc::format!("{group}{name}"), value)
                .hint(alloc::format!("1 to {max}")));
        }
    }
    Ok(())
}

/// A field that a setting sets.
trait Store {
    fn store(&mut self, value: u64) -> Stored;
    fn load(&self) -> u64;
}

impl Store for u16 {
    fn store(&mut self, value: u64) -> Stored {
        *self = Self::try_from(value).map_err(|_| u64::from(Self::MAX))?;
        Ok(())
    }

    fn load(&self) -> u64 {
        u64::from(*self)
    }
}

impl Store for u32 {
    fn store(&mut self, value: u64) -> Stored {
        *self = Self::try_from(value).map_err(|_| u64::from(Self::MAX))?;
        Ok(())
    }

    fn load(&self) -> u64 {
        u64::from(*self)
    }
}

impl Store for bool {
    fn store(&mut self, value: u64) -> Stored {
        *self = match value {
            0 => false,
            1 => true,
            _ => return Err(1),
        };
        Ok(())
    }

    fn load(&self) -> u64 {
        u64::from(*self)
    }
}

fn finish(
    table: &[(u16, &str)],
    setting: Setting,
    stored: Option<Stored>,
    range: impl Fn(&str) -> Option<String>,
    error: impl Fn(ErrorCode) -> ConfigError,
) -> Result<(), ConfigError> {
    let Setting { number, value } = setting;
    let name = table.iter().find(|(known, _)| *known == number);
    match (name, stored) {
        (Some(_), Some(Ok(()))) => Ok(()),
        (Some((_, name)), Some(Err(max))) => {
            let hint = range(name).unwrap_or_else(|| alloc::format!("0 to {max}"));
            Err(error(ErrorCode::OutOfRange).field(name, value).hint(hint))
        }
        _ => Err(error(ErrorCode::Unsupported).field("setting", number)),
    }
}

fn read(table: &[(u16, &str)], text: &str) -> Result<Setting, String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| alloc::format!("`{text}` isn't NAME=VALUE"))?;
    let Some((number, _)) = table.iter().find(|(_, known)| *known == name) else {
        let known: alloc::vec::Vec<&str> = table.iter().map(|(_, name)| *name).collect();
        return Err(alloc::format!("`{name}` is none of {}", known.join(", ")));
    };
    let value = match value {
        "true" => 1,
        "false" => 0,
        number => number
            .parse()
            .map_err(|_| alloc::format!("`{name}` is a number, or true or false"))?,
    };
    Ok(Setting {
        number: *number,
        value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn spec() -> PortSpec {
        let text = "name = \"g1\"\nmac = \"A8:40:25:F0:00:01\"\nvni = 7\n";
        toml::from_str(text).unwrap()
    }

    #[test]
    fn every_setting_reaches_its_own_field() {
        // Each option of the setup file has a setting of the same name.
        for (number, name) in PORT {
            let text = alloc::format!("{name}=1");
            let setting = Setting::of_port(&text).unwrap();
            assert_eq!((setting.number, setting.value), (*number, 1));
            let mut spec = spec();
            spec.options.tcp_mid_stream = false;
            let before = spec.clone();
            spec.set(setting).unwrap();
            assert_ne!(spec, before, "{name}");
            assert!(spec.settings().contains(&setting), "{name}");
            let mut options = toml::Table::try_from(before.options).unwrap();
            if *name != "mtu" {
                let one = match *name {
                    "tcp_mid_stream" | "decrement_ttl" => toml::Value::Boolean(true),
                    _ => toml::Value::Integer(1),
                };
                assert!(options.insert((*name).to_string(), one).is_some(), "{name}");
                assert_eq!(spec.options, options.try_into().unwrap(), "{name}");
            }
        }
        let options = toml::Table::try_from(spec().options).unwrap();
        assert_eq!(options.len() + 1, PORT.len(), "none is missing");
    }

    #[test]
    fn what_a_ports_message_leaves_out_is_in_its_parts() {
        assert!(spec().is_founding());
        for (number, name) in PORT {
            let mut spec = spec();
            let text = alloc::format!("{name}=1");
            let setting = Setting::of_port(&text).unwrap();
            spec.set(setting).unwrap();
            let bytes = postcard::to_allocvec(&spec).unwrap();
            let arrived: PortSpec = postcard::from_bytes(&bytes).unwrap();
            let lost = spec != arrived;
            assert_eq!(lost, *number > 13, "{name}");
            assert_eq!(lost, !spec.is_founding(), "{name}");
            let parts = postcard::to_allocvec(&spec.clone().into_parts()).unwrap();
            let parts = postcard::from_bytes(&parts).unwrap();
            assert_eq!(PortSpec::from_parts(parts), Some(spec), "{name}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_reason() {
        for (text, why) in [
            ("mtu", "NAME=VALUE"),
            ("colour=1", "udp_one_way_s"),
            ("mtu=big", "a number"),
            ("mtu=-1", "a number"),
        ] {
            let error = Setting::of_port(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        for (number, value, why) in [
            (
                1,
                65_536,
                "port g1: mtu 65536 is out of range (576 to 65000)",
            ),
            (
                15,
                65_536,
                "port g1: mss_max 65536 is out of range (0, or 536 to 65000)",
            ),
            (13, 2, "port g1: tcp_mid_stream 2 is out of range (0 to 1)"),
            (999, 1, "port g1: setting 999 is not supported"),
        ] {
            let before = spec();
            let mut spec = before.clone();
            let error = spec.set(Setting { number, value }).unwrap_err();
            assert_eq!(error.to_string(), why);
            assert_eq!(spec, before);
        }
    }
}

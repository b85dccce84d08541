//! One value of a listing: with units for people, without for programs.

use std::fmt::Display;

/// A value with its unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    /// Nothing is there.
    None,
    /// Text.
    Text(String),
    /// A plain number.
    Count(u64),
    /// Bytes.
    Bytes(u64),
    /// Milliseconds.
    Millis(u64),
}

impl Cell {
    /// Text of anything that prints.
    pub(crate) fn text(value: impl Display) -> Self {
        Self::Text(value.to_string())
    }

    /// A list, with commas.
    pub(crate) fn list<T: Display>(values: impl IntoIterator<Item = T>) -> Self {
        let words: Vec<String> = values.into_iter().map(|v| v.to_string()).collect();
        if words.is_empty() {
            Self::None
        } else {
            Self::Text(words.join(","))
        }
    }

    /// A plain number.
    pub(crate) fn count(value: impl Into<u64>) -> Self {
        Self::Count(value.into())
    }

    /// Text, or nothing.
    pub(crate) fn maybe<T: Display>(value: Option<T>) -> Self {
        value.map_or(Self::None, Self::text)
    }

    /// For programs: numbers without units.
    pub(crate) fn raw(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Text(text) => text.clone(),
            Self::Count(n) | Self::Bytes(n) | Self::Millis(n) => n.to_string(),
        }
    }

    /// For people: numbers with units, two dashes for nothing.
    pub(crate) fn human(&self) -> String {
        match self {
            Self::None => "--".into(),
            Self::Text(text) => text.clone(),
            Self::Count(n) => n.to_string(),
            Self::Bytes(n) => bytes(*n),
            Self::Millis(n) => duration(*n),
        }
    }

    /// Whether it stands at the right edge of its column.
    pub(crate) const fn is_number(&self) -> bool {
        matches!(self, Self::Count(_) | Self::Bytes(_) | Self::Millis(_))
    }
}

fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if n < 1_024 {
        return format!("{n}B");
    }
    // Tenths, rounded down, so that nothing is said to be more than it is.
    let (mut whole, mut rest, mut unit) = (n, 0, 0);
    for at in 0..UNITS.len() {
        (whole, rest, unit) = (whole / 1_024, whole % 1_024, at);
        if whole < 1_024 {
            break;
        }
    }
    format!("{whole}.{}{}", rest * 10 / 1_024, UNITS[unit])
}

fn duration(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0 => format!("{ms}ms"),
        1..60 => format!("{s}.{}s", ms % 1_000 / 100),
        60..3_600 => format!("{}m{:02}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h{:02}m", s / 3_600, s % 3_600 / 60),
        _ => format!("{}d{:02}h", s / 86_400, s % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_a_fitting_unit() {
        for (n, text) in [
            (0, "0B"),
            (1_023, "1023B"),
            (1_024, "1.0KiB"),
            (1_536, "1.5KiB"),
            (1_048_575, "1023.9KiB"),
            (1 << 20, "1.0MiB"),
            (u64::MAX, "15.9EiB"),
        ] {
            assert_eq!(Cell::Bytes(n).human(), text);
            assert_eq!(Cell::Bytes(n).raw(), n.to_string());
        }
    }

    #[test]
    fn durations_have_two_units_at_most() {
        for (ms, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (1_000, "1.0s"),
            (59_999, "59.9s"),
            (60_000, "1m00s"),
            (3_599_000, "59m59s"),
            (7_440_000, "2h04m"),
            (90_000_000, "1d01h"),
        ] {
            assert_eq!(Cell::Millis(ms).human(), text);
        }
    }

    #[test]
    fn nothing_is_two_dashes_for_people_and_empty_for_programs() {
        let none = Cell::list::<u8>([]);
        assert_eq!((none.human(), none.raw()), ("--".into(), String::new()));
    }
}

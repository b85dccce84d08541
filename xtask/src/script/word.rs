//! A line as words, taken one by one.

use anyhow::{Context, Result, bail, ensure};
use std::fmt::Display;
use std::str::FromStr;

/// The words of a line that nobody has taken yet.
pub(super) struct Words<'a> {
    words: std::iter::Peekable<std::str::SplitAsciiWhitespace<'a>>,
}

impl<'a> Words<'a> {
    pub(super) fn new(line: &'a str) -> Self {
        Self {
            words: line.split_ascii_whitespace().peekable(),
        }
    }

    pub(super) fn is_empty(&mut self) -> bool {
        self.words.peek().is_none()
    }

    /// The next word, which has to be there; `what` says what it is.
    pub(super) fn next(&mut self, what: &str) -> Result<&'a str> {
        self.words
            .next()
            .with_context(|| format!("{what} is missing at the end"))
    }

    /// The next word if there is one.
    pub(super) fn next_if_any(&mut self) -> Option<&'a str> {
        self.words.next()
    }

    /// Takes the next word if it is `word`.
    pub(super) fn take(&mut self, word: &str) -> bool {
        self.words.next_if(|next| *next == word).is_some()
    }

    /// Takes the next word, which has to be `word`.
    pub(super) fn expect(&mut self, word: &str) -> Result<()> {
        let found = self.next(&format!("`{word}`"))?;
        ensure!(found == word, "`{found}` where `{word}` should be");
        Ok(())
    }

    /// All words that are left, with single spaces.
    pub(super) fn rest(&mut self) -> String {
        self.words.by_ref().collect::<Vec<_>>().join(" ")
    }

    /// The next word as an address or the like.
    pub(super) fn parse<T: FromStr<Err: Display>>(&mut self, what: &str) -> Result<T> {
        let word = self.next(what)?;
        match word.parse() {
            Ok(value) => Ok(value),
            Err(error) => bail!("`{word}` isn't {what}: {error}"),
        }
    }

    /// The next word as a number, decimal or `0x` hexadecimal.
    pub(super) fn number<T: TryFrom<u64>>(&mut self, what: &str) -> Result<T> {
        let word = self.next(what)?;
        number(word).with_context(|| format!("`{word}` isn't {what}"))
    }

    /// The next word as bytes in hexadecimal.
    pub(super) fn bytes(&mut self, what: &str) -> Result<Vec<u8>> {
        let word = self.next(what)?;
        hex(word).with_context(|| format!("`{word}` isn't {what}"))
    }
}

/// A number, decimal or `0x` hexadecimal.
pub(super) fn number<T: TryFrom<u64>>(word: &str) -> Result<T> {
    let value = match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16)?,
        None => word.parse()?,
    };
    T::try_from(value).ok().context("it is too large")
}

/// Bytes in hexadecimal; colons between them are fine.
pub(super) fn hex(word: &str) -> Result<Vec<u8>> {
    let digits: Vec<char> = word.chars().filter(|c| *c != ':').collect();
    ensure!(digits.len().is_multiple_of(2), "an odd number of digits");
    digits
        .chunks(2)
        .map(|pair| {
            let pair: String = pair.iter().collect();
            u8::from_str_radix(&pair, 16).context("not hexadecimal")
        })
        .collect()
}

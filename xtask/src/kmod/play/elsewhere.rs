//! Where there is no loader: it is for Linux on amd64.

use crate::step::Outcome;
use anyhow::Result;
use std::path::Path;

/// Plays nothing, and says so.
pub(super) fn all(_: &Path, _: &Path) -> Result<Outcome> {
    Ok(Outcome::skip("the module's loader is for Linux on amd64"))
}

/// Serves nobody, and says so.
pub(super) fn serve(_: &Path, _: &Path) -> Result<()> {
    anyhow::bail!("the module's loader is for Linux on amd64")
}

/// Nothing is counted.
pub(super) const WAYS: [(&str, &str); 0] = [];
pub(super) const CHAIN: usize = 1;
pub(super) const CODE: &str = "";

/// Does nothing, and says so.
pub(super) fn work(_: &Path, _: &str, _: u32) -> Result<()> {
    anyhow::bail!("the module's loader is for Linux on amd64")
}

/// Drives nothing, and says so.
pub(super) fn drive(_: &Path, _: &Path, _: &Path) -> Result<()> {
    anyhow::bail!("the module's loader is for Linux on amd64")
}

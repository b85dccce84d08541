//! The setup file that a driver starts from.

use anyhow::anyhow;
use opte_core::api::Setup;
use opte_ioctl::setup_file;
use std::fs::File;
use std::path::Path;

/// Reads a setup file.
///
/// # Errors
///
/// One sentence with the file, the line, the object and its field.
pub(crate) fn load(path: &Path) -> anyhow::Result<Setup> {
    let shown = path.display();
    let text = File::open(path).and_then(setup_file::read);
    let text = text.map_err(|error| anyhow!("{shown}: {error}"))?;
    setup_file::parse(&text).map_err(|why| anyhow!("{shown}: {why}"))
}

//! The result folder: written under other names and renamed at the end, so a
//! replay that fails leaves no results.

use super::file::PcapngFile;
use anyhow::{Context, anyhow, bail};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A folder that results are written to.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Whether this replay made it.
    made: bool,
    /// Names of the files that were started; they end in `.part` until
    /// [`Folder::commit`].
    names: Vec<String>,
    committed: bool,
}

/// A capture file in the folder.
pub(super) type CaptureFile = PcapngFile<BufWriter<File>>;

impl Folder {
    /// The folder at `path`, made if it isn't there.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let made = !path.exists();
        fs::create_dir_all(path).map_err(|error| anyhow!("--out {}: {error}", path.display()))?;
        Ok(Self {
            path: path.into(),
            made,
            names: Vec::new(),
            committed: false,
        })
    }

    /// Starts a file.
    pub(super) fn create(&mut self, name: &str) -> anyhow::Result<BufWriter<File>> {
        self.check(name)?;
        let path = self.part(name);
        let file = File::create(&path).with_context(|| format!("--out {}", path.display()))?;
        self.names.push(name.into());
        Ok(BufWriter::new(file))
    }

    /// Starts a capture file; `interface` is the name of its interface.
    pub(super) fn create_capture(
        &mut self,
        name: &str,
        interface: &str,
    ) -> anyhow::Result<CaptureFile> {
        let file = self.create(name)?;
        PcapngFile::new(file, interface).with_context(|| format!("--out: {name}"))
    }

    /// Gives every file its name, or none. The files are flushed before.
    pub(super) fn commit(mut self) -> anyhow::Result<()> {
        // Again: a replay takes its time.
        self.names.iter().try_for_each(|name| self.check(name))?;
        for name in &self.names {
            let path = self.path.join(name);
            fs::rename(self.part(name), &path)
                .with_context(|| format!("--out {}", path.display()))?;
        }
        self.committed = true;
        Ok(())
    }

    /// Whether a file can take this name: a folder that has it doesn't give way.
    fn check(&self, name: &str) -> anyhow::Result<()> {
        let path = self.path.join(name);
        if fs::symlink_metadata(&path).is_ok_and(|there| there.is_dir()) {
            bail!("--out {}: it is a folder", path.display());
        }
        Ok(())
    }

    fn part(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.part"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        for name in &self.names {
            let _ = fs::remove_file(self.part(name));
        }
        if self.made {
            // Fails when somebody else put something there, and then it stays.
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// Ends a capture file.
pub(super) fn finish(file: CaptureFile) -> io::Result<()> {
    file.into_inner().flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_failed_replay_leaves_nothing() {
        let base = testing::Folder::new("results");
        let path = base.path().join("new");
        let mut folder = Folder::open(&path).unwrap();
        folder.create("a").unwrap();
        folder.create_capture("b", "b").unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 2);
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_finished_one_leaves_its_files_and_what_was_there() {
        let base = testing::Folder::new("results");
        base.file("other", "stays");
        base.file("a", "old");
        let mut folder = Folder::open(base.path()).unwrap();
        folder.create("a").unwrap().write_all(b"new").unwrap();
        folder.commit().unwrap();
        assert_eq!(fs::read(base.path().join("a")).unwrap(), b"new");
        assert_eq!(fs::read(base.path().join("other")).unwrap(), b"stays");
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_name_that_is_taken_leaves_everything_as_it_was() {
        let base = testing::Folder::new("results");
        base.file("a", "old");
        fs::create_dir(base.path().join("b")).unwrap();
        let sentence = format!("--out {}: it is a folder", base.path().join("b").display());
        // There from the start.
        let mut folder = Folder::open(base.path()).unwrap();
        folder.create("a").unwrap().write_all(b"new").unwrap();
        assert_eq!(folder.create("b").unwrap_err().to_string(), sentence);
        drop(folder);
        // Made while the replay runs.
        fs::remove_dir(base.path().join("b")).unwrap();
        let mut folder = Folder::open(base.path()).unwrap();
        for name in ["a", "b"] {
            folder.create(name).unwrap().write_all(b"new").unwrap();
        }
        fs::create_dir(base.path().join("b")).unwrap();
        assert_eq!(folder.commit().unwrap_err().to_string(), sentence);
        assert_eq!(fs::read(base.path().join("a")).unwrap(), b"old");
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_place_that_cannot_be_a_folder_is_named() {
        let base = testing::Folder::new("results");
        let file = base.file("file", "");
        let error = Folder::open(&file).unwrap_err().to_string();
        assert!(error.starts_with(&format!("--out {}: ", file.display())));
    }
}

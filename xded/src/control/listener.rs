//! The control socket's place in the file system.
//!
//! A predecessor that was killed leaves its socket file behind; nobody listens
//! on it, so it is replaced. A socket that somebody listens on is left alone.
//! The folder is locked between the look and the replacement, so of two
//! drivers that start at once one finds the other.

use anyhow::{Context, anyhow, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Owner and group may administer the driver.
const MODE: u32 = 0o660;

/// A listening socket; its file goes when this does.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// Device and inode of the file, to remove no other one.
    id: (u64, u64),
}

impl Listener {
    /// Listens on `path`, alone.
    pub(crate) fn bind(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let lock =
            File::open(folder).with_context(|| format!("cannot open {}", folder.display()))?;
        flock(&lock, FlockOperation::LockExclusive)
            .with_context(|| format!("cannot lock {}", folder.display()))?;
        remove_stale(path)?;
        // Made under another name and moved: whoever sees the socket at `path`
        // sees it listening and with its mode.
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{}", std::process::id()));
        let new = folder.join(name);
        let _ = fs::remove_file(&new);
        let listen = || -> std::io::Result<_> {
            let socket = UnixListener::bind(&new)?;
            fs::set_permissions(&new, Permissions::from_mode(MODE))?;
            let metadata = fs::metadata(&new)?;
            fs::rename(&new, path)?;
            Ok((socket, (metadata.dev(), metadata.ino())))
        };
        let (socket, id) = listen().map_err(|error| {
            let _ = fs::remove_file(&new);
            anyhow!("cannot listen on {shown}: {error}")
        })?;
        Ok(Self {
            socket,
            path: path.into(),
            id,
        })
    }

    /// The listening socket.
    pub(crate) fn socket(&self) -> &UnixListener {
        &self.socket
    }

    /// Removes the socket's file, if it is still this one's. For the end of
    /// the process, where threads that hold the listener are not waited for.
    pub(crate) fn remove(&self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.id);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket");
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Makes room at `path`, unless somebody listens there or it is no socket.
fn remove_stale(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => bail!("cannot look at {shown}: {error}"),
    };
    if !metadata.file_type().is_socket() {
        bail!("{shown} exists and is no socket");
    }
    if is_alive(path).with_context(|| format!("cannot look at {shown}"))? {
        bail!("a driver already listens on {shown}");
    }
    fs::remove_file(path).with_context(|| format!("cannot replace {shown}"))?;
    tracing::info!(path = %shown, "replaced the socket of a driver that is gone");
    Ok(())
}

/// Whether somebody listens on the socket. Doesn't wait for a busy listener.
fn is_alive(path: &Path) -> rustix::io::Result<bool> {
    use rustix::io::Errno;
    let probe = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    )?;
    match connect(&probe, &SocketAddrUnix::new(path)?) {
        // EAGAIN: its queue of new clients is full.
        Ok(()) | Err(Errno::AGAIN) => Ok(true),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_taken_socket_is_refused_and_left_alone() {
        let folder = Folder::new("taken");
        let path = folder.path().join("s");
        let first = Listener::bind(&path).unwrap();
        let error = Listener::bind(&path).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("a driver already listens on {}", path.display())
        );
        UnixStream::connect(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        drop(first);
        assert!(!path.exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let folder = Folder::new("stale");
        let path = folder.path().join("s");
        // A closed listener leaves its file, as a killed one does.
        drop(UnixListener::bind(&path).unwrap());
        assert!(UnixStream::connect(&path).is_err());
        let listener = Listener::bind(&path).unwrap();
        UnixStream::connect(&path).unwrap();
        drop(listener);
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let folder = Folder::new("file");
        let path = folder.path().join("s");
        fs::write(&path, "precious").unwrap();
        let error = Listener::bind(&path).unwrap_err().to_string();
        assert!(error.ends_with("exists and is no socket"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_successors_socket_is_not_removed() {
        let folder = Folder::new("successor");
        let path = folder.path().join("s");
        let first = Listener::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let second = Listener::bind(&path).unwrap();
        drop(first);
        UnixStream::connect(&path).unwrap();
        drop(second);
    }
}

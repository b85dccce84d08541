//! The control socket's place in the file system.
//!
//! A predecessor that was killed leaves its socket file behind; nobody listens
//! on it, so it is replaced. A socket that somebody listens on is left alone.
//! One that takes clients and doesn't answer may belong to a process that is
//! still being taken apart, with all its devices: it is waited for.
//! The folder is locked between the look and the replacement, so of two
//! drivers that start at once one finds the other.

use anyhow::{Context, anyhow, bail};
use opte_ioctl::patient::Patient;
use opte_ioctl::{command, envelope, frame};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Owner and group may administer the driver.
const MODE: u32 = 0o660;
/// How long a start waits for the lock of the folder.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// How long a start waits for a predecessor to answer or to be gone: the kernel
/// takes about 20 ms for each TAP of a process that was killed.
pub(crate) const PREDECESSOR_PATIENCE: Duration = Duration::from_secs(120);
/// How long one question may go unanswered.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

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
        Self::bind_within(path, LOCK_PATIENCE, PREDECESSOR_PATIENCE)
    }

    /// Listens on `path`, after waiting that long at most for the lock, and for
    /// a predecessor.
    fn bind_within(path: &Path, lock_for: Duration, patience: Duration) -> anyhow::Result<Self> {
        let shown = path.display();
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let lock =
            File::open(folder).with_context(|| format!("cannot open {}", folder.display()))?;
        take_lock(&lock, lock_for).with_context(|| format!("cannot lock {}", folder.display()))?;
        remove_stale(path, patience)?;
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

/// Takes the lock as soon as nobody else has it.
fn take_lock(folder: &File, patience: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + patience;
    loop {
        match flock(folder, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::AGAIN) if Instant::now() < until => thread::sleep(PAUSE),
            Err(Errno::AGAIN) => bail!("somebody else has kept it locked for {patience:?}"),
            done => return Ok(done?),
        }
    }
}

/// Makes room at `path`, unless somebody listens there or it is no socket.
fn remove_stale(path: &Path, patience: Duration) -> anyhow::Result<()> {
    let shown = path.display();
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => bail!("cannot look at {shown}: {error}"),
    };
    if !metadata.file_type().is_socket() {
        bail!("{shown} exists and is no socket");
    }
    let until = Instant::now() + patience;
    let mut waits = false;
    loop {
        let answer = ask(path).with_context(|| format!("cannot look at {shown}"))?;
        match answer {
            Answer::Nobody => break,
            Answer::Alive => bail!("a driver already listens on {shown}"),
            Answer::Silence if Instant::now() >= until => {
                bail!("a driver already listens on {shown}, and has not answered for {patience:?}")
            }
            Answer::Silence => {}
        }
        if !std::mem::replace(&mut waits, true) {
            tracing::info!(path = %shown, "the driver that listens doesn't answer; waiting for it to end");
        }
        thread::sleep(PAUSE);
    }
    match fs::remove_file(path) {
        // It ended in good order meanwhile.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        done => done.with_context(|| format!("cannot replace {shown}"))?,
    }
    tracing::info!(path = %shown, "replaced the socket of a driver that is gone");
    Ok(())
}

/// Who is behind a socket.
enum Answer {
    /// Nobody listens.
    Nobody,
    /// Somebody who answers.
    Alive,
    /// Somebody who hung up, has too many waiting clients, or says nothing.
    Silence,
}

/// Says hello to whoever listens on the socket and waits for any answer.
fn ask(path: &Path) -> anyhow::Result<Answer> {
    let probe = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    )?;
    match connect(&probe, &SocketAddrUnix::new(path)?) {
        Ok(()) => {}
        // Its queue of new clients is full.
        Err(Errno::AGAIN) => return Ok(Answer::Silence),
        Err(Errno::CONNREFUSED | Errno::NOENT) => return Ok(Answer::Nobody),
        Err(error) => return Err(error.into()),
    }
    let stream = UnixStream::from(probe);
    stream.set_nonblocking(false)?;
    // A process that is being taken apart closes the connection at some time,
    // and then the next attempt finds nobody.
    let mut stream = Patient::new(&stream, ANSWER_PATIENCE);
    let mut byte = [0];
    match stream
        .write_all(&hello()?)
        .and_then(|()| stream.read(&mut byte))
    {
        Ok(1..) => Ok(Answer::Alive),
        Ok(0) | Err(_) => Ok(Answer::Silence),
    }
}

/// The request that every version of a driver answers.
fn hello() -> io::Result<Vec<u8>> {
    let header = envelope::Request {
        version_min: envelope::VERSION_MIN,
        version_max: envelope::VERSION_MAX,
        number: command::HELLO,
        flags: 0,
        id: 0,
    };
    let request = header.emit(&[]);
    let request = request.map_err(|error| io::Error::other(error.explanation()))?;
    frame::emit(&request).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;
    use std::io::Read;

    const SHORT: Duration = Duration::from_millis(50);

    #[test]
    fn a_taken_socket_is_refused_and_left_alone() {
        let folder = Folder::new("taken");
        let path = folder.path().join("s");
        let first = Listener::bind(&path).unwrap();
        // Nobody serves it, as when its process is stopped.
        let error = Listener::bind_within(&path, SHORT, SHORT)
            .unwrap_err()
            .to_string();
        let text = format!(
            "a driver already listens on {}, and has not answered for 50ms",
            path.display()
        );
        assert_eq!(error, text);
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

    #[test]
    fn a_predecessor_that_is_being_taken_apart_is_waited_for() {
        let folder = Folder::new("dying");
        let path = folder.path().join("s");
        let old = UnixListener::bind(&path).unwrap();
        let dying = thread::spawn(move || {
            // Clients come in and are asked nothing; then the socket goes.
            let (mut client, _) = old.accept().unwrap();
            client.read_exact(&mut [0]).unwrap();
        });
        let listener = Listener::bind(&path).unwrap();
        UnixStream::connect(&path).unwrap();
        dying.join().unwrap();
        drop(listener);
    }

    #[test]
    fn a_lock_that_nobody_gives_back_is_named() {
        let folder = Folder::new("locked");
        let lock = File::open(folder.path()).unwrap();
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        let path = folder.path().join("s");
        let error = Listener::bind_within(&path, SHORT, SHORT).unwrap_err();
        let text = format!(
            "cannot lock {}: somebody else has kept it locked for 50ms",
            folder.path().display()
        );
        assert_eq!(format!("{error:#}"), text);
        drop(lock);
        Listener::bind(&path).unwrap();
    }
}

//! A driver that records what it is asked and answers as it is told.

use opte_core::api::{Command, ConfigError, Response};
use opte_core::limits::REQUEST_BYTES_MAX;
use opte_ioctl::frame::{self, FrameReader};
use opte_ioctl::{Driver, serve};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

type Answer = Result<Response, ConfigError>;
type Handler = Box<dyn FnMut(Command) -> Answer + Send>;

const DRIVER: Driver = Driver {
    name: "fake",
    version: "9.8.7",
};

/// A driver on a socket in a directory of its own.
pub(crate) struct Fake {
    dir: PathBuf,
    asked: Arc<Mutex<Vec<Command>>>,
}

/// What a run of the tool left behind.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Standard output of a run without complaint.
    #[track_caller]
    pub(crate) fn good(self) -> String {
        assert_eq!((self.code, &*self.stderr), (0, ""), "{self:?}");
        self.stdout
    }
}

fn dir() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("opteadm-{}-{number}", std::process::id());
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir(&dir).unwrap();
    dir
}

impl Fake {
    /// A driver that answers every command with `handler`.
    pub(crate) fn new(mut handler: impl FnMut(Command) -> Answer + Send + 'static) -> Self {
        let fake = Self {
            dir: dir(),
            asked: Arc::default(),
        };
        let listener = UnixListener::bind(fake.socket()).unwrap();
        let asked = Arc::clone(&fake.asked);
        let mut handler: Handler = Box::new(move |command| {
            asked.lock().unwrap().push(command.clone());
            handler(command)
        });
        // It waits for connections as long as the test program lives.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                talk(stream.unwrap(), &mut handler);
            }
        });
        fake
    }

    /// A driver that answers every command the same.
    pub(crate) fn answering(response: Response) -> Self {
        Self::new(move |_| Ok(response.clone()))
    }

    /// A place where no driver listens.
    pub(crate) fn absent() -> Self {
        Self {
            dir: dir(),
            asked: Arc::default(),
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("s")
    }

    /// Writes a file next to the socket.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().into()
    }

    /// The commands so far; forgets them.
    pub(crate) fn asked(&self) -> Vec<Command> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    /// Runs the tool with these words.
    pub(crate) fn run(&self, words: &[&str]) -> Run {
        self.run_with_input(words, "")
    }

    /// Runs the tool with the words of a line.
    pub(crate) fn line(&self, line: &str) -> Run {
        self.run(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs the tool with the words of a line and this as standard output.
    pub(crate) fn run_into(&self, output: Stdio, line: &str) -> Run {
        let mut tool = self.tool();
        tool.args(line.split_whitespace()).stdout(output);
        Run::of(tool.output().unwrap())
    }

    /// Runs the tool with the words of a line as another user, who may not be
    /// let in to where the tool was built.
    pub(crate) fn run_as(&self, user: u32, line: &str) -> Run {
        let copy = self.dir.join("opteadm");
        // A child copies it: what this process has open for writing, a child of
        // another test may have as well, and then it can't be executed yet.
        let mut copies = std::process::Command::new("cp");
        copies.arg(env!("CARGO_BIN_EXE_opteadm")).arg(&copy);
        assert!(copies.status().unwrap().success());
        let mut tool = std::process::Command::new(copy);
        tool.env("OPTE_SOCKET", self.socket()).uid(user).gid(user);
        Run::of(tool.args(line.split_whitespace()).output().unwrap())
    }

    /// The tool, which knows where the driver is.
    pub(crate) fn tool(&self) -> std::process::Command {
        let mut tool = std::process::Command::new(env!("CARGO_BIN_EXE_opteadm"));
        tool.env("OPTE_SOCKET", self.socket()).env("COLUMNS", "100");
        tool
    }

    /// Runs the tool with these words and this on standard input.
    pub(crate) fn run_with_input(&self, words: &[&str], input: &str) -> Run {
        let mut child = self
            .tool()
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A tool that reads no input may be gone already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Run::of(child.wait_with_output().unwrap())
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn talk(mut stream: UnixStream, handler: &mut Handler) {
    let mut reader = FrameReader::new(REQUEST_BYTES_MAX);
    let mut piece = [0; 4_096];
    while let Ok(len @ 1..) = stream.read(&mut piece) {
        let mut input = &piece[..len];
        while let Some(request) = reader.next_frame(&mut input).unwrap() {
            let response = serve(&request, &mut *handler, &DRIVER);
            let frame = frame::emit(&response).unwrap();
            if stream.write_all(&frame).is_err() {
                return;
            }
        }
    }
}

//! `xded run` as a program: start, second start, kill, stop.
//!
//! The driver runs in user and network namespaces of its own, which
//! `unshare(1)` makes; where that isn't allowed, the tests say so and pass,
//! except in CI.

#[path = "../../xtask/src/skip.rs"]
mod skip;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const XDED: &str = env!("CARGO_BIN_EXE_xded");

/// A command that runs in new namespaces, as root if `root`.
fn namespaced(root: bool, arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--net"]);
    if root {
        command.arg("--map-root-user");
    }
    command.arg("--").args(arguments);
    command
}

/// Whether such a command can run here.
fn allowed(test: &str) -> bool {
    let probe = namespaced(true, &["true"]).output();
    let done = probe.is_ok_and(|output| output.status.success());
    let tun = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun");
    let why = match tun {
        Ok(_) if done => return true,
        Ok(_) => String::from("this system allows no user namespaces"),
        Err(error) => format!("/dev/net/tun: {error}"),
    };
    skip::skip(test, &why);
    false
}

/// A folder for one test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("xded-{test}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("xded.sock")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A driver that said it is ready.
struct Driver {
    child: Child,
}

impl Driver {
    fn start(socket: &Path) -> Self {
        let path = socket.to_str().unwrap();
        let mut child = namespaced(true, &[XDED, "run", "--socket", path, "--threads", "2"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        if line != format!("xded: ready on {path}\n") {
            let mut log = String::new();
            child.stderr.unwrap().read_to_string(&mut log).unwrap();
            panic!("{line:?}, {log}");
        }
        Self { child }
    }

    /// Ends the driver with a signal and returns its exit code and log.
    fn end(mut self, signal: &str) -> (Option<i32>, String) {
        // Without --fork, unshare(1) becomes the driver: the same process.
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(sent.success());
        let code = self.child.wait().unwrap().code();
        let mut log = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut log).unwrap();
        (code, log)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(root: bool, arguments: &[&str]) -> Output {
    let whole = [&[XDED, "run"], arguments].concat();
    namespaced(root, &whole).output().unwrap()
}

fn error(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_driver_keeps_its_place_until_it_ends() {
    if !allowed("a_driver_keeps_its_place_until_it_ends") {
        return;
    }
    let folder = Folder::new("place");
    let socket = folder.socket();
    let path = socket.to_str().unwrap();
    let first = Driver::start(&socket);
    UnixStream::connect(&socket).unwrap();
    let refused = error(&run(true, &["--socket", path]));
    assert_eq!(
        refused,
        format!("xded: a driver already listens on {path}\n")
    );
    // A kill leaves the socket's file; the next start isn't stopped by it.
    let (code, _) = first.end("-KILL");
    assert_eq!(code, None);
    assert!(socket.exists());
    let second = Driver::start(&socket);
    UnixStream::connect(&socket).unwrap();
    let (code, log) = second.end("-TERM");
    assert_eq!(code, Some(0), "{log}");
    assert!(!socket.exists());
    let third = Driver::start(&socket);
    let (code, log) = third.end("-INT");
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 0);
}

#[test]
fn what_stops_the_start_is_one_sentence() {
    if !allowed("what_stops_the_start_is_one_sentence") {
        return;
    }
    let folder = Folder::new("sentence");
    let (socket, setup) = (folder.socket(), folder.0.join("setup.toml"));
    std::fs::write(&setup, "[[port]]\nname = \"guest0\"\nmac = \"no\"\n").unwrap();
    let (path, setup) = (socket.to_str().unwrap(), setup.to_str().unwrap());
    for (root, arguments, words) in [
        (
            false,
            &["--socket", path][..],
            &["missing: CAP_NET_ADMIN, CAP_NET_RAW"][..],
        ),
        (
            true,
            &["--socket", path, "--setup", setup],
            &["setup.toml: line 3: port guest0: mac: "],
        ),
        (true, &["--socket", "/nowhere/s"], &["/nowhere"]),
        (
            true,
            &["--socket", path, "--tap", "guest0=99"],
            &["--tap guest0=99: "],
        ),
        (true, &["--socket", path, "--log", "=="], &["--log =="]),
    ] {
        let text = error(&run(root, arguments));
        assert!(text.starts_with("xded: "), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        for word in words {
            assert!(text.contains(word), "{text}");
        }
        assert!(!socket.exists());
    }
}

/// Plays a script about the program `$1` in the folder `$2`; what went to its
/// standard error.
fn played(folder: &Folder, script: &str) -> String {
    let path = folder.0.to_str().unwrap();
    let output = namespaced(true, &["sh", "-c", script, "sh", XDED, path]).output();
    let output = output.unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{log}");
    log
}

#[test]
fn a_driver_starts_while_its_predecessor_is_being_taken_apart() {
    if !allowed("a_driver_starts_while_its_predecessor_is_being_taken_apart") {
        return;
    }
    let folder = Folder::new("killed");
    let port = |number: u8| {
        format!(
            "[[port]]\nname = \"g{number}\"\nmac = \"A8:40:25:F0:00:{number:02X}\"\nvni = 7\n\
             ipv4 = {{ address = \"10.0.0.{number}\", gateway = \"10.0.0.254\" }}\n"
        )
    };
    let ports: String = (1..=128).map(port).collect();
    std::fs::write(folder.0.join("setup.toml"), ports).unwrap();
    // Reading the line that says it is ready is all the waiting there is.
    let script = r#"
        set -e
        cd "$2" && mkfifo out
        start() {
            "$1" run --socket s --setup setup.toml >out &
            read -r line <out
            test "$line" = "xded: ready on s"
        }
        start "$1"
        kill -KILL $!
        start "$1"
        kill -TERM $!
        wait $!
    "#;
    played(&folder, script);
}

#[test]
fn without_the_device_that_makes_taps_it_is_named() {
    if !allowed("without_the_device_that_makes_taps_it_is_named") {
        return;
    }
    let folder = Folder::new("maker");
    let (socket, setup) = (folder.socket(), folder.0.join("setup.toml"));
    let port = r#"
        [[port]]
        name = "guest0"
        mac = "A8:40:25:F0:00:01"
        vni = 7
        ipv4 = { address = "10.0.0.1", gateway = "10.0.0.254" }
    "#;
    std::fs::write(&setup, port).unwrap();
    let (socket, setup) = (socket.to_str().unwrap(), setup.to_str().unwrap());
    let script = "mount -t tmpfs none /dev/net && exec \"$0\" run --socket \"$1\" --setup \"$2\"";
    let arguments = [
        "unshare", "--mount", "sh", "-c", script, XDED, socket, setup,
    ];
    let text = error(&namespaced(true, &arguments).output().unwrap());
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("xded: "), "{text}");
    let words = "port guest0: device /dev/net/tun does not exist";
    assert!(last.contains(words), "{text}");
}

#[test]
fn devices_that_come_back_are_opened_again_and_the_log_says_so() {
    if !allowed("devices_that_come_back_are_opened_again_and_the_log_says_so") {
        return;
    }
    let folder = Folder::new("lost");
    let setup = r#"
        [underlay]
        address = "fd00::1"
        link = [{ name = "net0", mtu = 1500 }]

        [[port]]
        name = "guest0"
        mac = "A8:40:25:F0:00:01"
        vni = 7
        ipv4 = { address = "10.0.0.1", gateway = "10.0.0.254" }
    "#;
    std::fs::write(folder.0.join("setup.toml"), setup).unwrap();
    // Reads the log until a line has the words; `timeout` ends a driver that
    // never says them.
    let script = r#"
        set -e
        cd "$2" && mkfifo log
        until_log() {
            while read -r line <&3; do
                echo "$line" >&2
                case "$line" in *"$1"*) return 0 ;; esac
            done
            return 1
        }
        ip tuntap add net0 mode tap && ip link set net0 mtu 1500 up
        timeout 60 "$1" run --socket s --setup setup.toml >/dev/null 2>log &
        exec 3<log
        until_log "ready"
        ip link del net0
        until_log "the device is gone"
        ip tuntap add net0 mode tap && ip link set net0 up
        until_log "the link is back"
        ip link del guest0
        until_log "the device is gone"
        until_log "the TAP is back"
        ip link show guest0 >&2
        kill -TERM $!
        wait $!
    "#;
    let log = played(&folder, script);
    assert_eq!(log.matches("the device is gone").count(), 2, "{log}");
}

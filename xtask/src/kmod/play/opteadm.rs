//! Every command of the contract, by the real `opteadm`.
//!
//! Terms     transcript   `opteadm.txt`: commands and frames, and all that is
//!                        printed; it says how to read it
//!
//! Rules     O1  a command of the contract that the transcript doesn't have
//!               carried out fails it, and so does one that it doesn't have
//!               refused, except those that can't be ([`NEVER_REFUSED`]).
//!           O2  what is refused leaves the host as it was: whatever can be
//!               asked for is the same, and so are the datalinks.
//!
//! Failure   the transcript as it is now is left in `target/xde/opteadm.txt`.

use super::storm::packets;
use super::{Play, SETUP, Tool, attached, bridge, end, prepare, setup};
use crate::script::{self, Place, Scene};
use crate::workspace;
use anyhow::{Context as _, Result, bail, ensure};
use opte_core::LayerId;
use opte_core::api::{Command, ErrorCode, Name, Prefix, Response};
use opte_core::limits::ADDRESS_SET_PREFIXES_MAX;
use opte_ioctl::client::{Client as _, ClientError};
use opte_ioctl::{command, envelope};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use xde_loader::{Context, Sled};

/// What this file plays.
pub(super) const PLAYS: &[Play] = &[("the real opteadm", transcript)];

const TRANSCRIPT: &str = include_str!("opteadm.txt");

/// Commands without an argument that could be wrong.
const NEVER_REFUSED: &[&str] = &[
    "list-ports",
    "dump-v2p",
    "dump-v2b",
    "clear-underlay",
    "show-underlay",
    "dump-underlay-routes",
    "list-address-sets",
    "dump-m2p",
    "dump-mcast-fwd",
    "dump-mcast-subs",
];

fn transcript(module: &[u8]) -> Result<()> {
    let root = workspace::root();
    let socket = root.join("target/xde/opteadm.sock");
    let _ = std::fs::remove_file(&socket);
    let tool = Opteadm {
        program: workspace::program(&root, "opteadm")?,
        root,
        socket,
    };
    let sled = attached(module)?;
    prepare(&sled, &setup()?);
    for more in ["g3", "g4", "eth1"] {
        sled.create_datalink_id(more);
    }
    let seen = Mutex::new(Seen::default());
    let now = tool.while_served(&sled, &seen, || tool.follow(&sled))?;
    if now != TRANSCRIPT {
        std::fs::write(tool.root.join("target/xde/opteadm.txt"), &now)?;
        let mut lines = now.lines().zip(TRANSCRIPT.lines()).zip(1..);
        let ((now, then), line) = lines
            .find(|((now, then), _)| now != then)
            .context("the transcript ends early")?;
        bail!("opteadm.txt, line {line}: `{now}` instead of `{then}`");
    }
    let mut seen = seen.into_inner().unwrap_or_default();
    refused_without_it(&sled, &mut seen)?;
    seen.is_all()?;
    end(sled)
}

/// What the tool can't be made to ask wrongly, other tools can.
fn refused_without_it(sled: &Sled, seen: &mut Seen) -> Result<()> {
    let nosuch: Name = "nosuch".parse().map_err(anyhow::Error::msg)?;
    let one: Prefix = "192.0.2.7/32".parse().map_err(anyhow::Error::msg)?;
    let many = vec![one; ADDRESS_SET_PREFIXES_MAX + 1];
    for (command, code) in [
        (Command::ShowPortOptions(nosuch), ErrorCode::NotFound),
        (Command::ShowAdvertise(nosuch), ErrorCode::NotFound),
        (Command::SetAddressSet(nosuch, many), ErrorCode::Malformed),
    ] {
        let number = command::number(&command);
        let before = everything(sled);
        match Tool(sled).call(command) {
            Err(ClientError::Refused(why)) if why.code == code => seen.refused.insert(number),
            other => bail!("command {number} is answered with {other:?}"),
        };
        ensure!(
            everything(sled) == before,
            "command {number} left something"
        );
    }
    Ok(())
}

/// Numbers of commands.
#[derive(Default)]
struct Seen {
    done: BTreeSet<u16>,
    refused: BTreeSet<u16>,
}

impl Seen {
    fn note(&mut self, request: &[u8], response: &[u8]) {
        let request = envelope::Request::parse(request);
        let response = envelope::Response::parse(response);
        if let (Ok((request, _)), Ok((response, _))) = (request, response) {
            let set = match response.status {
                0 => &mut self.done,
                _ => &mut self.refused,
            };
            set.insert(request.number);
        }
    }

    /// Rule O1.
    fn is_all(&self) -> Result<()> {
        let missing = |from: &BTreeSet<u16>| -> Vec<&str> {
            let missing = command::ALL.iter().filter(|(n, _)| !from.contains(n));
            missing.map(|(_, name)| *name).collect()
        };
        let never = missing(&self.done);
        ensure!(never.is_empty(), "{never:?} are never carried out");
        let never = missing(&self.refused);
        ensure!(never == NEVER_REFUSED, "{never:?} are never refused");
        Ok(())
    }
}

/// The program, and where it is told to go.
struct Opteadm {
    root: PathBuf,
    program: PathBuf,
    socket: PathBuf,
}

impl Opteadm {
    /// Answers on the socket while `work` is done.
    fn while_served<T>(
        &self,
        sled: &Sled,
        seen: &Mutex<Seen>,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let listener = UnixListener::bind(&self.socket)?;
        let stop = AtomicBool::new(false);
        let serve = || -> Result<()> {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                bridge::answer_noting(sled, stream?, |request, response| {
                    if let Ok(mut seen) = seen.lock() {
                        seen.note(request, response);
                    }
                })?;
            }
            Ok(())
        };
        let done = thread::scope(|scope| {
            let server = scope.spawn(serve);
            let done = work();
            stop.store(true, Ordering::Relaxed);
            drop(UnixStream::connect(&self.socket));
            let served = server.join();
            served.map_err(|_| anyhow::anyhow!("the bridge panicked"))??;
            done
        });
        std::fs::remove_file(&self.socket)?;
        done
    }

    /// Does what the transcript says, and writes it anew.
    fn follow(&self, sled: &Sled) -> Result<String> {
        let mut now = String::new();
        let mut lines = TRANSCRIPT.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(frame) = line.strip_prefix("> ") {
                send(sled, frame)?;
            }
            let Some(words) = line.strip_prefix("$ ") else {
                // What was printed then is printed anew.
                let is_title = line.starts_with("## ");
                let stays = is_title || ["> ", "#"].iter().any(|start| line.starts_with(start));
                if stays {
                    now += if is_title { "\n" } else { "" };
                    now += &format!("{line}\n");
                }
                continue;
            };
            now += &format!("{line}\n");
            let mut input = String::new();
            while let Some(line) = lines.next_if(|line| line.starts_with("< ")) {
                input += &format!("{}\n", line.trim_start_matches("< "));
                now += &format!("{line}\n");
            }
            now += &self.run(sled, words, &input)?;
        }
        Ok(now)
    }

    /// What it prints, and how it exits.
    fn run(&self, sled: &Sled, line: &str, input: &str) -> Result<String> {
        let before = everything(sled);
        let mut running = std::process::Command::new(&self.program)
            .args(words(line))
            .arg("--socket")
            .arg(&self.socket)
            .env("COLUMNS", "100")
            .current_dir(&self.root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run opteadm")?;
        let mut stdin = running.stdin.take().context("no standard input")?;
        // One that reads nothing may be gone already.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let done = running.wait_with_output()?;
        let mut told = String::from_utf8(done.stdout)?;
        for line in String::from_utf8(done.stderr)?.lines() {
            told += format!("! {line}").trim_end();
            told += "\n";
        }
        let code = done.status.code().context("opteadm was killed")?;
        if code != 0 {
            told += &format!("[{code}]\n");
            // Rule O2.
            let after = everything(sled);
            let mut both = before.iter().zip(&after);
            let differs = both.find(|(before, after)| before != after);
            ensure!(differs.is_none(), "opteadm {line} has changed {differs:?}");
            ensure!(before.len() == after.len(), "opteadm {line}: more or less");
        }
        Ok(told)
    }
}

/// The words of a line; quotes hold some together.
fn words(line: &str) -> Vec<String> {
    let quoted = line.split('"').enumerate();
    let words = quoted.flat_map(|(index, part)| match index % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    words.collect()
}

/// A guest sends a frame.
fn send(sled: &Sled, script: &str) -> Result<()> {
    for frame in script::compile(script, &Scene::parse(SETUP)?)? {
        let Place::Tx(port) = &frame.place else {
            bail!("guests send, and nobody else");
        };
        sled.guest_sends(port, &packets(&[frame.bytes]), Context::Packet)?;
    }
    Ok(())
}

/// All that can be asked for, and what MAC has of the module.
fn everything(sled: &Sled) -> Vec<String> {
    let ask = |command: Command| Tool(sled).call(command);
    let mut all = Vec::new();
    let mut note = |command: Command| all.push(format!("{:?}", ask(command)));
    for command in [
        Command::ListPorts(0),
        Command::DumpV2p(0),
        Command::DumpV2b(0),
        Command::DumpM2p(0),
        Command::DumpMcastFwd(0),
        Command::DumpMcastSubs(0),
        Command::ListAddressSets(0),
        Command::ShowUnderlay,
        Command::DumpUnderlayRoutes(0),
        Command::Stats(None),
    ] {
        note(command);
    }
    if let Ok(Response::AddressSets(sets)) = ask(Command::ListAddressSets(0)) {
        let names = sets.entries.into_iter().map(|set| set.name);
        names.for_each(|name| note(Command::DumpAddressSet(name, 0)));
    }
    if let Ok(Response::Ports(ports)) = ask(Command::ListPorts(0)) {
        for port in ports.entries {
            of_port(port.name).into_iter().for_each(&mut note);
        }
    }
    let [_, devices @ ..] = sled.holdings();
    all.push(format!("{devices:?}"));
    all
}

/// All that can be asked for about a port.
fn of_port(port: Name) -> Vec<Command> {
    let layers = LayerId::ALL.iter();
    let layers = layers.map(|layer| Command::DumpLayer(port, *layer, 0));
    let others = [
        Command::ListLayers(port),
        Command::DumpUft(port, 0),
        Command::DumpTcpFlows(port, 0),
        Command::DumpRoutes(port, 0),
        Command::Stats(Some(port)),
        Command::ShowPortOptions(port),
        Command::ShowAdvertise(port),
        Command::ShowNat(port),
    ];
    others.into_iter().chain(layers).collect()
}

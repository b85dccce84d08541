//! `xded run`: puts the parts together, waits for the end, and takes them apart.

use crate::cli::{Run, TapArg};
use crate::clock::Clock;
use crate::control::{self, Control, Listener};
use crate::device::{Poll, Registry, Shared, adopt};
use crate::engine::{Engine, random_seed};
use crate::worker::{Parts, Worker};
use crate::{privilege, setup, sys};
use anyhow::{Context, anyhow, bail};
use opte_core::api::{Command, Name, Response};
use opte_core::host::HostConfig;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

/// Why the driver ends.
enum End {
    /// It was told to.
    Signal(i32),
    /// A packet thread ended; that must not happen.
    Worker(String),
}

/// Runs the driver until it is told to stop.
pub(crate) fn run(args: Run) -> anyhow::Result<()> {
    let taps = claim(&args.taps)?;
    start_log(&args.log)?;
    privilege::reduce()?;
    adopt(&taps)?;
    let initial = args.setup.as_deref().map(setup::load).transpose()?;
    let listener = Arc::new(Listener::bind(&args.socket)?);
    let (end, ended) = mpsc::channel();
    watch_signals(end.clone())?;

    let threads = usize::from(args.threads);
    // One more view for the control threads, behind their lock.
    let config = HostConfig {
        seed: random_seed().context("cannot get random bytes")?,
        lanes: threads.saturating_add(1),
    };
    let engine = Arc::new(Engine::new(config, opte_core::event::Unobserved));
    let clock = Clock::start();
    let shared = Arc::new(Shared::default());
    let polls = (0..threads)
        .map(|_| Poll::new().map(Arc::new))
        .collect::<std::io::Result<Vec<_>>>()
        .context("cannot create an epoll instance")?;
    let registry = Registry::new(Arc::clone(&shared), polls.clone(), taps);
    let lane = |index| engine.lane(index).context("the engine has too few lanes");
    let control = Control::new(
        Arc::clone(&engine),
        lane(threads)?,
        registry,
        shared.view(),
        clock,
    );
    if let (Some(path), Some(setup)) = (&args.setup, initial) {
        match control.command(Command::Apply(setup)) {
            Ok(Response::Applied(applied)) => {
                let changes = applied.changes.len();
                tracing::info!(setup = %path.display(), changes, more = applied.more, "applied");
            }
            Ok(_) => {}
            Err(error) => bail!("{}: {error}", path.display()),
        }
    }

    let stop = Arc::new(AtomicBool::new(false));
    let mut workers = Vec::with_capacity(threads);
    for (index, poll) in polls.iter().enumerate() {
        let parts = Parts {
            engine: Arc::clone(&engine),
            poll: Arc::clone(poll),
            view: shared.view(),
            clock,
            stop: Arc::clone(&stop),
            ticks: index == 0,
        };
        workers.push(spawn(index, Worker::new(lane(index)?, parts), end.clone())?);
    }
    control::serve(Arc::clone(&listener), Arc::new(control))?;
    announce(&args)?;

    let result = match ended.recv() {
        Ok(End::Signal(signal)) => {
            tracing::info!(signal, "stopping");
            Ok(())
        }
        Ok(End::Worker(why)) => Err(anyhow!("a packet thread ended: {why}")),
        Err(mpsc::RecvError) => Err(anyhow!("nobody is left to stop the driver")),
    };
    stop.store(true, Ordering::Release);
    for poll in &polls {
        poll.wake();
    }
    for worker in workers {
        // A panic is reported by the thread itself and by `End::Worker`.
        let _ = worker.join();
    }
    listener.remove();
    result
}

/// Says that the driver is ready. Scripts wait for this line.
fn announce(args: &Run) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "xded: ready on {}", args.socket.display())
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

/// Takes the descriptors that were handed over.
fn claim(taps: &[TapArg]) -> anyhow::Result<BTreeMap<Name, OwnedFd>> {
    let mut claimed = BTreeMap::new();
    for (index, TapArg { name, fd }) in taps.iter().enumerate() {
        let twice = |other: &TapArg| other.name == *name || other.fd == *fd;
        if taps.iter().take(index).any(twice) {
            bail!("--tap {name}={fd}: the name or the descriptor is given twice");
        }
        let owned =
            sys::claim_inherited(*fd).map_err(|error| anyhow!("--tap {name}={fd}: {error}"))?;
        claimed.insert(*name, owned);
    }
    Ok(claimed)
}

/// Sends the log to standard error.
fn start_log(filter: &str) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .map_err(|error| anyhow!("--log {filter}: {error}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init()
        .map_err(|error| anyhow!("cannot start the log: {error}"))
}

/// Reports SIGTERM and SIGINT.
fn watch_signals(end: mpsc::Sender<End>) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT]).context("cannot catch signals")?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                if end.send(End::Signal(signal)).is_err() {
                    return;
                }
            }
        })
        .context("cannot start a thread")?;
    Ok(())
}

/// Starts a packet thread that reports its end, however it comes.
fn spawn(
    index: usize,
    mut worker: Worker,
    end: mpsc::Sender<End>,
) -> anyhow::Result<JoinHandle<()>> {
    struct Report(mpsc::Sender<End>, String);
    impl Drop for Report {
        fn drop(&mut self) {
            // Nobody listens any more when the driver is stopping.
            let _ = self.0.send(End::Worker(std::mem::take(&mut self.1)));
        }
    }
    thread::Builder::new()
        .name(format!("packets-{index}"))
        .spawn(move || {
            let mut report = Report(end, "it panicked".into());
            report.1 = match worker.run() {
                Ok(()) => "it stopped".into(),
                Err(error) => error.to_string(),
            };
        })
        .context("cannot start a thread")
}

//! `xded run`: puts the parts together, waits for the end, and takes them apart.

use crate::cli::{Run, TapArg};
use crate::clock::Clock;
use crate::control::{self, Control, Listener};
use crate::device::{Poll, Registry, Shared, adopt};
use crate::engine::{Engine, Lane, random_seed};
use crate::worker::{self, Worker};
use crate::{privilege, setup, sys};
use anyhow::{Context, anyhow, bail};
use opte_core::api::{Command, Name, Response, Setup};
use opte_core::host::HostConfig;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
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

    let parts = Parts::new(usize::from(args.threads))?;
    let control = parts.control(taps)?;
    if let (Some(path), Some(setup)) = (&args.setup, initial) {
        apply(&control, path, setup)?;
    }
    let workers = parts.start(&end)?;
    let control = Arc::new(control);
    control::look_after(Arc::clone(&control))?;
    control::serve(Arc::clone(&listener), control)?;
    announce(&args);

    let result = match ended.recv() {
        Ok(End::Signal(signal)) => {
            tracing::info!(signal, "stopping");
            Ok(())
        }
        Ok(End::Worker(why)) => Err(anyhow!("a packet thread ended: {why}")),
        Err(mpsc::RecvError) => Err(anyhow!("nobody is left to stop the driver")),
    };
    parts.stop(workers);
    listener.remove();
    result
}

/// What the driver's threads share.
struct Parts {
    engine: Arc<Engine>,
    clock: Clock,
    shared: Arc<Shared>,
    /// One per packet thread.
    polls: Vec<Arc<Poll>>,
    stop: Arc<AtomicBool>,
}

impl Parts {
    /// For so many packet threads.
    fn new(threads: usize) -> anyhow::Result<Self> {
        let config = HostConfig {
            seed: random_seed().context("cannot get random bytes")?,
            // One more for the control threads, behind their lock.
            lanes: threads.saturating_add(1),
        };
        let polls = (0..threads)
            .map(|_| Poll::new().map(Arc::new))
            .collect::<std::io::Result<Vec<_>>>()
            .context("cannot create an epoll instance")?;
        Ok(Self {
            engine: Arc::new(Engine::new(config, crate::sys::probe::Probes)),
            clock: Clock::start(),
            shared: Arc::default(),
            polls,
            stop: Arc::default(),
        })
    }

    /// The engine's view for a thread.
    fn lane(&self, index: usize) -> anyhow::Result<Lane> {
        let lane = self.engine.lane(index);
        lane.context("the engine has too few lanes")
    }

    /// What carries out commands.
    fn control(&self, taps: BTreeMap<Name, OwnedFd>) -> anyhow::Result<Control> {
        let mut registry = Registry::new(Arc::clone(&self.shared), self.polls.clone(), taps);
        registry.wait_for_taps(control::PREDECESSOR_PATIENCE);
        Ok(Control::new(
            Arc::clone(&self.engine),
            self.lane(self.polls.len())?,
            registry,
            self.shared.view(),
            self.clock,
        ))
    }

    /// Starts the packet threads.
    fn start(&self, end: &mpsc::Sender<End>) -> anyhow::Result<Vec<JoinHandle<()>>> {
        let polls = self.polls.iter().enumerate();
        let start = |(index, poll)| {
            let parts = worker::Parts {
                engine: Arc::clone(&self.engine),
                poll: Arc::clone(poll),
                view: self.shared.view(),
                clock: self.clock,
                stop: Arc::clone(&self.stop),
                ticks: index == 0,
            };
            spawn(index, Worker::new(self.lane(index)?, parts), end.clone())
        };
        polls.map(start).collect()
    }

    /// Ends the packet threads.
    fn stop(&self, workers: Vec<JoinHandle<()>>) {
        self.stop.store(true, Ordering::Release);
        for poll in &self.polls {
            poll.wake();
        }
        for worker in workers {
            // A panic is reported by the thread itself and by `End::Worker`.
            let _ = worker.join();
        }
    }
}

/// Applies the setup that the driver starts with.
fn apply(control: &Control, path: &Path, setup: Setup) -> anyhow::Result<()> {
    let shown = path.display();
    match control.command(Command::Apply(setup)) {
        Ok(Response::Applied(applied)) => {
            let changes = applied.changes.len();
            tracing::info!(setup = %shown, changes, more = applied.more, "applied");
            Ok(())
        }
        Ok(_) => Ok(()),
        Err(error) => bail!("{shown}: {}", error.coded()),
    }
}

/// Says that the driver is ready. Scripts wait for this line; a driver that
/// nobody waits for may have no standard output. Where systemd is who waits
/// (`Type=notify`), it starts then what comes after the driver.
fn announce(args: &Run) {
    let mut out = std::io::stdout().lock();
    let line = format!("xded: ready on {}", args.socket.display());
    if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
        tracing::debug!(%error, "cannot write to standard output");
    }
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "cannot tell the service manager");
    }
    tracing::info!(socket = %args.socket.display(), "ready");
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

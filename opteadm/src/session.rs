//! One run of the tool: the way to the driver and where output goes.

use crate::failure::Failure;
use clap::Args;
use opte_core::api::dump::Stats;
use opte_core::api::{Command, Name, Page, Response};
use opte_ioctl::client::{Client, ClientError, SOCKET_PATH, TIMEOUT, UnixClient};
use opte_ioctl::hello::Hello;
use std::io::{self, BufWriter, Stdout, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How to reach the driver.
#[derive(Args, Debug)]
pub(crate) struct Connection {
    /// Socket of the driver in user space
    ///
    /// Without it, the kernel module's device on illumos, and elsewhere the
    /// socket on which xded listens by default.
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "OPTE_SOCKET",
        hide_env_values = true
    )]
    #[arg(help_heading = "Connection")]
    socket: Option<PathBuf>,

    /// Seconds that the driver may take to answer
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = TIMEOUT.as_secs())]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400), help_heading = "Connection")]
    timeout: u64,
}

impl Connection {
    fn open(&self) -> Result<Box<dyn Client>, ClientError> {
        let timeout = Duration::from_secs(self.timeout);
        #[cfg(target_os = "illumos")]
        if self.socket.is_none() {
            let client = opte_ioctl::client::DeviceClient::open()?;
            let ids = crate::datalink::OnDemand::default();
            return Ok(Box::new(crate::datalink::WithDatalinks { client, ids }));
        }
        let path = self.socket.as_deref().unwrap_or(Path::new(SOCKET_PATH));
        let socket = UnixClient::connect(path, timeout)?;
        Ok(Box::new(socket))
    }
}

/// What a command works with.
pub(crate) struct Session {
    connection: Connection,
    /// Opened when the first command is sent (rule A1).
    client: Option<Box<dyn Client>>,
    /// Standard output.
    pub(crate) out: BufWriter<Stdout>,
}

impl Session {
    pub(crate) fn new(connection: Connection) -> Self {
        Self {
            connection,
            client: None,
            out: BufWriter::new(io::stdout()),
        }
    }

    fn client(&mut self) -> Result<&mut Box<dyn Client>, Failure> {
        let client = match self.client.take() {
            Some(client) => client,
            None => self.connection.open()?,
        };
        Ok(self.client.insert(client))
    }

    /// Asks the driver who it is.
    pub(crate) fn hello(&mut self) -> Result<Hello, Failure> {
        Ok(self.client()?.hello()?)
    }

    /// The counters of the host or of a port, and the generation of its
    /// configuration if that is told.
    pub(crate) fn stats(&mut self, port: Option<Name>) -> Result<(Option<u64>, Stats), Failure> {
        #[cfg(target_os = "illumos")]
        if self.connection.socket.is_none() {
            return Ok(crate::kstat::read(port)?);
        }
        let stats = self.call(Command::Stats(port), |response| match response {
            Response::Stats(stats) => Some(stats),
            _ => None,
        })?;
        Ok((Some(stats.generation), stats))
    }

    /// Has a command carried out whose answer is one of a kind.
    pub(crate) fn call<T>(
        &mut self,
        command: Command,
        expect: fn(Response) -> Option<T>,
    ) -> Result<T, Failure> {
        let response = self.client()?.call(command)?;
        expect(response).ok_or_else(|| {
            ClientError::Protocol("it is the answer to another kind of command").into()
        })
    }

    /// Has a command carried out and prints what there is to say: the id of
    /// what is new, or how many entries were affected.
    pub(crate) fn perform(&mut self, command: Command) -> Result<(), Failure> {
        match self.client()?.call(command)? {
            Response::Done => Ok(()),
            Response::Id(id) => Ok(writeln!(self.out, "{id}")?),
            Response::Count(1) => Ok(writeln!(self.out, "1 entry")?),
            Response::Count(count) => Ok(writeln!(self.out, "{count} entries")?),
            _ => Err(ClientError::Protocol("it is the answer to another kind of command").into()),
        }
    }

    /// Follows a listing from its first page to its last (rule A2).
    pub(crate) fn pages<T>(
        &mut self,
        request: impl Fn(u64) -> Command,
        expect: fn(Response) -> Option<Page<T>>,
        mut show: impl FnMut(&mut Self, &[T]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut cursor = 0;
        loop {
            let page = self.call(request(cursor), expect)?;
            show(self, &page.entries)?;
            match page.next {
                None => return Ok(()),
                // Every page makes progress; a driver that doesn't would keep
                // us here for ever.
                Some(next) if next == cursor => {
                    return Err(ClientError::Protocol("its pages go in circles").into());
                }
                Some(next) => cursor = next,
            }
        }
    }

    /// Writes what is buffered.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        Ok(self.out.flush()?)
    }
}

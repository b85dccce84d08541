//! `set-port-options`, `set-host-options`.

use crate::failure::{Failure, at_most};
use crate::session::Session;
use clap::Args;
use opte_core::api::{Command, Name, Setting};
use opte_core::limits::SETTINGS_MAX;

/// `set-port-options`.
#[derive(Args, Debug)]
pub(crate) struct Port {
    /// The port
    #[arg(short, long)]
    port: Name,
    /// mtu, flows_max, fragments_max, mss_max, decrement_ttl, tcp_mid_stream, or
    /// a timeout in seconds, as the setup file names it
    #[arg(required = true, value_name = "NAME=VALUE", value_parser = Setting::of_port)]
    settings: Vec<Setting>,
}

impl Port {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        at_most(SETTINGS_MAX, self.settings.len(), "settings")?;
        session.perform(Command::SetPortOptions(self.port, self.settings))
    }
}

/// `set-host-options`.
#[derive(Args, Debug)]
pub(crate) struct Host {
    /// flows_max: flows of all ports together
    #[arg(required = true, value_name = "NAME=VALUE", value_parser = Setting::of_host)]
    settings: Vec<Setting>,
}

impl Host {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        at_most(SETTINGS_MAX, self.settings.len(), "settings")?;
        session.perform(Command::SetHostOptions(self.settings))
    }
}

//! `set-external-ips`, `allow-cidr`, `remove-cidr`, `attach-subnet`, `detach-subnet`.

use crate::failure::Failure;
use crate::nat::NatArgs;
use crate::session::Session;
use crate::text;
use clap::{ArgGroup, Args, ValueEnum};
use opte_core::api::{
    Command, ExternalIps, Floating, Name, NatChange, Prefix, Snat, TransitPrefix,
};
use std::net::IpAddr;

/// External addresses on a command line.
#[derive(Args, Debug)]
pub(crate) struct ExternalArgs {
    /// Shared address with its ports, ADDRESS,FIRST-LAST; repeat for the other family
    #[arg(long, value_name = "SNAT", value_parser = text::snat, help_heading = "External")]
    snat: Vec<Snat>,
    /// Address of the guest's own for outbound traffic; repeat for the other family
    #[arg(long, value_name = "ADDRESS", help_heading = "External")]
    ephemeral: Vec<IpAddr>,
    /// Floating address, ADDRESS or ADDRESS,GATEWAY; repeat for more
    #[arg(long, value_name = "FLOATING", value_parser = text::floating, help_heading = "External")]
    floating: Vec<Floating>,
}

impl From<ExternalArgs> for ExternalIps {
    fn from(args: ExternalArgs) -> Self {
        let ExternalArgs {
            snat,
            ephemeral,
            floating,
        } = args;
        Self {
            snat,
            ephemeral,
            floating,
            ..Self::default()
        }
    }
}

/// `set-external-ips`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("addresses")
    .args(["snat", "ephemeral", "floating", "none"]).multiple(true).required(true))]
pub(crate) struct SetExternalIps {
    /// The port
    #[arg(short, long)]
    port: Name,
    #[command(flatten)]
    external: ExternalArgs,
    #[command(flatten)]
    nat: NatArgs,
    /// Leave the port without external addresses
    #[arg(long, conflicts_with_all = ["snat", "ephemeral", "floating"])]
    none: bool,
}

impl SetExternalIps {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let (external, nat) = (self.external.into(), NatChange::from(self.nat));
        // A driver that is older than this tool understands the addresses.
        session.perform(match nat.is_empty() {
            true => Command::SetExternalIps(self.port, external),
            false => Command::SetExternalNat(self.port, external, nat),
        })
    }
}

/// Which way traffic of a transit prefix may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Way {
    /// To the guest
    In,
    /// From the guest
    Out,
    /// Both
    Both,
}

/// `allow-cidr` and `remove-cidr`.
#[derive(Args, Debug)]
pub(crate) struct Cidr {
    /// The port
    #[arg(short, long)]
    port: Name,
    /// The prefix
    prefix: Prefix,
    /// Which way
    #[arg(value_enum, default_value_t = Way::Both)]
    direction: Way,
}

impl Cidr {
    const fn transit(&self) -> TransitPrefix {
        TransitPrefix {
            prefix: self.prefix,
            inbound: matches!(self.direction, Way::In | Way::Both),
            outbound: matches!(self.direction, Way::Out | Way::Both),
        }
    }

    pub(crate) fn allow(self, session: &mut Session) -> Result<(), Failure> {
        session.perform(Command::AllowCidr(self.port, self.transit()))
    }

    pub(crate) fn remove(self, session: &mut Session) -> Result<(), Failure> {
        session.perform(Command::RemoveCidr(self.port, self.transit()))
    }
}

/// `attach-subnet` and `detach-subnet`.
#[derive(Args, Debug)]
pub(crate) struct Subnet {
    /// The port
    #[arg(short, long)]
    port: Name,
    /// The external subnet
    prefix: Prefix,
}

impl Subnet {
    pub(crate) fn attach(self, session: &mut Session) -> Result<(), Failure> {
        session.perform(Command::AttachSubnet(self.port, self.prefix))
    }

    pub(crate) fn detach(self, session: &mut Session) -> Result<(), Failure> {
        session.perform(Command::DetachSubnet(self.port, self.prefix))
    }
}

//! The command line.

use clap::{Args, Parser, Subcommand};
use opte_core::api::Name;
use std::path::PathBuf;
use std::str::FromStr;

/// Where `opteadm` looks for the driver.
pub(crate) const SOCKET: &str = "/run/xded.sock";

/// The OPTE driver in user space: a virtual switch for the guests of this host.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Moves packets between guests' TAP devices and underlay links.
    ///
    /// Needs CAP_NET_ADMIN and CAP_NET_RAW in its user namespace. Prints one line,
    /// `xded: ready on PATH`, when it listens, and tells a service manager that waits
    /// for it (NOTIFY_SOCKET). SIGTERM and SIGINT stop it.
    Run(Run),
    /// Runs capture files through the engine, without devices and privileges.
    ///
    /// Each INPUT is tx:PORT=FILE (frames that the guest of PORT sent) or rx:LINK=FILE
    /// (frames that came in on underlay link LINK): a pcap or pcapng file of Ethernet
    /// frames. All inputs are merged by capture time, which is the engine's clock;
    /// where times are equal, the order on the command line counts.
    ///
    /// Link number N, counted from 0 in the order of the setup file, has the MAC
    /// address 02:58:44:45 and N in two bytes, unless its input has a frame to the
    /// host's tunnel address, which tells the address it had; and the MTU of the
    /// setup file.
    ///
    /// DIR gets port-PORT.pcapng and link-LINK.pcapng (frames delivered and sent),
    /// verdicts.jsonl (a line for each input frame) and counters.json.
    Replay(Replay),
}

/// Arguments of `xded run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Setup file (TOML) to start with.
    #[arg(long, value_name = "FILE")]
    pub(crate) setup: Option<PathBuf>,

    /// Socket on which `opteadm` reaches the driver.
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    pub(crate) socket: PathBuf,

    /// Packet threads; ports and links are spread over them.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..opte_core::limits::LANES_MAX as i64))]
    pub(crate) threads: u16,

    /// Open TAP descriptor for the port of this name, as `guest0=7`; repeatable.
    /// Other ports get a TAP device of their name.
    #[arg(long = "tap", value_name = "NAME=FD")]
    pub(crate) taps: Vec<TapArg>,

    /// What to log to standard error, as `info` or `xded=debug`.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub(crate) log: String,
}

/// Arguments of `xded replay`.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// Setup file (TOML).
    #[arg(long, value_name = "FILE")]
    pub(crate) setup: PathBuf,

    /// Folder for the results; made if it isn't there.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,

    /// Seed of the engine's hashes and random choices.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,

    /// Lets nobody answer neighbour discovery on the links. Without it, every
    /// neighbour that the engine looks for answers at once, with the MAC
    /// address 02:4E and the last four bytes of its IPv6 address.
    #[arg(long)]
    pub(crate) no_neighbours: bool,

    /// Capture files: tx:PORT=FILE or rx:LINK=FILE.
    #[arg(value_name = "INPUT", required = true)]
    pub(crate) inputs: Vec<InputArg>,
}

/// `NAME=FD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TapArg {
    pub(crate) name: Name,
    pub(crate) fd: i32,
}

impl FromStr for TapArg {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        const WHY: &str = "expected NAME=FD, as guest0=7";
        let (name, fd) = s.split_once('=').ok_or(WHY)?;
        Ok(Self {
            name: name.parse()?,
            fd: fd.parse().map_err(|_| WHY)?,
        })
    }
}

/// Which side of the engine an input's frames come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// From the guest of this port.
    Tx(Name),
    /// From the underlay link of this name.
    Rx(String),
}

/// `tx:PORT=FILE` or `rx:LINK=FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InputArg {
    pub(crate) side: Side,
    pub(crate) file: PathBuf,
    /// As it was given, for messages and results.
    pub(crate) text: String,
}

impl FromStr for InputArg {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        const WHY: &str = "expected tx:PORT=FILE or rx:LINK=FILE";
        let (what, file) = s.split_once('=').ok_or(WHY)?;
        let side = match what.split_once(':').ok_or(WHY)? {
            ("tx", port) => Side::Tx(port.parse()?),
            ("rx", link) if !link.is_empty() => Side::Rx(link.into()),
            _ => return Err(WHY),
        };
        if file.is_empty() {
            return Err(WHY);
        }
        Ok(Self {
            side,
            file: file.into(),
            text: s.into(),
        })
    }
}

#[cfg(test)]
#[path = "../../pkg/man/page.rs"]
mod page;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_manual_page_is_of_today() {
        let others = ["opteadm(8)", "opte-setup(5)", "opte-trace(8)"];
        page::hold("xded.8", &page::of(Cli::command(), &others));
        page::hold_at("docs/reference/xded.md", &page::markdown(Cli::command()));
    }

    #[test]
    fn inputs_name_a_side_and_a_file() {
        let input: InputArg = "tx:guest0=a=b.pcap".parse().unwrap();
        assert_eq!(input.side, Side::Tx("guest0".parse().unwrap()));
        assert_eq!(input.file, PathBuf::from("a=b.pcap"));
        let input: InputArg = "rx:eth0=x".parse().unwrap();
        assert_eq!(input.side, Side::Rx("eth0".into()));
        for bad in ["x", "tx:guest0", "rx:=f", "tx:G=f", "up:a=f", "rx:e="] {
            assert!(bad.parse::<InputArg>().is_err(), "{bad}");
        }
    }

    #[test]
    fn taps_name_a_port_and_a_descriptor() {
        let tap: TapArg = "guest0=7".parse().unwrap();
        assert_eq!((tap.name.as_str(), tap.fd), ("guest0", 7));
        for bad in ["guest0", "guest0=x", "G=1", "=1"] {
            assert!(bad.parse::<TapArg>().is_err(), "{bad}");
        }
    }
}

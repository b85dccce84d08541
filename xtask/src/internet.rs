//! `cargo xtask internet`: the world outside, for who tries OPTE on one machine.
//!
//! Purpose   drivers send what is for the internet to a boundary, which is
//!           somebody else's switch or router. This is one (`lab::boundary`),
//!           with a host behind it. The tutorial uses it.
//!
//! Flow      setup files -> external addresses and their guests -> fabric::outside
//!
//! Rules     I1  it changes the network namespace that it is started in, and
//!               nothing but that: the link gets the boundary's address.

use crate::lab::Namespace;
use crate::lab::fabric;
use crate::lab::rack::{INTERNET_V4, INTERNET_V6};
use anyhow::{Context, Result};
use opte_core::api::Setup;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

/// What the internet is told.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The underlay's link in this namespace
    #[arg(long)]
    link: String,
    /// Setup files of all hosts
    #[arg(required = true)]
    setups: Vec<PathBuf>,
}

/// Plays until it is killed.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let read = |path: &PathBuf| -> Result<Setup> {
        let name = || path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(name)?;
        toml::from_str(&text).with_context(name)
    };
    let setups: Vec<Setup> = args.setups.iter().map(read).collect::<Result<_>>()?;
    let here = Namespace::current()?;
    let addresses = [IpAddr::V4(INTERNET_V4), IpAddr::V6(INTERNET_V6)];
    let setups: Vec<&Setup> = setups.iter().collect();
    let _boundary = fabric::outside((&here, &args.link), (&here, &addresses), &setups)?;
    println!("internet: ready at {INTERNET_V4} and {INTERNET_V6}");
    loop {
        thread::park();
    }
}

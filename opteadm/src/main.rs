//! `opteadm`: administers OPTE.
//!
//! Purpose   turns a command line into one command of the contract and its
//!           answer into text for people or for programs. It holds no state and
//!           decides nothing: what is right is the driver's to say.
//!
//! Terms     session   the connection to the driver and where output goes
//!           listing   rows of an answer: a table, `--json`, or `-o FIELD,... -p`
//!
//! Flow      cli -> one file per command group -> session -> driver
//!                     `-> listing (columns) -> output
//!
//! Rules     A1  A command line is checked as far as it can be before the
//!               driver is asked for anything.
//!           A2  Listings are printed page by page, as they come.
//!           A3  What is printed for programs (JSON names, fields of `-o`,
//!               exit codes) is as stable as the contract.
//!
//! Failure   exit code 1: the driver refused, and why is on standard error with
//!           the error's code; 2: the command line or a file is wrong; 3: there
//!           is no driver, or talking to it failed; 4: what was asked for is
//!           done, and the output can't be written.

mod address_set;
mod cell;
mod cli;
mod completion;
#[cfg(any(target_os = "illumos", test))]
mod datalink;
mod external;
mod failure;
mod firewall;
mod flow;
mod host;
#[cfg(any(target_os = "illumos", test))]
mod kstat;
mod layer;
mod listing;
mod mapping;
mod multicast;
mod nat;
mod option;
mod port;
mod port_list;
mod router;
mod session;
mod setup;
mod text;
mod underlay;

use clap::Parser as _;
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Usage errors and --help are clap's: it prints and exits with 2 or 0.
    let cli = cli::Cli::parse();
    let mut session = session::Session::new(cli.connection);
    let result = cli.verb.run(&mut session).and_then(|()| session.finish());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(text) = failure.text() {
                // Nothing is left to do when standard error is gone, too.
                let _ = writeln!(std::io::stderr(), "opteadm: {text}");
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

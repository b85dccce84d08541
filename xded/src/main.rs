//! `xded`: the OPTE driver in user space on Linux.
//!
//! Purpose   the second shell around the engine. `xded run` moves packets
//!           between guests on TAP devices and underlay links on packet
//!           sockets and obeys `opteadm`; `xded replay` runs capture files
//!           through the same engine, without devices and privileges.
//!
//! Flow      run:    cli -> run -> privilege, control::Listener, Registry
//!                   worker threads (packets) | control threads (commands)
//!           replay: cli -> replay -> capture files -> engine -> result files
//!
//! Rules     X1  only `sys` has unsafe code.
//!           X2  packets wait for no command: the engine's control path and its
//!               data path share no lock that is held for long, and neither do
//!               the devices (`device`, rules D1 to D3).
//!           X3  what goes wrong before the driver is ready is one sentence on
//!               standard error and exit code 1; afterwards it is a log line.
//!
//! Failure   see `worker`, `control` and `replay`.

#![deny(unsafe_code)]

mod cli;
mod clock;
mod control;
mod device;
mod engine;
mod privilege;
mod replay;
mod run;
mod setup;
#[expect(unsafe_code, reason = "system calls that no crate wraps safely")]
mod sys;
#[cfg(test)]
mod testing;
mod worker;

use clap::Parser;
use huge_pages::HugePages;
use std::process::ExitCode;

/// Flows are spread over more memory than the processor knows small pages of.
#[global_allocator]
static HEAP: HugePages = HugePages::new();

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let done = match cli.command {
        cli::Command::Run(args) => run::run(args),
        cli::Command::Replay(args) => replay::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xded: {error:#}");
            ExitCode::FAILURE
        }
    }
}

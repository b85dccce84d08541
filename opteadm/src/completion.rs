//! `completions`.

use crate::cli::Cli;
use crate::failure::Failure;
use crate::session::Session;
use clap::{Args, CommandFactory as _};

/// `completions`.
#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

impl Completions {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        // Into memory first: the generator panics when its output fails.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "opteadm", &mut script);
        Ok(std::io::Write::write_all(&mut session.out, &script)?)
    }
}

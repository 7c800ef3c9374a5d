//! `obnam config`: makes, shows and checks the configuration file.

mod check;
mod init;
mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::output::Output;
use super::{Failure, Global};
use crate::local::LocalError;

/// Make, show and check the configuration file.
///
/// A profile in it names the repository, what opens it, and what is backed up, so that "obnam -p NAME backup" needs
/// nothing else.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write a first configuration file, with comments
    ///
    /// What is known is filled in: --repo, --identity, --backend, the repository's id if this machine has used it, and
    /// the home directory as source. An existing file is left alone.
    Init,
    /// Print what is in force, and where each value comes from
    Show,
    Check(check::Arguments),
}

impl Arguments {
    /// Whether a file without mistakes is needed.
    pub fn uses_profile(&self) -> bool {
        matches!(self.what, What::Show)
    }
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    match &arguments.what {
        What::Init => init::run(global, output),
        What::Show => show::run(global, output),
        What::Check(arguments) => check::run(global, arguments, output),
    }
}

fn file(global: &Global) -> Result<PathBuf, Failure> {
    Ok(global.config_file().ok_or(LocalError::NoHome)?)
}

//! `obnam repair`: what can be set right where something was lost.

mod index;
mod snapshots;

use clap::{Args, Subcommand};

use super::output::Output;
use super::{Failure, Global};

/// Set right what check has found.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Index(index::Arguments),
    Snapshots(snapshots::Arguments),
}

impl Arguments {
    /// The name of the command in JSON.
    pub fn name(&self) -> &'static str {
        match self.what {
            What::Index(_) => "repair index",
            What::Snapshots(_) => "repair snapshots",
        }
    }
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    match &arguments.what {
        What::Index(arguments) => index::run(global, arguments, output),
        What::Snapshots(arguments) => snapshots::run(global, arguments, output),
    }
}

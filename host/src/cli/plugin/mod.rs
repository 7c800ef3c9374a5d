//! `obnam plugin`: looks at storage plugins, and tries whether they keep the contract.

mod inspect;
mod list;
mod test;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::output::Output;
use super::{Failure, Global};
use crate::plugin::{BUNDLED, PluginSource};

/// Look at storage plugins, and try whether they keep the contract.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    List(list::Arguments),
    Inspect(inspect::Arguments),
    Test(test::Arguments),
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    match &arguments.what {
        What::List(arguments) => list::run(arguments, output),
        What::Inspect(arguments) => inspect::run(arguments, output),
        What::Test(arguments) => test::run(global, arguments, output),
    }
}

/// A file, or the name of a bundled plugin.
fn source(plugin: &str) -> PluginSource {
    match BUNDLED.iter().find(|name| **name == plugin) {
        Some(name) => PluginSource::Bundled((*name).to_owned()),
        None => PluginSource::File(PathBuf::from(plugin)),
    }
}

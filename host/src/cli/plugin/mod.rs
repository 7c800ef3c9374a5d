//! `obnam plugin`: looks at storage plugins, tries whether they keep the contract, says which files are trusted, makes new ones.

mod inspect;
mod list;
mod new;
mod test;
mod trust;
mod untrust;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::Output;
use super::{Failure, Global};
use crate::local::Dirs;
use crate::plugin::{BUNDLED, PluginSource, StoreSpec, Wish};

/// Look at storage plugins, try whether they keep the contract, say which files you trust, make new ones.
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
    Trust(trust::Arguments),
    Untrust(untrust::Arguments),
    New(new::Arguments),
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    match &arguments.what {
        What::List(arguments) => list::run(arguments, output),
        What::Inspect(arguments) => inspect::run(global, arguments, output),
        What::Test(arguments) => test::run(global, arguments, output),
        What::Trust(arguments) => trust::run(global, arguments, output),
        What::Untrust(arguments) => untrust::run(arguments, output),
        What::New(arguments) => new::run(arguments, output),
    }
}

/// A file, or the name of a bundled plugin.
fn source(plugin: &str) -> PluginSource {
    match BUNDLED.iter().find(|name| **name == plugin) {
        Some(name) => PluginSource::Bundled((*name).to_owned()),
        None => PluginSource::File(PathBuf::from(plugin)),
    }
}

/// A plugin with a location and the options of the command line.
fn spec(global: &Global, source: PluginSource, location: &str) -> Result<StoreSpec, Failure> {
    Ok(StoreSpec {
        source,
        location: location.to_owned(),
        options: global.plugin_options()?,
        kept: Default::default(),
        cache_dir: Some(Dirs::from_environment()?.plugin_cache()),
        limits: global.plugin_limits()?,
        http: global.http_settings()?,
        workers: 8,
        create_dir: true,
    })
}

/// Wishes for JSON documents.
fn wishes_json(wishes: &[Wish]) -> Vec<serde_json::Value> {
    wishes.iter().map(|wish| json!(wish)).collect()
}

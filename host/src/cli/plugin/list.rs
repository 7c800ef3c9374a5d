//! `obnam plugin list`: the bundled plugins.

use clap::Args;
use serde_json::json;

use crate::cli::output::Output;
use crate::cli::{Failure, exit};
use crate::local::Dirs;
use crate::plugin::{BUNDLED, Limits, PluginSource, inspect};

/// List the plugins that are part of this program.
#[derive(Debug, Args)]
pub struct Arguments {}

pub fn run(_: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let cache = Dirs::from_environment()?.plugin_cache();
    let mut plugins = Vec::new();
    for name in BUNDLED {
        plugins.push(inspect(&PluginSource::Bundled(name.into()), Some(&cache), &Limits::default())?);
    }
    if output.json {
        let one = |info: &crate::plugin::PluginInfo| json!({ "name": info.name, "version": info.version, "summary": info.summary, "schemes": info.schemes });
        let plugins: Vec<_> = plugins.iter().map(one).collect();
        output.document("ok", &[], json!(plugins))?;
        return Ok(exit::OK);
    }
    for info in &plugins {
        output.line(format!(
            "{:<15} {:<8} {:<12} {}",
            info.name,
            info.version,
            info.schemes.join(","),
            info.summary
        ))?;
    }
    output.flush()?;
    Ok(exit::OK)
}

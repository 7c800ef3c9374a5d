//! `obnam plugin untrust`: takes back that a plugin file may be used.

use std::path::Path;

use clap::Args;
use serde_json::json;

use crate::cli::output::Output;
use crate::cli::{Failure, exit};
use crate::local::Dirs;
use crate::plugin::trust::{Trust, parse_sha256};
use crate::plugin::{Component, PluginSource};

/// Trust a plugin file no more
///
/// A SHA-256, as obnam plugin list shows it, or a file: then the file as it is now, and those that were trusted at its place.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A SHA-256 or a file
    #[arg(value_name = "SHA256|FILE")]
    plugin: String,
}

pub fn run(arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let mut trust = Trust::load(&Dirs::from_environment()?)?;
    let digests = digests(&arguments.plugin, &trust);
    let removed = trust.remove(&digests)?;
    if removed.is_empty() {
        let message = format!("{} is not trusted; obnam plugin list shows what is", arguments.plugin);
        return Err(Failure::Input(message));
    }
    if output.json {
        let removed: Vec<_> = removed
            .iter()
            .map(|(sha256, plugin)| json!({ "name": plugin.name, "version": plugin.version, "sha256": sha256 }))
            .collect();
        output.document("ok", &[], json!(removed))?;
        return Ok(exit::OK);
    }
    for (sha256, plugin) in &removed {
        output.line(format!("{} {} (SHA-256 {sha256}) is trusted no more", plugin.name, plugin.version))?;
    }
    output.flush()?;
    Ok(exit::OK)
}

/// The SHA-256 that are meant.
fn digests(plugin: &str, trust: &Trust) -> Vec<String> {
    if let Ok(digest) = parse_sha256(plugin) {
        return vec![digest];
    }
    let path = Path::new(plugin);
    let mut digests = Vec::new();
    // The file need not be there any more.
    if let Ok(component) = Component::read(&PluginSource::File(path.to_owned())) {
        digests.push(component.sha256().to_owned());
    }
    digests.extend(trust.all_at(path).map(|(digest, _)| digest.clone()));
    digests
}

//! `obnam plugin list`: the bundled plugins, and the files that the user trusts.

use clap::Args;
use serde_json::{Value, json};

use super::wishes_json;
use crate::cli::output::Output;
use crate::cli::{Failure, exit};
use crate::local::Dirs;
use crate::plugin::trust::{Trust, TrustedPlugin};
use crate::plugin::{BUNDLED, Limits, PluginInfo, PluginSource, inspect};

/// List the plugins that are part of this program, and the files that you trust.
#[derive(Debug, Args)]
pub struct Arguments {}

pub fn run(_: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let dirs = Dirs::from_environment()?;
    let cache = dirs.plugin_cache();
    let mut bundled = Vec::new();
    for name in BUNDLED {
        bundled.push(inspect(&PluginSource::Bundled(name.into()), Some(&cache), &Limits::default())?);
    }
    let trust = Trust::load(&dirs)?;
    if output.json {
        let trusted = trust.plugins().map(|(sha256, plugin)| trusted_json(sha256, plugin));
        let plugins: Vec<Value> = bundled.iter().map(bundled_json).chain(trusted).collect();
        output.document("ok", &[], json!(plugins))?;
        return Ok(exit::OK);
    }
    let line = |name: &str, version: &str, schemes: &[String], summary: &str| {
        format!("{name:<15} {version:<8} {:<12} {summary}", schemes.join(","))
    };
    for info in &bundled {
        output.line(line(&info.name, &info.version, &info.schemes, &info.summary))?;
    }
    for (sha256, plugin) in trust.plugins() {
        let TrustedPlugin { name, version, summary, schemes, file, since, wishes } = plugin;
        output.line(line(name, version, schemes, summary))?;
        output.line(format!("  trusted since {since}, from {file}"))?;
        output.line(format!("  SHA-256 {sha256}"))?;
        for wish in wishes {
            output.line(format!("  may use {wish}"))?;
        }
    }
    output.flush()?;
    Ok(exit::OK)
}

fn bundled_json(info: &PluginInfo) -> Value {
    json!({
        "name": info.name,
        "version": info.version,
        "summary": info.summary,
        "schemes": info.schemes,
        "sha256": info.wasm_sha256,
        "bundled": true,
        "file": null,
        "since": null,
        "wishes": [],
    })
}

fn trusted_json(sha256: &str, plugin: &TrustedPlugin) -> Value {
    json!({
        "name": plugin.name,
        "version": plugin.version,
        "summary": plugin.summary,
        "schemes": plugin.schemes,
        "sha256": sha256,
        "bundled": false,
        "file": plugin.file,
        "since": plugin.since,
        "wishes": wishes_json(&plugin.wishes),
    })
}

//! `obnam plugin inspect`: what a plugin says of itself, and what it would need.

use clap::Args;
use serde_json::json;

use super::source;
use crate::cli::output::Output;
use crate::cli::{Failure, exit};
use crate::local::Dirs;
use crate::plugin::{Limits, OptionInfo, inspect};

/// Print what a plugin is: name, version, digest, schemes, options, imports
///
/// The plugin is asked in its sandbox, without any grant. An import is not a wish: whatever is not granted answers with an
/// error.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A component (FILE.wasm), or the name of a bundled plugin
    #[arg(value_name = "PLUGIN")]
    plugin: String,
}

pub fn run(arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let cache = Dirs::from_environment()?.plugin_cache();
    let info = inspect(&source(&arguments.plugin), Some(&cache), &Limits::default())?;
    let bodies = if info.put_streams { "stream" } else { "bytes" };
    if output.json {
        let option = |option: &OptionInfo| {
            json!({
                "name": option.name,
                "help": option.help,
                "required": option.required,
                "secret": option.secret,
                "environment": option.environment,
            })
        };
        let result = json!({
            "name": info.name,
            "version": info.version,
            "summary": info.summary,
            "sha256": info.wasm_sha256,
            "schemes": info.schemes,
            "bodies": bodies,
            "options": info.options.iter().map(option).collect::<Vec<_>>(),
            "imports": info.imports,
        });
        output.document("ok", &[], result)?;
        return Ok(exit::OK);
    }
    output.line(format!("{} {}", info.name, info.version))?;
    output.line(format!("  {}", info.summary))?;
    output.line(format!("  SHA-256   {}", info.wasm_sha256))?;
    output.line(format!("  schemes   {}", info.schemes.join(", ")))?;
    output.line(format!("  contents  as {bodies}"))?;
    for option in &info.options {
        let mut notes = Vec::new();
        notes.extend(option.required.then(|| "required".to_owned()));
        notes.extend(option.secret.then(|| "secret".to_owned()));
        notes.extend(option.environment.as_ref().map(|name| format!("or {name}")));
        let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) };
        output.line(format!("  -o {}{notes}: {}", option.name, option.help))?;
    }
    for import in &info.imports {
        output.line(format!("  imports   {import}"))?;
    }
    output.flush()?;
    Ok(exit::OK)
}

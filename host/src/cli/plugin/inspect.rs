//! `obnam plugin inspect`: what a plugin says of itself, and what it would need.

use clap::Args;
use serde_json::json;

use super::{source, spec};
use crate::cli::output::Output;
use crate::cli::{Failure, Global, exit};
use crate::local::Dirs;
use crate::plugin::{Candidate, Component, OptionInfo, PluginInfo, Wish, inspect};

/// Print what a plugin is: name, version, digest, schemes, options, imports
///
/// The plugin is asked in its sandbox, without any grant, so it need not be trusted. An import is not a wish: whatever is not
/// granted answers with an error. With --location (and -o as there), what the plugin wishes to use there is printed too.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A component (FILE.wasm), or the name of a bundled plugin
    #[arg(value_name = "PLUGIN")]
    plugin: String,
    /// A place that it could be used for
    #[arg(long, value_name = "LOCATION")]
    location: Option<String>,
}

/// What a plugin wishes to use, and whether the location names that.
type Wishes = Option<Vec<(Wish, bool)>>;

fn look(global: &Global, arguments: &Arguments) -> Result<(PluginInfo, Wishes), Failure> {
    let source = source(&arguments.plugin);
    let Some(location) = &arguments.location else {
        let cache = Dirs::from_environment()?.plugin_cache();
        return Ok((inspect(&source, Some(&cache), &global.plugin_limits()?)?, None));
    };
    let component = Component::read(&source)?;
    let spec = spec(global, source, location)?;
    let candidate = Candidate::new(&component, &spec)?;
    let named = candidate.named().iter().map(|wish| (wish.clone(), true));
    let wishes = named.chain(candidate.beyond(&[]).into_iter().map(|wish| (wish, false)));
    Ok((candidate.info().clone(), Some(wishes.collect())))
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let (info, wishes) = look(global, arguments)?;
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
            "wishes": wishes.map(|wishes| wishes.iter().map(wish_json).collect::<Vec<_>>()),
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
    for (wish, named) in wishes.into_iter().flatten() {
        let named = if named { "named by the location" } else { "not named by the location: has to be approved" };
        output.line(format!("  wishes    {wish} ({named})"))?;
    }
    output.flush()?;
    Ok(exit::OK)
}

fn wish_json((wish, named): &(Wish, bool)) -> serde_json::Value {
    let mut object = json!(wish);
    object["named"] = json!(named);
    object
}

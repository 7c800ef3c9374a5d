//! `obnam plugin trust`: says once that a plugin file may be used.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{spec, wishes_json};
use crate::cli::approval::{ask, can_ask};
use crate::cli::output::Output;
use crate::cli::{Failure, Global, exit};
use crate::local::Dirs;
use crate::plugin::trust::{Trust, TrustedPlugin};
use crate::plugin::{Candidate, Component, PluginSource, Wish};

/// Trust a plugin file from now on
///
/// The file's SHA-256 is kept: another file in its place is not trusted. It may use what a location names, wherever it is used
/// with --backend. With --location (and -o as there), what it wishes for besides is shown, and kept if you agree; without a
/// terminal, --trust SHA256 says that you do.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A component (FILE.wasm)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A place that it is to be used for
    #[arg(long, value_name = "LOCATION")]
    location: Option<String>,
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let file = &arguments.file;
    let dirs = Dirs::from_environment()?;
    let mut trust = Trust::load(&dirs)?;
    let source = PluginSource::File(file.clone());
    let component = Component::read(&source)?;
    let digest = component.sha256().to_owned();
    let given = global.trusted_digests()?;
    if !given.is_empty() && !given.contains(&digest) {
        let message = format!("{} has the SHA-256 {digest}, which is not what --trust says", file.display());
        return Err(Failure::Input(message));
    }
    let (info, wishes) = match &arguments.location {
        None => (component.inspect(Some(&dirs.plugin_cache()), &global.plugin_limits()?)?, Vec::new()),
        Some(location) => {
            let spec = spec(global, source, location)?;
            let candidate = Candidate::new(&component, &spec)?;
            let wishes = candidate.beyond(trust.approved(&digest));
            approve(global, &candidate, &wishes, !given.is_empty())?;
            (candidate.info().clone(), wishes)
        }
    };
    trust.add(&digest, TrustedPlugin::new(&info, file, wishes))?;
    let wishes = trust.approved(&digest);
    if output.json {
        let result = json!({
            "name": info.name,
            "version": info.version,
            "sha256": digest,
            "wishes": wishes_json(wishes),
        });
        output.document("ok", &[], result)?;
        return Ok(exit::OK);
    }
    output.line(format!("{} {} is trusted from now on", info.name, info.version))?;
    output.line(format!("  SHA-256   {digest}"))?;
    output.line("  may use   what the location names")?;
    for wish in wishes {
        output.line(format!("  may use   {wish}"))?;
    }
    output.summary(format!("To undo it: obnam plugin untrust {digest}"))?;
    output.flush()?;
    Ok(exit::OK)
}

/// Fails unless the user agrees to what the plugin wishes for beyond the location.
fn approve(global: &Global, candidate: &Candidate<'_>, wishes: &[Wish], is_named: bool) -> Result<(), Failure> {
    if wishes.is_empty() || is_named {
        return Ok(());
    }
    let shown: Vec<String> = wishes.iter().map(|wish| format!("  {wish}\n")).collect();
    let info = candidate.info();
    let name = format!("{} {}", info.name, info.version);
    if can_ask(global.json) {
        let question =
            format!("{name} wishes to use what the location does not name:\n{}May it? [y/N] ", shown.concat());
        return match ask(&question)? {
            true => Ok(()),
            false => Err(Failure::Input("nothing is trusted".into())),
        };
    }
    Err(Failure::Input(format!(
        "{name} wishes to use what the location does not name:\n{}To agree without a terminal, give --trust {}",
        shown.concat(),
        info.wasm_sha256
    )))
}

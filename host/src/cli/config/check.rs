//! `obnam config check`: all mistakes at once.

use std::path::Path;

use clap::Args;
use serde_json::json;

use super::file;
use crate::cli::network::parse_rate;
use crate::cli::output::{Output, count, printable};
use crate::cli::select::parse_size;
use crate::cli::{Failure, Global, exit};
use crate::config::{self, Config, Mistake, check};

/// Find mistakes in the configuration file, and what it names but is not there.
///
/// All profiles are looked at, or with -p this one. No storage is asked, and no command is run without --run. The exit
/// code is 17 if there are mistakes, and 0 if there are only warnings.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Run the passphrase commands too
    #[arg(long)]
    run: bool,
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let path = file(global)?;
    let text = config::read_text(&path)?.ok_or_else(|| {
        Failure::Input(format!("there is no configuration file {}; obnam config init makes one", path.display()))
    })?;
    let (config, mut mistakes) = Config::parse(&path, &text, std::env::home_dir().as_deref());
    let profiles: Vec<_> = match &global.profile {
        Some(name) if mistakes.is_empty() => vec![config.profile(name)?],
        _ => config.profiles.values().collect(),
    };
    mistakes.extend(check::profiles(&config, profiles.iter().copied(), arguments.run));
    for limit in profiles.iter().filter_map(|profile| profile.exclude_larger_than.as_ref()) {
        if let Err(error) = parse_size(&limit.value) {
            mistakes.push(Mistake { place: Some(limit.place), message: error.to_string(), warning: false });
        }
    }
    for rate in profiles.iter().flat_map(|profile| [&profile.limit_upload, &profile.limit_download]).flatten() {
        if let Err(error) = parse_rate(&rate.value) {
            mistakes.push(Mistake { place: Some(rate.place), message: error.to_string(), warning: false });
        }
    }
    mistakes.sort_by_key(|mistake| mistake.place);
    mistakes.dedup();
    let wrong = mistakes.iter().filter(|mistake| !mistake.warning).count();
    if output.json {
        let result = json!({
            "file": path.to_string_lossy(),
            "profiles": config.profiles.keys().collect::<Vec<_>>(),
            "mistakes": mistakes.iter().map(to_json).collect::<Vec<_>>(),
        });
        output.document(if wrong > 0 { "mistakes" } else { "ok" }, &[], result)?;
    } else {
        for mistake in &mistakes {
            print(&path, &text, mistake, output)?;
        }
        let profiles = count(profiles.len() as u64, "profile", "profiles");
        let warnings = count((mistakes.len() - wrong) as u64, "warning", "warnings");
        let mistakes = if wrong == 0 { "no mistakes".into() } else { count(wrong as u64, "mistake", "mistakes") };
        output.summary(format!("{}: {profiles}, {mistakes}, {warnings}", path.display()))?;
        output.flush()?;
    }
    Ok(if wrong > 0 { exit::BAD_INPUT } else { exit::OK })
}

fn to_json(mistake: &Mistake) -> serde_json::Value {
    json!({
        "line": mistake.place.map(|place| place.line),
        "column": mistake.place.map(|place| place.column),
        "severity": if mistake.warning { "warning" } else { "error" },
        "message": mistake.message,
    })
}

/// The message, the line, and a mark below what it is about.
fn print(path: &Path, text: &str, mistake: &Mistake, output: &mut Output) -> Result<(), Failure> {
    let severity = if mistake.warning { "warning" } else { "error" };
    let Some(place) = mistake.place else {
        return output.line(format!("{}: {severity}: {}", path.display(), mistake.message));
    };
    output.line(format!("{}:{}:{}: {severity}: {}", path.display(), place.line, place.column, mistake.message))?;
    let line = text.lines().nth(place.line - 1).unwrap_or_default();
    let number = place.line.to_string();
    // A tab takes one place in the mark's line too, so that the two stay below each other.
    let before: String = line.chars().take(place.column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    let line: Vec<String> = line.split('\t').map(|part| printable(part.as_bytes())).collect();
    output.line(format!("  {number} | {}", line.join("\t")))?;
    output.line(format!("  {:>width$} | {before}{}", "", "^".repeat(place.width), width = number.len()))
}

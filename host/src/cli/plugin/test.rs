//! `obnam plugin test`: the conformance suite.

use clap::Args;
use serde_json::json;

use super::{source, spec};
use crate::cli::output::{Colour, Output};
use crate::cli::{Failure, Global, exit};
use crate::plugin::conformance::{self, Outcome, Verdict};

/// Try whether a plugin keeps the contract (docs/plugin-contract.md), promise by promise
///
/// Needs a place that was never prepared, and fills it: an empty directory, a prefix of a bucket that nobody uses. What was
/// stored is removed afterwards as far as possible; the place itself can be thrown away. Exit status 4 says that a promise is
/// not kept. The plugin need not be trusted: it gets what the location names, and nothing else.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A component (FILE.wasm), or the name of a bundled plugin
    #[arg(value_name = "PLUGIN")]
    plugin: String,
    /// The place to try it at
    #[arg(long, value_name = "LOCATION")]
    location: String,
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let spec = spec(global, source(&arguments.plugin), &arguments.location)?;
    let mut failed = None;
    let (info, outcomes) = {
        let mut told = |outcome: &Outcome| {
            if !output.json {
                failed = failed.take().or(show(output, outcome).err());
            }
        };
        conformance::run(&spec, conformance::MANY, &mut told)?
    };
    if let Some(failure) = failed {
        return Err(failure);
    }
    let kept = outcomes.iter().filter(|outcome| outcome.verdict == Verdict::Kept).count();
    let all_kept = kept == outcomes.len();
    if output.json {
        let result = json!({
            "plugin": info.name,
            "version": info.version,
            "sha256": info.wasm_sha256,
            "kept": kept,
            "outcomes": outcomes.iter().map(object).collect::<Vec<_>>(),
        });
        output.document(if all_kept { "ok" } else { "broken" }, &[], result)?;
    } else {
        output.summary(format!("{} {}: {kept} of {} promises are kept", info.name, info.version, outcomes.len()))?;
        output.flush()?;
    }
    Ok(if all_kept { exit::OK } else { exit::DAMAGE })
}

fn show(output: &mut Output, outcome: &Outcome) -> Result<(), Failure> {
    let Outcome { clause, promise, verdict } = outcome;
    let (word, colour, why) = match verdict {
        Verdict::Kept => ("kept", Colour::Green, None),
        Verdict::Broken(why) => ("BROKEN", Colour::Red, Some(why)),
        Verdict::Untried(why) => ("untried", Colour::Yellow, Some(why)),
    };
    let word = output.paint(colour, &format!("{word:<8}"));
    output.line(format!("{word}{clause:<20} {promise}"))?;
    if let Some(why) = why {
        output.line(format!("        {why}"))?;
    }
    output.flush()
}

fn object(outcome: &Outcome) -> serde_json::Value {
    let (verdict, why) = match &outcome.verdict {
        Verdict::Kept => ("kept", None),
        Verdict::Broken(why) => ("broken", Some(why)),
        Verdict::Untried(why) => ("untried", Some(why)),
    };
    json!({ "clause": outcome.clause, "promise": outcome.promise, "verdict": verdict, "why": why })
}

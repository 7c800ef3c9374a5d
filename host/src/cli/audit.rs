//! `obnam audit`: whether everybody's history is whole, and as this machine has seen it.

use clap::Args;
use serde_json::json;

use super::forget::doubtful;
use super::output::{Output, count, printable};
use super::{Failure, Global, exit};
use crate::audit::{Chain, chains};
use crate::format::WriterTag;
use crate::repository::Repository;

/// Verify signatures and the history of all clients, against what this machine has seen before.
///
/// Every snapshot names the one before it. What is neither there nor forgotten by a maintainer was removed or is hidden; two snapshots with
/// one number, or another newest one than was seen before, mean that somebody else has a client's keys, or that the store shows an old
/// state. Exit code 4 says that there is something of the kind. Whether files are whole is for obnam check.
#[derive(Debug, Args)]
pub struct Arguments {}

pub fn run(global: &Global, _: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let repository = global.repository()?;
    let listing = repository.listing()?;
    let snapshots = repository.snapshots(&listing)?;
    let chains = chains(&snapshots, &repository.buried(&listing)?.forgotten);
    let doubts = doubtful(&repository, &snapshots);
    let mut errors: Vec<String> = Vec::new();
    for (client, chain) in &chains {
        let name = name_of(&repository, client);
        for id in &chain.missing {
            errors.push(format!(
                "client {name}: snapshot {id} is neither there nor forgotten: it was removed, damaged, or is hidden"
            ));
        }
        for (first, last) in &chain.gaps {
            let which =
                if first == last { format!("number {first} is") } else { format!("numbers {first} to {last} are") };
            errors.push(format!(
                "client {name}: snapshot {which} neither there nor forgotten, and not even named by the next one: \
                 the store has lost or hidden it, or showed an older state when the next one was made"
            ));
        }
        for id in &chain.aside {
            errors.push(format!(
                "client {name}: snapshot {id} is not in the history of the newest one: history is forked"
            ));
        }
    }
    let warnings = repository.warnings.all();
    let is_history = |code: &str| code.starts_with("history") || code.starts_with("roster-conflict");
    errors.extend(warnings.iter().filter(|warning| is_history(warning.code)).map(|warning| warning.message.clone()));
    output.warnings(&warnings);
    let status = if errors.is_empty() { "ok" } else { "damaged" };
    if output.json {
        let client = |(tag, chain): (&WriterTag, &Chain)| {
            json!({
                "client": { "tag": tag.to_string(), "name": repository.roster.member(tag).map(|member| &member.name) },
                "removed": repository.roster.member(tag).is_none_or(|member| member.removed.is_some()),
                "newest": chain.newest,
                "snapshots": chain.there,
                "forgotten": chain.forgotten,
                "missing": chain.missing.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "gaps": chain.gaps.iter().map(|(first, last)| json!([first, last])).collect::<Vec<_>>(),
                "aside": chain.aside.iter().map(ToString::to_string).collect::<Vec<_>>(),
            })
        };
        let result = json!({
            "repository": repository.id.to_string(),
            "epoch": repository.roster.epoch,
            "clients": chains.iter().map(client).collect::<Vec<_>>(),
            "doubtful": doubts.iter().map(|(id, doubt)| json!({ "snapshot": id.to_string(), "why": doubt.to_string() })).collect::<Vec<_>>(),
            "errors": errors,
        });
        output.document(status, &warnings, result)?;
    } else {
        output.line(format!("repository {}, roster epoch {}", repository.id, repository.roster.epoch))?;
        for (tag, chain) in &chains {
            output.line(format!(
                "client {}: newest snapshot number {}; {} there, {} forgotten, {} missing",
                name_of(&repository, tag),
                chain.newest,
                chain.there,
                chain.forgotten,
                chain.missing.len()
            ))?;
        }
        for (id, doubt) in &doubts {
            output.line(format!("doubtful: the time of snapshot {} cannot be right: {doubt}", id.short()))?;
        }
        for error in &errors {
            output.line(format!("error: {error}"))?;
        }
        let all = count(errors.len() as u64, "error was", "errors were");
        output.summary(if errors.is_empty() { "no errors were found".into() } else { format!("{all} found") })?;
        output.flush()?;
    }
    Ok(if errors.is_empty() { exit::OK } else { exit::DAMAGE })
}

fn name_of(repository: &Repository, tag: &WriterTag) -> String {
    match repository.roster.member(tag) {
        Some(member) => format!("{} ({tag})", printable(member.name.as_bytes())),
        None => format!("{tag} (not in the roster)"),
    }
}

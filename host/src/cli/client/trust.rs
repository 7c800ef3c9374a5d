//! `obnam client trust`.

use clap::Args;
use serde_json::json;

use super::super::output::Output;
use super::super::{Failure, Global, exit};
use super::name;
use crate::repository::RepositoryError;

/// Say against what other clients' files a client deduplicates: what they say is stored, it does not store again.
///
/// Without a word on it, it trusts all clients that can read, and no write-only one. If the machine of a client whom it trusts
/// falls into other hands, its next backups may lack what that one falsely said to be there.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The client: its name, or the beginning of its tag
    #[arg(value_name = "NAME")]
    name: String,
    /// It trusts these clients, and no others
    #[arg(value_name = "OTHER", required_unless_present_any = ["nobody", "default"], conflicts_with_all = ["nobody", "default"])]
    others: Vec<String>,
    /// It trusts nobody but itself
    #[arg(long, conflicts_with = "default")]
    nobody: bool,
    /// It trusts all clients that can read
    #[arg(long)]
    default: bool,
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let repository = global.repository()?;
    let member = repository.find_client(&arguments.name)?;
    let others = arguments.others.iter().map(|other| repository.find_client(other));
    let others = others.collect::<Result<Vec<_>, RepositoryError>>()?;
    let tags: Vec<_> = others.iter().map(|other| other.tag).collect();
    let roster = repository.set_trust(&member.tag, (!arguments.default).then(|| tags.clone()))?;
    let warnings = repository.warnings.all();
    output.warnings(&warnings);
    if output.json {
        let trusts = (!arguments.default).then(|| tags.iter().map(ToString::to_string).collect::<Vec<_>>());
        let result = json!({
            "client": { "tag": member.tag.to_string(), "name": member.name },
            "trusts": trusts,
            "epoch": roster.epoch,
        });
        output.document("ok", &warnings, result)?;
        return Ok(exit::OK);
    }
    let names: Vec<String> = others.iter().map(|other| name(other)).collect();
    let whom = match (arguments.default, names.as_slice()) {
        (true, _) => "all clients that can read".into(),
        (_, []) => "nobody but itself".into(),
        (_, names) => names.join(", "),
    };
    output.summary(format!("client {} trusts {whom}", name(member)))?;
    output.flush()?;
    Ok(exit::OK)
}

//! `obnam credential sheet`.

use clap::Args;
use serde_json::json;

use super::super::output::Output;
use super::super::sheet::{Sheet, foreign_plugin};
use super::super::{Failure, Global, exit};

/// Print the recovery sheet of the credential that opens the repository.
///
/// The sheet says where the repository is, which one it is, and what opens it. The passphrase is not on it: write it down by hand.
#[derive(Debug, Args)]
pub struct Arguments {}

pub fn run(global: &Global, output: &mut Output) -> Result<u8, Failure> {
    let (repository, secret) = global.repository_and_secret()?;
    let member = repository.member();
    let others = repository.roster.members.iter().any(|other| other.removed.is_none() && other.tag != member.tag);
    let is_one_of_many = others || repository.credentials(&secret)?.len() > 1;
    let warnings = repository.warnings.all();
    output.warnings(&warnings);
    let (kind, reads) = (secret.kind().as_str(), repository.can_read());
    if output.json {
        let result = json!({
            "location": repository.location,
            "repository": repository.id.to_string(),
            "client": member.name,
            "credential": repository.credential.to_string(),
            "kind": kind,
            "reads": reads,
            "holds_root_key": repository.holds_root_key(),
        });
        output.document("ok", &warnings, result)?;
        return Ok(exit::OK);
    }
    let sheet = Sheet {
        client: is_one_of_many.then_some(member.name.as_str()),
        location: &repository.location,
        plugin: foreign_plugin(global)?,
        repository: repository.id,
        credentials: vec![(kind, repository.credential)],
        passphrase: None,
        reads,
    };
    sheet.print(output)?;
    output.flush()?;
    Ok(exit::OK)
}

//! `obnam client add`.

use clap::Args;
use serde_json::json;

use super::super::credential::new::{New, NewArguments};
use super::super::output::{Output, printable};
use super::super::sheet::{Sheet, foreign_plugin};
use super::super::{Failure, Global, exit};
use crate::format::roster::Role;
use crate::repository::Repository;
use crate::repository::clients::{Access, NewClient};

/// Add a client: make its keys, its first credential, and the roster that admits it.
///
/// It backs up and restores, unless something else is said. What opens its credential is chosen as for "obnam credential add"; with
/// --recipient nobody but the holder of that identity can open it. Printed is what the new machine needs, and a recovery
/// sheet for it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  obnam client add desktop                                  a second machine, with a passphrase of its own
  obnam client add webserver --write-only --generate-passphrase
  obnam client add laptop --recipient age1...               the key of an identity that was made on the laptop
  obnam client add nas --maintainer --preset prune          with a token of an obnam-server")]
pub struct Arguments {
    /// The client's name
    #[arg(value_name = "NAME")]
    name: String,
    /// It backs up, and gets no key that could read any data, not even what it has backed up itself
    #[arg(long)]
    write_only: bool,
    /// It may also forget snapshots, and prune
    #[arg(long, conflicts_with = "write_only")]
    maintainer: bool,
    #[command(flatten)]
    new: NewArguments,
}

impl Arguments {
    fn roles(&self) -> &'static [Role] {
        match (self.write_only, self.maintainer) {
            (true, _) => &[Role::Writer],
            (_, true) => &[Role::Writer, Role::Reader, Role::Maintainer],
            _ => &[Role::Writer, Role::Reader],
        }
    }
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let (repository, _) = global.repository_and_secret()?;
    repository.check_new_client(&arguments.name)?;
    let (new, made) = arguments.new.make(&repository, &arguments.name, |new| {
        let access = Access { recipient: &new.recipient, api_token: new.held() };
        Ok(repository.add_client(&arguments.name, arguments.roles(), access)?)
    })?;
    tell(global, &repository, &arguments.new, &new, &made, output)
}

/// Tells of a client that was made or has new keys.
pub fn tell(
    global: &Global,
    repository: &Repository,
    arguments: &NewArguments,
    new: &New,
    made: &NewClient,
    output: &mut Output,
) -> Result<u8, Failure> {
    let warnings = repository.warnings.all();
    output.warnings(&warnings);
    let member = made.roster.member(&made.tag);
    let role = member.map_or("none", super::role);
    if output.json {
        let mut result = new.document(&made.credential.to_string());
        result["client"] = json!({ "tag": made.tag.to_string(), "name": made.name, "role": role });
        result["repository"] = json!(repository.id.to_string());
        result["location"] = json!(repository.location);
        result["epoch"] = json!(made.roster.epoch);
        output.document("ok", &warnings, result)?;
        return Ok(exit::OK);
    }
    output.line(format!("client {} ({role}), tag {}", printable(made.name.as_bytes()), made.tag))?;
    for line in arguments.lines(new).0 {
        output.line(line)?;
    }
    output.line("")?;
    let sheet = Sheet {
        client: Some(&made.name),
        location: &repository.location,
        plugin: foreign_plugin(global)?,
        repository: repository.id,
        credentials: vec![(new.recipient.kind().as_str(), made.credential)],
        passphrase: new.generated.as_ref().map(|text| text.as_str()),
        reads: member.is_some_and(|member| member.has(Role::Reader)),
    };
    sheet.print(output)?;
    output.flush()?;
    Ok(exit::OK)
}

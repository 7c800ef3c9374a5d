//! `obnam credential add`.

use clap::Args;

use super::super::output::{Output, printable};
use super::super::{Failure, Global, exit};
use super::new::NewArguments;

/// Add a credential for the client that is open: another passphrase or identity, perhaps with a token of its own.
///
/// The new passphrase comes from OBNAM_NEW_PASSPHRASE, OBNAM_NEW_PASSPHRASE_FILE, OBNAM_NEW_PASSPHRASE_COMMAND or the terminal,
/// unless an identity is to open it. It opens what the present one does: the keys of the same client. What one may do at an
/// obnam-server depends on the token; with --preset the server is asked for one, which may do no more than the token in
/// use.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  obnam credential add                                 a second passphrase
  obnam credential add --preset backup --expires 365d  one that may back up, for a laptop
  obnam credential add --recipient age1... --token FILE")]
pub struct Arguments {
    #[command(flatten)]
    new: NewArguments,
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let (repository, _) = global.repository_and_secret()?;
    let client = &repository.client.name;
    let (new, id) =
        arguments.new.make(&repository, client, |new| Ok(repository.add_credential(&new.recipient, new.held())?))?;
    let warnings = repository.warnings.all();
    output.warnings(&warnings);
    if output.json {
        let mut result = new.document(&id.to_string());
        result["client"] = client.as_str().into();
        output.document("ok", &warnings, result)?;
        return Ok(exit::OK);
    }
    output.line(format!("credential {id} added"))?;
    output.line(format!("  client      {}", printable(client.as_bytes())))?;
    let (lines, option) = arguments.new.lines(&new);
    for line in lines {
        output.line(line)?;
    }
    output.line(format!("Open with it: obnam --repo {}{option} --credential {id} ...", repository.location))?;
    output.line("In a profile: credential = \"ID\". Write it on the recovery sheet too.")?;
    output.flush()?;
    Ok(exit::OK)
}

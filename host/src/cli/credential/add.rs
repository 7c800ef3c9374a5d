//! `obnam credential add`.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::json;
use zeroize::Zeroizing;

use super::super::output::{Output, printable};
use super::super::{Failure, Global, exit};
use super::remove::time;
use crate::chunk::ChunkId;
use crate::credential::passphrase::PassphraseError;
use crate::credential::{Recipient, identity, passphrase};
use crate::repository::Repository;
use crate::store::{MadeToken, TokenWish, Tokens};

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
    /// Make a random passphrase and print it
    #[arg(long)]
    generate_passphrase: bool,
    /// For the age X25519 identity in this file; if there is no such file, it is made
    #[arg(long, value_name = "FILE", conflicts_with = "generate_passphrase")]
    new_identity: Option<PathBuf>,
    /// For the identity with this public key
    #[arg(long, value_name = "age1...", conflicts_with_all = ["generate_passphrase", "new_identity"])]
    recipient: Option<String>,
    /// Put the token in the first line of this file into it
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    token: Option<PathBuf>,
    /// Ask the server for a token that may do this, and put that into it
    #[arg(long, value_name = "PRESET", value_parser = ["backup", "restore", "prune", "all"])]
    preset: Option<String>,
    /// How long that token lives, such as 365d or 12h; without it as long as the one in use
    #[arg(long, value_name = "TIME", requires = "preset", value_parser = span)]
    expires: Option<Duration>,
}

const NO_SOURCE: &str = "nothing says what the new credential is for: run obnam on a terminal to be asked for a passphrase, or set \
    OBNAM_NEW_PASSPHRASE, OBNAM_NEW_PASSPHRASE_FILE or OBNAM_NEW_PASSPHRASE_COMMAND, or give --generate-passphrase, \
    --new-identity or --recipient";

/// Whom it is for, and what has to be shown or taken back.
struct New {
    recipient: Recipient,
    generated: Option<Zeroizing<String>>,
    /// An identity file that was made just now.
    made_file: Option<PathBuf>,
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let (repository, _) = global.repository_and_secret()?;
    let new = arguments.new_secret()?;
    let added = arguments.token(&repository).and_then(|token| {
        let held = token.as_ref().map(|token| token.token.clone());
        match repository.add_credential(&new.recipient, held) {
            Ok(id) => Ok((id, token)),
            Err(error) => {
                if let (Some(token), Some(tokens), true) =
                    (&token, repository.store.tokens(), arguments.preset.is_some())
                {
                    // Nobody has it.
                    let _ = tokens.give_up(&token.token);
                }
                Err(error.into())
            }
        }
    });
    let (id, token) = added.inspect_err(|_| {
        if let Some(path) = &new.made_file {
            // It opens nothing.
            let _ = std::fs::remove_file(path);
        }
    })?;
    let warnings = repository.warnings.all();
    output.warnings(&warnings);
    if output.json {
        let token = token.as_ref().map(|token| json!({ "id": token.id, "expires": token.expires.map(time) }));
        let result = json!({
            "credential": id.to_string(),
            "kind": new.recipient.kind().as_str(),
            "client": repository.client.name,
            "token": token,
            "passphrase": new.generated.as_ref().map(|text| text.as_str()),
            "identity": new.made_file.as_ref().map(|path| path.to_string_lossy()),
        });
        output.document("ok", &warnings, result)?;
        return Ok(exit::OK);
    }
    for line in arguments.lines(&repository, &id, &new, token.as_ref()) {
        output.line(line)?;
    }
    output.flush()?;
    Ok(exit::OK)
}

impl Arguments {
    fn new_secret(&self) -> Result<New, Failure> {
        let new = |recipient| New { recipient, generated: None, made_file: None };
        if let Some(text) = &self.recipient {
            let recipient = age::x25519::Recipient::from_str(text.trim()).map_err(|why| {
                Failure::Input(format!("--recipient: {text:?} is no public key of age (age1...): {why}"))
            })?;
            return Ok(new(Recipient::Identity(recipient)));
        }
        if let Some(path) = &self.new_identity {
            let is_new = !path.exists();
            let identity = if is_new { identity::create(path)? } else { identity::load(path)? };
            let made_file = is_new.then(|| path.clone());
            return Ok(New { made_file, ..new(Recipient::Identity(identity.to_public())) });
        }
        let chosen = match self.generate_passphrase {
            true => None,
            false => match passphrase::new_from_environment()? {
                Some(passphrase) => Some(passphrase),
                None => passphrase::prompt_new().map_err(|error| match error {
                    PassphraseError::NoSource => Failure::Input(NO_SOURCE.into()),
                    error => error.into(),
                })?,
            },
        };
        let generated = chosen.is_none().then(passphrase::generate);
        let passphrase = chosen.or_else(|| generated.clone()).expect("one of the two is there");
        Ok(New { generated, ..new(Recipient::Passphrase(passphrase)) })
    }

    /// The token that goes into it.
    fn token(&self, repository: &Repository) -> Result<Option<MadeToken>, Failure> {
        if self.token.is_none() && self.preset.is_none() {
            return Ok(None);
        }
        let tokens = repository.store.tokens().ok_or_else(|| {
            let location = &repository.location;
            Failure::Input(format!("{location} knows no tokens: only an obnam-server has them; leave out the token"))
        })?;
        let token = match (&self.token, &self.preset) {
            (Some(path), _) => given(tokens, path)?,
            (None, preset) => tokens.create(&self.wish(repository, preset.as_deref().unwrap_or_default()))?,
        };
        Ok(Some(token))
    }

    fn wish(&self, repository: &Repository, preset: &str) -> TokenWish {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        TokenWish {
            name: format!("{} ({preset})", repository.client.name),
            preset: preset.to_owned(),
            expires: self.expires.map(|span| (now + span).as_secs()),
        }
    }

    fn lines(&self, repository: &Repository, id: &ChunkId, new: &New, token: Option<&MadeToken>) -> Vec<String> {
        let client = printable(repository.client.name.as_bytes());
        let mut lines = vec![format!("credential {id} added"), format!("  client      {client}")];
        let mut option = String::new();
        match (&new.generated, &self.new_identity, &self.recipient) {
            (Some(passphrase), ..) => lines.push(format!("  passphrase  {}", passphrase.as_str())),
            (_, Some(path), _) => {
                let made = if new.made_file.is_some() { " (made)" } else { "" };
                lines.push(format!("  identity    {}{made}", path.display()));
                option = format!(" --identity {}", path.display());
            }
            (.., Some(recipient)) => {
                lines.push(format!("  identity    of {recipient}"));
                option = " --identity FILE".into();
            }
            _ => {}
        }
        if let Some(token) = token {
            let preset = self.preset.as_ref().map_or_else(String::new, |preset| format!(", for {preset}"));
            let end = token.expires.map_or_else(String::new, |end| format!(", until {}", time(end)));
            lines.push(format!("  token       {}{preset}{end}", printable(token.id.as_bytes())));
        }
        lines.push(format!("Open with it: obnam --repo {}{option} --credential {id} ...", repository.location));
        lines.push("In a profile: credential = \"ID\". Write it on the recovery sheet too.".into());
        lines
    }
}

/// A token that the user has.
fn given(tokens: &dyn Tokens, path: &Path) -> Result<MadeToken, Failure> {
    let token = passphrase::line_of_file("token", path).map_err(|error| Failure::Input(error.to_string()))?;
    Ok(MadeToken { id: tokens.id_of(&token)?, token, expires: None })
}

/// A stretch of time: a number and a unit.
fn span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no stretch of time; write a number and s, m, h, d or w, such as 365d");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err(wrong()),
    };
    let number = number.parse::<u32>().map_err(|_| wrong())?;
    if number == 0 { Err(wrong()) } else { Ok(Duration::from_secs(u64::from(number) * seconds)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_of_time() {
        assert_eq!(span("365d"), Ok(Duration::from_secs(365 * 86_400)));
        assert_eq!(span("2w"), span("14d"));
        for bad in ["", "d", "1", "1y", "-1d", "0d", "1.5d", "9999999999d", "1ü"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }
}

//! Exit codes: one per class of error. The table in README.md is the documentation.

use super::interrupt;
use crate::config::ConfigError;
use crate::credential::CredentialError;
use crate::credential::identity::IdentityError;
use crate::credential::keyring::KeyringError;
use crate::credential::passphrase::PassphraseError;
use crate::dump::DumpError;
use crate::hooks::HookError;
use crate::local::LocalError;
use crate::repository::RepositoryError;
use crate::restore::RestoreError;
use crate::store::{StoreError, StoreErrorKind};

/// Done.
pub const OK: u8 = 0;
/// Wrong usage.
pub const USAGE: u8 = 2;
/// Done, but some files could not be read or restored.
pub const INCOMPLETE: u8 = 3;
/// Check found damage.
pub const DAMAGE: u8 = 4;
/// Status found a source whose last good backup is too old, or none at all.
pub const STALE: u8 = 5;

/// The configuration or an input is wrong.
pub const BAD_INPUT: u8 = 17;

/// `init` where there is something already.
pub const ALREADY_THERE: u8 = 11;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The repository.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A local file.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// No passphrase.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// No identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No keyring.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The dump ended.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// No file system.
    #[error("cannot mount on {mountpoint}: {why}", mountpoint = mountpoint.display())]
    Mount {
        /// Where.
        mountpoint: std::path::PathBuf,
        /// Why.
        why: String,
    },
    /// The restore ended.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The configuration file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What the user asked for makes no sense.
    #[error("{0}")]
    Input(String),
    /// The repository that snapshots are copied into.
    #[error("the target {location}: {failure}{hint}", hint = target_hint(failure))]
    Target {
        /// Where.
        location: String,
        /// What is wrong with it.
        failure: Box<Failure>,
    },
    /// A command that was to run before has failed.
    #[error("{0}; no backup was made")]
    Hook(HookError),
    /// Standard output is closed or full.
    #[error("cannot write to standard output: {0}")]
    Output(std::io::Error),
}

impl Failure {
    /// The exit code, and its name in JSON.
    pub fn class(&self) -> (u8, &'static str) {
        match self {
            Failure::Repository(error) | Failure::Restore(RestoreError::Repository(error)) => repository(error),
            Failure::Dump(DumpError::Repository(error)) => repository(error),
            Failure::Dump(DumpError::Lost { why, .. }) => repository(why),
            Failure::Store(error) => store(error),
            Failure::Local(error) => local(error),
            Failure::Passphrase(_) | Failure::Identity(_) => (12, "no-access"),
            Failure::Restore(RestoreError::Busy { .. }) => (16, "busy"),
            Failure::Restore(
                RestoreError::Target { .. } | RestoreError::NoPath { .. } | RestoreError::DeleteIncomplete { .. },
            )
            | Failure::Config(_)
            | Failure::Input(_) => (BAD_INPUT, "bad-input"),
            Failure::Hook(_) => (18, "hook"),
            Failure::Target { failure, .. } => failure.class(),
            Failure::Output(_) | Failure::Keyring(_) | Failure::Mount { .. } | Failure::Dump(DumpError::Output(_)) => {
                (1, "other")
            }
        }
    }
}

/// What to say of a target that is away.
fn target_hint(failure: &Failure) -> &'static str {
    match failure.class() {
        (10 | 13 | 14, _) => ". Nothing is lost: run the same again when it is there, and what it lacks is copied",
        _ => "",
    }
}

fn store(error: &StoreError) -> (u8, &'static str) {
    match error.kind {
        // It would have been waited for.
        StoreErrorKind::Unavailable(_) | StoreErrorKind::Plugin if interrupt::is_asked_for() => (130, "interrupted"),
        StoreErrorKind::NotInitialised => (10, "no-repository"),
        StoreErrorKind::AlreadyInitialised => (ALREADY_THERE, "already-initialised"),
        StoreErrorKind::Plugin => (14, "plugin"),
        StoreErrorKind::Invalid => (17, "bad-input"),
        _ => (13, "storage"),
    }
}

fn local(error: &LocalError) -> (u8, &'static str) {
    match error {
        LocalError::Locked { .. } => (16, "busy"),
        LocalError::NoHome | LocalError::Damaged { .. } | LocalError::Exposed { .. } => (17, "bad-input"),
        LocalError::Io { .. } => (1, "other"),
    }
}

fn repository(error: &RepositoryError) -> (u8, &'static str) {
    match error {
        RepositoryError::Store(error) => store(error),
        RepositoryError::Local(error) => local(error),
        RepositoryError::Index(_) | RepositoryError::Stream { .. } | RepositoryError::TooLong => (1, "other"),
        RepositoryError::NotThere { .. } => (10, "no-repository"),
        RepositoryError::Exists { .. } | RepositoryError::Foreign { .. } => (ALREADY_THERE, "already-initialised"),
        RepositoryError::NoAccess { .. }
        | RepositoryError::WrongPassphrase { .. }
        | RepositoryError::WrongIdentity { .. }
        | RepositoryError::NotSealed(_)
        | RepositoryError::BadCredential { why: CredentialError::Plugin(_), .. }
        | RepositoryError::NotMember { .. }
        | RepositoryError::NotAllowed { .. }
        | RepositoryError::NoRootKey { .. } => (12, "no-access"),
        RepositoryError::NoSnapshot(_)
        | RepositoryError::BadClient(_)
        | RepositoryError::CredentialNeeded { .. }
        | RepositoryError::CredentialOfOthers { .. }
        | RepositoryError::ShortGrace => (17, "bad-input"),
        RepositoryError::RosterMoved => (16, "busy"),
        RepositoryError::RosterUnsure(error) => repository(error),
        RepositoryError::Interrupted => (130, "interrupted"),
        RepositoryError::NotPinned { .. }
        | RepositoryError::Unusable { .. }
        | RepositoryError::BadCredential { .. }
        | RepositoryError::NoRoster { .. }
        | RepositoryError::RosterConflict { .. }
        | RepositoryError::RosterRollback { .. }
        | RepositoryError::TooNew(_)
        | RepositoryError::Unprunable { .. }
        | RepositoryError::BlobLost { .. }
        | RepositoryError::Malformed { .. } => (15, "damaged"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::CommandFactory;

    const SOURCE: &str = include_str!("exit.rs");

    /// The classes of this file: `(code, "name")`, where the code may be one of its constants.
    fn classes() -> BTreeMap<u8, String> {
        let source = SOURCE.split("mod tests").next().expect("a front");
        let constants: BTreeMap<&str, &str> = source
            .lines()
            .filter_map(|line| line.strip_prefix("pub const ")?.strip_suffix(';')?.split_once(": u8 = "))
            .collect();
        let mut classes = BTreeMap::new();
        for part in source.split(", \"").skip(1) {
            let before = &source[..part.as_ptr() as usize - source.as_ptr() as usize - 3];
            let code = &before[before.rfind('(').expect("a bracket") + 1..];
            let code = constants.get(code).copied().unwrap_or(code).parse().expect("a code");
            let name = part.split('"').next().expect("a name").to_owned();
            assert!(classes.insert(code, name.clone()).is_none_or(|other| other == name), "{code}");
        }
        classes
    }

    /// The cells of a table below a heading, as far as the first ones are about a code.
    fn rows(page: &str, heading: &str) -> Vec<(String, String)> {
        let text = page.split(heading).nth(1).expect("the heading is there");
        let table = text.lines().skip_while(|line| !line.starts_with("|--")).skip(1);
        let cells = |line: &str| {
            let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned());
            Some((cells.next()?, cells.next()?))
        };
        table.take_while(|line| line.starts_with('|')).filter_map(cells).collect()
    }

    #[test]
    fn the_documents_have_every_code() {
        let classes = classes();
        assert_eq!(classes.len(), 11, "{classes:?}");
        let json = rows(include_str!("../../../docs/json.md"), "| `error.code` | exit code |");
        let json: BTreeMap<u8, String> =
            json.into_iter().map(|(name, code)| (code.parse().expect("a code"), name)).collect();
        assert_eq!(json, classes, "docs/json.md has other codes than the program");
        let readme = rows(include_str!("../../../README.md"), "## Exit codes");
        let readme: Vec<u8> = readme.into_iter().map(|(code, _)| code.parse().expect("a code")).collect();
        let mut codes: Vec<u8> = [super::OK, super::USAGE, super::INCOMPLETE, super::DAMAGE, super::STALE]
            .into_iter()
            .chain(classes.into_keys())
            .collect();
        codes.sort_unstable();
        assert_eq!(readme, codes, "README.md has other codes than the program");
        let help = super::super::Cli::command().get_after_long_help().expect("the help lists exit codes").to_string();
        for code in codes {
            assert!(help.contains(&format!(" {code} ")), "{code} is not in the help");
        }
    }
}

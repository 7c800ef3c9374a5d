//! Exit codes: one per class of error. The table in README.md is the documentation.

use crate::config::ConfigError;
use crate::credential::identity::IdentityError;
use crate::credential::passphrase::PassphraseError;
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
    /// The restore ended.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The configuration file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What the user asked for makes no sense.
    #[error("{0}")]
    Input(String),
    /// Standard output is closed or full.
    #[error("cannot write to standard output: {0}")]
    Output(std::io::Error),
}

impl Failure {
    /// The exit code, and its name in JSON.
    pub fn class(&self) -> (u8, &'static str) {
        match self {
            Failure::Repository(error) | Failure::Restore(RestoreError::Repository(error)) => repository(error),
            Failure::Store(error) => store(error),
            Failure::Local(error) => local(error),
            Failure::Passphrase(_) | Failure::Identity(_) => (12, "no-access"),
            Failure::Restore(RestoreError::Target { .. }) | Failure::Config(_) | Failure::Input(_) => {
                (BAD_INPUT, "bad-input")
            }
            Failure::Output(_) => (1, "other"),
        }
    }
}

fn store(error: &StoreError) -> (u8, &'static str) {
    match error.kind {
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
        LocalError::NoHome | LocalError::Damaged { .. } => (17, "bad-input"),
        LocalError::Io { .. } => (1, "other"),
    }
}

fn repository(error: &RepositoryError) -> (u8, &'static str) {
    match error {
        RepositoryError::Store(error) => store(error),
        RepositoryError::Local(error) => local(error),
        RepositoryError::Index(_) | RepositoryError::Stream { .. } => (1, "other"),
        RepositoryError::NotThere { .. } => (10, "no-repository"),
        RepositoryError::Exists { .. } | RepositoryError::Foreign { .. } => (ALREADY_THERE, "already-initialised"),
        RepositoryError::NoAccess { .. }
        | RepositoryError::WrongPassphrase { .. }
        | RepositoryError::WrongIdentity { .. }
        | RepositoryError::NotMember { .. }
        | RepositoryError::NotAllowed { .. } => (12, "no-access"),
        RepositoryError::NoSnapshot(_) => (17, "bad-input"),
        RepositoryError::Interrupted => (130, "interrupted"),
        RepositoryError::NotPinned { .. }
        | RepositoryError::Unusable { .. }
        | RepositoryError::BadCredential { .. }
        | RepositoryError::NoRoster { .. }
        | RepositoryError::RosterConflict { .. }
        | RepositoryError::RosterRollback { .. }
        | RepositoryError::TooNew(_)
        | RepositoryError::BlobLost { .. }
        | RepositoryError::Malformed { .. } => (15, "damaged"),
    }
}

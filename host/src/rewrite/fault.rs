//! Why a snapshot is not rewritten, or nothing is.

use std::path::Path;

use crate::format::FormatError;
use crate::repository::RepositoryError;

/// See the head of this module.
#[derive(Debug)]
pub enum Fault {
    /// Something in the snapshot cannot be used; where in it, and why.
    Damaged(String, Box<RepositoryError>),
    /// The repository failed, or the user asked to stop.
    Failed(RepositoryError),
    /// Something that the snapshot relies on is being removed: once more.
    Again,
}

impl From<RepositoryError> for Fault {
    fn from(error: RepositoryError) -> Self {
        Fault::Failed(error)
    }
}

/// Damage at this path.
pub fn at(path: &Path) -> impl Fn(RepositoryError) -> Fault {
    move |error| match error.about_chunk() {
        Ok(error) => Fault::Damaged(path.display().to_string(), Box::new(error)),
        Err(outage) => Fault::Failed(outage),
    }
}

/// Something that was verified and makes no sense.
pub fn malformed(what: &str, why: &'static str) -> RepositoryError {
    RepositoryError::Malformed { what: what.into(), why: FormatError::Malformed(why) }
}

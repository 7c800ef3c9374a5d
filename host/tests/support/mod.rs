//! What the tests of the library share: a repository in memory, members, trees to back up, and comparisons.
#![allow(dead_code, unused_imports, clippy::unwrap_used)]

mod faulty;
mod forger;
mod pruning;
mod recording;
mod report;
mod restored;
mod world;

use std::path::Path;

use obnam::backup::roots::Roots;
use obnam::backup::{self, Outcome};
use obnam::chunk::Label;
use obnam::index::Index;
use obnam::repository::metadata::SnapshotInfo;
use obnam::repository::{Repository, RepositoryError};

pub use faulty::*;
pub use forger::*;
pub use pruning::*;
pub use recording::*;
pub use report::*;
pub use restored::*;
pub use world::*;

/// A label.
pub fn label(text: &str) -> Label {
    text.parse().expect("a label")
}

/// Bytes that do not compress and differ with the seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Backs up this path, and says nothing else.
pub fn options(path: &Path) -> backup::Options {
    backup::Options {
        roots: Roots::new(vec![path.to_owned()]),
        select: Default::default(),
        skip: vec![],
        host: "test".into(),
        tags: vec![],
        force: false,
        stream: None,
        checkpoints: None,
    }
}

/// Backs up.
pub fn try_backup(repository: &Repository, path: &Path) -> Result<Outcome, RepositoryError> {
    let watch = backup::Watch::default();
    let outcome = backup::run(repository, &options(path), &watch)?;
    assert_eq!(watch.problems.all(), []);
    Ok(outcome)
}

/// Backs up.
pub fn backup(repository: &Repository, path: &Path) -> Outcome {
    try_backup(repository, path).unwrap()
}

/// All snapshots and the index.
pub fn load(repository: &Repository) -> (Vec<SnapshotInfo>, Index) {
    try_load(repository).unwrap()
}

/// All snapshots and the index.
pub fn try_load(repository: &Repository) -> Result<(Vec<SnapshotInfo>, Index), RepositoryError> {
    let listing = repository.listing()?;
    Ok((repository.snapshots(&listing)?, repository.load_index(&listing)?))
}

//! What tests of pruning share.

use std::collections::BTreeSet;

use obnam::chunk::ChunkId;
use obnam::repository::pruning::{Budget, Options, Report, Unused, Watch};
use obnam::repository::{Repository, RepositoryError};

use super::World;

/// Prunes with these options.
pub fn prune_with(repository: &Repository, options: &Options) -> Result<Report, RepositoryError> {
    repository.prune(options, &Watch::default())
}

/// Whole packs only.
pub fn whole_packs() -> Options {
    Options { budget: Budget { max_unused: Unused::Unlimited, ..Budget::default() }, ..Options::default() }
}

/// Repacks whatever can be.
pub fn all_blobs() -> Options {
    Options { budget: Budget { max_unused: Unused::Bytes(0), ..Budget::default() }, ..Options::default() }
}

/// Removes whole packs.
pub fn prune(repository: &Repository) -> Report {
    prune_with(repository, &whole_packs()).unwrap()
}

/// Repacks whatever can be, and removes packs.
pub fn repack(repository: &Repository) -> Report {
    prune_with(repository, &all_blobs()).unwrap()
}

/// Forgets these snapshots.
pub fn forget(repository: &Repository, doomed: impl IntoIterator<Item = ChunkId>) {
    let listing = repository.listing().unwrap();
    let snapshots = repository.snapshots(&listing).unwrap();
    repository.forget(&listing, &snapshots, &doomed.into_iter().collect()).unwrap();
}

/// The packs in the store.
pub fn packs(world: &World) -> BTreeSet<ChunkId> {
    ["data", "tree"].iter().flat_map(|of| world.chunks(of)).map(|(_, id, _)| id).collect()
}

/// Nothing is in the store that nobody needs.
pub fn assert_only_needed(world: &World) {
    assert_only_needed_of(world, &world.open_fresh());
}

/// The same, as this client sees it.
pub fn assert_only_needed_of(world: &World, repository: &Repository) {
    let dry = prune_with(repository, &Options { dry_run: true, ..all_blobs() }).unwrap();
    assert_eq!((dry.all, dry.missing), (dry.needed, 0), "{dry:#?}");
    assert_eq!(dry.all.packs, packs(world).len() as u64);
}

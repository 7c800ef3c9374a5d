//! Attackers at the level of the library: those who may only add chunks, hostile members, and hostile stores. Whatever
//! they do, earlier snapshots restore, new backups work, `check` names what was added, and nothing panics.

#![allow(clippy::unwrap_used)]

mod creators;
mod members;
mod packs;
mod rosters;
mod stores;
#[path = "../support/mod.rs"]
mod support;
mod trees;

use std::path::PathBuf;

use obnam::chunk::ChunkId;
use obnam::format::blob::BlobKind;
use obnam::format::index::Record;
use obnam::format::roster::Role;
use obnam::repository::Repository;
use support::*;

const ALL: [Role; 3] = [Role::Writer, Role::Reader, Role::Maintainer];

/// A repository with one backup, before somebody attacks it.
struct Scene {
    world: World,
    source: PathBuf,
    before: Tree,
    snapshot: ChunkId,
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("x", noise(1, 30_000)),
        ("y", noise(2, 30_000)),
        ("small", b"a few words".to_vec()),
        ("empty", vec![]),
        ("dir/z", noise(3, 50_000)),
    ]
}

impl Scene {
    fn new() -> Self {
        Self::in_world(World::new())
    }

    fn in_world(world: World) -> Self {
        let source = world.source("s", &files());
        std::os::unix::fs::symlink("small", source.join("link")).unwrap();
        let before = tree(&source);
        let snapshot = backup(&world.open(), &source).id;
        Scene { world, source, before, snapshot }
    }

    /// The old snapshot restores, here and on a fresh machine; a new backup works and restores.
    fn assert_unharmed(&self) {
        for repository in [self.world.open(), self.world.open_fresh()] {
            assert_restores(&repository, &self.snapshot, &self.source, &self.before);
        }
        std::fs::write(self.source.join("new"), noise(99, 20_000)).unwrap();
        let now = tree(&self.source);
        let outcome = backup(&self.world.open(), &self.source);
        for repository in [self.world.open(), self.world.open_fresh()] {
            assert_restores(&repository, &outcome.id, &self.source, &now);
            assert_restores(&repository, &self.snapshot, &self.source, &self.before);
            let (snapshots, _) = load(&repository);
            assert_eq!(repository.resolve(&snapshots, "latest").unwrap().id, outcome.id);
        }
    }

    /// Like [`Scene::assert_unharmed`], and check warns of the chunk and finds nothing worse.
    fn assert_reported(&self, code: &str, chunk: &str) {
        self.assert_unharmed();
        for repository in [self.world.open(), self.world.open_fresh()] {
            assert_warned(&check(&repository, true), code, chunk);
        }
    }

    /// A second member, who turns hostile. The first one does not trust it.
    fn hostile(&self) -> Party {
        let party = self.world.party("hostile");
        let first = self.world.made.client;
        let mut roster = self.world.admit(vec![(&party, ALL.to_vec(), None)]);
        roster.members.iter_mut().find(|member| member.tag == first).unwrap().trusts = Some(vec![]);
        self.world.write_roster(&mut roster);
        party
    }
}

fn id_of_place(repository: &Repository, kind: BlobKind) -> Vec<(Record, obnam::index::IndexedPack)> {
    let (_, index) = load(repository);
    let mut found = Vec::new();
    for run in &index.runs {
        for place in 0..run.len() {
            let record = run.record(place);
            if record.place.kind == kind {
                found.push((record, run.pack(record.pack).unwrap()));
            }
        }
    }
    found
}

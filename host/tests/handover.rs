//! What stays of a client that is given new keys or removed: its history, what it has forgotten on purpose, the tags that it gave; and whose
//! snapshots those that come after it see.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;

use obnam::audit::chains;
use obnam::chunk::ChunkId;
use obnam::credential::Secret;
use obnam::format::roster::Role;
use obnam::repository::clients::Access;
use obnam::repository::open::open;
use obnam::repository::{Repository, RepositoryError};
use obnam::store::ChunkStore;
use support::*;

const ALL: [Role; 3] = [Role::Writer, Role::Reader, Role::Maintainer];

fn identity() -> Secret {
    Secret::Identity(age::x25519::Identity::generate().into())
}

fn open_on(world: &World, machine: &str, secret: &Secret) -> Repository {
    open(world.place(machine), secret, Some(world.made.repository)).unwrap()
}

/// Three backups; the second one is tagged, the first one forgotten.
fn history(repository: &Repository, source: &Path) -> [ChunkId; 3] {
    let ids = [0, 1, 2].map(|number| {
        fs::write(source.join("own"), noise(number, 5000)).unwrap();
        backup(repository, source).id
    });
    let snapshots = load(repository).0;
    let second = snapshots.iter().find(|info| info.id == ids[1]).unwrap();
    repository.set_tags(second, &["keep".to_owned()]).unwrap();
    forget(repository, [ids[0]]);
    ids
}

/// Nothing is missing, nobody is alarmed, and the tag is there.
fn assert_as_before(repository: &Repository, tagged: &ChunkId) {
    let listing = repository.listing().unwrap();
    let snapshots = repository.snapshots(&listing).unwrap();
    let chains = chains(&snapshots, &repository.buried(&listing).unwrap().forgotten);
    assert!(chains.values().all(|chain| chain.missing.is_empty() && chain.gaps.is_empty()), "{chains:#?}");
    assert_eq!(snapshots.iter().find(|info| info.id == *tagged).unwrap().tags, ["keep"]);
    assert_eq!(repository.warnings.all(), []);
    assert_clean(repository);
}

#[test]
fn new_keys_change_nothing_of_what_was_forgotten_and_tagged() {
    let world = World::new();
    let source = world.source("s", &[("shared", noise(9, 20_000))]);
    let first = world.open();
    let ids = history(&first, &source);
    let snapshots = load(&first).0;
    let last = first.history_of(&first.client.tag, &snapshots).last().copied();
    let secret = identity();
    let access = Access { recipient: &secret.recipient(), api_token: None };
    first.rotate_client(&first.client.tag, last, access).unwrap();
    for machine in ["first", "fresh"] {
        let rotated = open_on(&world, machine, &secret);
        assert_as_before(&rotated, &ids[1]);
        // It has no snapshot of its own yet, and its latest one is the one that it made with its old keys.
        assert_eq!(rotated.resolve(&load(&rotated).0, "latest").unwrap().id, ids[2]);
        assert_eq!(rotated.resolve(&load(&rotated).0, "latest~1").unwrap().id, ids[1]);
        assert!(rotated.resolve(&load(&rotated).0, "latest~2").is_err());
    }
    // And again, with the heir's keys.
    let rotated = open_on(&world, "first", &secret);
    let next = identity();
    let access = Access { recipient: &next.recipient(), api_token: None };
    rotated.rotate_client(&rotated.client.tag, None, access).unwrap();
    assert_as_before(&open_on(&world, "fresh again", &next), &ids[1]);
}

#[test]
fn a_removed_maintainers_records_and_tags_stay_unless_it_is_doubted() {
    for doubted in [false, true] {
        let world = World::new();
        let party = world.party("laptop");
        world.admit(vec![(&party, ALL.to_vec(), None)]);
        let source = world.source("s", &[("shared", noise(9, 20_000))]);
        let ids = history(&world.open_as(&party), &source);
        let first = world.open();
        let snapshots = load(&first).0;
        let own = first.history_of(&party.keys.tag, &snapshots);
        let last = if doubted { own.first() } else { own.last() };
        first.remove_client(&party.keys.tag, last.copied()).unwrap();
        // This machine has seen all of them.
        let again = world.open();
        if doubted {
            assert_eq!(load(&again).0.len(), 1);
            assert!(load(&again).0.iter().all(|info| info.tags.is_empty()));
            assert!(again.warnings.all().iter().all(|warning| warning.code != "history-rolled-back"));
            continue;
        }
        assert_as_before(&again, &ids[1]);
        // Nothing of it has to stay for ever: not even its newest one.
        forget(&again, [ids[2], ids[1]]);
        let left = world.open();
        assert_eq!(load(&left).0.len(), 0);
        assert_eq!(left.warnings.all(), []);
        assert_clean(&left);
    }
}

#[test]
fn nobody_elses_snapshot_is_the_latest_where_there_is_a_choice() {
    let world = World::new();
    let (one, other) = (world.party("one"), world.party("other"));
    world.admit(vec![(&one, ALL.to_vec(), None), (&other, vec![Role::Writer], None)]);
    let source = world.source("s", &[("shared", noise(9, 20_000))]);
    let first = world.open();
    let latest = |repository: &Repository| repository.resolve(&load(repository).0, "latest").map(|info| info.id);
    assert!(matches!(latest(&first), Err(RepositoryError::NoSnapshot(why)) if why.contains("no snapshot yet")));
    let theirs = backup(&world.open_as(&other), &source).id;
    assert_eq!(latest(&first).unwrap(), theirs, "there is no other one");
    backup(&world.open_as(&one), &source);
    let why = latest(&first).unwrap_err().to_string();
    assert!(why.contains("one, other"), "{why}");
    let own = backup(&first, &source).id;
    assert_eq!(latest(&first).unwrap(), own);
    assert_eq!(latest(&world.open_as(&other)).unwrap(), theirs);
}

#[test]
fn only_who_governs_removes_what_may_be_anothers_credential() {
    let world = World::new();
    let secret = identity();
    let access = Access { recipient: &secret.recipient(), api_token: None };
    world.open().add_client("web", &[Role::Writer], access).unwrap();
    let web = open_on(&world, "web", &secret);
    let credentials: Vec<ChunkId> = world.chunks("credential").into_iter().map(|(_, id, _)| id).collect();
    assert_eq!(credentials.len(), 2);
    let others = credentials.iter().find(|id| **id != web.credential).unwrap();
    let refused = web.remove_credential(others, &secret, false).err().unwrap();
    assert!(matches!(refused, RepositoryError::CredentialOfOthers { .. }), "{refused}");
    // A second one of its own it may remove.
    let own = web.add_credential(&secret.recipient(), None).unwrap();
    web.remove_credential(&own, &secret, false).unwrap();
    // The first client opens with a secret of its own, and governs.
    let first = world.open();
    first.remove_credential(&web.credential, &world.secret, false).unwrap();
    assert!(world.store.stat(&label("credential"), others).is_ok());
}

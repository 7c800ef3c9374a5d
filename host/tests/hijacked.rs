//! The whole machine of a client in an attacker's hands: its credential and what opens it, its keys, its caches. What a write-only
//! client has reads nothing, and what any client has changes nothing of others; a removed client's keys are of no use for what comes later.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use obnam::chunk::ChunkId;
use obnam::credential::Secret;
use obnam::crypto::Key;
use obnam::crypto::public::HpkePrivate;
use obnam::format::blob::BlobKind;
use obnam::format::content::Content;
use obnam::format::header::{Header, OpenWith};
use obnam::format::note::Note;
use obnam::format::pack::BlobPlace;
use obnam::format::roster::{GroupKeys, Role};
use obnam::format::signed::Context;
use obnam::format::tombstone::{Forgotten, Tombstone};
use obnam::format::{Time, to_cbor};
use obnam::repository::clients::{Access, NewClient};
use obnam::repository::open::{Known, open};
use obnam::repository::{Repository, RepositoryError};
use obnam::store::ChunkStore;
use support::*;

const FULL: [Role; 2] = [Role::Writer, Role::Reader];

/// A client that was made as a user makes one, on a machine of its own.
struct Machine {
    name: &'static str,
    secret: Secret,
    made: NewClient,
}

impl Machine {
    fn add(world: &World, name: &'static str, roles: &[Role]) -> Self {
        let secret = Secret::Identity(age::x25519::Identity::generate().into());
        let access = Access { recipient: &secret.recipient(), api_token: None };
        let made = world.open().add_client(name, roles, access).unwrap();
        Machine { name, secret, made }
    }

    fn try_open(&self, world: &World) -> Result<Repository, RepositoryError> {
        let known = Known { repository: Some(world.made.repository), credential: Some(self.made.credential) };
        open(world.place(self.name), &self.secret, known)
    }

    fn open(&self, world: &World) -> Repository {
        self.try_open(world).unwrap()
    }
}

/// All key sets that the roster wraps for a client.
fn key_sets(repository: &Repository) -> Vec<GroupKeys> {
    let client = &repository.client;
    let sets = repository.roster.groups.iter().flat_map(|group| group.key_sets.iter().map(move |set| (group, set)));
    sets.filter_map(|(group, set)| {
        GroupKeys::unwrap(&repository.id, &group.id.0, set, &client.tag, &client.hpke).unwrap()
    })
    .collect()
}

/// All files below a directory.
fn files_below(folder: &Path) -> Vec<Vec<u8>> {
    let (mut files, mut waiting) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            files.push(fs::read(path).unwrap());
        }
    }
    files
}

fn source(world: &World) -> PathBuf {
    world.source("s", &[("a", noise(1, 40_000)), ("dir/b", noise(2, 90_000)), ("words", b"some words".to_vec())])
}

#[test]
fn what_a_write_only_machine_has_opens_no_data_and_no_tree() {
    let world = World::new();
    let source = source(&world);
    backup(&world.open(), &source);
    let machine = Machine::add(&world, "laptop", &[Role::Writer]);
    fs::write(source.join("own"), noise(3, 50_000)).unwrap();
    backup(&machine.open(&world), &source);
    fs::write(source.join("later"), noise(4, 50_000)).unwrap();
    backup(&machine.open(&world), &source);
    let repository = machine.open(&world);

    // Everything that it has: its keys, what the roster wraps for it, its credential, its files.
    let client = &repository.client;
    let sets = key_sets(&repository);
    assert!(!sets.is_empty() && sets.iter().all(|keys| keys.data_private.is_none()));
    let credential =
        world.chunks("credential").into_iter().find(|(_, id, _)| *id == machine.made.credential).unwrap().2;
    let credential = machine.secret.open(&credential).unwrap();
    let mut keys = vec![*client.signing.as_bytes(), *client.hpke.as_bytes(), *credential.key.as_bytes()];
    for set in &sets {
        keys.extend([&set.blob_id, &set.chunker, &set.metadata].map(|key| *key.as_bytes()));
    }
    let mut plain = vec![client.to_body().to_vec(), credential.to_plaintext().to_vec(), keys.concat()];
    let packs: Vec<_> = world.chunks("data").into_iter().chain(world.chunks("tree")).collect();
    assert!(packs.len() > 4);
    for (to, _, bytes) in &packs {
        let header = Header::parse(bytes).unwrap();
        for key in &keys {
            let (key, private) = (Key::from_bytes(*key), HpkePrivate::from_key(Key::from_bytes(*key)));
            for with in [
                OpenWith::Data(&private),
                OpenWith::Metadata(&key),
                OpenWith::Client(&key),
                OpenWith::Member(client.tag, &private),
            ] {
                assert!(header.open(&with).is_err(), "a {to} pack opens");
            }
        }
    }
    // No 32 bytes anywhere are the private half of a data key, or the content key of a pack.
    let data_keys: Vec<_> = sets.iter().map(|set| *set.data_public.as_bytes()).collect();
    for window in plain.iter().flat_map(|bytes| bytes.windows(32)) {
        let private = HpkePrivate::from_key(Key::from_slice(window).unwrap());
        assert!(!data_keys.contains(private.public().as_bytes()), "a private data key");
    }
    let files = files_below(&world.tmp.path().join(machine.name));
    assert!(files.iter().map(Vec::len).sum::<usize>() > 1000);
    plain.extend(files);
    let commitments: HashSet<[u8; 32]> =
        packs.iter().map(|(.., bytes)| *Header::parse(bytes).unwrap().bytes().last_chunk::<32>().unwrap()).collect();
    for window in plain.iter().flat_map(|bytes| bytes.windows(32)) {
        let commitment = Key::from_slice(window).unwrap().derive("obnam v1 key commitment");
        assert!(!commitments.contains(commitment.as_bytes()), "the content key of a pack");
    }
}

#[test]
fn a_write_only_client_changes_nothing_of_others() {
    let world = World::new();
    let source = source(&world);
    let before = tree(&source);
    let snapshots = [backup(&world.open(), &source).id, backup(&world.open(), &source).id];
    let machine = Machine::add(&world, "laptop", &[Role::Writer]);
    let hijacked = machine.open(&world);
    let forger = Forger::new(&hijacked);
    let first = world.made.client;
    // A snapshot in the name of the first client, under its label and under the own one.
    let mut forged = forger.snapshot(3, Content::default(), None);
    forged.client = first;
    forged.previous = Some(snapshots[1]);
    let theirs = label(&format!("snapshot.{first}"));
    hijacked.put_signed(&theirs, Context::Snapshot, to_cbor(&forged)).unwrap();
    forger.put_snapshot(&forged);
    // One of its own, from the end of time.
    let mut late = forger.snapshot(u64::MAX, Content::default(), None);
    late.started = Time { seconds: i64::MAX / 4, nanoseconds: 0 };
    forger.put_snapshot(&late);
    // A roster, a record that a snapshot was forgotten, packs that are to go, other tags.
    let mut roster = hijacked.roster.clone();
    roster.epoch += 1;
    roster.members.retain(|member| member.tag == hijacked.client.tag);
    world.add("roster", seal_roster(&hijacked.id, &hijacked.client.signing, &roster));
    let gone = Forgotten { id: snapshots[0], client: first, sequence: 1, previous: None };
    let packs: Vec<ChunkId> = world.chunks("data").into_iter().map(|(_, id, _)| id).collect();
    let tombstone = Tombstone { packs, created: Time::now(), grace: 0, snapshots: Some(vec![gone]), indexes: None };
    hijacked.put_signed(&label("tombstone"), Context::Tombstone, to_cbor(&tombstone)).unwrap();
    let note = Note { snapshot: snapshots[1], tags: vec!["hijacked".into()], created: Time::now() };
    let own = label(&format!("note.{}", hijacked.client.tag));
    hijacked.put_signed(&own, Context::Note, to_cbor(&note)).unwrap();

    for repository in [world.open(), world.open_fresh()] {
        assert_eq!(repository.roster.members.len(), 2);
        let all = load(&repository).0;
        let theirs: Vec<_> = all.iter().filter(|info| info.snapshot.client == first).collect();
        assert_eq!(theirs.iter().map(|info| info.id).collect::<Vec<_>>(), snapshots);
        assert!(theirs.iter().all(|info| info.tags.is_empty() && !info.forgotten));
        assert!(repository.tombstoned().unwrap().is_empty());
        assert_eq!(repository.resolve(&all, "latest").unwrap().id, snapshots[1]);
        for id in &snapshots {
            assert_restores(&repository, id, &source, &before);
        }
    }
    let outcome = backup(&world.open(), &source);
    assert_eq!((outcome.snapshot.sequence, outcome.snapshot.previous), (3, Some(snapshots[1])));
    assert_restores(&world.open_fresh(), &outcome.id, &source, &before);
}

#[test]
fn poisoned_index_entries_of_a_write_only_client_make_nobody_lose_data() {
    let world = World::new();
    let machine = Machine::add(&world, "laptop", &[Role::Writer]);
    let other = Machine::add(&world, "desktop", &FULL);
    let source = source(&world);
    let before = tree(&source);
    // It knows what others have, and says that all of it stands in packs of garbage.
    let hijacked = machine.open(&world);
    let forger = Forger::new(&hijacked);
    backup(&hijacked, &source);
    let garbage = noise(9, 1000);
    for (kind, place) in index_of(&hijacked) {
        let pack = forger.pack_as("data", &[(kind, place.id, &garbage)]);
        forger.index(&forger.index_of(&[&pack]));
    }
    for (to, id, _) in world.chunks("data").into_iter().chain(world.chunks("tree")) {
        // What was good of it vanishes, too.
        world.store.remove(&to, &id).unwrap();
    }
    for repository in [world.open(), other.open(&world)] {
        let outcome = backup(&repository, &source);
        assert!(outcome.snapshot.statistics.new_bytes > 10_000 || repository.client.name == "desktop");
        assert_restores(&world.open_fresh(), &outcome.id, &source, &before);
    }
}

/// All blobs that the index knows.
fn index_of(repository: &Repository) -> Vec<(BlobKind, BlobPlace)> {
    let (_, index) = load(repository);
    let places = index.runs.iter().flat_map(|run| (0..run.len()).map(|place| run.record(place).place));
    places.map(|place| (place.kind, place)).collect()
}

#[test]
fn a_removed_client_reads_and_says_nothing_from_then_on() {
    let world = World::new();
    let machine = Machine::add(&world, "laptop", &FULL);
    let source = source(&world);
    let kept = backup(&machine.open(&world), &source);
    let kept_tree = tree(&source);
    // It keeps what it has: its keys, and a repository that is open.
    let stolen = machine.open(&world);
    let old_keys = key_sets(&stolen);
    let first = world.open();
    let snapshots = load(&first).0;
    let last = first.history_of(&machine.made.tag, &snapshots).last().copied();
    first.remove_client(&machine.made.tag, last).unwrap();
    let stored: HashSet<ChunkId> = world.chunks("").into_iter().map(|(_, id, _)| id).collect();

    // What others store from then on does not open with any of it.
    fs::write(source.join("secret"), noise(7, 60_000)).unwrap();
    let later = backup(&world.open(), &source);
    let later_tree = tree(&source);
    let new: Vec<_> = world.chunks("").into_iter().filter(|(_, id, _)| !stored.contains(id)).collect();
    assert!(new.len() >= 3);
    for (to, _, bytes) in &new {
        let header = Header::parse(bytes).unwrap();
        for keys in &old_keys {
            assert!(header.open(&OpenWith::Metadata(&keys.metadata)).is_err(), "{to}");
            assert!(header.open(&OpenWith::Data(keys.data_private.as_ref().unwrap())).is_err(), "{to}");
        }
    }
    assert!(matches!(machine.try_open(&world), Err(RepositoryError::NotMember { .. })));

    // What it says from then on does not count: snapshots, and entries for blobs that somebody might want to store.
    fs::write(source.join("later"), noise(8, 60_000)).unwrap();
    let forged = backup(&stolen, &source);
    let all = load(&world.open()).0;
    assert!(all.iter().any(|info| info.id == kept.id) && all.iter().all(|info| info.id != forged.id));
    for reference in stolen.references_of(&forged.snapshot).unwrap() {
        for of in ["data", "tree"] {
            if !later_needs(&world, &later.id, &reference.pack) && !later_needs(&world, &kept.id, &reference.pack) {
                world.store.remove(&label(of), &reference.pack).unwrap();
            }
        }
    }
    let own = backup(&world.open(), &source);
    assert!(own.snapshot.statistics.new_bytes > 60_000);
    assert_restores(&world.open_fresh(), &own.id, &source, &tree(&source));
    for (id, tree) in [(&kept.id, &kept_tree), (&later.id, &later_tree)] {
        for name in ["secret", "later"] {
            let _ = fs::remove_file(source.join(name));
        }
        let restored = restore(&world.open_fresh(), id);
        assert!(restored.problems.is_empty());
        let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&support::tree(&restored.at(&source))), names(tree));
    }
}

fn later_needs(world: &World, snapshot: &ChunkId, pack: &ChunkId) -> bool {
    let repository = world.open();
    let (snapshots, _) = load(&repository);
    let info = snapshots.iter().find(|info| info.id == *snapshot).unwrap();
    repository.references(info).unwrap().iter().any(|reference| reference.pack == *pack)
}

#[test]
fn a_removal_takes_back_what_was_signed_since_the_theft() {
    let world = World::new();
    let machine = Machine::add(&world, "laptop", &FULL);
    let source = source(&world);
    let good = backup(&machine.open(&world), &source);
    let thief = machine.open(&world);
    let forger = Forger::new(&thief);
    let mut forged = forger.snapshot(2, Content::default(), None);
    forged.previous = Some(good.id);
    let forged = forger.put_snapshot(&forged);
    let first = world.open();
    let snapshots = load(&first).0;
    let last = snapshots.iter().find(|info| info.id == good.id);
    first.remove_client(&machine.made.tag, last).unwrap();
    let ids: Vec<_> = load(&world.open()).0.iter().map(|info| info.id).collect();
    assert!(ids.contains(&good.id) && !ids.contains(&forged));
}

#[test]
fn old_keys_of_a_client_with_new_ones_count_no_more() {
    let world = World::new();
    let machine = Machine::add(&world, "laptop", &FULL);
    let source = source(&world);
    let before = tree(&source);
    let kept = backup(&machine.open(&world), &source);
    let stolen = machine.open(&world);
    let first = world.open();
    let snapshots = load(&first).0;
    let last = first.history_of(&machine.made.tag, &snapshots).last().copied();
    let access = Access { recipient: &machine.secret.recipient(), api_token: None };
    let made = first.rotate_client(&machine.made.tag, last, access).unwrap();
    let rotated = Machine { made, ..machine };
    let forged = backup(&stolen, &source);
    let own = backup(&rotated.open(&world), &source);
    let ids: Vec<_> = load(&world.open()).0.iter().map(|info| info.id).collect();
    assert!(ids.contains(&kept.id) && ids.contains(&own.id) && !ids.contains(&forged.id));
    for id in [kept.id, own.id] {
        assert_restores(&rotated.open(&world), &id, &source, &before);
    }
}

#[test]
fn rosters_made_at_the_same_time_lock_nobody_out() {
    let world = World::new();
    let (one, other) = (world.open(), open(world.place("safe"), &world.secret, Some(world.made.repository)).unwrap());
    let secret = Secret::Identity(age::x25519::Identity::generate().into());
    let recipient = secret.recipient();
    one.add_client("a", &FULL, Access { recipient: &recipient, api_token: None }).unwrap();
    let chunks = world.chunks("").len();
    let refused = other.add_client("b", &FULL, Access { recipient: &recipient, api_token: None }).err().unwrap();
    assert!(matches!(refused, RepositoryError::RosterMoved), "{refused}");
    assert_eq!(world.chunks("").len(), chunks, "nothing is left behind");
    assert_eq!(world.open().roster.members.len(), 2);
}

#[test]
fn who_cannot_read_gives_nobody_the_right_to() {
    // Somebody took the root key's holder the role to read.
    let world = World::new();
    let mut roster = world.open().roster;
    roster.members[0].roles = vec!["writer".into(), "maintainer".into()];
    let keys = key_sets(&world.open()).remove(0);
    let keys = GroupKeys { data_private: None, ..keys };
    roster.groups[0].key_sets[0].wraps = vec![keys.wrap(&world.made.repository, &roster.members[0]).unwrap()];
    world.write_roster(&mut roster);
    let recipient = world.secret.recipient();
    let add =
        |name, roles: &[Role]| world.open().add_client(name, roles, Access { recipient: &recipient, api_token: None });
    assert!(matches!(add("reader", &FULL), Err(RepositoryError::NotAllowed { .. })));
    add("writer", &[Role::Writer]).unwrap();
}

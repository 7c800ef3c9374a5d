//! Notes: who may change the tags of a snapshot, and what becomes of notes by anybody else.
#![allow(clippy::unwrap_used)]

mod support;

use obnam::chunk::ChunkId;
use obnam::crypto::public::SignKey;
use obnam::format::header::{SealFor, create};
use obnam::format::note::Note;
use obnam::format::roster::{Removed, Role};
use obnam::format::signed::{Context, sign};
use obnam::format::{Time, to_cbor, whole};
use obnam::repository::metadata::SnapshotInfo;
use obnam::repository::{Repository, RepositoryError};
use support::*;

const ALL: [Role; 3] = [Role::Writer, Role::Reader, Role::Maintainer];
const WRITER: [Role; 2] = [Role::Writer, Role::Reader];

fn snapshot(repository: &Repository, id: &ChunkId) -> SnapshotInfo {
    load(repository).0.into_iter().find(|info| info.id == *id).unwrap()
}

fn tags(repository: &Repository, id: &ChunkId) -> Vec<String> {
    snapshot(repository, id).tags
}

fn texts(tags: &[&str]) -> Vec<String> {
    tags.iter().map(|tag| (*tag).to_owned()).collect()
}

fn note(snapshot: ChunkId, tag: &str, seconds: i64) -> Vec<u8> {
    to_cbor(&Note { snapshot, tags: texts(&[tag]), created: Time { seconds, nanoseconds: 0 } })
}

fn assert_note_warned(world: &World, of: &str, id: &ChunkId) {
    for repository in [world.open(), world.open_fresh()] {
        assert_warned(&check(&repository, true), "note-unusable", &format!("{of}/{id}"));
    }
}

#[test]
fn the_latest_note_gives_the_tags() {
    let world = World::new();
    let source = world.source("s", &[("a", noise(1, 5000))]);
    let repository = world.open();
    let id = backup(&repository, &source).id;
    let other = backup(&repository, &source).id;
    assert_eq!(tags(&repository, &id), texts(&[]));
    repository.set_tags(&snapshot(&repository, &id), &texts(&["one", "two"])).unwrap();
    assert_eq!(tags(&world.open_fresh(), &id), texts(&["one", "two"]));
    // A note from the future is followed by a later one, whatever the clock says.
    let own = format!("note.{}", repository.client.tag);
    repository.put_signed(&label(&own), Context::Note, note(id, "future", 1 << 40)).unwrap();
    repository.put_signed(&label(&own), Context::Note, note(id, "past", 5)).unwrap();
    assert_eq!(tags(&world.open(), &id), texts(&["future"]));
    repository.set_tags(&snapshot(&repository, &id), &texts(&[])).unwrap();
    // A note for a snapshot that is not there means nothing.
    repository.put_signed(&label(&own), Context::Note, note(ChunkId::of(b"gone"), "gone", 9)).unwrap();
    for repository in [world.open(), world.open_fresh()] {
        assert_eq!(tags(&repository, &id), texts(&[]));
        assert_eq!(tags(&repository, &other), texts(&[]));
        assert_eq!(repository.warnings.all(), []);
        assert_clean(&repository);
    }
    // After the end of time there is nothing.
    repository.put_signed(&label(&own), Context::Note, note(other, "z", i64::MAX)).unwrap();
    let last =
        Note { snapshot: other, tags: texts(&["last"]), created: Time { seconds: i64::MAX, nanoseconds: 999_999_999 } };
    repository.put_signed(&label(&own), Context::Note, to_cbor(&last)).unwrap();
    assert_eq!(tags(&repository, &other), texts(&["last"]));
    assert!(repository.set_tags(&snapshot(&repository, &other), &[]).is_err());
}

#[test]
fn tags_are_changed_by_the_own_client_and_by_maintainers_only() {
    let world = World::new();
    let (writer, maintainer) = (world.party("writer"), world.party("maintainer"));
    world.admit(vec![(&writer, WRITER.to_vec(), None), (&maintainer, ALL.to_vec(), None)]);
    let source = world.source("s", &[("a", noise(1, 5000))]);
    let id = backup(&world.open(), &source).id;
    let as_writer = world.open_as(&writer);
    let theirs = backup(&as_writer, &source).id;

    // Its own: yes. Another client's: no, by no path.
    as_writer.set_tags(&snapshot(&as_writer, &theirs), &texts(&["own"])).unwrap();
    assert_eq!(tags(&world.open(), &theirs), texts(&["own"]));
    let refused = as_writer.set_tags(&snapshot(&as_writer, &id), &texts(&["x"])).unwrap_err();
    assert!(matches!(refused, RepositoryError::NotAllowed { .. }), "{refused}");
    let own = format!("note.{}", writer.keys.tag);
    let forged = as_writer.put_signed(&label(&own), Context::Note, note(id, "x", 1 << 40)).unwrap().id;
    assert_eq!(tags(&world.open_fresh(), &id), texts(&[]));
    assert_note_warned(&world, &own, &forged);
    // Nor under the label of the client that may.
    let first = label(&format!("note.{}", world.made.client));
    let forged = as_writer.put_signed(&first, Context::Note, note(id, "x", 1 << 40)).unwrap().id;
    assert_eq!(tags(&world.open_fresh(), &id), texts(&[]));
    assert_note_warned(&world, first.as_str(), &forged);

    let as_maintainer = world.open_as(&maintainer);
    as_maintainer.set_tags(&snapshot(&as_maintainer, &id), &texts(&["kept"])).unwrap();
    as_maintainer.set_tags(&snapshot(&as_maintainer, &theirs), &texts(&["kept"])).unwrap();
    for repository in [world.open_fresh(), world.open_as(&writer)] {
        assert_eq!((tags(&repository, &id), tags(&repository, &theirs)), (texts(&["kept"]), texts(&["kept"])));
    }
}

#[test]
fn garbage_and_replayed_notes_are_reported_and_ignored() {
    let world = World::new();
    let source = world.source("s", &[("a", noise(1, 5000))]);
    let repository = world.open();
    let id = backup(&repository, &source).id;
    repository.set_tags(&snapshot(&repository, &id), &texts(&["good"])).unwrap();
    let own = format!("note.{}", world.made.client);
    let (_, _, good) = world.chunks(&own).remove(0);
    let (_, _, other_kind) = world.chunks("snapshot.").remove(0);
    let sealed = |context, key: &SignKey, payload: Vec<u8>| {
        let keys = repository.sealing_keys();
        let header = create(&repository.id, &label(&own), keys.epoch, &keys.group, &SealFor::Metadata(&keys.metadata));
        whole::seal(header.unwrap(), &sign(context, &repository.id, Some(world.made.client), key, payload))
    };
    let mine = &repository.client.signing;
    let mut added = Vec::new();
    for bytes in [
        vec![],
        b"OBNAMCHK".to_vec(),
        noise(7, 300),
        good[..good.len() - 1].to_vec(),
        other_kind.to_vec(),
        // Signed by another key, for another purpose, and with a payload that is none.
        sealed(Context::Note, &SignKey::random(), note(id, "x", 1 << 40)),
        sealed(Context::Snapshot, mine, note(id, "x", 1 << 40)),
        sealed(Context::Tombstone, mine, note(id, "x", 1 << 40)),
        sealed(Context::Note, mine, b"\xa0".to_vec()),
        sealed(Context::Note, mine, vec![]),
    ] {
        added.push((own.clone(), world.add(&own, bytes)));
    }
    // The good note in other places, and from another repository.
    for to in ["note.0000000000000000", "snapshot.0000000000000000", "tombstone"] {
        let id = world.add(to, good.clone());
        added.push((to.to_owned(), id));
    }
    let elsewhere = World::new();
    let there = elsewhere.open();
    let foreign = there.put_signed(&label(&own), Context::Note, note(id, "x", 1 << 40)).unwrap().id;
    world.add(&own, elsewhere.chunks(&own).remove(0).2);
    added.push((own.clone(), foreign));

    for repository in [world.open(), world.open_fresh()] {
        assert_eq!(tags(&repository, &id), texts(&["good"]));
        let report = check(&repository, true);
        assert_eq!(report.errors(), 0, "{:#?}", report.findings);
        for (to, id) in &added {
            let name = format!("{to}/{id}");
            assert!(
                report.findings.iter().any(|found| found.chunk.as_deref() == Some(&name)),
                "{name} is not reported"
            );
        }
    }
    // Adding the good note again changes nothing, and neither does anything stop the next one.
    world.add(&own, good);
    let repository = world.open();
    repository.set_tags(&snapshot(&repository, &id), &texts(&["next"])).unwrap();
    assert_eq!(tags(&world.open_fresh(), &id), texts(&["next"]));
}

#[test]
fn notes_of_removed_members_do_not_count() {
    let world = World::new();
    let party = world.party("second");
    let mut roster = world.admit(vec![(&party, ALL.to_vec(), None)]);
    let source = world.source("s", &[("a", noise(1, 5000))]);
    let id = backup(&world.open(), &source).id;
    let second = world.open_as(&party);
    let theirs = backup(&second, &source).id;
    for id in [id, theirs] {
        second.set_tags(&snapshot(&second, &id), &texts(&["theirs"])).unwrap();
        assert_eq!(tags(&world.open(), &id), texts(&["theirs"]));
    }
    let member = roster.members.iter_mut().find(|member| member.tag == party.keys.tag).unwrap();
    member.removed = Some(Removed { sequence: 1, snapshot: Some(theirs) });
    world.write_roster(&mut roster);
    for repository in [world.open(), world.open_fresh()] {
        assert_eq!((tags(&repository, &id), tags(&repository, &theirs)), (texts(&[]), texts(&[])));
        let warned = repository.warnings.all();
        assert!(warned.iter().any(|warning| warning.code == "note-of-removed"), "{warned:?}");
        assert_eq!(check(&repository, true).errors(), 0);
    }
    // A maintainer can give them tags again, although those notes were later.
    let repository = world.open();
    repository.set_tags(&snapshot(&repository, &theirs), &texts(&["again"])).unwrap();
    assert_eq!(tags(&world.open_fresh(), &theirs), texts(&["again"]));
}

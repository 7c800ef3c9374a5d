//! Rosters, tombstones, removed members.

use bytes::Bytes;
use obnam::chunk::ChunkId;
use obnam::format::roster::{Parameters, Removed, Role};
use obnam::format::signed::Context;
use obnam::format::{FormatError, to_cbor};
use obnam::repository::RepositoryError;
use obnam::repository::init::init;
use obnam::repository::open::open;
use obnam::store::ChunkStore;

use super::{ALL, Scene};
use crate::support::*;

#[test]
fn roster_below_the_highest_epoch_seen_is_refused() {
    let scene = Scene::new();
    let mut roster = scene.world.open().roster;
    let id = scene.world.write_roster(&mut roster);
    assert_eq!(scene.world.open().roster.epoch, 2);
    scene.world.store.remove(&label("roster"), &id).unwrap();
    let refused = scene.world.try_open().err().unwrap();
    assert!(matches!(refused, RepositoryError::RosterRollback { found: 1, seen: 2 }), "{refused}");
}

#[test]
fn two_rosters_of_one_epoch_are_both_refused() {
    let scene = Scene::new();
    let root = scene.world.open().client.root.unwrap();
    let mut roster = scene.world.open().roster;
    let one = scene.world.write_roster(&mut roster);
    roster.members[0].name = "other".into();
    let two = scene.world.add("roster", seal_roster(&scene.world.made.repository, &root, &roster));
    let refused = scene.world.try_open().err().unwrap();
    let RepositoryError::RosterConflict { epoch: 2, first, second } = refused else { panic!("{refused}") };
    assert_eq!([first, second].iter().collect::<std::collections::BTreeSet<_>>(), [one, two].iter().collect());
    // A higher one, by the holder of the root key, ends it.
    roster.epoch = 3;
    scene.world.add("roster", seal_roster(&scene.world.made.repository, &root, &roster));
    scene.assert_unharmed();
    assert_eq!(scene.world.open().roster.epoch, 3);
}

#[test]
fn unknown_features_and_parameters() {
    let scene = Scene::new();
    let root = scene.world.open().client.root.unwrap();
    let good = scene.world.open().roster;
    let repository = scene.world.made.repository;
    let refuse = |roster: &obnam::format::roster::Roster| {
        let id = scene.world.add("roster", seal_roster(&repository, &root, roster));
        let refused = scene.world.try_open().err().unwrap();
        scene.world.store.remove(&label("roster"), &id).unwrap();
        refused
    };
    let mut next = good.clone();
    next.epoch = 2;
    let feature = obnam::format::roster::Roster { mandatory: vec!["time-travel".into()], ..next.clone() };
    let refused = refuse(&feature);
    assert!(matches!(&refused, RepositoryError::TooNew(FormatError::TooNew(what)) if what.contains("time-travel")));
    let chunker = Parameters { chunker: "other".into(), ..good.parameters.clone() };
    let refused = refuse(&obnam::format::roster::Roster { parameters: chunker, ..next.clone() });
    assert!(matches!(&refused, RepositoryError::TooNew(FormatError::TooNew(what)) if what.contains("other")));
    for bad in [
        Parameters { chunk_min: 0, ..good.parameters.clone() },
        Parameters { chunk_max: u64::MAX, ..good.parameters.clone() },
        Parameters { chunk_average: 1 << 40, ..good.parameters.clone() },
        Parameters { data_pack: u64::MAX, ..good.parameters.clone() },
        Parameters { tree_pack: 65 << 20, ..good.parameters.clone() },
        Parameters { small: 33 << 20, ..good.parameters.clone() },
    ] {
        let refused = refuse(&obnam::format::roster::Roster { parameters: bad.clone(), ..next.clone() });
        let expected =
            matches!(refused, RepositoryError::TooNew(FormatError::Malformed("parameters out of their ranges")));
        assert!(expected, "{bad:?}: {refused}");
    }
    // An optional feature, and keys that this version does not know, do no harm.
    next.optional = vec!["time-travel".into()];
    let mut payload = to_cbor(&next);
    assert_eq!(payload[0] & 0xe0, 0xa0, "a map");
    payload[0] += 1;
    minicbor::Encoder::new(&mut payload).u32(999).unwrap().str("what is this?").unwrap();
    scene.world.add("roster", seal_roster_payload(&repository, &root, &next, payload));
    assert_eq!(scene.world.open().roster.epoch, 2);
    scene.assert_unharmed();
    assert_clean(&scene.world.open());
}

#[test]
fn odd_compression_levels_stop_nothing() {
    for level in [i32::MIN, -1, 0, i32::MAX] {
        let scene = Scene::in_world(World::with(Parameters { compression_level: level, ..small_parameters() }));
        assert_restores(&scene.world.open(), &scene.snapshot, &scene.source, &scene.before);
    }
}

#[test]
fn what_a_removed_member_made_later_is_ignored() {
    let scene = Scene::new();
    let second = scene.world.party("second");
    let mut roster = scene.world.admit(vec![(&second, ALL.to_vec(), None)]);
    let repository = scene.world.open_as(&second);
    let kept = backup(&repository, &scene.source);
    let member = roster.members.iter_mut().find(|member| member.tag == second.keys.tag).unwrap();
    member.removed = Some(Removed { sequence: 1, snapshot: Some(kept.id) });
    scene.world.write_roster(&mut roster);
    // It still has its keys, and an open repository.
    std::fs::write(scene.source.join("later"), "later").unwrap();
    let later = backup(&repository, &scene.source);
    std::fs::remove_file(scene.source.join("later")).unwrap();
    let (snapshots, _) = load(&scene.world.open());
    assert!(snapshots.iter().any(|info| info.id == kept.id));
    assert!(snapshots.iter().all(|info| info.id != later.id));
    let report = check(&scene.world.open(), true);
    assert_warned(&report, "snapshot-unusable", &format!("snapshot.{}/{}", second.keys.tag, later.id));
    // What it made is not deduplicated against any more.
    let own = backup(&scene.world.open(), &scene.source);
    assert_eq!(own.snapshot.sequence, 2);
    // The removed member cannot open the new roster, and is told that there is one which it cannot open.
    let repository = open(scene.world.place("second"), &second.secret, None).unwrap();
    assert_eq!(repository.roster.epoch, 2);
    assert!(repository.warnings.all().iter().any(|warning| warning.code == "roster-unusable"));
    // It is refused where the roster is sealed for it too.
    roster.members.iter_mut().find(|member| member.tag == second.keys.tag).unwrap().removed = None;
    let root = scene.world.open().client.root.unwrap();
    roster.epoch += 1;
    let mut payload = roster.clone();
    payload.members.iter_mut().find(|member| member.tag == second.keys.tag).unwrap().removed =
        Some(Removed { sequence: 1, snapshot: Some(kept.id) });
    let chunk = seal_roster_payload(&scene.world.made.repository, &root, &roster, to_cbor(&payload));
    scene.world.add("roster", chunk);
    let refused = open(scene.world.place("second"), &second.secret, None).err().unwrap();
    assert!(matches!(refused, RepositoryError::NotMember { .. }), "{refused}");
}

#[test]
fn tombstones_count_only_from_maintainers() {
    let scene = Scene::new();
    let writer = scene.world.party("writer");
    scene.world.admit(vec![(&writer, vec![Role::Writer, Role::Reader], None)]);
    let repository = scene.world.open_as(&writer);
    let packs: Vec<ChunkId> = scene.world.chunks("data").into_iter().map(|(_, id, _)| id).collect();
    let payload = obnam::format::tombstone::Tombstone {
        packs: packs.clone(),
        created: obnam::format::Time::now(),
        grace: 1000,
        snapshots: None,
        indexes: None,
    };
    let id = repository.put_signed(&label("tombstone"), Context::Tombstone, to_cbor(&payload)).unwrap().id;
    assert!(scene.world.open().tombstoned().unwrap().is_empty());
    scene.assert_reported("tombstone-unusable", &format!("tombstone/{id}"));
    scene.world.open().put_signed(&label("tombstone"), Context::Tombstone, to_cbor(&payload)).unwrap();
    assert_eq!(scene.world.open().tombstoned().unwrap(), packs.into_iter().collect());
}

#[test]
fn init_refuses_places_that_hold_something() {
    let world = World::new();
    let again = init(&world.place("first"), std::slice::from_ref(&world.secret), "x", small_parameters());
    assert!(matches!(again, Err(RepositoryError::Exists { .. })), "{again:?}");
    world.store.remove(&label("repository"), &world.made.repository).unwrap();
    world.add("data", Bytes::from_static(b"somebody's"));
    let again = init(&world.place("first"), std::slice::from_ref(&world.secret), "x", small_parameters());
    assert!(matches!(again, Err(RepositoryError::Foreign { .. })), "{again:?}");
}

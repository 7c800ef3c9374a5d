//! `check`, where this machine has copies of what is stored, and where the store fails as a whole.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use obnam::check::{self, Options, Part, Severity, Watch};
use obnam::format::roster::Role;
use obnam::repository::clients::Access;
use obnam::repository::open::open;
use obnam::repository::{ChunkName, Repository, RepositoryError};
use obnam::restore::{self, RestoreError};
use obnam::store::memory::Chunks;
use support::*;

/// A machine that has made a snapshot has a copy of it, and so goes on without the store's. Others would not.
#[test]
fn what_this_machine_has_a_copy_of_is_read_from_the_store() {
    let world = World::new();
    let source = world.source("s", &[("file", noise(1, 20_000))]);
    let id = backup(&world.open(), &source).id;
    assert!(check(&world.open(), false).findings.is_empty());

    let (label, _, bytes) = world.chunks("snapshot.").remove(0);
    let (last, front) = bytes.split_last().unwrap();
    let damaged = [front, &[!last]].concat();
    world.store.chunks.lock().unwrap().get_mut(&(label.clone(), id)).unwrap().0 = damaged.into();
    for options in [None, Some(Part::Share { share: 1, shares: 1 }), Some(Part::All)] {
        let repository = world.open();
        let options = Options { read_data: options, max_age: None };
        let report = check::run(&repository, &options, &Watch::default()).unwrap();
        let expected = (Severity::Error, "chunk-damaged", format!("{label}/{id}"));
        assert_eq!(findings(&report), [expected], "{options:?}: {:#?}", report.findings);
        assert!(report.findings.first().unwrap().next.as_ref().unwrap().starts_with("obnam repair index"));
    }
    // One that has no copy finds it too, and cannot mend it.
    let report = check(&world.open_fresh(), false);
    assert!(report.errors() > 0, "{:#?}", report.findings);
    let repair =
        |repository: &Repository, dry_run: bool| repository.repair_index(&|_, _| false, dry_run).unwrap().mended;
    assert!(repair(&world.open_fresh(), false).is_empty());

    let damaged = BTreeSet::from([ChunkName { label, id }]);
    assert_eq!(repair(&world.open(), true), damaged);
    assert!(check(&world.open_fresh(), false).errors() > 0);
    assert_eq!(repair(&world.open(), false), damaged);
    assert!(repair(&world.open(), false).is_empty());
    assert_restores(&world.open_fresh(), &id, &source, &tree(&source));
    assert_clean(&world.open_fresh());
}

/// So are others: on a machine that has used the repository, every one of them comes back.
#[test]
fn every_small_chunk_is_mended() {
    let world = World::new();
    let source = world.source("s", &[("file", noise(1, 20_000))]);
    let doomed = backup(&world.open(), &source).id;
    let id = backup(&world.open(), &source).id;
    forget(&world.open(), [doomed]);
    let info = load(&world.open()).0.remove(0);
    world.open().set_tags(&info, &["tag".into()]).unwrap();
    assert!(check(&world.open(), false).findings.is_empty());
    let before = world.store.chunks.lock().unwrap().clone();
    let mut families = BTreeSet::new();
    for (name, (bytes, _)) in world.store.chunks.lock().unwrap().iter_mut() {
        if !matches!(name.0.family(), "data" | "tree" | "credential" | "roster" | "repository") {
            *bytes = [&bytes[..], b"?"].concat().into();
            families.insert(name.0.family().to_owned());
        }
    }
    assert_eq!(families.len(), 5, "{families:?}");
    world.open().repair_index(&|_, _| false, false).unwrap();
    let bytes =
        |chunks: &Chunks| chunks.iter().map(|(name, (bytes, _))| (name.clone(), bytes.clone())).collect::<Vec<_>>();
    assert!(bytes(&before) == bytes(&world.store.chunks.lock().unwrap()));
    assert_restores(&world.open_fresh(), &id, &source, &tree(&source));
    assert_clean(&world.open_fresh());
}

/// Whoever looks for damage while the network is down is not told that everything is lost.
#[test]
fn a_store_that_cannot_be_reached_is_no_damage() {
    let world = World::new();
    backup(&world.open(), &world.source("s", &[("file", noise(1, 50_000))]));
    let down = open(
        world.place_of(Arc::new(Faulty::<NoPacks>::new(world.store.clone())), "down"),
        &world.secret,
        Some(world.made.repository),
    );
    let repository = down.unwrap();
    for read_data in [None, Some(Part::All)] {
        let options = Options { read_data, max_age: None };
        let error = check::run(&repository, &options, &Watch::default()).unwrap_err();
        assert!(matches!(&error, RepositoryError::Store(error) if error.is_outage()), "{read_data:?}: {error:?}");
    }
    // Nothing is remembered as bad because of that.
    assert!(check(&world.open(), true).findings.is_empty());
}

/// A restore that loses the store on its way ends with that; the next one goes on, and nothing was called lost.
#[test]
fn a_restore_goes_on_after_an_outage() {
    let world = World::new();
    let files: Vec<(String, Vec<u8>)> =
        (0..40).map(|number| (format!("file {number}"), noise(number, 2000 * (number as usize % 9)))).collect();
    let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    let source = world.source("s", &files);
    let id = backup(&world.open(), &source).id;
    let before = tree(&source);
    let (mut ended, mut was_done) = (0, 0);
    for calls in (0..).step_by(3) {
        let store = Arc::new(Unreachable::new(world.store.clone(), Outage::Calls(2)));
        let repository = open(world.place_of(store.clone(), "first"), &world.secret, None).unwrap();
        let (snapshots, index) = load(&repository);
        let root = &snapshots.iter().find(|info| info.id == id).unwrap().snapshot.root;
        let tmp = tempfile::tempdir().unwrap();
        let options = restore::Options::new(tmp.path().join("target"));
        let restored = || {
            let watch = restore::Watch::default();
            let result = restore::run(&repository, &index, &source_of(root), &options, &watch);
            let lost = watch.problems.all().into_iter().filter(|problem| problem.message.contains("lost"));
            assert_eq!(lost.collect::<Vec<_>>(), [], "after {calls} calls");
            result
        };
        store.fail_after(calls);
        let first = restored();
        let has_failed = store.has_failed();
        match first {
            Ok(_) => was_done += 1,
            Err(RestoreError::Repository(RepositoryError::Store(why))) if why.is_outage() && has_failed => {
                ended += 1;
                restored().unwrap();
            }
            Err(other) => panic!("after {calls} calls: {other}"),
        }
        let now = tree(&tmp.path().join("target").join(source.strip_prefix("/").unwrap()));
        assert!(now == before, "another tree after {calls} calls");
        if !has_failed {
            break;
        }
    }
    assert!(ended > 3 && was_done > 0, "{ended} ended, {was_done} done");
}

/// A repository opens as it is, or not at all: no older roster and no other credential takes the place of one that cannot be reached.
#[test]
fn an_outage_while_a_repository_is_opened() {
    let world = World::new();
    let other = world.party("other");
    world.admit(vec![(&other, vec![Role::Writer, Role::Reader], None)]);
    let access = Access { recipient: &world.secret.recipient(), api_token: None };
    world.open().add_client("third", &[Role::Writer], access).unwrap();
    let expected = world.open_fresh();
    let (mut ended, mut opened) = (0, 0);
    for calls in 0.. {
        let store = Arc::new(Unreachable::new(world.store.clone(), Outage::Calls(1)));
        store.fail_after(calls);
        let place = world.place_of(store.clone(), &format!("machine {calls}"));
        match open(place, &world.secret, Some(world.made.repository)) {
            Ok(repository) => {
                opened += 1;
                assert_eq!(repository.roster.epoch, expected.roster.epoch, "after {calls} calls");
                assert_eq!(repository.credential, expected.credential, "after {calls} calls");
                let warnings = repository.warnings.all();
                assert!(warnings.is_empty(), "after {calls} calls: {warnings:#?}");
            }
            Err(RepositoryError::Store(why)) if why.is_outage() && store.has_failed() => ended += 1,
            Err(other) => panic!("after {calls} calls: {other}"),
        }
        if !store.has_failed() {
            break;
        }
    }
    assert!(ended > 5 && opened > 0, "{ended} ended, {opened} opened");
}

//! Snapshots that are made of others: what they need, whoever has stored that, and whatever happens meanwhile.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use obnam::chunk::ChunkId;
use obnam::format::blob::BlobId;
use obnam::format::content::{Content, Item};
use obnam::format::entry::EntryType;
use obnam::format::index::IndexPayload;
use obnam::format::roster::Role;
use obnam::format::signed::Context;
use obnam::format::tombstone::Tombstone;
use obnam::format::{Time, to_cbor};
use obnam::repository::blobs::BlobReader;
use obnam::repository::open::open;
use obnam::repository::{Repository, RepositoryError};
use obnam::rewrite::{Fate, Rewriter, Task, Watch, forget as forget_originals};
use obnam::select::Patterns;
use support::*;

/// Rewrites all snapshots without what matches; what became of each.
fn try_rewrite(repository: &Repository, pattern: &str) -> Result<Vec<(ChunkId, Fate)>, RepositoryError> {
    let (patterns, watch) = (Patterns::parse([pattern]).unwrap(), Watch::default());
    let (snapshots, index) = load(repository);
    let chosen: Vec<_> = snapshots.iter().filter(|info| !info.forgotten).collect();
    let mut fates = Vec::new();
    let mut rewriter = Rewriter::new(repository, &snapshots, Task::LeaveOut(&patterns), &watch)?;
    rewriter.run(&index, &chosen, &mut |_, _, _| (), |info, fate| fates.push((info.id, fate)))?;
    Ok(fates)
}

/// The same, where it goes well: originals, and what was made of them.
fn rewrite(repository: &Repository, pattern: &str) -> Vec<(ChunkId, ChunkId)> {
    let pair = |(id, fate)| match fate {
        Fate::Rewritten { id: new, .. } | Fate::Present(new) => Some((id, new)),
        Fate::Untouched => None,
        other => panic!("{id}: {other:?}"),
    };
    try_rewrite(repository, pattern).unwrap().into_iter().filter_map(pair).collect()
}

/// A source with files of some blobs each, half of which are called `bad`.
fn source(world: &World) -> PathBuf {
    let files: Vec<(String, Vec<u8>)> = (0..24)
        .map(|number| {
            let name = if number % 2 == 0 { "good" } else { "bad" };
            (format!("dir {}/{name} {number}", number / 6), noise(number, 30_000))
        })
        .collect();
    let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    world.source("files", &files)
}

fn good(whole: &Tree) -> Tree {
    let is_good = |path: &&PathBuf| !path.to_str().unwrap().contains("bad");
    whole.iter().filter(|(path, _)| is_good(path)).map(|(path, one)| (path.clone(), one.clone())).collect()
}

/// All blobs that a directory needs.
fn blobs(reader: &BlobReader<'_>, content: &Content, needed: &mut HashSet<BlobId>) {
    reader
        .for_each_list(content, |id, _| {
            needed.insert(*id);
        })
        .unwrap();
    needed.extend(reader.leaves(content).unwrap().map(|item: Result<Item, _>| item.unwrap().id));
    for entry in reader.entries(content).unwrap() {
        let entry = entry.unwrap();
        match (&entry.content, entry.kind) {
            (Some(content), EntryType::Directory) => blobs(reader, content, needed),
            (Some(content), _) => {
                reader
                    .for_each_list(content, |id, _| {
                        needed.insert(*id);
                    })
                    .unwrap();
                needed.extend(reader.leaves(content).unwrap().map(|item| item.unwrap().id));
            }
            (None, _) => {}
        }
    }
}

/// Its list names the packs that hold what it needs, each with the bytes that it needs of it, and no others.
fn assert_references_are_right(repository: &Repository, id: &ChunkId) {
    let (snapshots, index) = load(repository);
    let info = snapshots.iter().find(|info| info.id == *id).unwrap();
    let reader = BlobReader::new(repository, &index);
    let (mut needed, mut expected) = (HashSet::new(), BTreeMap::new());
    blobs(&reader, &info.snapshot.root, &mut needed);
    let listed: BTreeMap<ChunkId, u64> =
        repository.references(info).unwrap().iter().map(|one| (one.pack, one.live)).collect();
    for id in needed {
        let places =
            index.locations(&id).map(|location| (location.pack().unwrap().info.id, location.record.place.stored));
        let places: BTreeMap<ChunkId, u32> = places.filter(|(pack, _)| listed.contains_key(pack)).collect();
        let [(pack, stored)] = places.into_iter().collect::<Vec<_>>()[..] else { panic!("{id} is not in one place") };
        *expected.entry(pack).or_default() += u64::from(stored);
    }
    assert_eq!(listed, expected);
}

#[test]
fn the_list_of_packs_is_exactly_what_is_needed() {
    let world = World::new();
    let (repository, source) = (world.open(), source(&world));
    let whole = tree(&source);
    let first = backup(&repository, &source).id;
    let pairs = rewrite(&repository, "bad*");
    assert_eq!(pairs.len(), 1);
    let new = pairs[0].1;
    assert_references_are_right(&repository, &new);
    assert_restores(&repository, &new, &source, &good(&whole));
    assert_restores(&repository, &first, &source, &whole);
    let (outcome, kept) = forget_originals(&repository, &pairs).unwrap();
    assert_eq!((outcome.removed, kept.len()), (vec![first], 0));
    repack(&repository);
    // Each of its blobs is needed, and no other one.
    assert_only_needed(&world);
    for repository in [repository, world.open_fresh()] {
        assert_restores(&repository, &new, &source, &good(&whole));
        assert_clean(&repository);
    }
}

/// Two write-only clients, on whom nobody relies. The second one says that all blobs of the first one are in a pack of its own.
#[test]
fn a_lie_about_where_blobs_are_takes_nothing_from_it() {
    let world = World::new();
    let (honest, liar) = (world.party("honest"), world.party("liar"));
    world.admit(vec![(&honest, vec![Role::Writer], None), (&liar, vec![Role::Writer], None)]);
    let source = source(&world);
    let whole = tree(&source);
    let original = backup(&world.open_as(&honest), &source).id;
    // One more, so that the first one is not the newest.
    std::fs::write(source.join("another"), noise(100, 1000)).unwrap();
    backup(&world.open_as(&honest), &source);

    let repository = world.open();
    let known = load(&repository).1;
    let lying = world.open_as(&liar);
    let forger = Forger::new(&lying);
    let pack = forger.pack("data", &[(obnam::format::blob::BlobKind::Data, b"nothing of the kind")]);
    let mut records = forger.index_of(&[&pack]).records().unwrap();
    for run in &known.runs {
        let said = (0..run.len()).map(|place| run.record(place));
        records.extend(said.map(|mut record| {
            record.pack = 0;
            record
        }));
    }
    forger.index(&IndexPayload::new(vec![forger.info(&pack)], records));

    let repository_again = world.open_fresh();
    let (snapshots, index) = load(&repository_again);
    let (patterns, watch) = (Patterns::parse(["bad*"]).unwrap(), Watch::default());
    let chosen: Vec<_> = snapshots.iter().filter(|info| info.id == original).collect();
    let mut made = None;
    let mut rewriter = Rewriter::new(&repository_again, &snapshots, Task::LeaveOut(&patterns), &watch).unwrap();
    let each = |_: &_, fate| match fate {
        Fate::Rewritten { id, .. } => made = Some(id),
        other => panic!("{other:?}"),
    };
    rewriter.run(&index, &chosen, &mut |_, _, _| (), each).unwrap();
    let made = made.unwrap();
    let info_of = |id: &ChunkId| load(&repository_again).0.into_iter().find(|info| info.id == *id).unwrap();
    let needs = repository_again.references(&info_of(&made)).unwrap();
    assert!(needs.iter().all(|reference| reference.pack != pack.id));
    forget_originals(&repository_again, &[(original, made)]).unwrap();
    let tick = world.source("tick", &[]);
    for _ in 0..3 {
        pass(&world.store, Duration::from_secs(50 * 3600));
        // The store's clock is what it has stored last.
        backup(&world.open(), &tick);
        repack(&world.open());
    }
    assert_restores(&world.open_fresh(), &made, &source, &good(&whole));
}

/// What a client on whom nobody relies has stored was moved by a maintainer meanwhile.
#[test]
fn what_was_moved_is_found() {
    let world = World::new();
    let writer = world.party("writer");
    world.admit(vec![(&writer, vec![Role::Writer], None)]);
    let source = source(&world);
    let first = backup(&world.open_as(&writer), &source).id;
    for number in (0..24).filter(|number| number % 3 == 0) {
        let name = if number % 2 == 0 { "good" } else { "bad" };
        std::fs::remove_file(source.join(format!("dir {}/{name} {number}", number / 6))).unwrap();
    }
    let whole = tree(&source);
    backup(&world.open_as(&writer), &source);
    forget(&world.open(), [first]);
    let tick = world.source("tick", &[]);
    let repack_all = || {
        for _ in 0..3 {
            pass(&world.store, Duration::from_secs(50 * 3600));
            // The store's clock is what it has stored last.
            std::fs::write(tick.join("time"), noise(1000, 500)).unwrap();
            backup(&world.open(), &tick);
            repack(&world.open());
        }
    };
    let before = packs(&world);
    repack_all();
    assert!(packs(&world).difference(&before).count() > 0, "nothing was moved");
    std::fs::write(source.join("bad, and new"), noise(300, 20_000)).unwrap();
    backup(&world.open_as(&writer), &source);

    let stored =
        || ["data", "tree"].iter().flat_map(|of| world.chunks(of)).map(|(.., bytes)| bytes.len()).sum::<usize>();
    let before = stored();
    let pairs = rewrite(&world.open(), "bad*");
    assert_eq!(pairs.len(), 2);
    assert!(stored() - before < 16_000, "contents were stored again: {} bytes", stored() - before);
    for (_, new) in &pairs {
        assert_references_are_right(&world.open(), new);
    }
    let (outcome, kept) = forget_originals(&world.open(), &pairs).unwrap();
    assert_eq!((outcome.removed.len(), kept.len()), (1, 1));
    repack_all();
    for ((_, new), then) in pairs.iter().zip([whole, tree(&source)]) {
        assert_restores(&world.open_fresh(), new, &source, &good(&then));
    }
    assert_clean(&world.open());
}

#[test]
fn what_is_being_removed_is_stored_again() {
    let world = World::new();
    let (repository, source) = (world.open(), source(&world));
    let whole = tree(&source);
    backup(&repository, &source);
    let packs: Vec<ChunkId> = ["data", "tree"].iter().flat_map(|of| world.chunks(of)).map(|(_, id, _)| id).collect();
    let tombstone =
        Tombstone { packs: packs.clone(), created: Time::now(), grace: 3600, snapshots: None, indexes: None };
    repository.put_signed(&label("tombstone"), Context::Tombstone, to_cbor(&tombstone)).unwrap();
    let pairs = rewrite(&repository, "bad*");
    let made = load(&repository).0.into_iter().find(|info| info.id == pairs[0].1).unwrap();
    let needs = repository.references_of(&made.snapshot).unwrap();
    assert!(needs.iter().all(|reference| !packs.contains(&reference.pack)));
    assert_references_are_right(&repository, &made.id);
    assert_restores(&repository, &made.id, &source, &good(&whole));
}

#[test]
fn it_may_end_with_any_change_to_the_store() {
    let world = World::new();
    let source = source(&world);
    let whole = tree(&source);
    let originals = [backup(&world.open(), &source).id, {
        std::fs::write(source.join("bad one"), noise(200, 20_000)).unwrap();
        backup(&world.open(), &source).id
    }];
    for (change, completes) in (0..40).flat_map(|change| [(change, false), (change, true)]) {
        let store = world.copy();
        let mortal = Arc::new(Mortal::new(store.clone(), change, completes));
        let machine = format!("machine {change} {completes}");
        let open_with = |store: Arc<dyn obnam::store::ChunkStore>| {
            open(world.place_of(store, &machine), &world.secret, Some(world.made.repository)).unwrap()
        };
        let ended = try_rewrite(&open_with(mortal.clone()), "bad*");
        assert_eq!(ended.is_err(), mortal.is_dead());
        let repository = open_with(store.clone());
        assert_eq!(check(&repository, true).errors(), 0);
        assert_restores(&repository, &originals[0], &source, &whole);
        let pairs = rewrite(&repository, "bad*");
        assert_eq!(load(&repository).0.len(), 4, "after {change} changes");
        for (_, new) in &pairs {
            assert_references_are_right(&repository, new);
        }
        let (outcome, _) = forget_originals(&repository, &pairs).unwrap();
        assert_eq!(outcome.removed.len(), 2);
        assert_restores(&repository, &pairs[0].1, &source, &good(&whole));
        if ended.is_ok() && !mortal.is_dead() {
            return;
        }
    }
    panic!("it never came to its end");
}

/// A directory that stands in itself so many times over that no disk could hold it.
#[test]
fn directories_without_end_end() {
    let world = World::new();
    let repository = world.open();
    let forger = Forger::new(&repository);
    let (mut content, mut packs) = (Content::default(), Vec::new());
    for level in 0..40 {
        let below = |name: &[u8]| obnam::format::entry::Entry {
            content: Some(content.clone()),
            ..entry(name, EntryType::Directory)
        };
        let stream: Vec<u8> = [&b"a"[..], b"b"].iter().flat_map(|name| to_cbor(&below(name))).collect();
        let kind = obnam::format::blob::BlobKind::Tree;
        packs.push(forger.pack("tree", &[(kind, &stream)]));
        let item = Item { id: forger.hasher.id(kind, &stream), size: stream.len() as u64 };
        content = Content::new(0, &[item]);
        assert!(level < 40);
    }
    let index = forger.index_of(&packs.iter().collect::<Vec<_>>());
    forger.put_snapshot(&forger.snapshot(1, content, Some(&index)));
    let fates = try_rewrite(&repository, "nothing like this").unwrap();
    assert!(matches!(&fates[..], [(_, Fate::Damaged(why))] if why.contains("stand in themselves")), "{fates:?}");
}

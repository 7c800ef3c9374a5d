//! What sets right what was lost: `repair index` and `repair snapshots`.

use std::collections::{BTreeSet, HashSet};
use std::fs;

use obnam::chunk::ChunkId;
use obnam::format::blob::BlobKind;
use obnam::repository::Repository;
use obnam::repository::metadata::SnapshotInfo;
use obnam::rewrite::{Fate, Rewriter, Task, Watch};

use super::*;
use crate::trial::Trial;

/// Packs of data, without directories, that only this snapshot needs.
fn own_packs(repository: &Repository, id: &ChunkId) -> Vec<ChunkId> {
    let (snapshots, index) = load(repository);
    let needs = |info: &SnapshotInfo| repository.references(info).unwrap();
    let packs = |own: bool| {
        let meant = snapshots.iter().filter(move |info| (info.id == *id) == own);
        meant.flat_map(needs).map(|reference| reference.pack).collect::<HashSet<_>>()
    };
    let (own, others) = (packs(true), packs(false));
    let mut with_directories = HashSet::new();
    for run in &index.runs {
        let records = (0..run.len()).map(|place| run.record(place));
        for record in records.filter(|record| record.place.kind != BlobKind::Data) {
            with_directories.insert(run.pack(record.pack).unwrap().info.id);
        }
    }
    let is_alone = |pack: &ChunkId| !others.contains(pack) && !with_directories.contains(pack);
    own.into_iter().filter(is_alone).collect::<BTreeSet<_>>().into_iter().collect()
}

fn lose_packs(world: &World, packs: &[ChunkId]) {
    assert!(!packs.is_empty());
    world.store.chunks.lock().unwrap().retain(|(_, id), _| !packs.contains(id));
}

/// What `check` finds before anything is repaired, and what a crash may leave.
fn damage(world: &World) -> Vec<&'static str> {
    let report = check(&world.open_fresh(), true);
    assert!(report.errors() > 0);
    let codes: BTreeSet<&str> = report.findings.iter().map(|found| found.code).chain(["pack-unindexed"]).collect();
    codes.into_iter().collect()
}

/// A pack is lost, and so are the index chunks of other packs.
#[test]
fn repairing_the_index() {
    let world = World::new();
    // Two snapshots get their indexes into index chunks, by being forgotten; others rely on the same packs.
    let source = world.source("s", &[("a", noise(1, 30_000)), ("b", noise(2, 20_000))]);
    let doomed = backup(&world.open(), &source).id;
    let unindexed = keep(&world.open(), &source);
    let lossy = world.source("lossy", &[("lost", noise(3, 60_000)), ("there", noise(4, 3000))]);
    let damaged = keep(&world.open(), &lossy);
    let kept = vec![keep(&world.open(), &world.source("whole", &[("w", noise(5, 30_000))]))];
    forget(&world.open(), [doomed]);
    assert!(!world.chunks("index.").is_empty());
    world.store.chunks.lock().unwrap().retain(|(label, _), _| label.family() != "index");
    let lost = own_packs(&world.open_fresh(), &damaged.id);
    lose_packs(&world, &lost[..1]);

    let operation = |repository: &Repository, _: &_| repository.repair_index(&|_, _| false, false).map(drop);
    let done = |repository: &Repository| {
        assert_restores(repository, &unindexed.id, &unindexed.source, &unindexed.tree);
        let again = repository.repair_index(&|_, _| false, true).unwrap();
        assert_eq!((again.missing.len(), again.found.len()), (0, 0), "{again:?}");
    };
    let trial = Trial::new("repairing the index", &world, &lossy, &operation);
    let (left, healed, doomed) = (damage(&world), vec![damaged.clone(), unindexed.clone()], vec![damaged.id]);
    Trial { kept, left, healed, doomed, done: &done, changes: 2, ..trial }.run();
}

/// Packs of two snapshots are lost, and so are the files.
#[test]
fn repairing_snapshots() {
    let world = World::new();
    // What is left of the damaged ones is stored before them: how their own files are spread over packs is not to matter.
    let names = ["there 0", "there 1"];
    let there = |number: u64| noise(40 + number, 3000);
    let whole = [("w", noise(5, 30_000)), (names[0], there(0)), (names[1], there(1))];
    let kept = vec![keep(&world.open(), &world.source("whole", &whole))];
    let mut made = Vec::new();
    let mut damaged = Vec::new();
    for number in 0..2 {
        let files = [("lost", noise(30 + number, 60_000)), (names[number as usize], there(number))];
        let source = world.source(&format!("lossy {number}"), &files);
        damaged.push(backup(&world.open(), &source).id);
        let mut left = tree(&source);
        left.remove(Path::new("lost"));
        made.push((source, left));
    }
    let lost: Vec<ChunkId> = damaged.iter().flat_map(|id| own_packs(&world.open_fresh(), id)).collect();
    lose_packs(&world, &lost);
    world.open().repair_index(&|_, _| false, false).unwrap();
    made.iter().for_each(|(source, _)| fs::remove_file(source.join("lost")).unwrap());

    let operation = |repository: &Repository, _: &_| {
        let (snapshots, index) = try_load(repository)?;
        let (watch, chosen) = (Watch::default(), snapshots.iter().collect::<Vec<_>>());
        let mut rewriter = Rewriter::new(repository, &snapshots, Task::Repair, &watch)?;
        rewriter.run(&index, &chosen, &mut |_, _, _| (), |info, fate| {
            assert!(!matches!(fate, Fate::Damaged(_) | Fate::Emptied), "{}: {fate:?}", info.id);
        })
    };
    // The damaged ones are there still, and are none of those that have to restore.
    let (damaged, is_damaged) = (damaged.clone(), |info: &&SnapshotInfo| damaged.contains(&info.id));
    let done = |repository: &Repository| {
        let snapshots = load(repository).0;
        assert_eq!((snapshots.len(), snapshots.iter().filter(is_damaged).count()), (5, 2));
    };
    let next = world.source("next", &[("found", noise(30, 60_000))]);
    let trial = Trial::new("repairing snapshots", &world, &next, &operation);
    let left = damage(&world);
    Trial { kept, made, left, doomed: damaged.clone(), done: &done, changes: 4, ..trial }.run();
}

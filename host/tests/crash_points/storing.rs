//! What adds snapshots, and notes about them: backups, copies, rewritten snapshots, tags.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use obnam::backup::{Options, Watch, run};
use obnam::chunk::ChunkId;
use obnam::copy::{self, Copier};
use obnam::format::roster::Parameters;
use obnam::repository::metadata::SnapshotInfo;
use obnam::repository::{Repository, RepositoryError};
use obnam::rewrite::{self, Fate, Rewriter, Task};
use obnam::select::Patterns;

use super::*;
use crate::trial::Trial;

/// Pieces so small that little data makes an index that does not fit into a snapshot.
fn fine_parameters() -> Parameters {
    Parameters { chunk_min: 64, chunk_average: 256, chunk_max: 1024, data_pack: 32 << 10, ..small_parameters() }
}

/// A backup whose index stands in its snapshot.
#[test]
fn a_small_backup() {
    let world = World::new();
    let (source, kept) = two_backups(&world);
    fill(&source, |number| number % 3);
    fs::write(source.join("new"), noise(5, 90_000)).unwrap();
    fs::remove_file(source.join("dir/words")).unwrap();
    let made = vec![(source.clone(), tree(&source))];
    let operation = |repository: &Repository, _: &_| try_backup(repository, &source).map(drop);
    Trial { kept, made, changes: 5, ..Trial::new("a small backup", &world, &source, &operation) }.run();
}

/// A backup with an index chunk of its own.
#[test]
fn a_backup_with_an_index_chunk() {
    let world = World::with(fine_parameters());
    let source = world.source("s", &[("a", noise(1, 30_000))]);
    let kept = vec![keep(&world.open(), &source)];
    fs::write(source.join("b"), noise(2, 700_000)).unwrap();
    let made = vec![(source.clone(), tree(&source))];
    let operation = |repository: &Repository, _: &_| {
        let outcome = try_backup(repository, &source)?;
        assert!(outcome.snapshot.index.is_none() || outcome.snapshot.statistics.new_blobs < 2000);
        Ok(())
    };
    let name = "a backup with an index chunk";
    Trial { kept, made, step: 7, changes: 12, ..Trial::new(name, &world, &source, &operation) }.run();
    assert!(!world.chunks("index.").is_empty());
}

/// A backup that makes partial snapshots on its way.
#[test]
fn a_backup_with_checkpoints() {
    let world = World::new();
    let (source, kept) = two_backups(&world);
    for number in 0..24 {
        fs::write(source.join(format!("dir/{number}")), noise(100 + number, 3000)).unwrap();
    }
    let made = vec![(source.clone(), tree(&source))];
    let operation = |repository: &Repository, _: &_| {
        let options = Options { checkpoints: Some(Duration::ZERO), ..options(&source) };
        run(repository, &options, &Watch::default()).map(drop)
    };
    let name = "a backup with checkpoints";
    Trial { kept, made, step: 4, changes: 5, ..Trial::new(name, &world, &source, &operation) }.run();
}

/// Copies into another repository, which has something of its own, and crashes there.
#[test]
fn a_copy() {
    let from = World::new();
    let (source, originals) = two_backups(&from);
    fs::write(source.join("new"), noise(5, 30_000)).unwrap();
    let newest = keep(&from.open(), &source);
    let originals: Vec<Kept> = originals.into_iter().chain([newest]).collect();

    let world = World::new();
    let own = world.source("own", &[("shared", noise(1, 20_000)), ("file", noise(8, 9000))]);
    let kept = vec![keep(&world.open(), &own)];
    let made = originals.iter().map(|kept| (kept.source.clone(), kept.tree.clone())).collect();
    let operation = |target: &Repository, _: &_| {
        let repository = from.open();
        let (snapshots, index) = load(&repository);
        let chosen: Vec<&SnapshotInfo> = snapshots.iter().collect();
        let watch = copy::Watch::default();
        Copier::new(&repository, &index, target, &watch)?.copy(&chosen, |_, fate| {
            assert!(!matches!(fate, copy::Fate::Damaged(_)), "{fate:?}");
        })
    };
    let done = |target: &Repository| {
        let copies = load(target).0;
        let copied: Vec<ChunkId> =
            copies.iter().filter_map(|info| Some(info.snapshot.origin.as_ref()?.snapshot)).collect();
        let expected: Vec<ChunkId> = originals.iter().map(|kept| kept.id).collect();
        assert_eq!(copied, expected, "each of them once");
    };
    let next = old_contents(&world);
    Trial { kept, made, done: &done, step: 2, changes: 8, ..Trial::new("a copy", &world, &next, &operation) }.run();
}

/// Rewrites all snapshots without what matches; with what was made of which.
fn without_odd(repository: &Repository) -> Result<Vec<(ChunkId, ChunkId)>, RepositoryError> {
    let patterns = Patterns::parse(["file *[13579]"]).unwrap();
    let (snapshots, index) = try_load(repository)?;
    let chosen: Vec<&SnapshotInfo> = snapshots.iter().filter(|info| !info.forgotten).collect();
    let (watch, mut pairs) = (rewrite::Watch::default(), Vec::new());
    let mut rewriter = Rewriter::new(repository, &snapshots, Task::LeaveOut(&patterns), &watch)?;
    rewriter.run(&index, &chosen, &mut |_, _, _| (), |info, fate| match fate {
        Fate::Rewritten { id, .. } | Fate::Present(id) => pairs.push((info.id, id)),
        Fate::Untouched => {}
        other => panic!("{}: {other:?}", info.id),
    })?;
    Ok(pairs)
}

fn is_even(path: &Path) -> bool {
    let name = path.to_str().unwrap();
    !name.starts_with("file ") || name.ends_with(['0', '2', '4', '6', '8'])
}

fn rewritten(kept: &[Kept]) -> Vec<(PathBuf, Tree)> {
    let without = |tree: &Tree| tree.clone().into_iter().filter(|(path, _)| is_even(path)).collect();
    kept.iter().map(|kept| (kept.source.clone(), without(&kept.tree))).collect()
}

/// What snapshots say that they were made from.
fn origins(living: &[SnapshotInfo]) -> HashSet<ChunkId> {
    living.iter().filter_map(|info| Some(info.snapshot.rewritten.as_ref()?.snapshot)).collect()
}

#[test]
fn rewriting() {
    let world = World::new();
    let (_, kept) = two_backups(&world);
    let (ids, made): (HashSet<ChunkId>, _) = (kept.iter().map(|kept| kept.id).collect(), rewritten(&kept));
    let operation = |repository: &Repository, _: &_| without_odd(repository).map(drop);
    let done = |repository: &Repository| {
        let snapshots = load(repository).0;
        assert_eq!((snapshots.len(), origins(&snapshots)), (2 * ids.len(), ids.clone()));
    };
    let next = old_contents(&world);
    Trial { kept, made, done: &done, changes: 4, ..Trial::new("rewriting", &world, &next, &operation) }.run();
}

/// With `--forget`: either an original is there, or what was made of it.
#[test]
fn rewriting_and_forgetting_the_originals() {
    let world = World::new();
    let (_, kept) = two_backups(&world);
    let made = rewritten(&kept);
    // The newest one of a client is not forgotten.
    let newest = keep(&world.open(), &world.source("newest", &[("n", noise(3, 100))]));
    let originals: HashSet<ChunkId> = kept.iter().map(|kept| kept.id).collect();
    let kept = kept.into_iter().map(|kept| Kept { may_go: true, ..kept }).chain([newest]).collect();
    let operation = |repository: &Repository, _: &_| {
        let pairs = without_odd(repository)?;
        rewrite::forget(repository, &pairs).map(drop)
    };
    let always = |living: &[SnapshotInfo]| {
        let (there, made) = (living.iter().map(|info| info.id).collect::<HashSet<_>>(), origins(living));
        assert!(originals.iter().all(|id| there.contains(id) || made.contains(id)));
    };
    let done = |repository: &Repository| {
        let snapshots = load(repository).0;
        assert_eq!((snapshots.len(), origins(&snapshots)), (3, originals.clone()));
    };
    let next = old_contents(&world);
    let name = "rewriting and forgetting";
    let trial = Trial::new(name, &world, &next, &operation);
    Trial { kept, made, always: &always, done: &done, changes: 6, ..trial }.run();
}

#[test]
fn tags() {
    let world = World::new();
    let (source, kept) = two_backups(&world);
    let ids: HashSet<ChunkId> = kept.iter().map(|kept| kept.id).collect();
    let (old, new) = (vec!["old".to_owned()], vec!["new".to_owned()]);
    let set = |repository: &Repository, tags: &[String]| {
        for info in try_load(repository)?.0.iter().filter(|info| ids.contains(&info.id) && info.tags != tags) {
            repository.set_tags(info, tags)?;
        }
        Ok(())
    };
    set(&world.open(), &old).unwrap();
    let operation = |repository: &Repository, _: &_| set(repository, &new);
    let has = |living: &[SnapshotInfo], tags: &[&Vec<String>]| {
        let tagged: Vec<_> = living.iter().filter(|info| ids.contains(&info.id)).collect();
        assert!(tagged.len() == 2 && tagged.iter().all(|info| tags.contains(&&info.tags)), "{tagged:?}");
    };
    let always = |living: &[SnapshotInfo]| has(living, &[&old, &new]);
    let done = |repository: &Repository| has(&load(repository).0, &[&new]);
    let trial = Trial::new("tags", &world, &source, &operation);
    Trial { kept, always: &always, done: &done, changes: 2, ..trial }.run();
}

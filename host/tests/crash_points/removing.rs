//! What removes: forgetting snapshots, and pruning in its steps.

use std::fs;

use obnam::format::roster::Role;
use obnam::repository::Repository;
use obnam::repository::pruning::Options;

use super::*;
use crate::trial::Trial;

/// Backups of which many are forgotten, each with a record and an index chunk of its own, if these are `many`: so many that prune
/// puts them together. What is kept needs a part of some packs.
fn with_garbage(world: &World, many: u64) -> Vec<Kept> {
    let (source, kept) = two_backups(world);
    fill(&source, |number| number % 3);
    let mut doomed = vec![kept[0].id];
    for seed in 0..many {
        fs::write(source.join("own"), noise(50 + seed, 4000)).unwrap();
        doomed.push(backup(&world.open(), &source).id);
    }
    fs::write(source.join("own"), noise(2, 30_000)).unwrap();
    doomed.push(backup(&world.open(), &source).id);
    fs::write(source.join("own"), noise(3, 5000)).unwrap();
    let last = keep(&world.open(), &source);
    for id in doomed {
        forget(&world.open(), [id]);
    }
    vec![kept[1].clone(), last]
}

/// What was forgotten comes back: a backup must not rely on what is going.
fn garbage_again(world: &World) -> PathBuf {
    let source = old_contents(world);
    fs::write(source.join("own"), noise(2, 30_000)).unwrap();
    fs::write(source.join("seed 50"), noise(50, 4000)).unwrap();
    source
}

fn pruning(repository: &Repository, _: &obnam::local::Dirs) -> Result<(), obnam::repository::RepositoryError> {
    prune_with(repository, &all_blobs()).map(drop)
}

#[test]
fn forgetting() {
    let world = World::new();
    let (source, kept) = two_backups(&world);
    let kept: Vec<Kept> = kept.into_iter().map(|kept| Kept { may_go: true, ..kept }).collect();
    fs::write(source.join("own"), noise(2, 30_000)).unwrap();
    let last = keep(&world.open(), &source);
    let first = load(&world.open()).0;
    for info in first.iter().filter(|info| info.id != last.id) {
        world.open().set_tags(info, &["tag".to_owned()]).unwrap();
    }
    let doomed: Vec<_> = kept.iter().map(|kept| kept.id).collect();
    let operation = |repository: &Repository, _: &_| {
        let listing = repository.listing()?;
        let snapshots = repository.snapshots(&listing)?;
        repository.forget(&listing, &snapshots, &doomed.iter().copied().collect()).map(drop)
    };
    let done = |repository: &Repository| {
        let snapshots = load(repository).0;
        assert_eq!(snapshots.iter().map(|info| info.id).collect::<Vec<_>>(), [last.id]);
        assert_eq!(world.chunks("note.").len(), 0);
    };
    let kept = kept.into_iter().chain([last.clone()]).collect();
    let next = old_contents(&world);
    Trial { kept, done: &done, changes: 5, ..Trial::new("forgetting", &world, &next, &operation) }.run();
}

/// Where nobody else backs up, all steps come at once: packs are repacked, marked, dropped from the index and removed.
#[test]
fn pruning_alone() {
    let world = World::new();
    let kept = with_garbage(&world, 0);
    let next = garbage_again(&world);
    Trial { kept, changes: 10, ..Trial::new("pruning alone", &world, &next, &pruning) }.run();
}

/// The same with so many small index chunks that they are merged.
#[test]
fn pruning_alone_and_merging_indexes() {
    let world = World::new();
    let kept = with_garbage(&world, 16);
    let next = garbage_again(&world);
    let name = "pruning alone and merging indexes";
    Trial { kept, step: 21, changes: 40, ..Trial::new(name, &world, &next, &pruning) }.run();
    assert!(world.chunks("index.").len() < 16);
}

/// A world with another client, in which a backup has just shown what time it is at the store, a day after everything else.
fn beside_others(many: u64) -> (World, Vec<Kept>) {
    let world = World::new();
    let other = world.party("other");
    world.admit(vec![(&other, vec![Role::Writer, Role::Reader], None)]);
    let mut kept = with_garbage(&world, many);
    pass(&world.store, 25 * HOUR);
    kept.push(keep(&world.open_as(&other), &world.source("theirs", &[("shared", noise(1, 20_000))])));
    (world, kept)
}

/// Beside other clients: packs are repacked and marked.
#[test]
fn marking_packs() {
    let (world, kept) = beside_others(0);
    let next = garbage_again(&world);
    Trial { kept, changes: 3, ..Trial::new("marking packs", &world, &next, &pruning) }.run();
}

/// Beside other clients, a day later: marked packs are removed, and index chunks merged.
#[test]
fn removing_marked_packs() {
    let (world, kept) = beside_others(16);
    assert!(repack(&world.open()).marked.packs > 3);
    pass(&world.store, 25 * HOUR);
    backup(&world.open(), &world.source("tick", &[]));
    let next = garbage_again(&world);
    let name = "removing marked packs";
    Trial { kept, step: 15, changes: 25, ..Trial::new(name, &world, &next, &pruning) }.run();
}

/// Where it is not known any more into which packs something was moved, the trees tell what is needed. Whatever happens while they are
/// read, that stays.
#[test]
fn pruning_where_moves_are_forgotten() {
    let world = World::new();
    let source = world.source("s", &[("long", noise(7, 200_000))]);
    fill(&source, |_| 0);
    let first = backup(&world.open(), &source).id;
    fill(&source, |number| number % 2);
    fs::write(source.join("long"), [noise(8, 60_000), noise(7, 200_000)].concat()).unwrap();
    let last = keep(&world.open(), &source);
    forget(&world.open(), [first]);
    assert!(repack(&world.open()).repacked.packs > 0);
    world.store.chunks.lock().unwrap().retain(|(label, _), _| label.family() != "index");
    assert!(!world.open_fresh().repair_index(&|_, _| false, false).unwrap().found.is_empty());
    let doomed = backup(&world.open(), &world.source("garbage", &[("g", noise(9, 50_000))])).id;
    let newest = keep(&world.open(), &world.source("newest", &[("n", noise(3, 100))]));
    forget(&world.open(), [doomed]);
    assert!(prune_with(&world.open(), &Options { dry_run: true, ..all_blobs() }).unwrap().missing > 0);
    let next = garbage_again(&world);
    let trial = Trial::new("pruning where moves are forgotten", &world, &next, &pruning);
    let done = |repository: &Repository| assert_restores(repository, &last.id, &last.source, &last.tree);
    // As long as it is there, packs are missing that it names.
    let (healed, doomed) = (vec![last.clone()], vec![last.id]);
    Trial { kept: vec![newest], healed, doomed, done: &done, changes: 4, ..trial }.run();
}

//! A repository against a model: two clients back up, forget, prune and copy into another repository in any order, die in the middle, or
//! sleep through what the other one does. Whatever they do, each snapshot that was committed and not forgotten comes back as its source
//! was, from there and from the other repository, and in the end all space is freed.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use obnam::chunk::ChunkId;
use obnam::clock;
use obnam::copy::{self, Copier, Fate};
use obnam::format::roster::Role;
use obnam::repository::metadata::SnapshotInfo;
use obnam::repository::open::open;
use obnam::repository::pruning::{Options, Watch};
use obnam::repository::{Repository, RepositoryError};
use obnam::store::ChunkStore;
use obnam::store::memory::MemoryStore;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use support::*;

/// What a client does.
#[derive(Debug, Clone)]
enum Deed {
    /// Changes some files and backs up.
    BackUp { seed: u64 },
    /// Forgets those of all snapshots whose bit is set.
    Forget { which: u64 },
    /// Prunes.
    Prune,
    /// Copies all snapshots into the other repository.
    Copy,
}

#[derive(Debug, Clone)]
enum Step {
    /// One client does something.
    Do(usize, Deed),
    /// It dies with this change to the store, which is made or not.
    Die(usize, Deed, usize, bool),
    /// It falls asleep before it stores something, and the other one does this meanwhile, with hours between.
    Sleep(usize, Deed, usize, Vec<(u8, Deed)>),
    /// Hours pass.
    Pass(u8),
}

fn deeds() -> impl Strategy<Value = Deed> {
    prop_oneof![
        3 => (0..16u64).prop_map(|seed| Deed::BackUp { seed }),
        1 => any::<u64>().prop_map(|which| Deed::Forget { which }),
        2 => Just(Deed::Forget { which: u64::MAX }),
        3 => Just(Deed::Prune),
        2 => Just(Deed::Copy),
    ]
}

/// What the other one does while a client sleeps: most often what could hurt it.
fn meanwhile() -> impl Strategy<Value = Vec<(u8, Deed)>> {
    let deeds =
        prop_oneof![1 => deeds(), 3 => Just(Deed::Prune), 2 => (0..16u64).prop_map(|seed| Deed::BackUp { seed })];
    prop::collection::vec((prop_oneof![Just(0), 20..60u8], deeds), 1..8)
}

fn steps() -> impl Strategy<Value = Step> {
    let client = || 0..2usize;
    prop_oneof![
        4 => (client(), deeds()).prop_map(|(client, deed)| Step::Do(client, deed)),
        2 => (client(), deeds(), 0..12usize, any::<bool>())
            .prop_map(|(client, deed, change, completes)| Step::Die(client, deed, change, completes)),
        4 => (client(), deeds(), 0..6usize, meanwhile())
            .prop_map(|(client, deed, put, others)| Step::Sleep(client, deed, put, others)),
        3 => (1..60u8).prop_map(Step::Pass),
    ]
}

/// The repository, and what it should hold.
struct Model {
    world: World,
    other: Party,
    sources: [PathBuf; 2],
    /// What each snapshot has to bring back.
    snapshots: Mutex<BTreeMap<ChunkId, (usize, Tree)>>,
    /// The same of all that there ever were.
    history: Mutex<BTreeMap<ChunkId, (usize, Tree)>>,
    /// Where they are copied to.
    copies: World,
    /// What was copied.
    copied: Mutex<Vec<ChunkId>>,
}

impl Model {
    fn new() -> Arc<Self> {
        let world = World::new();
        let other = world.party("other");
        world.admit(vec![(&other, vec![Role::Writer, Role::Reader, Role::Maintainer], None)]);
        let sources = ["one", "two"].map(|name| world.source(name, &[("shared", noise(99, 20_000))]));
        let (snapshots, history, copied) = Default::default();
        Arc::new(Model { world, other, sources, snapshots, history, copies: World::new(), copied })
    }

    /// The store that a deed changes.
    fn store(&self, deed: &Deed) -> Arc<MemoryStore> {
        if matches!(deed, Deed::Copy) { self.copies.store.clone() } else { self.world.store.clone() }
    }

    fn note(&self, id: ChunkId, client: usize, expected: Tree) {
        self.snapshots.lock().unwrap().insert(id, (client, expected.clone()));
        self.history.lock().unwrap().insert(id, (client, expected));
    }

    /// Copies what there is. A snapshot that is forgotten or pruned meanwhile may not come over.
    fn copy(&self, client: usize, store: Arc<dyn ChunkStore>) -> Result<(), RepositoryError> {
        let source = self.open(client, self.world.store.clone())?;
        let target =
            open(self.copies.place_of(store, "first"), &self.copies.secret, Some(self.copies.made.repository))?;
        let (snapshots, index) = load(&source);
        let living: Vec<&SnapshotInfo> = snapshots.iter().filter(|info| !info.forgotten).collect();
        let watch = copy::Watch::default();
        let mut copier = Copier::new(&source, &index, &target, &watch)?;
        copier.copy(&living, |_, fate| {
            if let Fate::Copied(id) = fate {
                self.copied.lock().unwrap().push(*id);
            }
        })
    }

    /// Every copy brings back what its original did.
    fn check_copies(&self) {
        let repository = self.copies.open_fresh();
        let (listed, index) = load(&repository);
        for id in self.copied.lock().unwrap().iter() {
            assert!(listed.iter().any(|info| info.id == *id), "the copy {id} has vanished");
        }
        let history = self.history.lock().unwrap();
        for info in &listed {
            let Some((client, expected)) = history.get(&info.snapshot.origin.as_ref().unwrap().snapshot) else {
                continue;
            };
            let restored = restore_root(&repository, &index, &info.snapshot.root);
            assert_eq!(restored.problems, [], "the copy {}", info.id);
            assert!(tree(&restored.at(&self.sources[*client])) == *expected, "the copy {} is another", info.id);
        }
        let report = check(&repository, false);
        assert_eq!(report.errors(), 0, "{:#?}", report.findings);
    }

    fn open(&self, client: usize, store: Arc<dyn ChunkStore>) -> Result<Repository, RepositoryError> {
        let (name, secret) = if client == 0 { ("first", &self.world.secret) } else { ("other", &self.other.secret) };
        open(self.world.place_of(store, name), secret, Some(self.world.made.repository))
    }

    fn forget(&self, repository: &Repository, which: u64) -> Result<(), RepositoryError> {
        let listing = repository.listing()?;
        let snapshots = repository.snapshots(&listing)?;
        let newest = repository.newest_of_clients(&snapshots);
        let chosen = snapshots
            .iter()
            .enumerate()
            .filter(|(place, info)| which >> (place % 64) & 1 == 1 && !newest.contains(&info.id));
        let doomed: HashSet<ChunkId> = chosen.map(|(_, info)| info.id).collect();
        // Whether it ends well or not, they may be gone from now on.
        self.snapshots.lock().unwrap().retain(|id, _| !doomed.contains(id));
        repository.forget(&listing, &snapshots, &doomed).map(drop)
    }

    fn run(&self, client: usize, deed: &Deed, store: Arc<dyn ChunkStore>) -> Result<(), RepositoryError> {
        if matches!(deed, Deed::Copy) {
            return self.copy(client, store);
        }
        let repository = self.open(client, store)?;
        match deed {
            Deed::BackUp { seed } => {
                let source = &self.sources[client];
                // Few contents, so that some come back that nobody needed meanwhile; and many files that stay, so that packs are needed in part.
                for part in 0..4 {
                    let contents = noise(part * 10 + (seed >> part & 1), 3000);
                    fs::write(source.join(format!("part {part}")), contents).unwrap();
                }
                let expected = tree(source);
                let outcome = try_backup(&repository, source)?;
                self.note(outcome.id, client, expected);
                Ok(())
            }
            Deed::Forget { which } => self.forget(&repository, *which),
            Deed::Prune => repository.prune(&all_blobs(), &Watch::default()).map(drop),
            Deed::Copy => unreachable!("it was done above"),
        }
    }

    fn step(self: &Arc<Self>, step: &Step) {
        match step {
            Step::Pass(hours) => pass(&self.world.store, Duration::from_secs(u64::from(*hours) * 3600)),
            Step::Do(client, deed) => self.run(*client, deed, self.store(deed)).unwrap(),
            Step::Die(client, deed, change, completes) => {
                let mortal = Arc::new(Mortal::new(self.store(deed), *change, *completes));
                let ended = self.run(*client, deed, mortal.clone());
                assert_eq!(ended.is_err(), mortal.is_dead(), "{ended:?}");
                self.adopt(*client);
            }
            Step::Sleep(client, deed, put, others) => {
                let (model, awake, others) = (self.clone(), 1 - client, others.clone());
                let copies = matches!(deed, Deed::Copy);
                let meanwhile = move || {
                    for (hours, deed) in &others {
                        let time = Duration::from_secs(u64::from(*hours) * 3600);
                        pass(&model.world.store, time);
                        clock::sleep(time);
                        // One at a time copies.
                        if !(copies && matches!(deed, Deed::Copy)) {
                            model.run(awake, deed, model.store(deed)).unwrap();
                        }
                    }
                };
                self.run(*client, deed, Arc::new(Sleepy::new(self.store(deed), *put, meanwhile))).unwrap();
            }
        }
        self.check();
        self.check_copies();
    }

    /// A backup that died may have committed all the same.
    fn adopt(&self, client: usize) {
        let expected = tree(&self.sources[client]);
        let path = self.sources[client].to_str().unwrap().as_bytes().to_vec();
        let repository = self.world.open_fresh();
        let snapshots = load(&repository).0;
        let newest =
            snapshots.iter().filter(|info| info.snapshot.paths[0].0 == path).max_by_key(|info| info.snapshot.sequence);
        if let Some(info) = newest.filter(|info| !self.history.lock().unwrap().contains_key(&info.id)) {
            self.note(info.id, client, expected);
        }
    }

    /// Every snapshot that is neither forgotten nor half gone comes back.
    fn check(&self) {
        let repository = self.world.open_fresh();
        let (listed, index) = load(&repository);
        let living: BTreeMap<ChunkId, _> =
            listed.iter().filter(|info| !info.forgotten).map(|info| (info.id, info)).collect();
        let mut snapshots = self.snapshots.lock().unwrap();
        for (id, (client, expected)) in &*snapshots {
            let info = living.get(id).unwrap_or_else(|| panic!("snapshot {id} of client {client} has vanished"));
            let restored = restore_root(&repository, &index, &info.snapshot.root);
            assert_eq!(restored.problems, [], "{id}");
            assert!(tree(&restored.at(&self.sources[*client])) == *expected, "{id} is not as its source was");
        }
        // Of those that were to be forgotten when their client died, some may be left.
        snapshots.retain(|id, _| living.contains_key(id));
        let report = check(&repository, false);
        assert_eq!(report.errors(), 0, "{:#?}", report.findings);
    }

    /// In the end only what the newest snapshots need is left.
    fn end(&self) {
        let store = &self.world.store;
        for deed in [Deed::BackUp { seed: 5 }, Deed::Forget { which: u64::MAX }] {
            for client in [0, 1] {
                self.run(client, &deed, store.clone()).unwrap();
            }
        }
        for _ in 0..4 {
            pass(store, Duration::from_secs(50 * 3600));
            self.run(0, &Deed::BackUp { seed: 6 }, store.clone()).unwrap();
            self.run(0, &Deed::Forget { which: u64::MAX }, store.clone()).unwrap();
            self.run(0, &Deed::Prune, store.clone()).unwrap();
        }
        self.check();
        let repository = self.world.open_fresh();
        let living: Vec<_> = load(&repository).0.into_iter().filter(|info| !info.forgotten).collect();
        assert_eq!(living.len(), 2);
        // The last prune has marked what the backup before it made useless.
        let left = repository.prune(&Options { dry_run: true, ..all_blobs() }, &Watch::default()).unwrap();
        let young = left.all.packs - left.needed.packs - left.waiting.packs;
        assert!(young <= 6, "{young} packs that nobody needs are left");
    }
}

/// The usual runs are always the same ones. `PROPTEST_CASES` asks for so many others.
fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let rng_seed = if asked.is_some() { RngSeed::Random } else { RngSeed::Fixed(2026) };
    let (cases, failure_persistence) = (asked.unwrap_or(32), None);
    ProptestConfig { cases, rng_seed, max_shrink_iters: 200, failure_persistence, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn snapshots_survive_everything(steps in prop::collection::vec(steps(), 1..16)) {
        let model = Model::new();
        for step in &steps {
            model.step(step);
        }
        model.end();
    }
}

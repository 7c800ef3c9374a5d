//! A trial: an operation is recorded once; then, in every state in which a crash would have left store and machine, it is done again.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use obnam::chunk::ChunkId;
use obnam::credential::Secret;
use obnam::local::Dirs;
use obnam::repository::metadata::SnapshotInfo;
use obnam::repository::open::{Known, open};
use obnam::repository::{Repository, RepositoryError};
use obnam::store::ChunkStore;
use obnam::store::memory::Chunks;

use crate::support::*;

/// What is done. The directories are those of the machine that does it.
pub type Operation<'t> = dyn Fn(&Repository, &Dirs) -> Result<(), RepositoryError> + 't;

/// What a user does afterwards.
pub type Afterwards<'t> = dyn Fn(&Repository, &Dirs) + 't;

/// A snapshot, and what it restores to.
#[derive(Clone)]
pub struct Kept {
    pub id: ChunkId,
    pub source: PathBuf,
    pub tree: Tree,
    /// Whether the operation may forget it. As long as it has not, it restores.
    pub may_go: bool,
}

/// Backs up, and remembers what the snapshot has to restore to.
pub fn keep(repository: &Repository, source: &Path) -> Kept {
    let (source, tree) = (source.to_owned(), tree(source));
    Kept { id: backup(repository, &source).id, source, tree, may_go: false }
}

/// An operation of the first client of a world, and what has to hold whenever it is cut off.
pub struct Trial<'t> {
    pub name: &'t str,
    pub world: &'t World,
    /// The first of them that opens the repository is used.
    pub secrets: Vec<Secret>,
    pub operation: &'t Operation<'t>,
    /// What the user does after a crash; by default the same again.
    pub again: Option<&'t Afterwards<'t>>,
    /// Snapshots from before.
    pub kept: Vec<Kept>,
    /// All other snapshots restore to one of these, by path.
    pub made: Vec<(PathBuf, Tree)>,
    /// What else has to hold in every state, of the snapshots that are not forgotten.
    pub always: &'t dyn Fn(&[SnapshotInfo]),
    /// What has to hold when the operation was done again.
    pub done: &'t dyn Fn(&Repository),
    /// What the next backup is of.
    pub next: PathBuf,
    /// Snapshots that restore once more after the next backup.
    pub healed: Vec<Kept>,
    /// Snapshots that are damaged from the beginning, and forgotten then.
    pub doomed: Vec<ChunkId>,
    /// The codes of what `check` may find in what a crash leaves.
    pub left: Vec<&'static str>,
    /// Only each so many events are looked at.
    pub step: usize,
    /// How many changes the operation makes, at least.
    pub changes: usize,
}

/// Says in which state a panic has happened.
struct Whereabouts(RefCell<String>);

impl Drop for Whereabouts {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was in the state: {}", self.0.borrow());
        }
    }
}

impl<'t> Trial<'t> {
    /// A trial of something that changes the repository once, after which nothing but a pack in no index may be left.
    pub fn new(name: &'t str, world: &'t World, next: &Path, operation: &'t Operation<'t>) -> Self {
        Trial {
            name,
            world,
            secrets: vec![world.secret.clone()],
            operation,
            again: None,
            kept: Vec::new(),
            made: Vec::new(),
            always: &|_| (),
            done: &|_| (),
            next: next.to_owned(),
            healed: Vec::new(),
            doomed: Vec::new(),
            left: vec!["pack-unindexed"],
            step: 1,
            changes: 1,
        }
    }

    /// Records the operation, and goes through all states; then does it while the store cannot be reached for a moment.
    pub fn run(&self) {
        let before = self.world.store.chunks.lock().unwrap().clone();
        copy_dir(&self.world.tmp.path().join("first"), &self.world.tmp.path().join("before"));
        self.run_crashes();
        self.run_outages(&before);
    }

    /// Does the operation on a machine that knows the repository, and on one that does not, while each of its calls fails once, or some in a
    /// row, or its change is made and the answer gets lost. It ends with that failure, or it has done all the same what it is for.
    fn run_outages(&self, before: &Chunks) {
        let root = self.world.tmp.path();
        let at = Whereabouts(RefCell::default());
        let (mut ended, mut done) = (0, 0);
        for (knows, outage) in [(true, Outage::Calls(1)), (false, Outage::Calls(2)), (true, Outage::Answer)] {
            for number in (0..).step_by(self.step) {
                *at.0.borrow_mut() = format!("{}, {outage:?} from call {number}, machine knows: {knows}", self.name);
                self.set(before);
                if knows {
                    copy_dir(&root.join("before"), &root.join("crashed"));
                }
                let store = Arc::new(Unreachable::new(self.world.store.clone(), outage));
                let repository = self.open_through(store.clone(), "crashed");
                store.fail_after(number);
                let result = (self.operation)(&repository, &self.dirs("crashed"));
                drop(repository);
                let has_failed = store.has_failed();
                if outage == Outage::Answer && has_failed && !store.has_failed_to_change() {
                    fs::remove_dir_all(root.join("crashed")).unwrap();
                    continue;
                }
                match result {
                    Ok(()) => {
                        done += 1;
                        let fresh = self.open_fresh();
                        self.assert_whole(&fresh, false);
                        (self.done)(&fresh);
                    }
                    Err(failed) => {
                        let why = if let RepositoryError::RosterUnsure(why) = &failed { why } else { &failed };
                        let is_outage = matches!(why, RepositoryError::Store(error) if error.is_outage());
                        assert!(has_failed && is_outage, "{failed}");
                        ended += 1;
                    }
                }
                self.assert_whole(&self.open_fresh(), true);
                self.go_on();
                fs::remove_dir_all(root.join("crashed")).unwrap();
                if !has_failed {
                    break;
                }
            }
        }
        println!("{}: {ended} times it ended, {done} times it was done", self.name);
        fs::remove_dir_all(root.join("before")).unwrap();
    }

    /// Records the operation, and goes through all states.
    fn run_crashes(&self) {
        let (world, root) = (self.world, self.world.tmp.path());
        let copies = root.join("copies");
        let recording = Arc::new(Recording::new(world.store.clone(), root.join("first"), copies.clone()));
        let repository = self.open_through(recording.clone(), "first");
        (self.operation)(&repository, &self.dirs("first")).unwrap();
        drop(repository);
        let changes = recording.changes();
        assert!(changes.len() >= self.changes, "{} makes the changes {changes:?}", self.name);
        let crashes = recording.crashes(self.step);
        let dirs: usize = crashes.iter().map(|crash| crash.dirs.len()).sum();
        println!("{}: {} changes, {} states, {dirs} with local files", self.name, changes.len(), crashes.len());
        let at = Whereabouts(RefCell::default());
        for (place, crash) in crashes.iter().enumerate() {
            *at.0.borrow_mut() = format!("{}, {}", self.name, crash.name);
            self.set(&crash.chunks);
            self.assert_whole(&self.open_fresh(), true);
            // A machine that has lost its local files goes on from some of the states, the last one among them.
            let without_files = (crashes.len() - 1 - place).is_multiple_of(3).then_some(None);
            for (number, dir) in crash.dirs.iter().map(Some).chain(without_files).enumerate() {
                *at.0.borrow_mut() = format!("{}, {}, machine {number} of {}", self.name, crash.name, crash.dirs.len());
                self.set(&crash.chunks);
                if let Some(dir) = dir {
                    copy_dir(dir, &root.join("crashed"));
                }
                self.go_on();
                fs::remove_dir_all(root.join("crashed")).unwrap();
            }
        }
        fs::remove_dir_all(copies).unwrap();
    }

    fn set(&self, chunks: &Chunks) {
        *self.world.store.chunks.lock().unwrap() = chunks.clone();
    }

    fn dirs(&self, machine: &str) -> Dirs {
        Dirs::below(&self.world.tmp.path().join(machine))
    }

    /// Opens the repository as it is opened without further words, or else with the credential that is on the recovery sheet.
    fn open_through(&self, store: Arc<dyn ChunkStore>, machine: &str) -> Repository {
        let repository = Some(self.world.made.repository);
        let known = std::iter::once(None).chain(self.world.chunks("credential").into_iter().map(|(_, id, _)| Some(id)));
        let mut failed = Vec::new();
        for credential in known {
            for secret in &self.secrets {
                match open(self.world.place_of(store.clone(), machine), secret, Known { repository, credential }) {
                    Ok(repository) => return repository,
                    Err(why) => failed.push(why.to_string()),
                }
            }
        }
        panic!("it does not open: {failed:#?}")
    }

    /// The machine that has crashed.
    fn open(&self) -> Repository {
        self.open_through(self.world.store.clone(), "crashed")
    }

    /// A machine that has seen nothing.
    fn open_fresh(&self) -> Repository {
        let _ = fs::remove_dir_all(self.world.tmp.path().join("fresh"));
        self.open_through(self.world.store.clone(), "fresh")
    }

    /// The machine goes on after the crash, and in the end there is nothing that nobody needs.
    fn go_on(&self) {
        let repository = self.open();
        self.assert_whole(&repository, true);
        match self.again {
            Some(again) => again(&repository, &self.dirs("crashed")),
            None => (self.operation)(&repository, &self.dirs("crashed")).unwrap(),
        }
        let fresh = self.open_fresh();
        self.assert_whole(&fresh, false);
        (self.done)(&fresh);

        let next = keep(&self.open(), &self.next);
        let fresh = self.open_fresh();
        for one in self.healed.iter().chain([&next]) {
            assert_restores(&fresh, &one.id, &one.source, &one.tree);
        }
        if !self.doomed.is_empty() {
            forget(&self.open(), self.doomed.iter().copied());
        }
        self.settle();
        assert_restores(&self.open(), &next.id, &next.source, &next.tree);
        let fresh = self.open_fresh();
        self.assert_kept(&fresh);
        assert_restores(&fresh, &next.id, &next.source, &next.tree);
        assert_clean(&fresh);
        assert_only_needed_of(self.world, &fresh);
    }

    /// Prunes until nothing is left to be pruned.
    fn settle(&self) {
        let repository = self.open();
        if repository.roster.members.iter().filter(|member| member.removed.is_none()).count() == 1 {
            repack(&repository);
            return;
        }
        // What others may be about to need is marked, and removed later. The store's time shows in what it has got last.
        let tick = self.world.source("tick", &[]);
        for _ in 0..3 {
            pass(&self.world.store, Duration::from_secs(50 * 3600));
            backup(&self.open(), &tick);
            repack(&self.open());
        }
    }

    /// Every snapshot that was committed restores, and `check` finds nothing but what may be left.
    fn assert_whole(&self, repository: &Repository, cut_off: bool) {
        self.assert_kept(repository);
        let report = check(repository, true);
        let others: Vec<_> = report.findings.iter().filter(|found| !self.left.contains(&found.code)).collect();
        assert!(others.is_empty(), "cut off: {cut_off}, {others:#?}");
        let warnings = repository.warnings.all();
        assert!(!warnings.iter().any(|warning| warning.code.starts_with("history")), "{warnings:#?}");
    }

    fn assert_kept(&self, repository: &Repository) {
        let (snapshots, index) = load(repository);
        let living: Vec<SnapshotInfo> = snapshots.into_iter().filter(|info| !info.forgotten).collect();
        for kept in &self.kept {
            match living.iter().any(|info| info.id == kept.id) {
                true => assert_restores(repository, &kept.id, &kept.source, &kept.tree),
                false => assert!(kept.may_go, "snapshot {} has vanished", kept.id),
            }
        }
        (self.always)(&living);
        let is_made =
            |info: &&SnapshotInfo| self.kept.iter().all(|kept| kept.id != info.id) && !self.doomed.contains(&info.id);
        for info in living.iter().filter(is_made) {
            let is_same =
                |(path, _): &&(PathBuf, Tree)| info.snapshot.paths[0].0 == path.as_os_str().as_encoded_bytes();
            let Some((source, _)) = self.made.iter().find(is_same) else { continue };
            let restored = restore_root(repository, &index, &info.snapshot.root);
            assert_eq!(restored.problems, [], "restoring {}", info.id);
            if info.is_partial() && !restored.at(source).exists() {
                continue;
            }
            let found = tree(&restored.at(source));
            let fits = |tree: &Tree| if info.is_partial() { is_part(&found, tree) } else { found == *tree };
            assert!(self.made.iter().filter(is_same).any(|(_, tree)| fits(tree)), "{} is another", info.id);
        }
    }
}

/// Whether all files of a tree are in another one. Directories have other times while their files are missing.
fn is_part(part: &Tree, whole: &Tree) -> bool {
    let is_dir = |mode: u32| mode & 0o170000 == 0o040000;
    part.iter().all(|(path, entry)| whole.get(path).is_some_and(|other| entry == other || is_dir(entry.0)))
}

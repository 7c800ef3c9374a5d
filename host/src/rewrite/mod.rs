//! Rewrite: new snapshots made of old ones, without some of their files: those that match, or those that are lost ([`Task`]).
//!
//! No contents are read. Of each snapshot its directories are gone through once to see whether anything is left out ([`trees`]); where
//! it is, they are gone through again and made anew as far as they have changed ([`directory`]). Files keep their blobs, and directories in
//! which nothing has changed theirs; the new snapshot's reference list names the packs that these are in, and those of the new directories.
//!
//! Packer, uploads and commit are those of [`crate::backup`], so it may be interrupted at any time: a snapshot is made as a whole or not
//! at all, and the same again goes on, since what was made says what it was made from ([`Rewritten`]). The originals stay until
//! somebody forgets them: [`forget`] does so, once the new ones are there.

mod directory;
mod fault;
mod trees;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use fault::Fault;
use trees::{Change, Made, Trees, Untouched};
pub use trees::{LeftOut, Reason};

use crate::backup::commit::{Chain, Description, commit};
use crate::backup::counters::{Counter, Counters};
use crate::backup::journal;
use crate::backup::session::Known;
use crate::backup::upload::Uploads;
use crate::backup::writer::Writer;
use crate::chunk::{ChunkId, Label, LabelFilter};
use crate::clock::Moment;
use crate::format::content::Content;
use crate::format::roster::Role;
use crate::format::snapshot::{Rewritten, Snapshot, Statistics};
use crate::index::Index;
use crate::local::lock::BackupLock;
use crate::repository::blobs::{BlobReader, pack_label};
use crate::repository::forgetting::Outcome;
use crate::repository::metadata::SnapshotInfo;
use crate::repository::tree::with_deep_stack;
use crate::repository::{Repository, RepositoryError, family};
use crate::restore;
use crate::select::Patterns;

/// Tries when packs that a new snapshot relies on are marked for removal meanwhile.
const MAX_TRIES: usize = 3;

/// What the caller watches, and how it ends a rewrite.
#[derive(Default)]
pub struct Watch {
    /// What has been stored.
    pub counters: Counters,
    /// Entries of directories that were gone through.
    pub entries: Counter,
    /// Snapshots that are done.
    pub snapshots: Counter,
    /// Set to end it.
    pub stop: Arc<AtomicBool>,
}

impl Watch {
    /// A watch whose command ends when this flag is set.
    pub fn stopped_by(stop: Arc<AtomicBool>) -> Self {
        Watch { stop, ..Watch::default() }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub enum Task<'t> {
    /// Leave out what matches these patterns.
    LeaveOut(&'t Patterns),
    /// Leave out what is lost.
    Repair,
}

impl<'t> Task<'t> {
    fn change(self, gone: &'t HashSet<ChunkId>) -> Change<'t> {
        match self {
            Task::LeaveOut(patterns) => Change::LeaveOut(patterns),
            Task::Repair => Change::Repair(gone),
        }
    }
}

/// What has become of a snapshot.
#[derive(Debug, Clone)]
pub enum Fate {
    /// Nothing in it is left out, so it stays as it is.
    Untouched,
    /// In a dry run: this would be left out.
    Found(LeftOut),
    /// This one was made of it.
    Rewritten {
        /// The new snapshot.
        id: ChunkId,
        /// Its numbers.
        numbers: Statistics,
        /// What is left out.
        left_out: LeftOut,
    },
    /// The same was made of it before.
    Present(ChunkId),
    /// Nothing would be left of it.
    Emptied,
    /// It cannot be rewritten, for this reason.
    Damaged(String),
}

/// Is told of each path of a snapshot at which something is left out, and why.
pub type Told<'t> = dyn FnMut(&SnapshotInfo, &Path, Reason<'_>) + Send + 't;

/// Rewrites snapshots of a repository.
pub struct Rewriter<'a> {
    repository: &'a Repository,
    task: Task<'a>,
    watch: &'a Watch,
    /// What was made of which snapshot before: the new one, its root directory, and the first one of the line.
    made: Vec<(ChunkId, Content, ChunkId)>,
    chain: Chain,
    untouched: Untouched,
}

/// What a snapshot that is made of this one says that it was made from.
fn first(info: &SnapshotInfo) -> Rewritten {
    let Snapshot { client, sequence, .. } = *info.snapshot;
    info.snapshot.rewritten.clone().unwrap_or(Rewritten { snapshot: info.id, client, sequence })
}

impl<'a> Rewriter<'a> {
    /// For this task. `snapshots` are all that there are.
    pub fn new(
        repository: &'a Repository,
        snapshots: &[SnapshotInfo],
        task: Task<'a>,
        watch: &'a Watch,
    ) -> Result<Self, RepositoryError> {
        repository.require(Role::Writer, "write snapshots")?;
        if !repository.can_read() {
            return Err(RepositoryError::NotAllowed { action: "read the snapshots that are to be rewritten" });
        }
        let made = snapshots
            .iter()
            .filter(|info| !info.forgotten)
            .filter_map(|info| Some((info.id, info.snapshot.root.clone(), info.snapshot.rewritten.as_ref()?.snapshot)));
        Ok(Rewriter {
            repository,
            task,
            watch,
            made: made.collect(),
            chain: Chain::new(repository, snapshots)?,
            untouched: Untouched::default(),
        })
    }

    /// Looks what would be done, and tells `each` of one snapshot after the other.
    pub fn rehearse(
        &mut self,
        index: &Index,
        chosen: &[&SnapshotInfo],
        told: &mut Told<'_>,
        mut each: impl FnMut(&SnapshotInfo, Fate) + Send,
    ) -> Result<(), RepositoryError> {
        let gone = self.gone(index)?;
        with_deep_stack(|| {
            for info in chosen {
                let fate = match self.look((index, &gone), info, told) {
                    Ok(made) if made.left_out.is_empty() => Fate::Untouched,
                    Ok(made) => Fate::Found(made.left_out),
                    Err(fault) => self.damage(fault)?,
                };
                self.watch.snapshots.add(1);
                each(info, fate);
            }
            Ok(())
        })?
    }

    /// Rewrites these snapshots, one after the other, and tells `each` what has become of one. Only one at a time may write into the
    /// repository.
    pub fn run(
        &mut self,
        index: &Index,
        chosen: &[&SnapshotInfo],
        told: &mut Told<'_>,
        mut each: impl FnMut(&SnapshotInfo, Fate) + Send,
    ) -> Result<(), RepositoryError> {
        let _lock = BackupLock::take(self.repository.state_dir())?;
        journal::recover(self.repository)?;
        let gone = self.gone(index)?;
        with_deep_stack(|| {
            for info in chosen {
                let fate = self.one((index, &gone), info, told)?;
                self.watch.snapshots.add(1);
                each(info, fate);
            }
            Ok(())
        })?
    }

    /// The packs that the index names and that are not there, or not as long as it says. Only a repair asks for them.
    fn gone(&self, index: &Index) -> Result<HashSet<ChunkId>, RepositoryError> {
        let mut gone = HashSet::new();
        if matches!(self.task, Task::LeaveOut(_)) {
            return Ok(gone);
        }
        // Listed later than the index: what that names is there, or gone.
        let mut there: HashMap<(Label, ChunkId), u64> = HashMap::new();
        for label in ["data", "tree"].map(family) {
            let listed = self.repository.store.list(&LabelFilter::Exactly(label))?;
            there.extend(listed.into_iter().map(|info| ((info.label, info.id), info.size)));
        }
        for pack in index.packs() {
            let pack = pack?;
            let Ok(label) = pack_label(&pack) else { continue };
            if there.get(&(label, pack.info.id)) != Some(&pack.info.size) {
                gone.insert(pack.info.id);
            }
        }
        Ok(gone)
    }

    fn look(
        &mut self,
        (index, gone): (&Index, &HashSet<ChunkId>),
        info: &SnapshotInfo,
        told: &mut Told<'_>,
    ) -> Result<Made, Fault> {
        let reader = BlobReader::new(self.repository, index);
        let budget = restore::budget(index, &info.snapshot.statistics);
        let trees = Trees::new(&reader, self.task.change(gone), self.watch, budget);
        let mut told = |path: &Path, reason: Reason<'_>| told(info, path, reason);
        let made = trees.look(&info.snapshot.root, &mut self.untouched, &mut told)?;
        if made.left_out.lost > 0 {
            // A store that has gone away is no damage.
            self.repository.store.open().map_err(RepositoryError::from)?;
        }
        Ok(made)
    }

    /// What a fault means for the snapshot. A store that has gone away is no damage.
    fn damage(&self, fault: Fault) -> Result<Fate, RepositoryError> {
        match fault {
            Fault::Failed(error) => Err(error),
            Fault::Damaged(path, error) => {
                self.repository.store.open()?;
                Ok(Fate::Damaged(format!("{path}: {error}")))
            }
            Fault::Again => {
                let why = "packs that it needs are being removed again and again; try again later";
                Ok(Fate::Damaged(why.into()))
            }
        }
    }

    fn one(
        &mut self,
        known: (&Index, &HashSet<ChunkId>),
        info: &SnapshotInfo,
        told: &mut Told<'_>,
    ) -> Result<Fate, RepositoryError> {
        match self.look(known, info, told) {
            Ok(made) if made.left_out.is_empty() => return Ok(Fate::Untouched),
            Ok(_) => {}
            Err(fault) => return self.damage(fault),
        }
        for _ in 1..MAX_TRIES {
            match self.attempt(info) {
                Err(Fault::Again) => {}
                Err(fault) => return self.damage(fault),
                Ok(fate) => return Ok(fate),
            }
        }
        self.attempt(info).or_else(|fault| self.damage(fault))
    }

    /// One try at one snapshot, with what is there now.
    fn attempt(&mut self, info: &SnapshotInfo) -> Result<Fate, Fault> {
        let (repository, looked) = (self.repository, Moment::now());
        let listing = repository.listing()?;
        let index = repository.load_index(&listing)?;
        // Where its list cannot be read, the index has to do.
        let originals = repository.relied_on(info, &listing, &index);
        let originals = originals.or_else(|why| why.about_chunk().map(|_| HashSet::new()))?;
        let lost = self.gone(&index)?;
        let gone = &repository.buried(&listing)?.packs | &lost;
        let known = Known { index: index.clone(), gone: &gone, originals: &originals, looked };
        let writer = Writer::new(repository, known, &self.watch.counters, &self.watch.stop)?;
        let before = self.watch.counters.statistics();
        let made = match self.fill(&writer, (&index, &lost), &info.snapshot) {
            Ok(made) => made,
            Err(fault) => {
                // What was stored is of use to the next try; that this one fails is already being said.
                if let Err(error) = writer.session.flush(repository) {
                    tracing::info!("no index of what was stored could be written: {error}");
                }
                return Err(fault);
            }
        };
        let Some(root) = made.root.clone() else { return Ok(Fate::Untouched) };
        if root.size == 0 {
            return Ok(Fate::Emptied);
        }
        let rewritten = first(info);
        let same = self.made.iter().find(|(_, other, of)| *of == rewritten.snapshot && *other == root);
        if let Some((id, ..)) = same {
            writer.session.flush(repository)?;
            return Ok(Fate::Present(*id));
        }
        self.commit(writer, info, root, &made, &before)
    }

    fn commit(
        &mut self,
        writer: Writer<'_>,
        info: &SnapshotInfo,
        root: Content,
        made: &Made,
        before: &Statistics,
    ) -> Result<Fate, Fault> {
        let now = self.watch.counters.statistics();
        let numbers = Statistics {
            unchanged_files: made.numbers.files,
            new_blobs: now.new_blobs - before.new_blobs,
            new_bytes: now.new_bytes - before.new_bytes,
            stored_bytes: now.stored_bytes - before.stored_bytes,
            errors: info.snapshot.statistics.errors.saturating_add(made.left_out.lost),
            ..made.numbers
        };
        let (snapshot, rewritten) = (&info.snapshot, first(info));
        let committed = commit(&writer, &mut self.chain, false, || Description {
            started: snapshot.started,
            finished: snapshot.finished,
            host: snapshot.host.clone(),
            paths: snapshot.paths.clone(),
            tags: info.tags.clone(),
            root: root.clone(),
            statistics: numbers,
            partial: info.is_partial(),
            origin: snapshot.origin.clone(),
            rewritten: Some(rewritten.clone()),
        })?;
        let id = committed.ok_or(Fault::Again)?.id;
        writer.session.end(self.repository);
        self.made.push((id, root, rewritten.snapshot));
        Ok(Fate::Rewritten { id, numbers, left_out: made.left_out })
    }

    /// Stores the directories that have changed. All that the new ones need is durable then.
    fn fill(
        &self,
        writer: &Writer<'_>,
        (index, lost): (&Index, &HashSet<ChunkId>),
        snapshot: &Snapshot,
    ) -> Result<Made, Fault> {
        let reader = BlobReader::new(self.repository, index);
        let budget = restore::budget(index, &snapshot.statistics);
        let trees = Trees::new(&reader, self.task.change(lost), self.watch, budget);
        let made = thread::scope(|scope| {
            let uploads = Uploads::start(scope, writer);
            let sender = uploads.sender();
            let made = trees.make(&snapshot.root, writer, &sender)?;
            writer.packers.finish(&sender)?;
            drop(sender);
            uploads.finish(writer);
            Ok::<_, Fault>(made)
        });
        // What an uploader says comes first: the others have only noticed that it is over.
        writer.ended()?;
        made
    }
}

/// Forgets originals, as far as the snapshots that were made of them (in pairs) are there. The newest snapshot of a client stays; these
/// come back beside what was done.
pub fn forget(
    repository: &Repository,
    pairs: &[(ChunkId, ChunkId)],
) -> Result<(Outcome, Vec<ChunkId>), RepositoryError> {
    let listing = repository.listing()?;
    let snapshots = repository.snapshots(&listing)?;
    let there: HashSet<ChunkId> = snapshots.iter().filter(|info| !info.forgotten).map(|info| info.id).collect();
    let newest = repository.newest_of_clients(&snapshots);
    let replaced = pairs.iter().filter(|(_, new)| there.contains(new)).map(|(original, _)| *original);
    let (kept, doomed): (Vec<ChunkId>, Vec<ChunkId>) = replaced.partition(|id| newest.contains(id));
    let outcome = repository.forget(&listing, &snapshots, &doomed.into_iter().collect())?;
    Ok((outcome, kept))
}

//! Copy: snapshots of one repository into another one, with everything that they need and the other one lacks.
//!
//! Blob ids are keyed, so each blob is opened with the source's keys, gets a name by the target's, and is sealed again. That is
//! done in two passes for each snapshot. The first one ([`survey`]) goes through its directories and gathers, batch by batch, the
//! data blobs that the target lacks; [`transfer`] fetches them in the order of the source's packs. The second one ([`rewrite`])
//! makes the same directories again with the target's blob ids. What both rely on are the [`names`]: which blob of the source is
//! which one of the target. They are kept in a local cache, so that a later copy reads no data that it has copied before.
//!
//! Packer, uploads and commit are those of [`crate::backup`]: packs first, then index chunks, then the snapshot, and a copy that
//! was cut off is taken up where it was. A snapshot says what it is a copy of ([`Origin`]), so that a second copy recognises it.
//! What the source says is checked as in a restore: damage costs the snapshot that needs it, and is told.

mod names;
mod rewrite;
mod survey;
mod transfer;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use names::Names;
use rewrite::Rewriter;
use survey::{Counted, Survey};
use transfer::Transfer;

use crate::backup::commit::{Chain, Description, commit};
use crate::backup::counters::{Counter, Counters};
use crate::backup::journal;
use crate::backup::session::Known;
use crate::backup::upload::Uploads;
use crate::backup::writer::Writer;
use crate::chunk::ChunkId;
use crate::clock::Moment;
use crate::format::content::Content;
use crate::format::roster::Role;
use crate::format::snapshot::Origin;
use crate::index::Index;
use crate::local::lock::BackupLock;
use crate::repository::blobs::BlobReader;
use crate::repository::metadata::SnapshotInfo;
use crate::repository::tree::with_deep_stack;
use crate::repository::{Repository, RepositoryError};

/// Tries when packs that a copy relies on are marked for removal while it runs.
const MAX_TRIES: usize = 3;

/// What the caller of a copy watches, and how it ends one.
#[derive(Default)]
pub struct Watch {
    /// What has been stored in the target.
    pub counters: Counters,
    /// Bytes of contents that were read from the source.
    pub read_bytes: Counter,
    /// Snapshots that are done.
    pub snapshots: Counter,
    /// Set to end the copy.
    pub stop: Arc<AtomicBool>,
}

/// Why a snapshot is not copied, or all of them are not.
#[derive(Debug)]
enum Fault {
    /// Something in the source cannot be used; where in the snapshot.
    Source(String, Box<RepositoryError>),
    /// The target failed, the source cannot be reached, or the user asked to stop.
    Target(RepositoryError),
    /// Something that was in the target is not any more: once more.
    Again,
}

impl From<RepositoryError> for Fault {
    fn from(error: RepositoryError) -> Self {
        Fault::Target(error)
    }
}

/// What became of a snapshot of the source.
#[derive(Debug, Clone)]
pub enum Fate {
    /// It has been copied, and is this one in the target.
    Copied(ChunkId),
    /// It was there already.
    Present,
    /// It cannot be copied, for this reason.
    Damaged(String),
}

/// What a copy would have to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Blobs of data that the target lacks, as far as is known.
    pub blobs: u64,
    /// Their bytes before compression.
    pub bytes: u64,
    /// Their bytes in the source's packs.
    pub stored_bytes: u64,
}

/// What a snapshot is a copy of; for one that is none, or lacks files of what was copied, itself. What a member says that this
/// client does not trust does not count, nor what anybody says of the repository that it is in.
pub fn origin(repository: &Repository, info: &SnapshotInfo) -> Origin {
    let member = repository.roster.member(&info.snapshot.client);
    let trusted = member.is_some_and(|member| repository.member().trusts(member));
    match &info.snapshot.origin {
        Some(origin) if trusted && origin.repository != repository.id && info.snapshot.rewritten.is_none() => {
            origin.clone()
        }
        _ => Origin {
            repository: repository.id,
            snapshot: info.id,
            client: member.map_or_else(|| info.snapshot.client.to_string(), |member| member.name.clone()),
        },
    }
}

/// A copy from one repository into another one.
pub struct Copier<'a> {
    source: &'a Repository,
    index: &'a Index,
    target: &'a Repository,
    watch: &'a Watch,
    names: Names,
    /// What the target has, by repository and snapshot of the origin.
    present: HashSet<(ChunkId, ChunkId)>,
    chain: Chain,
    survey: Survey,
}

impl<'a> Copier<'a> {
    /// Gets to know both repositories. `index` is the source's.
    pub fn new(
        source: &'a Repository,
        index: &'a Index,
        target: &'a Repository,
        watch: &'a Watch,
    ) -> Result<Self, RepositoryError> {
        target.require(Role::Writer, "back up")?;
        if !source.can_read() {
            return Err(RepositoryError::NotAllowed { action: "read the snapshots that are to be copied" });
        }
        let listing = target.listing()?;
        let snapshots = target.snapshots(&listing)?;
        let key = |origin: Origin| (origin.repository, origin.snapshot);
        Ok(Copier {
            source,
            index,
            target,
            watch,
            names: Names::open(source, target)?,
            present: snapshots.iter().map(|info| key(origin(target, info))).collect(),
            chain: Chain::new(target, &snapshots)?,
            survey: Survey::default(),
        })
    }

    /// Whether the target has this snapshot of the source.
    pub fn has(&self, info: &SnapshotInfo) -> bool {
        let origin = origin(self.source, info);
        self.present.contains(&(origin.repository, origin.snapshot))
    }

    /// What copying these snapshots would come to. Stores nothing.
    pub fn estimate(&mut self, snapshots: &[&SnapshotInfo]) -> Result<Estimate, RepositoryError> {
        let writer = self.writer()?;
        let reader = BlobReader::new(self.source, self.index);
        let Copier { names, survey, .. } = self;
        let (mut counted, mut estimate) = (Counted::new(self.index), Estimate::default());
        with_deep_stack(|| {
            for info in snapshots {
                let surveyed = survey.walk(&reader, &info.snapshot.root, &mut |item, _| {
                    if writer.is_over() {
                        return Err(Fault::Target(RepositoryError::Interrupted));
                    }
                    let known = names.get(&item.id).is_some_and(|name| writer.session.is_present(&name.id));
                    if let (false, Some(place)) = (known, counted.take(&item.id)) {
                        estimate.blobs += 1;
                        estimate.bytes += u64::from(place.raw);
                        estimate.stored_bytes += u64::from(place.stored);
                    }
                    Ok(())
                });
                match surveyed {
                    // Damage is told by the copy itself.
                    Ok(()) | Err(Fault::Source(..) | Fault::Again) => {}
                    Err(Fault::Target(error)) => return Err(error),
                }
            }
            Ok(estimate)
        })?
    }

    /// Copies these snapshots, in this order, and tells `each` what became of one. One at a time may write into the target.
    pub fn copy(
        &mut self,
        snapshots: &[&SnapshotInfo],
        mut each: impl FnMut(&SnapshotInfo, &Fate) + Send,
    ) -> Result<(), RepositoryError> {
        let _lock = BackupLock::take(self.target.state_dir())?;
        journal::recover(self.target)?;
        with_deep_stack(|| {
            let copied = snapshots.iter().try_for_each(|info| {
                let fate = self.one(info)?;
                self.watch.snapshots.add(1);
                each(info, &fate);
                Ok(())
            });
            self.names.keep();
            copied
        })?
    }

    fn one(&mut self, info: &SnapshotInfo) -> Result<Fate, RepositoryError> {
        for _ in 0..MAX_TRIES {
            if self.has(info) {
                return Ok(Fate::Present);
            }
            let attempted = self.attempt(info);
            if attempted.is_err() {
                self.survey.forget();
            }
            match attempted {
                Ok(id) => {
                    let origin = origin(self.source, info);
                    self.present.insert((origin.repository, origin.snapshot));
                    return Ok(Fate::Copied(id));
                }
                Err(Fault::Source(path, error)) => {
                    // A source that has gone away is no damage.
                    self.source.store.open()?;
                    return Ok(Fate::Damaged(format!("{path}: {error}")));
                }
                Err(Fault::Target(error)) => return Err(error),
                Err(Fault::Again) => {}
            }
        }
        let why = "packs that this copy needs are being removed from the target again and again; try again later";
        Err(RepositoryError::NoSnapshot(why.into()))
    }

    /// What writes into the target, knowing what is there now.
    fn writer(&self) -> Result<Writer<'a>, RepositoryError> {
        let looked = Moment::now();
        let listing = self.target.listing()?;
        let index = self.target.load_index(&listing)?;
        let (gone, originals) = (&self.target.buried(&listing)?.packs, &HashSet::new());
        let known = Known { index, gone, originals, looked };
        Writer::new(self.target, known, &self.watch.counters, &self.watch.stop)
    }

    /// One try at one snapshot.
    fn attempt(&mut self, info: &SnapshotInfo) -> Result<ChunkId, Fault> {
        let writer = self.writer()?;
        let root = match self.fill(&writer, &info.snapshot.root) {
            Ok(root) => root,
            Err(fault) => {
                // What was stored is of use to the next copy; that this one fails is already being said.
                if let Err(error) = writer.session.flush(self.target) {
                    tracing::info!("no index of what was stored could be written: {error}");
                }
                return Err(fault);
            }
        };
        let snapshot = &info.snapshot;
        let committed = commit(&writer, &mut self.chain, false, || Description {
            started: snapshot.started,
            finished: snapshot.finished,
            host: snapshot.host.clone(),
            paths: snapshot.paths.clone(),
            tags: info.tags.clone(),
            root,
            statistics: snapshot.statistics,
            partial: info.is_partial(),
            origin: Some(origin(self.source, info)),
            rewritten: None,
        })?;
        let outcome = committed.ok_or(Fault::Again)?;
        writer.session.end(self.target);
        Ok(outcome.id)
    }

    /// Stores everything that a tree needs, and gives its root directory as it is in the target. Everything is durable then.
    fn fill(&mut self, writer: &Writer<'_>, root: &Content) -> Result<Content, Fault> {
        let reader = BlobReader::new(self.source, self.index);
        let Copier { names, survey, watch, .. } = self;
        let root = thread::scope(|scope| {
            let uploads = Uploads::start(scope, writer);
            let sender = uploads.sender();
            let mut transfer = Transfer::new(&reader, writer, &sender, watch);
            survey.walk(&reader, root, &mut |item, path| transfer.want(names, item, path))?;
            transfer.finish(names)?;
            let root = Rewriter::new(&reader, names, writer, &sender).root(root)?;
            writer.packers.finish(&sender)?;
            drop(sender);
            uploads.finish(writer);
            Ok::<_, Fault>(root)
        });
        // What an uploader says comes first: the others have only noticed that it is over.
        writer.ended()?;
        root
    }
}

impl Watch {
    /// A watch whose command ends when this flag is set.
    pub fn stopped_by(stop: Arc<AtomicBool>) -> Self {
        Watch { stop, ..Watch::default() }
    }

    /// Whether the user has asked to stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

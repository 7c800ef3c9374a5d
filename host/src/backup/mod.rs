//! Backup: from a source tree to a snapshot.
//!
//! Data walks one way, through bounded channels:
//!
//! ```text
//! walk (1 thread) --files--> workers (1 per core): read, cut, name, compress, seal --packs--> uploaders
//!      \--events, in order--> assembler (1 thread): directories, bottom up ---------packs--> uploaders
//! ```
//!
//! The walker never opens a file whose size, times and inode are as in the [`previous`] backup. Each worker fills a
//! pack of its own. [`session`] knows which blobs are there and which this backup has taken on; [`commit`] writes what
//! makes it last: packs first (they are durable when an uploader is done), then index chunks, then the snapshot. In a
//! long backup a [`checkpoint`] does so every few minutes. A backup that ends early leaves packs that the next one finds
//! in the index chunks written so far, and in the [`journal`]. Where somebody watches a first backup, a [`scout`] goes ahead
//! and counts.

mod assemble;
mod attributes;
mod checkpoint;
pub(crate) mod commit;
pub mod counters;
pub(crate) mod cuts;
mod files;
pub(crate) mod journal;
pub(crate) mod list;
pub(crate) mod packer;
pub mod previous;
pub mod rehearsal;
pub mod roots;
mod scout;
pub(crate) mod session;
pub mod stream;
pub(crate) mod upload;
mod walk;
pub(crate) mod writer;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use checkpoint::Checkpoints;
use commit::{Chain, Description};
use counters::{Counters, Current};
use previous::{Previous, StateWriter};
use roots::Roots;
use scout::Scout;
use session::Known;
use stream::Stream;
use upload::Uploads;
use walk::Sink;
use writer::Writer;

use crate::chunk::ChunkId;
use crate::chunker::KeyedGear;
use crate::clock::Moment;
use crate::format::Time;
use crate::format::content::Content;
use crate::format::roster::Role;
use crate::format::snapshot::{RawPath, Snapshot, Statistics};
use crate::local::lock::BackupLock;
use crate::problem::Problems;
use crate::repository::metadata::{Listing, SnapshotInfo};
use crate::repository::{Repository, RepositoryError};
use crate::select::Selection;

/// Files waiting between walker and workers, and events between walker and assembler.
const QUEUE: usize = 1024;
/// Tries when packs that a backup relies on are marked for removal while it runs.
const MAX_TRIES: usize = 3;

/// What to back up, and what to say about it.
pub struct Options {
    /// The paths, absolute and clean.
    pub roots: Roots,
    /// What is left out of them.
    pub select: Selection,
    /// Directories that are never entered: the repository itself, this program's caches.
    pub skip: Vec<PathBuf>,
    /// The machine's name.
    pub host: String,
    /// The user's tags.
    pub tags: Vec<String>,
    /// Read every file, changed or not.
    pub force: bool,
    /// A stream to back up instead of the paths.
    pub stream: Option<Stream>,
    /// How often to make a partial snapshot.
    pub checkpoints: Option<Duration>,
}

impl Options {
    /// The paths as a snapshot records them.
    fn paths(&self) -> Vec<RawPath> {
        match &self.stream {
            Some(stream) => vec![RawPath(format!("/{}", stream.name).into_bytes())],
            None => self.roots.raw_paths().map(RawPath).collect(),
        }
    }
}

/// What the caller of a backup watches, and how it ends one.
#[derive(Default)]
pub struct Watch {
    /// How far it is.
    pub counters: Counters,
    /// Set to end the backup.
    pub stop: Arc<AtomicBool>,
    /// What is not in the backup, or not as it was.
    pub problems: Problems,
    /// How many bytes it will come to, if the last backup was of the same paths; set as soon as that is known.
    pub expected: OnceLock<Option<u64>>,
    /// Whether to count ahead how many bytes there are, where no last backup tells it.
    pub counts_ahead: bool,
    /// What that has come to.
    pub counted: OnceLock<u64>,
    /// The file or directory that the backup is at, for whoever wants to see it.
    pub current: Option<Current>,
    /// Is told of each file that is read because it is new (`true`) or has changed.
    pub listener: Option<Listener>,
}

/// Whoever wants to hear of files.
pub type Listener = Box<dyn Fn(&Path, bool) + Send + Sync>;

impl Watch {
    /// A watch whose command ends when this flag is set.
    pub fn stopped_by(stop: Arc<AtomicBool>) -> Self {
        Watch { stop, ..Watch::default() }
    }

    /// The bytes of files that the backup will have to go through, as soon as that is known.
    pub fn total(&self) -> Option<u64> {
        self.expected.get().copied().flatten().or_else(|| self.counted.get().copied())
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn is_at(&self, path: &Path) {
        if let Some(current) = &self.current {
            current.set(path);
        }
    }

    /// Tells the listener of a file.
    fn tell(&self, path: &Path, new: bool) {
        if let Some(listener) = &self.listener {
            listener(path, new);
        }
    }
}

/// A finished backup.
#[derive(Debug)]
pub struct Outcome {
    /// The snapshot's id.
    pub id: ChunkId,
    /// The snapshot.
    pub snapshot: Snapshot,
}

/// What all threads of a backup share.
struct Shared<'a> {
    repository: &'a Repository,
    options: &'a Options,
    watch: &'a Watch,
    writer: Writer<'a>,
    chunker: KeyedGear,
    previous: Previous,
    state: StateWriter,
    chain: Mutex<Chain>,
    started: Time,
    /// Large files that are being cut: their pieces may still come.
    large: AtomicUsize,
}

impl Shared<'_> {
    /// Ends the backup with this failure, unless another one came first.
    fn fail(&self, error: RepositoryError) {
        self.writer.fail(error);
    }

    /// The failure that has ended the backup, if one has.
    fn ended(&self) -> Result<(), RepositoryError> {
        self.writer.ended()
    }

    /// Whether threads should wind down.
    fn is_over(&self) -> bool {
        self.writer.is_over()
    }

    /// Commits what has been stored so far; `None` if packs that it relies on have been marked for removal meanwhile.
    fn commit(&self, root: Content, partial: bool) -> Result<Option<Outcome>, RepositoryError> {
        let options = self.options;
        let mut chain = self.chain.lock().expect("no panic while the lock is held");
        commit::commit(&self.writer, &mut chain, partial, || Description {
            started: self.started,
            finished: Time::now(),
            host: options.host.clone(),
            paths: options.paths(),
            tags: options.tags.clone(),
            root,
            statistics: statistics(&self.watch.counters, self.watch.problems.all().len()),
            partial,
            origin: None,
            rewritten: None,
        })
    }
}

/// Backs up. Packs that a maintainer marks for removal meanwhile are noticed before the commit; then all is done
/// again, which is quick, because only what is missing is stored again.
pub fn run(repository: &Repository, options: &Options, watch: &Watch) -> Result<Outcome, RepositoryError> {
    repository.require(Role::Writer, "back up")?;
    let _lock = BackupLock::take(repository.state_dir())?;
    journal::recover(repository)?;
    for _ in 1..MAX_TRIES {
        if let Some(outcome) = attempt(repository, options, watch)? {
            return Ok(outcome);
        }
        watch.counters.reset();
        watch.problems.clear();
    }
    attempt(repository, options, watch)?.ok_or_else(|| {
        RepositoryError::NoSnapshot(
            "packs that this backup needs are being removed again and again; try again later".into(),
        )
    })
}

/// One try; `None` when packs that it relies on were marked meanwhile.
fn attempt(repository: &Repository, options: &Options, watch: &Watch) -> Result<Option<Outcome>, RepositoryError> {
    let (started, looked) = (Time::now(), Moment::now());
    let listing = repository.listing()?;
    let snapshots = repository.snapshots(&listing)?;
    let shared = prepare(repository, options, watch, &listing, &snapshots, (started, looked))?;
    let root = match pipeline(&shared) {
        Ok(root) => root,
        Err(error) => {
            // What was stored is of use to the next backup; that this one fails is already being said.
            if let Err(error) = shared.writer.session.flush(repository) {
                tracing::info!("no index of what was stored could be written: {error}");
            }
            return Err(error);
        }
    };
    let outcome = shared.commit(root, false)?;
    if outcome.is_some() {
        let Shared { state, writer, .. } = shared;
        state.finish();
        writer.session.end(repository);
    }
    Ok(outcome)
}

/// Gets to know what is in the repository, and what the backup before saw. Stores nothing.
fn prepare<'a>(
    repository: &'a Repository,
    options: &'a Options,
    watch: &'a Watch,
    listing: &Listing,
    snapshots: &[SnapshotInfo],
    (started, looked): (Time, Moment),
) -> Result<Shared<'a>, RepositoryError> {
    let index = repository.load_index(listing)?;
    let _ = watch.expected.set(expected(repository, snapshots, options));
    let previous = Previous::find(repository, &index, snapshots, options)?;
    let known = Known { index, gone: &repository.buried(listing)?.packs, originals: &HashSet::new(), looked };
    let keys = repository.sealing_keys();
    let parameters = &repository.roster.parameters;
    let malformed = |why| RepositoryError::Malformed { what: "the repository's parameters".into(), why };
    Ok(Shared {
        repository,
        options,
        watch,
        writer: Writer::new(repository, known, &watch.counters, &watch.stop)?,
        chunker: KeyedGear::new(&keys.chunker, parameters).map_err(malformed)?,
        previous,
        state: StateWriter::create(repository, options, started)?,
        chain: Mutex::new(Chain::new(repository, snapshots)?),
        started,
        large: AtomicUsize::new(0),
    })
}

/// The bytes of this client's last backup of the same paths.
fn expected(repository: &Repository, snapshots: &[SnapshotInfo], options: &Options) -> Option<u64> {
    let paths = options.paths();
    let same = |info: &&SnapshotInfo| {
        info.snapshot.client == repository.client.tag && !info.is_partial() && info.snapshot.paths == paths
    };
    let last = snapshots.iter().filter(same).max_by_key(|info| (info.snapshot.started, info.snapshot.sequence));
    last.map(|info| info.snapshot.statistics.bytes)
}

/// Runs the threads to their end and returns the root directory.
fn pipeline(shared: &Shared<'_>) -> Result<Content, RepositoryError> {
    let workers = thread::available_parallelism().map_or(2, usize::from);
    let (file_sender, file_receiver) = crossbeam_channel::bounded(QUEUE);
    let (blob_sender, blob_receiver) = crossbeam_channel::bounded(workers);
    let (event_sender, event_receiver) = crossbeam_channel::bounded(QUEUE);
    let scout = Scout::default();
    let root = thread::scope(|scope| {
        scout.start(scope, shared)?;
        let uploads = Uploads::start(scope, &shared.writer);
        let sink = Sink::Backup { files: file_sender, events: event_sender };
        let walker = thread::Builder::new()
            .name("walk".into())
            .stack_size(64 << 20)
            .spawn_scoped(scope, || walk::walk(shared, shared.watch, sink))
            .map_err(thread_error)?;
        let mut readers = Vec::new();
        let mut checkpoints = Checkpoints::new(shared.options.checkpoints);
        for number in 0..workers {
            let (files, blobs) = (file_receiver.clone(), blob_receiver.clone());
            let (blob_sender, uploads) = (blob_sender.clone(), uploads.sender());
            let flushes = checkpoints.worker();
            let worker = thread::Builder::new()
                .name(format!("read-{number}"))
                .spawn_scoped(scope, move || files::work(shared, &files, &blobs, &blob_sender, &flushes, &uploads))
                .map_err(thread_error)?;
            readers.push(worker);
        }
        drop((file_receiver, blob_receiver, blob_sender));
        let root = assemble::assemble(shared, &event_receiver, &uploads.sender(), &mut checkpoints);
        scout.end();
        drop(event_receiver);
        for thread in readers.into_iter().chain([walker]) {
            if thread.join().is_err() {
                shared.fail(thread_died());
            }
        }
        if let Err(error) = shared.writer.packers.finish(&uploads.sender()) {
            shared.fail(error);
        }
        uploads.finish(&shared.writer);
        Ok::<_, RepositoryError>(root)
    })?;
    shared.ended()?;
    root
}

fn thread_error(error: std::io::Error) -> RepositoryError {
    crate::local::io_error("start a thread for", std::path::Path::new("the backup"))(error).into()
}

fn thread_died() -> RepositoryError {
    RepositoryError::Malformed {
        what: "a thread of the backup ended unexpectedly".into(),
        why: crate::format::FormatError::Malformed("this is a defect of obnam; please report it"),
    }
}

/// Statistics as they stand at the end.
fn statistics(counters: &Counters, problems: usize) -> Statistics {
    Statistics { errors: problems as u64, ..counters.statistics() }
}

//! Check: whether everything that snapshots need is there, and on request whether every byte of it is good.
//!
//! [`structure`] compares listing, index, snapshots and trees. [`data`] reads chunks: on request the packs, and always all others. Both look at
//! the store, not at local copies. An *error* means that something is lost or that history is missing; a *warning* that something was found
//! and ignored.

mod data;
mod part;
mod structure;
mod verified;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use part::Part;
use serde::Serialize;
use verified::Verified;

use crate::backup::counters::Counter;
use crate::chunk::{ChunkId, LabelFilter};
use crate::format::WriterTag;
use crate::format::blob::BlobId;
use crate::format::pack::BlobPlace;
use crate::repository::tree::with_deep_stack;
use crate::repository::{ChunkName, Repository, RepositoryError};

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Lost or missing.
    Error,
    /// Found and ignored.
    Warning,
}

/// One thing that check has found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// How serious it is.
    pub severity: Severity,
    /// A stable name for its kind.
    pub code: &'static str,
    /// The chunk, as `label/id`, where it is about one.
    pub chunk: Option<String>,
    /// The file, with its snapshot in front, where it is about one.
    pub path: Option<String>,
    /// Who wrote the chunk, by the index: the client's name, or its tag.
    pub writer: Option<String>,
    /// How many files and directories the chunk has taken with it.
    pub files: Option<usize>,
    /// What to do about it.
    pub next: Option<String>,
    /// A sentence for people.
    pub message: String,
}

/// What to look at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// The part of the chunks that is read.
    pub read_data: Option<Part>,
    /// Do not read again what this machine has read and found good within this time.
    pub max_age: Option<Duration>,
}

/// What the caller of a check watches, and how it ends one.
#[derive(Default)]
pub struct Watch {
    /// Snapshots whose trees were walked.
    pub snapshots: Counter,
    /// Chunks that were read.
    pub chunks: Counter,
    /// Bytes that were read.
    pub bytes: Counter,
    /// Blobs that were verified.
    pub blobs: Counter,
    /// Bytes that there are to read; known after the listing.
    pub total: Counter,
    /// Set to end the check.
    pub stop: Arc<AtomicBool>,
}

impl Watch {
    /// A watch whose command ends when this flag is set.
    pub fn stopped_by(stop: Arc<AtomicBool>) -> Self {
        Watch { stop, ..Watch::default() }
    }
}

/// What check has found.
#[derive(Debug, Default)]
pub struct Report {
    /// Findings, errors first.
    pub findings: BTreeSet<Finding>,
    /// Snapshots that were looked at.
    pub snapshots: usize,
    /// Packs that the index names.
    pub packs: usize,
    /// Chunks in the store.
    pub chunks: usize,
    /// Bytes in the store.
    pub bytes: u64,
    /// Chunks that were to be read, and were not: another part, or read lately.
    pub unread: usize,
    /// Where blobs should stand that do not open there.
    bad_places: HashSet<PlaceKey>,
}

impl Report {
    /// Whether a blob was read and does not open where it should stand.
    pub fn is_bad(&self, pack: &ChunkName, place: &BlobPlace) -> bool {
        self.bad_places.contains(&place_key(pack, place))
    }

    /// How many findings are errors.
    pub fn errors(&self) -> usize {
        self.findings.iter().filter(|finding| finding.severity == Severity::Error).count()
    }
}

/// A place where a blob is said to stand: pack, blob, offset, length.
type PlaceKey = (ChunkName, BlobId, u32, u32);

fn place_key(pack: &ChunkName, place: &BlobPlace) -> PlaceKey {
    (pack.clone(), place.id, place.offset, place.stored)
}

struct Check<'a> {
    repository: &'a Repository,
    watch: &'a Watch,
    /// The chunks in the store and their sizes. The same bytes may stand under several labels.
    listed: BTreeMap<ChunkName, u64>,
    findings: Mutex<BTreeSet<Finding>>,
    /// Who made a pack, by the index.
    writers: BTreeMap<ChunkId, WriterTag>,
    /// The files that each pack has taken with it.
    affected: Mutex<BTreeMap<String, BTreeSet<String>>>,
    /// What this machine has read and found good.
    verified: Mutex<Verified>,
    /// Packs that are there and whole, as far as was looked.
    good_packs: HashSet<ChunkName>,
    /// Places where the index or a directory says that a blob stands, but where it did not open.
    bad_places: Mutex<HashSet<PlaceKey>>,
}

impl Check<'_> {
    fn report(&self, severity: Severity, code: &'static str, chunk: Option<&ChunkName>, message: String) {
        let chunk = chunk.map(|name| format!("{}/{}", name.label, name.id));
        let message = match &chunk {
            Some(chunk) => format!("{chunk}: {message}"),
            None => message,
        };
        self.insert(Finding { severity, code, chunk, path: None, writer: None, files: None, next: None, message });
    }

    fn insert(&self, finding: Finding) {
        self.findings.lock().expect("no panic while the lock is held").insert(finding);
    }
}

/// Checks a repository.
pub fn run(repository: &Repository, options: &Options, watch: &Watch) -> Result<Report, RepositoryError> {
    let all = repository.store.list(&LabelFilter::All)?;
    let (chunks, bytes) = (all.len(), all.iter().map(|info| info.size).sum());
    let listed = all.into_iter().map(|info| (ChunkName { label: info.label, id: info.id }, info.size)).collect();
    let mut check = Check {
        repository,
        watch,
        listed,
        findings: Mutex::default(),
        writers: BTreeMap::new(),
        affected: Mutex::default(),
        verified: Mutex::new(Verified::load(repository.state_dir())),
        good_packs: HashSet::new(),
        bad_places: Mutex::default(),
    };
    let listing = repository.listing()?;
    let mut snapshots = repository.snapshots(&listing)?;
    let index = repository.load_index(&listing)?;
    check.own_chunks();
    let packs = check.packs(&index, repository.buried(&listing)?)?;
    let mut unread = 0;
    if options.read_data != Some(Part::All) {
        check.small_chunks(&index)?;
    }
    if let Some(part) = options.read_data {
        let read = check.data(&index, part, options.max_age);
        check.remember();
        unread = chunks - read?;
    }
    check.history(&snapshots, repository.buried(&listing)?);
    // What they need may be gone before they are.
    snapshots.retain(|info| !info.forgotten);
    with_deep_stack(|| check.trees(&snapshots, &index))??;
    let bad_places = std::mem::take(&mut *check.bad_places.lock().expect("no panic while the lock is held"));
    let mut findings = check.findings();
    for warning in repository.warnings.all() {
        // History that was there and is not any more is lost; all else was ignored.
        let lost = warning.code.starts_with("history") || warning.code == "credential-missing";
        findings.insert(Finding {
            severity: if lost { Severity::Error } else { Severity::Warning },
            code: warning.code,
            chunk: warning.chunk,
            path: None,
            writer: None,
            files: None,
            next: None,
            message: warning.message,
        });
    }
    Ok(Report { findings, snapshots: snapshots.len(), packs, chunks, bytes, unread, bad_places })
}

impl Check<'_> {
    /// What was found, each with what it means and what to do.
    fn findings(self) -> BTreeSet<Finding> {
        let affected = self.affected.into_inner().expect("no panic while the lock is held");
        let findings = self.findings.into_inner().expect("no panic while the lock is held");
        let name = |tag: &WriterTag| match self.repository.roster.member(tag) {
            Some(member) => member.name.clone(),
            None => tag.to_string(),
        };
        let complete = |finding: Finding| {
            let Some(chunk) = &finding.chunk else { return finding };
            let id = chunk.split_once('/').and_then(|(_, id)| id.parse().ok());
            let writer = id.and_then(|id: ChunkId| self.writers.get(&id)).map(name);
            let files = writer.is_some().then(|| affected.get(chunk).map_or(0, BTreeSet::len));
            let family = chunk.split(['.', '/']).next().unwrap_or_default();
            let next = (finding.severity == Severity::Error).then(|| advice(finding.code, family)).flatten();
            Finding { writer, files, next: next.map(str::to_owned), ..finding }
        };
        findings.into_iter().map(complete).collect()
    }

    /// Remembers what was read and found good. A failure costs time at the next check.
    fn remember(&self) {
        let there: HashSet<ChunkId> = self.listed.keys().map(|name| name.id).collect();
        let verified = self.verified.lock().expect("no panic while the lock is held");
        if let Err(error) = verified.save(self.repository.state_dir(), |id| there.contains(id)) {
            tracing::info!("what was verified is not remembered: {error}");
        }
    }
}

/// What to do about a file or directory that is lost. First the index: what it does not name is not lost if its pack is there.
pub const FILE_LOST: &str = "obnam repair index, then obnam backup where the files are, then obnam repair snapshots";

/// What to do about a snapshot whose own chunk is damaged.
const SNAPSHOT_DAMAGED: &str = "obnam repair index, on machines that may have a copy of it (such as the one that made it); \
    if none has, obnam backup where the files are, then obnam prune, which says how to give the snapshot up";

/// What to do about an error.
fn advice(code: &str, family: &str) -> Option<&'static str> {
    match code {
        "chunk-damaged" if family == "snapshot" => Some(SNAPSHOT_DAMAGED),
        "chunk-damaged" if family == "credential" => {
            Some("obnam credential add, then obnam credential remove with the id of the damaged one")
        }
        "chunk-damaged" if matches!(family, "index" | "note" | "tombstone" | "client") => Some("obnam repair index"),
        "chunk-damaged" if !matches!(family, "data" | "tree") => None,
        "pack-missing" | "pack-size" => Some(FILE_LOST),
        "chunk-damaged" | "blob-damaged" | "pack-unusable" => {
            Some("obnam repair index --read-data, then obnam backup where the files are, then obnam repair snapshots")
        }
        _ => None,
    }
}

//! Check: whether everything that snapshots need is there, and on request whether every byte of it is good.
//!
//! [`structure`] compares listing, index, snapshots and trees. [`data`] reads every chunk. Both look at the store, not at
//! local copies. An *error* means that something is lost or that history is missing; a *warning* that something was found
//! and ignored.

mod data;
mod structure;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use serde::Serialize;

use crate::backup::counters::Counter;
use crate::chunk::LabelFilter;
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
    /// A sentence for people.
    pub message: String,
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
}

impl Report {
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
        self.insert(Finding { severity, code, chunk, path: None, message });
    }

    fn insert(&self, finding: Finding) {
        self.findings.lock().expect("no panic while the lock is held").insert(finding);
    }
}

/// Checks a repository; with `read_data`, every byte of it.
pub fn run(repository: &Repository, read_data: bool, watch: &Watch) -> Result<Report, RepositoryError> {
    let all = repository.store.list(&LabelFilter::All)?;
    let (chunks, bytes) = (all.len(), all.iter().map(|info| info.size).sum());
    let listed = all.into_iter().map(|info| (ChunkName { label: info.label, id: info.id }, info.size)).collect();
    let mut check = Check {
        repository,
        watch,
        listed,
        findings: Mutex::default(),
        good_packs: HashSet::new(),
        bad_places: Mutex::default(),
    };
    let listing = repository.listing()?;
    let mut snapshots = repository.snapshots(&listing)?;
    let index = repository.load_index(&listing)?;
    check.own_chunks();
    let packs = check.packs(&index, repository.buried(&listing))?;
    if read_data {
        watch.total.add(bytes);
        check.data(&index)?;
    }
    check.history(&snapshots, repository.buried(&listing));
    // What they need may be gone before they are.
    snapshots.retain(|info| !info.forgotten);
    with_deep_stack(|| check.trees(&snapshots, &index))??;
    let mut findings = check.findings.into_inner().expect("no panic while the lock is held");
    for warning in repository.warnings.all() {
        // History that was there and is not any more is lost; all else was ignored.
        let lost = warning.code.starts_with("history") || warning.code == "credential-missing";
        findings.insert(Finding {
            severity: if lost { Severity::Error } else { Severity::Warning },
            code: warning.code,
            chunk: warning.chunk,
            path: None,
            message: warning.message,
        });
    }
    Ok(Report { findings, snapshots: snapshots.len(), packs, chunks, bytes })
}

//! Reading what is sealed under the metadata key: signed chunks, listings, snapshots.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;

use super::tombstones::Buried;
use super::{ChunkName, Repository, RepositoryError, family};
use crate::chunk::{ChunkId, ChunkInfo, Label, LabelFilter};
use crate::clock::Moment;
use crate::format::header::Header;
use crate::format::roster::{Member, Role};
use crate::format::signed::{Context, Signed};
use crate::format::snapshot::Snapshot;
use crate::format::{FormatError, Time, WriterTag, from_cbor, whole};

/// A snapshot that has been verified.
#[derive(Debug, Clone)]
pub struct SnapshotInfo {
    /// Its chunk id.
    pub id: ChunkId,
    /// When the store took it, where it knows.
    pub stored: Option<std::time::SystemTime>,
    /// Its payload, but for what can be long: its index, and a reference list that stands in it ([`Repository::whole`]).
    pub snapshot: Arc<Snapshot>,
    /// Whether it is a partial one that a later snapshot of its client makes obsolete.
    pub replaced: bool,
    /// The tags in force: those of the latest note, or the snapshot's own.
    pub tags: Vec<String>,
    /// When that note was made, if there is one.
    pub noted: Option<Time>,
    /// Whether a maintainer has forgotten it, and the store has not removed it yet.
    pub forgotten: bool,
}

impl SnapshotInfo {
    /// Whether it was made in the middle of a backup.
    pub fn is_partial(&self) -> bool {
        self.snapshot.partial == Some(true)
    }
}

/// The snapshots, index chunks, notes and tombstones of a repository, as listed at one moment.
#[derive(Debug)]
pub struct Listing {
    /// Chunks with a label `snapshot.TAG`.
    pub snapshots: Vec<ChunkInfo>,
    /// Chunks with a label `index.TAG`.
    pub indexes: Vec<ChunkInfo>,
    /// Chunks with a label `note.TAG`.
    pub notes: Vec<ChunkInfo>,
    /// Chunks with the label `tombstone`.
    pub tombstones: Vec<ChunkInfo>,
    /// When it was begun.
    pub(crate) looked: Moment,
    /// What those say, once it was read.
    pub(super) buried: OnceLock<Buried>,
}

impl Repository {
    /// Reads a small chunk, from the cache or the store.
    pub fn small_chunk(&self, label: &Label, id: &ChunkId) -> Result<Bytes, RepositoryError> {
        if let Some(chunk) = self.chunks.get(id) {
            return Ok(chunk);
        }
        let chunk = self.store.get(label, id, None)?;
        self.chunks.put(id, &chunk);
        Ok(chunk)
    }

    /// Opens a signed chunk and verifies that the member named in its label signed it for this context.
    pub fn open_signed(
        &self,
        name: &ChunkName,
        chunk: &[u8],
        context: Context,
    ) -> Result<(&Member, Vec<u8>), FormatError> {
        let header = Header::parse(chunk)?;
        header.check_place(&self.id, &name.label)?;
        let body = whole::open_behind(&header, chunk, &self.opener(&header)?)?;
        let signed = Signed::parse(&body)?;
        let signer = signed.signer.ok_or(FormatError::Unsigned("it names no signer"))?;
        if name.label.tag().is_some_and(|tag| tag.parse() != Ok(signer)) {
            return Err(FormatError::Unsigned("its label names another client than its signer"));
        }
        let member = self.roster.member(&signer).ok_or(FormatError::Unsigned("the roster does not know its signer"))?;
        let allowed = match context {
            Context::Tombstone => member.has(Role::Maintainer),
            Context::Note => member.has(Role::Writer) || member.has(Role::Maintainer),
            Context::Roster | Context::Index | Context::Snapshot => member.has(Role::Writer),
        };
        if !allowed {
            return Err(FormatError::Unsigned("its signer does not have the role for it"));
        }
        let payload = signed.verify(context, &self.id, &member.verify_key()?)?;
        Ok((member, payload.to_vec()))
    }

    /// Reads a signed chunk; who signed it, and what.
    pub(super) fn signed_payload(
        &self,
        info: &ChunkInfo,
        context: Context,
    ) -> Result<(WriterTag, Vec<u8>), RepositoryError> {
        let name = ChunkName { label: info.label.clone(), id: info.id };
        let malformed = |why| RepositoryError::Unusable { label: info.label.clone(), id: info.id, why };
        let chunk = self.small_chunk(&info.label, &info.id)?;
        let (member, payload) = self.open_signed(&name, &chunk, context).map_err(malformed)?;
        Ok((member.tag, payload))
    }

    /// Lists snapshots, index chunks, notes and tombstones, all at once: each list is a round trip to the store.
    pub fn listing(&self) -> Result<Listing, RepositoryError> {
        let looked = Moment::now();
        let families = ["snapshot", "index", "note"].map(|name| LabelFilter::Family(family(name)));
        let filters: Vec<_> = families.into_iter().chain([LabelFilter::Exactly(family("tombstone"))]).collect();
        let mut lists = self.in_parallel(&filters, |filter| self.store.list(filter)).into_iter();
        let mut next = || lists.next().expect("there is a list for each filter");
        let (snapshots, indexes, notes, tombstones) = (next()?, next()?, next()?, next()?);
        Ok(Listing { snapshots, indexes, notes, tombstones, looked, buried: OnceLock::new() })
    }

    /// Reads and verifies snapshots, oldest first. What cannot be used is warned about and left out, and so is history
    /// that looks rolled back or forked. Where none can be used because the store denies it, that is the error: it must
    /// not look as if there were none.
    pub fn snapshots(&self, listing: &Listing) -> Result<Vec<SnapshotInfo>, RepositoryError> {
        let denied = Mutex::new(None);
        let snapshots: Vec<Result<Option<SnapshotInfo>, RepositoryError>> =
            self.in_parallel(&listing.snapshots, |info| {
                let name = ChunkName { label: info.label.clone(), id: info.id };
                Ok(match self.snapshot(info) {
                    Ok(mut snapshot) => {
                        let tags = snapshot.tags.clone();
                        snapshot.index = None;
                        (snapshot.references.inline, snapshot.references.used) = (None, None);
                        Some(SnapshotInfo {
                            id: info.id,
                            stored: info.stored,
                            snapshot: snapshot.into(),
                            tags,
                            noted: None,
                            forgotten: false,
                            replaced: false,
                        })
                    }
                    Err(why) => {
                        let why = why.about_chunk()?;
                        self.warnings.chunk("snapshot-unusable", &name, format!("it is ignored: {why}"));
                        if why.is_denied() {
                            *denied.lock().expect("no panic while the lock is held") = Some(why);
                        }
                        None
                    }
                })
            });
        let mut snapshots: Vec<SnapshotInfo> =
            snapshots.into_iter().filter_map(Result::transpose).collect::<Result<_, _>>()?;
        let denied = denied.into_inner().expect("no panic while the lock is held");
        if let Some(why) = denied.filter(|_| snapshots.is_empty()) {
            return Err(why);
        }
        let forgotten = &self.buried(listing)?.forgotten;
        self.leave_out_removed(&mut snapshots, forgotten);
        snapshots.sort_by_key(|info| (info.snapshot.started, info.snapshot.sequence, info.id));
        self.check_history(&snapshots, forgotten)?;
        let replaces: HashSet<(WriterTag, ChunkId)> =
            snapshots.iter().filter_map(|info| Some((info.snapshot.client, info.snapshot.replaces?))).collect();
        for info in &mut snapshots {
            let rewritten = info.snapshot.rewritten.as_ref();
            let whole = rewritten.map_or((info.snapshot.client, info.id), |first| (first.client, first.snapshot));
            info.replaced = info.is_partial() && replaces.contains(&whole);
            info.forgotten = forgotten.contains_key(&info.id);
        }
        self.apply_notes(&listing.notes, &mut snapshots)?;
        Ok(snapshots)
    }

    /// Reads one snapshot, whatever the others say.
    pub(super) fn snapshot(&self, info: &ChunkInfo) -> Result<Snapshot, RepositoryError> {
        let malformed = |why| RepositoryError::Unusable { label: info.label.clone(), id: info.id, why };
        let (signer, payload) = self.signed_payload(info, Context::Snapshot)?;
        let snapshot: Snapshot = from_cbor(&payload).map_err(malformed)?;
        if snapshot.client != signer {
            return Err(malformed(FormatError::Unsigned("it names another client than its signer")));
        }
        Ok(snapshot)
    }

    /// Reads a snapshot again, with all that is in it.
    pub fn whole(&self, info: &SnapshotInfo) -> Result<Snapshot, RepositoryError> {
        let label = super::tagged("snapshot", &info.snapshot.client);
        self.snapshot(&ChunkInfo { label, id: info.id, size: 0, stored: info.stored })
    }

    /// Calls `work` for each item on as many threads as the store takes calls; results in the items' order.
    pub(crate) fn in_parallel<T: Sync, R: Send>(&self, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
        let threads = self.store.parallelism().min(items.len());
        if threads <= 1 {
            return items.iter().map(work).collect();
        }
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::with_capacity(items.len()));
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let place = next.fetch_add(1, Ordering::Relaxed);
                        let Some(item) = items.get(place) else { break };
                        let result = work(item);
                        results.lock().expect("no panic while the lock is held").push((place, result));
                    }
                });
            }
        });
        let mut results = results.into_inner().expect("no panic while the lock is held");
        results.sort_by_key(|(place, _)| *place);
        results.into_iter().map(|(_, result)| result).collect()
    }
}

//! What a backup knows of blobs: which are in the repository, which it has taken on, which packs it needs.
//!
//! A blob is *claimed* by the first thread that comes with it; whoever comes later relies on that thread, and the
//! commit on all of them. Packs that have been stored wait in `pending` until they are many enough for an index chunk;
//! then they go into a run like those of earlier backups, so that memory stays bounded: at most [`SEGMENT`] records in
//! `pending`, twice as many claims, and one bit for each record of the index.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use crate::chunk::ChunkId;
use crate::clock::Moment;
use crate::format::WriterTag;
use crate::format::blob::BlobId;
use crate::format::index::{IndexPayload, PackInfo, Record};
use crate::format::ordinals::Ordinals;
use crate::format::pack::FinishedPack;
use crate::format::references::Reference;
use crate::format::signed::Context;
use crate::format::to_cbor;
use crate::index::cache::IndexCache;
use crate::index::run::{Run, Segment};
use crate::index::{Index, IndexedPack, contents};
use crate::repository::{Repository, RepositoryError, pruning, tagged};

use super::journal::Journal;

/// An index chunk is written for this many records (7 MB).
pub const SEGMENT: usize = 128 << 10;
/// Or when the last one is this old.
const FLUSH_AFTER: Duration = Duration::from_secs(5 * 60);
/// Shards of the set of claims, so that threads seldom wait for each other.
const SHARDS: usize = 16;

/// Whether a blob has to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It has; and it is the caller who does it.
    New,
    /// It is there, or another thread stores it.
    Present,
}

/// What is known of the repository when a session begins.
pub struct Known<'k> {
    /// The index.
    pub index: Index,
    /// Packs that do not count: they have tombstones, or are lost.
    pub gone: &'k HashSet<ChunkId>,
    /// Packs that a snapshot needs which another one is made from.
    pub originals: &'k HashSet<ChunkId>,
    /// When index and tombstones were listed.
    pub looked: Moment,
}

/// Whether blobs in a pack count as there; what is better is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    is_there: bool,
    /// The snapshot that another one is made from needs it.
    is_original: bool,
    /// This client relies on who made it.
    is_trusted: bool,
}

/// A run, with what this backup may use and has used of it.
struct UsedRun {
    run: Arc<Run>,
    /// For each pack: whether it may be relied on.
    standing: Vec<Standing>,
    /// For each record, a bit: whether this backup needs it.
    used: Vec<AtomicU64>,
    /// For each pack: bytes that this backup needs.
    live: Vec<AtomicU64>,
}

impl UsedRun {
    fn new(run: Arc<Run>, judge: impl Fn(&IndexedPack) -> Standing) -> Result<Self, RepositoryError> {
        let mut standing = Vec::with_capacity(run.pack_count() as usize);
        for place in 0..run.pack_count() {
            standing.push(judge(&run.pack(place)?));
        }
        let zeros = |count: usize| std::iter::repeat_with(AtomicU64::default).take(count).collect::<Vec<_>>();
        Ok(UsedRun { used: zeros(run.len().div_ceil(64)), live: zeros(standing.len()), standing, run })
    }

    /// Takes the blob from this run, if it is there in a pack that may be relied on.
    fn take(&self, id: &BlobId) -> bool {
        let is_usable = |(_, record): &(usize, Record)| {
            let standing = self.standing(record);
            standing.is_there && standing.is_trusted
        };
        match self.run.find(id).find(is_usable) {
            Some((place, record)) => self.use_up(place, &record),
            None => return false,
        }
        true
    }

    /// The standing of the pack of a record.
    fn standing(&self, record: &Record) -> Standing {
        self.standing[record.pack as usize]
    }

    /// Takes note that this record is needed.
    fn use_up(&self, place: usize, record: &Record) {
        let bit = 1 << (place % 64);
        if self.used[place / 64].fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            self.live[record.pack as usize].fetch_add(record.place.stored.into(), Ordering::Relaxed);
        }
    }

    fn is_used(&self, place: usize) -> bool {
        self.used[place / 64].load(Ordering::Relaxed) >> (place % 64) & 1 == 1
    }

    /// The packs of this run that are needed, and which of their blobs.
    fn references(&self) -> Result<Vec<Reference>, RepositoryError> {
        let run = &self.run;
        let counts = contents::counts(run);
        let mut used = vec![0u32; counts.len()];
        for place in (0..run.len()).filter(|place| self.is_used(*place)) {
            used[run.pack_of(place) as usize] += 1;
        }
        let needed: Vec<u32> = (0..run.pack_count()).filter(|pack| used[*pack as usize] > 0).collect();
        let partly = needed.iter().copied().filter(|pack| used[*pack as usize] < counts[*pack as usize]);
        let mut ordinals: HashMap<u32, Ordinals> = HashMap::new();
        for group in contents::groups(&counts, partly) {
            for (pack, records) in contents::records(run, &group) {
                // Where something is not known of the pack, nobody knows the places of the others.
                if contents::is_gapless(&run.pack(pack)?, &records) {
                    let mut some = Ordinals::none(records.len() as u32);
                    let used = (0..).zip(&records).filter(|(_, (place, _))| self.is_used(*place));
                    used.for_each(|(number, _)| some.insert(number));
                    ordinals.insert(pack, some);
                }
            }
        }
        let reference = |pack: u32| {
            let live = self.live[pack as usize].load(Ordering::Relaxed);
            Ok(Reference { pack: run.pack(pack)?.info.id, live, used: ordinals.remove(&pack) })
        };
        needed.into_iter().map(reference).collect()
    }
}

struct Pending {
    packs: Vec<PackInfo>,
    records: Vec<Record>,
    /// Live bytes of packs that this backup has stored.
    live: BTreeMap<ChunkId, u64>,
    /// When the last index chunk was written.
    since: Instant,
    /// The same packs and records, in a file.
    journal: Journal,
}

/// See the head of this module.
pub struct Session {
    tag: WriterTag,
    /// When index and tombstones were listed.
    looked: Moment,
    /// The index as it was.
    runs: Vec<UsedRun>,
    /// What this session has added to it.
    made: RwLock<Index>,
    claims: Vec<Mutex<HashSet<BlobId>>>,
    pending: Mutex<Pending>,
    scratch: tempfile::TempDir,
}

impl Session {
    /// A session that may rely on the packs in the index that trusted members have made, but not on those that are gone.
    pub fn new(repository: &Repository, known: Known<'_>) -> Result<Self, RepositoryError> {
        let Known { index, gone, originals, looked } = known;
        let (me, roster) = (repository.member(), &repository.roster);
        let keys = repository.sealing_keys();
        let judge = |pack: &IndexedPack| {
            let trusted = roster.relies(me, &pack.signer, &pack.info.writer);
            let header = crate::format::header::Header::parse(&pack.info.header);
            // Of the group's key sets those that give blobs the same names.
            let named_alike = header.is_ok_and(|header| {
                let sealed = repository.keys_of(&header.key_id, header.epoch);
                header.key_id == keys.group && sealed.is_some_and(|sealed| sealed.names_alike(keys))
            });
            Standing {
                is_there: !gone.contains(&pack.info.id),
                is_original: originals.contains(&pack.info.id),
                is_trusted: trusted && named_alike,
            }
        };
        Ok(Session {
            tag: repository.client.tag,
            looked,
            runs: index.runs.into_iter().map(|run| UsedRun::new(run, judge)).collect::<Result<_, _>>()?,
            made: RwLock::default(),
            claims: std::iter::repeat_with(Mutex::default).take(SHARDS).collect(),
            pending: Mutex::new(Pending {
                packs: Vec::new(),
                records: Vec::new(),
                live: BTreeMap::new(),
                since: Instant::now(),
                journal: Journal::new(repository),
            }),
            scratch: tempfile::tempdir_in(repository.cache_dir())
                .map_err(|error| crate::local::io_error("make a directory in", repository.cache_dir())(error))?,
        })
    }

    fn shard(&self, id: &BlobId) -> &Mutex<HashSet<BlobId>> {
        &self.claims[usize::from(id.0[31]) % SHARDS]
    }

    /// Whether the blob is in the repository; notes that the snapshot needs it.
    fn is_stored(&self, id: &BlobId) -> bool {
        self.runs.iter().any(|run| run.take(id)) || self.is_made(id)
    }

    /// Whether the blob is in an index chunk of this session.
    fn is_made(&self, id: &BlobId) -> bool {
        self.made.read().expect("no panic while the lock is held").locations(id).next().is_some()
    }

    /// Whether the blob is in the repository or taken on; notes that the snapshot needs it.
    pub fn is_present(&self, id: &BlobId) -> bool {
        self.is_stored(id) || self.shard(id).lock().expect("no panic while the lock is held").contains(id)
    }

    /// Notes that a blob is needed which was in the repository before. Whether it is in a pack that the original needs, where
    /// somebody relied on it before, or in one that this client relies on.
    pub fn refer(&self, id: &BlobId) -> bool {
        let places =
            self.runs.iter().flat_map(|used| used.run.find(id).map(move |(place, record)| (used, place, record)));
        let is_good = |standing: Standing| standing.is_there && (standing.is_original || standing.is_trusted);
        let good = places.filter(|(used, _, record)| is_good(used.standing(record)));
        let best = good.max_by_key(|(used, _, record)| used.standing(record));
        let Some((used, place, record)) = best else { return self.is_made(id) };
        used.use_up(place, &record);
        true
    }

    /// Takes on a blob, unless it is in the repository or taken on already.
    pub fn claim(&self, id: &BlobId) -> Claim {
        // Between the two looks a flush may move the claim into a run; then the blob is stored twice, which is harmless.
        if self.is_stored(id) {
            return Claim::Present;
        }
        if self.shard(id).lock().expect("no panic while the lock is held").insert(*id) {
            Claim::New
        } else {
            Claim::Present
        }
    }

    /// Takes note of a pack that is durable. Writes an index chunk when there is enough for one, or when the last one is
    /// some minutes old, so that a backup that is cut off does not store again what it has stored.
    pub fn pack_stored(&self, repository: &Repository, pack: FinishedPack) -> Result<(), RepositoryError> {
        let mut pending = self.pending.lock().expect("no panic while the lock is held");
        let number = pending.packs.len() as u32;
        pending.live.insert(pack.id, pack.blobs.iter().map(|blob| u64::from(blob.stored)).sum());
        let info = PackInfo {
            label: pack.label.to_string(),
            id: pack.id,
            size: pack.bytes.len() as u64,
            header: pack.header,
            writer: self.tag,
        };
        let first = pending.records.len();
        pending.records.extend(pack.blobs.into_iter().map(|place| Record { pack: number, place }));
        let Pending { records, journal, .. } = &mut *pending;
        journal.note(&info, &records[first..]);
        pending.packs.push(info);
        if pending.records.len() < SEGMENT && pending.since.elapsed() < FLUSH_AFTER {
            return Ok(());
        }
        self.write_index(repository, &mut pending)
    }

    /// Writes an index chunk for what has none yet.
    pub fn flush(&self, repository: &Repository) -> Result<(), RepositoryError> {
        let mut pending = self.pending.lock().expect("no panic while the lock is held");
        if pending.packs.is_empty() { Ok(()) } else { self.write_index(repository, &mut pending) }
    }

    /// Refuses to go on when the tombstones of what it relies on, or has stored itself, may have come and gone.
    pub fn is_in_time(&self) -> Result<(), RepositoryError> {
        pruning::is_in_time(self.looked)
    }

    fn write_index(&self, repository: &Repository, pending: &mut Pending) -> Result<(), RepositoryError> {
        self.is_in_time()?;
        let payload = pending.take();
        let stored = repository.put_signed(&tagged("index", &self.tag), Context::Index, to_cbor(&payload))?;
        pending.journal.clear();
        self.add_to_index(payload, stored.id)
    }

    /// Moves records from memory into a run, and drops their claims.
    fn add_to_index(&self, payload: IndexPayload, chunk: ChunkId) -> Result<(), RepositoryError> {
        let segment = segment(self.tag, payload, Some(chunk))?;
        let claims: Vec<BlobId> = segment.records.iter().map(|record| record.place.id).collect();
        // Nobody else changes it: `pending` is locked.
        let before = self.made.read().expect("no panic while the lock is held").runs.clone();
        let runs = IndexCache::new(self.scratch.path())?.add(before, vec![segment])?;
        self.made.write().expect("no panic while the lock is held").runs = runs;
        for id in claims {
            self.shard(&id).lock().expect("no panic while the lock is held").remove(&id);
        }
        Ok(())
    }

    /// Packs and records that no index chunk has yet, for the snapshot that ends the backup.
    pub fn take_pending(&self) -> IndexPayload {
        self.pending.lock().expect("no panic while the lock is held").take()
    }

    /// The packs that what was claimed so far needs.
    pub fn references(&self) -> Result<Vec<Reference>, RepositoryError> {
        let new = self.pending.lock().expect("no panic while the lock is held").live.clone();
        let mut needed: BTreeMap<ChunkId, Reference> = BTreeMap::new();
        for run in &self.runs {
            // A pack that this very backup has stored, again perhaps, is needed with all of its bytes.
            for reference in run.references()?.into_iter().filter(|reference| !new.contains_key(&reference.pack)) {
                match needed.entry(reference.pack) {
                    Entry::Vacant(place) => {
                        place.insert(reference);
                    }
                    Entry::Occupied(mut place) => place.get_mut().add(reference),
                }
            }
        }
        needed.extend(new.into_iter().map(|(pack, live)| (pack, Reference { pack, live, used: None })));
        Ok(needed.into_values().collect())
    }

    /// The backup has ended well. What its index chunks say need not be read from them again on this machine.
    pub fn end(self, repository: &Repository) {
        self.pending.into_inner().expect("no panic while the lock is held").journal.clear();
        let made = self.made.into_inner().expect("no panic while the lock is held").runs;
        if let Err(error) = IndexCache::new(repository.cache_dir()).and_then(|cache| cache.adopt(&made)) {
            tracing::info!("the next command reads the new index chunks again: {error}");
        }
    }
}

impl Pending {
    fn take(&mut self) -> IndexPayload {
        self.since = Instant::now();
        IndexPayload::new(std::mem::take(&mut self.packs), std::mem::take(&mut self.records))
    }
}

fn segment(tag: WriterTag, payload: IndexPayload, chunk: Option<ChunkId>) -> Result<Segment, RepositoryError> {
    let records =
        payload.records().map_err(|why| RepositoryError::Malformed { what: "the index of this backup".into(), why })?;
    Ok(Segment { chunk, signer: tag, packs: payload.packs, records })
}

//! The commit: all packs are durable; now the index chunk, unless it is small, and last the snapshot.

use std::time::Duration;

use super::{Outcome, Shared, statistics};
use crate::chunk::ChunkId;
use crate::clock::Moment;
use crate::format::content::Content;
use crate::format::index::{IndexPayload, RECORD_SIZE};
use crate::format::signed::Context;
use crate::format::snapshot::{
    MAX_INLINE_REFERENCES, Reference, ReferencePiece, References, Snapshot, cut_references, encode_references,
};
use crate::format::{Time, to_cbor};
use crate::local::seen::Seen;
use crate::repository::metadata::SnapshotInfo;
use crate::repository::{Repository, RepositoryError, pruning, tagged};

/// An index payload with records of up to this many bytes stands in the snapshot.
const SMALL_INDEX: usize = 2_000 * RECORD_SIZE;
/// Name and version of this program, as snapshots record it.
const PROGRAM: &str = concat!("obnam ", env!("CARGO_PKG_VERSION"));

/// This client's chain of snapshots, as the backup goes on with it.
pub struct Chain {
    last: Option<Link>,
    /// Snapshots get numbers above this.
    sequence: u64,
    /// The pieces of the last reference list.
    pieces: Vec<ReferencePiece>,
}

struct Link {
    id: ChunkId,
    partial: bool,
}

impl Chain {
    /// The chain as it was found; `remembered` is the highest number that this machine has seen.
    pub fn new(repository: &Repository, snapshots: &[SnapshotInfo]) -> Result<Self, RepositoryError> {
        let tag = repository.client.tag;
        let own = snapshots.iter().filter(|info| info.snapshot.client == tag);
        let last = own.max_by_key(|info| (info.snapshot.sequence, info.snapshot.started));
        let seen = Seen::load(repository.state_dir())?;
        let remembered = seen.snapshots.get(&tag.to_string()).map_or(0, |seen| seen.sequence);
        Ok(Chain {
            last: last.map(|info| Link { id: info.id, partial: info.is_partial() }),
            sequence: last.map_or(0, |info| info.snapshot.sequence).max(remembered),
            pieces: last.and_then(|info| info.snapshot.references.pieces.clone()).unwrap_or_default(),
        })
    }
}

/// No commit on a list of tombstones that is older than this: half of the shortest grace that packs have (format section 11).
const FRESH: Duration = Duration::from_secs(pruning::MIN_GRACE.as_secs() / 2);

/// Commits what has been stored so far; `None` if packs that it relies on have been marked for removal meanwhile, or if it took so long that
/// this is not known any more.
pub fn commit(shared: &Shared<'_>, root: Content, partial: bool) -> Result<Option<Outcome>, RepositoryError> {
    let Shared { repository, options, watch, session, .. } = shared;
    let mut chain = shared.chain.lock().expect("no panic while the lock is held");
    let references = session.references()?;
    let looked = Moment::now();
    session.is_in_time()?;
    let tombstoned = repository.tombstoned()?;
    if references.iter().any(|reference| tombstoned.contains(&reference.pack)) {
        return Ok(None);
    }
    let needed: Vec<ChunkId> = references.iter().map(|reference| reference.pack).collect();
    let tag = repository.client.tag;
    let payload = if partial { IndexPayload::default() } else { session.take_pending() };
    let index = if payload.packs.is_empty() {
        None
    } else if payload.records.len() <= SMALL_INDEX {
        Some(to_cbor(&payload))
    } else {
        let stored = repository.put_signed(&tagged("index", &tag), Context::Index, to_cbor(&payload))?;
        watch.counters.stored_bytes.add(stored.size);
        None
    };
    let references = write_references(repository, &references, &chain.pieces)?;
    let sequence = chain.sequence.saturating_add(1);
    let snapshot = Snapshot {
        client: tag,
        sequence,
        previous: chain.last.as_ref().map(|last| last.id),
        roster_epoch: repository.roster.epoch,
        started: shared.started,
        finished: Time::now(),
        host: options.host.clone(),
        paths: options.paths(),
        tags: options.tags.clone(),
        root,
        group: repository.sealing_keys().group,
        statistics: statistics(&watch.counters, watch.problems.all().len()),
        references,
        index,
        partial: partial.then_some(true),
        replaces: chain.last.as_ref().filter(|last| last.partial).map(|last| last.id),
        program: PROGRAM.into(),
    };
    if looked.elapsed() > FRESH {
        return Ok(None);
    }
    let stored = repository.put_signed(&tagged("snapshot", &tag), Context::Snapshot, to_cbor(&snapshot))?;
    if looked.elapsed() > FRESH {
        // The machine slept in the very moment of the commit. If that snapshot came too late, the next try makes another one.
        let tombstoned = repository.tombstoned()?;
        if needed.iter().any(|pack| tombstoned.contains(pack)) {
            return Ok(None);
        }
    }
    let mut seen = Seen::load(repository.state_dir())?;
    if seen.note(&tag.to_string(), sequence, &stored.id) {
        seen.save(repository.state_dir())?;
    }
    *chain = Chain {
        last: Some(Link { id: stored.id, partial }),
        sequence,
        pieces: snapshot.references.pieces.clone().unwrap_or_default(),
    };
    Ok(Some(Outcome { id: stored.id, snapshot }))
}

/// Writes a reference list; pieces that the snapshot before has too are not written again.
fn write_references(
    repository: &Repository,
    references: &[Reference],
    known: &[ReferencePiece],
) -> Result<References, RepositoryError> {
    if references.len() <= MAX_INLINE_REFERENCES {
        return Ok(References { inline: Some(encode_references(references)), pieces: None });
    }
    let label = tagged("index", &repository.client.tag);
    let mut pieces = Vec::new();
    for piece in cut_references(references) {
        let records = encode_references(piece);
        let digest = ChunkId::of(&records);
        let chunk = match known.iter().find(|known| known.digest == digest) {
            Some(known) => known.chunk,
            None => {
                let payload = IndexPayload { references: Some(records), ..IndexPayload::default() };
                repository.put_signed(&label, Context::Index, to_cbor(&payload))?.id
            }
        };
        pieces.push(ReferencePiece { digest, chunk });
    }
    Ok(References { inline: None, pieces: Some(pieces) })
}

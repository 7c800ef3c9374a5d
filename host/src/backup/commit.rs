//! The commit: all packs are durable; now the index chunk, unless it is small, and last the snapshot.

use std::time::Duration;

use super::Outcome;
use super::writer::Writer;
use crate::chunk::ChunkId;
use crate::clock::Moment;
use crate::format::content::Content;
use crate::format::index::{IndexPayload, RECORD_SIZE};
use crate::format::references::{Encoded, Reference, ReferencePiece, References, cut};
use crate::format::signed::Context;
use crate::format::snapshot::{Origin, RawPath, Rewritten, Snapshot, Statistics};
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
    last: Option<ChunkId>,
    /// A partial snapshot that the next whole one replaces.
    partial: Option<ChunkId>,
    /// Snapshots get numbers above this.
    sequence: u64,
    /// The pieces of the last reference list.
    pieces: Vec<ReferencePiece>,
}

impl Chain {
    /// The chain as it was found; `remembered` is the highest number that this machine has seen.
    pub fn new(repository: &Repository, snapshots: &[SnapshotInfo]) -> Result<Self, RepositoryError> {
        let tag = repository.client.tag;
        let own = || snapshots.iter().filter(|info| info.snapshot.client == tag);
        let rank = |info: &&SnapshotInfo| (info.snapshot.sequence, info.snapshot.started);
        let last = own().max_by_key(rank);
        // Others come in between, and have nothing to do with it.
        let backup = own().filter(|info| info.snapshot.is_backup()).max_by_key(rank);
        let seen = Seen::load(repository.state_dir())?;
        let remembered = seen.snapshots.get(&tag.to_string()).map_or(0, |seen| seen.sequence);
        Ok(Chain {
            last: last.map(|info| info.id),
            partial: backup.filter(|info| info.is_partial()).map(|info| info.id),
            sequence: last.map_or(0, |info| info.snapshot.sequence).max(remembered),
            pieces: last.and_then(|info| info.snapshot.references.pieces.clone()).unwrap_or_default(),
        })
    }
}

/// No commit on a list of tombstones that is older than this: half of the shortest grace that packs have (format section 11).
const FRESH: Duration = Duration::from_secs(pruning::MIN_GRACE.as_secs() / 2);

/// What a snapshot says of itself.
pub struct Description {
    /// When the backup began.
    pub started: Time,
    /// When it ended.
    pub finished: Time,
    /// The machine.
    pub host: String,
    /// What was backed up.
    pub paths: Vec<RawPath>,
    /// Its tags.
    pub tags: Vec<String>,
    /// The root directory.
    pub root: Content,
    /// Numbers.
    pub statistics: Statistics,
    /// Whether it was made in the middle of a backup.
    pub partial: bool,
    /// What it is a copy of.
    pub origin: Option<Origin>,
    /// What it was made from.
    pub rewritten: Option<Rewritten>,
}

/// Commits what has been stored so far; `None` if packs that it relies on have been marked for removal meanwhile, or if it
/// took so long that this is not known any more. With `goes_on` more is being stored, and its index is left to be written later.
pub fn commit(
    writer: &Writer<'_>,
    chain: &mut Chain,
    goes_on: bool,
    describe: impl FnOnce() -> Description,
) -> Result<Option<Outcome>, RepositoryError> {
    let Writer { repository, session, .. } = writer;
    let references = session.references()?;
    let looked = Moment::now();
    session.is_in_time()?;
    let tombstoned = repository.tombstoned()?;
    if references.iter().any(|reference| tombstoned.contains(&reference.pack)) {
        return Ok(None);
    }
    let needed: Vec<ChunkId> = references.iter().map(|reference| reference.pack).collect();
    let tag = repository.client.tag;
    let payload = if goes_on { IndexPayload::default() } else { session.take_pending() };
    let index = if payload.packs.is_empty() {
        None
    } else if payload.records.len() <= SMALL_INDEX {
        Some(to_cbor(&payload))
    } else {
        let stored = repository.put_signed(&tagged("index", &tag), Context::Index, to_cbor(&payload))?;
        writer.counters.stored_bytes.add(stored.size);
        None
    };
    let references = write_references(repository, &references, &chain.pieces)?;
    let sequence = chain.sequence.saturating_add(1);
    let described = describe();
    let mut snapshot = Snapshot {
        client: tag,
        sequence,
        previous: chain.last,
        roster_epoch: repository.roster.epoch,
        started: described.started,
        finished: described.finished,
        host: described.host,
        paths: described.paths,
        tags: described.tags,
        root: described.root,
        group: repository.sealing_keys().group,
        statistics: described.statistics,
        references,
        index,
        partial: described.partial.then_some(true),
        replaces: None,
        program: PROGRAM.into(),
        origin: described.origin,
        rewritten: described.rewritten,
    };
    if snapshot.is_backup() {
        snapshot.replaces = chain.partial;
    }
    if looked.elapsed() > FRESH {
        return Ok(None);
    }
    let stored = repository.put_signed(&tagged("snapshot", &tag), Context::Snapshot, to_cbor(&snapshot))?;
    if looked.elapsed() > FRESH {
        // The machine slept in the very moment of the commit. If that snapshot came too late, the next try makes another one.
        let tombstoned = repository.tombstoned()?;
        if needed.iter().any(|pack| tombstoned.contains(pack)) {
            repository.take_back(&stored.id, &snapshot)?;
            return Ok(None);
        }
    }
    let mut seen = Seen::load(repository.state_dir())?;
    if seen.note(&tag.to_string(), sequence, &stored.id) {
        seen.save(repository.state_dir())?;
    }
    *chain = Chain {
        last: Some(stored.id),
        partial: match snapshot.is_backup() {
            true => described.partial.then_some(stored.id),
            false => chain.partial,
        },
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
    let all = Encoded::of(references);
    if all.is_short() {
        return Ok(References { inline: Some(all.records), pieces: None, used: all.used });
    }
    let label = tagged("index", &repository.client.tag);
    let mut pieces = Vec::new();
    for piece in cut(references) {
        let Encoded { records, used, digest } = Encoded::of(piece);
        let chunk = match known.iter().find(|known| known.digest == digest) {
            Some(known) => known.chunk,
            None => {
                let payload = IndexPayload { references: Some(records), used, ..IndexPayload::default() };
                repository.put_signed(&label, Context::Index, to_cbor(&payload))?.id
            }
        };
        pieces.push(ReferencePiece { digest, chunk });
    }
    Ok(References { inline: None, pieces: Some(pieces), used: None })
}

//! The commit: all packs are durable; now the index chunk, unless it is small, and last the snapshot.

use super::session::Rest;
use super::{Outcome, Shared, statistics};
use crate::chunk::ChunkId;
use crate::format::content::Content;
use crate::format::index::{IndexPayload, RECORD_SIZE};
use crate::format::signed::Context;
use crate::format::snapshot::{
    MAX_INLINE_REFERENCES, RawPath, Reference, ReferencePiece, References, Snapshot, cut_references, encode_references,
};
use crate::format::{Time, to_cbor};
use crate::local::seen::Seen;
use crate::repository::metadata::SnapshotInfo;
use crate::repository::{Repository, RepositoryError, tagged};

/// An index payload with records of up to this many bytes stands in the snapshot.
const SMALL_INDEX: usize = 2_000 * RECORD_SIZE;
/// Name and version of this program, as snapshots record it.
const PROGRAM: &str = concat!("obnam ", env!("CARGO_PKG_VERSION"));

/// Commits; `None` if packs that the backup relies on have been marked for removal meanwhile.
pub fn commit(
    shared: Shared<'_>,
    snapshots: &[SnapshotInfo],
    started: Time,
    root: Content,
) -> Result<Option<Outcome>, RepositoryError> {
    let Shared { repository, options, watch, session, state, .. } = shared;
    let Rest { payload, references } = session.finish()?;
    let tombstoned = repository.tombstoned()?;
    if references.iter().any(|reference| tombstoned.contains(&reference.pack)) {
        return Ok(None);
    }
    let tag = repository.client.tag;
    let previous = snapshots
        .iter()
        .filter(|info| info.snapshot.client == tag)
        .max_by_key(|info| (info.snapshot.sequence, info.snapshot.started));
    let index = if payload.packs.is_empty() {
        None
    } else if payload.records.len() <= SMALL_INDEX {
        Some(to_cbor(&payload))
    } else {
        let stored = repository.put_signed(&tagged("index", &tag), Context::Index, to_cbor(&payload))?;
        watch.counters.stored_bytes.add(stored.size);
        None
    };
    let references = write_references(repository, &references, previous)?;
    let mut seen = Seen::load(repository.state_dir())?;
    let remembered = seen.snapshots.get(&tag.to_string()).map_or(0, |seen| seen.sequence);
    let sequence = previous.map_or(0, |info| info.snapshot.sequence).max(remembered).saturating_add(1);
    let snapshot = Snapshot {
        client: tag,
        sequence,
        previous: previous.map(|info| info.id),
        roster_epoch: repository.roster.epoch,
        started,
        finished: Time::now(),
        host: options.host.clone(),
        paths: options.roots.raw_paths().map(RawPath).collect(),
        tags: options.tags.clone(),
        root,
        group: repository.sealing_keys().group,
        statistics: statistics(&watch.counters, watch.problems.all().len()),
        references,
        index,
        partial: None,
        replaces: None,
        program: PROGRAM.into(),
    };
    let stored = repository.put_signed(&tagged("snapshot", &tag), Context::Snapshot, to_cbor(&snapshot))?;
    state.finish();
    if seen.note(&tag.to_string(), sequence, &stored.id) {
        seen.save(repository.state_dir())?;
    }
    Ok(Some(Outcome { id: stored.id, snapshot }))
}

/// Writes a reference list; pieces that the snapshot before has too are not written again.
fn write_references(
    repository: &Repository,
    references: &[Reference],
    previous: Option<&SnapshotInfo>,
) -> Result<References, RepositoryError> {
    if references.len() <= MAX_INLINE_REFERENCES {
        return Ok(References { inline: Some(encode_references(references)), pieces: None });
    }
    let known: &[ReferencePiece] =
        previous.and_then(|info| info.snapshot.references.pieces.as_deref()).unwrap_or_default();
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

//! Forgetting snapshots: a signed record that they are gone on purpose, and then their removal.
//!
//! What only they needed stays until it is pruned. The newest snapshot of a client is never forgotten: its number tells every other
//! machine that nothing is missing behind it.

use std::collections::{HashMap, HashSet};

use super::metadata::{Listing, SnapshotInfo};
use super::{Repository, RepositoryError, family, tagged};
use crate::chunk::{ChunkId, ChunkInfo, Label};
use crate::format::index::{IndexPayload, Record};
use crate::format::roster::Role;
use crate::format::signed::Context;
use crate::format::tombstone::{Forgotten, Tombstone};
use crate::format::{Time, WriterTag, from_cbor, to_cbor};
use crate::store::RemoveOutcome;

/// How many records an index chunk holds at most that takes over what stood in forgotten snapshots.
const INDEX_RECORDS: usize = 50_000;

/// What became of the snapshots.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// They are gone.
    pub removed: Vec<ChunkId>,
    /// The store removes them at this time (seconds since 1970).
    pub pending: Vec<(ChunkId, u64)>,
}

impl Repository {
    /// The snapshots that were forgotten, by the tombstones of maintainers that have not been removed from the roster. What cannot be
    /// used is left out.
    pub(crate) fn forgotten_in(&self, listed: &[ChunkInfo]) -> HashMap<ChunkId, Forgotten> {
        let mut forgotten = HashMap::new();
        for (signer, tombstone) in self.in_parallel(listed, |info| self.tombstone(info)).into_iter().flatten() {
            if self.roster.member(&signer).is_some_and(|member| member.removed.is_none()) {
                forgotten.extend(tombstone.snapshots.into_iter().flatten().map(|gone| (gone.id, gone)));
            }
        }
        forgotten
    }

    /// The newest snapshot of each client, which is never forgotten.
    pub fn newest_of_clients(snapshots: &[SnapshotInfo]) -> HashSet<ChunkId> {
        let mut newest: HashMap<WriterTag, &SnapshotInfo> = HashMap::new();
        for info in snapshots {
            let other = newest.entry(info.snapshot.client).or_insert(info);
            if other.snapshot.sequence < info.snapshot.sequence {
                *other = info;
            }
        }
        newest.values().map(|info| info.id).collect()
    }

    /// Forgets snapshots: in this order it stores what of the index stands in them alone, then the record, then it removes their notes
    /// and them. Whatever interrupts it, no other snapshot loses anything, and to forget the same ones again goes on. Those that were
    /// forgotten before and are still there are removed too.
    pub fn forget(
        &self,
        listing: &Listing,
        snapshots: &[SnapshotInfo],
        doomed: &HashSet<ChunkId>,
    ) -> Result<Outcome, RepositoryError> {
        self.require(Role::Maintainer, "forget snapshots")?;
        let newest = Repository::newest_of_clients(snapshots);
        let doomed: Vec<&SnapshotInfo> = snapshots
            .iter()
            .filter(|info| (doomed.contains(&info.id) || info.forgotten) && !newest.contains(&info.id))
            .collect();
        let (again, first): (Vec<_>, Vec<_>) = doomed.iter().copied().partition(|info| info.forgotten);
        if !first.is_empty() {
            self.keep_indexes(&first)?;
            self.record(&first)?;
        }
        let gone: HashSet<ChunkId> = doomed.iter().map(|info| info.id).collect();
        let notes = self.notes_of(&listing.notes, &gone);
        let outcomes = self.in_parallel(&notes, |(label, id)| self.store.remove(label, id));
        outcomes.into_iter().collect::<Result<Vec<_>, _>>()?;
        let remove = |info: &&SnapshotInfo| self.store.remove(&tagged("snapshot", &info.snapshot.client), &info.id);
        let doomed: Vec<_> = again.into_iter().chain(first).collect();
        let mut outcome = Outcome::default();
        let mut failure = None;
        for (info, removed) in doomed.iter().zip(self.in_parallel(&doomed, remove)) {
            match removed {
                Ok(RemoveOutcome::Removed) => outcome.removed.push(info.id),
                Ok(RemoveOutcome::Pending(until)) => outcome.pending.push((info.id, until)),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(outcome), |error| Err(error.into()))
    }

    /// Stores index chunks with the parts of the index that stand in these snapshots: other snapshots may rely on the same packs.
    fn keep_indexes(&self, snapshots: &[&SnapshotInfo]) -> Result<(), RepositoryError> {
        let (mut packs, mut records) = (Vec::new(), Vec::new());
        for info in snapshots {
            let payload = info.snapshot.index.as_deref().map(from_cbor::<IndexPayload>);
            // One that cannot be used was never of use for anybody.
            let Some(Ok(payload)) = payload else { continue };
            let Ok(more) = payload.records() else { continue };
            if records.len() + more.len() > INDEX_RECORDS {
                self.put_index(std::mem::take(&mut packs), std::mem::take(&mut records))?;
            }
            let first = u32::try_from(packs.len()).unwrap_or(u32::MAX);
            packs.extend(payload.packs);
            records.extend(more.into_iter().map(|record| Record { pack: record.pack + first, ..record }));
        }
        if packs.is_empty() { Ok(()) } else { self.put_index(packs, records) }
    }

    fn put_index(
        &self,
        packs: Vec<crate::format::index::PackInfo>,
        records: Vec<Record>,
    ) -> Result<(), RepositoryError> {
        let payload = to_cbor(&IndexPayload::new(packs, records));
        self.put_signed(&tagged("index", &self.client.tag), Context::Index, payload).map(drop)
    }

    fn record(&self, snapshots: &[&SnapshotInfo]) -> Result<(), RepositoryError> {
        let forgotten = snapshots.iter().map(|info| Forgotten {
            id: info.id,
            client: info.snapshot.client,
            sequence: info.snapshot.sequence,
            previous: info.snapshot.previous,
        });
        let tombstone =
            Tombstone { packs: Vec::new(), created: Time::now(), grace: 0, snapshots: Some(forgotten.collect()) };
        self.put_signed(&family("tombstone"), Context::Tombstone, to_cbor(&tombstone)).map(drop)
    }

    /// The notes about these snapshots.
    fn notes_of(&self, listed: &[ChunkInfo], snapshots: &HashSet<ChunkId>) -> Vec<(Label, ChunkId)> {
        let notes = self.in_parallel(listed, |info| self.note(info));
        let of_these = listed
            .iter()
            .zip(notes)
            .filter(|(_, note)| note.as_ref().is_ok_and(|(_, note)| snapshots.contains(&note.snapshot)));
        of_these.map(|(info, _)| (info.label.clone(), info.id)).collect()
    }
}

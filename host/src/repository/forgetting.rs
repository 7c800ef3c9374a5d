//! Forgetting snapshots: a signed record that they are gone on purpose, and then their removal.
//!
//! What only they needed stays until it is pruned. The newest snapshot of a client is never forgotten: its number tells every other
//! machine that nothing is missing behind it. Of a client that was removed the roster tells it.

use std::collections::{HashMap, HashSet};

use super::merging::Merging;
use super::metadata::{Listing, SnapshotInfo};
use super::{ChunkName, Repository, RepositoryError, family, tagged};
use crate::chunk::{ChunkId, ChunkInfo, Label};
use crate::format::index::{IndexPayload, PackInfo};
use crate::format::roster::Role;
use crate::format::signed::Context;
use crate::format::snapshot::Snapshot;
use crate::format::tombstone::{Forgotten, Tombstone};
use crate::format::{Time, WriterTag, from_cbor, to_cbor};
use crate::store::RemoveOutcome;

/// What became of the snapshots.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// They are gone.
    pub removed: Vec<ChunkId>,
    /// The store removes them at this time (seconds since 1970).
    pub pending: Vec<(ChunkId, u64)>,
}

impl Repository {
    /// The newest snapshot of each client that has not been removed, which is never forgotten.
    pub fn newest_of_clients(&self, snapshots: &[SnapshotInfo]) -> HashSet<ChunkId> {
        let mut newest: HashMap<WriterTag, &SnapshotInfo> = HashMap::new();
        let is_removed = |tag: &WriterTag| self.roster.member(tag).is_some_and(|member| member.removed.is_some());
        for info in snapshots.iter().filter(|info| !is_removed(&info.snapshot.client)) {
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
        let newest = self.newest_of_clients(snapshots);
        let doomed: Vec<&SnapshotInfo> = snapshots
            .iter()
            .filter(|info| (doomed.contains(&info.id) || info.forgotten) && !newest.contains(&info.id))
            .collect();
        let (again, first): (Vec<_>, Vec<_>) = doomed.iter().copied().partition(|info| info.forgotten);
        if !first.is_empty() {
            self.keep_indexes(&first, listing)?;
            self.record(first.iter().map(|info| (&info.id, &*info.snapshot)))?;
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

    /// Stores index chunks with the parts of the index that stand in these snapshots: other snapshots may rely on the same packs. One
    /// that cannot be used was never of use for anybody.
    fn keep_indexes(&self, snapshots: &[&SnapshotInfo], listing: &Listing) -> Result<(), RepositoryError> {
        let mut merging = Merging::new(self, listing.looked);
        let superseded = &self.buried(listing)?.indexes;
        for info in snapshots.iter().filter(|info| !superseded.contains(&info.id)) {
            let Some(payload) = self.whole(info)?.index else { continue };
            let payload = from_cbor::<IndexPayload>(&payload).and_then(|payload| Ok((payload.records()?, payload)));
            match payload {
                Ok((records, payload)) => {
                    // What its client says of others' packs is not kept.
                    let own = |pack: &PackInfo| pack.writer == info.snapshot.client;
                    let own: HashSet<ChunkId> =
                        payload.packs.iter().filter(|pack| own(pack)).map(|pack| pack.id).collect();
                    merging.take(&info.snapshot.client, &payload, &records, |id| own.contains(id), |_| false)?;
                }
                Err(why) => {
                    let name = ChunkName { label: tagged("snapshot", &info.snapshot.client), id: info.id };
                    self.warnings.chunk("index-unusable", &name, format!("its index is not kept: {why}"));
                }
            }
        }
        merging.flush()
    }

    /// Takes back a snapshot of this client that was stored so late that packs which it needs may have been removed: it is recorded as
    /// forgotten, and removed. A client that is no maintainer cannot do so, and leaves it to one; what of it is lost, `check` tells.
    pub(crate) fn take_back(&self, id: &ChunkId, snapshot: &Snapshot) -> Result<(), RepositoryError> {
        if !self.member().has(Role::Maintainer) {
            return Ok(());
        }
        self.record(std::iter::once((id, snapshot)))?;
        self.store.remove(&tagged("snapshot", &snapshot.client), id)?;
        Ok(())
    }

    fn record<'s>(&self, snapshots: impl Iterator<Item = (&'s ChunkId, &'s Snapshot)>) -> Result<(), RepositoryError> {
        let forgotten = snapshots.map(|(id, snapshot)| Forgotten {
            id: *id,
            client: snapshot.client,
            sequence: snapshot.sequence,
            previous: snapshot.previous,
        });
        self.put_forgotten(forgotten.collect())
    }

    fn put_forgotten(&self, forgotten: Vec<Forgotten>) -> Result<(), RepositoryError> {
        let snapshots = Some(forgotten);
        let tombstone = Tombstone { packs: Vec::new(), created: Time::now(), grace: 0, snapshots, indexes: None };
        self.put_signed(&family("tombstone"), Context::Tombstone, to_cbor(&tombstone)).map(drop)
    }

    /// Records snapshots that cannot be read as forgotten, and removes what is there of them. What they were is told by the others of
    /// their clients.
    pub(super) fn give_up(&self, lost: &[ChunkInfo], listing: &Listing) -> Result<(), RepositoryError> {
        if lost.is_empty() {
            return Ok(());
        }
        let snapshots = self.snapshots(listing)?;
        let known = snapshots.iter().map(|info| {
            let Snapshot { client, sequence, previous, .. } = *info.snapshot;
            Forgotten { id: info.id, client, sequence, previous }
        });
        let known: Vec<Forgotten> = known.chain(self.buried(listing)?.forgotten.values().cloned()).collect();
        let record = |info: &ChunkInfo| {
            let client: WriterTag = info.label.tag()?.parse().ok()?;
            let own = || known.iter().filter(|other| other.client == client);
            let next = own().find(|other| other.previous == Some(info.id));
            let newest = || own().map(|other| other.sequence).max().unwrap_or(0).saturating_add(1);
            let sequence = next.map_or_else(newest, |next| next.sequence.saturating_sub(1));
            let previous = own().find(|other| other.sequence.checked_add(1) == Some(sequence)).map(|other| other.id);
            Some(Forgotten { id: info.id, client, sequence, previous })
        };
        self.put_forgotten(lost.iter().filter_map(record).collect())?;
        let removed = self.in_parallel(lost, |info| self.store.remove(&info.label, &info.id));
        removed.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(())
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

//! Audit: whether the history of each client is as this machine has seen it, and whole but for what was forgotten on purpose.
//!
//! Signatures, the roster and what was seen before are looked at whenever a repository is opened and snapshots are read; what
//! that finds is among the warnings of the repository. Here the chain of each client is followed from its newest snapshot to
//! its first one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::chunk::ChunkId;
use crate::format::WriterTag;
use crate::format::tombstone::Forgotten;
use crate::repository::metadata::SnapshotInfo;

/// The chain of one client.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// The number of its newest snapshot.
    pub newest: u64,
    /// Snapshots that are there.
    pub there: u64,
    /// Snapshots that a maintainer has forgotten on purpose.
    pub forgotten: u64,
    /// Snapshots that others follow, and that are neither there nor forgotten. What was before them is not known.
    pub missing: BTreeSet<ChunkId>,
    /// Numbers that no snapshot and no record has, though the one after them names what came before as if there had been nothing between:
    /// first and last of each gap.
    pub gaps: BTreeSet<(u64, u64)>,
    /// Snapshots and records that are not in the chain of the newest one: another branch.
    pub aside: BTreeSet<ChunkId>,
}

/// The chains of all clients of whom there is something.
pub fn chains(snapshots: &[SnapshotInfo], forgotten: &HashMap<ChunkId, Forgotten>) -> BTreeMap<WriterTag, Chain> {
    let mut links: BTreeMap<WriterTag, BTreeMap<ChunkId, (u64, Option<ChunkId>)>> = BTreeMap::new();
    for gone in forgotten.values() {
        links.entry(gone.client).or_default().insert(gone.id, (gone.sequence, gone.previous));
    }
    for info in snapshots {
        let link = (info.snapshot.sequence, info.snapshot.previous);
        links.entry(info.snapshot.client).or_default().insert(info.id, link);
    }
    let there: BTreeSet<ChunkId> = snapshots.iter().filter(|info| !info.forgotten).map(|info| info.id).collect();
    links.into_iter().map(|(client, links)| (client, follow(&links, &there))).collect()
}

fn follow(links: &BTreeMap<ChunkId, (u64, Option<ChunkId>)>, there: &BTreeSet<ChunkId>) -> Chain {
    let newest = links.iter().max_by_key(|(id, (sequence, _))| (*sequence, **id));
    let mut chain = Chain { newest: newest.map_or(0, |(_, (sequence, _))| *sequence), ..Chain::default() };
    let mut seen = BTreeSet::new();
    let mut next = newest.map(|(id, _)| *id);
    let mut after: Option<u64> = None;
    while let Some(id) = next.filter(|id| seen.insert(*id)) {
        next = links.get(&id).and_then(|(_, previous)| *previous);
        match links.get(&id) {
            None => drop(chain.missing.insert(id)),
            Some(_) if there.contains(&id) => chain.there += 1,
            Some(_) => chain.forgotten += 1,
        }
        let number = links.get(&id).map(|(sequence, _)| *sequence);
        chain.gaps.extend(number.zip(after).and_then(|(number, after)| gap(number, after)));
        after = number;
        if next.is_none() {
            chain.gaps.extend(number.and_then(|first| gap(0, first)));
        }
    }
    // What stands in a gap is another branch.
    let numbers: BTreeSet<u64> = links.values().map(|(sequence, _)| *sequence).collect();
    chain.gaps.retain(|(first, last)| numbers.range(first..=last).next().is_none());
    // Behind a gap the chain goes on with whatever is left.
    let rest: BTreeMap<_, _> =
        links.iter().filter(|(id, _)| !seen.contains(id)).map(|(id, link)| (*id, *link)).collect();
    if !rest.is_empty() {
        let before = follow(&rest, there);
        if chain.missing.is_empty() {
            chain.aside.extend(rest.into_keys());
        }
        chain.there += before.there;
        chain.forgotten += before.forgotten;
        chain.missing.extend(before.missing.into_iter().filter(|id| !seen.contains(id)));
        chain.gaps.extend(before.gaps);
        chain.aside.extend(before.aside);
    }
    chain
}

/// The numbers between two that follow each other.
fn gap(before: u64, after: u64) -> Option<(u64, u64)> {
    let (first, last) = (before.checked_add(1)?, after.checked_sub(1)?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> ChunkId {
        ChunkId::from_bytes([number; 32])
    }

    fn links(of: &[(u8, Option<u8>)]) -> BTreeMap<ChunkId, (u64, Option<ChunkId>)> {
        of.iter().map(|(number, previous)| (id(*number), (u64::from(*number), previous.map(id)))).collect()
    }

    #[test]
    fn gaps_and_branches_are_told_apart() {
        let there: BTreeSet<ChunkId> = [1, 2, 4, 5].map(id).into();
        let whole = follow(&links(&[(1, None), (2, Some(1)), (3, Some(2)), (4, Some(3)), (5, Some(4))]), &there);
        assert_eq!(whole, Chain { newest: 5, there: 4, forgotten: 1, ..Chain::default() });
        let gap = follow(&links(&[(1, None), (2, Some(1)), (4, Some(3)), (5, Some(4))]), &there);
        assert_eq!(gap, Chain { newest: 5, there: 4, missing: [id(3)].into(), ..Chain::default() });
        let branch = follow(&links(&[(1, None), (2, Some(1)), (4, Some(1)), (5, Some(4))]), &there);
        assert_eq!((branch.there, branch.aside), (4, [id(2)].into()));
        // The store showed an older state: number 3 was made and is gone, and nothing names it.
        let rolled_back = follow(&links(&[(1, None), (2, Some(1)), (4, Some(2)), (5, Some(4))]), &there);
        assert_eq!(rolled_back, Chain { newest: 5, there: 4, gaps: [(3, 3)].into(), ..Chain::default() });
        let beheaded = follow(&links(&[(4, None), (5, Some(4))]), &there);
        assert_eq!(beheaded.gaps, [(1, 3)].into());
        let circle = follow(&links(&[(1, Some(2)), (2, Some(1))]), &there);
        assert_eq!((circle.there, circle.missing.len()), (2, 0));
    }
}

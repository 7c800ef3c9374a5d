//! The history of each client: what counts of it, and whether it is whole.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::metadata::SnapshotInfo;
use super::{ChunkName, Repository, RepositoryError};
use crate::chunk::ChunkId;
use crate::format::WriterTag;
use crate::format::tombstone::Forgotten;
use crate::local::seen::Seen;

impl Repository {
    /// Of a removed client only the snapshot that the roster names counts, and those before it: its key may be in other
    /// hands by now, and sign whatever they like.
    pub(super) fn leave_out_removed(&self, snapshots: &mut Vec<SnapshotInfo>, forgotten: &HashMap<ChunkId, Forgotten>) {
        for member in &self.roster.members {
            let Some(removed) = &member.removed else { continue };
            let previous: HashMap<ChunkId, Option<ChunkId>> = snapshots
                .iter()
                .filter(|info| info.snapshot.client == member.tag)
                .map(|info| (info.id, info.snapshot.previous))
                .chain(forgotten.values().map(|gone| (gone.id, gone.previous)))
                .collect();
            let mut counted = HashSet::new();
            let mut next = removed.snapshot;
            while let Some(id) = next.filter(|id| counted.insert(*id)) {
                next = previous.get(&id).copied().flatten();
            }
            snapshots.retain(|info| {
                let stays = info.snapshot.client != member.tag || counted.contains(&info.id);
                if !stays {
                    let name = ChunkName { label: super::tagged("snapshot", &member.tag), id: info.id };
                    let message = "it is ignored: its client was removed, and it is not part of the accepted history";
                    self.warnings.chunk("snapshot-unusable", &name, message);
                }
                stays
            });
        }
    }

    /// Looks for history that is forked, or older than what was seen before, and remembers the newest.
    pub(super) fn check_history(
        &self,
        snapshots: &[SnapshotInfo],
        forgotten: &HashMap<ChunkId, Forgotten>,
    ) -> Result<(), RepositoryError> {
        let on_purpose: HashSet<String> = forgotten.keys().map(ChunkId::to_string).collect();
        let mut seen = Seen::load(&self.state)?;
        let mut newest: BTreeMap<String, &SnapshotInfo> = BTreeMap::new();
        let mut numbered: HashMap<(WriterTag, u64), &SnapshotInfo> = HashMap::new();
        let mut changed = false;
        for info in snapshots {
            let client = info.snapshot.client;
            if let Some(other) = numbered.insert((client, info.snapshot.sequence), info) {
                self.forked(
                    client,
                    format!(
                        "{} and {} have the same number {}",
                        other.id.short(),
                        info.id.short(),
                        info.snapshot.sequence
                    ),
                );
            }
            if newest.get(&client.to_string()).is_none_or(|other| other.snapshot.sequence < info.snapshot.sequence) {
                newest.insert(client.to_string(), info);
            }
        }
        for info in snapshots {
            let (client, sequence) = (info.snapshot.client, info.snapshot.sequence);
            let before = sequence.checked_sub(1).and_then(|before| numbered.get(&(client, before)));
            if let Some(before) = before.filter(|before| info.snapshot.previous != Some(before.id)) {
                self.forked(
                    client,
                    format!("{} does not follow {}, whose number is one lower", info.id.short(), before.id.short()),
                );
            }
        }
        for (client, remembered) in &seen.snapshots {
            let found = newest.get(client).map_or(0, |info| info.snapshot.sequence);
            if found < remembered.sequence && !on_purpose.contains(&remembered.id) && !self.is_cut_off(client, found) {
                self.warnings.general(
                    "history-rolled-back",
                    format!(
                        "the newest snapshot of client {client} has the number {found}, but number {} ({}) has been seen: the store has lost or hides it",
                        remembered.sequence,
                        &remembered.id[..10.min(remembered.id.len())]
                    ),
                );
            }
        }
        for (client, info) in &newest {
            let Some(remembered) = seen.snapshots.get(client) else { continue };
            let is_there = || snapshots.iter().any(|info| info.id.to_string() == remembered.id);
            if info.snapshot.sequence == remembered.sequence && !is_there() {
                self.warnings.general(
                    "history-forked",
                    format!(
                        "the snapshot number {} of client {client} is {}, but {} has been seen with that number: the store hides it, or somebody else has the client's keys",
                        remembered.sequence,
                        info.id.short(),
                        &remembered.id[..10.min(remembered.id.len())]
                    ),
                );
            }
        }
        for (client, info) in newest {
            changed |= seen.note(&client, info.snapshot.sequence, &info.id);
        }
        if changed {
            seen.save(&self.state)?;
        }
        Ok(())
    }

    /// Whether the roster says that this client was removed, and that this number is the last one of it that counts: what came after it is
    /// left out on purpose.
    fn is_cut_off(&self, client: &str, number: u64) -> bool {
        let removed = client.parse().ok().and_then(|tag| self.roster.member(&tag)?.removed.as_ref());
        removed.is_some_and(|removed| removed.sequence == number)
    }

    fn forked(&self, client: WriterTag, what: String) {
        let message = format!(
            "the history of client {client} is forked ({what}): somebody else has its keys, or its state was copied"
        );
        self.warnings.general("history-forked", message);
    }
}

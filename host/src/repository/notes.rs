//! Notes: the tags of snapshots, which themselves never change. The latest note by the snapshot's own client or by a
//! maintainer gives the tags in force; all others are reported and left out.

use std::collections::{BTreeMap, HashMap};

use super::metadata::SnapshotInfo;
use super::{ChunkName, Repository, RepositoryError, tagged};
use crate::chunk::{ChunkId, ChunkInfo};
use crate::format::note::Note;
use crate::format::roster::Role;
use crate::format::signed::Context;
use crate::format::{FormatError, Time, WriterTag, from_cbor, to_cbor};

/// A note whose signature is good, with its id and its signer.
struct Found {
    name: ChunkName,
    signer: WriterTag,
    note: Note,
}

impl Repository {
    /// Gives each snapshot the tags of its latest note. What cannot be used is warned about and left out.
    pub(super) fn apply_notes(
        &self,
        listed: &[ChunkInfo],
        snapshots: &mut [SnapshotInfo],
    ) -> Result<(), RepositoryError> {
        let mut latest = self.latest_notes(listed, snapshots)?;
        for info in snapshots {
            if let Some(found) = latest.remove(&info.id) {
                info.tags = found.note.tags;
                info.noted = Some(found.note.created);
            }
        }
        Ok(())
    }

    /// The notes in force that this member has signed.
    pub(super) fn notes_by(
        &self,
        signer: &WriterTag,
        listed: &[ChunkInfo],
        snapshots: &[SnapshotInfo],
    ) -> Result<Vec<Note>, RepositoryError> {
        let latest = self.latest_notes(listed, snapshots)?.into_values();
        Ok(latest.filter(|found| found.signer == *signer).map(|found| found.note).collect())
    }

    fn latest_notes(
        &self,
        listed: &[ChunkInfo],
        snapshots: &[SnapshotInfo],
    ) -> Result<HashMap<ChunkId, Found>, RepositoryError> {
        let mut latest: HashMap<ChunkId, Found> = HashMap::new();
        let clients: HashMap<ChunkId, WriterTag> =
            snapshots.iter().map(|info| (info.id, info.snapshot.client)).collect();
        let (notes, of_removed) = self.notes(listed)?;
        for found in notes {
            let Some(client) = clients.get(&found.note.snapshot) else { continue };
            if !self.may_note(&found.signer, client) {
                let message = "it is ignored: it is for a snapshot of another client, and its signer is no maintainer";
                self.warnings.chunk("note-unusable", &found.name, message);
                continue;
            }
            let rank = |found: &Found| (found.note.created, found.name.id);
            if latest.get(&found.note.snapshot).is_none_or(|other| rank(other) < rank(&found)) {
                latest.insert(found.note.snapshot, found);
            }
        }
        let mut lost: BTreeMap<&str, usize> = BTreeMap::new();
        for found in of_removed {
            let is_known = clients.contains_key(&found.note.snapshot);
            // A note that somebody else has made since, or the same one by an heir, has taken its place.
            let is_replaced =
                latest.get(&found.note.snapshot).is_some_and(|other| other.note.created >= found.note.created);
            if let Some(member) = self.roster.member(&found.signer).filter(|_| is_known && !is_replaced) {
                *lost.entry(&member.name).or_default() += 1;
            }
        }
        for (client, count) in lost {
            let notes = if count == 1 { "1 note".to_owned() } else { format!("{count} notes") };
            let message = format!(
                "{notes} of the removed client {client} count no more; a maintainer can set the tags that they gave again, with: obnam tag"
            );
            self.warnings.general("note-of-removed", message);
        }
        Ok(latest)
    }

    /// The notes with good signatures: of members, and of those that were removed.
    fn notes(&self, listed: &[ChunkInfo]) -> Result<(Vec<Found>, Vec<Found>), RepositoryError> {
        let (mut notes, mut of_removed) = (Vec::new(), Vec::new());
        for (info, note) in listed.iter().zip(self.in_parallel(listed, |info| self.note(info))) {
            let name = ChunkName { label: info.label.clone(), id: info.id };
            match note {
                Ok((signer, note)) => {
                    let is_removed = self.roster.member(&signer).is_some_and(|member| member.removed.is_some());
                    if is_removed { &mut of_removed } else { &mut notes }.push(Found { name, signer, note });
                }
                Err(why) => {
                    let why = why.about_chunk()?;
                    // A member may have signed it: tags may be missing.
                    let is_lost = matches!(&why, RepositoryError::Store(error) if !error.is_not_found());
                    let code = if is_lost { "note-damaged" } else { "note-unusable" };
                    self.warnings.chunk(code, &name, format!("it is ignored: {why}"));
                }
            }
        }
        Ok((notes, of_removed))
    }

    /// Reads a note; who signed it, and what it says.
    pub(super) fn note(&self, info: &ChunkInfo) -> Result<(WriterTag, Note), RepositoryError> {
        let malformed = |why| RepositoryError::Unusable { label: info.label.clone(), id: info.id, why };
        let (signer, payload) = self.signed_payload(info, Context::Note)?;
        Ok((signer, from_cbor(&payload).map_err(malformed)?))
    }

    /// Whether this member's notes count for snapshots of that client.
    fn may_note(&self, signer: &WriterTag, client: &WriterTag) -> bool {
        let has = |role| self.roster.member(signer).is_some_and(|member| member.has(role));
        has(Role::Maintainer) || (signer == client && has(Role::Writer))
    }

    /// Gives a snapshot these tags, by a note. Returns the note's id.
    pub fn set_tags(&self, info: &SnapshotInfo, tags: &[String]) -> Result<ChunkId, RepositoryError> {
        if !self.may_note(&self.client.tag, &info.snapshot.client) {
            return Err(RepositoryError::NotAllowed { action: "change the tags of another client's snapshot" });
        }
        let created = later(Time::now(), info.noted).ok_or_else(|| RepositoryError::Malformed {
            what: format!("the tags of snapshot {}", info.id.short()),
            why: FormatError::Malformed("a note from the end of time is in force, and none can be later"),
        })?;
        let note = Note { snapshot: info.id, tags: tags.to_vec(), created };
        Ok(self.put_signed(&tagged("note", &self.client.tag), Context::Note, to_cbor(&note))?.id)
    }
}

/// A time for a note after one of `before`: now, unless the clock is behind. `None` if there is no later time.
fn later(now: Time, before: Option<Time>) -> Option<Time> {
    let Some(before) = before.filter(|before| *before >= now) else { return Some(now) };
    if before.nanoseconds < 999_999_999 {
        return Some(Time { nanoseconds: before.nanoseconds + 1, ..before });
    }
    Some(Time { seconds: before.seconds.checked_add(1)?, nanoseconds: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_later_than_the_one_before() {
        let time = |seconds, nanoseconds| Time { seconds, nanoseconds };
        assert_eq!(later(time(5, 0), None), Some(time(5, 0)));
        assert_eq!(later(time(5, 0), Some(time(4, 9))), Some(time(5, 0)));
        assert_eq!(later(time(5, 0), Some(time(5, 0))), Some(time(5, 1)));
        assert_eq!(later(time(5, 0), Some(time(7, 999_999_999))), Some(time(8, 0)));
        assert_eq!(later(time(5, 0), Some(time(i64::MAX, 999_999_999))), None);
    }
}

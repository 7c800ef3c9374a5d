//! Rosters: sealing them, and changing who is a member by a roster of the next epoch.
//!
//! A roster counts as soon as it is stored. It is made from the one in force, while a lock keeps other processes of this machine
//! from doing the same; where another machine was faster, nothing is done.

use bytes::Bytes;

use super::open::read_roster;
use super::{Repository, RepositoryError, family};
use crate::chunk::{ChunkId, LabelFilter};
use crate::crypto::CryptoError;
use crate::crypto::public::{HpkePublic, SignKey};
use crate::format::header::{SealFor, create};
use crate::format::roster::{Group, GroupKeys, KeySet, Member, Roster};
use crate::format::signed::{Context, sign};
use crate::format::{FormatError, Time, to_cbor, whole};
use crate::local::lock::RosterLock;
use crate::local::seen::Seen;

/// A roster chunk that these members can open.
pub(super) fn seal_roster<'m>(
    repository: &ChunkId,
    root: &SignKey,
    roster: &Roster,
    readers: impl Iterator<Item = &'m Member>,
) -> Result<Vec<u8>, RepositoryError> {
    let failed = |why| RepositoryError::Malformed { what: "sealing a roster".into(), why };
    let readers = readers.map(|member| Ok((member.tag, HpkePublic::from_slice(&member.hpke_key)?)));
    let readers: Vec<_> = readers.collect::<Result<_, CryptoError>>().map_err(|why| failed(why.into()))?;
    let header = create(repository, &family("roster"), roster.epoch, &[0; 16], &SealFor::Members(&readers));
    let body = sign(Context::Roster, repository, None, root, to_cbor(roster));
    Ok(whole::seal(header.map_err(|why| failed(why.into()))?, &body))
}

/// A key set that these members can open.
pub(super) fn seal_keys<'m>(
    repository: &ChunkId,
    keys: &GroupKeys,
    members: impl Iterator<Item = &'m Member>,
) -> Result<KeySet, RepositoryError> {
    let wraps = members.map(|member| keys.wrap(repository, member)).collect::<Result<_, _>>();
    let wraps = wraps.map_err(|why| RepositoryError::Malformed { what: "wrapping keys for members".into(), why })?;
    Ok(KeySet { epoch: keys.epoch, data_key: keys.data_public.as_bytes().to_vec(), wraps })
}

/// The members that have not been removed.
pub(super) fn present(roster: &Roster) -> impl Iterator<Item = &Member> {
    roster.members.iter().filter(|member| member.removed.is_none())
}

impl Repository {
    /// The key that rosters are signed with.
    pub(super) fn root_key(&self, action: &'static str) -> Result<&SignKey, RepositoryError> {
        self.client.root.as_ref().ok_or(RepositoryError::NoRootKey { action })
    }

    /// Signs and stores the roster that comes of this change to the one in force, and returns it. Those whom the change removes can open
    /// it too, so that they are told.
    pub(super) fn change_roster(
        &self,
        action: &'static str,
        change: impl FnOnce(&mut Roster) -> Result<(), RepositoryError>,
    ) -> Result<Roster, RepositoryError> {
        let root = self.root_key(action)?;
        let _lock = RosterLock::take(&self.state)?;
        if self.valid_rosters()?.iter().any(|(_, epoch)| *epoch > self.roster.epoch) {
            return Err(RepositoryError::RosterMoved);
        }
        let mut next = self.roster.clone();
        next.epoch += 1;
        next.created = Time::now();
        next.previous = Some(self.roster_chunk);
        change(&mut next)?;
        let told = next.members.iter().filter(|member| {
            let before = self.roster.member(&member.tag);
            member.removed.is_none() || before.is_some_and(|before| before.removed.is_none())
        });
        let chunk = Bytes::from(seal_roster(&self.id, root, &next, told)?);
        let id = ChunkId::of(&chunk);
        let label = family("roster");
        // A call that fails may have been carried out all the same. What the new members need stays then.
        let unsure = |why: RepositoryError| RepositoryError::RosterUnsure(Box::new(why));
        self.store.put(&label, &id, chunk).map_err(|why| unsure(why.into()))?;
        if self.valid_rosters().map_err(unsure)?.iter().any(|(other, epoch)| *epoch >= next.epoch && *other != id) {
            // Two of one epoch would lock everybody out.
            self.store.remove(&label, &id).map_err(|why| unsure(why.into()))?;
            return Err(RepositoryError::RosterMoved);
        }
        if let Err(why) = self.note_epoch(next.epoch) {
            self.warnings
                .general("not-remembered", format!("this machine will not notice if the old roster comes back: {why}"));
        }
        Ok(next)
    }

    fn note_epoch(&self, epoch: u64) -> Result<(), RepositoryError> {
        let mut seen = Seen::load(&self.state)?;
        seen.roster_epoch = epoch;
        Ok(seen.save(&self.state)?)
    }

    /// The rosters that there are now, with their epochs.
    fn valid_rosters(&self) -> Result<Vec<(ChunkId, u64)>, RepositoryError> {
        let label = family("roster");
        let unusable = |why| RepositoryError::Unusable { label: family("repository"), id: self.id, why };
        let root_key = self.marker.root_key().map_err(unusable)?;
        let listed = self.store.list(&LabelFilter::Exactly(label.clone()))?;
        let mut valid = Vec::new();
        for info in listed.iter().filter(|info| info.size <= super::open::MAX_ROSTER) {
            let chunk = self.small_chunk(&label, &info.id)?;
            // What opening the repository has warned about already.
            if let Ok(roster) = read_roster(&chunk, &self.id, &root_key, &self.client) {
                valid.push((info.id, roster.epoch));
            }
        }
        Ok(valid)
    }

    /// The next key set of a group, for its members that have not been removed: with new metadata and data keys, so that nobody else
    /// reads what is sealed from now on. Blobs keep their names, so that nothing has to be stored again.
    pub(super) fn renew_keys(&self, roster: &mut Roster, group: usize) -> Result<(), RepositoryError> {
        let Group { id, name, key_sets } = &roster.groups[group];
        let newest = key_sets.last().and_then(|set| self.keys_of(&id.0, set.epoch));
        let newest = newest.ok_or_else(|| RepositoryError::Malformed {
            what: format!("the keys of the group {name:?}"),
            why: FormatError::NoKey,
        })?;
        let keys = GroupKeys {
            blob_id: newest.blob_id.clone(),
            chunker: newest.chunker.clone(),
            ..GroupKeys::random(id.0, roster.epoch)
        };
        let set = seal_keys(&self.id, &keys, present(roster).filter(|member| member.groups.contains(id)))?;
        roster.groups[group].key_sets.push(set);
        Ok(())
    }
}

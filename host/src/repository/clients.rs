//! Clients: who there is, making one, removing one, giving one new keys, and whom it trusts. Each change is a new roster
//! ([`super::roster`]), signed by the root key.
//!
//! The keys of a new client are made here, by whoever holds the root key, and stored under the client's first credential. He could admit keys
//! of his own making at any time, so that it would hide nothing from him if the new machine made them; and that machine would need the
//! right to store what governs the repository. His program keeps no copy.

use std::collections::HashSet;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::metadata::SnapshotInfo;
use super::roster::present;
use super::{Repository, RepositoryError, family, tagged};
use crate::chunk::{ChunkId, Label};
use crate::credential::Recipient;
use crate::crypto::public::{HpkePrivate, SignKey};
use crate::crypto::{Key, random};
use crate::format::client::{ClientKeys, Credential};
use crate::format::header::{KeyId, SealFor, create};
use crate::format::roster::{GroupId, Member, Removed, Role, Roster};
use crate::format::signed::Context;
use crate::format::tombstone::Tombstone;
use crate::format::{FormatError, Time, WriterTag, to_cbor, whole};

/// The longest name of a client, in characters.
pub const MAX_NAME: usize = 64;

/// A client that was made.
pub struct NewClient {
    /// Its tag.
    pub tag: WriterTag,
    /// Its name.
    pub name: String,
    /// Its first credential.
    pub credential: ChunkId,
    /// The roster that admits it.
    pub roster: Roster,
}

/// What opens a new client's credential, and the token in it.
pub struct Access<'a> {
    /// Who opens it.
    pub recipient: &'a Recipient,
    /// For a place that knows its users by tokens.
    pub api_token: Option<Zeroizing<String>>,
}

/// A fresh client without the root key.
pub(super) fn fresh_keys(name: &str) -> ClientKeys {
    ClientKeys {
        name: name.to_owned(),
        tag: WriterTag::random(),
        signing: SignKey::random(),
        hpke: HpkePrivate::random(),
        root: None,
        created: Time::now(),
    }
}

/// A client chunk, and what a credential for it holds.
pub(super) fn seal_client(repository: &ChunkId, client: &ClientKeys) -> Result<(Vec<u8>, Credential), RepositoryError> {
    let (key, key_id): (Key, KeyId) = (Key::random(), random());
    let header = create(repository, &family("client"), 0, &key_id, &SealFor::Client(&key));
    let header =
        header.map_err(|why| RepositoryError::Malformed { what: "sealing a client's keys".into(), why: why.into() })?;
    let chunk = whole::seal(header, &client.to_body());
    let credential = Credential { repository: *repository, client: ChunkId::of(&chunk), key_id, key, api_token: None };
    Ok((chunk, credential))
}

/// The roster's entry of a client.
pub(super) fn member(client: &ClientKeys, roles: &[Role], groups: Vec<GroupId>) -> Member {
    Member {
        tag: client.tag,
        name: client.name.clone(),
        signing_key: client.signing.public().as_bytes().to_vec(),
        hpke_key: client.hpke.public().as_bytes().to_vec(),
        roles: roles.iter().map(|role| role.as_str().to_owned()).collect(),
        groups,
        trusts: None,
        removed: None,
    }
}

impl Repository {
    /// The one client with this name that has not been removed, or whose tag begins so.
    pub fn find_client(&self, name: &str) -> Result<&Member, RepositoryError> {
        let named = |member: &&Member| member.name == name;
        let tagged = |member: &&Member| name.len() >= 4 && member.tag.to_string().starts_with(name);
        let mut found: Vec<&Member> = present(&self.roster).filter(named).collect();
        if found.is_empty() {
            found = present(&self.roster).filter(tagged).collect();
        }
        match found.as_slice() {
            [one] => Ok(one),
            [] => {
                let was = self.roster.members.iter().any(|member| named(&member));
                let why = if was {
                    format!("the client {name:?} was removed")
                } else {
                    format!("there is no client {name:?}")
                };
                Err(RepositoryError::BadClient(format!("{why}; see: obnam client list")))
            }
            _ => Err(RepositoryError::BadClient(format!(
                "{name:?} names several clients; give the tag of one; see: obnam client list"
            ))),
        }
    }

    /// Makes a client with these roles, and its first credential.
    pub fn add_client(&self, name: &str, roles: &[Role], access: Access<'_>) -> Result<NewClient, RepositoryError> {
        const ACTION: &str = "add a client";
        self.root_key(ACTION)?;
        self.check_name(name)?;
        let group = GroupId(self.sealing_keys().group);
        let client = fresh_keys(name);
        let member = member(&client, roles, vec![group]);
        self.store_client(&client, access, |repository| {
            repository.change_roster(ACTION, |roster| repository.admit(roster, member))
        })
    }

    /// Removes a client. Of its snapshots `last` counts, and those before it.
    pub fn remove_client(&self, tag: &WriterTag, last: Option<&SnapshotInfo>) -> Result<Roster, RepositoryError> {
        const ACTION: &str = "remove a client";
        self.root_key(ACTION)?;
        if *tag == self.client.tag {
            return Err(RepositoryError::BadClient(
                "this client cannot remove itself: nobody could sign a roster any more. To give it new keys: obnam client rotate"
                    .into(),
            ));
        }
        let inherited = self.inherit(tag, last, &self.client)?;
        let changed = self.change_roster(ACTION, |roster| {
            expel(roster, tag, last);
            self.renew_keys_of(roster, tag)
        });
        self.or_disclaim(inherited, changed)
    }

    /// What a client has signed besides snapshots counts no more when it is removed: records of what it has forgotten, and tags. Where
    /// nothing that it did is doubted, a maintainer puts his name to it: to records of snapshots that are gone, and to notes in force.
    /// Returns what was stored.
    fn inherit(
        &self,
        tag: &WriterTag,
        last: Option<&SnapshotInfo>,
        heir: &ClientKeys,
    ) -> Result<Vec<(Label, ChunkId)>, RepositoryError> {
        let listing = self.listing()?;
        let snapshots = self.snapshots(&listing)?;
        let newest = self.history_of(tag, &snapshots).last().map(|info| info.id);
        if newest != last.map(|info| info.id) || !self.member().has(Role::Maintainer) {
            return Ok(Vec::new());
        }
        let there: HashSet<ChunkId> = listing.snapshots.iter().map(|info| info.id).collect();
        let mut records = Vec::new();
        for info in &listing.tombstones {
            match self.tombstone(info) {
                Ok((signer, tombstone)) if signer == *tag => {
                    let gone = tombstone.snapshots.into_iter().flatten();
                    records.extend(gone.filter(|gone| !there.contains(&gone.id)));
                }
                Ok(_) => {}
                // What cannot be used is told by whoever asks what is forgotten.
                Err(why) => drop(why.about_chunk()?),
            }
        }
        let mut stored = Vec::new();
        if !records.is_empty() {
            let label = family("tombstone");
            let snapshots = Some(records);
            let tombstone = Tombstone { packs: Vec::new(), created: Time::now(), grace: 0, snapshots, indexes: None };
            let id = self.put_signed_by(heir, &label, Context::Tombstone, to_cbor(&tombstone))?.id;
            stored.push((label, id));
        }
        for note in self.notes_by(tag, &listing.notes, &snapshots)? {
            let label = tagged("note", &heir.tag);
            let id = self.put_signed_by(heir, &label, Context::Note, to_cbor(&note))?.id;
            stored.push((label, id));
        }
        Ok(stored)
    }

    /// Takes back what was inherited, where the roster has not changed.
    fn or_disclaim<T>(
        &self,
        inherited: Vec<(Label, ChunkId)>,
        changed: Result<T, RepositoryError>,
    ) -> Result<T, RepositoryError> {
        if changed.as_ref().is_err_and(|why| !matches!(why, RepositoryError::RosterUnsure(_))) {
            for (label, id) in inherited {
                let _ = self.store.remove(&label, &id);
            }
        }
        changed
    }

    /// Gives a client new keys under a new tag, with the same name, roles and trust. Of the snapshots under its old tag `last` counts, and those
    /// before it.
    pub fn rotate_client(
        &self,
        tag: &WriterTag,
        last: Option<&SnapshotInfo>,
        access: Access<'_>,
    ) -> Result<NewClient, RepositoryError> {
        const ACTION: &str = "give a client new keys";
        let root = self.root_key(ACTION)?;
        let old =
            self.roster.member(tag).ok_or_else(|| RepositoryError::BadClient(format!("there is no client {tag}")))?;
        let mut client = fresh_keys(&old.name);
        if *tag == self.client.tag {
            client.root = Some(root.clone());
        }
        let keys = member(&client, &[], vec![]);
        let new = Member { signing_key: keys.signing_key, hpke_key: keys.hpke_key, tag: keys.tag, ..old.clone() };
        let heir = if *tag == self.client.tag { &client } else { &self.client };
        let inherited = self.inherit(tag, last, heir)?;
        let changed = self.store_client(&client, access, |repository| {
            repository.change_roster(ACTION, |roster| {
                expel(roster, tag, last);
                for tags in roster.members.iter_mut().filter_map(|member| member.trusts.as_mut()) {
                    tags.iter_mut().filter(|trusted| *trusted == tag).for_each(|trusted| *trusted = new.tag);
                }
                repository.admit(roster, new)?;
                repository.renew_keys_of(roster, tag)
            })
        });
        self.or_disclaim(inherited, changed)
    }

    /// Says against whose index entries a client deduplicates, besides its own; `None`: those of all that can read.
    pub fn set_trust(&self, tag: &WriterTag, trusts: Option<Vec<WriterTag>>) -> Result<Roster, RepositoryError> {
        self.change_roster("change whom a client trusts", |roster| {
            if let Some(member) = roster.members.iter_mut().find(|member| member.tag == *tag) {
                member.trusts = trusts;
            }
            Ok(())
        })
    }

    /// The snapshots of a client that count, newest last.
    pub fn history_of<'a>(&self, tag: &WriterTag, snapshots: &'a [SnapshotInfo]) -> Vec<&'a SnapshotInfo> {
        let mut own: Vec<_> = snapshots.iter().filter(|info| info.snapshot.client == *tag).collect();
        own.sort_by_key(|info| info.snapshot.sequence);
        own
    }

    /// Refuses what [`Repository::add_client`] would, before anybody is asked for anything.
    pub fn check_new_client(&self, name: &str) -> Result<(), RepositoryError> {
        self.require_root_key("add a client")?;
        self.check_name(name)
    }

    /// Whether this client holds the root key, with which clients are added and removed.
    pub fn holds_root_key(&self) -> bool {
        self.client.root.is_some()
    }

    /// Refuses what takes the root key, where this client does not hold it.
    pub fn require_root_key(&self, action: &'static str) -> Result<(), RepositoryError> {
        self.root_key(action).map(drop)
    }

    fn check_name(&self, name: &str) -> Result<(), RepositoryError> {
        let wrong = |why: String| Err(RepositoryError::BadClient(format!("{why}; choose another name for the client")));
        if name.trim() != name
            || name.is_empty()
            || name.chars().count() > MAX_NAME
            || name.chars().any(char::is_control)
        {
            return wrong(format!(
                "{name:?} is no name: 1 to {MAX_NAME} characters, none of them a control character, no space at its ends"
            ));
        }
        if present(&self.roster).any(|member| member.name == name) {
            return wrong(format!("there is a client {name:?} already"));
        }
        Ok(())
    }

    /// Stores a client's keys and credential, then does what makes it a member. Where that fails, nothing stays.
    fn store_client(
        &self,
        client: &ClientKeys,
        access: Access<'_>,
        admit: impl FnOnce(&Repository) -> Result<Roster, RepositoryError>,
    ) -> Result<NewClient, RepositoryError> {
        let (chunk, credential) = seal_client(&self.id, client)?;
        let chunk_id = credential.client;
        let file = access.recipient.seal(&Credential { api_token: access.api_token, ..credential });
        let file = file.map_err(RepositoryError::NotSealed)?;
        let credential = ChunkId::of(&file);
        self.store.put(&family("client"), &chunk_id, Bytes::from(chunk))?;
        let stored = self.store.put(&family("credential"), &credential, Bytes::from(file));
        let made = stored.map_err(RepositoryError::from).and_then(|_| admit(self));
        match made {
            Ok(roster) => Ok(NewClient { tag: client.tag, name: client.name.clone(), credential, roster }),
            Err(unsure @ RepositoryError::RosterUnsure(_)) => Err(unsure),
            Err(error) => {
                // They open nothing; who may not remove them leaves them there. A credential that stays leads to a client chunk.
                if self.store.remove(&family("credential"), &credential).is_ok() {
                    let _ = self.store.remove(&family("client"), &chunk_id);
                }
                Err(error)
            }
        }
    }

    /// Makes a client a member, with all keys of its groups that its roles give it.
    fn admit(&self, roster: &mut Roster, member: Member) -> Result<(), RepositoryError> {
        for group in roster.groups.iter_mut().filter(|group| member.groups.contains(&group.id)) {
            for set in &mut group.key_sets {
                // A set that this client itself has not got is none that it can pass on.
                let Some(keys) = self.keys_of(&group.id.0, set.epoch) else { continue };
                if member.has(Role::Reader) && keys.data_private.is_none() {
                    return Err(RepositoryError::NotAllowed {
                        action: "give a client the right to read, since it cannot read itself",
                    });
                }
                let wrap = keys.wrap(&self.id, &member);
                set.wraps.push(wrap.map_err(|why: FormatError| RepositoryError::Malformed {
                    what: "wrapping keys for a new client".into(),
                    why,
                })?);
            }
        }
        roster.members.push(member);
        Ok(())
    }

    /// New key sets for the groups that a client was in.
    fn renew_keys_of(&self, roster: &mut Roster, tag: &WriterTag) -> Result<(), RepositoryError> {
        let groups = roster.member(tag).map(|member| member.groups.clone()).unwrap_or_default();
        for place in 0..roster.groups.len() {
            if groups.contains(&roster.groups[place].id) {
                self.renew_keys(roster, place)?;
            }
        }
        Ok(())
    }
}

/// Takes a member out of a roster. It has all of its keys; the roster just does not repeat them.
fn expel(roster: &mut Roster, tag: &WriterTag, last: Option<&SnapshotInfo>) {
    let removed =
        Removed { sequence: last.map_or(0, |info| info.snapshot.sequence), snapshot: last.map(|info| info.id) };
    for member in roster.members.iter_mut().filter(|member| member.tag == *tag) {
        member.removed = Some(removed.clone());
    }
    for set in roster.groups.iter_mut().flat_map(|group| &mut group.key_sets) {
        set.wraps.retain(|wrap| wrap.tag != *tag);
    }
}

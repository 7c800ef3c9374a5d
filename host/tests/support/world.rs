//! A repository in memory, with its members and rosters.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use obnam::chunk::{ChunkId, Label, LabelFilter};
use obnam::credential::Secret;
use obnam::crypto::Key;
use obnam::crypto::public::{HpkePrivate, HpkePublic, SignKey};
use obnam::format::client::{ClientKeys, Credential};
use obnam::format::header::{SealFor, create};
use obnam::format::roster::{GroupId, GroupKeys, Member, Parameters, Role, Roster};
use obnam::format::signed::{Context, sign};
use obnam::format::{Time, WriterTag, to_cbor, whole};
use obnam::local::Dirs;
use obnam::repository::init::{Made, init};
use obnam::repository::open::open;
use obnam::repository::{Place, Repository, RepositoryError};
use obnam::store::ChunkStore;
use obnam::store::memory::MemoryStore;
use tempfile::TempDir;

use super::label;

/// Small pieces and packs, so that small trees make many of them.
pub fn small_parameters() -> Parameters {
    Parameters {
        chunk_min: 1024,
        chunk_average: 4096,
        chunk_max: 16384,
        data_pack: 16 << 10,
        tree_pack: 16 << 10,
        small: 4 << 10,
        ..Parameters::default()
    }
}

/// A repository in memory, with one client that has all roles and the root key.
pub struct World {
    /// Everything that is on disk.
    pub tmp: TempDir,
    /// What is stored.
    pub store: Arc<MemoryStore>,
    /// Opens the first client.
    pub secret: Secret,
    /// What `init` made.
    pub made: Made,
}

/// A party, its roles, and whom it trusts.
pub type Admission<'a> = (&'a Party, Vec<Role>, Option<Vec<WriterTag>>);

/// A further client.
pub struct Party {
    /// Its private keys.
    pub keys: ClientKeys,
    /// Opens its credential.
    pub secret: Secret,
    /// Its directory below the world's.
    pub name: String,
}

impl World {
    /// A fresh repository.
    pub fn new() -> Self {
        Self::with(small_parameters())
    }

    /// A fresh repository with these parameters.
    pub fn with(parameters: Parameters) -> Self {
        let tmp = tempfile::tempdir().unwrap();
        let store = Arc::new(MemoryStore::default());
        let secret = Secret::Identity(age::x25519::Identity::generate().into());
        let place =
            Place { store: store.clone(), location: "memory:".into(), dirs: Dirs::below(&tmp.path().join("first")) };
        let made = init(&place, std::slice::from_ref(&secret), "first", parameters).unwrap();
        World { tmp, store, secret, made }
    }

    /// The place as seen by the machine with this name.
    pub fn place(&self, machine: &str) -> Place {
        self.place_of(self.store.clone(), machine)
    }

    /// The same through another store.
    pub fn place_of(&self, store: Arc<dyn ChunkStore>, machine: &str) -> Place {
        Place { store, location: "memory:".into(), dirs: Dirs::below(&self.tmp.path().join(machine)) }
    }

    /// Opens it as the first client.
    pub fn try_open(&self) -> Result<Repository, RepositoryError> {
        open(self.place("first"), &self.secret, None)
    }

    /// Opens it as the first client.
    pub fn open(&self) -> Repository {
        self.try_open().unwrap()
    }

    /// Opens it as the first client on a machine that has seen nothing yet.
    pub fn open_fresh(&self) -> Repository {
        open(self.place(&fresh_name()), &self.secret, Some(self.made.repository)).unwrap()
    }

    /// Opens it as another client.
    pub fn open_as(&self, party: &Party) -> Repository {
        open(self.place(&party.name), &party.secret, Some(self.made.repository)).unwrap()
    }

    /// Makes a directory to back up, with these files.
    pub fn source(&self, name: &str, files: &[(&str, Vec<u8>)]) -> PathBuf {
        let root = self.tmp.path().canonicalize().unwrap().join("src").join(name);
        fs::create_dir_all(&root).unwrap();
        for (path, contents) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, contents).unwrap();
        }
        root
    }

    /// Stores bytes under a label, as anybody can who may create chunks.
    pub fn add(&self, to: &str, bytes: impl Into<Bytes>) -> ChunkId {
        let bytes = bytes.into();
        let id = ChunkId::of(&bytes);
        self.store.put(&label(to), &id, bytes).unwrap();
        id
    }

    /// The ids and bytes of chunks with this label, or of this family with a final dot.
    pub fn chunks(&self, of: &str) -> Vec<(Label, ChunkId, Bytes)> {
        let filter = match of.strip_suffix('.') {
            Some(family) => LabelFilter::Family(label(family)),
            None if of.is_empty() => LabelFilter::All,
            None => LabelFilter::Exactly(label(of)),
        };
        let listed = self.store.list(&filter).unwrap();
        let get = |id: &ChunkId, of: &Label| self.store.get(of, id, None).unwrap();
        listed.into_iter().map(|info| (info.label.clone(), info.id, get(&info.id, &info.label))).collect()
    }

    /// A copy of all chunks.
    pub fn copy(&self) -> Arc<MemoryStore> {
        let copy = MemoryStore::default();
        *copy.chunks.lock().unwrap() = self.store.chunks.lock().unwrap().clone();
        Arc::new(copy)
    }

    /// Makes a client: its chunk and its credential. The roster does not have it yet.
    pub fn party(&self, name: &str) -> Party {
        let keys = ClientKeys {
            name: name.into(),
            tag: WriterTag::random(),
            signing: SignKey::random(),
            hpke: HpkePrivate::random(),
            root: None,
            created: Time::now(),
        };
        let secret = Secret::Identity(age::x25519::Identity::generate().into());
        let (key, key_id) = (Key::random(), [9; 16]);
        let repository = self.made.repository;
        let header = create(&repository, &label("client"), 0, &key_id, &SealFor::Client(&key)).unwrap();
        let client = self.add("client", whole::seal(header, &keys.to_body()));
        self.add("credential", secret.seal(&Credential { repository, client, key_id, key, api_token: None }).unwrap());
        Party { keys, secret, name: name.into() }
    }

    /// A new roster in which these parties are members of the only group, with all its key sets.
    pub fn admit(&self, members: Vec<Admission<'_>>) -> Roster {
        let first = self.open();
        let mut roster = first.roster.clone();
        for (party, roles, trusts) in members {
            let member = member_of(&party.keys, &roster, &roles, trusts);
            let GroupId(group) = roster.groups[0].id;
            for set in &mut roster.groups[0].key_sets {
                let keys = first.keys_of(&group, set.epoch).unwrap();
                set.wraps.push(keys.wrap(&first.id, &member).unwrap());
            }
            roster.members.push(member);
        }
        self.write_roster(&mut roster);
        roster
    }

    /// Signs and stores a roster as the next epoch.
    pub fn write_roster(&self, roster: &mut Roster) -> ChunkId {
        roster.epoch += 1;
        let root = self.open().client.root.clone().unwrap();
        self.add("roster", seal_roster(&self.made.repository, &root, roster))
    }
}

/// The roster's entry of a client.
pub fn member_of(keys: &ClientKeys, roster: &Roster, roles: &[Role], trusts: Option<Vec<WriterTag>>) -> Member {
    Member {
        tag: keys.tag,
        name: keys.name.clone(),
        signing_key: keys.signing.public().as_bytes().to_vec(),
        hpke_key: keys.hpke.public().as_bytes().to_vec(),
        roles: roles.iter().map(|role| role.as_str().to_owned()).collect(),
        groups: vec![roster.groups[0].id],
        trusts,
        removed: None,
    }
}

/// A roster chunk, sealed for all of its members.
pub fn seal_roster(repository: &ChunkId, root: &SignKey, roster: &Roster) -> Vec<u8> {
    seal_roster_payload(repository, root, roster, to_cbor(roster))
}

/// The same with another payload.
pub fn seal_roster_payload(repository: &ChunkId, root: &SignKey, roster: &Roster, payload: Vec<u8>) -> Vec<u8> {
    let members: Vec<_> = roster
        .members
        .iter()
        .filter(|member| member.removed.is_none())
        .map(|member| (member.tag, HpkePublic::from_slice(&member.hpke_key).unwrap()))
        .collect();
    let header = create(repository, &label("roster"), roster.epoch, &[0; 16], &SealFor::Members(&members)).unwrap();
    whole::seal(header, &sign(Context::Roster, repository, None, root, payload))
}

/// A new key set for the only group, wrapped for all of its members.
pub fn rotate(roster: &mut Roster, repository: &ChunkId) {
    let epoch = roster.epoch + 1;
    let GroupId(group) = roster.groups[0].id;
    let keys = GroupKeys::random(group, epoch);
    let wraps = roster.members.iter().map(|member| keys.wrap(repository, member).unwrap()).collect();
    let data_key = keys.data_public.as_bytes().to_vec();
    roster.groups[0].key_sets.push(obnam::format::roster::KeySet { epoch, data_key, wraps });
}

fn fresh_name() -> String {
    format!("fresh-{}", hex::encode(obnam::crypto::random::<8>()))
}

//! What the tests of the library share: a repository in memory, members, trees to back up, and comparisons.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use obnam::backup::roots::Roots;
use obnam::backup::{self, Outcome};
use obnam::check::{self, Report, Severity};
use obnam::chunk::{ChunkId, Label, LabelFilter};
use obnam::credential::Secret;
use obnam::crypto::Key;
use obnam::crypto::public::{HpkePrivate, HpkePublic, SignKey};
use obnam::format::blob::{BlobHasher, BlobId, BlobKind};
use obnam::format::client::{ClientKeys, Credential};
use obnam::format::content::Content;
use obnam::format::entry::{Entry, EntryType};
use obnam::format::header::{SealFor, create};
use obnam::format::index::{IndexPayload, PackInfo, Record};
use obnam::format::pack::{Compressor, FinishedPack};
use obnam::format::roster::{GroupId, GroupKeys, Member, Parameters, Role, Roster};
use obnam::format::signed::{Context, sign};
use obnam::format::snapshot::{RawPath, References, Snapshot, Statistics};
use obnam::format::{Time, WriterTag, to_cbor, whole};
use obnam::index::Index;
use obnam::local::Dirs;
use obnam::repository::init::{Made, init};
use obnam::repository::metadata::SnapshotInfo;
use obnam::repository::open::open;
use obnam::repository::{Place, Repository, RepositoryError};
use obnam::restore;
use obnam::store::ChunkStore;
use obnam::store::memory::MemoryStore;
use tempfile::TempDir;

/// A label.
pub fn label(text: &str) -> Label {
    text.parse().expect("a label")
}

/// Bytes that do not compress and differ with the seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

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
        let secret = Secret::Identity(age::x25519::Identity::generate());
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
        let secret = Secret::Identity(age::x25519::Identity::generate());
        let (key, key_id) = (Key::random(), [9; 16]);
        let repository = self.made.repository;
        let header = create(&repository, &label("client"), 0, &key_id, &SealFor::Client(&key)).unwrap();
        let client = self.add("client", whole::seal(header, &keys.to_body()));
        self.add("credential", secret.seal(&Credential { repository, client, key_id, key, api_token: None }));
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

/// Backs up.
pub fn try_backup(repository: &Repository, path: &Path) -> Result<Outcome, RepositoryError> {
    let watch = backup::Watch::default();
    let options = backup::Options {
        roots: Roots::new(vec![path.to_owned()]),
        select: Default::default(),
        skip: vec![],
        host: "test".into(),
        tags: vec![],
        force: false,
        stream: None,
        checkpoints: None,
    };
    let outcome = backup::run(repository, &options, &watch)?;
    assert_eq!(watch.problems.all(), []);
    Ok(outcome)
}

/// Backs up.
pub fn backup(repository: &Repository, path: &Path) -> Outcome {
    try_backup(repository, path).unwrap()
}

/// All snapshots and the index.
pub fn load(repository: &Repository) -> (Vec<SnapshotInfo>, Index) {
    let listing = repository.listing().unwrap();
    (repository.snapshots(&listing).unwrap(), repository.load_index(&listing).unwrap())
}

/// A restored tree.
pub struct Restored {
    tmp: TempDir,
    /// What could not be restored.
    pub problems: Vec<obnam::problem::Problem>,
}

impl Restored {
    /// Where a path of the source is now.
    pub fn at(&self, source: &Path) -> PathBuf {
        self.root().join(source.strip_prefix("/").unwrap())
    }

    /// The directory that was restored into.
    pub fn root(&self) -> PathBuf {
        self.tmp.path().join("target")
    }

    /// What stands beside the directory that was restored into.
    pub fn outside(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.tmp.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| *path != self.root()).collect()
    }
}

/// A root directory as the source of a restore.
pub fn source_of(root: &Content) -> restore::Source {
    let (snapshot, roots) = (ChunkId::from_bytes([7; 32]), vec!["/".into()]);
    restore::Source { snapshot, root: root.clone(), roots, statistics: Statistics::default(), path: None }
}

/// Restores a root directory.
pub fn restore_root(repository: &Repository, index: &Index, root: &Content) -> Restored {
    let tmp = tempfile::tempdir().unwrap();
    let watch = restore::Watch::default();
    let options = restore::Options::new(tmp.path().join("target"));
    restore::run(repository, index, &source_of(root), &options, &watch).unwrap();
    let quiet = "owners were not restored, because only root can do that";
    let problems = watch.problems.all().into_iter().filter(|problem| problem.message != quiet).collect();
    Restored { tmp, problems }
}

/// Restores a snapshot.
pub fn restore(repository: &Repository, id: &ChunkId) -> Restored {
    let (snapshots, index) = load(repository);
    let info = snapshots.iter().find(|info| info.id == *id).unwrap_or_else(|| panic!("snapshot {id} is not listed"));
    restore_root(repository, &index, &info.snapshot.root)
}

/// What a tree is, for comparisons: path, type and mode, modification time, and contents or target.
pub type Tree = BTreeMap<PathBuf, (u32, (i64, i64), Vec<u8>)>;

/// Reads a tree.
pub fn tree(root: &Path) -> Tree {
    fn below(root: &Path, path: &Path, tree: &mut Tree) {
        let metadata = path.symlink_metadata().unwrap();
        let contents = if metadata.is_symlink() {
            fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec()
        } else if metadata.is_file() {
            fs::read(path).unwrap()
        } else {
            Vec::new()
        };
        let time = (metadata.mtime(), metadata.mtime_nsec());
        tree.insert(path.strip_prefix(root).unwrap().to_owned(), (metadata.mode(), time, contents));
        if metadata.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                below(root, &entry.unwrap().path(), tree);
            }
        }
    }
    let mut tree = Tree::new();
    below(root, root, &mut tree);
    tree
}

/// Restores a snapshot and compares it with a source.
pub fn assert_restores(repository: &Repository, id: &ChunkId, source: &Path, expected: &Tree) {
    let restored = restore(repository, id);
    assert_eq!(restored.problems, [], "restoring {id}");
    let found = tree(&restored.at(source));
    let paths = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(paths(&found), paths(expected), "restoring {id}");
    for (path, entry) in expected {
        assert!(found[path] == *entry, "{} differs in snapshot {id}", path.display());
    }
}

/// Checks.
pub fn check(repository: &Repository, read_data: bool) -> Report {
    check::run(repository, read_data, &check::Watch::default()).unwrap()
}

/// The findings as (severity, code, chunk).
pub fn findings(report: &Report) -> Vec<(Severity, &'static str, String)> {
    let chunk = |chunk: &Option<String>| chunk.clone().unwrap_or_default();
    report.findings.iter().map(|found| (found.severity, found.code, chunk(&found.chunk))).collect()
}

/// Asserts that a check finds nothing.
pub fn assert_clean(repository: &Repository) {
    let report = check(repository, true);
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
}

/// Asserts that check has this finding, and no errors.
pub fn assert_warned(report: &Report, code: &str, chunk: &str) {
    let found = findings(report);
    assert!(
        found.contains(&(Severity::Warning, code_of(report, code), chunk.to_owned())),
        "no warning {code} of {chunk} in {:#?}",
        report.findings
    );
    assert_eq!(report.errors(), 0, "{:#?}", report.findings);
}

fn code_of(report: &Report, code: &str) -> &'static str {
    let found = report.findings.iter().find(|finding| finding.code == code);
    found.unwrap_or_else(|| panic!("no finding {code} in {:#?}", report.findings)).code
}

/// Writes chunks in the name of a member, whatever they say.
pub struct Forger<'a> {
    /// The repository, open as the forger.
    pub repository: &'a Repository,
    /// Names blobs.
    pub hasher: BlobHasher,
}

impl<'a> Forger<'a> {
    /// A forger with the keys of this client.
    pub fn new(repository: &'a Repository) -> Self {
        Forger { repository, hasher: BlobHasher::new(&repository.sealing_keys().blob_id) }
    }

    /// Seals and stores a pack of blobs under ids of the forger's choice.
    pub fn pack_as(&self, to: &str, blobs: &[(BlobKind, BlobId, &[u8])]) -> FinishedPack {
        let mut pack = self.repository.new_pack(&label(to), 0).unwrap();
        let mut compressor = Compressor::new(3);
        for (kind, id, bytes) in blobs {
            pack.add(*kind, *id, bytes, &mut compressor);
        }
        let pack = pack.finish();
        self.repository.store.put(&pack.label, &pack.id, pack.bytes.clone()).unwrap();
        pack
    }

    /// Seals and stores a pack of blobs.
    pub fn pack(&self, to: &str, blobs: &[(BlobKind, &[u8])]) -> FinishedPack {
        let named: Vec<_> = blobs.iter().map(|(kind, bytes)| (*kind, self.hasher.id(*kind, bytes), *bytes)).collect();
        self.pack_as(to, &named)
    }

    /// How the index describes a pack.
    pub fn info(&self, pack: &FinishedPack) -> PackInfo {
        PackInfo {
            label: pack.label.to_string(),
            id: pack.id,
            size: pack.bytes.len() as u64,
            header: pack.header.clone(),
            writer: self.repository.client.tag,
        }
    }

    /// The records of a pack as the first of an index.
    pub fn index_of(&self, packs: &[&FinishedPack]) -> IndexPayload {
        let infos = packs.iter().map(|pack| self.info(pack)).collect();
        let records = packs
            .iter()
            .zip(0..)
            .flat_map(|(pack, number)| pack.blobs.iter().map(move |place| Record { pack: number, place: *place }));
        IndexPayload::new(infos, records.collect())
    }

    /// Stores a signed index chunk.
    pub fn index(&self, payload: &IndexPayload) -> ChunkId {
        let to = label(&format!("index.{}", self.repository.client.tag));
        self.repository.put_signed(&to, Context::Index, to_cbor(payload)).unwrap().id
    }

    /// A snapshot of this root, as the forger's own number `sequence`.
    pub fn snapshot(&self, sequence: u64, root: Content, index: Option<&IndexPayload>) -> Snapshot {
        Snapshot {
            client: self.repository.client.tag,
            sequence,
            previous: None,
            roster_epoch: self.repository.roster.epoch,
            started: Time::now(),
            finished: Time::now(),
            host: "forger".into(),
            paths: vec![RawPath(b"/".to_vec())],
            tags: vec![],
            root,
            group: self.repository.sealing_keys().group,
            statistics: Statistics::default(),
            references: References { inline: Some(vec![]), pieces: None },
            index: index.map(to_cbor),
            partial: None,
            replaces: None,
            program: "forger".into(),
        }
    }

    /// Signs and stores a snapshot under the forger's label.
    pub fn put_snapshot(&self, snapshot: &Snapshot) -> ChunkId {
        let to = label(&format!("snapshot.{}", self.repository.client.tag));
        self.repository.put_signed(&to, Context::Snapshot, to_cbor(snapshot)).unwrap().id
    }
}

/// An entry with this name and type.
pub fn entry(name: &[u8], kind: EntryType) -> Entry {
    Entry {
        name: name.to_vec(),
        kind,
        mode: if kind == EntryType::Directory { 0o755 } else { 0o644 },
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        user: None,
        group: None,
        mtime: Time { seconds: 1_000_000_000, nanoseconds: 5 },
        ctime: None,
        inode: None,
        content: None,
        target: None,
        hard_link: None,
        device: None,
        xattrs: None,
        flags: None,
        birth: None,
        size: None,
        extents: None,
    }
}

fn fresh_name() -> String {
    format!("fresh-{}", hex::encode(obnam::crypto::random::<8>()))
}

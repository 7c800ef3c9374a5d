//! Chunks in the name of a member, whatever they say.

use obnam::chunk::ChunkId;
use obnam::format::blob::{BlobHasher, BlobId, BlobKind};
use obnam::format::content::Content;
use obnam::format::entry::{Entry, EntryType};
use obnam::format::index::{IndexPayload, PackInfo, Record};
use obnam::format::pack::{Compressor, FinishedPack};
use obnam::format::references::References;
use obnam::format::signed::Context;
use obnam::format::snapshot::{RawPath, Snapshot, Statistics};
use obnam::format::{Time, to_cbor};
use obnam::repository::Repository;

use super::label;

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
            references: References { inline: Some(vec![]), ..References::default() },
            index: index.map(to_cbor),
            partial: None,
            replaces: None,
            program: "forger".into(),
            origin: None,
            rewritten: None,
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
        mode: if kind == EntryType::Directory { 0o755 } else { 0o644 },
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        mtime: Time { seconds: 1_000_000_000, nanoseconds: 5 },
        ..Entry::new(name, kind)
    }
}

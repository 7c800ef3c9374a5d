//! Reading blobs: from wherever the index says that they stand, until one place gives the right bytes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::{ChunkName, Repository, RepositoryError};
use crate::chunk::{ChunkId, Label};
use crate::crypto::aead::PieceCipher;
use crate::format::FormatError;
use crate::format::blob::{BlobHasher, BlobId, BlobKind};
use crate::format::header::Header;
use crate::format::pack::{BlobOpener, BlobPlace};
use crate::index::{Index, IndexedPack, Location};

/// Packs of trees that are kept in memory while trees are walked: at most 8 of about 4 MiB.
const KEPT_PACKS: usize = 8;
/// Ciphers that are kept.
const KEPT_CIPHERS: usize = 4096;
/// Packs above this size are not fetched whole for a single blob, in bytes.
const WHOLE_UP_TO: u64 = 8 << 20;

/// What opens the blobs of one pack.
pub struct PackOpener {
    /// Opens pieces.
    pub cipher: PieceCipher,
    /// Checks blob ids.
    pub hasher: BlobHasher,
}

/// Reads blobs of a repository.
pub struct BlobReader<'r> {
    /// The repository.
    pub repository: &'r Repository,
    /// Where blobs stand.
    pub index: &'r Index,
    /// By the hash of the header: several index chunks may claim different headers for one pack.
    openers: Mutex<HashMap<blake3::Hash, Arc<PackOpener>>>,
    packs: Mutex<Vec<(ChunkId, Bytes)>>,
    blob_openers: Mutex<Vec<BlobOpener>>,
}

/// The label of a pack, where the index names a valid one.
pub fn pack_label(pack: &IndexedPack) -> Result<Label, FormatError> {
    match pack.info.label.as_str() {
        "data" | "tree" => Ok(pack.info.label.parse().expect("both are labels")),
        _ => Err(FormatError::Malformed("an index that names a pack with another label than data or tree")),
    }
}

impl<'r> BlobReader<'r> {
    /// A reader of this repository through this index.
    pub fn new(repository: &'r Repository, index: &'r Index) -> Self {
        BlobReader {
            repository,
            index,
            openers: Mutex::default(),
            packs: Mutex::default(),
            blob_openers: Mutex::default(),
        }
    }

    /// What opens a pack, from the header that the index repeats.
    pub fn opener(&self, pack: &IndexedPack) -> Result<Arc<PackOpener>, FormatError> {
        let mut openers = self.openers.lock().expect("no panic while the lock is held");
        let header = blake3::hash(&pack.info.header);
        if let Some(opener) = openers.get(&header) {
            return Ok(opener.clone());
        }
        let opener = Arc::new(open_header(self.repository, &pack_label(pack)?, &Header::parse(&pack.info.header)?)?);
        if openers.len() >= KEPT_CIPHERS {
            openers.clear();
        }
        openers.insert(header, opener.clone());
        Ok(opener)
    }

    /// Reads one blob.
    pub fn read(&self, kind: BlobKind, id: &BlobId) -> Result<Vec<u8>, RepositoryError> {
        let mut problems = Vec::new();
        let mut unreached = None;
        for location in self.index.locations(id) {
            if location.record.place.kind != kind {
                continue;
            }
            match self.read_at(&location) {
                Ok(plaintext) => return Ok(plaintext),
                Err(problem) if problem.is_denied() => unreached = Some(problem),
                Err(problem) => match problem.about_chunk() {
                    Ok(problem) => problems.push(problem.to_string()),
                    Err(outage) => unreached = Some(outage),
                },
            }
        }
        if let Some(unreached) = unreached {
            // It is not lost for whoever may read it, nor because the store cannot be reached.
            return Err(unreached);
        }
        let why = if problems.is_empty() { "no index names a pack that holds it".into() } else { problems.join("; ") };
        Err(RepositoryError::BlobLost { kind, id: *id, why })
    }

    fn read_at(&self, location: &Location) -> Result<Vec<u8>, RepositoryError> {
        let pack = location.pack()?;
        let name = ChunkName {
            label: pack_label(&pack)
                .map_err(|why| RepositoryError::Malformed { what: "an index entry".into(), why })?,
            id: pack.info.id,
        };
        let unusable = |why| RepositoryError::Unusable { label: name.label.clone(), id: name.id, why };
        let opener = self.opener(&pack).map_err(unusable)?;
        let place = &location.record.place;
        let range = u64::from(place.offset)..u64::from(place.offset) + u64::from(place.stored);
        let piece = match self.whole_pack(&name, &pack) {
            Some(bytes) if range.end <= bytes.len() as u64 => bytes.slice(range.start as usize..range.end as usize),
            _ => self.repository.store.get(&name.label, &name.id, Some(range))?,
        };
        self.open_piece(&opener, place, &piece).map_err(unusable)
    }

    /// Opens a piece with one of the kept decompressors.
    pub fn open_piece(&self, opener: &PackOpener, place: &BlobPlace, piece: &[u8]) -> Result<Vec<u8>, FormatError> {
        let kept = self.blob_openers.lock().expect("no panic while the lock is held").pop();
        let mut blob_opener = kept.unwrap_or_default();
        let plaintext = blob_opener.open(&opener.cipher, &opener.hasher, place, piece).map(<[u8]>::to_vec);
        self.blob_openers.lock().expect("no panic while the lock is held").push(blob_opener);
        plaintext
    }

    /// A tree pack, kept or fetched whole; `None` where it is too large or does not arrive whole.
    fn whole_pack(&self, name: &ChunkName, pack: &IndexedPack) -> Option<Bytes> {
        if name.label.as_str() != "tree" || pack.info.size > WHOLE_UP_TO {
            return None;
        }
        let mut packs = self.packs.lock().expect("no panic while the lock is held");
        if let Some(place) = packs.iter().position(|(id, _)| *id == name.id) {
            let kept = packs.remove(place);
            packs.push(kept.clone());
            return Some(kept.1);
        }
        drop(packs);
        let bytes = self.repository.store.get(&name.label, &name.id, None).ok()?;
        let mut packs = self.packs.lock().expect("no panic while the lock is held");
        if packs.len() >= KEPT_PACKS {
            packs.remove(0);
        }
        packs.push((name.id, bytes.clone()));
        Some(bytes)
    }
}

/// What opens the pack with this header.
pub fn open_header(repository: &Repository, label: &Label, header: &Header) -> Result<PackOpener, FormatError> {
    header.check_place(&repository.id, label)?;
    let cipher = header.open(&repository.opener(header)?)?.cipher;
    let keys = repository.keys_of(&header.key_id, header.epoch).ok_or(FormatError::NoKey)?;
    Ok(PackOpener { cipher, hasher: BlobHasher::new(&keys.blob_id) })
}

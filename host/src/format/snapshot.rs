//! Snapshots: the only commit point (format section 10).

use minicbor::{Decode, Encode};

use super::content::Content;
use super::header::KeyId;
use super::{FormatError, Time, WriterTag};
use crate::chunk::ChunkId;

/// Length of one record of a reference list.
pub const REFERENCE_SIZE: usize = 40;
/// Up to this many records stand inline.
pub const MAX_INLINE_REFERENCES: usize = 1024;

/// What a snapshot says of itself in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode, serde::Serialize)]
#[cbor(map)]
pub struct Statistics {
    /// Regular files.
    #[cbor(n(0), default)]
    pub files: u64,
    /// Directories.
    #[cbor(n(1), default)]
    pub directories: u64,
    /// Symbolic links and special files.
    #[cbor(n(2), default)]
    pub others: u64,
    /// Bytes of contents.
    #[cbor(n(3), default)]
    pub bytes: u64,
    /// Files that the snapshot before did not have.
    #[cbor(n(4), default)]
    pub new_files: u64,
    /// Files that have changed.
    #[cbor(n(5), default)]
    pub changed_files: u64,
    /// Files that were not opened because nothing about them changed.
    #[cbor(n(6), default)]
    pub unchanged_files: u64,
    /// Blobs that were not in the repository.
    #[cbor(n(7), default)]
    pub new_blobs: u64,
    /// Their bytes before compression.
    #[cbor(n(8), default)]
    pub new_bytes: u64,
    /// Bytes of the chunks that were written for this snapshot, before the snapshot itself.
    #[cbor(n(9), default)]
    pub stored_bytes: u64,
    /// Files and directories that could not be read.
    #[cbor(n(10), default)]
    pub errors: u64,
}

/// A piece of a long reference list.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ReferencePiece {
    /// SHA-256 of the records.
    #[n(0)]
    pub digest: ChunkId,
    /// The index chunk that holds them.
    #[n(1)]
    pub chunk: ChunkId,
}

/// The packs that a snapshot needs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct References {
    /// A short list.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub inline: Option<Vec<u8>>,
    /// A long one.
    #[n(1)]
    pub pieces: Option<Vec<ReferencePiece>>,
}

/// One record of a reference list: a pack, and how many of its bytes the snapshot needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// The pack.
    pub pack: ChunkId,
    /// Sum of the lengths of the pieces that are needed.
    pub live: u64,
}

/// The wire form of a reference list.
pub fn encode_references(references: &[Reference]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(references.len() * REFERENCE_SIZE);
    for reference in references {
        bytes.extend_from_slice(reference.pack.as_bytes());
        bytes.extend_from_slice(&reference.live.to_le_bytes());
    }
    bytes
}

/// Reads the wire form of a reference list.
pub fn decode_references(bytes: &[u8]) -> Result<Vec<Reference>, FormatError> {
    if !bytes.len().is_multiple_of(REFERENCE_SIZE) {
        return Err(FormatError::Malformed("a reference list that is no multiple of 40 bytes"));
    }
    let read = |record: &[u8]| {
        let (pack, live) = record.split_at(32);
        Reference {
            pack: ChunkId::from_bytes(pack.try_into().expect("32 of 40 bytes")),
            live: u64::from_le_bytes(live.try_into().expect("8 of 40 bytes")),
        }
    };
    Ok(bytes.chunks_exact(REFERENCE_SIZE).map(read).collect())
}

/// Cuts a long reference list where equal stretches of two lists are cut alike.
pub fn cut_references(references: &[Reference]) -> Vec<&[Reference]> {
    let mut pieces = Vec::new();
    let mut start = 0;
    for (place, reference) in references.iter().enumerate() {
        let id = reference.pack.as_bytes();
        let cut = u16::from_le_bytes([id[2], id[3]]) < 128 || place + 1 - start >= 4096;
        if cut || place + 1 == references.len() {
            pieces.push(&references[start..=place]);
            start = place + 1;
        }
    }
    pieces
}

/// A raw path, in CBOR as bytes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct RawPath(#[cbor(n(0), with = "minicbor::bytes")] pub Vec<u8>);

/// The payload of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Snapshot {
    /// Who made it.
    #[n(0)]
    pub client: WriterTag,
    /// From 1, one more than the client's snapshot before.
    #[n(1)]
    pub sequence: u64,
    /// The client's snapshot before.
    #[n(2)]
    pub previous: Option<ChunkId>,
    /// The roster in force.
    #[n(3)]
    pub roster_epoch: u64,
    /// When the backup began.
    #[n(4)]
    pub started: Time,
    /// When it was committed.
    #[n(5)]
    pub finished: Time,
    /// The machine.
    #[n(6)]
    pub host: String,
    /// The absolute paths that were asked for.
    #[n(7)]
    pub paths: Vec<RawPath>,
    /// The user's tags.
    #[cbor(n(8), default)]
    pub tags: Vec<String>,
    /// The root directory.
    #[n(9)]
    pub root: Content,
    /// The group whose keys seal the packs.
    #[cbor(n(10), with = "minicbor::bytes")]
    pub group: KeyId,
    /// Numbers.
    #[n(11)]
    pub statistics: Statistics,
    /// The packs that it needs.
    #[n(12)]
    pub references: References,
    /// The payload of an index chunk, of a small backup.
    #[cbor(n(13), with = "minicbor::bytes")]
    pub index: Option<Vec<u8>>,
    /// Made in the middle of a backup; never counts as the latest.
    #[n(14)]
    pub partial: Option<bool>,
    /// The partial snapshot that this one makes obsolete.
    #[n(15)]
    pub replaces: Option<ChunkId>,
    /// Name and version of the program that wrote it.
    #[n(16)]
    pub program: String,
    /// What it is a copy of.
    #[n(17)]
    pub origin: Option<Origin>,
}

/// A snapshot of another repository.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Origin {
    /// The repository's id.
    #[n(0)]
    pub repository: ChunkId,
    /// The snapshot's id.
    #[n(1)]
    pub snapshot: ChunkId,
    /// The name of the client that made it.
    #[n(2)]
    pub client: String,
}

#[cfg(test)]
mod tests {
    use super::super::{from_cbor, to_cbor};
    use super::*;

    fn references(count: u32) -> Vec<Reference> {
        let pack = |n: u32| ChunkId::of(&n.to_le_bytes());
        let mut all: Vec<_> = (0..count).map(|n| Reference { pack: pack(n), live: n.into() }).collect();
        all.sort();
        all
    }

    #[test]
    fn snapshots_come_back() {
        let snapshot = Snapshot {
            client: WriterTag([1; 8]),
            sequence: 7,
            previous: Some(ChunkId::from_bytes([2; 32])),
            roster_epoch: 1,
            started: Time { seconds: 1, nanoseconds: 2 },
            finished: Time { seconds: 3, nanoseconds: 4 },
            host: "laptop".into(),
            paths: vec![RawPath(b"/ho\xffme".to_vec())],
            tags: vec!["a".into()],
            root: Content::default(),
            group: [3; 16],
            statistics: Statistics { files: 5, ..Statistics::default() },
            references: References { inline: Some(encode_references(&references(3))), pieces: None },
            index: None,
            partial: Some(true),
            replaces: None,
            program: "obnam 0.1.0".into(),
            origin: Some(Origin {
                repository: ChunkId::from_bytes([4; 32]),
                snapshot: ChunkId::from_bytes([5; 32]),
                client: "desk".into(),
            }),
        };
        assert_eq!(from_cbor::<Snapshot>(&to_cbor(&snapshot)), Ok(snapshot));
    }

    #[test]
    fn long_lists_share_pieces() {
        let all = references(20_000);
        assert_eq!(decode_references(&encode_references(&all)), Ok(all.clone()));
        let pieces = cut_references(&all);
        assert_eq!(pieces.concat(), all);
        assert!(pieces.len() > 10 && pieces.iter().all(|piece| piece.len() <= 4096));
        let mut fewer = all.clone();
        fewer.remove(10_000);
        let shared = cut_references(&fewer).iter().filter(|piece| pieces.contains(piece)).count();
        assert!(shared + 2 >= pieces.len(), "{shared} of {} pieces are shared", pieces.len());
        assert!(cut_references(&[]).is_empty());
    }
}

//! Snapshots: the only commit point (format section 10).

use minicbor::{Decode, Encode};

use super::content::Content;
use super::header::KeyId;
use super::references::References;
use super::{Time, WriterTag};
use crate::chunk::ChunkId;

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
    /// What it was made from.
    #[n(18)]
    pub rewritten: Option<Rewritten>,
}

impl Snapshot {
    /// Whether it was made by a backup, and is neither a copy nor made from another snapshot.
    pub fn is_backup(&self) -> bool {
        self.origin.is_none() && self.rewritten.is_none()
    }
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

/// A snapshot of this repository that another one was made from. What is made from such a one repeats it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Rewritten {
    /// Its id.
    #[n(0)]
    pub snapshot: ChunkId,
    /// Who made it.
    #[n(1)]
    pub client: WriterTag,
    /// Its number.
    #[n(2)]
    pub sequence: u64,
}

#[cfg(test)]
mod tests {
    use super::super::{from_cbor, to_cbor};
    use super::*;

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
            references: References { inline: Some(vec![7; 40]), pieces: None, used: Some(vec![8]) },
            index: None,
            partial: Some(true),
            replaces: None,
            program: "obnam 0.1.0".into(),
            origin: Some(Origin {
                repository: ChunkId::from_bytes([4; 32]),
                snapshot: ChunkId::from_bytes([5; 32]),
                client: "desk".into(),
            }),
            rewritten: Some(Rewritten {
                snapshot: ChunkId::from_bytes([6; 32]),
                client: WriterTag([7; 8]),
                sequence: 3,
            }),
        };
        assert_eq!(from_cbor::<Snapshot>(&to_cbor(&snapshot)), Ok(snapshot));
    }
}

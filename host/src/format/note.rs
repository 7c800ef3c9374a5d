//! Notes: new tags for a snapshot that itself never changes (format section 13).

use minicbor::{Decode, Encode};

use super::Time;
use crate::chunk::ChunkId;

/// The payload of a note.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Note {
    /// The snapshot that it is about.
    #[n(0)]
    pub snapshot: ChunkId,
    /// All tags that the snapshot has from now on.
    #[n(1)]
    pub tags: Vec<String>,
    /// When it was made; of several notes the latest counts.
    #[n(2)]
    pub created: Time,
}

#[cfg(test)]
mod tests {
    use super::super::{from_cbor, to_cbor};
    use super::*;

    #[test]
    fn notes_come_back() {
        let note = Note {
            snapshot: ChunkId::from_bytes([7; 32]),
            tags: vec!["keep".into(), "ä".into()],
            created: Time { seconds: 5, nanoseconds: 6 },
        };
        assert_eq!(from_cbor::<Note>(&to_cbor(&note)), Ok(note));
        assert!(from_cbor::<Note>(b"\xa0").is_err());
    }
}

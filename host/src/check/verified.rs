//! What this machine has read and found good, and when: one file, so that parts of a large repository can be checked in turn.
//!
//! Layout, little-endian: magic "OBNAMVFY" (8), BLAKE3 of all that follows (32), then for each chunk its id (32) and the day
//! (4, counted from 1970; its highest bit says that it was found bad) in ascending order of id. It is a cache of this machine: one that does not check out is begun anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::chunk::ChunkId;
use crate::format::Fields;
use crate::local::{LocalError, write_file};

const MAGIC: &[u8; 8] = b"OBNAMVFY";
const DAY: u64 = 86_400;
/// Of the day on which a chunk was found bad.
const BAD: u32 = 1 << 31;

/// When chunks were verified, to the day.
#[derive(Debug, Default)]
pub(super) struct Verified(BTreeMap<ChunkId, u32>);

fn path(state: &Path) -> PathBuf {
    state.join("verified")
}

impl Verified {
    /// What is remembered in this directory.
    pub(super) fn load(state: &Path) -> Self {
        std::fs::read(path(state)).ok().and_then(|bytes| Verified::read(&bytes)).unwrap_or_default()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes.strip_prefix(MAGIC)?);
        let hash: [u8; 32] = fields.array().ok()?;
        if blake3::hash(fields.0) != hash {
            return None;
        }
        let mut days = BTreeMap::new();
        while let (Ok(id), Ok(day)) = (fields.array(), fields.u32()) {
            days.insert(ChunkId::from_bytes(id), day);
        }
        Some(Verified(days))
    }

    /// The beginning of the day on which a chunk was verified.
    pub(super) fn when(&self, id: &ChunkId) -> Option<SystemTime> {
        self.0.get(id).filter(|day| **day & BAD == 0).map(|day| time(*day))
    }

    /// The beginning of the day on which a chunk was read, whether it was good or not.
    pub(super) fn read_at(&self, id: &ChunkId) -> Option<SystemTime> {
        self.0.get(id).map(|day| time(*day & !BAD))
    }

    /// A chunk was verified.
    pub(super) fn note(&mut self, id: ChunkId, when: SystemTime) {
        self.0.insert(id, day(when));
    }

    /// A chunk turned out to be bad.
    pub(super) fn note_bad(&mut self, id: ChunkId, when: SystemTime) {
        self.0.insert(id, day(when) | BAD);
    }

    /// Remembers it, but for chunks that are gone.
    pub(super) fn save(&self, state: &Path, is_there: impl Fn(&ChunkId) -> bool) -> Result<(), LocalError> {
        let mut body = Vec::with_capacity(self.0.len() * 36);
        for (id, day) in self.0.iter().filter(|(id, _)| is_there(id)) {
            body.extend_from_slice(id.as_bytes());
            body.extend_from_slice(&day.to_le_bytes());
        }
        let bytes = [MAGIC.as_slice(), blake3::hash(&body).as_bytes(), &body].concat();
        write_file(&path(state), &bytes)
    }
}

fn day(when: SystemTime) -> u32 {
    let days = when.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / DAY;
    u32::try_from(days).unwrap_or(BAD).min(BAD - 1)
}

fn time(day: u32) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::from(day) * DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_and_damage_empties_it() {
        let folder = tempfile::tempdir().expect("a directory");
        let mut verified = Verified::default();
        let [one, other] = [ChunkId::from_bytes([1; 32]), ChunkId::from_bytes([2; 32])];
        let when = UNIX_EPOCH + Duration::from_secs(20_000 * DAY + 77);
        verified.note(one, when);
        verified.note(other, when);
        verified.save(folder.path(), |id| *id == one).expect("saves");
        let mut loaded = Verified::load(folder.path());
        assert_eq!(loaded.when(&one), Some(UNIX_EPOCH + Duration::from_secs(20_000 * DAY)));
        assert_eq!(loaded.when(&other), None);
        loaded.note_bad(other, when);
        loaded.save(folder.path(), |_| true).expect("saves");
        let loaded = Verified::load(folder.path());
        assert_eq!((loaded.when(&other), loaded.read_at(&other)), (None, loaded.when(&one)));
        let mut bytes = std::fs::read(path(folder.path())).expect("is there");
        bytes[50] ^= 1;
        std::fs::write(path(folder.path()), bytes).expect("writes");
        assert_eq!(Verified::load(folder.path()).when(&one), None);
    }
}

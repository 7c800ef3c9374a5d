//! Copies of small chunks, as they are stored: ciphertext, named and checked by their ids, so nothing here is trusted.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Mutex;

use bytes::Bytes;

use crate::chunk::ChunkId;

/// Chunks above this size are not kept.
const MAX_KEPT: usize = 16 << 20;

/// A directory of chunks. Failures to use it are no errors: it is a cache.
#[derive(Debug)]
pub struct ChunkCache {
    directory: PathBuf,
    /// What came from the store or went there since the program began.
    passed: Mutex<HashSet<ChunkId>>,
}

impl ChunkCache {
    /// The cache in this directory.
    pub fn new(directory: PathBuf) -> Self {
        ChunkCache { directory, passed: Mutex::default() }
    }

    fn path(&self, id: &ChunkId) -> PathBuf {
        let name = id.to_string();
        self.directory.join(&name[..2]).join(name)
    }

    /// A chunk, if it is here and whole.
    pub fn get(&self, id: &ChunkId) -> Option<Bytes> {
        let bytes = std::fs::read(self.path(id)).ok()?;
        (ChunkId::of(&bytes) == *id).then(|| bytes.into())
    }

    /// Whether this program has had the chunk from the store, or stored it.
    pub fn has_passed(&self, id: &ChunkId) -> bool {
        self.passed.lock().expect("no panic while the lock is held").contains(id)
    }

    /// Keeps a chunk that comes from the store or goes there.
    pub fn put(&self, id: &ChunkId, bytes: &[u8]) {
        self.passed.lock().expect("no panic while the lock is held").insert(*id);
        if bytes.len() > MAX_KEPT {
            return;
        }
        let path = self.path(id);
        let Some(directory) = path.parent() else { return };
        let keep = || -> std::io::Result<()> {
            std::fs::create_dir_all(directory)?;
            let mut file = tempfile::NamedTempFile::new_in(directory)?;
            std::io::Write::write_all(&mut file, bytes)?;
            file.persist(&path)?;
            Ok(())
        };
        if let Err(error) = keep() {
            tracing::debug!("cannot keep chunk {id} in the cache: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_copies_are_not_given_out() {
        let root = tempfile::tempdir().expect("a directory");
        let cache = ChunkCache::new(root.path().to_owned());
        let id = ChunkId::of(b"chunk");
        assert_eq!((cache.get(&id), cache.has_passed(&id)), (None, false));
        cache.put(&id, b"chunk");
        assert!(cache.has_passed(&id));
        assert_eq!(cache.get(&id), Some(Bytes::from_static(b"chunk")));
        std::fs::write(cache.path(&id), b"junk").expect("writes");
        assert_eq!(cache.get(&id), None);
    }
}

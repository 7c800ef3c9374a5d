//! A store in memory, for tests and benchmarks.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::time::SystemTime;

use bytes::Bytes;

use super::{ChunkStore, Finding, ListPage, PutOutcome, RemoveOutcome, StoreError, StoreErrorKind};
use crate::chunk::{ChunkId, ChunkInfo, Label, LabelFilter};

/// The chunks of a [`MemoryStore`].
pub type Chunks = BTreeMap<(Label, ChunkId), (Bytes, SystemTime)>;

/// Keeps chunks in memory. Public so that tests can damage what it holds.
#[derive(Default)]
pub struct MemoryStore {
    /// What is stored.
    pub chunks: Mutex<Chunks>,
}

impl MemoryStore {
    fn lock(&self) -> std::sync::MutexGuard<'_, Chunks> {
        self.chunks.lock().expect("no panic while the lock is held")
    }
}

fn not_found(label: &Label, id: &ChunkId) -> StoreError {
    StoreError::new(StoreErrorKind::NotFound, format!("there is no chunk {label}/{id}"))
}

fn info(label: &Label, id: &ChunkId, bytes: &Bytes, stored: SystemTime) -> ChunkInfo {
    ChunkInfo { label: label.clone(), id: *id, size: bytes.len() as u64, stored: Some(stored) }
}

impl ChunkStore for MemoryStore {
    fn init(&self) -> Result<(), StoreError> {
        if self.lock().is_empty() {
            Ok(())
        } else {
            Err(StoreError::new(StoreErrorKind::AlreadyInitialised, "the memory store holds chunks"))
        }
    }

    fn open(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn put(&self, label: &Label, id: &ChunkId, bytes: Bytes) -> Result<PutOutcome, StoreError> {
        let mut chunks = self.lock();
        let key = (label.clone(), *id);
        if chunks.contains_key(&key) {
            return Ok(PutOutcome::AlreadyPresent);
        }
        chunks.insert(key, (bytes, SystemTime::now()));
        Ok(PutOutcome::Stored)
    }

    fn get(&self, label: &Label, id: &ChunkId, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        let chunks = self.lock();
        let (bytes, _) = chunks.get(&(label.clone(), *id)).ok_or_else(|| not_found(label, id))?;
        let Some(range) = range else {
            return if ChunkId::of(bytes) == *id {
                Ok(bytes.clone())
            } else {
                Err(StoreError::new(StoreErrorKind::Corrupt, format!("chunk {label}/{id} is damaged")))
            };
        };
        if range.start > range.end || range.end > bytes.len() as u64 {
            let message = format!("chunk {label}/{id} has {} bytes, not {}", bytes.len(), range.end);
            return Err(StoreError::new(StoreErrorKind::Corrupt, message));
        }
        Ok(bytes.slice(range.start as usize..range.end as usize))
    }

    fn stat(&self, label: &Label, id: &ChunkId) -> Result<ChunkInfo, StoreError> {
        let chunks = self.lock();
        let (bytes, stored) = chunks.get(&(label.clone(), *id)).ok_or_else(|| not_found(label, id))?;
        Ok(info(label, id, bytes, *stored))
    }

    fn list_page(&self, filter: &LabelFilter, _after: Option<&str>) -> Result<ListPage, StoreError> {
        let chunks = self.lock();
        let chunks = chunks
            .iter()
            .filter(|((label, _), _)| filter.matches(label))
            .map(|((label, id), (bytes, stored))| info(label, id, bytes, *stored))
            .collect();
        Ok(ListPage { chunks, next: None })
    }

    fn remove(&self, label: &Label, id: &ChunkId) -> Result<RemoveOutcome, StoreError> {
        self.lock().remove(&(label.clone(), *id));
        Ok(RemoveOutcome::Removed)
    }

    fn check(&self) -> Result<Vec<Finding>, StoreError> {
        Ok(Vec::new())
    }

    fn parallelism(&self) -> usize {
        4
    }
}

//! The memory for chunks that come by way of this server.

use std::time::Duration;

use obnam_chunk::MAX_CHUNK_SIZE;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::problem::{Code, Problem};

/// How long an upload waits for memory.
const PATIENCE: Duration = Duration::from_secs(20);
/// Memory is handed out in pieces of this size.
const PIECE: u64 = 64 << 10;

/// Room for so many of the largest chunks, or more smaller ones.
pub struct UploadRoom(Semaphore);

impl UploadRoom {
    /// Room for this many of the largest chunks.
    pub fn new(largest: u32) -> Self {
        UploadRoom(Semaphore::new((u64::from(largest) * MAX_CHUNK_SIZE / PIECE) as usize))
    }

    /// Room for a chunk, until it is dropped. Waits its turn, but not for long.
    pub async fn room(&self, size: u64) -> Result<SemaphorePermit<'_>, Problem> {
        let pieces = u32::try_from(size.div_ceil(PIECE).max(1)).unwrap_or(u32::MAX);
        match tokio::time::timeout(PATIENCE, self.0.acquire_many(pieces)).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Problem::new(Code::Busy, "the server is taking other chunks; try again").retry_after(5)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn memory_is_limited() {
        let uploads = UploadRoom::new(2);
        let first = uploads.room(MAX_CHUNK_SIZE).await.expect("room");
        let small = uploads.room(1).await.expect("room");
        let moment = Duration::from_millis(50);
        let waits = tokio::time::timeout(moment, uploads.room(MAX_CHUNK_SIZE)).await;
        assert!(waits.is_err(), "there is no room for it");
        drop(small);
        let second = uploads.room(MAX_CHUNK_SIZE).await.expect("room again");
        drop((first, second));
        drop(uploads.room(2 * MAX_CHUNK_SIZE).await.expect("all the room"));
    }
}

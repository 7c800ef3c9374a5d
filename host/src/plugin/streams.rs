//! Chunks as streams: into a guest, and out of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynInputStream, InputStream, Pollable, StreamError, StreamResult};

use super::failure::Failure;
use super::progress::Progress;
use super::sandbox::Sandbox;
use crate::chunk::{ChunkId, MAX_CHUNK_SIZE};

/// How much is asked of a guest's stream at once, in bytes.
const PIECE: usize = 1 << 20;
/// The usual size of a full pack, and a little more, in bytes.
const PACK: usize = 17 << 20;

/// A chunk that a guest reads. Its bytes stay in the host when the guest splices them.
pub(super) struct ChunkStream {
    rest: Bytes,
    taken: Arc<AtomicU64>,
    progress: Arc<Progress>,
}

impl ChunkStream {
    /// A stream of these bytes; the counter tells how many of them were read.
    pub(super) fn new(bytes: Bytes, progress: Arc<Progress>) -> (Self, Arc<AtomicU64>) {
        let taken = Arc::new(AtomicU64::new(0));
        (ChunkStream { rest: bytes, taken: taken.clone(), progress }, taken)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for ChunkStream {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi::async_trait]
impl InputStream for ChunkStream {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if self.rest.is_empty() {
            return Err(StreamError::Closed);
        }
        let piece = self.rest.split_to(size.min(self.rest.len()));
        self.taken.fetch_add(piece.len() as u64, Ordering::Relaxed);
        self.progress.step();
        Ok(piece)
    }
}

/// Takes a stream that a guest answered with, reads it, and drops it.
///
/// With `length` exactly so many bytes are read; what is behind them is left. Without, everything up to its end, which
/// must come before the size that chunks may have; then the bytes are hashed as they come, while the processor still
/// has them in its cache.
pub(super) async fn drain(
    sandbox: &mut Sandbox,
    handle: Resource<DynInputStream>,
    length: Option<u64>,
) -> Result<(Bytes, Option<ChunkId>), Failure> {
    let progress = sandbox.progress.clone();
    let mut stream = sandbox
        .table
        .delete(handle)
        .map_err(|error| Failure::Wrong(format!("the stream that it answered with is in use: {error}")))?;
    let result = read(stream.as_mut(), length, &progress).await;
    stream.cancel().await;
    result
}

async fn read(
    stream: &mut dyn InputStream,
    length: Option<u64>,
    progress: &Progress,
) -> Result<(Bytes, Option<ChunkId>), Failure> {
    let mut hasher = length.is_none().then(Sha256::new);
    // One byte more than is allowed tells a chunk that is too long.
    let most = length.unwrap_or(MAX_CHUNK_SIZE + 1);
    let reserved = usize::try_from(length.unwrap_or(0).min(MAX_CHUNK_SIZE)).unwrap_or(0);
    let mut bytes = BytesMut::with_capacity(reserved);
    while (bytes.len() as u64) < most {
        let wanted = usize::try_from(most - bytes.len() as u64).unwrap_or(PIECE).min(PIECE);
        match stream.blocking_read(wanted).await {
            Ok(piece) => {
                if let Some(hasher) = &mut hasher {
                    hasher.update(&piece);
                }
                if bytes.len() + piece.len() > bytes.capacity() && bytes.len() >= PIECE {
                    // Most likely a pack; room for one, and not for twice as much.
                    bytes.reserve(PACK.saturating_sub(bytes.len()).max(piece.len()));
                }
                bytes.extend_from_slice(&piece);
                progress.step();
            }
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error) | StreamError::Trap(error)) => {
                return Err(Failure::Broken(format!("the stream broke behind {} bytes: {error:#}", bytes.len())));
            }
        }
    }
    check_length(bytes.len() as u64, length)?;
    let id = hasher.map(|hasher| ChunkId::from_bytes(hasher.finalize().into()));
    Ok((bytes.freeze(), id))
}

/// Whether as many bytes came as were asked for.
pub(super) fn check_length(got: u64, wanted: Option<u64>) -> Result<(), Failure> {
    match wanted {
        Some(wanted) if got < wanted => {
            Err(Failure::Broken(format!("the answer ended behind {got} of {wanted} bytes")))
        }
        Some(wanted) if got > wanted => {
            Err(Failure::Wrong(format!("it answered with {got} bytes instead of {wanted}")))
        }
        None if got > MAX_CHUNK_SIZE => {
            Err(Failure::Wrong(format!("it answered with more than the {MAX_CHUNK_SIZE} bytes that a chunk can have")))
        }
        _ => Ok(()),
    }
}

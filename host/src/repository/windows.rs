//! Reading data blobs one after the other: whoever wants one will soon want its neighbours in the pack, so that small
//! blobs are fetched in windows of a pack, each of which serves many of them.

use bytes::{Bytes, BytesMut};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::RepositoryError;
use super::blobs::{BlobReader, pack_label};
use crate::chunk::{ChunkId, Label};
use crate::format::blob::{BlobId, BlobKind};
use crate::index::IndexedPack;

/// Length of a window in bytes.
const WINDOW: u64 = 1 << 20;
/// Windows that are kept, in bytes.
const KEPT: u64 = 32 << 20;
/// Larger pieces are fetched by themselves, in bytes.
const LARGE: u64 = WINDOW / 2;

/// Weighs windows by their bytes.
#[derive(Debug, Clone)]
struct ByLength;

impl Weighter<(ChunkId, u64), Bytes> for ByLength {
    fn weight(&self, _: &(ChunkId, u64), window: &Bytes) -> u64 {
        window.len() as u64
    }
}

/// See the head of this module. Threads that want the same window at once fetch it once.
pub struct WindowReader<'a, 'r> {
    /// Reads what no window serves.
    pub blobs: &'a BlobReader<'r>,
    windows: Cache<(ChunkId, u64), Bytes, ByLength>,
}

impl<'a, 'r> WindowReader<'a, 'r> {
    /// A reader without windows yet.
    pub fn new(blobs: &'a BlobReader<'r>) -> Self {
        WindowReader { blobs, windows: Cache::with_weighter((KEPT / WINDOW) as usize, KEPT, ByLength) }
    }

    /// Reads a data blob.
    pub fn read(&self, id: &BlobId) -> Result<Vec<u8>, RepositoryError> {
        match self.read_by_window(id) {
            Some(plaintext) => Ok(plaintext),
            // Whatever was wrong with it, this looks at every place there is and says why none will do.
            None => self.blobs.read(BlobKind::Data, id),
        }
    }

    fn read_by_window(&self, id: &BlobId) -> Option<Vec<u8>> {
        let data = |location: &crate::index::Location| location.record.place.kind == BlobKind::Data;
        let location = self.blobs.index.locations(id).find(data)?;
        let place = &location.record.place;
        let (start, length) = (u64::from(place.offset), u64::from(place.stored));
        let pack = location.pack().ok()?;
        if length > LARGE || start + length > pack.info.size {
            return None;
        }
        let label = pack_label(&pack).ok()?;
        let first = self.window(&pack, &label, start / WINDOW)?;
        let from = (start % WINDOW) as usize;
        let piece = if from + length as usize <= first.len() {
            first.slice(from..from + length as usize)
        } else {
            let next = self.window(&pack, &label, start / WINDOW + 1)?;
            let mut both = BytesMut::from(first.get(from..)?);
            both.extend_from_slice(next.get(..length as usize - both.len())?);
            both.freeze()
        };
        let opener = self.blobs.opener(&pack).ok()?;
        self.blobs.open_piece(&opener, place, &piece).ok()
    }

    fn window(&self, pack: &IndexedPack, label: &Label, number: u64) -> Option<Bytes> {
        let range = number * WINDOW..((number + 1) * WINDOW).min(pack.info.size);
        let fetch = || self.blobs.repository.store.get(label, &pack.info.id, Some(range.clone()));
        self.windows.get_or_insert_with(&(pack.info.id, number), fetch).ok()
    }
}

//! Contents of files, by ranges: opened blobs are kept within a budget, and where a file is read from front to back, the
//! blobs that come next are opened ahead.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::{io, thread};

use crossbeam_channel::Sender;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use super::inodes::Node;
use super::trees::{Leaf, Trees};
use crate::format::FormatError;
use crate::format::blob::BlobId;
use crate::format::content::Content;
use crate::repository::RepositoryError;
use crate::repository::windows::WindowReader;

/// Bytes that are opened ahead of a reader.
const AHEAD: u64 = 16 << 20;
/// Reads of one stretch of a file may arrive out of order, within so many bytes.
const NEAR: u64 = 2 << 20;
/// Blobs that wait to be opened ahead; more are left to the reader.
const QUEUE: usize = 64;

/// A blob, opened.
type Blob = Arc<Vec<u8>>;
type Blobs = Cache<BlobId, Blob, ByLength>;

#[derive(Debug, Clone)]
struct ByLength;

impl Weighter<BlobId, Blob> for ByLength {
    fn weight(&self, _: &BlobId, blob: &Blob) -> u64 {
        blob.len() as u64
    }
}

/// See the head of this module.
pub struct Files {
    reader: &'static WindowReader<'static, 'static>,
    blobs: Arc<Blobs>,
    ahead: Sender<BlobId>,
}

fn open(reader: &WindowReader<'_, '_>, blobs: &Blobs, id: &BlobId) -> Result<Blob, RepositoryError> {
    blobs.get_or_insert_with(id, || reader.read(id).map(Arc::new))
}

impl Files {
    /// Nothing is opened yet. `budget` is in bytes.
    pub fn new(reader: &'static WindowReader<'static, 'static>, budget: u64) -> io::Result<Self> {
        // In one part: a blob may be as large as a share of the budget.
        let items = (budget >> 20) as usize;
        let options = OptionsBuilder::new().shards(1).estimated_items_capacity(items).weight_capacity(budget).build();
        let options = options.expect("both numbers are given");
        let (hash, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
        let blobs = Arc::new(Cache::with_options(options, ByLength, hash, lifecycle));
        let (ahead, wanted) = crossbeam_channel::bounded(QUEUE);
        for number in 0..reader.blobs.repository.store.parallelism().clamp(1, 8) {
            let (wanted, blobs) = (wanted.clone(), blobs.clone());
            thread::Builder::new().name(format!("ahead-{number}")).spawn(move || {
                for id in wanted {
                    // Whoever reads it is told what is wrong with it.
                    let _ = open(reader, &blobs, &id);
                }
            })?;
        }
        Ok(Files { reader, blobs, ahead })
    }

    /// The bytes of a file from `start` to `end`, which is not behind the file's. Of the blob that they begin in, the
    /// error says what is wrong.
    pub fn read(&self, trees: &Trees<'_>, node: &Node, start: u64, end: u64) -> Result<Vec<u8>, RepositoryError> {
        let malformed = |why| RepositoryError::Malformed { what: "its entry".into(), why };
        let content = node.content().ok_or_else(|| malformed(FormatError::Malformed("a file without a content")))?;
        let layout = node.layout.as_ref().map_err(|why| malformed(why.clone()))?;
        let mut bytes = vec![0; (end - start) as usize];
        match layout {
            None => self.fill(trees, node, content, start, &mut bytes)?,
            Some(layout) => {
                for (at, offset, length) in layout.data(start, end) {
                    let at = (at - start) as usize;
                    self.fill(trees, node, content, offset, &mut bytes[at..at + length as usize])?;
                }
            }
        }
        Ok(bytes)
    }

    /// Fills a buffer from an offset of the content on.
    fn fill(
        &self,
        trees: &Trees<'_>,
        node: &Node,
        content: &Content,
        mut offset: u64,
        mut bytes: &mut [u8],
    ) -> Result<(), RepositoryError> {
        let until = offset + bytes.len() as u64;
        let before = node.read_until.swap(until, Ordering::Relaxed);
        let is_in_order = before.abs_diff(offset) <= NEAR;
        while !bytes.is_empty() {
            let leaf = trees.leaf(content, offset)?;
            if is_in_order {
                self.look_ahead(trees, content, &leaf);
            }
            let blob = open(self.reader, &self.blobs, &leaf.item.id)?;
            if blob.len() as u64 != leaf.item.size {
                let why = FormatError::Malformed("the blob has another length than the content says");
                return Err(RepositoryError::Malformed { what: format!("blob {}", leaf.item.id), why });
            }
            let from = (offset - leaf.start) as usize;
            let length = (blob.len() - from).min(bytes.len());
            bytes[..length].copy_from_slice(&blob[from..from + length]);
            bytes = &mut bytes[length..];
            offset += length as u64;
        }
        Ok(())
    }

    /// Has the blobs behind this one opened, as far as there is room for them.
    fn look_ahead(&self, trees: &Trees<'_>, content: &Content, leaf: &Leaf) {
        let until = leaf.end().saturating_add(AHEAD.min(self.blobs.capacity() / 4)).min(content.size);
        let mut next = leaf.end();
        while next < until {
            let Ok(leaf) = trees.leaf(content, next) else { return };
            if !self.blobs.contains_key(&leaf.item.id) && self.ahead.try_send(leaf.item.id).is_err() {
                return;
            }
            next = leaf.end();
        }
    }
}

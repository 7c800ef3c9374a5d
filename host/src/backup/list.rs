//! Contents as they are written: items one after the other, in lists of lists where they are many.

use crate::format::blob::{BlobId, BlobKind};
use crate::format::content::{Content, Item, MAX_INLINE, encode_items};
use crate::repository::RepositoryError;

/// A list is cut at latest after this many items.
const MAX_ITEMS: usize = 4096;
/// And not before.
const MIN_ITEMS: usize = 512;
/// A blob id whose first two bytes are below this ends a list.
const CUT_BELOW: u16 = 128;

/// Builds a content, in memory bounded by [`MAX_ITEMS`] per level.
#[derive(Clone, Default)]
pub struct ListWriter {
    levels: Vec<Vec<Item>>,
}

fn size(items: &[Item]) -> u64 {
    items.iter().map(|item| item.size).sum()
}

impl ListWriter {
    /// Appends an item; `store` stores a list blob that is full.
    pub fn push(
        &mut self,
        item: Item,
        store: &mut impl FnMut(BlobKind, &[u8]) -> Result<BlobId, RepositoryError>,
    ) -> Result<(), RepositoryError> {
        self.push_at(0, item, store)
    }

    fn push_at(
        &mut self,
        level: usize,
        item: Item,
        store: &mut impl FnMut(BlobKind, &[u8]) -> Result<BlobId, RepositoryError>,
    ) -> Result<(), RepositoryError> {
        if self.levels.len() <= level {
            self.levels.push(Vec::new());
        }
        let items = &mut self.levels[level];
        items.push(item);
        let ends = u16::from_le_bytes([item.id.0[0], item.id.0[1]]) < CUT_BELOW;
        if items.len() >= MAX_ITEMS || (ends && items.len() >= MIN_ITEMS) {
            self.close(level, store)?;
        }
        Ok(())
    }

    /// Turns a level's items into a list blob and one item of the level above.
    fn close(
        &mut self,
        level: usize,
        store: &mut impl FnMut(BlobKind, &[u8]) -> Result<BlobId, RepositoryError>,
    ) -> Result<(), RepositoryError> {
        let items = std::mem::take(&mut self.levels[level]);
        let id = store(BlobKind::List, &encode_items(&items))?;
        self.push_at(level + 1, Item { id, size: size(&items) }, store)
    }

    /// The content of all items.
    pub fn finish(
        mut self,
        store: &mut impl FnMut(BlobKind, &[u8]) -> Result<BlobId, RepositoryError>,
    ) -> Result<Content, RepositoryError> {
        let mut level = 0;
        loop {
            let last = level + 1 >= self.levels.len();
            match self.levels.get(level) {
                None => return Ok(Content::default()),
                Some(items) if last && items.len() <= MAX_INLINE => return Ok(Content::new(level as u8, items)),
                Some(items) if items.is_empty() => {}
                Some(_) => self.close(level, store)?,
            }
            level += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::content::decode_items;
    use std::collections::HashMap;

    fn write(count: u64) -> (Content, HashMap<BlobId, Vec<u8>>) {
        let mut blobs = HashMap::new();
        let mut store = |kind: BlobKind, bytes: &[u8]| {
            assert_eq!(kind, BlobKind::List);
            let id = BlobId(*blake3::hash(bytes).as_bytes());
            blobs.insert(id, bytes.to_vec());
            Ok(id)
        };
        let mut writer = ListWriter::default();
        for n in 0..count {
            let id = BlobId(*blake3::hash(&n.to_le_bytes()).as_bytes());
            writer.push(Item { id, size: n }, &mut store).expect("stores");
        }
        let content = writer.finish(&mut store).expect("finishes");
        (content, blobs)
    }

    fn leaves(content: &Content, blobs: &HashMap<BlobId, Vec<u8>>) -> Vec<u64> {
        fn below(depth: u8, item: Item, blobs: &HashMap<BlobId, Vec<u8>>) -> Vec<u64> {
            if depth == 0 {
                return vec![item.size];
            }
            let items = decode_items(&blobs[&item.id]).expect("items");
            items.flat_map(|item| below(depth - 1, item, blobs)).collect()
        }
        content.items().expect("items").flat_map(|item| below(content.depth, item, blobs)).collect()
    }

    #[test]
    fn lists_of_any_length_come_back() {
        for count in [0, 1, 128, 129, 511, 512, 513, 4096, 4097, 100_000, 300_000] {
            let (content, blobs) = write(count);
            assert_eq!(leaves(&content, &blobs), (0..count).collect::<Vec<_>>(), "{count} items");
            assert_eq!(content.size, (0..count).sum::<u64>());
            assert_eq!(content.depth == 0, count <= 128, "{count} items");
            assert!(blobs.values().all(|blob| blob.len() <= MAX_ITEMS * 40));
        }
    }
}

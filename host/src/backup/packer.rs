//! Filling packs. Each worker fills one of its own with data; trees and lists go into one that all share; and the first
//! blobs of a backup, of all kinds, into a small one, so that a small backup is one pack.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::upload::UploadSender;
use super::writer::Writer;
use crate::chunk::Label;
use crate::format::blob::{BlobId, BlobKind};
use crate::format::pack::{Compressor, PackBuilder};
use crate::format::padme::padme;
use crate::format::roster::Parameters;
use crate::repository::{RepositoryError, family};

/// Packs are allocated with this much more room than they are meant to need, in bytes.
const SLACK: usize = 1 << 20;
/// A pack that is nearly full is closed early where its padding is below 1 part in this many.
const GOOD_FIT: usize = 512;

/// Fills one pack after the other.
pub struct Packer {
    label: Label,
    target: usize,
    open: Option<PackBuilder>,
    compressor: Compressor,
}

impl Packer {
    fn new(label: &'static str, target: u64, level: i32) -> Self {
        Packer { label: family(label), target: target as usize, open: None, compressor: Compressor::new(level) }
    }

    /// A packer of data for one worker.
    pub fn for_data(parameters: &Parameters) -> Self {
        Packer::new("data", parameters.data_pack, parameters.compression_level)
    }

    /// Adds a blob, and hands over the pack when it is full.
    pub fn add(
        &mut self,
        writer: &Writer<'_>,
        uploads: &UploadSender,
        kind: BlobKind,
        id: BlobId,
        plaintext: &[u8],
    ) -> Result<(), RepositoryError> {
        let pack = match &mut self.open {
            Some(pack) => pack,
            none => none.insert(writer.repository.new_pack(&self.label, self.target + SLACK)?),
        };
        pack.add(kind, id, plaintext, &mut self.compressor);
        let size = pack.size();
        let fits_well = || padme(size as u64) as usize - size < size / GOOD_FIT;
        if size >= self.target || (size >= self.target - self.target / 16 && fits_well()) {
            self.flush(uploads)?;
        }
        Ok(())
    }

    /// Hands over the open pack.
    pub fn flush(&mut self, uploads: &UploadSender) -> Result<(), RepositoryError> {
        match self.open.take() {
            Some(pack) if !pack.is_empty() => uploads.send(pack.finish()),
            _ => Ok(()),
        }
    }

    fn size(&self) -> usize {
        self.open.as_ref().map_or(0, PackBuilder::size)
    }
}

/// The packers that threads share.
pub struct Packers {
    small: Mutex<Packer>,
    small_is_full: AtomicBool,
    small_limit: usize,
    tree: Mutex<Packer>,
}

impl Packers {
    /// Packers for these parameters.
    pub fn new(parameters: &Parameters) -> Self {
        Packers {
            small: Mutex::new(Packer::for_data(parameters)),
            small_is_full: AtomicBool::new(false),
            small_limit: parameters.small as usize,
            tree: Mutex::new(Packer::new("tree", parameters.tree_pack, parameters.compression_level)),
        }
    }

    /// Stores a blob that has been claimed: in the small pack, in `own`, or in the one for trees.
    pub fn store(
        &self,
        writer: &Writer<'_>,
        uploads: &UploadSender,
        own: Option<&mut Packer>,
        kind: BlobKind,
        id: BlobId,
        plaintext: &[u8],
    ) -> Result<(), RepositoryError> {
        writer.counters.new_blobs.add(1);
        writer.counters.new_bytes.add(plaintext.len() as u64);
        if !self.small_is_full.load(Ordering::Relaxed) {
            let mut small = self.small.lock().expect("no panic while the lock is held");
            if !self.small_is_full.load(Ordering::Relaxed) {
                small.add(writer, uploads, kind, id, plaintext)?;
                if small.size() >= self.small_limit || small.size() == 0 {
                    small.flush(uploads)?;
                    self.small_is_full.store(true, Ordering::Relaxed);
                }
                return Ok(());
            }
        }
        match own {
            Some(own) if kind == BlobKind::Data => own.add(writer, uploads, kind, id, plaintext),
            _ => {
                let mut tree = self.tree.lock().expect("no panic while the lock is held");
                tree.add(writer, uploads, kind, id, plaintext)
            }
        }
    }

    /// Hands over what is left. The workers have flushed their own packers by now.
    pub fn finish(&self, uploads: &UploadSender) -> Result<(), RepositoryError> {
        self.small.lock().expect("no panic while the lock is held").flush(uploads)?;
        self.tree.lock().expect("no panic while the lock is held").flush(uploads)
    }
}

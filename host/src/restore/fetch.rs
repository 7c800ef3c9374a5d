//! Fetching: each pack of a batch once, in joined ranges; blobs are written wherever they go, in any order.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::batch::{Batch, Destination, FileJob, PackJob, Wanted};
use super::target::Target;
use super::{RestoreError, Watch};
use crate::format::blob::BlobKind;
use crate::format::pack::BlobOpener;
use crate::repository::blobs::BlobReader;

/// Ranges with a gap of at most this many bytes between them are fetched as one.
const MAX_GAP: u64 = 256 << 10;
/// A joined range is not made longer than this, in bytes.
const MAX_RANGE: u64 = 16 << 20;
/// Files that are kept open between blobs.
const MAX_OPEN: usize = 256;

struct Fetch<'a, 'r> {
    reader: &'a BlobReader<'r>,
    target: &'a Target,
    watch: &'a Watch,
    files: &'a [FileJob],
    open_files: AtomicUsize,
}

/// Writes all files of a batch.
pub fn fetch(reader: &BlobReader<'_>, target: &Target, watch: &Watch, mut batch: Batch) -> Result<(), RestoreError> {
    for pack in &mut batch.packs {
        pack.wanted.sort_by_key(|wanted| wanted.place.offset);
    }
    let fetch = Fetch { reader, target, watch, files: &batch.files, open_files: AtomicUsize::new(0) };
    for file in batch.files.iter().filter(|file| file.missing.load(Ordering::Relaxed) == 0) {
        fetch.finish(file);
    }
    for (item, destination) in &batch.lost {
        let why = format!("no index names a pack that holds blob {} of {} bytes", item.id, item.size);
        fetch.lost(item.size, *destination, &why);
    }
    let next = AtomicUsize::new(0);
    let threads = reader.repository.store.parallelism().min(batch.packs.len());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut opener = BlobOpener::default();
                while let Some(job) = batch.packs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if watch.stop.load(Ordering::Relaxed) {
                        break;
                    }
                    fetch.pack(job, &mut opener);
                }
            });
        }
    });
    watch.check()
}

fn range(wanted: &Wanted) -> Range<u64> {
    let start = u64::from(wanted.place.offset);
    start..start + u64::from(wanted.place.stored)
}

/// Joins neighbours: (range, number of blobs in it).
fn join(wanted: &[Wanted]) -> Vec<(Range<u64>, usize)> {
    let mut joined: Vec<(Range<u64>, usize)> = Vec::new();
    for blob in wanted {
        let next = range(blob);
        match joined.last_mut() {
            Some((last, count)) if next.start <= last.end + MAX_GAP && next.end <= last.start + MAX_RANGE => {
                last.end = last.end.max(next.end);
                *count += 1;
            }
            _ => joined.push((next, 1)),
        }
    }
    joined
}

impl Fetch<'_, '_> {
    fn pack(&self, job: &PackJob, opener: &mut BlobOpener) {
        let mut wanted = job.wanted.as_slice();
        for (range, count) in join(&job.wanted) {
            let (blobs, rest) = wanted.split_at(count);
            wanted = rest;
            let bytes = self.reader.repository.store.get(&job.label, &job.pack.info.id, Some(range.clone()));
            for blob in blobs {
                let piece = bytes.as_ref().ok().map(|bytes| {
                    let start = (u64::from(blob.place.offset) - range.start) as usize;
                    &bytes[start..start + blob.place.stored as usize]
                });
                self.blob(job, blob, piece, opener);
                if self.watch.stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    }

    fn blob(&self, job: &PackJob, blob: &Wanted, piece: Option<&[u8]>, opener: &mut BlobOpener) {
        let pack_opener = self.reader.opener(&job.pack).ok();
        if let (Some(piece), Some(pack)) = (piece, pack_opener)
            && let Ok(plaintext) = opener.open(&pack.cipher, &pack.hasher, &blob.place, piece)
        {
            return self.write(blob, plaintext);
        }
        // This place did not give it; others may.
        match self.reader.read(BlobKind::Data, &blob.place.id) {
            Ok(plaintext) if plaintext.len() as u64 == u64::from(blob.place.raw) => self.write(blob, &plaintext),
            Ok(_) => {
                for destination in &blob.destinations {
                    self.lost(blob.place.raw.into(), *destination, "the blob has another length than the content says");
                }
            }
            Err(why) => {
                for destination in &blob.destinations {
                    self.lost(blob.place.raw.into(), *destination, &why.to_string());
                }
            }
        }
    }

    fn write(&self, blob: &Wanted, plaintext: &[u8]) {
        for destination in &blob.destinations {
            let file = &self.files[destination.file];
            match self.write_at(file, destination.offset, plaintext) {
                Ok(()) => self.watch.bytes.add(plaintext.len() as u64),
                Err(error) => self.failed(file, "write", &error),
            }
            self.written(file);
        }
    }

    fn lost(&self, size: u64, destination: Destination, why: &str) {
        let file = &self.files[destination.file];
        file.damaged.store(true, Ordering::Relaxed);
        let (mut start, mut end) = (destination.offset, destination.offset + size);
        if let Some(layout) = &file.layout {
            (start, end) = (layout.position(start), layout.position(end - 1) + 1);
        }
        let message = format!("bytes {start} to {end} are lost, zeros stand in their place: {why}");
        self.watch.problems.push(self.target.display(&file.path), message);
        self.written(file);
    }

    /// A full disk ends the restore; anything else costs one file.
    fn failed(&self, file: &FileJob, action: &str, error: &io::Error) {
        let path = self.target.display(&file.path);
        let ends = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::ReadOnlyFilesystem];
        if ends.contains(&error.kind()) {
            self.watch.fail(RestoreError::Target { path, why: error.to_string() });
        } else {
            self.watch.problems.push(path, format!("cannot {action} it: {error}"));
        }
    }

    fn write_at(&self, job: &FileJob, offset: u64, plaintext: &[u8]) -> io::Result<()> {
        let mut state = job.state.lock().expect("no panic while the lock is held");
        let file = match state.file.take() {
            Some(file) => {
                self.open_files.fetch_sub(1, Ordering::Relaxed);
                file
            }
            None => self.open(job, &mut state.made)?,
        };
        match &job.layout {
            None => file.write_all_at(plaintext, offset)?,
            Some(layout) => {
                for (offset, piece) in layout.pieces(offset, plaintext) {
                    file.write_all_at(piece, offset)?;
                }
            }
        }
        if job.missing.load(Ordering::Relaxed) == 1 || self.open_files.load(Ordering::Relaxed) < MAX_OPEN {
            self.open_files.fetch_add(1, Ordering::Relaxed);
            state.file = Some(file);
        }
        Ok(())
    }

    fn open(&self, job: &FileJob, made: &mut bool) -> io::Result<File> {
        if *made || job.continued {
            return self.target.reopen_file(&job.path);
        }
        let file = self.target.create_file(&job.path)?;
        *made = true;
        self.target.attributes.set_early_flags(&file, &job.entry);
        Ok(file)
    }

    fn written(&self, file: &FileJob) {
        if file.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.finish(file);
        }
    }

    /// All blobs of this batch are written: sets the metadata, if this is the file's end.
    fn finish(&self, job: &FileJob) {
        let mut state = job.state.lock().expect("no panic while the lock is held");
        let kept = state.file.take();
        if kept.is_some() {
            self.open_files.fetch_sub(1, Ordering::Relaxed);
        }
        let finish = || -> io::Result<()> {
            let file = match kept {
                Some(file) => file,
                None => self.open(job, &mut state.made)?,
            };
            if !job.complete {
                return Ok(());
            }
            if job.damaged.load(Ordering::Relaxed) || job.layout.is_some() {
                file.set_len(job.size())?;
            }
            self.target.set_metadata(&file, &job.entry)?;
            self.target.attributes.seal_later(&job.path, &job.entry);
            self.watch.files.add(1);
            Ok(())
        };
        if let Err(error) = finish() {
            self.failed(job, "complete", &error);
        }
    }
}

//! Fetching: each pack of a batch once, in joined ranges; blobs are written wherever they go, in any order.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::batch::{Batch, Destination, FileJob, FileState, How, PackJob, Wanted};
use super::folder::OpenFolders;
use super::metadata::Known;
use super::target::Target;
use super::watch::Action;
use super::{RestoreError, Watch};
use crate::format::blob::BlobKind;
use crate::format::pack::BlobOpener;
use crate::repository::blobs::BlobReader;

/// Ranges with a gap of at most this many bytes between them are fetched as one.
const MAX_GAP: u64 = 256 << 10;
/// A joined range is not made longer than this, in bytes: a quarter of a pack. Buffers below the threshold in `allocator` are
/// used again and again, while the pages of larger ones are new each time.
const MAX_RANGE: u64 = 4 << 20;
/// Files that are kept open between blobs.
const MAX_OPEN: usize = 256;

struct Fetch<'a, 'r> {
    reader: &'a BlobReader<'r>,
    target: &'a Target,
    watch: &'a Watch,
    files: &'a [FileJob],
    open_files: AtomicUsize,
}

/// What a thread has of its own.
#[derive(Default)]
struct Hands {
    opener: BlobOpener,
    folders: OpenFolders,
}

/// Neighbours in a pack, fetched as one.
struct Joined<'b> {
    pack: &'b PackJob,
    range: Range<u64>,
    blobs: &'b [Wanted],
}

/// Writes all files of a batch. Those that replace something, or must be whole before they are seen, are there under
/// temporary names afterwards.
pub fn fetch(reader: &BlobReader<'_>, target: &Target, watch: &Watch, batch: &mut Batch) {
    for pack in &mut batch.packs {
        pack.wanted.sort_by_key(|wanted| wanted.place.offset);
    }
    let joined: Vec<Joined<'_>> = batch.packs.iter().flat_map(join).collect();
    let fetch = Fetch { reader, target, watch, files: &batch.files, open_files: AtomicUsize::new(0) };
    let next = AtomicUsize::new(0);
    let threads = reader.repository.store.parallelism().min(joined.len());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut hands = Hands::default();
                while let Some(joined) = joined.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if watch.is_stopped() {
                        break;
                    }
                    fetch.range(joined, &mut hands);
                }
            });
        }
        let mut hands = Hands::default();
        for (item, destination) in &batch.lost {
            let why = format!("no index names a pack that holds blob {} of {} bytes", item.id, item.size);
            fetch.lost(item.size, *destination, &why, &mut hands);
        }
        for file in batch.files.iter().filter(|file| !file.has_blobs) {
            fetch.finish(file, &mut hands);
        }
    });
}

/// Joins neighbours.
fn join(pack: &PackJob) -> Vec<Joined<'_>> {
    let mut joined = Vec::new();
    let mut rest = pack.wanted.as_slice();
    while let Some(first) = rest.first() {
        let mut range = place(first);
        let mut count = 1;
        for next in rest[1..].iter().map(place) {
            if next.start > range.end + MAX_GAP || next.end > range.start + MAX_RANGE {
                break;
            }
            range.end = range.end.max(next.end);
            count += 1;
        }
        let (blobs, after) = rest.split_at(count);
        joined.push(Joined { pack, range, blobs });
        rest = after;
    }
    joined
}

fn place(wanted: &Wanted) -> Range<u64> {
    let start = u64::from(wanted.place.offset);
    start..start + u64::from(wanted.place.stored)
}

impl Fetch<'_, '_> {
    fn range(&self, joined: &Joined<'_>, hands: &mut Hands) {
        let Joined { pack, range, blobs } = joined;
        let fetched = self.reader.repository.store.get(&pack.label, &pack.pack.info.id, Some(range.clone()));
        if let Err(outage) = &fetched
            && outage.is_retryable()
        {
            // It is not lost because it cannot be reached. What is there already counts for the next try.
            return self.watch.fail(RestoreError::Repository(outage.clone().into()));
        }
        // Decrypted where they stand, unless somebody else holds them too.
        let mut bytes = fetched.ok().map(|bytes| bytes.try_into_mut().unwrap_or_else(|shared| shared.as_ref().into()));
        for blob in *blobs {
            let piece = bytes.as_mut().map(|bytes| {
                let start = (u64::from(blob.place.offset) - range.start) as usize;
                &mut bytes[start..start + blob.place.stored as usize]
            });
            self.blob(pack, blob, piece, hands);
            if self.watch.is_stopped() {
                return;
            }
        }
    }

    fn blob(&self, job: &PackJob, blob: &Wanted, piece: Option<&mut [u8]>, hands: &mut Hands) {
        let Hands { opener, folders } = hands;
        let pack_opener = self.reader.opener(&job.pack).ok();
        if let (Some(piece), Some(pack)) = (piece, pack_opener)
            && let Ok(plaintext) = opener.open_in_place(&pack.cipher, &pack.hasher, &blob.place, piece)
        {
            return self.write(blob, plaintext, folders);
        }
        // This place did not give it; others may.
        let why = match self.reader.read(BlobKind::Data, &blob.place.id) {
            Ok(plaintext) if plaintext.len() as u64 == u64::from(blob.place.raw) => {
                return self.write(blob, &plaintext, folders);
            }
            Ok(_) => "the blob has another length than the content says".to_owned(),
            Err(why) => match why.about_chunk_or_plugin() {
                Ok(why) => why.to_string(),
                Err(outage) => return self.watch.fail(RestoreError::Repository(outage)),
            },
        };
        for destination in &blob.destinations {
            self.lost(blob.place.raw.into(), *destination, &why, hands);
        }
    }

    fn write(&self, blob: &Wanted, plaintext: &[u8], folders: &mut OpenFolders) {
        for destination in &blob.destinations {
            let file = &self.files[destination.file];
            match self.write_at(file, destination.offset, plaintext, folders) {
                Ok(()) => self.watch.bytes.add(plaintext.len() as u64),
                Err(error) => self.failed(file, "write", &error),
            }
            self.written(file, folders);
        }
    }

    fn lost(&self, size: u64, destination: Destination, why: &str, hands: &mut Hands) {
        let file = &self.files[destination.file];
        file.fate.damage();
        let (mut start, mut end) = (destination.offset, destination.offset.saturating_add(size));
        if let Some(layout) = &file.layout {
            (start, end) = (layout.position(start), layout.position(end - 1) + 1);
        }
        let instead = match file.how {
            How::Replace(_) if !self.watch.resumes() => "what stands there is kept",
            _ => "zeros stand in their place",
        };
        let message = format!("bytes {start} to {end} are lost, {instead}: {why}");
        self.watch.problems.push(self.target.display(&file.path()), message);
        self.written(file, &mut hands.folders);
    }

    /// A full disk ends the restore; anything else costs one file.
    fn failed(&self, file: &FileJob, action: &str, error: &io::Error) {
        file.fate.fail();
        let path = self.target.display(&file.path());
        let ends = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::ReadOnlyFilesystem];
        if ends.contains(&error.kind()) {
            self.watch.fail(RestoreError::Target { path, why: error.to_string() });
        } else {
            self.watch.problems.push(path, format!("cannot {action} it: {error}"));
        }
    }

    fn write_at(&self, job: &FileJob, offset: u64, plaintext: &[u8], folders: &mut OpenFolders) -> io::Result<()> {
        let mut state = job.state.lock().expect("no panic while the lock is held");
        let file = match state.file.take() {
            Some(file) => {
                self.open_files.fetch_sub(1, Ordering::Relaxed);
                file
            }
            None => self.open(job, &mut state, folders)?,
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

    fn open(&self, job: &FileJob, state: &mut FileState, folders: &mut OpenFolders) -> io::Result<File> {
        let parent = folders.get(self.target, &job.folder)?;
        if state.made || job.continued {
            return self.target.reopen_file(parent, job.name());
        }
        let is_written_once = job.complete && job.missing.load(Ordering::Relaxed) <= 1;
        let (file, known) = self.target.make_file((&job.folder, parent, job.name()), &job.entry, is_written_once)?;
        state.made = true;
        state.known = known;
        Ok(file)
    }

    fn written(&self, file: &FileJob, folders: &mut OpenFolders) {
        if file.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.end(file, folders);
        }
    }

    fn finish(&self, file: &FileJob, hands: &mut Hands) {
        if !self.watch.is_stopped() {
            self.end(file, &mut hands.folders);
        }
    }

    /// All blobs of this batch are written: sets the metadata, if this is the file's end.
    fn end(&self, job: &FileJob, folders: &mut OpenFolders) {
        let mut state = job.state.lock().expect("no panic while the lock is held");
        let kept = state.file.take();
        if kept.is_some() {
            self.open_files.fetch_sub(1, Ordering::Relaxed);
        }
        if job.fate.is_failed() {
            return;
        }
        let finish = || -> io::Result<()> {
            let file = match kept {
                Some(file) => file,
                None => self.open(job, &mut state, folders)?,
            };
            if !job.complete {
                return Ok(());
            }
            self.complete(job, &file, state.known)?;
            if job.entry.flags.is_some() {
                self.target.attributes.seal_later(&job.path(), &job.entry);
            }
            state.is_whole = true;
            if job.how == How::New {
                self.watch.files.add(1);
                self.watch.done(Action::Make, || job.path());
            }
            Ok(())
        };
        if let Err(error) = finish() {
            self.failed(job, "complete", &error);
        }
    }

    fn complete(&self, job: &FileJob, file: &File, known: Known) -> io::Result<()> {
        if job.fate.is_damaged() || job.layout.is_some() {
            file.set_len(job.size())?;
        }
        if job.fate.is_damaged() {
            // Without its time, it is never taken for complete by a later restore.
            return self.target.set_owner_and_mode(file, &job.entry, known);
        }
        self.target.set_metadata(file, &job.entry, known)
    }
}

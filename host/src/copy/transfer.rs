//! Moving data blobs: a batch at a time, each pack of the source in joined ranges. Some threads fetch, others open, name, compress
//! and seal.
//!
//! Memory: a batch is at most [`MAX_BATCH`] blobs, some 10 MB; besides a range for each thread, and a pack for each of those that seal.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::BytesMut;
use crossbeam_channel::{Receiver, bounded};

use super::names::{Name, Names};
use super::survey::at;
use super::{Fault, Watch};
use crate::backup::packer::Packer;
use crate::backup::upload::UploadSender;
use crate::backup::writer::Writer;
use crate::chunk::Label;
use crate::format::FormatError;
use crate::format::blob::{BlobId, BlobKind};
use crate::format::content::Item;
use crate::format::pack::{BlobOpener, BlobPlace};
use crate::index::IndexedPack;
use crate::repository::RepositoryError;
use crate::repository::blobs::{BlobReader, pack_label};

/// Blobs that are fetched as one batch.
const MAX_BATCH: usize = 32 << 10;
/// Ranges with a gap of at most this many bytes between them are fetched as one.
const MAX_GAP: u64 = 256 << 10;
/// A joined range is not made longer than this, in bytes.
const MAX_RANGE: u64 = 4 << 20;

/// A blob that the target may lack.
struct Wanted {
    item: Item,
    /// A file that needs it.
    path: Arc<[u8]>,
    /// Where the source's index says that it stands.
    place: Option<(Arc<IndexedPack>, Label, BlobPlace)>,
}

/// Neighbours in a pack, fetched as one.
struct Joined<'b> {
    range: Range<u64>,
    blobs: &'b [Wanted],
}

/// See the head of this module.
pub struct Transfer<'a, 'r> {
    reader: &'a BlobReader<'r>,
    writer: &'a Writer<'a>,
    uploads: &'a UploadSender,
    watch: &'a Watch,
    /// One for each thread that seals.
    packers: Vec<Packer>,
    batch: Vec<Wanted>,
    /// What is in the batch.
    ids: HashSet<BlobId>,
    path: Arc<[u8]>,
    pack: Option<Arc<IndexedPack>>,
}

impl<'a, 'r> Transfer<'a, 'r> {
    /// From this source into that target.
    pub fn new(
        reader: &'a BlobReader<'r>,
        writer: &'a Writer<'a>,
        uploads: &'a UploadSender,
        watch: &'a Watch,
    ) -> Self {
        let threads = thread::available_parallelism().map_or(2, usize::from);
        let parameters = &writer.repository.roster.parameters;
        Transfer {
            reader,
            writer,
            uploads,
            watch,
            packers: (0..threads).map(|_| Packer::for_data(parameters)).collect(),
            batch: Vec::new(),
            ids: HashSet::new(),
            path: Arc::new([]),
            pack: None,
        }
    }

    /// The file at this path needs a blob.
    pub fn want(&mut self, names: &mut Names, item: &Item, path: &[u8]) -> Result<(), Fault> {
        if self.writer.is_over() {
            return Err(Fault::Target(RepositoryError::Interrupted));
        }
        let known = names.get(&item.id).is_some_and(|name| self.writer.session.is_present(&name.id));
        if known || !self.ids.insert(item.id) {
            return Ok(());
        }
        if *self.path != *path {
            self.path = path.into();
        }
        let place = self.place(item);
        self.batch.push(Wanted { item: *item, path: self.path.clone(), place });
        if self.batch.len() >= MAX_BATCH { self.work(names) } else { Ok(()) }
    }

    /// The first place of this length; where the blob is not there, others are tried.
    fn place(&mut self, item: &Item) -> Option<(Arc<IndexedPack>, Label, BlobPlace)> {
        let fits = |place: &BlobPlace| place.kind == BlobKind::Data && u64::from(place.raw) == item.size;
        let location = self.reader.index.locations(&item.id).find(|location| fits(&location.record.place))?;
        let pack = location.pack().ok()?;
        let label = pack_label(&pack).ok()?;
        // Most neighbours are in one pack, whose header is long.
        let pack = match &self.pack {
            Some(known) if **known == pack => known.clone(),
            _ => self.pack.insert(Arc::new(pack)).clone(),
        };
        Some((pack, label, location.record.place))
    }

    /// Copies what is left, and hands over the packs that are being filled.
    pub fn finish(mut self, names: &mut Names) -> Result<(), Fault> {
        self.work(names)?;
        for packer in &mut self.packers {
            packer.flush(self.uploads)?;
        }
        Ok(())
    }

    /// Copies the batch.
    fn work(&mut self, names: &mut Names) -> Result<(), Fault> {
        let mut batch = std::mem::take(&mut self.batch);
        self.ids.clear();
        batch.sort_by_key(|wanted| wanted.place.as_ref().map(|(pack, _, place)| (pack.info.id, place.offset)));
        let joined = join(&batch);
        let (next, fault) = (AtomicUsize::new(0), Mutex::new(None));
        let hands = Hands {
            reader: self.reader,
            writer: self.writer,
            uploads: self.uploads,
            watch: self.watch,
            names,
            fault: &fault,
        };
        let fetchers = self.reader.repository.store.parallelism().clamp(1, joined.len().max(1));
        let packers = &mut self.packers;
        thread::scope(|scope| {
            let (sender, receiver) = bounded(0);
            for packer in packers {
                let (hands, receiver) = (&hands, receiver.clone());
                scope.spawn(move || hands.seal_all(&receiver, packer));
            }
            drop(receiver);
            for _ in 0..fetchers {
                let (hands, joined, next, sender) = (&hands, &joined, &next, sender.clone());
                scope.spawn(move || {
                    while let Some(joined) = joined.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if hands.is_over() || sender.send((joined, hands.fetch(joined))).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        names.keep_many();
        match fault.into_inner().expect("no panic while the lock is held") {
            Some(fault) => Err(fault),
            None if self.writer.is_over() => Err(Fault::Target(RepositoryError::Interrupted)),
            None => Ok(()),
        }
    }
}

/// Joins neighbours. What has no place stands for itself.
fn join(batch: &[Wanted]) -> Vec<Joined<'_>> {
    let mut joined = Vec::new();
    let mut rest = batch;
    while let Some(first) = rest.first() {
        let mut range = first.range();
        let mut count = 1;
        for next in &rest[1..] {
            let (there, near) = (next.range(), next.is_in_pack_of(first));
            if !near || there.start > range.end + MAX_GAP || there.end > range.start + MAX_RANGE {
                break;
            }
            range.end = range.end.max(there.end);
            count += 1;
        }
        let (blobs, after) = rest.split_at(count);
        joined.push(Joined { range, blobs });
        rest = after;
    }
    joined
}

impl Wanted {
    fn range(&self) -> Range<u64> {
        self.place.as_ref().map_or(0..0, |(_, _, place)| {
            let start = u64::from(place.offset);
            start..start + u64::from(place.stored)
        })
    }

    fn is_in_pack_of(&self, other: &Wanted) -> bool {
        match (&self.place, &other.place) {
            (Some((pack, ..)), Some((other, ..))) => pack == other,
            _ => false,
        }
    }
}

/// What the threads share.
struct Hands<'a, 'r> {
    reader: &'a BlobReader<'r>,
    writer: &'a Writer<'a>,
    uploads: &'a UploadSender,
    watch: &'a Watch,
    names: &'a Names,
    /// What has ended the batch.
    fault: &'a Mutex<Option<Fault>>,
}

impl Hands<'_, '_> {
    fn is_over(&self) -> bool {
        self.writer.is_over() || self.fault.lock().expect("no panic while the lock is held").is_some()
    }

    fn fail(&self, fault: Fault) {
        self.fault.lock().expect("no panic while the lock is held").get_or_insert(fault);
    }

    /// The bytes of a range, if the source gives them.
    fn fetch(&self, joined: &Joined<'_>) -> Option<BytesMut> {
        let (pack, label, _) = joined.blobs[0].place.as_ref()?;
        let bytes = self.reader.repository.store.get(label, &pack.info.id, Some(joined.range.clone())).ok()?;
        // Decrypted where they stand, unless somebody else holds them too.
        Some(bytes.try_into_mut().unwrap_or_else(|shared| shared.as_ref().into()))
    }

    fn seal_all(&self, ranges: &Receiver<(&Joined<'_>, Option<BytesMut>)>, packer: &mut Packer) {
        let mut opener = BlobOpener::default();
        for (joined, mut bytes) in ranges {
            for blob in joined.blobs {
                if self.is_over() {
                    // The channel is drained, so that nobody waits for ever.
                    break;
                }
                let piece = bytes.as_mut().zip(blob.place.as_ref()).map(|(bytes, (_, _, place))| {
                    let start = (u64::from(place.offset) - joined.range.start) as usize;
                    &mut bytes[start..start + place.stored as usize]
                });
                if let Err(fault) = self.blob(blob, piece, &mut opener, packer) {
                    self.fail(fault);
                }
            }
        }
    }

    /// Opens a blob, names it, and stores it if the target lacks it.
    fn blob(
        &self,
        blob: &Wanted,
        piece: Option<&mut [u8]>,
        opener: &mut BlobOpener,
        packer: &mut Packer,
    ) -> Result<(), Fault> {
        if let (Some(piece), Some((pack, _, place))) = (piece, &blob.place)
            && let Ok(pack) = self.reader.opener(pack)
            && let Ok(plaintext) = opener.open_in_place(&pack.cipher, &pack.hasher, place, piece)
        {
            return self.store(blob, plaintext, packer);
        }
        // This place did not give it; others may.
        let plaintext = self.reader.read(BlobKind::Data, &blob.item.id).map_err(at(&blob.path))?;
        if plaintext.len() as u64 != blob.item.size {
            let why = FormatError::Malformed("it has another length than the content of the file says");
            let what = format!("data blob {}", blob.item.id);
            return Err(at(&blob.path)(RepositoryError::Malformed { what, why }));
        }
        self.store(blob, &plaintext, packer)
    }

    fn store(&self, blob: &Wanted, plaintext: &[u8], packer: &mut Packer) -> Result<(), Fault> {
        self.watch.read_bytes.add(plaintext.len() as u64);
        let stored = self.writer.store(self.uploads, Some(packer), BlobKind::Data, plaintext)?;
        self.names.add(blob.item.id, Name { id: stored.id, size: plaintext.len() as u32 });
        Ok(())
    }
}

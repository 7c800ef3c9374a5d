//! Dump: a snapshot, or a part of it, as one stream of bytes: an archive, or what is in a file.
//!
//! ```text
//! walk (1 thread) --steps, in order------------------------> writer (the caller's thread): tar, zip or plain
//!      \--blobs--> readers (as many as the store serves)--/
//! ```
//!
//! The [`walk`] goes through the trees and asks for blobs ahead of the writer, as far as the budget of [`ahead`] allows.
//! Each format is an [`Archive`]: [`tar`], [`zip`], and [`plain`] for a single file. What cannot be read is a problem with
//! its path, and an archive that has one never gets a proper end.

mod ahead;
pub mod plain;
pub mod tar;
mod walk;
pub mod zip;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::backup::counters::{Counter, Current};
use crate::format::content::Content;
use crate::format::entry::{Entry, EntryType};
use crate::index::Index;
use crate::problem::Problems;
use crate::repository::blobs::BlobReader;
use crate::repository::{Repository, RepositoryError};
use crate::restore::sparse::Layout;

use ahead::Step;

/// A larger gap than this, in bytes, is not filled with zeros: nobody wants them, and sizes may be lies.
const MOST_ZEROS: u64 = 1 << 30;

/// Why a dump ended before everything was written.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A part of a file is lost, and the format has no way to go on.
    #[error("{path}: {message}; what was written of it is not complete", path = path.display())]
    Lost {
        /// The file's path in the snapshot.
        path: PathBuf,
        /// Which part, and why.
        message: String,
        /// What the repository says of it.
        why: Box<RepositoryError>,
    },
    /// What was written could not be.
    #[error("cannot write the dump: {0}")]
    Output(#[from] io::Error),
}

/// What a dump is of.
pub enum Source {
    /// A directory: everything in it.
    Directory(Content),
    /// What stands at this path of the snapshot, under the last part of it.
    Entry(Box<Entry>, PathBuf),
}

/// An entry, as an archive gets it.
pub struct Item {
    /// Its name in the archive: the path, without a slash in front.
    pub name: Vec<u8>,
    /// Its path in the snapshot, for people.
    pub path: PathBuf,
    /// What it is.
    pub entry: Entry,
    /// Where its contents go, if it is sparse.
    pub layout: Option<Layout>,
    /// The name in the archive of a file that it is another name of.
    pub link: Option<Vec<u8>>,
}

/// What becomes of an entry in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is in there; of a file, the contents follow.
    Whole,
    /// The format has no such things at all.
    NoSuchKind,
    /// The format cannot hold this one.
    Refused(&'static str),
}

/// A format, written as a stream.
pub trait Archive {
    /// Whether the format has names for what is there already.
    fn has_links(&self) -> bool;
    /// Whether what follows a damaged file can still be used.
    fn survives_damage(&self) -> bool;
    /// Begins an entry.
    fn begin(&mut self, item: &Item) -> io::Result<Taken>;
    /// The next bytes of the content of the file that was begun.
    fn data(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Ends the file.
    fn end(&mut self) -> io::Result<()>;
    /// Ends the archive: as a whole one, or as one that every program takes for broken.
    fn finish(&mut self, is_whole: bool) -> io::Result<()>;
}

/// What the caller watches, and how it ends a dump.
#[derive(Default)]
pub struct Watch {
    /// Regular files written.
    pub files: Counter,
    /// Directories written.
    pub directories: Counter,
    /// Links and special files written.
    pub others: Counter,
    /// Bytes of contents written.
    pub bytes: Counter,
    /// Entries that the format has no kind for.
    pub left_out: Counter,
    /// What could not be read, or not be held by the format.
    pub problems: Problems,
    /// Where it is, for whoever wants to see it.
    pub current: Option<Current>,
    /// Set to end it.
    pub stop: Arc<AtomicBool>,
}

impl Watch {
    fn check(&self) -> Result<(), RepositoryError> {
        if self.stop.load(Ordering::Relaxed) { Err(RepositoryError::Interrupted) } else { Ok(()) }
    }

    fn count(&self, item: &Item) {
        match item.entry.kind {
            EntryType::File => self.files.add(1),
            EntryType::Directory => self.directories.add(1),
            _ => self.others.add(1),
        }
    }
}

/// Writes a source into an archive. `entries` is how many there may be. After damage the archive has no proper end, and
/// [`Watch::problems`] says what is missing.
pub fn run(
    (repository, index): (&Repository, &Index),
    source: Source,
    entries: u64,
    archive: &mut dyn Archive,
    watch: &Watch,
) -> Result<(), DumpError> {
    let reader = BlobReader::new(repository, index);
    let links = archive.has_links();
    let is_whole = ahead::run(
        &reader,
        watch,
        |line| walk::walk(&reader, source, (links, entries), line),
        |steps| {
            let mut writer = Writer { archive: &mut *archive, watch, file: None, is_whole: true };
            for step in steps {
                writer.step(step)?;
            }
            Ok(writer.is_whole)
        },
    )?;
    Ok(archive.finish(is_whole)?)
}

/// Hands steps to an archive.
struct Writer<'a> {
    archive: &'a mut dyn Archive,
    watch: &'a Watch,
    /// The file that is being written, and how much of it has been; none where the archive does not take it.
    file: Option<(PathBuf, Option<Layout>, u64)>,
    is_whole: bool,
}

impl Writer<'_> {
    fn step(&mut self, step: Step) -> Result<(), DumpError> {
        self.watch.check()?;
        match step {
            Step::Entry(item) => self.begin(*item),
            Step::Piece { size, blob } => match blob.recv() {
                Ok(Ok(bytes)) if bytes.len() as u64 == size => self.data(&bytes),
                Ok(Ok(_)) => self.lost(size, ahead::wrong_length()),
                Ok(Err(why)) => self.lost(size, why),
                Err(_) => Err(ahead::gone().into()),
            },
            Step::Lost { size, why } => self.lost(size, why),
            Step::End => match self.file.take() {
                Some(_) => Ok(self.archive.end()?),
                None => Ok(()),
            },
            Step::Problem { path, message, damage } => {
                self.is_whole &= !damage;
                self.watch.problems.push(path, message);
                Ok(())
            }
        }
    }

    fn begin(&mut self, item: Item) -> Result<(), DumpError> {
        if let Some(current) = &self.watch.current {
            current.set(&item.path);
        }
        match self.archive.begin(&item)? {
            Taken::Whole => {
                self.watch.count(&item);
                if item.entry.kind == EntryType::File && item.link.is_none() {
                    self.file = Some((item.path, item.layout, 0));
                }
            }
            Taken::NoSuchKind => self.watch.left_out.add(1),
            Taken::Refused(why) => self.watch.problems.push(item.path, format!("it is left out: {why}")),
        }
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), DumpError> {
        if let Some((_, _, written)) = &mut self.file {
            self.archive.data(bytes)?;
            *written += bytes.len() as u64;
            self.watch.bytes.add(bytes.len() as u64);
        }
        Ok(())
    }

    /// Zeros stand for what is lost, so that the archive goes on; where it cannot, that is the end.
    fn lost(&mut self, size: u64, why: RepositoryError) -> Result<(), DumpError> {
        let why = why.about_chunk_or_plugin()?;
        self.is_whole = false;
        let Some((path, layout, written)) = &self.file else { return Ok(()) };
        let (mut start, mut end) = (*written, *written + size);
        if let (Some(layout), true) = (layout, size > 0) {
            (start, end) = (layout.position(start), layout.position(end - 1) + 1);
        }
        let message = format!("bytes {start} to {end} are lost");
        if !self.archive.survives_damage() || size > MOST_ZEROS {
            return Err(DumpError::Lost { path: path.clone(), message: format!("{message}: {why}"), why: why.into() });
        }
        let message = format!("{message}, zeros stand in their place: {why}");
        self.watch.problems.push(path.clone(), message);
        let zeros = [0; 64 << 10];
        let mut rest = size;
        while rest > 0 {
            let piece = rest.min(zeros.len() as u64);
            self.data(&zeros[..piece as usize])?;
            rest -= piece;
            self.watch.check()?;
        }
        Ok(())
    }
}

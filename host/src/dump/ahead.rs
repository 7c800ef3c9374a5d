//! Reading ahead: the walk says in order what comes, and threads read the blobs before the writer gets there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;

use crossbeam_channel::{Receiver, Sender};

use super::{DumpError, Item, Watch};
use crate::format::FormatError;
use crate::format::blob::BlobId;
use crate::format::content;
use crate::repository::RepositoryError;
use crate::repository::blobs::BlobReader;
use crate::repository::tree::with_deep_stack;
use crate::repository::windows::WindowReader;

/// Bytes that are read and not written yet.
const BUDGET: u64 = 64 << 20;
/// Steps that the walk is ahead of the writer.
const STEPS: usize = 1024;

type Plaintext = Result<Vec<u8>, RepositoryError>;

/// What comes next.
pub enum Step {
    /// An entry. Of a file, its contents follow as pieces, then the end.
    Entry(Box<Item>),
    /// A piece of the content: so many bytes, from this blob.
    Piece { size: u64, blob: Receiver<Plaintext> },
    /// So many bytes of the content that nobody can name the blobs of.
    Lost { size: u64, why: RepositoryError },
    /// The end of a file.
    End,
    /// Something that is not there as it should be; `damage` if the snapshot had it.
    Problem { path: std::path::PathBuf, message: String, damage: bool },
}

/// A blob that is wanted.
struct Job {
    id: BlobId,
    answer: Sender<Plaintext>,
}

/// Where the walk puts steps.
pub struct Line<'a> {
    steps: Sender<Step>,
    jobs: Sender<Job>,
    budget: &'a Budget,
}

impl Line<'_> {
    /// The next step; an error once nobody waits for it any more.
    pub fn step(&self, step: Step) -> Result<(), RepositoryError> {
        self.steps.send(step).map_err(|_| RepositoryError::Interrupted)
    }

    /// A piece of a file's content.
    pub fn piece(&self, item: &content::Item) -> Result<(), RepositoryError> {
        self.budget.take(item.size)?;
        let (answer, blob) = crossbeam_channel::bounded(1);
        self.jobs.send(Job { id: item.id, answer }).map_err(|_| RepositoryError::Interrupted)?;
        self.step(Step::Piece { size: item.size, blob })
    }
}

/// Bytes on their way. What is larger than all of it goes alone.
#[derive(Default)]
struct Budget {
    used: Mutex<u64>,
    less: Condvar,
    over: AtomicBool,
}

impl Budget {
    fn take(&self, bytes: u64) -> Result<(), RepositoryError> {
        let mut used = self.used.lock().expect("no panic while the lock is held");
        while *used > 0 && *used + bytes > BUDGET && !self.over.load(Ordering::Relaxed) {
            used = self.less.wait(used).expect("no panic while the lock is held");
        }
        *used += bytes;
        if self.over.load(Ordering::Relaxed) { Err(RepositoryError::Interrupted) } else { Ok(()) }
    }

    fn give_back(&self, bytes: u64) {
        let mut used = self.used.lock().expect("no panic while the lock is held");
        *used -= bytes;
        self.less.notify_all();
    }

    /// Nobody writes any more.
    fn end(&self) {
        let _used = self.used.lock().expect("no panic while the lock is held");
        self.over.store(true, Ordering::Relaxed);
        self.less.notify_all();
    }
}

/// Ends the budget, whatever becomes of the writer.
struct Ending<'a>(&'a Budget);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Steps as the writer gets them: the bytes of one are given back when the next is asked for.
struct Steps<'a> {
    receiver: Receiver<Step>,
    budget: &'a Budget,
    held: u64,
}

impl Iterator for Steps<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        self.budget.give_back(std::mem::take(&mut self.held));
        let step = self.receiver.recv().ok()?;
        if let Step::Piece { size, .. } = &step {
            self.held = *size;
        }
        Some(step)
    }
}

/// Runs a walk, readers and, on this thread, a writer. What ended the writer counts more than what ended the walk.
pub fn run<R>(
    reader: &BlobReader<'_>,
    watch: &Watch,
    walk: impl FnOnce(&Line<'_>) -> Result<(), RepositoryError> + Send,
    write: impl FnOnce(&mut dyn Iterator<Item = Step>) -> Result<R, DumpError>,
) -> Result<R, DumpError> {
    let budget = Budget::default();
    let windows = WindowReader::new(reader);
    let (step_sender, receiver) = crossbeam_channel::bounded(STEPS);
    let (job_sender, jobs) = crossbeam_channel::unbounded::<Job>();
    thread::scope(|scope| {
        for _ in 0..reader.repository.store.parallelism().max(1) {
            let (jobs, windows, budget) = (jobs.clone(), &windows, &budget);
            scope.spawn(move || {
                for job in jobs {
                    if budget.over.load(Ordering::Relaxed) {
                        break;
                    }
                    // A writer that has gone does not miss it.
                    let _ = job.answer.send(windows.read(&job.id));
                }
            });
        }
        drop(jobs);
        let line = Line { steps: step_sender, jobs: job_sender, budget: &budget };
        let walker = scope.spawn(move || with_deep_stack(move || walk(&line)));
        let ending = Ending(&budget);
        let mut steps = Steps { receiver, budget: &budget, held: 0 };
        let written = write(&mut steps);
        drop(ending);
        drop(steps);
        let walked = walker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let written = written?;
        watch.check()?;
        walked.and_then(|walked| walked)?;
        Ok(written)
    })
}

/// A blob that is another one than the content says.
pub fn wrong_length() -> RepositoryError {
    let why = FormatError::Malformed("the blob has another length than the content says");
    RepositoryError::Malformed { what: "a content".into(), why }
}

/// A reader that has gone without an answer.
pub fn gone() -> RepositoryError {
    let why = FormatError::Malformed("this is a defect of obnam; please report it");
    RepositoryError::Malformed { what: "a thread of the dump ended unexpectedly".into(), why }
}

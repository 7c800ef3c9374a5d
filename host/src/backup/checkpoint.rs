//! Checkpoints: every few minutes a long backup makes a partial snapshot of what it has got so far, so that there is
//! something to restore from long before it ends.
//!
//! The assembler makes one between two entries: all that it has seen is stored or in a pack that is being filled. So
//! the workers are asked to hand over their packs, the shared ones are handed over, and when all of them are durable,
//! an index chunk and the snapshot are written. The other threads go on meanwhile, as far as the queues allow.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::Shared;
use super::upload::UploadSender;
use crate::format::content::Content;
use crate::repository::RepositoryError;

/// Asks a worker to hand over the pack that it is filling, and to answer.
pub type FlushRequest = Sender<()>;

/// Checkpoints are not made more often than takes this many times the time that one takes.
const SHARE: u32 = 10;

/// When the next partial snapshot is due, and how to reach the workers.
pub struct Checkpoints {
    every: Option<Duration>,
    /// When the last one was made, and how long it took.
    last: (Instant, Duration),
    workers: Vec<Sender<FlushRequest>>,
}

impl Checkpoints {
    /// Checkpoints at this distance; none without one.
    pub fn new(every: Option<Duration>) -> Self {
        Checkpoints { every, last: (Instant::now(), Duration::ZERO), workers: Vec::new() }
    }

    /// Where one more worker gets its requests.
    pub fn worker(&mut self) -> Receiver<FlushRequest> {
        // Without room: a request that a worker no longer takes must not wait in the channel for an answer.
        let (sender, receiver) = bounded(0);
        self.workers.push(sender);
        receiver
    }

    /// Whether it is time.
    pub fn is_due(&self) -> bool {
        self.every.is_some_and(|every| self.last.0.elapsed() >= every.max(self.last.1 * SHARE))
    }

    /// Makes a partial snapshot with this root directory, all of whose blobs have been claimed.
    pub fn make(&mut self, shared: &Shared<'_>, uploads: &UploadSender, root: Content) -> Result<(), RepositoryError> {
        let begun = Instant::now();
        let (done, answers) = bounded(self.workers.len());
        for worker in &self.workers {
            // A worker that has ended has handed over its pack.
            let _ = worker.send(done.clone());
        }
        drop(done);
        while answers.recv().is_ok() {}
        shared.writer.packers.finish(uploads)?;
        uploads.wait_for_sent();
        if !shared.is_over() {
            shared.writer.session.flush(shared.repository)?;
            shared.state.checkpoint();
            if let Some(outcome) = shared.commit(root, true)? {
                tracing::info!("partial snapshot {} saved", outcome.id.short());
            }
        }
        self.last = (Instant::now(), begun.elapsed());
        Ok(())
    }
}

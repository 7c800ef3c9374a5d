//! Storing packs: as many threads as the store takes calls, so that nobody waits for an fsync or a network.
//!
//! Memory: at most one pack per thread, and one waiting for each sender.

use std::thread::{Scope, ScopedJoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::Shared;
use crate::format::pack::FinishedPack;
use crate::repository::RepositoryError;

/// Where finished packs go.
#[derive(Clone)]
pub struct UploadSender(Sender<FinishedPack>);

impl UploadSender {
    /// Hands over a pack; waits while all threads are busy.
    pub fn send(&self, pack: FinishedPack) -> Result<(), RepositoryError> {
        self.0.send(pack).map_err(|_| super::thread_died())
    }
}

/// The threads.
pub struct Uploads<'scope> {
    sender: UploadSender,
    threads: Vec<ScopedJoinHandle<'scope, ()>>,
}

impl<'scope> Uploads<'scope> {
    /// Starts the threads.
    pub fn start<'env>(scope: &'scope Scope<'scope, 'env>, shared: &'env Shared<'env>) -> Self {
        let (sender, receiver) = bounded(0);
        let count = shared.repository.store.parallelism().max(1);
        let threads = (0..count)
            .map(|_| {
                let receiver = receiver.clone();
                scope.spawn(move || upload(shared, &receiver))
            })
            .collect();
        Uploads { sender: UploadSender(sender), threads }
    }

    /// A way to hand over packs.
    pub fn sender(&self) -> UploadSender {
        self.sender.clone()
    }

    /// Waits until all packs that were handed over are durable, or the backup has failed.
    pub fn finish(self, shared: &Shared<'_>) {
        drop(self.sender);
        for thread in self.threads {
            if thread.join().is_err() {
                shared.fail(super::thread_died());
            }
        }
    }
}

fn upload(shared: &Shared<'_>, packs: &Receiver<FinishedPack>) {
    for pack in packs {
        // After a failure the channel is drained, so that nobody waits for ever.
        if shared.is_over() {
            continue;
        }
        let size = pack.bytes.len() as u64;
        let stored = shared
            .repository
            .store
            .put(&pack.label, &pack.id, pack.bytes.clone())
            .map_err(RepositoryError::from)
            .and_then(|_| shared.session.pack_stored(shared.repository, pack));
        match stored {
            Ok(()) => shared.watch.counters.stored_bytes.add(size),
            Err(error) => shared.fail(error),
        }
    }
}

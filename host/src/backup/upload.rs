//! Storing packs: as many threads as the store takes calls, so that nobody waits for an fsync or a network.
//!
//! Memory: at most one pack per thread, and one waiting for each sender.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{Scope, ScopedJoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::writer::Writer;
use crate::format::pack::FinishedPack;
use crate::repository::RepositoryError;

/// Where finished packs go.
#[derive(Clone)]
pub struct UploadSender {
    packs: Sender<(u64, FinishedPack)>,
    under_way: Arc<UnderWay>,
}

/// The packs that have been handed over and are not durable yet, by number.
#[derive(Default)]
struct UnderWay {
    numbers: Mutex<(u64, BTreeSet<u64>)>,
    changed: Condvar,
}

impl UnderWay {
    fn begin(&self) -> u64 {
        let (next, numbers) = &mut *self.numbers.lock().expect("no panic while the lock is held");
        *next += 1;
        numbers.insert(*next);
        *next
    }

    fn end(&self, number: u64) {
        self.numbers.lock().expect("no panic while the lock is held").1.remove(&number);
        self.changed.notify_all();
    }

    fn wait(&self) {
        let numbers = self.numbers.lock().expect("no panic while the lock is held");
        let newest = numbers.0;
        let waits = |state: &mut (u64, BTreeSet<u64>)| state.1.first().is_some_and(|first| *first <= newest);
        drop(self.changed.wait_while(numbers, waits));
    }
}

impl UploadSender {
    /// Hands over a pack; waits while all threads are busy.
    pub fn send(&self, pack: FinishedPack) -> Result<(), RepositoryError> {
        self.packs.send((self.under_way.begin(), pack)).map_err(|_| super::thread_died())
    }

    /// Waits until all packs that have been handed over so far are durable, or the backup has failed.
    pub fn wait_for_sent(&self) {
        self.under_way.wait();
    }
}

/// The threads.
pub struct Uploads<'scope> {
    sender: UploadSender,
    threads: Vec<ScopedJoinHandle<'scope, ()>>,
}

impl<'scope> Uploads<'scope> {
    /// Starts the threads.
    pub fn start<'env>(scope: &'scope Scope<'scope, 'env>, writer: &'env Writer<'env>) -> Self {
        let (sender, receiver) = bounded(0);
        let count = writer.repository.store.parallelism().max(1);
        let sender = UploadSender { packs: sender, under_way: Arc::default() };
        let threads = (0..count)
            .map(|_| {
                let (receiver, under_way) = (receiver.clone(), sender.under_way.clone());
                scope.spawn(move || upload(writer, &receiver, &under_way))
            })
            .collect();
        Uploads { sender, threads }
    }

    /// A way to hand over packs.
    pub fn sender(&self) -> UploadSender {
        self.sender.clone()
    }

    /// Waits until all packs that were handed over are durable, or the backup has failed.
    pub fn finish(self, writer: &Writer<'_>) {
        drop(self.sender);
        for thread in self.threads {
            if thread.join().is_err() {
                writer.fail(super::thread_died());
            }
        }
    }
}

fn upload(writer: &Writer<'_>, packs: &Receiver<(u64, FinishedPack)>, under_way: &UnderWay) {
    for (number, pack) in packs {
        // After a failure the channel is drained, so that nobody waits for ever.
        if !writer.is_over() {
            store(writer, pack);
        }
        under_way.end(number);
    }
}

fn store(writer: &Writer<'_>, pack: FinishedPack) {
    let size = pack.bytes.len() as u64;
    let stored = writer
        .repository
        .store
        .put(&pack.label, &pack.id, pack.bytes.clone())
        .map_err(RepositoryError::from)
        .and_then(|_| writer.session.pack_stored(writer.repository, pack));
    match stored {
        Ok(()) => writer.counters.stored_bytes.add(size),
        Err(error) => writer.fail(error),
    }
}

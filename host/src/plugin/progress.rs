//! How the thread that waits for a call sees whether it goes on, and how it gives up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// Shared by a worker and whoever waits for it.
#[derive(Default)]
pub(super) struct Progress {
    steps: AtomicU64,
    abandoned: AtomicBool,
    wake: Notify,
}

impl Progress {
    /// Something moved.
    pub(super) fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// How often something moved so far.
    pub(super) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Tells the worker to stop as soon as it can: nobody waits for it any more.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::SeqCst);
        self.wake.notify_one();
    }

    /// Whether nobody waits any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }

    /// Ready once nobody waits any more.
    pub(super) async fn abandoned(&self) {
        while !self.is_abandoned() {
            self.wake.notified().await;
        }
    }
}

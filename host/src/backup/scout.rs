//! How much a first backup will come to: a thread goes ahead of it and counts. It walks as the backup does, with all that is
//! left out, and reads nothing but names, inodes, markers and ignore files.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope};

use super::walk::{Sink, walk};
use super::{Shared, Watch, thread_error};
use crate::repository::RepositoryError;

/// The thread, if there is one.
#[derive(Default)]
pub struct Scout {
    over: Arc<AtomicBool>,
}

impl Scout {
    /// Sends it ahead if somebody wants to know, and the last backup does not tell.
    pub fn start<'scope>(
        &self,
        scope: &'scope Scope<'scope, '_>,
        shared: &'scope Shared<'_>,
    ) -> Result<(), RepositoryError> {
        let watch = shared.watch;
        if !watch.counts_ahead || watch.total().is_some() || shared.options.stream.is_some() {
            return Ok(());
        }
        let own = Watch::stopped_by(self.over.clone());
        let count = move || {
            walk(shared, &own, Sink::Count);
            if !own.is_stopped() && !shared.is_over() {
                let _ = watch.counted.set(own.counters.bytes_to_read.get());
            }
        };
        let thread = thread::Builder::new().name("scout".into()).stack_size(64 << 20);
        thread.spawn_scoped(scope, count).map(drop).map_err(thread_error)
    }

    /// Calls it back.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

//! The workers of one opened plugin. As many calls are in flight as there are workers; more callers wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::failure::Failure;
use super::instance::{Answer, Blueprint, Call};
use super::output::Redaction;
use super::worker::Worker;

/// Some workers, made when they are needed.
pub(super) struct Pool {
    pub(super) blueprint: Arc<Blueprint>,
    size: usize,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    /// Workers with an instance, waiting for a call.
    rested: Vec<Worker>,
    /// How many calls are in flight.
    busy: usize,
}

impl Pool {
    /// A pool of at most `size` workers.
    pub(super) fn new(blueprint: Blueprint, size: usize) -> Self {
        Pool { blueprint: Arc::new(blueprint), size: size.max(1), state: Mutex::default(), freed: Condvar::new() }
    }

    /// A pool of the same size whose instances get other options.
    pub(super) fn with(&self, options: Vec<(String, String)>, redaction: Redaction) -> Self {
        let opened = AtomicBool::new(self.blueprint.opened.load(Ordering::Relaxed));
        let blueprint = Blueprint { options, redaction, opened, ..self.blueprint.renewed() };
        Pool::new(blueprint, self.size)
    }

    /// How many calls can be in flight.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Makes a call on some instance, once.
    pub(super) fn call(&self, call: Call) -> Result<Answer, Failure> {
        let _seat = self.take_seat();
        let worker = self.lock().rested.pop();
        let worker = match worker {
            Some(worker) => worker,
            None => Worker::start(self.blueprint.clone())?,
        };
        let limits = &self.blueprint.limits;
        let total = limits.call_time(call.bytes());
        let (worker, result) = worker.call(call, limits.idle, total);
        self.lock().rested.extend(worker);
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until fewer calls are in flight than there may be.
    fn take_seat(&self) -> Seat<'_> {
        let full = |state: &mut State| state.busy >= self.size;
        let mut state = self.freed.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        state.busy += 1;
        Seat(self)
    }
}

/// The right to one call in flight.
struct Seat<'a>(&'a Pool);

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.lock().busy -= 1;
        self.0.freed.notify_one();
    }
}

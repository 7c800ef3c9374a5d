//! A clock that goes on while the machine sleeps: a laptop that was shut for a week has not just looked at the store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Seconds that tests have slept.
static SLEPT: AtomicU64 = AtomicU64::new(0);

/// For tests: as if this machine had slept for so long, for everybody in this process.
pub fn sleep(time: Duration) {
    SLEPT.fetch_add(time.as_secs(), Ordering::SeqCst);
}

/// A moment, by the time since the machine was started.
#[derive(Debug, Clone, Copy)]
pub struct Moment(Duration);

impl Moment {
    /// Now.
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0) + SLEPT.load(Ordering::SeqCst);
        Moment(Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0)))
    }

    /// How long ago it was, time asleep included.
    pub fn elapsed(self) -> Duration {
        Moment::now().0.saturating_sub(self.0)
    }
}

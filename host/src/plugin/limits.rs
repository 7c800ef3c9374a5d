//! Every limit that a plugin runs under.

use std::time::Duration;

use super::http::HttpSettings;

/// What a plugin may use, and for how long. The defaults suit real stores; tests lower them, and users change those of
/// [`ADJUSTABLE`](super::ADJUSTABLE).
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Memory of one instance, all of its linear memories together, in bytes. Default: 256 MiB, enough for a 64 MiB
    /// chunk in a language that copies it twice.
    pub memory: usize,
    /// Elements of all tables of one instance. Default: 1,000,000.
    pub table_elements: usize,
    /// Core instances, memories and tables of one component, each. Default: 256 (interpreters come as dozens).
    pub instances: usize,
    /// Handles (files, streams, requests) open at the same time. Default: 4,096.
    pub handles: usize,
    /// What one answer, or one call into the host, may hand over, in bytes. Default: 66 MiB, the largest chunk and
    /// some room.
    pub transfer: usize,
    /// The largest piece of random bytes to be asked for at once. Default: 1 MiB.
    pub random: u64,
    /// The random bytes that one call may ask for altogether. Default: 16 MiB.
    pub random_per_call: u64,
    /// The largest body of an HTTP answer, in bytes. Default: 65 MiB, the largest chunk and what may be wrapped around it.
    pub response: u64,
    /// What is kept of the output of one call, in bytes. Default: 64 KiB.
    pub output: usize,
    /// Processor time of one call, of the guest and of the host on its behalf. Default: 30 s.
    pub cpu: Duration,
    /// How long a call may go on without a byte moved and without a call into the host. Default: 60 s.
    pub idle: Duration,
    /// How long a call may take altogether, besides what `min_rate` allows. Default: 15 min.
    pub call: Duration,
    /// The slowest transfer that is waited for, in bytes per second: a call gets this much more time. Default: 16 KiB/s.
    pub min_rate: u64,
    /// How often a call is made when the instance traps or runs out of time, the first one included. Default: 3.
    pub instance_tries: usize,
    /// How often a call is made when the place is unavailable, the first one included. Default: 100, so that
    /// `retry_total` decides.
    pub unavailable_tries: usize,
    /// The pause before the first repetition; it doubles from one to the next, with jitter. Default: 200 ms.
    pub retry_pause: Duration,
    /// The longest pause, unless the place asks for a longer one. Default: 30 s.
    pub retry_pause_max: Duration,
    /// No repetition is begun after this time. Default: 5 min: a server may be started anew, or a line be gone, while a
    /// backup runs.
    pub retry_total: Duration,
    /// How many chunks one listing may have. Default: 100 million.
    pub listing: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory: 256 << 20,
            table_elements: 1_000_000,
            instances: 256,
            handles: 4096,
            transfer: 66 << 20,
            random: 1 << 20,
            random_per_call: 16 << 20,
            response: 65 << 20,
            output: 64 << 10,
            cpu: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            call: Duration::from_secs(15 * 60),
            min_rate: 16 << 10,
            instance_tries: 3,
            unavailable_tries: 100,
            retry_pause: Duration::from_millis(200),
            retry_pause_max: Duration::from_secs(30),
            retry_total: Duration::from_secs(5 * 60),
            listing: 100_000_000,
        }
    }
}

impl Limits {
    /// The same for the first contact: a wrong name, or a server that is not there at all, is told within seconds.
    pub(super) fn first_contact(&self) -> Limits {
        Limits { unavailable_tries: self.unavailable_tries.min(4), ..*self }
    }

    /// The same where the user makes transfers slow himself: all calls in flight share what he allows.
    pub(super) fn with_bandwidth(&self, http: &HttpSettings, workers: usize) -> Limits {
        let slowest = [http.limit_upload, http.limit_download].into_iter().flatten().min();
        let share = slowest.map(|rate| (rate.get() / 2 / workers.max(1) as u64).max(1));
        Limits { min_rate: share.map_or(self.min_rate, |share| share.min(self.min_rate)), ..*self }
    }

    /// How long a call that moves this many bytes may take altogether.
    pub(super) fn call_time(&self, bytes: u64) -> Duration {
        self.call.saturating_add(Duration::from_secs(bytes / self.min_rate.max(1)))
    }
}

//! Limits of the bandwidth.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// A way that bytes can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    Down,
}

/// The bucket of this process for a direction and a rate: stores that are limited alike share it.
pub(super) fn bucket(direction: Direction, rate: NonZeroU64) -> Arc<Bucket> {
    static BUCKETS: Mutex<Vec<(Direction, Weak<Bucket>)>> = Mutex::new(Vec::new());
    let mut buckets = BUCKETS.lock().unwrap_or_else(PoisonError::into_inner);
    buckets.retain(|(_, bucket)| bucket.strong_count() > 0);
    let mut known = buckets.iter().filter(|(known, _)| *known == direction).filter_map(|(_, bucket)| bucket.upgrade());
    let found = known.find(|bucket| bucket.rate == rate);
    drop(known);
    found.unwrap_or_else(|| {
        let bucket = Arc::new(Bucket::new(rate));
        buckets.push((direction, Arc::downgrade(&bucket)));
        bucket
    })
}

/// How much time's worth of bytes may be taken in advance.
const BURST: Duration = Duration::from_millis(100);

/// Bytes for so many a second: each piece is paid for with the time that it is worth.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: NonZeroU64,
    /// Until when everything that was taken is paid for.
    paid: Mutex<Instant>,
}

impl Bucket {
    /// A bucket for so many bytes a second.
    pub(super) fn new(rate: NonZeroU64) -> Self {
        Bucket { rate, paid: Mutex::new(Instant::now()) }
    }

    /// Takes up to `wanted` bytes, at least one; or says how long to wait before asking again.
    pub(super) fn take(&self, wanted: usize) -> Result<usize, Duration> {
        self.take_at(wanted, Instant::now())
    }

    fn take_at(&self, wanted: usize, now: Instant) -> Result<usize, Duration> {
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let ahead = paid.saturating_duration_since(now);
        if ahead >= BURST {
            // Half of it, so that tiny pieces do not need a timer each.
            return Err(ahead - BURST / 2);
        }
        // A tenth of a second's worth at once, but a packet at least.
        let most = usize::try_from(self.rate.get() / 10).unwrap_or(usize::MAX).max(1500);
        let taken = wanted.clamp(1, most);
        *paid = (*paid).max(now) + self.worth(taken);
        Ok(taken)
    }

    /// Gives back what was not used.
    pub(super) fn put_back(&self, unused: usize) {
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        *paid = paid.checked_sub(self.worth(unused)).unwrap_or(*paid);
    }

    fn worth(&self, bytes: usize) -> Duration {
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.rate.get());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// How many bytes pass in 10 s of a clock that is made up.
    fn passed(rate: u64, wanted: usize) -> u64 {
        let bucket = Bucket::new(NonZeroU64::new(rate).unwrap());
        let start = Instant::now();
        let (mut now, mut passed) = (start, 0);
        while now < start + Duration::from_secs(10) {
            match bucket.take_at(wanted, now) {
                Ok(taken) => passed += taken as u64,
                Err(pause) => now += pause,
            }
        }
        passed
    }

    #[test]
    fn the_rate_holds() {
        for (rate, wanted) in [(1 << 20, 1 << 16), (100_000, 1), (1000, 1 << 20), (50_000_000, 8192)] {
            let (passed, expected) = (passed(rate, wanted), 10 * rate);
            assert!(passed <= expected + rate / 5 + 3000, "{rate} {wanted}: {passed}");
            assert!(passed >= expected - rate / 5, "{rate} {wanted}: {passed}");
        }
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let bucket = Bucket::new(NonZeroU64::new(20_000).unwrap());
        let now = Instant::now();
        assert_eq!(bucket.take_at(2000, now), Ok(2000));
        assert!(bucket.take_at(1000, now).is_err());
        bucket.put_back(1500);
        assert_eq!(bucket.take_at(1000, now), Ok(1000));
    }
}

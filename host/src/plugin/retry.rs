//! Which calls are repeated, how often, and after which pause. Nobody else in the program repeats calls of a store.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};

use super::failure::Failure;
use super::limits::Limits;
use super::waiting;
use crate::store::StoreErrorKind;

/// Makes a call until it works, or is not worth another try.
///
/// Repeated are: `unavailable` and broken streams after a pause that doubles (or the one that the place asks for, where
/// that is longer), and instances that trapped or were stopped, at once, since their successor is a new one. When the
/// user wants to end, nothing is.
pub(super) fn repeat<T>(
    limits: &Limits,
    doing: &str,
    mut call: impl FnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let started = Instant::now();
    let mut pauses = ExponentialBuilder::default()
        .with_min_delay(limits.retry_pause)
        .with_max_delay(limits.retry_pause_max)
        .with_max_times(limits.unavailable_tries.saturating_sub(1))
        .with_jitter()
        .build();
    let mut stopped = 0;
    loop {
        let failure = match call() {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        let pause = match &failure {
            Failure::Answered(error) => match error.kind {
                StoreErrorKind::Unavailable(asked) => pauses.next().map(|pause| pause.max(asked.unwrap_or_default())),
                _ => None,
            },
            Failure::Broken(_) => pauses.next(),
            Failure::Stopped(_) => {
                stopped += 1;
                (stopped < limits.instance_tries).then_some(Duration::ZERO)
            }
            Failure::Wrong(_) => None,
        };
        match pause {
            Some(pause) if started.elapsed() + pause < limits.retry_total => {
                tracing::debug!(target: "obnam::plugin", "repeating to {doing} after {pause:?}: {failure:?}");
                if !waiting::pause(pause, &failure) {
                    return Err(failure);
                }
            }
            _ => return Err(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreError;

    fn limits() -> Limits {
        let short = Duration::from_millis(1);
        Limits { unavailable_tries: 5, retry_pause: short, retry_pause_max: 5 * short, ..Limits::default() }
    }

    /// How often a call that always fails so is made.
    fn tries(failure: &Failure) -> usize {
        let mut count = 0;
        let result: Result<(), _> = repeat(&limits(), "test", || {
            count += 1;
            Err(failure.clone())
        });
        assert!(result.is_err());
        count
    }

    #[test]
    fn only_what_may_pass_is_repeated() {
        let answered = |kind| Failure::Answered(StoreError::new(kind, "no"));
        assert_eq!(tries(&answered(StoreErrorKind::Unavailable(None))), 5);
        assert_eq!(tries(&answered(StoreErrorKind::Unavailable(Some(Duration::from_millis(9))))), 5);
        assert_eq!(tries(&Failure::Broken("stream".into())), 5);
        assert_eq!(tries(&Failure::Stopped("trap".into())), 3);
        assert_eq!(tries(&Failure::Wrong("bytes".into())), 1);
        for kind in [StoreErrorKind::Denied, StoreErrorKind::Quota, StoreErrorKind::NotFound, StoreErrorKind::Other] {
            assert_eq!(tries(&answered(kind)), 1);
        }
        // A place that asks for more time than there is at all is not waited for.
        assert_eq!(tries(&answered(StoreErrorKind::Unavailable(Some(Duration::from_secs(3600))))), 1);
    }

    #[test]
    fn time_ends_repetition() {
        let limits = Limits { retry_total: Duration::ZERO, ..limits() };
        let mut count = 0;
        let result: Result<(), _> = repeat(&limits, "test", || {
            count += 1;
            Err(Failure::Broken("stream".into()))
        });
        assert!(result.is_err());
        assert_eq!(count, 1);
    }

    #[test]
    fn a_store_that_is_away_for_two_minutes_is_waited_for() {
        let limits = Limits::default();
        let pauses = ExponentialBuilder::default()
            .with_min_delay(limits.retry_pause)
            .with_max_delay(limits.retry_pause_max)
            .with_max_times(limits.unavailable_tries - 1)
            .build();
        assert!(pauses.sum::<Duration>() > limits.retry_total);
        assert!(limits.retry_total >= Duration::from_secs(240));
        let first = limits.first_contact();
        assert!(first.retry_pause * 2u32.pow(first.unavailable_tries as u32) < Duration::from_secs(5));
    }
}

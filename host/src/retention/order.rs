//! Whether the times that snapshots claim can be right.
//!
//! A client signs the time of its own backups, so a client in wrong hands can claim any. But its snapshots have numbers, and the store says
//! when it took them: a backup cannot begin before the one with the lower number did, nor after the store had it.

use std::fmt;

use jiff::Timestamp;

/// How far clocks may differ, in seconds.
pub const SLACK_SECONDS: i64 = 60 * 60;

/// When a snapshot claims to have been made, and what is known besides. In the order of sequence numbers.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    /// When the backup began, as its client says.
    pub started: Timestamp,
    /// When the store took the snapshot, where it knows.
    pub stored: Option<Timestamp>,
}

/// Why a time cannot be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// It lies before the time of the client's snapshot before.
    BeforePrevious,
    /// It lies after the moment at which the store took it.
    AfterStored,
    /// It lies in the future.
    InFuture,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Doubt::BeforePrevious => "it claims to be older than the snapshot before it",
            Doubt::AfterStored => "it claims to be younger than the store says",
            Doubt::InFuture => "it claims to be from the future",
        })
    }
}

/// For each snapshot of one client, in the order of sequence numbers, whether its time cannot be right. A time in doubt does not
/// count for those that follow.
pub fn doubts(claims: &[Claim], now: Timestamp) -> Vec<Option<Doubt>> {
    let mut previous: Option<Timestamp> = None;
    let later = |time: Timestamp, than: Timestamp| time.as_second().saturating_sub(than.as_second()) > SLACK_SECONDS;
    let doubt = |claim: &Claim| {
        let doubt = if claim.stored.is_some_and(|stored| later(claim.started, stored)) {
            Some(Doubt::AfterStored)
        } else if later(claim.started, now) {
            Some(Doubt::InFuture)
        } else if previous.is_some_and(|previous| later(previous, claim.started)) {
            Some(Doubt::BeforePrevious)
        } else {
            None
        };
        if doubt.is_none() {
            previous = previous.max(Some(claim.started));
        }
        doubt
    };
    claims.iter().map(doubt).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + hours * 3600).unwrap()
    }

    #[test]
    fn times_between_the_one_before_and_the_store() {
        let claim = |started, stored: Option<i64>| Claim { started: at(started), stored: stored.map(at) };
        let now = at(100);
        let claims = [
            claim(0, Some(0)),
            claim(10, Some(11)),
            // From the past, to stand for an old one.
            claim(2, Some(12)),
            // Far ahead, to be the newest for long.
            claim(90, Some(13)),
            claim(500, None),
            // None of these makes an honest one doubtful.
            claim(14, Some(14)),
            // Clocks may differ by an hour.
            claim(16, Some(15)),
            claim(15, None),
        ];
        let before = Some(Doubt::BeforePrevious);
        let expected = [None, None, before, Some(Doubt::AfterStored), Some(Doubt::InFuture), None, None, None];
        assert_eq!(doubts(&claims, now), expected);
    }
}

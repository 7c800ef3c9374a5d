//! Which part of the chunks a check reads: all, a fixed share, or as much as there is time for.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use super::verified::Verified;
use crate::repository::ChunkName;
use crate::size;

/// A part of all chunks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Part {
    /// All of them.
    All,
    /// Share number `share` (from 1) of `shares` that make up all of them, always the same ones.
    Share {
        /// Which one.
        share: u32,
        /// Of how many.
        shares: u32,
    },
    /// About so many percent of the bytes: those that this machine has not read for the longest time.
    Percent(f64),
    /// About so many bytes, likewise.
    Bytes(u64),
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no part; give a share (2/7), a percentage (5%) or an amount (2G)");
        if let Some((share, shares)) = text.split_once('/') {
            let number = |text: &str| text.trim().parse::<u32>().map_err(|_| wrong());
            let (share, shares) = (number(share)?, number(shares)?);
            return if (1..=shares).contains(&share) { Ok(Part::Share { share, shares }) } else { Err(wrong()) };
        }
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
            return if percent > 0.0 && percent <= 100.0 { Ok(Part::Percent(percent)) } else { Err(wrong()) };
        }
        size::parse(text).ok().filter(|bytes| *bytes > 0).map(Part::Bytes).ok_or_else(wrong)
    }
}

impl Part {
    /// The chunks to read, of those with these sizes, but for those that this machine has verified within `max_age`.
    pub(super) fn choose<'c>(
        self,
        chunks: impl Iterator<Item = (&'c ChunkName, u64)>,
        verified: &Verified,
        max_age: Option<Duration>,
    ) -> Vec<&'c ChunkName> {
        let now = SystemTime::now();
        let is_old = |name: &ChunkName| match (max_age, verified.when(&name.id)) {
            (Some(max_age), Some(when)) => now.duration_since(when).is_ok_and(|age| age > max_age),
            _ => true,
        };
        let all: Vec<(&ChunkName, u64)> = chunks.collect();
        let bytes: u64 = all.iter().map(|(_, size)| size).sum();
        let mut left: Vec<(&ChunkName, u64)> = all.into_iter().filter(|(name, _)| is_old(name)).collect();
        let most = match self {
            Part::All => u64::MAX,
            Part::Share { share, shares } => {
                // Ids are hashes: their first bytes are as good as a number drawn by lot.
                let number = |name: &ChunkName| {
                    let id = name.id.as_bytes();
                    u32::from_le_bytes([id[0], id[1], id[2], id[3]]) % shares
                };
                left.retain(|(name, _)| number(name) == share - 1);
                u64::MAX
            }
            Part::Percent(percent) => (bytes as f64 * percent / 100.0).ceil() as u64,
            Part::Bytes(most) => most,
        };
        if most < u64::MAX {
            left.sort_by_key(|(name, _)| (verified.read_at(&name.id), name.id));
        }
        let mut sum = 0;
        let fits = |(_, size): &(&ChunkName, u64)| {
            let room = sum < most;
            sum += size;
            room
        };
        left.into_iter().take_while(fits).map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::ChunkId;

    fn chunks() -> Vec<(ChunkName, u64)> {
        let name = |n: u32| ChunkName { label: "data".parse().expect("a label"), id: ChunkId::of(&n.to_le_bytes()) };
        (0..100).map(|n| (name(n), 100)).collect()
    }

    fn chosen(part: Part, verified: &Verified, max_age: Option<Duration>) -> Vec<ChunkName> {
        let all = chunks();
        part.choose(all.iter().map(|(name, size)| (name, *size)), verified, max_age).into_iter().cloned().collect()
    }

    #[test]
    fn parts_are_read() {
        assert_eq!("2/7".parse(), Ok(Part::Share { share: 2, shares: 7 }));
        assert_eq!("5%".parse(), Ok(Part::Percent(5.0)));
        assert_eq!("2G".parse(), Ok(Part::Bytes(2 << 30)));
        for text in ["", "0/7", "8/7", "1/0", "/", "0%", "101%", "%", "0", "-1", "x", "1/2/3", "NaN%"] {
            assert!(text.parse::<Part>().is_err(), "{text}");
        }
    }

    #[test]
    fn shares_make_up_all() {
        let none = Verified::default();
        let mut all: Vec<ChunkName> =
            (1..=7).flat_map(|share| chosen(Part::Share { share, shares: 7 }, &none, None)).collect();
        all.sort();
        let mut expected: Vec<_> = chunks().into_iter().map(|(name, _)| name).collect();
        expected.sort();
        assert_eq!(all, expected);
    }

    #[test]
    fn what_was_not_read_for_the_longest_time_comes_first() {
        let mut verified = Verified::default();
        let day = Duration::from_secs(86_400);
        let mut seen = Vec::new();
        for round in 0..10u32 {
            let now = chosen(Part::Percent(10.0), &verified, None);
            assert_eq!(now.len(), 10);
            assert!(now.iter().all(|name| !seen.contains(name)), "round {round}");
            for name in &now {
                verified.note(name.id, SystemTime::now() - day * (10 - round));
            }
            seen.extend(now);
        }
        // One that is bad waits for its turn like the others.
        verified.note_bad(seen[0].id, SystemTime::now());
        assert!(!chosen(Part::Bytes(900), &verified, None).contains(&seen[0]));
        verified.note(seen[0].id, SystemTime::now() - day * 10);
        let again = chosen(Part::Bytes(1000), &verified, None);
        assert_eq!(again.iter().collect::<std::collections::BTreeSet<_>>(), seen[..10].iter().collect());
        assert_eq!(chosen(Part::All, &verified, Some(day * 11 / 2)).len(), 50);
        assert_eq!(chosen(Part::All, &verified, Some(day * 20)).len(), 0);
    }
}

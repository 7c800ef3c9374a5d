//! What a policy would keep after some years of regular backups.

use std::collections::BTreeMap;

use jiff::{Span, Zoned};

use super::{Candidate, Policy, Reason, decide};

/// So often a snapshot is looked at, at most: some seconds.
const MOST: usize = 20_000_000;

/// What is kept in the end, oldest first, with the reasons.
#[derive(Debug, Clone)]
pub struct Calendar {
    /// The time of each snapshot that is kept, and why.
    pub kept: Vec<(Zoned, Vec<Reason>)>,
    /// How many backups were made.
    pub made: usize,
}

impl Calendar {
    /// How many snapshots are left of each month: year, then twelve numbers.
    pub fn months(&self) -> BTreeMap<i16, [usize; 12]> {
        let mut years: BTreeMap<i16, [usize; 12]> = BTreeMap::new();
        for (time, _) in &self.kept {
            let month = usize::try_from(time.month() - 1).unwrap_or(0);
            years.entry(time.year()).or_default()[month] += 1;
        }
        years
    }
}

/// Makes a backup every `interval` from `first` to `last`, and applies the policy after each of them, as it would be in real life.
/// It ends early where the calendar does. None, if that is too much work: so many backups, of which so many are kept.
pub fn simulate(policy: &Policy, first: Zoned, last: &Zoned, interval: Span) -> Option<Calendar> {
    let mut group: Vec<Candidate> = Vec::new();
    let (mut made, mut reasons, mut looks) = (0, Vec::new(), 0);
    let mut next = Some(first);
    while let Some(time) = next.filter(|time| time <= last) {
        next = time.checked_add(interval).ok().filter(|later| *later > time);
        let candidate = Candidate { time, tags: Vec::new(), ids: Vec::new(), partial: false, doubt: None };
        group.push(candidate);
        made += 1;
        looks += group.len();
        if looks > MOST {
            return None;
        }
        reasons = decide(policy, &group);
        let mut stays = reasons.iter().map(|reasons| !reasons.is_empty());
        group.retain(|_| stays.next().unwrap_or(true));
        reasons.retain(|reasons| !reasons.is_empty());
    }
    Some(Calendar { kept: group.into_iter().map(|candidate| candidate.time).zip(reasons).collect(), made })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use jiff::ToSpan;

    use super::*;

    #[test]
    fn ten_years_of_daily_backups() {
        let mut policy = Policy::default();
        for (rule, count) in [("daily", "7"), ("weekly", "4"), ("monthly", "12"), ("yearly", "all")] {
            policy.set(rule, count).unwrap();
        }
        let (first, last) = ("2016-11-21T20:00[UTC]", "2026-11-21T20:00[UTC]");
        let calendar = simulate(&policy, first.parse().unwrap(), &last.parse().unwrap(), 1.day()).unwrap();
        assert_eq!(calendar.made, 3653);
        let months = calendar.months();
        // The first one of all, the last ones of the years before, and of twelve months.
        assert_eq!(months[&2017], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(months[&2025], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(months[&2026][..9], [1; 9]);
        let (newest, reasons) = calendar.kept.last().unwrap();
        assert_eq!(newest.date().to_string(), "2026-11-21");
        assert!(reasons.contains(&Reason::Newest));
        // All of an hourly backup.
        let mut all = Policy::default();
        all.set("within", "20y").unwrap();
        assert!(simulate(&all, first.parse().unwrap(), &last.parse().unwrap(), 1.hour()).is_none());
    }
}

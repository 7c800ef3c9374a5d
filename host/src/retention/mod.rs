//! Which snapshots a policy keeps. Nothing here touches a repository.
//!
//! The snapshots that are weighed against each other form a *group*: those of one client (one signing key), and by
//! default of one machine and the same paths. Within a group their order is that of their sequence numbers. A snapshot
//! whose claimed time cannot be right ([`order`]) is always kept and never stands for another one, so that whoever forges
//! times cannot make a policy drop what is real.

mod calendar;
mod order;
mod period;
mod policy;

pub use calendar::{Calendar, simulate};
pub use order::{Claim, Doubt, SLACK_SECONDS, doubts};
pub use period::Period;
pub use policy::{Age, AgeError, Count, CountError, Policy};

use std::collections::BTreeMap;
use std::fmt;

use jiff::Zoned;

/// What a policy looks at of a snapshot.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// When the backup began, in the time zone whose days and months count.
    pub time: Zoned,
    /// The tags in force.
    pub tags: Vec<String>,
    /// Its ids, in hexadecimal: its own, and those of what was made from it.
    pub ids: Vec<String>,
    /// Whether it is of a backup that did not end. Such a one never stands for another; it is kept until a whole one came after it.
    pub partial: bool,
    /// Why its time cannot be right.
    pub doubt: Option<Doubt>,
}

/// Why a snapshot is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The newest whole one of its group, which no policy forgets.
    Newest,
    /// One of the last N.
    Last,
    /// The last one of its hour, day, ...
    Period(Period),
    /// The oldest one there is, while a count of this period is not used up.
    Oldest(Period),
    /// Not older than an age.
    Within(Option<Period>),
    /// It has a tag that is kept.
    Tag(String),
    /// Its id is kept.
    Id,
    /// Its time cannot be right.
    Doubtful(Doubt),
    /// A partial one that no whole one has followed.
    Unfinished,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Newest => write!(f, "newest"),
            Reason::Last => write!(f, "last"),
            Reason::Period(period) => write!(f, "{period}"),
            Reason::Oldest(period) => write!(f, "oldest, for {period}"),
            Reason::Within(None) => write!(f, "within"),
            Reason::Within(Some(period)) => write!(f, "within {period}"),
            Reason::Tag(tag) => write!(f, "tag {tag}"),
            Reason::Id => write!(f, "id"),
            Reason::Doubtful(doubt) => write!(f, "doubtful: {doubt}"),
            Reason::Unfinished => write!(f, "partial, not finished since"),
        }
    }
}

/// Why each snapshot of a group is kept, in the order of the group, which is oldest first. Those without a reason are to
/// be forgotten.
pub fn decide(policy: &Policy, group: &[Candidate]) -> Vec<Vec<Reason>> {
    let mut reasons: Vec<Vec<Reason>> = group.iter().map(|candidate| own_reasons(policy, candidate)).collect();
    // The newest first: the last one of a day is the one that is kept.
    let counted: Vec<usize> =
        (0..group.len()).rev().filter(|place| !group[*place].partial && group[*place].doubt.is_none()).collect();
    let mut counts = Counts::new(policy, counted.first().map(|place| &group[*place].time));
    for (number, place) in counted.iter().enumerate() {
        let is_oldest = number + 1 == counted.len();
        reasons[*place].extend((number == 0).then_some(Reason::Newest));
        reasons[*place].extend(policy.last.covers(number).then_some(Reason::Last));
        reasons[*place].extend(counts.take(&group[*place].time, is_oldest));
    }
    let whole = counted.first().copied();
    for (place, candidate) in group.iter().enumerate() {
        let unfinished = candidate.partial && whole.is_none_or(|whole| whole < place);
        reasons[place].extend(unfinished.then_some(Reason::Unfinished));
    }
    reasons
}

/// The reasons that have nothing to do with the others of the group.
fn own_reasons(policy: &Policy, candidate: &Candidate) -> Vec<Reason> {
    let mut reasons = Vec::new();
    reasons.extend(candidate.doubt.map(Reason::Doubtful));
    let tag = candidate.tags.iter().find(|tag| policy.tags.contains(tag));
    reasons.extend(tag.cloned().map(Reason::Tag));
    let is_called = |id: &String| !id.is_empty() && candidate.ids.iter().any(|own| own.starts_with(id.as_str()));
    let is_named = policy.ids.iter().any(is_called);
    reasons.extend(is_named.then_some(Reason::Id));
    reasons
}

/// What the periods of a policy have kept so far, going back in time.
struct Counts<'p> {
    policy: &'p Policy,
    /// The last bucket of each period that something was kept of, and how many there were.
    kept: BTreeMap<Period, (String, usize)>,
    within: BTreeMap<Period, String>,
    /// From when on everything is kept, and from when on one of each period.
    edge: Option<Edge>,
    edges: Vec<(Period, Edge)>,
}

/// A time, or from the beginning of the calendar on.
type Edge = Option<Zoned>;

impl<'p> Counts<'p> {
    /// Ages count back from the newest snapshot of the group, not from now: what is not backed up any more does not vanish by
    /// itself.
    fn new(policy: &'p Policy, newest: Option<&Zoned>) -> Self {
        let edge = |age: &Age| newest.map(|newest| age.before(newest));
        let edges = policy.within_periods.iter().filter_map(|(period, age)| Some((*period, edge(age)?)));
        Counts {
            policy,
            kept: BTreeMap::new(),
            within: BTreeMap::new(),
            edge: policy.within.as_ref().and_then(edge),
            edges: edges.collect(),
        }
    }

    /// The reasons to keep the next older snapshot.
    fn take(&mut self, time: &Zoned, is_oldest: bool) -> Vec<Reason> {
        let mut reasons = Vec::new();
        for (period, count) in &self.policy.periods {
            let (last, kept) = self.kept.entry(*period).or_default();
            if !count.covers(*kept) {
                continue;
            }
            let bucket = period.bucket(time);
            if *last != bucket {
                (*last, *kept) = (bucket, *kept + 1);
                reasons.push(Reason::Period(*period));
            } else if is_oldest {
                reasons.push(Reason::Oldest(*period));
            }
        }
        let is_within = |edge: &Edge| edge.as_ref().is_none_or(|edge| time >= edge);
        if self.edge.as_ref().is_some_and(is_within) {
            reasons.push(Reason::Within(None));
        }
        for (period, _) in self.edges.iter().filter(|(_, edge)| is_within(edge)) {
            let bucket = period.bucket(time);
            if self.within.get(period) != Some(&bucket) {
                self.within.insert(*period, bucket);
                reasons.push(Reason::Within(Some(*period)));
            }
        }
        reasons
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use jiff::ToSpan;
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn at(time: Zoned) -> Candidate {
        Candidate { time, tags: vec![], ids: vec!["ab".repeat(32)], partial: false, doubt: None }
    }

    /// One snapshot a day at noon, for so many days up to 2026-11-21.
    fn daily(days: i64) -> Vec<Candidate> {
        let last = date(2026, 11, 21).at(12, 0, 0, 0).in_tz("Europe/Helsinki").unwrap();
        (0..days).rev().map(|day| at(last.checked_sub(day.days()).unwrap())).collect()
    }

    fn policy(rules: &[(&str, &str)]) -> Policy {
        let mut policy = Policy::default();
        for (rule, value) in rules {
            policy.set(rule, value).unwrap();
        }
        policy
    }

    fn kept(policy: &Policy, group: &[Candidate]) -> Vec<String> {
        let reasons = decide(policy, group);
        let kept = group.iter().zip(reasons).filter(|(_, reasons)| !reasons.is_empty());
        kept.map(|(candidate, _)| candidate.time.date().to_string()).collect()
    }

    #[test]
    fn counts_keep_the_last_of_each_period() {
        let year = daily(400);
        assert_eq!(kept(&policy(&[("last", "2")]), &year), ["2026-11-20", "2026-11-21"]);
        assert_eq!(kept(&policy(&[("daily", "3")]), &year), ["2026-11-19", "2026-11-20", "2026-11-21"]);
        // Weeks end on Sunday.
        assert_eq!(kept(&policy(&[("weekly", "3")]), &year), ["2026-11-08", "2026-11-15", "2026-11-21"]);
        assert_eq!(kept(&policy(&[("monthly", "3")]), &year), ["2026-09-30", "2026-10-31", "2026-11-21"]);
        assert_eq!(kept(&policy(&[("quarterly", "3")]), &year), ["2026-06-30", "2026-09-30", "2026-11-21"]);
        // The third year is not there yet, so the oldest one stands for it.
        assert_eq!(kept(&policy(&[("yearly", "3")]), &year), ["2025-10-18", "2025-12-31", "2026-11-21"]);
        assert_eq!(kept(&policy(&[("daily", "all")]), &year).len(), 400);
    }

    #[test]
    fn ages_count_from_the_newest() {
        let year = daily(400);
        assert_eq!(kept(&policy(&[("within", "2d")]), &year).len(), 3);
        assert_eq!(kept(&policy(&[("within-monthly", "1y")]), &year).len(), 13);
        assert_eq!(kept(&policy(&[("within", "1m")]), &year).first().unwrap(), "2026-10-21");
    }

    #[test]
    fn tags_and_ids_are_kept() {
        let mut week = daily(7);
        week[1].tags = vec!["x".into(), "keep".into()];
        week[2].ids.push("00ff".repeat(16));
        let policy = policy(&[("last", "1"), ("tag", "keep"), ("id", "00ff")]);
        assert_eq!(kept(&policy, &week), ["2026-11-16", "2026-11-17", "2026-11-21"]);
    }

    #[test]
    fn the_newest_whole_one_stays_whatever_the_policy_says() {
        let mut week = daily(7);
        assert_eq!(kept(&policy(&[("tag", "keep")]), &week), ["2026-11-21"]);
        week[6].partial = true;
        assert_eq!(kept(&policy(&[("last", "1")]), &week), ["2026-11-20", "2026-11-21"]);
        week[3].partial = true;
        assert_eq!(kept(&policy(&[("last", "1")]), &week), ["2026-11-20", "2026-11-21"]);
    }

    #[test]
    fn doubtful_ones_stay_and_stand_for_none() {
        let mut week = daily(7);
        week[6].doubt = Some(Doubt::AfterStored);
        assert_eq!(kept(&policy(&[("last", "1")]), &week), ["2026-11-20", "2026-11-21"]);
    }

    proptest! {
        /// Whatever was kept is kept again when the policy is applied to what it kept.
        #[test]
        fn applying_a_policy_twice_changes_nothing(
            hours in proptest::collection::vec(1_i64..400, 1..80),
            last in 0_usize..4, daily in 0_usize..5, weekly in 0_usize..5, monthly in 0_usize..5, yearly in 0_usize..3,
        ) {
            let mut time = date(2020, 1, 1).at(0, 0, 0, 0).in_tz("America/New_York").unwrap();
            let mut group = Vec::new();
            for more in hours {
                time = time.checked_add(more.hours()).unwrap();
                group.push(at(time.clone()));
            }
            let counts = [("last", last), ("daily", daily), ("weekly", weekly), ("monthly", monthly), ("yearly", yearly)];
            let counts: Vec<_> = counts.iter().map(|(rule, count)| (*rule, count.to_string())).collect();
            let policy = policy(&counts.iter().map(|(rule, count)| (*rule, count.as_str())).collect::<Vec<_>>());
            let first = kept(&policy, &group);
            let reasons = decide(&policy, &group);
            let left: Vec<_> = group.into_iter().zip(reasons).filter(|(_, reasons)| !reasons.is_empty()).map(|(c, _)| c).collect();
            prop_assert_eq!(kept(&policy, &left), first);
        }
    }
}

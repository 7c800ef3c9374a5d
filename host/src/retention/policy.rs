//! Policies: what `--keep-...` and the profile say.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::{Span, Zoned};
use thiserror::Error;

use super::Period;

/// How many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// So many.
    Some(usize),
    /// All.
    All,
}

impl Default for Count {
    fn default() -> Self {
        Count::Some(0)
    }
}

impl Count {
    /// Whether one more is allowed when there are so many already.
    pub fn covers(self, already: usize) -> bool {
        match self {
            Count::Some(count) => already < count,
            Count::All => true,
        }
    }
}

/// A text that is no count.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a number from 0 to 1000000, nor \"all\"")]
pub struct CountError(String);

impl FromStr for Count {
    type Err = CountError;

    fn from_str(text: &str) -> Result<Self, CountError> {
        if text == "all" {
            return Ok(Count::All);
        }
        let number = text.parse().ok().filter(|number| *number <= 1_000_000);
        number.map(Count::Some).ok_or_else(|| CountError(text.to_owned()))
    }
}

/// A stretch of time in years, months, days and hours, such as `1y6m`, `14d` or `2d12h`.
#[derive(Debug, Clone)]
pub struct Age {
    span: Span,
    text: String,
}

/// A text that is no age.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0:?} is not an age such as 12h, 14d, 2w, 3m or 1y6m: numbers with y (years), m (months), w (weeks), d (days), h (hours), in this order"
)]
pub struct AgeError(String);

impl Age {
    /// The stretch itself.
    pub fn span(&self) -> Span {
        self.span
    }

    /// This long before a time; `None` before the beginning of the calendar.
    pub fn before(&self, time: &Zoned) -> Option<Zoned> {
        time.checked_sub(self.span).ok()
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Age {
    type Err = AgeError;

    fn from_str(text: &str) -> Result<Self, AgeError> {
        let wrong = || AgeError(text.to_owned());
        let mut span = Span::new();
        let mut units = "ymwdh".chars();
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let number: i32 = rest[..end].parse().ok().filter(|number| *number <= 100_000).ok_or_else(wrong)?;
            let unit = rest[end..].chars().next().ok_or_else(wrong)?;
            // Each unit at most once, and the longer ones first.
            units.find(|known| *known == unit).ok_or_else(wrong)?;
            span = match unit {
                'y' => span.try_years(number),
                'm' => span.try_months(number),
                'w' => span.try_weeks(number),
                'd' => span.try_days(number),
                _ => span.try_hours(number),
            }
            .map_err(|_| wrong())?;
            rest = &rest[end + unit.len_utf8()..];
        }
        if span.is_zero() { Err(wrong()) } else { Ok(Age { span, text: text.to_owned() }) }
    }
}

/// Which snapshots are kept. A snapshot is kept if any rule keeps it.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// The last so many.
    pub last: Count,
    /// Of so many hours, days, ... the last one of each.
    pub periods: BTreeMap<Period, Count>,
    /// All that are at most so much older than the newest.
    pub within: Option<Age>,
    /// Of these, the last one of each hour, day, ...
    pub within_periods: BTreeMap<Period, Age>,
    /// Those with one of these tags.
    pub tags: Vec<String>,
    /// Those whose ids begin like this.
    pub ids: Vec<String>,
}

impl Policy {
    /// Whether it has no rule.
    pub fn is_empty(&self) -> bool {
        let none = |count: &Count| *count == Count::default();
        none(&self.last)
            && self.periods.values().all(none)
            && self.within.is_none()
            && self.within_periods.is_empty()
            && self.tags.is_empty()
            && self.ids.is_empty()
    }

    /// Whether its only rules are names of tags.
    pub fn has_only_tags(&self) -> bool {
        !self.tags.is_empty() && Policy { tags: Vec::new(), ..self.clone() }.is_empty()
    }

    /// Adds a rule by its name, that of the option without `keep-`: `last`, `daily`, `within`, `within-daily`, `tag`, ...
    /// An error says what is wrong with the value, or that no rule has this name.
    pub fn set(&mut self, rule: &str, value: &str) -> Result<(), String> {
        let count = || value.parse::<Count>().map_err(|error| error.to_string());
        let age = || value.parse::<Age>().map_err(|error| error.to_string());
        match (rule, rule.strip_prefix("within-").and_then(Period::parse), Period::parse(rule)) {
            ("last", ..) => self.last = count()?,
            ("within", ..) => self.within = Some(age()?),
            ("tag", ..) => self.tags.push(value.to_owned()),
            ("id", ..) if (4..=64).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_hexdigit()) => {
                self.ids.push(value.to_ascii_lowercase());
            }
            ("id", ..) => {
                return Err(format!("{value:?} is not the beginning of an id: at least 4 hexadecimal digits"));
            }
            (_, Some(period), _) => drop(self.within_periods.insert(period, age()?)),
            (_, _, Some(period)) => drop(self.periods.insert(period, count()?)),
            _ => return Err(format!("no rule is called {rule:?}")),
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_ages() {
        assert_eq!("7".parse(), Ok(Count::Some(7)));
        assert_eq!("all".parse(), Ok(Count::All));
        for bad in ["", "-1", "1000001", "x", "7d", " 7"] {
            assert!(bad.parse::<Count>().is_err(), "{bad}");
        }
        let newest: Zoned = "2026-11-21T12:00[UTC]".parse().unwrap();
        for (age, edge) in [
            ("1y6m", "2025-05-21"),
            ("14d", "2026-11-07"),
            ("36h", "2026-11-20"),
            ("1m2d", "2026-10-19"),
            ("2w1d", "2026-11-06"),
        ] {
            assert_eq!(age.parse::<Age>().unwrap().before(&newest).unwrap().date().to_string(), edge, "{age}");
        }
        for bad in ["", "0d", "7", "d", "1d1y", "1d1d", "1d1w", "1.5d", "-1d", "999999999d", "1 d", "1dä"] {
            assert!(bad.parse::<Age>().is_err(), "{bad}");
        }
    }

    #[test]
    fn rules_have_names() {
        let mut policy = Policy::default();
        assert!(policy.is_empty());
        policy.set("last", "0").unwrap();
        assert!(policy.is_empty());
        for (rule, value) in [("daily", "7"), ("within", "1y"), ("within-hourly", "2d"), ("tag", "x"), ("id", "ABCD")] {
            policy.set(rule, value).unwrap();
        }
        assert!(!policy.is_empty());
        assert_eq!(policy.ids, ["abcd"]);
        for (rule, value) in [("daily", "x"), ("within", "x"), ("secondly", "1"), ("id", "abc"), ("within-x", "1d")] {
            assert!(policy.set(rule, value).is_err(), "{rule} {value}");
        }
    }
}

//! The limits that a user can change: their names, how their values are written, and how far each can go.

use std::fmt;
use std::time::Duration;

use super::limits::Limits;
use crate::size;

/// A limit that a user can change.
pub struct Adjustable {
    /// Its name.
    pub name: &'static str,
    unit: Unit,
    least: u64,
    most: u64,
    field: for<'l> fn(&'l mut Limits) -> Field<'l>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// Written as sizes: `256M`.
    Bytes,
    /// A number.
    Count,
    /// In seconds, written with units: `90s`, `15m`.
    Time,
}

enum Field<'l> {
    Size(&'l mut usize),
    Number(&'l mut u64),
    Time(&'l mut Duration),
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const HOUR: u64 = 60 * 60;

/// All of them.
pub const ADJUSTABLE: [Adjustable; 14] = [
    limit("memory", Unit::Bytes, MIB, 4 * GIB, |limits| Field::Size(&mut limits.memory)),
    limit("table-elements", Unit::Count, 1000, 10_000_000, |limits| Field::Size(&mut limits.table_elements)),
    limit("instances", Unit::Count, 1, 10_000, |limits| Field::Size(&mut limits.instances)),
    limit("handles", Unit::Count, 16, 1_000_000, |limits| Field::Size(&mut limits.handles)),
    limit("transfer", Unit::Bytes, MIB, GIB, |limits| Field::Size(&mut limits.transfer)),
    limit("response", Unit::Bytes, MIB, GIB, |limits| Field::Number(&mut limits.response)),
    limit("random", Unit::Bytes, KIB, 64 * MIB, |limits| Field::Number(&mut limits.random)),
    limit("random-per-call", Unit::Bytes, KIB, GIB, |limits| Field::Number(&mut limits.random_per_call)),
    limit("output", Unit::Bytes, 0, 64 * MIB, |limits| Field::Size(&mut limits.output)),
    limit("cpu", Unit::Time, 1, HOUR, |limits| Field::Time(&mut limits.cpu)),
    limit("idle", Unit::Time, 1, HOUR, |limits| Field::Time(&mut limits.idle)),
    limit("call", Unit::Time, 1, 24 * HOUR, |limits| Field::Time(&mut limits.call)),
    limit("min-rate", Unit::Bytes, 1, GIB, |limits| Field::Number(&mut limits.min_rate)),
    limit("listing", Unit::Count, 1000, 1_000_000_000_000, |limits| Field::Number(&mut limits.listing)),
];

const fn limit(
    name: &'static str,
    unit: Unit,
    least: u64,
    most: u64,
    field: for<'l> fn(&'l mut Limits) -> Field<'l>,
) -> Adjustable {
    Adjustable { name, unit, least, most, field }
}

impl Adjustable {
    /// The value that it has without being changed, as it is written.
    pub fn default_value(&self) -> String {
        let value = match (self.field)(&mut Limits::default()) {
            Field::Size(field) => *field as u64,
            Field::Number(field) => *field,
            Field::Time(field) => field.as_secs(),
        };
        self.written(value)
    }

    /// The least and the most that it can be, as they are written.
    pub fn range(&self) -> (String, String) {
        (self.written(self.least), self.written(self.most))
    }

    fn written(&self, value: u64) -> String {
        let (units, step): (&[&str], u64) = match self.unit {
            Unit::Bytes => (&["", "K", "M", "G"], 1024),
            Unit::Count => return value.to_string(),
            Unit::Time => (&["s", "m", "h"], 60),
        };
        let (mut value, mut unit) = (value, 0);
        while unit + 1 < units.len() && value >= step && value.is_multiple_of(step) {
            (value, unit) = (value / step, unit + 1);
        }
        format!("{value}{}", units[unit])
    }

    fn parse(&self, text: &str) -> Result<u64, String> {
        let value = match self.unit {
            Unit::Bytes => size::parse(text)?,
            Unit::Count => text.parse().map_err(|_| format!("{text:?} is no whole number"))?,
            Unit::Time => seconds(text)?,
        };
        let (least, most) = self.range();
        if (self.least..=self.most).contains(&value) {
            Ok(value)
        } else {
            Err(format!("{text} is outside of what is allowed: {least} to {most}"))
        }
    }
}

impl fmt::Debug for Adjustable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A time such as `90s`, `15m` or `1h`, in seconds.
pub fn seconds(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is no time; write whole seconds, minutes or hours: 90s, 15m, 1h");
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[number.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => HOUR,
        _ => return Err(bad()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(bad)
}

impl Limits {
    /// Changes the limit of this name.
    pub fn adjust(&mut self, name: &str, text: &str) -> Result<(), String> {
        let Some(limit) = ADJUSTABLE.iter().find(|limit| limit.name == name) else {
            let known: Vec<&str> = ADJUSTABLE.iter().map(|limit| limit.name).collect();
            return Err(format!("there is no limit {name:?}; there are {}", known.join(", ")));
        };
        let value = limit.parse(text).map_err(|why| format!("the limit {name}: {why}"))?;
        match (limit.field)(self) {
            Field::Size(field) => *field = usize::try_from(value).unwrap_or(usize::MAX),
            Field::Number(field) => *field = value,
            Field::Time(field) => *field = Duration::from_secs(value),
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_takes_its_range_and_nothing_else() {
        for limit in &ADJUSTABLE {
            let (least, most) = limit.range();
            let mut limits = Limits::default();
            for good in [&least, &most, &limit.default_value()] {
                limits.adjust(limit.name, good).unwrap();
            }
            assert_eq!(format!("{limits:?}"), format!("{:?}", Limits::default()), "{limit:?}");
            let unit = if limit.unit == Unit::Time { "s" } else { "" };
            for bad in ["", "-1", "x", "1 x", &format!("{}{unit}", limit.most + 1), "99999999999999999999"] {
                assert!(limits.adjust(limit.name, bad).unwrap_err().contains(limit.name), "{limit:?}: {bad:?}");
            }
            if limit.least > 0 {
                let error = limits.adjust(limit.name, &format!("{}{unit}", limit.least - 1)).unwrap_err();
                assert!(error.contains(&format!("{least} to {most}")), "{error}");
            }
        }
    }

    #[test]
    fn values_arrive() {
        let mut limits = Limits::default();
        for (name, value) in [("memory", "1G"), ("cpu", "2m"), ("handles", "100"), ("min-rate", "1K"), ("output", "0")]
        {
            limits.adjust(name, value).unwrap();
        }
        assert_eq!((limits.memory, limits.cpu.as_secs(), limits.handles), (1 << 30, 120, 100));
        assert_eq!((limits.min_rate, limits.output), (1024, 0));
        assert!(limits.adjust("memroy", "1G").unwrap_err().contains("there are memory, "));
        assert!(limits.adjust("cpu", "30").unwrap_err().contains("90s, 15m, 1h"));
    }
}

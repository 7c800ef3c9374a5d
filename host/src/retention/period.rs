//! Hours, days, weeks, months, quarters and years, by the calendar of a time zone.

use std::fmt;

use jiff::Zoned;

/// A stretch of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Period {
    Hourly,
    Daily,
    /// By ISO 8601: from Monday to Sunday.
    Weekly,
    Monthly,
    Quarterly,
    Yearly,
}

impl Period {
    /// All of them, shortest first.
    pub const ALL: [Period; 6] =
        [Period::Hourly, Period::Daily, Period::Weekly, Period::Monthly, Period::Quarterly, Period::Yearly];

    /// Its name in options and reasons.
    pub fn name(self) -> &'static str {
        match self {
            Period::Hourly => "hourly",
            Period::Daily => "daily",
            Period::Weekly => "weekly",
            Period::Monthly => "monthly",
            Period::Quarterly => "quarterly",
            Period::Yearly => "yearly",
        }
    }

    /// The one with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Period::ALL.into_iter().find(|period| period.name() == name)
    }

    /// A text that is the same for two times just if they lie in the same period.
    pub fn bucket(self, time: &Zoned) -> String {
        match self {
            // An hour that comes twice when clocks are set back is two hours.
            Period::Hourly => format!("{} {} {}", time.date(), time.hour(), time.offset()),
            Period::Daily => time.date().to_string(),
            Period::Weekly => {
                let week = time.date().iso_week_date();
                format!("{} {}", week.year(), week.week())
            }
            Period::Monthly => format!("{} {}", time.year(), time.month()),
            Period::Quarterly => format!("{} {}", time.year(), (time.month() - 1) / 3),
            Period::Yearly => time.year().to_string(),
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn periods_have_edges() {
        let time = |text: &str| text.parse::<Zoned>().unwrap();
        for (period, one, other, same) in [
            (Period::Weekly, "2026-12-31T12:00[UTC]", "2027-01-03T12:00[UTC]", true),
            (Period::Weekly, "2027-01-03T12:00[UTC]", "2027-01-04T12:00[UTC]", false),
            (Period::Quarterly, "2026-03-31T23:59[UTC]", "2026-04-01T00:00[UTC]", false),
            (Period::Quarterly, "2026-04-01T00:00[UTC]", "2026-06-30T00:00[UTC]", true),
            (Period::Monthly, "2025-04-01T00:00[UTC]", "2026-04-01T00:00[UTC]", false),
            (Period::Daily, "2026-11-21T00:00[UTC]", "2026-11-21T23:59[UTC]", true),
            (Period::Hourly, "2026-10-25T03:30+03[Europe/Helsinki]", "2026-10-25T03:30+02[Europe/Helsinki]", false),
            (Period::Yearly, "2026-01-01T00:00[UTC]", "2026-12-31T23:59[UTC]", true),
        ] {
            assert_eq!(period.bucket(&time(one)) == period.bucket(&time(other)), same, "{period}: {one} {other}");
        }
        assert!(Period::ALL.into_iter().all(|period| Period::parse(period.name()) == Some(period)));
    }
}

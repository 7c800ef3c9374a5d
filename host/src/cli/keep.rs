//! The options that say what a policy keeps.

use clap::Args;

use super::Failure;
use crate::retention::Policy;

/// What is kept.
#[derive(Debug, Args)]
#[command(
    next_help_heading = "What is kept (N: a number, or all; AGE: 12h, 14d, 3m, 1y6m, before the newest of the group)"
)]
pub struct Rules {
    /// The last N
    #[arg(long, value_name = "N")]
    keep_last: Option<String>,
    /// The last one of each of N hours with snapshots
    #[arg(long, value_name = "N")]
    keep_hourly: Option<String>,
    /// The last one of each of N days with snapshots
    #[arg(long, value_name = "N")]
    keep_daily: Option<String>,
    /// The last one of each of N weeks (from Monday to Sunday) with snapshots
    #[arg(long, value_name = "N")]
    keep_weekly: Option<String>,
    /// The last one of each of N months with snapshots
    #[arg(long, value_name = "N")]
    keep_monthly: Option<String>,
    /// The last one of each of N quarters with snapshots
    #[arg(long, value_name = "N")]
    keep_quarterly: Option<String>,
    /// The last one of each of N years with snapshots
    #[arg(long, value_name = "N")]
    keep_yearly: Option<String>,
    /// All that are not older than this
    #[arg(long, value_name = "AGE")]
    keep_within: Option<String>,
    /// Of those that are not older than this, the last one of each hour
    #[arg(long, value_name = "AGE")]
    keep_within_hourly: Option<String>,
    /// Of those that are not older than this, the last one of each day
    #[arg(long, value_name = "AGE")]
    keep_within_daily: Option<String>,
    /// Of those that are not older than this, the last one of each week
    #[arg(long, value_name = "AGE")]
    keep_within_weekly: Option<String>,
    /// Of those that are not older than this, the last one of each month
    #[arg(long, value_name = "AGE")]
    keep_within_monthly: Option<String>,
    /// Of those that are not older than this, the last one of each quarter
    #[arg(long, value_name = "AGE")]
    keep_within_quarterly: Option<String>,
    /// Of those that are not older than this, the last one of each year
    #[arg(long, value_name = "AGE")]
    keep_within_yearly: Option<String>,
    /// Those with this tag; may be repeated
    #[arg(long, value_name = "TAG")]
    keep_tag: Vec<String>,
    /// Those whose ids begin like this; may be repeated
    #[arg(long, value_name = "SNAP")]
    keep_id: Vec<String>,
}

impl Rules {
    /// The policy that they make.
    pub fn policy(&self) -> Result<Policy, Failure> {
        let single = [
            ("last", &self.keep_last),
            ("hourly", &self.keep_hourly),
            ("daily", &self.keep_daily),
            ("weekly", &self.keep_weekly),
            ("monthly", &self.keep_monthly),
            ("quarterly", &self.keep_quarterly),
            ("yearly", &self.keep_yearly),
            ("within", &self.keep_within),
            ("within-hourly", &self.keep_within_hourly),
            ("within-daily", &self.keep_within_daily),
            ("within-weekly", &self.keep_within_weekly),
            ("within-monthly", &self.keep_within_monthly),
            ("within-quarterly", &self.keep_within_quarterly),
            ("within-yearly", &self.keep_within_yearly),
        ];
        let single = single.into_iter().filter_map(|(rule, value)| Some((rule, value.as_ref()?)));
        let many = [("tag", &self.keep_tag), ("id", &self.keep_id)];
        let many = many.into_iter().flat_map(|(rule, values)| values.iter().map(move |value| (rule, value)));
        let mut policy = Policy::default();
        for (rule, value) in single.chain(many) {
            policy.set(rule, value).map_err(|why| Failure::Input(format!("--keep-{rule}: {why}")))?;
        }
        Ok(policy)
    }
}

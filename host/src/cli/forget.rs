//! `obnam forget`: removes snapshots, by a policy or by name.

use std::collections::{BTreeMap, HashSet};

use clap::{Args, ValueEnum};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use serde_json::{Value, json};

use super::filter::Filter;
use super::keep::Rules;
use super::output::{Output, count, printable};
use super::{Failure, Global, exit};
use crate::chunk::ChunkId;
use crate::config::profile::Setting;
use crate::format::{Time, WriterTag};
use crate::repository::Repository;
use crate::repository::forgetting::Outcome;
use crate::repository::metadata::SnapshotInfo;
use crate::retention::{Age, Candidate, Claim, Doubt, Policy, Reason, decide, doubts, simulate};

/// How many years a simulation covers.
const SIMULATED_YEARS: i32 = 10;
/// The most backups that a simulation makes.
const MOST_SIMULATED: usize = 100_000;

/// Remove snapshots by a policy, or those that are named.
///
/// A snapshot is kept if any of the rules keeps it. The rules look at each group of snapshots for itself: those of one client, and
/// (unless --group-by says it otherwise) of one machine and the same paths. Always kept are the newest whole snapshot of a group and
/// the newest one of a client, and snapshots whose time cannot be right; to remove one of the latter, name it.
///
/// Without any rule those of the profile count (key `keep`).
///
/// What only the forgotten snapshots needed stays stored until obnam prune removes it. This needs a client with the role maintainer.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  obnam forget --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --keep-yearly all --dry-run
  obnam forget --keep-within 1m --keep-within-monthly 2y --keep-tag keep
  obnam forget 3f2a9c
  obnam forget --simulate --keep-daily 7 --keep-monthly 12")]
pub struct Arguments {
    /// Snapshots to forget, whatever their age: ids or beginnings of ids
    #[arg(value_name = "SNAP", conflicts_with = "simulate")]
    snapshots: Vec<String>,
    #[command(flatten)]
    rules: Rules,
    #[command(flatten)]
    filter: Filter,
    /// What snapshots of one group have in common, besides their client
    #[arg(long, value_name = "WHAT,...", value_delimiter = ',', default_value = "host,paths")]
    group_by: Vec<GroupBy>,
    /// Show what would be done, and do nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Show what the policy keeps of ten years of backups, one every INTERVAL (6h, 1d, ...); needs no repository
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, default_missing_value = "1d", require_equals = true)]
    simulate: Option<String>,
}

/// What makes a group, besides the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum GroupBy {
    /// Nothing more
    Client,
    /// The name of the machine
    Host,
    /// The paths that were backed up
    Paths,
    /// The tags
    Tags,
}

/// The policy of the command line; if that says nothing, of the profile.
fn policy(global: &Global, arguments: &Arguments) -> Result<Policy, Failure> {
    let mut policy = arguments.rules.policy()?;
    if policy.is_empty() && arguments.snapshots.is_empty() {
        for Setting { value: (rule, value), .. } in global.profile_keep() {
            policy.set(rule, value).map_err(|why| Failure::Input(format!("keep.{rule} in the profile: {why}")))?;
        }
    }
    Ok(policy)
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let policy = policy(global, arguments)?;
    if policy.is_empty() && arguments.snapshots.is_empty() {
        let message = "say what is to be kept (--keep-daily 7, --keep-within 1y, ..., or the key keep of a profile; see: obnam forget --help), or name the \
                       snapshots to forget";
        return Err(Failure::Input(message.into()));
    }
    if !arguments.snapshots.is_empty() && (!policy.is_empty() || !arguments.filter.is_empty()) {
        let message =
            "snapshots are named, so no rule or filter can say which ones are meant; leave out one of the two";
        return Err(Failure::Input(message.into()));
    }
    if let Some(interval) = &arguments.simulate {
        return show_simulation(&policy, interval, output);
    }
    let repository = global.repository()?;
    let listing = repository.listing()?;
    let snapshots = repository.snapshots(&listing)?;
    let groups = match arguments.snapshots.as_slice() {
        [] => by_policy(&repository, arguments, &policy, &snapshots),
        names => vec![by_name(&repository, names, &snapshots)?],
    };
    refuse_misnamed(&policy, &snapshots, &groups)?;
    refuse_lost_tags(&repository, &policy)?;
    let doomed: HashSet<ChunkId> = groups.iter().flat_map(Group::doomed).collect();
    let outcome = match arguments.dry_run {
        true => Outcome::default(),
        false => repository.forget(&listing, &snapshots, &doomed)?,
    };
    let warnings = repository.warnings.all();
    output.warnings(&warnings);
    if output.json {
        let result = in_json(&repository, arguments, &groups, &outcome);
        output.document("ok", &warnings, result)?;
        return Ok(exit::OK);
    }
    for group in &groups {
        group.show(&repository, output)?;
    }
    summary(arguments, &groups, &outcome, output)?;
    output.flush()?;
    Ok(exit::OK)
}

/// Refuses to go by tags where some may be lost: what they were to keep would go.
fn refuse_lost_tags(repository: &Repository, policy: &Policy) -> Result<(), Failure> {
    let lost = repository.warnings.all().into_iter().find(|warning| warning.code == "note-damaged");
    match lost.filter(|_| !policy.tags.is_empty()) {
        None => Ok(()),
        Some(note) => Err(Failure::Input(format!(
            "{}. It may give a snapshot a tag that is to be kept, so nothing was forgotten; obnam repair index stores it again where this \
             machine has a copy of it, or else removes it",
            note.message
        ))),
    }
}

/// Refuses names that nothing has: what they were to keep would go.
fn refuse_misnamed(policy: &Policy, snapshots: &[SnapshotInfo], groups: &[Group<'_>]) -> Result<(), Failure> {
    let is_id = |id: &&String| !snapshots.iter().any(|info| info.id.to_string().starts_with(id.as_str()));
    if let Some(id) = policy.ids.iter().find(is_id) {
        return Err(Failure::Input(format!("--keep-id {id}: there is no such snapshot; see: obnam snapshots")));
    }
    let has_tag = |(info, _): &(&SnapshotInfo, Vec<String>)| policy.tags.iter().any(|tag| info.tags.contains(tag));
    let mut all = groups.iter().flat_map(|group| &group.snapshots);
    if policy.has_only_tags() && !all.any(has_tag) {
        let tags = policy.tags.join(", ");
        return Err(Failure::Input(format!(
            "no snapshot has the tag {tags}, and no other rule would keep any; see: obnam snapshots"
        )));
    }
    Ok(())
}

/// Snapshots that were weighed against each other, oldest first, with the reasons to keep them.
struct Group<'s> {
    snapshots: Vec<(&'s SnapshotInfo, Vec<String>)>,
}

impl Group<'_> {
    fn doomed(&self) -> impl Iterator<Item = ChunkId> {
        self.snapshots.iter().filter(|(_, reasons)| reasons.is_empty()).map(|(info, _)| info.id)
    }

    fn show(&self, repository: &Repository, output: &mut Output) -> Result<(), Failure> {
        let Some((first, _)) = self.snapshots.first() else { return Ok(()) };
        let of = repository.place(first).client;
        let own = || repository.roster.member(&of).map_or_else(|| of.to_string(), |member| member.name.clone());
        let client = first.snapshot.origin.as_ref().map_or_else(own, |origin| format!("{} (copied)", origin.client));
        let paths: Vec<_> = first.snapshot.paths.iter().map(|path| printable(&path.0)).collect();
        let text = |text: &str| printable(text.as_bytes());
        output.summary(format!(
            "client {}, host {}: {}",
            text(&client),
            text(&first.snapshot.host),
            paths.join(" ")
        ))?;
        for (info, reasons) in &self.snapshots {
            let what = if reasons.is_empty() { "forget" } else { "keep" };
            let tags: Vec<_> = info.tags.iter().map(|tag| text(tag)).collect();
            let because = if reasons.is_empty() { String::new() } else { reasons.join(", ") };
            let line = format!(
                "  {what:<6}  {:<10}  {:<19}  {:<12}  {because}",
                info.id.short(),
                info.snapshot.started.to_local(),
                tags.join(",")
            );
            output.line(line.trim_end())?;
        }
        Ok(())
    }
}

/// All groups of the snapshots that pass the filter, decided by the policy.
fn by_policy<'s>(
    repository: &Repository,
    arguments: &Arguments,
    policy: &Policy,
    snapshots: &'s [SnapshotInfo],
) -> Vec<Group<'s>> {
    let newest = repository.newest_of_clients(snapshots);
    let doubtful = doubtful(repository, snapshots);
    let mut groups: BTreeMap<Key, Vec<&SnapshotInfo>> = BTreeMap::new();
    for info in snapshots.iter().filter(|info| !info.forgotten && arguments.filter.passes(repository, info)) {
        groups.entry(key_of(repository, info, &arguments.group_by)).or_default().push(info);
    }
    let decided = groups.into_values().map(|mut group| {
        group.sort_by_key(|info| repository.place(info));
        // What was made from a snapshot is kept as long as that one, and the other way round.
        let lines: Vec<&[&SnapshotInfo]> =
            group.chunk_by(|one, other| repository.place(one).first == repository.place(other).first).collect();
        let candidates: Vec<Candidate> = lines.iter().map(|line| candidate(line, &doubtful)).collect();
        let reasons = decide(policy, &candidates);
        let snapshots = lines.iter().zip(reasons).flat_map(|(line, reasons)| {
            let reasons: Vec<String> = reasons.iter().map(Reason::to_string).collect();
            line.iter().map(move |info| (*info, reasons.clone()))
        });
        let snapshots = snapshots.map(|(info, mut reasons)| {
            if reasons.is_empty() && newest.contains(&info.id) {
                reasons.push("newest of its client".into());
            }
            (info, reasons)
        });
        Group { snapshots: snapshots.collect() }
    });
    decided.collect()
}

/// What the snapshots of one group have in common: client (and of copies, where they come from), machine, paths, tags.
type Key = (Author, Option<String>, Option<Vec<Vec<u8>>>, Option<Vec<String>>);

/// Whose history a snapshot belongs to: a client's, or what a client copies of one client of another repository.
type Author = (WriterTag, Option<(ChunkId, String)>);

fn author(repository: &Repository, info: &SnapshotInfo) -> Author {
    let origin = info.snapshot.origin.as_ref();
    (repository.place(info).client, origin.map(|origin| (origin.repository, origin.client.clone())))
}

fn key_of(repository: &Repository, info: &SnapshotInfo, what: &[GroupBy]) -> Key {
    let snapshot = &info.snapshot;
    let sorted = || {
        let mut tags = info.tags.clone();
        tags.sort();
        tags
    };
    (
        author(repository, info),
        what.contains(&GroupBy::Host).then(|| snapshot.host.clone()),
        what.contains(&GroupBy::Paths).then(|| snapshot.paths.iter().map(|path| path.0.to_vec()).collect()),
        what.contains(&GroupBy::Tags).then(sorted),
    )
}

fn timestamp(time: Time) -> Timestamp {
    Timestamp::new(time.seconds, 0).unwrap_or(if time.seconds < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// The snapshots whose times cannot be right, among all of their clients.
pub(super) fn doubtful(repository: &Repository, snapshots: &[SnapshotInfo]) -> BTreeMap<ChunkId, Doubt> {
    let mut clients: BTreeMap<Author, Vec<&SnapshotInfo>> = BTreeMap::new();
    for info in snapshots {
        clients.entry(author(repository, info)).or_default().push(info);
    }
    let mut doubtful = BTreeMap::new();
    for mut chain in clients.into_values() {
        chain.sort_by_key(|info| repository.place(info));
        let claim = |info: &&SnapshotInfo| Claim {
            started: timestamp(info.snapshot.started),
            stored: info.stored.and_then(|time| Timestamp::try_from(time).ok()),
        };
        let claims: Vec<Claim> = chain.iter().map(claim).collect();
        let found = chain.iter().zip(doubts(&claims, Timestamp::now()));
        doubtful.extend(found.filter_map(|(info, doubt)| Some((info.id, doubt?))));
    }
    doubtful
}

/// A snapshot, and what was made from it.
fn candidate(line: &[&SnapshotInfo], doubtful: &BTreeMap<ChunkId, Doubt>) -> Candidate {
    Candidate {
        time: timestamp(line[0].snapshot.started).to_zoned(TimeZone::system()),
        tags: line.iter().flat_map(|info| info.tags.clone()).collect(),
        ids: line.iter().map(|info| info.id.to_string()).collect(),
        partial: line[0].is_partial(),
        doubt: line.iter().find_map(|info| doubtful.get(&info.id).copied()),
    }
}

/// The snapshots that the user names.
fn by_name<'s>(repository: &Repository, names: &[String], snapshots: &'s [SnapshotInfo]) -> Result<Group<'s>, Failure> {
    let newest = repository.newest_of_clients(snapshots);
    let mut chosen: Vec<(&SnapshotInfo, Vec<String>)> = Vec::new();
    for name in names {
        let info = repository.resolve(snapshots, name)?;
        if newest.contains(&info.id) {
            return Err(Failure::Input(format!(
                "snapshot {} is the newest one of its client and cannot be forgotten: its number tells other machines that \
                 nothing is missing behind it; nothing was forgotten. Make another backup first",
                info.id.short()
            )));
        }
        if chosen.iter().all(|(other, _)| other.id != info.id) {
            chosen.push((info, Vec::new()));
        }
    }
    Ok(Group { snapshots: chosen })
}

fn in_json(repository: &Repository, arguments: &Arguments, groups: &[Group<'_>], outcome: &Outcome) -> Value {
    let snapshot = |(info, reasons): &(&SnapshotInfo, Vec<String>)| {
        json!({
            "id": info.id.to_string(),
            "started": info.snapshot.started.to_rfc3339(),
            "host": info.snapshot.host,
            "paths": info.snapshot.paths.iter().map(|path| String::from_utf8_lossy(&path.0)).collect::<Vec<_>>(),
            "tags": info.tags,
            "keep": !reasons.is_empty(),
            "reasons": reasons,
        })
    };
    let group = |group: &Group<'_>| {
        let first = group.snapshots.first().map(|(info, _)| *info);
        json!({
            "client": first.map(|info| json!({
                "tag": repository.place(info).client.to_string(),
                "name": repository.roster.member(&repository.place(info).client).map(|member| &member.name),
            })),
            "snapshots": group.snapshots.iter().map(snapshot).collect::<Vec<_>>(),
        })
    };
    let pending = |(id, until): &(ChunkId, u64)| {
        let until = i64::try_from(*until).unwrap_or(i64::MAX);
        json!({ "id": id.to_string(), "until": Time { seconds: until, nanoseconds: 0 }.to_rfc3339() })
    };
    json!({
        "dry_run": arguments.dry_run,
        "groups": groups.iter().map(group).collect::<Vec<_>>(),
        "removed": outcome.removed.iter().map(ChunkId::to_string).collect::<Vec<_>>(),
        "pending": outcome.pending.iter().map(pending).collect::<Vec<_>>(),
    })
}

fn summary(arguments: &Arguments, groups: &[Group<'_>], outcome: &Outcome, output: &mut Output) -> Result<(), Failure> {
    let all: usize = groups.iter().map(|group| group.snapshots.len()).sum();
    let doomed: usize = groups.iter().map(|group| group.doomed().count()).sum();
    let snapshots = |number: usize| count(number as u64, "snapshot", "snapshots");
    let kept =
        if arguments.snapshots.is_empty() { format!(", {} kept", snapshots(all - doomed)) } else { String::new() };
    if arguments.dry_run {
        return output.summary(format!("{} would be forgotten{kept}; nothing was done", snapshots(doomed)));
    }
    output.summary(format!("{} forgotten{kept}", snapshots(doomed)))?;
    if doomed > 0 {
        output.summary("their space is free after: obnam prune")?;
    }
    if let Some(until) = outcome.pending.iter().map(|(_, until)| *until).max() {
        let until = Time { seconds: i64::try_from(until).unwrap_or(i64::MAX), nanoseconds: 0 };
        output.summary(format!("the server removes {} by {}", snapshots(outcome.pending.len()), until.to_local()))?;
    }
    Ok(())
}

fn show_simulation(policy: &Policy, interval: &str, output: &mut Output) -> Result<u8, Failure> {
    let wrong = |why: String| Failure::Input(format!("--simulate: {why}"));
    let interval = interval.parse::<Age>().map_err(|error| wrong(error.to_string()))?.span();
    let last = Zoned::now();
    let first = last.checked_sub(SIMULATED_YEARS.years()).map_err(|error| wrong(error.to_string()))?;
    let fewest = last.checked_sub(interval).is_ok_and(|before| {
        let (step, all) = (&last - &before, &last - &first);
        let hours = |span: jiff::Span| span.total((jiff::Unit::Hour, &last)).unwrap_or(f64::MAX);
        hours(all) / hours(step) > MOST_SIMULATED as f64
    });
    if fewest {
        return Err(wrong("that makes too many backups; take a longer interval".into()));
    }
    let calendar = simulate(policy, first, &last, interval)
        .ok_or_else(|| wrong("so many snapshots are kept that it would take minutes; take a longer interval".into()))?;
    if output.json {
        let kept = calendar.kept.iter().map(|(time, reasons)| {
            json!({
                "time": time.timestamp().to_string(),
                "reasons": reasons.iter().map(Reason::to_string).collect::<Vec<_>>(),
            })
        });
        let result = json!({ "made": calendar.made, "kept": kept.collect::<Vec<_>>() });
        output.document("ok", &[], result)?;
        return Ok(exit::OK);
    }
    output.line("       Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec")?;
    for (year, months) in calendar.months() {
        let cells = months.map(|number| if number == 0 { "  .".into() } else { format!("{number:>3}") });
        output.line(format!("{year}   {}", cells.join(" ")))?;
    }
    let newest = calendar.kept.iter().rev().take(31).map(|(time, reasons)| (time, reasons));
    output.line("")?;
    for (time, reasons) in newest {
        let reasons: Vec<_> = reasons.iter().map(Reason::to_string).collect();
        output.line(format!("{}  {}", time.strftime("%a %Y-%m-%d %H:%M"), reasons.join(", ")))?;
    }
    let kept = count(calendar.kept.len() as u64, "snapshot", "snapshots");
    output.summary(format!("{kept} of {} kept after {SIMULATED_YEARS} years", calendar.made))?;
    output.flush()?;
    Ok(exit::OK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retention::Period;

    #[test]
    fn every_period_has_its_options() {
        let command = Arguments::augment_args(clap::Command::new("forget"));
        let has = |name: String| command.get_arguments().any(|argument| argument.get_long() == Some(&name));
        for period in Period::ALL {
            assert!(has(format!("keep-{period}")) && has(format!("keep-within-{period}")), "{period}");
        }
    }
}

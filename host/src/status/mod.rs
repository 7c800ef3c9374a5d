//! Status: when each source was last backed up, from snapshots alone. [`metrics`] writes the same for Prometheus.
//!
//! A source is what a client backs up of a machine: the same paths. Copies count for the client that made their origin, and what a
//! maintainer has made from a snapshot counts as that one.

pub mod metrics;

use std::collections::BTreeMap;

use crate::chunk::ChunkId;
use crate::format::Time;
use crate::format::snapshot::{Origin, RawPath};
use crate::repository::Repository;
use crate::repository::metadata::SnapshotInfo;

/// How far clocks may differ, in seconds.
const SLACK: i64 = crate::retention::SLACK_SECONDS;

/// What a client backs up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The client's name; of one that the roster does not know, its tag.
    pub client: String,
    /// For copies, the repository that they come from.
    pub origin: Option<ChunkId>,
    /// The machine.
    pub host: String,
    /// The paths.
    pub paths: Vec<RawPath>,
    /// Its last good backup.
    pub last: Option<Good>,
}

/// A backup that is complete and not forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Good {
    /// The snapshot.
    pub id: ChunkId,
    /// When it began, as far as that can be believed: not after the store took it.
    pub time: Time,
    /// Files in it.
    pub files: u64,
    /// Bytes of their contents.
    pub bytes: u64,
    /// Files that could not be read.
    pub problems: u64,
}

impl Good {
    /// How old it is, in seconds.
    pub fn age(&self, now: Time) -> u64 {
        u64::try_from(now.seconds.saturating_sub(self.time.seconds)).unwrap_or(0)
    }
}

/// A client that was given new keys keeps its name, and is the same one here.
type Key = (String, Option<ChunkId>, String, Vec<Vec<u8>>);

fn key(client: &str, info: &SnapshotInfo) -> Key {
    let snapshot = &info.snapshot;
    let paths = snapshot.paths.iter().map(|path| path.0.clone()).collect();
    let (client, origin) = match &snapshot.origin {
        Some(Origin { repository, client, .. }) => (client.clone(), Some(*repository)),
        None => (client.to_owned(), None),
    };
    (client, origin, snapshot.host.clone(), paths)
}

/// When a backup began, as far as that can be believed; none if that is in the future.
fn believed(info: &SnapshotInfo, now: Time) -> Option<Time> {
    let stored = info.stored.and_then(|stored| stored.duration_since(std::time::UNIX_EPOCH).ok());
    let stored = stored.and_then(|stored| i64::try_from(stored.as_secs()).ok());
    let started = info.snapshot.started;
    let time = match stored {
        Some(stored) if started.seconds > stored => Time { seconds: stored, nanoseconds: 0 },
        _ => started,
    };
    (time.seconds <= now.seconds.saturating_add(SLACK)).then_some(time)
}

/// The sources of these snapshots, by client, machine and paths.
pub fn sources<'s>(
    repository: &Repository,
    snapshots: impl IntoIterator<Item = &'s SnapshotInfo>,
    now: Time,
) -> Vec<Source> {
    let client = |info: &SnapshotInfo| {
        let tag = repository.place(info).client;
        repository.roster.member(&tag).map_or_else(|| tag.to_string(), |member| member.name.clone())
    };
    group(snapshots.into_iter().map(|info| (client(info), info)), now)
}

fn group<'s>(snapshots: impl Iterator<Item = (String, &'s SnapshotInfo)>, now: Time) -> Vec<Source> {
    let mut sources: BTreeMap<Key, Option<Good>> = BTreeMap::new();
    for (client, info) in snapshots {
        let last = sources.entry(key(&client, info)).or_default();
        let Some(time) = believed(info, now).filter(|_| !info.is_partial() && !info.forgotten) else { continue };
        if last.as_ref().is_none_or(|last| last.time <= time) {
            let numbers = &info.snapshot.statistics;
            let (files, bytes, problems) = (numbers.files, numbers.bytes, numbers.errors);
            *last = Some(Good { id: info.id, time, files, bytes, problems });
        }
    }
    let source = |((client, origin, host, paths), last): (Key, Option<Good>)| Source {
        client,
        origin,
        host,
        paths: paths.into_iter().map(RawPath).collect(),
        last,
    };
    sources.into_iter().map(source).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::format::WriterTag;
    use crate::format::content::Content;
    use crate::format::references::References;
    use crate::format::snapshot::{Snapshot, Statistics};

    const NOW: Time = Time { seconds: 1_000_000, nanoseconds: 0 };

    /// A snapshot that claims to have begun then, and was stored at the other time.
    fn snapshot(number: u8, host: &str, started: i64, stored: u64) -> SnapshotInfo {
        let time = Time { seconds: started, nanoseconds: 0 };
        let snapshot = Snapshot {
            client: WriterTag([1; 8]),
            sequence: number.into(),
            previous: None,
            roster_epoch: 1,
            started: time,
            finished: time,
            host: host.into(),
            paths: vec![RawPath(b"/home".to_vec())],
            tags: vec![],
            root: Content::default(),
            group: [0; 16],
            statistics: Statistics { files: number.into(), ..Statistics::default() },
            references: References::default(),
            index: None,
            partial: None,
            replaces: None,
            program: "test".into(),
            origin: None,
            rewritten: None,
        };
        SnapshotInfo {
            id: ChunkId::from_bytes([number; 32]),
            stored: Some(UNIX_EPOCH + Duration::from_secs(stored)),
            snapshot: snapshot.into(),
            replaced: false,
            tags: vec![],
            noted: None,
            forgotten: false,
        }
    }

    fn last(snapshots: &[SnapshotInfo]) -> Vec<(String, Option<(u64, i64)>)> {
        let sources = group(snapshots.iter().map(|info| ("me".to_owned(), info)), NOW);
        let shown = |source: Source| (source.host, source.last.map(|last| (last.files, last.time.seconds)));
        sources.into_iter().map(shown).collect()
    }

    #[test]
    fn the_newest_good_one_of_each_source_counts() {
        let mut partial = snapshot(4, "a", 900_000, 900_001);
        std::sync::Arc::get_mut(&mut partial.snapshot).expect("nobody else has it").partial = Some(true);
        let mut forgotten = snapshot(5, "a", 910_000, 910_001);
        forgotten.forgotten = true;
        let mut only_partial = snapshot(6, "c", 900_000, 900_001);
        std::sync::Arc::get_mut(&mut only_partial.snapshot).expect("nobody else has it").partial = Some(true);
        let all = [
            snapshot(1, "a", 100, 101),
            snapshot(2, "a", 300, 301),
            snapshot(3, "b", 200, 201),
            partial,
            forgotten,
            only_partial,
        ];
        let expected = [("a", Some((2, 300))), ("b", Some((3, 200))), ("c", None)];
        assert_eq!(last(&all), expected.map(|(host, last)| (host.to_owned(), last)));
    }

    #[test]
    fn a_clock_that_is_ahead_hides_nothing() {
        // What claims to be from the future was stored long ago.
        assert_eq!(last(&[snapshot(1, "a", 2_000_000, 500)]), [("a".to_owned(), Some((1, 500)))]);
        // Where the store does not know, it does not count.
        let unknown = SnapshotInfo { stored: None, ..snapshot(2, "a", 2_000_000, 0) };
        assert_eq!(last(&[snapshot(1, "a", 400, 400), unknown]), [("a".to_owned(), Some((1, 400)))]);
        let good = Good { id: ChunkId::from_bytes([0; 32]), time: NOW, files: 0, bytes: 0, problems: 0 };
        assert_eq!(good.age(NOW), 0);
        assert_eq!(good.age(Time { seconds: NOW.seconds - 5, nanoseconds: 0 }), 0);
        assert_eq!(good.age(Time { seconds: NOW.seconds + 5, nanoseconds: 0 }), 5);
    }
}

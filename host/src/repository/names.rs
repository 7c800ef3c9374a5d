//! Which snapshot a user names.

use std::collections::BTreeMap;

use super::metadata::SnapshotInfo;
use super::{Repository, RepositoryError};
use crate::format::{Time, WriterTag};

impl Repository {
    /// Whose latest snapshot is meant: this client's; if it has none, that of the client whose place it took, which has the same name; or else
    /// of the only one that has any. Where that leaves a choice, somebody else's files must not come for one's own.
    fn author_of_latest<'a>(
        &self,
        whole: impl Iterator<Item = &'a SnapshotInfo>,
    ) -> Result<WriterTag, RepositoryError> {
        let mut newest: BTreeMap<String, (Time, WriterTag)> = BTreeMap::new();
        for info in whole {
            let tag = info.snapshot.client;
            let (time, _) = newest.entry(tag.to_string()).or_insert((info.snapshot.started, tag));
            *time = info.snapshot.started.max(*time);
        }
        let name_of = |tag: &WriterTag| self.roster.member(tag).map(|member| member.name.as_str());
        let me = self.client.tag;
        let before = newest.values().filter(|(_, tag)| name_of(tag) == Some(self.member().name.as_str()));
        match (newest.contains_key(&me.to_string()), before.max_by_key(|(time, _)| *time), newest.len()) {
            (true, ..) | (_, None, 0) => Ok(me),
            (_, Some((_, tag)), _) => Ok(*tag),
            (_, None, 1) => Ok(newest.values().next().map_or(me, |(_, tag)| *tag)),
            (_, None, _) => {
                let mut names: Vec<&str> = newest.values().filter_map(|(_, tag)| name_of(tag)).collect();
                names.sort_unstable();
                names.dedup();
                Err(RepositoryError::NoSnapshot(format!(
                    "this client has made no snapshot yet, and several others have ({}): name the one that is meant by its id; see: obnam snapshots",
                    names.join(", ")
                )))
            }
        }
    }

    /// The whole snapshot that was made so many before the latest: of this client, if it has made any.
    fn before_latest<'a>(
        &self,
        snapshots: &'a [SnapshotInfo],
        back: &str,
    ) -> Result<&'a SnapshotInfo, RepositoryError> {
        let wrong =
            || RepositoryError::NoSnapshot(format!("\"latest~{back}\" names no snapshot: after ~ comes a number"));
        let back: usize = back.parse().map_err(|_| wrong())?;
        let latest = self.resolve(snapshots, "latest")?;
        let mut all: Vec<&SnapshotInfo> = snapshots
            .iter()
            .filter(|info| !info.is_partial() && !info.forgotten && info.id != latest.id)
            .filter(|info| info.snapshot.client == latest.snapshot.client)
            .collect();
        all.sort_by_key(|info| std::cmp::Reverse((info.snapshot.started, info.snapshot.sequence)));
        let found = if back == 0 { Some(latest) } else { all.get(back - 1).copied() };
        found.ok_or_else(|| {
            let there = all.len() + 1;
            RepositoryError::NoSnapshot(format!(
                "there are not so many snapshots: latest~{} is the oldest one",
                there - 1
            ))
        })
    }

    /// Finds the snapshot that a user names: `latest`, `latest~2` (two before it), an id, or the beginning of one (at least 4 digits).
    pub fn resolve<'a>(&self, snapshots: &'a [SnapshotInfo], name: &str) -> Result<&'a SnapshotInfo, RepositoryError> {
        if let Some(back) = name.strip_prefix("latest~") {
            return self.before_latest(snapshots, back);
        }
        if name == "latest" {
            let whole = || snapshots.iter().filter(|info| !info.is_partial() && !info.forgotten);
            let author = self.author_of_latest(whole())?;
            let own = || whole().filter(|info| info.snapshot.client == author);
            let backup = own().filter(|info| info.snapshot.is_backup()).max_by_key(|info| info.snapshot.sequence);
            // The numbers of the others say when they were copied, or made from something older.
            let others = own().filter(|info| !info.snapshot.is_backup());
            return others.chain(backup).max_by_key(|info| info.snapshot.started).ok_or_else(|| {
                RepositoryError::NoSnapshot("there is no snapshot yet; make one with: obnam backup PATH".into())
            });
        }
        let found: Vec<_> = snapshots.iter().filter(|info| info.id.to_string().starts_with(name)).collect();
        match found.as_slice() {
            [one] if name.len() >= 4 => Ok(one),
            [] => Err(RepositoryError::NoSnapshot(format!("no snapshot is called {name:?}; see: obnam snapshots"))),
            _ => Err(RepositoryError::NoSnapshot(format!(
                "{name:?} is not enough of a name ({} of them begin with it, and it takes 4 at least); give more digits",
                found.len()
            ))),
        }
    }
}

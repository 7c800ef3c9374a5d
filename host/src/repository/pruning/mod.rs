//! Pruning: packs that no snapshot needs are marked, and removed when their time of grace is over (format section 11).
//!
//! Nothing is locked. What makes it safe beside backups of other clients is the order of things, by both sides:
//!
//! - The pruning client stores a tombstone that names the packs, waits for the grace (at least [`MIN_GRACE`]), lists all
//!   snapshots again, and only then removes what still nobody needs: first from the index, then from the store.
//! - A backup lists tombstones right before it commits, never commits on a list older than half of [`MIN_GRACE`], and
//!   stores again what has been marked.
//!
//! So a snapshot that needs a marked pack was either committed before the second look, which then leaves the pack alone,
//! or by a backup that knew. A tombstone stays for [`STAYS`] after the last of its packs is gone, and nobody stores
//! an index chunk or a snapshot that is made of what was listed more than [`LONGEST`] ago: whoever sleeps in the middle of
//! something and wakes up still hears of it, and index entries that somebody brings back are dropped by the next prune.
//! Each step may be the last one that is done: whatever interrupts it, the next run goes on.
//!
//! Packs of which little is needed are repacked ([`repack`]): what is needed goes into new packs, an index chunk says from where it
//! came, and the old ones are marked like others. Reference lists go on naming the old ones, and are followed to the new ones ([`needs`]).
//!
//! Memory: one record for each pack in the store (about 250 bytes), a bit for each blob in packs that are needed in part, one index
//! chunk, the reference list of one snapshot, and what repacking takes.

mod damaged;
mod look;
mod needs;
mod options;
mod repack;
mod report;

use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime};

pub use look::Look;
use look::{Known, KnownIndex};
pub use options::{Budget, Options, Unused};
use repack::{Plan, Repacking};
pub use report::{Report, Sum, Watch};

use super::merging::Merging;
use super::{Repository, RepositoryError, family};
use crate::chunk::{ChunkId, ChunkInfo, Label};
use crate::clock::Moment;
use crate::format::index::Moved;
use crate::format::roster::Role;
use crate::format::signed::Context;
use crate::format::tombstone::{Forgotten, Tombstone};
use crate::format::{Time, to_cbor};
use crate::local::lock::BackupLock;
use crate::store::RemoveOutcome;

/// How long marked packs stay where other clients back up too, unless the user says it otherwise.
pub const GRACE: Duration = Duration::from_secs(24 * 3600);
/// The shortest grace where other clients back up too.
pub const MIN_GRACE: Duration = Duration::from_secs(3600);
/// How long a tombstone stays after its packs are gone.
pub const STAYS: Duration = Duration::from_secs(90 * 24 * 3600);
/// The longest time between listing index chunks and tombstones, and storing what was made of them.
pub const LONGEST: Duration = Duration::from_secs(STAYS.as_secs() / 2);
/// Index chunks of up to this many bytes are small, and merged when there are many of them.
const SMALL_INDEX: u64 = 1 << 20;
/// So many small index chunks are many; and so many tombstones that are of no more use but for their records.
const MANY: usize = 16;
/// How many chunks are removed at a time, between two looks at whether to stop.
const AT_ONCE: usize = 256;

impl Repository {
    /// Removes packs that no snapshot needs, and merges index chunks.
    pub fn prune(&self, options: &Options, watch: &Watch) -> Result<Report, RepositoryError> {
        self.require(Role::Maintainer, "prune")?;
        let grace = options.grace.unwrap_or(if self.writes_alone() { Duration::ZERO } else { GRACE });
        let alone = grace < MIN_GRACE;
        if alone && !self.writes_alone() {
            return Err(RepositoryError::ShortGrace);
        }
        // Where nobody else writes, nothing has to be waited for but a backup of this machine.
        let _lock = if alone { Some(BackupLock::take(&self.state)?) } else { None };
        let mut pruning = Pruning { repository: self, watch, grace, alone, report: Report::default() };
        self.check_given_up(&options.give_up)?;
        let look = Look::new(self, options, watch)?;
        let begun = Instant::now();
        let plan = Plan::new(&pruning, &look, &options.budget)?;
        pruning.describe(&look, &plan);
        if options.dry_run {
            pruning.foretell(&look, &plan);
            return Ok(pruning.report);
        }
        pruning.bury(&look)?;
        self.give_up(&look.given_up, &look.listing)?;
        let until = options.budget.max_time.and_then(|time| begun.checked_add(time));
        let moved = pruning.repack(&look, &plan, until)?;
        let marked = pruning.mark(&look, moved)?;
        if alone && marked {
            pruning.bury(&Look::new(self, options, watch)?)?;
        }
        Ok(pruning.report)
    }

    /// Refuses names that no snapshot has.
    fn check_given_up(&self, names: &[String]) -> Result<(), RepositoryError> {
        if names.is_empty() {
            return Ok(());
        }
        let listing = self.listing()?;
        let is_there = |name: &&String| listing.snapshots.iter().any(|info| info.id.to_string().starts_with(*name));
        let unknown = names.iter().find(|name| !is_there(name));
        unknown.map_or(Ok(()), |name| {
            let message = format!("no snapshot whose id begins with {name} is in the store; nothing was done");
            Err(RepositoryError::NoSnapshot(message))
        })
    }

    /// Whether no other client may back up into this repository.
    fn writes_alone(&self) -> bool {
        let mut others = self.roster.members.iter().filter(|member| member.tag != self.client.tag);
        others.all(|member| member.removed.is_some() || !member.has(Role::Writer))
    }
}

struct Pruning<'r> {
    repository: &'r Repository,
    watch: &'r Watch,
    grace: Duration,
    /// Whether nobody else writes, and no backup of this client runs.
    alone: bool,
    report: Report,
}

impl Pruning<'_> {
    fn describe(&mut self, look: &Look, plan: &Plan) {
        let ripe = self.ripe_packs(look);
        let report = &mut self.report;
        report.grace = self.grace;
        report.snapshots = look.snapshots;
        for (id, pack) in &look.packs {
            report.all.add(pack.size);
            if look.is_needed(id) {
                report.needed.add(pack.size);
            }
        }
        report.waste = plan.waste;
        report.missing = look.missing;
        for pack in look.marked.iter().filter_map(|id| look.packs.get(id)) {
            if look.is_needed(&pack.id) {
                report.rescued.add(pack.size);
            } else if !ripe.contains(&pack.id) {
                report.waiting.add(pack.size);
            }
        }
    }

    /// What a run would do.
    fn foretell(&mut self, look: &Look, plan: &Plan) {
        self.report.repacked = plan.packs;
        self.report.written.bytes = plan.live;
        *(if self.alone { &mut self.report.removed } else { &mut self.report.marked }) = plan.packs;
        let ripe = self.ripe_packs(look);
        for id in &ripe {
            if let Some(pack) = look.packs.get(id).filter(|_| !look.is_needed(id)) {
                self.report.removed.add(pack.size);
            }
        }
        for info in self.unneeded(look) {
            if self.alone {
                self.report.removed.add(info.size);
            } else {
                self.report.marked.add(info.size);
            }
        }
    }

    /// Whether the grace of a tombstone is over. The word of one who is no maintainer any more removes nothing.
    fn is_ripe(&self, known: &Known, look: &Look) -> bool {
        if !self.repository.is_maintainer(&known.signer) {
            return false;
        }
        let grace = Duration::from_secs(known.tombstone.grace);
        let grace = if self.alone { grace.min(self.grace) } else { grace };
        look.age(known.since()) >= grace
    }

    /// The packs that tombstones name whose grace is over.
    fn ripe_packs(&self, look: &Look) -> HashSet<ChunkId> {
        let ripe = look.tombstones.iter().filter(|known| self.is_ripe(known, look));
        ripe.flat_map(|known| known.tombstone.packs.iter().copied()).collect()
    }

    /// The packs that nobody needs, that no tombstone names, and that are old enough.
    fn unneeded<'l>(&mut self, look: &'l Look) -> Vec<&'l ChunkInfo> {
        let is_needed = |pack: &&ChunkInfo| look.is_needed(&pack.id) || look.marked.contains(&pack.id);
        // Where something is missing, a pack that no index names may be what is left of it.
        let may_go = |pack: &&ChunkInfo| look.missing == 0 || look.indexed.contains(&pack.id);
        let unneeded = look.packs.values().filter(|pack| !is_needed(pack)).filter(may_go);
        let (old, young): (Vec<_>, Vec<_>) = unneeded.partition(|pack| self.has_aged(look, pack));
        for pack in young {
            self.report.young.add(pack.size);
        }
        old
    }

    /// Whether no backup that runs can be about to need a pack for the first time.
    fn has_aged(&self, look: &Look, pack: &ChunkInfo) -> bool {
        self.alone || pack.stored.is_some_and(|stored| look.age(stored) >= self.grace)
    }

    /// Whether a pack may be repacked: it is old enough, and not marked.
    fn is_old(&self, look: &Look, pack: &ChunkId) -> bool {
        !look.marked.contains(pack) && look.packs.get(pack).is_some_and(|info| self.has_aged(look, info))
    }

    /// Repacks what was planned; the packs that are not needed any more then.
    fn repack<'l>(
        &mut self,
        look: &'l Look,
        plan: &Plan,
        until: Option<Instant>,
    ) -> Result<Vec<&'l ChunkInfo>, RepositoryError> {
        if plan.is_empty() || !self.repository.can_read() {
            return Ok(Vec::new());
        }
        let repacking = Repacking::run(self, look, plan, until)?;
        let done: Vec<&ChunkInfo> = repacking.done.iter().filter_map(|id| look.packs.get(id)).collect();
        done.iter().for_each(|pack| self.report.repacked.add(pack.size));
        self.report.written = repacking.written;
        Ok(done)
    }

    /// Marks what nobody needs, and what was repacked. Whether there was something to mark.
    fn mark<'l>(&mut self, look: &'l Look, moved: Vec<&'l ChunkInfo>) -> Result<bool, RepositoryError> {
        let mut unneeded = self.unneeded(look);
        unneeded.extend(moved);
        if unneeded.is_empty() {
            return Ok(false);
        }
        self.watch.check()?;
        self.put(Tombstone {
            packs: unneeded.iter().map(|pack| pack.id).collect(),
            created: Time::now(),
            grace: self.grace.as_secs(),
            snapshots: None,
            indexes: None,
        })?;
        for pack in unneeded {
            if !self.alone {
                self.report.marked.add(pack.size);
            }
        }
        Ok(true)
    }

    fn put(&self, tombstone: Tombstone) -> Result<(), RepositoryError> {
        self.repository.put_signed(&family("tombstone"), Context::Tombstone, to_cbor(&tombstone)).map(drop)
    }

    /// Removes what is marked, still not needed, and has had its grace; the index knows it no more by then.
    fn bury(&mut self, look: &Look) -> Result<(), RepositoryError> {
        let ripe = self.ripe_packs(look);
        let gone: HashSet<ChunkId> = ripe.into_iter().filter(|id| !look.is_needed(id)).collect();
        let doomed: Vec<&ChunkInfo> = gone.iter().filter_map(|id| look.packs.get(id)).collect();
        let superseded = self.merge_indexes(look, &gone)?;
        let writes = !doomed.is_empty() || !superseded.is_empty();
        if writes {
            // The indexes of snapshots that other tombstones name are named by this one too, so that those need not stay for them.
            let indexes: HashSet<ChunkId> =
                superseded.iter().map(|info| info.id).chain(self.snapshots_without_index(look)).collect();
            self.put(Tombstone {
                packs: doomed.iter().map(|pack| pack.id).collect(),
                created: Time::now(),
                grace: 0,
                snapshots: None,
                indexes: (!indexes.is_empty()).then(|| indexes.into_iter().collect()),
            })?;
        }
        let settled = self.settled(look, writes)?;
        let superseded: Vec<&ChunkInfo> = superseded.iter().filter(|info| info.label.family() == "index").collect();
        self.remove(&superseded, |report, _| report.indexes_replaced += 1)?;
        self.remove(&doomed, |report, size| report.removed.add(size))?;
        self.remove(&settled, |_, _| ())
    }

    /// The snapshots that are there and whose own indexes nobody uses any more.
    fn snapshots_without_index(&self, look: &Look) -> impl Iterator<Item = ChunkId> {
        let of_maintainers = look.tombstones.iter().filter(|known| self.repository.is_maintainer(&known.signer));
        let named = of_maintainers.flat_map(|known| known.tombstone.indexes.iter().flatten().copied());
        named.filter(|id| look.is_snapshot(id))
    }

    /// The tombstones that are of no more use. Records of what was forgotten stay; many of them become one. `named_again`: whether the
    /// snapshots that they name stand in another one.
    fn settled<'l>(&self, look: &'l Look, named_again: bool) -> Result<Vec<&'l ChunkInfo>, RepositoryError> {
        let is_settled = |known: &&Known| !self.stays(known, look, named_again);
        let settled: Vec<&Known> = look.tombstones.iter().filter(is_settled).collect();
        let has_records = |known: &&Known| {
            self.repository.is_maintainer(&known.signer) && known.tombstone.snapshots.iter().flatten().next().is_some()
        };
        let (records, mut others): (Vec<&Known>, Vec<&Known>) = settled.into_iter().partition(has_records);
        if records.len() > MANY {
            let all: Vec<Forgotten> =
                records.iter().flat_map(|known| known.tombstone.snapshots.iter().flatten().cloned()).collect();
            let (packs, created) = (Vec::new(), Time::now());
            self.put(Tombstone { packs, created, grace: 0, snapshots: Some(all), indexes: None })?;
            others.extend(records);
        }
        Ok(others.into_iter().map(|known| &known.info).collect())
    }

    /// Whether a tombstone has to stay beside the one that is written now, which names what is going: its grace is not over; or what it
    /// names has just gone, and backups that run have to hear of it.
    fn stays(&self, known: &Known, look: &Look, named_again: bool) -> bool {
        let Tombstone { packs, indexes, .. } = &known.tombstone;
        let is_young = look.age(known.since()) < STAYS;
        if !self.repository.is_maintainer(&known.signer) {
            let is_waiting = |id: &ChunkId| look.packs.contains_key(id) && !look.is_needed(id);
            return is_young || packs.iter().any(is_waiting);
        }
        !self.is_ripe(known, look)
            || is_young && packs.iter().any(|id| !look.packs.contains_key(id))
            || !named_again && indexes.iter().flatten().any(|id| look.is_snapshot(id))
    }

    /// Index chunks, and indexes of snapshots, without the packs that are going; small index chunks become few big ones. Answers with
    /// those that are replaced.
    fn merge_indexes(&mut self, look: &Look, gone: &HashSet<ChunkId>) -> Result<Vec<ChunkInfo>, RepositoryError> {
        let mut merging = Merging::new(self.repository, look.listing.looked);
        let mut replaced: Vec<ChunkInfo> =
            look.listing.indexes.iter().filter(|info| look.superseded.contains(&info.id)).cloned().collect();
        let is_small = |index: &KnownIndex| index.info.size <= SMALL_INDEX && index.info.label.family() == "index";
        let many = look.indexes.iter().filter(|index| is_small(index) && !index.is_piece).count() > MANY;
        let mut candidates: Vec<&KnownIndex> = Vec::new();
        for index in &look.indexes {
            let names_gone = index.packs.iter().any(|(pack, _)| gone.contains(pack));
            if index.is_piece {
                let is_old = self.alone || index.info.stored.is_some_and(|stored| look.age(stored) >= LONGEST);
                if is_old && !look.pieces.contains(&index.info.id) {
                    replaced.push(index.info.clone());
                }
            } else if names_gone || many && is_small(index) {
                candidates.push(index);
            } else {
                merging.stays(index.packs.iter().map(|(_, hash)| *hash));
            }
        }
        candidates.sort_by_key(|index| std::cmp::Reverse(index.info.size));
        for index in candidates {
            self.watch.check()?;
            let (signer, payload) = self.repository.index_payload(&index.info)?;
            let Ok(records) = payload.records() else { continue };
            let matters = |moved: &Moved| look.named.contains(&moved.from) || look.packs.contains_key(&moved.from);
            if merging.take(&signer, &payload, &records, |id| !gone.contains(id), matters)? {
                replaced.push(index.info.clone());
            }
        }
        merging.flush()?;
        self.report.indexes_written += merging.written;
        Ok(replaced)
    }

    /// Removes chunks, some at a time.
    fn remove(&mut self, chunks: &[&ChunkInfo], count: impl Fn(&mut Report, u64)) -> Result<(), RepositoryError> {
        for some in chunks.chunks(AT_ONCE) {
            self.watch.check()?;
            let remove = |info: &&ChunkInfo| self.repository.store.remove(&info.label, &info.id);
            for (info, outcome) in some.iter().zip(self.repository.in_parallel(some, remove)) {
                if let RemoveOutcome::Pending(until) = outcome? {
                    self.report.pending = self.report.pending.max(Some(until));
                }
                self.watch.removed.add(1);
                count(&mut self.report, info.size);
            }
        }
        Ok(())
    }
}

/// Refuses to make an index chunk or a snapshot of what was listed too long ago.
pub(crate) fn is_in_time(looked: Moment) -> Result<(), RepositoryError> {
    if looked.elapsed() < LONGEST { Ok(()) } else { Err(RepositoryError::TooLong) }
}

/// The labels of packs.
pub(super) fn pack_labels() -> [Label; 2] {
    ["data", "tree"].map(family)
}

/// When a tombstone began to count, by the store's clock where that is known.
impl Known {
    fn since(&self) -> SystemTime {
        let created = u64::try_from(self.tombstone.created.seconds).ok();
        let created = created.and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
        self.info.stored.or(created).unwrap_or_else(SystemTime::now)
    }
}

//! Reading what is sealed under the metadata key: snapshots, index chunks, tombstones. Notes are read in [`super::notes`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;

use super::tombstones::Buried;
use super::{ChunkName, Repository, RepositoryError, family};
use crate::chunk::{ChunkId, ChunkInfo, Label, LabelFilter};
use crate::clock::Moment;
use crate::format::header::Header;
use crate::format::index::IndexPayload;
use crate::format::references::{self, Reference, ReferencePiece};
use crate::format::roster::{Member, Role};
use crate::format::signed::{Context, Signed};
use crate::format::snapshot::Snapshot;
use crate::format::tombstone::Forgotten;
use crate::format::{FormatError, Time, WriterTag, from_cbor, whole};
use crate::index::Index;
use crate::index::cache::IndexCache;
use crate::index::run::Segment;
use crate::local::seen::Seen;

/// Index chunks of so many bytes together are read at a time, and so many of them at most.
const INDEXES_AT_ONCE: u64 = 16 << 20;
const MOST_INDEXES: usize = 1024;

/// A snapshot that has been verified.
#[derive(Debug, Clone)]
pub struct SnapshotInfo {
    /// Its chunk id.
    pub id: ChunkId,
    /// When the store took it, where it knows.
    pub stored: Option<std::time::SystemTime>,
    /// Its payload, but for what can be long: its index, and a reference list that stands in it ([`Repository::whole`]).
    pub snapshot: Arc<Snapshot>,
    /// Whether it is a partial one that a later snapshot of its client makes obsolete.
    pub replaced: bool,
    /// The tags in force: those of the latest note, or the snapshot's own.
    pub tags: Vec<String>,
    /// When that note was made, if there is one.
    pub noted: Option<Time>,
    /// Whether a maintainer has forgotten it, and the store has not removed it yet.
    pub forgotten: bool,
}

impl SnapshotInfo {
    /// Whether it was made in the middle of a backup.
    pub fn is_partial(&self) -> bool {
        self.snapshot.partial == Some(true)
    }
}

/// The snapshots, index chunks, notes and tombstones of a repository, as listed at one moment.
#[derive(Debug)]
pub struct Listing {
    /// Chunks with a label `snapshot.TAG`.
    pub snapshots: Vec<ChunkInfo>,
    /// Chunks with a label `index.TAG`.
    pub indexes: Vec<ChunkInfo>,
    /// Chunks with a label `note.TAG`.
    pub notes: Vec<ChunkInfo>,
    /// Chunks with the label `tombstone`.
    pub tombstones: Vec<ChunkInfo>,
    /// When it was begun.
    pub(crate) looked: Moment,
    /// What those say, once it was read.
    pub(super) buried: OnceLock<Buried>,
}

impl Repository {
    /// Reads a small chunk, from the cache or the store.
    pub fn small_chunk(&self, label: &Label, id: &ChunkId) -> Result<Bytes, RepositoryError> {
        if let Some(chunk) = self.chunks.get(id) {
            return Ok(chunk);
        }
        let chunk = self.store.get(label, id, None)?;
        self.chunks.put(id, &chunk);
        Ok(chunk)
    }

    /// Opens a signed chunk and verifies that the member named in its label signed it for this context.
    pub fn open_signed(
        &self,
        name: &ChunkName,
        chunk: &[u8],
        context: Context,
    ) -> Result<(&Member, Vec<u8>), FormatError> {
        let header = Header::parse(chunk)?;
        header.check_place(&self.id, &name.label)?;
        let body = whole::open_behind(&header, chunk, &self.opener(&header)?)?;
        let signed = Signed::parse(&body)?;
        let signer = signed.signer.ok_or(FormatError::Unsigned("it names no signer"))?;
        if name.label.tag().is_some_and(|tag| tag.parse() != Ok(signer)) {
            return Err(FormatError::Unsigned("its label names another client than its signer"));
        }
        let member = self.roster.member(&signer).ok_or(FormatError::Unsigned("the roster does not know its signer"))?;
        let allowed = match context {
            Context::Tombstone => member.has(Role::Maintainer),
            Context::Note => member.has(Role::Writer) || member.has(Role::Maintainer),
            Context::Roster | Context::Index | Context::Snapshot => member.has(Role::Writer),
        };
        if !allowed {
            return Err(FormatError::Unsigned("its signer does not have the role for it"));
        }
        let payload = signed.verify(context, &self.id, &member.verify_key()?)?;
        Ok((member, payload.to_vec()))
    }

    /// Reads a signed chunk; who signed it, and what.
    pub(super) fn signed_payload(
        &self,
        info: &ChunkInfo,
        context: Context,
    ) -> Result<(WriterTag, Vec<u8>), RepositoryError> {
        let name = ChunkName { label: info.label.clone(), id: info.id };
        let malformed = |why| RepositoryError::Unusable { label: info.label.clone(), id: info.id, why };
        let chunk = self.small_chunk(&info.label, &info.id)?;
        let (member, payload) = self.open_signed(&name, &chunk, context).map_err(malformed)?;
        Ok((member.tag, payload))
    }

    /// Lists snapshots, index chunks, notes and tombstones, all at once: each list is a round trip to the store.
    pub fn listing(&self) -> Result<Listing, RepositoryError> {
        let looked = Moment::now();
        let families = ["snapshot", "index", "note"].map(|name| LabelFilter::Family(family(name)));
        let filters: Vec<_> = families.into_iter().chain([LabelFilter::Exactly(family("tombstone"))]).collect();
        let mut lists = self.in_parallel(&filters, |filter| self.store.list(filter)).into_iter();
        let mut next = || lists.next().expect("there is a list for each filter");
        let (snapshots, indexes, notes, tombstones) = (next()?, next()?, next()?, next()?);
        Ok(Listing { snapshots, indexes, notes, tombstones, looked, buried: OnceLock::new() })
    }

    /// Reads and verifies snapshots, oldest first. What cannot be used is warned about and left out, and so is history
    /// that looks rolled back or forked. Where none can be used because the store denies it, that is the error: it must
    /// not look as if there were none.
    pub fn snapshots(&self, listing: &Listing) -> Result<Vec<SnapshotInfo>, RepositoryError> {
        let denied = Mutex::new(None);
        let snapshots: Vec<Result<Option<SnapshotInfo>, RepositoryError>> =
            self.in_parallel(&listing.snapshots, |info| {
                let name = ChunkName { label: info.label.clone(), id: info.id };
                Ok(match self.snapshot(info) {
                    Ok(mut snapshot) => {
                        let tags = snapshot.tags.clone();
                        snapshot.index = None;
                        (snapshot.references.inline, snapshot.references.used) = (None, None);
                        Some(SnapshotInfo {
                            id: info.id,
                            stored: info.stored,
                            snapshot: snapshot.into(),
                            tags,
                            noted: None,
                            forgotten: false,
                            replaced: false,
                        })
                    }
                    Err(why) => {
                        let why = why.about_chunk()?;
                        self.warnings.chunk("snapshot-unusable", &name, format!("it is ignored: {why}"));
                        if why.is_denied() {
                            *denied.lock().expect("no panic while the lock is held") = Some(why);
                        }
                        None
                    }
                })
            });
        let mut snapshots: Vec<SnapshotInfo> =
            snapshots.into_iter().filter_map(Result::transpose).collect::<Result<_, _>>()?;
        let denied = denied.into_inner().expect("no panic while the lock is held");
        if let Some(why) = denied.filter(|_| snapshots.is_empty()) {
            return Err(why);
        }
        let forgotten = &self.buried(listing)?.forgotten;
        self.leave_out_removed(&mut snapshots, forgotten);
        snapshots.sort_by_key(|info| (info.snapshot.started, info.snapshot.sequence, info.id));
        self.check_history(&snapshots, forgotten)?;
        let replaces: HashSet<(WriterTag, ChunkId)> =
            snapshots.iter().filter_map(|info| Some((info.snapshot.client, info.snapshot.replaces?))).collect();
        for info in &mut snapshots {
            let rewritten = info.snapshot.rewritten.as_ref();
            let whole = rewritten.map_or((info.snapshot.client, info.id), |first| (first.client, first.snapshot));
            info.replaced = info.is_partial() && replaces.contains(&whole);
            info.forgotten = forgotten.contains_key(&info.id);
        }
        self.apply_notes(&listing.notes, &mut snapshots)?;
        Ok(snapshots)
    }

    /// Reads one snapshot, whatever the others say.
    pub(super) fn snapshot(&self, info: &ChunkInfo) -> Result<Snapshot, RepositoryError> {
        let malformed = |why| RepositoryError::Unusable { label: info.label.clone(), id: info.id, why };
        let (signer, payload) = self.signed_payload(info, Context::Snapshot)?;
        let snapshot: Snapshot = from_cbor(&payload).map_err(malformed)?;
        if snapshot.client != signer {
            return Err(malformed(FormatError::Unsigned("it names another client than its signer")));
        }
        Ok(snapshot)
    }

    /// Reads a snapshot again, with all that is in it.
    pub fn whole(&self, info: &SnapshotInfo) -> Result<Snapshot, RepositoryError> {
        let label = super::tagged("snapshot", &info.snapshot.client);
        self.snapshot(&ChunkInfo { label, id: info.id, size: 0, stored: info.stored })
    }

    /// Of a removed client only the snapshot that the roster names counts, and those before it: its key may be in other
    /// hands by now, and sign whatever they like.
    fn leave_out_removed(&self, snapshots: &mut Vec<SnapshotInfo>, forgotten: &HashMap<ChunkId, Forgotten>) {
        for member in &self.roster.members {
            let Some(removed) = &member.removed else { continue };
            let previous: HashMap<ChunkId, Option<ChunkId>> = snapshots
                .iter()
                .filter(|info| info.snapshot.client == member.tag)
                .map(|info| (info.id, info.snapshot.previous))
                .chain(forgotten.values().map(|gone| (gone.id, gone.previous)))
                .collect();
            let mut counted = HashSet::new();
            let mut next = removed.snapshot;
            while let Some(id) = next.filter(|id| counted.insert(*id)) {
                next = previous.get(&id).copied().flatten();
            }
            snapshots.retain(|info| {
                let stays = info.snapshot.client != member.tag || counted.contains(&info.id);
                if !stays {
                    let name = ChunkName { label: super::tagged("snapshot", &member.tag), id: info.id };
                    let message = "it is ignored: its client was removed, and it is not part of the accepted history";
                    self.warnings.chunk("snapshot-unusable", &name, message);
                }
                stays
            });
        }
    }

    /// Looks for history that is forked, or older than what was seen before, and remembers the newest.
    fn check_history(
        &self,
        snapshots: &[SnapshotInfo],
        forgotten: &HashMap<ChunkId, Forgotten>,
    ) -> Result<(), RepositoryError> {
        let on_purpose: HashSet<String> = forgotten.keys().map(ChunkId::to_string).collect();
        let mut seen = Seen::load(&self.state)?;
        let mut newest: BTreeMap<String, &SnapshotInfo> = BTreeMap::new();
        let mut numbered: HashMap<(WriterTag, u64), &SnapshotInfo> = HashMap::new();
        let mut changed = false;
        for info in snapshots {
            let client = info.snapshot.client;
            if let Some(other) = numbered.insert((client, info.snapshot.sequence), info) {
                self.forked(
                    client,
                    format!(
                        "{} and {} have the same number {}",
                        other.id.short(),
                        info.id.short(),
                        info.snapshot.sequence
                    ),
                );
            }
            if newest.get(&client.to_string()).is_none_or(|other| other.snapshot.sequence < info.snapshot.sequence) {
                newest.insert(client.to_string(), info);
            }
        }
        for info in snapshots {
            let (client, sequence) = (info.snapshot.client, info.snapshot.sequence);
            let before = sequence.checked_sub(1).and_then(|before| numbered.get(&(client, before)));
            if let Some(before) = before.filter(|before| info.snapshot.previous != Some(before.id)) {
                self.forked(
                    client,
                    format!("{} does not follow {}, whose number is one lower", info.id.short(), before.id.short()),
                );
            }
        }
        for (client, remembered) in &seen.snapshots {
            let found = newest.get(client).map_or(0, |info| info.snapshot.sequence);
            if found < remembered.sequence && !on_purpose.contains(&remembered.id) && !self.is_cut_off(client, found) {
                self.warnings.general(
                    "history-rolled-back",
                    format!(
                        "the newest snapshot of client {client} has the number {found}, but number {} ({}) has been seen: the store has lost or hides it",
                        remembered.sequence,
                        &remembered.id[..10.min(remembered.id.len())]
                    ),
                );
            }
        }
        for (client, info) in &newest {
            let Some(remembered) = seen.snapshots.get(client) else { continue };
            let is_there = || snapshots.iter().any(|info| info.id.to_string() == remembered.id);
            if info.snapshot.sequence == remembered.sequence && !is_there() {
                self.warnings.general(
                    "history-forked",
                    format!(
                        "the snapshot number {} of client {client} is {}, but {} has been seen with that number: the store hides it, or somebody else has the client's keys",
                        remembered.sequence,
                        info.id.short(),
                        &remembered.id[..10.min(remembered.id.len())]
                    ),
                );
            }
        }
        for (client, info) in newest {
            changed |= seen.note(&client, info.snapshot.sequence, &info.id);
        }
        if changed {
            seen.save(&self.state)?;
        }
        Ok(())
    }

    /// Whether the roster says that this client was removed, and that this number is the last one of it that counts: what came after it is
    /// left out on purpose.
    fn is_cut_off(&self, client: &str, number: u64) -> bool {
        let removed = client.parse().ok().and_then(|tag| self.roster.member(&tag)?.removed.as_ref());
        removed.is_some_and(|removed| removed.sequence == number)
    }

    fn forked(&self, client: WriterTag, what: String) {
        let message = format!(
            "the history of client {client} is forked ({what}): somebody else has its keys, or its state was copied"
        );
        self.warnings.general("history-forked", message);
    }

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

    /// The index of what the listing names. Index chunks that cannot be used are warned about and left out.
    pub fn load_index(&self, listing: &Listing) -> Result<Index, RepositoryError> {
        let cache = IndexCache::new(&self.cache)?;
        let superseded = &self.buried(listing)?.indexes;
        let wanted = listing.indexes.iter().chain(&listing.snapshots);
        let wanted: Vec<&ChunkInfo> = wanted.filter(|info| !superseded.contains(&info.id)).collect();
        let ids: HashSet<ChunkId> = wanted.iter().map(|info| info.id).collect();
        let mut runs = cache.load(&ids)?;
        let covered: HashSet<ChunkId> = runs.iter().flat_map(|run| run.covered()).collect();
        let missing: Vec<&ChunkInfo> = wanted.into_iter().filter(|info| !covered.contains(&info.id)).collect();
        let mut rest = &missing[..];
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(batch_of(rest));
            rest = later;
            let segments = self.in_parallel(batch, |info| match self.segment(info) {
                Ok(segment) => Ok(Some(segment)),
                Err(why) => {
                    let why = why.about_chunk()?;
                    let name = ChunkName { label: info.label.clone(), id: info.id };
                    if name.label.family() == "index" {
                        self.warnings.chunk("index-unusable", &name, format!("it is ignored: {why}"));
                    }
                    Ok(None)
                }
            });
            let segments =
                segments.into_iter().filter_map(Result::transpose).collect::<Result<Vec<_>, RepositoryError>>()?;
            runs = cache.add(runs, segments)?;
        }
        Ok(Index { runs })
    }

    /// The records that an index chunk or a snapshot brings.
    fn segment(&self, info: &&ChunkInfo) -> Result<Segment, RepositoryError> {
        let malformed = |why| RepositoryError::Unusable { label: info.label.clone(), id: info.id, why };
        let (signer, payload) = self.index_payload(info)?;
        let records = payload.records().map_err(malformed)?;
        Ok(Segment { chunk: Some(info.id), signer, packs: payload.packs, records })
    }

    /// What an index chunk says, or the index of a snapshot, and who signed it.
    pub(super) fn index_payload(&self, info: &ChunkInfo) -> Result<(WriterTag, IndexPayload), RepositoryError> {
        let malformed = |why| RepositoryError::Unusable { label: info.label.clone(), id: info.id, why };
        if info.label.family() != "snapshot" {
            let (signer, payload) = self.signed_payload(info, Context::Index)?;
            return Ok((signer, from_cbor(&payload).map_err(malformed)?));
        }
        let snapshot = self.snapshot(info)?;
        let payload = snapshot.index.as_deref().map(from_cbor::<IndexPayload>).transpose();
        let payload = payload.and_then(|payload| {
            payload.as_ref().map_or(Ok(vec![]), IndexPayload::records)?;
            Ok(payload)
        });
        if let Err(why) = &payload {
            let name = ChunkName { label: info.label.clone(), id: info.id };
            self.warnings.chunk("index-unusable", &name, format!("its index is ignored: {why}"));
        }
        Ok((snapshot.client, payload.map_err(malformed)?.unwrap_or_default()))
    }

    /// The packs that valid tombstones name, those that are in the store now.
    pub fn tombstoned(&self) -> Result<HashSet<ChunkId>, RepositoryError> {
        let listed = self.store.list(&LabelFilter::Exactly(family("tombstone")))?;
        Ok(self.buried_by(&listed)?.packs)
    }

    /// The packs that a snapshot needs.
    pub fn references(&self, info: &SnapshotInfo) -> Result<Vec<Reference>, RepositoryError> {
        self.references_of(&self.whole(info)?)
    }

    /// The packs that a whole snapshot needs.
    pub fn references_of(&self, snapshot: &Snapshot) -> Result<Vec<Reference>, RepositoryError> {
        let inline = references::decode(
            snapshot.references.inline.as_deref().unwrap_or_default(),
            snapshot.references.used.as_deref(),
        );
        let malformed = |why| RepositoryError::Malformed { what: "the reference list of a snapshot".into(), why };
        let mut all = inline.map_err(malformed)?;
        for piece in snapshot.references.pieces.iter().flatten() {
            all.extend(self.reference_piece(&snapshot.client, piece)?);
        }
        Ok(all)
    }

    /// A piece of the reference list of a snapshot of this client.
    pub(super) fn reference_piece(
        &self,
        client: &WriterTag,
        piece: &ReferencePiece,
    ) -> Result<Vec<Reference>, RepositoryError> {
        let malformed = |why| RepositoryError::Malformed { what: "the reference list of a snapshot".into(), why };
        let info = ChunkInfo { label: super::tagged("index", client), id: piece.chunk, size: 0, stored: None };
        let (_, payload) = self.signed_payload(&info, Context::Index)?;
        let payload: IndexPayload = from_cbor(&payload).map_err(malformed)?;
        references::decode_piece(&payload, piece).map_err(malformed)
    }

    /// Calls `work` for each item on as many threads as the store takes calls; results in the items' order.
    pub(crate) fn in_parallel<T: Sync, R: Send>(&self, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
        let threads = self.store.parallelism().min(items.len());
        if threads <= 1 {
            return items.iter().map(work).collect();
        }
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::with_capacity(items.len()));
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let place = next.fetch_add(1, Ordering::Relaxed);
                        let Some(item) = items.get(place) else { break };
                        let result = work(item);
                        results.lock().expect("no panic while the lock is held").push((place, result));
                    }
                });
            }
        });
        let mut results = results.into_inner().expect("no panic while the lock is held");
        results.sort_by_key(|(place, _)| *place);
        results.into_iter().map(|(_, result)| result).collect()
    }
}

/// How many of these index chunks are read together: at least one, and all of them shorter than [`INDEXES_AT_ONCE`] together.
fn batch_of(chunks: &[&ChunkInfo]) -> usize {
    let mut sum = 0;
    let fits = chunks.iter().take_while(|info| {
        sum += info.size;
        sum <= INDEXES_AT_ONCE
    });
    fits.count().clamp(1, MOST_INDEXES)
}

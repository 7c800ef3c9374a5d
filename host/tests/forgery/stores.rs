//! Hostile stores: what is withheld, old, or wrong.

use bytes::Bytes;
use obnam::check::Severity;
use obnam::chunk::ChunkId;
use obnam::format::content::Content;
use obnam::repository::RepositoryError;
use obnam::repository::open::open;
use obnam::store::ChunkStore;

use super::Scene;
use crate::support::*;

#[test]
fn each_withheld_chunk_is_named_and_nothing_panics() {
    let scene = Scene::new();
    std::fs::write(scene.source.join("more"), noise(50, 40_000)).unwrap();
    let second = backup(&scene.world.open(), &scene.source).id;
    for (of, id, _) in scene.world.chunks("") {
        let copy = scene.world.copy();
        copy.remove(&of, &id).unwrap();
        // For the machine that has seen everything, and for one that sees this for the first time.
        for machine in ["first", "fresh"] {
            let fresh = format!("{machine}-{id}");
            let machine = if machine == "first" { machine } else { &fresh };
            let place = scene.world.place_of(copy.clone(), machine);
            let repository = match open(place, &scene.world.secret, Some(scene.world.made.repository)) {
                Ok(repository) => repository,
                Err(error) => {
                    let needed = ["repository", "roster", "credential", "client"];
                    assert!(needed.contains(&of.as_str()), "{of}: {error}");
                    continue;
                }
            };
            let report = check(&repository, true);
            let newest_on_fresh = id == second && machine != "first";
            assert!(
                report.errors() > 0 || newest_on_fresh,
                "{of}/{id} is withheld from {machine}, but check finds only {:#?}",
                report.findings
            );
            if ["data", "tree"].contains(&of.as_str()) {
                let name = format!("{of}/{id}");
                assert!(findings(&report).contains(&(Severity::Error, "pack-missing", name)), "{:#?}", report.findings);
                let lost = report.findings.iter().any(|found| found.code == "file-damaged");
                assert!(lost, "files of {of}/{id} are not named: {:#?}", report.findings);
            }
            // What is there restores; what is not is said.
            let (snapshots, index) = load(&repository);
            for info in &snapshots {
                restore_root(&repository, &index, &info.snapshot.root);
            }
        }
    }
}

#[test]
fn an_old_state_of_the_store_is_reported() {
    let scene = Scene::new();
    let old = scene.world.copy();
    std::fs::write(scene.source.join("more"), "more").unwrap();
    let second = backup(&scene.world.open(), &scene.source);
    let repository = open(scene.world.place_of(old.clone(), "first"), &scene.world.secret, None).unwrap();
    let report = check(&repository, true);
    assert_eq!(findings(&report), [(Severity::Error, "history-rolled-back", String::new())]);
    // What is made on top of it does not take the number of what is hidden.
    let third = backup(&repository, &scene.source);
    assert_eq!(third.snapshot.sequence, second.snapshot.sequence + 1);
    assert_restores(&repository, &scene.snapshot, &scene.source, &scene.before);
}

#[test]
fn another_snapshot_in_place_of_one_that_was_seen_is_reported() {
    let scene = Scene::new();
    // The store hides the newest snapshot behind one with the same number.
    let repository = scene.world.open();
    let of = label(&format!("snapshot.{}", scene.world.made.client));
    scene.world.store.remove(&of, &scene.snapshot).unwrap();
    let forger = Forger::new(&repository);
    forger.put_snapshot(&forger.snapshot(1, Content::default(), None));
    let report = check(&scene.world.open(), false);
    assert!(findings(&report).contains(&(Severity::Error, "history-forked", String::new())), "{report:#?}");
}

/// Answers ranges with bytes of another chunk, and lies about sizes.
struct Liar {
    inner: std::sync::Arc<obnam::store::memory::MemoryStore>,
    ranges: bool,
    sizes: Option<u64>,
}

impl ChunkStore for Liar {
    fn init(&self) -> Result<(), obnam::store::StoreError> {
        self.inner.init()
    }
    fn open(&self) -> Result<(), obnam::store::StoreError> {
        self.inner.open()
    }
    fn put(
        &self,
        label: &obnam::chunk::Label,
        id: &ChunkId,
        bytes: Bytes,
    ) -> Result<obnam::store::PutOutcome, obnam::store::StoreError> {
        self.inner.put(label, id, bytes)
    }
    fn get(
        &self,
        label: &obnam::chunk::Label,
        id: &ChunkId,
        range: Option<std::ops::Range<u64>>,
    ) -> Result<Bytes, obnam::store::StoreError> {
        match range {
            Some(range) if self.ranges => Ok(noise(range.start, (range.end - range.start) as usize).into()),
            range => self.inner.get(label, id, range),
        }
    }
    fn stat(
        &self,
        label: &obnam::chunk::Label,
        id: &ChunkId,
    ) -> Result<obnam::chunk::ChunkInfo, obnam::store::StoreError> {
        self.inner.stat(label, id)
    }
    fn list_page(
        &self,
        filter: &obnam::chunk::LabelFilter,
        after: Option<&str>,
    ) -> Result<obnam::store::ListPage, obnam::store::StoreError> {
        let mut page = self.inner.list_page(filter, after)?;
        for info in &mut page.chunks {
            info.size = self.sizes.unwrap_or(info.size);
        }
        Ok(page)
    }
    fn remove(
        &self,
        label: &obnam::chunk::Label,
        id: &ChunkId,
    ) -> Result<obnam::store::RemoveOutcome, obnam::store::StoreError> {
        self.inner.remove(label, id)
    }
    fn check(&self) -> Result<Vec<obnam::store::Finding>, obnam::store::StoreError> {
        self.inner.check()
    }
    fn parallelism(&self) -> usize {
        self.inner.parallelism()
    }
}

#[test]
fn wrong_bytes_for_ranges_are_never_restored() {
    let scene = Scene::new();
    let liar = Liar { inner: scene.world.store.clone(), ranges: true, sizes: None };
    let repository = open(scene.world.place_of(std::sync::Arc::new(liar), "first"), &scene.world.secret, None).unwrap();
    let restored = restore(&repository, &scene.snapshot);
    assert!(!restored.problems.is_empty());
    let at = restored.at(&scene.source);
    if at.exists() {
        for (path, (mode, _, contents)) in tree(&at).into_iter().filter(|(_, (mode, ..))| mode & 0o170_000 == 0o100_000)
        {
            assert!(
                contents.iter().all(|byte| *byte == 0) || contents == scene.before[&path].2,
                "{} ({mode:o}) has wrong bytes",
                path.display()
            );
        }
    }
    scene.assert_unharmed();
}

#[test]
fn lies_about_sizes_are_named_and_cost_nothing() {
    let scene = Scene::new();
    for size in [0, 1, 1 << 20] {
        let liar = Liar { inner: scene.world.store.clone(), ranges: false, sizes: Some(size) };
        let repository =
            open(scene.world.place_of(std::sync::Arc::new(liar), "first"), &scene.world.secret, None).unwrap();
        assert_restores(&repository, &scene.snapshot, &scene.source, &scene.before);
        let report = check(&repository, true);
        assert!(report.findings.iter().any(|found| found.code == "pack-size"), "{:#?}", report.findings);
    }
    let liar = Liar { inner: scene.world.store.clone(), ranges: false, sizes: Some(u64::MAX) };
    let refused = open(scene.world.place_of(std::sync::Arc::new(liar), "first"), &scene.world.secret, None);
    assert!(matches!(refused.err().unwrap(), RepositoryError::NoRoster { .. }));
    scene.assert_unharmed();
}

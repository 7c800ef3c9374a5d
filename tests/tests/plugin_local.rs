//! The bundled plugin for local directories, through the plugin host.

#![allow(clippy::unwrap_used)]

mod plugin_support;

use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use obnam::chunk::{ChunkId, LabelFilter, MAX_CHUNK_SIZE};
use obnam::plugin::{PluginSource, StoreSpec, bundled_for, inspect, open_store};
use obnam::store::{ChunkStore, PutOutcome, RemoveOutcome, Severity, StoreErrorKind};
use plugin_support::{chunk, label, local, local_store, text};

const MARKER: &str = "OBNAM-CHUNK-STORE";

/// A fresh directory for a store, below a temporary one.
fn place() -> (tempfile::TempDir, std::path::PathBuf) {
    let top = tempfile::tempdir().unwrap();
    let place = top.path().join("store");
    (top, place)
}

/// The file of a chunk.
fn file_of(place: &Path, label: &str, id: &ChunkId) -> std::path::PathBuf {
    let id = id.to_string();
    place.join(label).join(&id[..2]).join(&id)
}

#[test]
fn describes_itself() {
    let spec = StoreSpec::for_location("/srv/backup").unwrap();
    let info = inspect(&spec.source, None, &spec.limits).unwrap();
    assert_eq!((info.name.as_str(), info.schemes.as_slice()), ("local", &["file".to_owned()][..]));
    assert_eq!(info.options.iter().map(|option| option.name.as_str()).collect::<Vec<_>>(), ["fsync"]);
    assert!(info.put_streams);
    assert!(info.imports.iter().all(|import| import.starts_with("wasi:")), "{:?}", info.imports);
    assert_eq!(bundled_for("/srv"), Some("local"));
}

#[test]
fn chunks_of_all_sizes_survive() {
    let (_top, place) = place();
    let store = local_store(&place);
    for (seed, size) in [0, 1, 4095, 4096, 65_536, 65_537, 1 << 20, MAX_CHUNK_SIZE as usize].into_iter().enumerate() {
        let (id, bytes) = chunk(seed as u64, size);
        assert_eq!(store.put(&label("data"), &id, bytes.clone()).unwrap(), PutOutcome::Stored, "{size}");
        assert_eq!(fs::read(file_of(&place, "data", &id)).unwrap(), bytes, "{size}");
        assert_eq!(store.get(&label("data"), &id, None).unwrap(), bytes, "{size}");
        let info = store.stat(&label("data"), &id).unwrap();
        assert_eq!((info.size, info.id), (size as u64, id));
        let age = SystemTime::now().duration_since(info.stored.unwrap()).unwrap_or_default();
        assert!(age < Duration::from_secs(120), "{age:?}");
    }
    let (id, bytes) = chunk(99, MAX_CHUNK_SIZE as usize + 1);
    let error = store.put(&label("data"), &id, bytes).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Invalid);
}

#[test]
fn works_with_fsync() {
    let (_top, place) = place();
    let store = open_store(&StoreSpec { options: Vec::new(), ..local(&place) }).unwrap();
    store.init().unwrap();
    let (id, bytes) = chunk(1, 100_000);
    assert_eq!(store.put(&label("data"), &id, bytes.clone()).unwrap(), PutOutcome::Stored);
    assert_eq!(store.put(&label("data"), &id, bytes.clone()).unwrap(), PutOutcome::AlreadyPresent);
    assert_eq!(store.remove(&label("data"), &id).unwrap(), RemoveOutcome::Removed);
    assert!(store.check().unwrap().is_empty());
}

#[test]
fn put_is_idempotent_and_never_replaces() {
    let (_top, place) = place();
    let store = local_store(&place);
    let (id, bytes) = chunk(1, 1000);
    assert_eq!(store.put(&label("data"), &id, bytes.clone()).unwrap(), PutOutcome::Stored);
    assert_eq!(store.put(&label("data"), &id, bytes.clone()).unwrap(), PutOutcome::AlreadyPresent);
    // The same id under another label is another chunk.
    assert_eq!(store.put(&label("tree"), &id, bytes.clone()).unwrap(), PutOutcome::Stored);

    fs::write(file_of(&place, "data", &id), b"something else").unwrap();
    let error = store.put(&label("data"), &id, bytes).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Corrupt);
    assert!(error.message.contains("14 bytes instead of 1000"), "{error}");
    assert_eq!(fs::read(file_of(&place, "data", &id)).unwrap(), b"something else");
}

#[test]
fn many_threads_store_one_chunk() {
    let (_top, place) = place();
    let store = local_store(&place);
    // As another computer would: with instances of its own.
    let other = open_store(&local(&place)).unwrap();
    let barrier = Barrier::new(16);
    for seed in 0..20 {
        let (id, bytes) = chunk(seed, 200_000);
        let stored: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16)
                .map(|n| {
                    let (store, bytes, barrier) = (if n % 2 == 0 { &store } else { &other }, bytes.clone(), &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        store.put(&label("data"), &id, bytes).unwrap()
                    })
                })
                .collect();
            threads.into_iter().filter(|_| true).map(|t| t.join().unwrap()).filter(|o| *o == PutOutcome::Stored).count()
        });
        assert_eq!(stored, 1);
        assert_eq!(store.get(&label("data"), &id, None).unwrap(), bytes);
    }
    let leftovers = fs::read_dir(place.join("data"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".tmp"));
    assert_eq!(leftovers.count(), 0);
}

#[test]
fn listing_goes_page_by_page() {
    let (_top, place) = place();
    let store = local_store(&place);
    let mut expected = BTreeSet::new();
    for (name, count) in
        [("data", 2500), ("data.x", 3), ("data-x", 3), ("snapshot.0a", 5), ("snapshot.0b", 5), ("snapshots", 1)]
    {
        for n in 0..count {
            let (id, bytes) = chunk(n + 1, (n % 40) as usize);
            // As put would, but much faster.
            let file = file_of(&place, name, &id);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, &bytes).unwrap();
            expected.insert((label(name), id, bytes.len() as u64));
        }
    }
    let mut pages = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.list_page(&LabelFilter::All, after.as_deref()).unwrap();
        pages.push(page.chunks.len());
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let total: usize = pages.iter().sum();
    assert_eq!((total, pages.len()), (expected.len(), expected.len().div_ceil(1000)), "{pages:?}");

    let all = store.list(&LabelFilter::All).unwrap();
    let keys: Vec<_> = all.iter().map(|info| (info.label.clone(), info.id, info.size)).collect();
    assert!(keys.is_sorted());
    assert_eq!(keys.into_iter().collect::<BTreeSet<_>>(), expected);

    let count = |filter: LabelFilter| store.list(&filter).unwrap().len();
    let data = expected.iter().filter(|(name, ..)| name.as_str() == "data").count();
    assert_eq!(count(LabelFilter::Exactly(label("data"))), data);
    assert_eq!(count(LabelFilter::Family(label("snapshot"))), 10);
    assert_eq!(count(LabelFilter::Family(label("data"))), 3);
    assert_eq!(count(LabelFilter::Exactly(label("absent"))), 0);

    // Exactly 1,000 chunks make one page, without a second one.
    let error = store.list_page(&LabelFilter::All, Some("nonsense")).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Invalid);
}

#[test]
fn a_full_page_may_be_the_last() {
    let (_top, place) = place();
    let store = local_store(&place);
    let mut ids = BTreeSet::new();
    for n in 0.. {
        let (id, bytes) = chunk(n, 8);
        let file = file_of(&place, "data", &id);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, &bytes).unwrap();
        ids.insert(id);
        if ids.len() == 1000 {
            break;
        }
    }
    let page = store.list_page(&LabelFilter::All, None).unwrap();
    assert_eq!((page.chunks.len(), page.next), (1000, None));
}

#[test]
fn ranges_and_their_edges() {
    let (_top, place) = place();
    let store = local_store(&place);
    let data = label("data");
    for size in [0_u64, 1, 1000, 700_000] {
        let (id, bytes) = chunk(size, size as usize);
        store.put(&data, &id, bytes.clone()).unwrap();
        let ranges =
            [0..0, 0..size, size..size, 0..size / 2, size / 2..size, size.saturating_sub(1)..size, 0..size.min(1)];
        for range in ranges {
            let wanted: Bytes = bytes.slice(range.start as usize..range.end as usize);
            assert_eq!(store.get(&data, &id, Some(range.clone())).unwrap(), wanted, "{range:?} of {size}");
        }
        for range in [0..size + 1, size..size + 1, size + 1..size + 1, size + 1..size + 2, u64::MAX - 1..u64::MAX] {
            let error = store.get(&data, &id, Some(range.clone())).unwrap_err();
            assert_eq!(error.kind, StoreErrorKind::Invalid, "{range:?} of {size}");
            assert!(error.message.contains(&format!("it has {size} bytes")), "{error}");
        }
    }
    let (id, _) = chunk(1000, 1000);
    #[allow(clippy::reversed_empty_ranges)]
    let backwards = store.get(&data, &id, Some(5..3)).unwrap_err();
    assert_eq!(backwards.kind, StoreErrorKind::Invalid);
}

#[test]
fn absent_and_removed_chunks() {
    let (_top, place) = place();
    let store = local_store(&place);
    let data = label("data");
    let (id, bytes) = chunk(1, 10);
    for attempt in 0..2 {
        let error = store.get(&data, &id, None).unwrap_err();
        assert!(error.is_not_found(), "{error}");
        assert!(error.message.contains(&id.to_string()) && error.message.contains(&text(&place)), "{error}");
        assert!(store.get(&data, &id, Some(0..1)).unwrap_err().is_not_found());
        assert!(store.stat(&data, &id).unwrap_err().is_not_found());
        assert_eq!(store.remove(&data, &id).unwrap(), RemoveOutcome::Removed);
        if attempt == 0 {
            store.put(&data, &id, bytes.clone()).unwrap();
            assert_eq!(store.remove(&data, &id).unwrap(), RemoveOutcome::Removed);
        }
    }
}

#[test]
fn compiled_plugins_are_kept_and_made_again() {
    let (top, place) = place();
    let cache = top.path().join("cache/plugins");
    let open = || open_store(&StoreSpec { cache_dir: Some(cache.clone()), ..local(&place) }).unwrap();
    open().init().unwrap();
    let kept = || {
        let files = fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path());
        files.collect::<Vec<_>>()
    };
    let [compiled] = &kept()[..] else { panic!("{:?}", kept()) };
    let good = fs::read(compiled).unwrap();
    // Damaged in the middle, cut off, emptied: made again each time.
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    for bad in [&flipped[..], &good[..good.len() / 2], b""] {
        fs::write(compiled, bad).unwrap();
        open().open().unwrap();
        assert_eq!(fs::read(compiled).unwrap().len(), good.len());
    }
    // Where the cache cannot be used, it is done without.
    fs::set_permissions(&cache, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    fs::remove_file(compiled).unwrap();
    open().open().unwrap();
    assert!(kept().is_empty());
}

#[test]
fn directories_may_vanish() {
    let (_top, place) = place();
    let store = open_store(&StoreSpec { workers: 1, ..local(&place) }).unwrap();
    store.init().unwrap();
    let (id, bytes) = chunk(1, 1000);
    let data = label("data");
    store.put(&data, &id, bytes.clone()).unwrap();
    fs::remove_dir_all(file_of(&place, "data", &id).parent().unwrap()).unwrap();
    assert_eq!(store.put(&data, &id, bytes.clone()).unwrap(), PutOutcome::Stored);
    fs::remove_dir_all(place.join("data")).unwrap();
    assert_eq!(store.put(&data, &id, bytes.clone()).unwrap(), PutOutcome::Stored);
    assert_eq!(store.get(&data, &id, None).unwrap(), bytes);
}

#[test]
fn damage_is_found_by_reading() {
    let (_top, place) = place();
    let store = local_store(&place);
    let (id, bytes) = chunk(1, 1000);
    store.put(&label("data"), &id, bytes.clone()).unwrap();
    let mut damaged = bytes.to_vec();
    damaged[500] ^= 1;
    fs::write(file_of(&place, "data", &id), &damaged).unwrap();
    let error = store.get(&label("data"), &id, None).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Corrupt);
    assert!(error.message.contains("plugin local") && error.message.contains(&format!("data/{id}")), "{error}");
}

#[test]
fn init_may_be_repeated_until_there_are_chunks() {
    let (_top, place) = place();
    let store = local_store(&place);
    store.init().unwrap();
    open_store(&local(&place)).unwrap().init().unwrap();
    assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
    let (id, bytes) = chunk(1, 10);
    store.put(&label("data"), &id, bytes).unwrap();
    let error = open_store(&local(&place)).unwrap().init().unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::AlreadyInitialised);
    assert!(error.message.contains("holds chunks"), "{error}");
    open_store(&local(&place)).unwrap().open().unwrap();
}

#[test]
fn init_creates_the_directory_only_when_it_may() {
    let (top, _) = place();
    let deep = top.path().join("a/b/store");
    let error = open_store(&StoreSpec { create_dir: false, ..local(&deep) }).unwrap().init().unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NotInitialised);
    assert!(!deep.exists());
    local_store(&deep).open().unwrap();
}

#[test]
fn init_leaves_foreign_directories_alone() {
    let (_top, place) = place();
    fs::create_dir(&place).unwrap();
    fs::create_dir(place.join("lost+found")).unwrap();
    fs::write(place.join("thesis.odt"), b"precious").unwrap();
    let store = open_store(&local(&place)).unwrap();
    let error = store.init().unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::AlreadyInitialised);
    assert!(error.message.contains("thesis.odt"), "{error}");
    assert_eq!(fs::read_dir(&place).unwrap().count(), 2);
    // A fresh file system is not foreign.
    fs::remove_file(place.join("thesis.odt")).unwrap();
    store.init().unwrap();
}

#[test]
fn open_creates_nothing() {
    let (top, place) = place();
    let store = open_store(&local(&place)).unwrap();
    let error = store.open().unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NotInitialised);
    assert!(error.message.contains("Is the disk mounted?") && error.message.contains(&text(&place)), "{error}");
    assert_eq!(fs::read_dir(top.path()).unwrap().count(), 0);

    // The mount point of a disk that is not mounted.
    fs::create_dir(&place).unwrap();
    let (id, bytes) = chunk(1, 10);
    let data = label("data");
    for error in [
        store.open().unwrap_err(),
        store.put(&data, &id, bytes).map(drop).unwrap_err(),
        store.get(&data, &id, None).map(drop).unwrap_err(),
        store.list(&LabelFilter::All).map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind, StoreErrorKind::NotInitialised);
        assert!(error.message.contains("Is the disk mounted?"), "{error}");
    }
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0);

    // Later it is mounted: the same store works.
    local_store(&place);
    store.open().unwrap();

    let file = top.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = open_store(&local(&file)).unwrap().open().unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Invalid, "{error}");
}

#[test]
fn a_damaged_marker_is_not_believed() {
    let (_top, place) = place();
    let store = local_store(&place);
    fs::write(place.join(MARKER), b"chunk store, version 7").unwrap();
    let error = open_store(&local(&place)).unwrap().open().unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unsupported);
    assert!(error.message.contains("version 7"), "{error}");
    drop(store);
}

#[test]
fn leftovers_are_ignored_then_removed() {
    let (_top, place) = place();
    local_store(&place);
    fs::create_dir(place.join("data")).unwrap();
    let (old, new) = (place.join("data/.tmp-old"), place.join("data/.tmp-new"));
    let age = |path: &Path, hours: u64| {
        let then = SystemTime::now() - Duration::from_secs(hours * 3600);
        File::create(path).unwrap().set_times(FileTimes::new().set_modified(then)).unwrap();
    };
    age(&old, 25);
    age(&new, 23);
    let store = open_store(&local(&place)).unwrap();
    assert!(store.list(&LabelFilter::All).unwrap().is_empty());
    assert!(store.check().unwrap().iter().any(|f| f.code == "unfinished-files" && f.severity == Severity::Info));
    assert!(old.exists());
    let (id, bytes) = chunk(1, 10);
    store.put(&label("data"), &id, bytes).unwrap();
    assert!(!old.exists() && new.exists());
}

#[test]
fn foreign_files_are_ignored_and_reported() {
    let (_top, place) = place();
    let store = local_store(&place);
    let (id, bytes) = chunk(1, 10);
    store.put(&label("data"), &id, bytes).unwrap();
    fs::write(place.join("README"), b"").unwrap();
    fs::write(place.join("data/README"), b"").unwrap();
    let shard = file_of(&place, "data", &id).parent().unwrap().to_owned();
    fs::write(shard.join("README"), b"").unwrap();
    // A name of the right form in the wrong directory, one that is no UTF-8, a link.
    fs::write(shard.join("f".repeat(64)), b"").unwrap();
    let latin1 = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"caf\xe9");
    fs::write(place.join(latin1), b"").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", shard.join(format!("{}{}", &id.to_string()[..2], "0".repeat(62))))
        .unwrap();
    assert_eq!(store.list(&LabelFilter::All).unwrap().len(), 1);
    let findings = store.check().unwrap();
    let foreign = findings.iter().filter(|finding| finding.code == "foreign-file").count();
    assert_eq!(foreign, 6, "{findings:?}");
    assert!(findings.iter().any(|finding| finding.message.contains(&format!("{}/README", text(&place)))));
}

#[test]
fn options_are_checked() {
    let (_top, place) = place();
    let error = |options: &[(&str, &str)]| {
        let options = options.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        open_store(&StoreSpec { options, ..local(&place) }).unwrap_err()
    };
    let unknown = error(&[("fsink", "no")]);
    assert_eq!(unknown.kind, StoreErrorKind::Invalid);
    assert!(unknown.message.contains("\"fsink\"; known are fsync"), "{unknown}");
    let value = error(&[("fsync", "perhaps")]);
    assert_eq!(value.kind, StoreErrorKind::Invalid);
    assert!(value.message.contains("yes or no, not \"perhaps\""), "{value}");
    let source = PluginSource::Bundled("s4".into());
    let absent = open_store(&StoreSpec { source, ..local(&place) }).unwrap_err();
    assert!(absent.message.contains("bundled are local"), "{absent}");
    let scheme = StoreSpec::for_location("s4://x").unwrap_err();
    assert!(scheme.message.contains("\"s4:\""), "{scheme}");
}

#[test]
fn locations_have_several_forms() {
    let (_top, place) = place();
    local_store(&place);
    let below = format!("{}/../store/.", text(&place));
    for location in [format!("file:{}", text(&place)), format!("file://{}", text(&place)), below] {
        open_store(&StoreSpec { location, ..local(&place) }).unwrap().open().unwrap();
    }
    // A link that the user names leads to what he means.
    let link = place.with_file_name("link");
    std::os::unix::fs::symlink(&place, &link).unwrap();
    open_store(&local(&link)).unwrap().open().unwrap();
}

/// Runs a command; its success.
fn runs(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// A small file system of its own; unmounted when dropped.
struct Mount(tempfile::TempDir);

impl Mount {
    fn new(options: &str) -> Option<Self> {
        let top = tempfile::tempdir().unwrap();
        let path = text(top.path());
        runs("mount", &["-t", "tmpfs", "-o", options, "tmpfs", &path]).then_some(Mount(top))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        runs("umount", &["-l", &text(self.path())]);
    }
}

/// Tests that mount are worth nothing where nobody may; there they say so, and fail when CI asks for all of them.
fn cannot_mount() {
    assert!(std::env::var_os("OBNAM_TEST_ALL").is_none(), "cannot mount a tmpfs, which needs root");
    eprintln!("NOT TESTED: cannot mount a tmpfs, which needs root");
}

#[test]
fn a_full_disk_is_a_quota_error() {
    let Some(mount) = Mount::new("size=1m") else { return cannot_mount() };
    let store = local_store(mount.path());
    let (id, bytes) = chunk(1, 4 << 20);
    let error = store.put(&label("data"), &id, bytes).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Quota, "{error}");
    assert!(error.message.contains("the disk is full"), "{error}");
    // Nothing of it is left, so smaller chunks still fit.
    assert!(store.list(&LabelFilter::All).unwrap().is_empty());
    let (id, bytes) = chunk(2, 1000);
    store.put(&label("data"), &id, bytes).unwrap();
}

#[test]
fn a_read_only_disk_is_denied() {
    let Some(mount) = Mount::new("size=8m") else { return cannot_mount() };
    let store = local_store(mount.path());
    let (id, bytes) = chunk(1, 1000);
    store.put(&label("data"), &id, bytes.clone()).unwrap();
    drop(store);
    assert!(runs("mount", &["-o", "remount,ro", &text(mount.path())]));
    let store = open_store(&local(mount.path())).unwrap();
    store.open().unwrap();
    assert_eq!(store.get(&label("data"), &id, None).unwrap(), bytes);
    let (other, more) = chunk(2, 1000);
    for error in [
        store.put(&label("data"), &other, more).map(drop).unwrap_err(),
        store.remove(&label("data"), &id).map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
        assert!(error.message.contains("mounted read-only"), "{error}");
    }
    assert!(store.check().unwrap().iter().any(|finding| finding.code == "read-only"));
}

#[test]
fn a_place_without_rights_is_denied() {
    if rustix_is_root() {
        // Root may write anywhere; an immutable directory stops even root, where the file system knows it.
        let (_top, place) = place();
        let store = local_store(&place);
        if !runs("chattr", &["+i", &text(&place)]) {
            return eprintln!("NOT TESTED: root may write anywhere, and chattr does not work here");
        }
        let (id, bytes) = chunk(1, 10);
        let error = store.put(&label("data"), &id, bytes).unwrap_err();
        runs("chattr", &["-i", &text(&place)]);
        assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
        return;
    }
    let (_top, place) = place();
    let store = local_store(&place);
    fs::set_permissions(&place, std::os::unix::fs::PermissionsExt::from_mode(0o500)).unwrap();
    let (id, bytes) = chunk(1, 10);
    let error = store.put(&label("data"), &id, bytes).unwrap_err();
    fs::set_permissions(&place, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
    assert!(error.message.contains("permission denied"), "{error}");
}

fn rustix_is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

//! The directory: made by `init` only, told apart from others, with options.

use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::time::{Duration, SystemTime};

use obnam::chunk::LabelFilter;
use obnam::plugin::{PluginSource, StoreSpec, open_store};
use obnam::store::{ChunkStore, Severity, StoreErrorKind};

use super::{MARKER, file_of, place};
use crate::plugin_support::{chunk, label, local, local_store, text};

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

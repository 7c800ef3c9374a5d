//! A guest that does everything wrong. Whatever it does, its caller gets an error that says what happened, in bounded
//! time, and other stores of the process do not notice.

#![allow(clippy::unwrap_used)]

mod plugin_support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use obnam::chunk::LabelFilter;
use obnam::plugin::{Limits, PluginStore, StoreSpec, open_store};
use obnam::store::{ChunkStore, PutOutcome, RemoveOutcome, StoreError, StoreErrorKind};
use plugin_support::{chunk, label, local_store, misbehaving, misbehaving_spec, test_limits, text};

/// A directory with room around it.
fn place() -> (tempfile::TempDir, std::path::PathBuf) {
    let top = tempfile::tempdir().unwrap();
    let place = top.path().join("place");
    fs::create_dir(&place).unwrap();
    (top, place)
}

fn open(place: &Path, manner: &str) -> PluginStore {
    misbehaving(place, manner).unwrap()
}

fn put(store: &PluginStore, size: usize) -> Result<PutOutcome, StoreError> {
    let (id, bytes) = chunk(7, size);
    store.put(&label("data"), &id, bytes)
}

/// How often the guest was called.
fn calls(place: &Path, what: &str) -> u64 {
    fs::metadata(place.join(what)).map_or(0, |file| file.len())
}

/// Another store in the same process works, before and after.
fn others_are_well() {
    let top = tempfile::tempdir().unwrap();
    let store = local_store(&top.path().join("store"));
    let (id, bytes) = chunk(1, 100_000);
    store.put(&label("data"), &id, bytes.clone()).unwrap();
    assert_eq!(store.get(&label("data"), &id, None).unwrap(), bytes);
}

/// The error of a put in a manner, and how often the guest was called for it.
fn put_fails(manner: &str, size: usize) -> (StoreError, u64) {
    put_fails_within(manner, size, test_limits())
}

fn put_fails_within(manner: &str, size: usize, limits: Limits) -> (StoreError, u64) {
    let (_top, place) = place();
    let store = open_store(&StoreSpec { limits, ..misbehaving_spec(&place, manner) }).unwrap();
    let error = put(&store, size).unwrap_err();
    eprintln!("{manner}: {error}");
    // The same store answers other calls: on a new instance where the old one is gone.
    assert!(store.stat(&label("data"), &chunk(8, 1).0).unwrap_err().is_not_found());
    others_are_well();
    (error, calls(&place, "puts"))
}

#[track_caller]
fn assert_says(error: &StoreError, kind: StoreErrorKind, words: &[&str]) {
    assert_eq!(error.kind, kind, "{error}");
    for word in words {
        assert!(error.message.contains(word), "{word:?} is not in: {error}");
    }
}

#[test]
fn behaving_well_works() {
    let (_top, place) = place();
    let store = open(&place, "work");
    store.init().unwrap();
    let (id, bytes) = chunk(7, 3 << 20);
    let data = label("data");
    assert_eq!(put(&store, 3 << 20).unwrap(), PutOutcome::Stored);
    assert_eq!(put(&store, 3 << 20).unwrap(), PutOutcome::AlreadyPresent);
    assert_eq!(store.get(&data, &id, None).unwrap(), bytes);
    assert_eq!(store.get(&data, &id, Some(10..20)).unwrap(), bytes.slice(10..20));
    assert_eq!(store.list(&LabelFilter::All).unwrap().len(), 1);
    assert_eq!(store.remove(&data, &id).unwrap(), RemoveOutcome::Pending(1_800_000_000));
    assert_says(&store.check().unwrap_err(), StoreErrorKind::Unsupported, &["plugin misbehaving: this plugin has no"]);
}

#[test]
fn endless_loops_end() {
    let limits = Limits { cpu: Duration::from_millis(200), ..test_limits() };
    let (error, calls) = put_fails_within("loop", 10, limits);
    assert_says(
        &error,
        StoreErrorKind::Plugin,
        &["plugin misbehaving", "store chunk data/", "200ms of processor time"],
    );
    assert_eq!(calls, 3);
}

#[test]
fn memory_is_bounded() {
    let (error, calls) = put_fails("eat", 10);
    assert_says(&error, StoreErrorKind::Plugin, &["more than its 64 MiB of memory"]);
    assert_eq!(calls, 3);
}

#[test]
fn handles_are_bounded() {
    let (_top, place) = place();
    let limits = Limits { handles: 100, ..test_limits() };
    let store = open_store(&StoreSpec { limits, ..misbehaving_spec(&place, "handles") }).unwrap();
    let error = put(&store, 10).unwrap_err();
    assert_says(&error, StoreErrorKind::Plugin, &["it was stopped", "table has no free keys"]);
    others_are_well();
}

#[test]
fn traps_are_reported_with_the_last_words() {
    let (error, calls) = put_fails("trap", 10);
    let words = ["it was stopped", "unreachable", "it had printed", "deliberate, at https://host/path?[...]"];
    assert_says(&error, StoreErrorKind::Plugin, &words);
    assert_eq!(calls, 3);
    let (error, _) = put_fails("exit", 10);
    assert_says(&error, StoreErrorKind::Plugin, &["it was stopped", "Exited"]);
}

#[test]
fn a_call_that_trapped_is_repeated_on_a_new_instance() {
    let (_top, place) = place();
    let store = open(&place, "trap-once");
    assert_eq!(put(&store, 1000).unwrap(), PutOutcome::Stored);
    assert_eq!(calls(&place, "puts"), 2);
    let (id, bytes) = chunk(7, 1000);
    assert_eq!(store.get(&label("data"), &id, None).unwrap(), bytes);
}

#[test]
fn calls_without_progress_end() {
    let limits = Limits { idle: Duration::from_millis(300), ..test_limits() };
    let (error, calls) = put_fails_within("sleep", 10, limits);
    assert_says(&error, StoreErrorKind::Plugin, &["it was stopped", "nothing moved for 300ms"]);
    assert_eq!(calls, 3);
    // A stream that stalls half-way.
    let (error, calls) = put_fails_within("stall-half-way", 1 << 20, limits);
    assert_says(&error, StoreErrorKind::Plugin, &["it was stopped", "nothing moved for 300ms"]);
    assert_eq!(calls, 3);
    // Something moves all the time, and yet it does not end.
    let limits = Limits { call: Duration::from_secs(1), ..test_limits() };
    let (error, _) = put_fails_within("sleep-long-in-pieces", 10, limits);
    assert_says(&error, StoreErrorKind::Plugin, &["the call took longer than 1s"]);
}

#[test]
fn a_thread_that_hangs_in_the_host_is_abandoned() {
    let (_top, place) = place();
    let fifo = place.join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let limits = Limits { idle: Duration::from_millis(300), ..test_limits() };
    let store = open_store(&StoreSpec { limits, ..misbehaving_spec(&place, "hang-in-the-host") }).unwrap();
    let error = put(&store, 10).unwrap_err();
    assert_says(&error, StoreErrorKind::Plugin, &["nothing moved for 300ms"]);
    assert!(store.stat(&label("data"), &chunk(8, 1).0).unwrap_err().is_not_found());
    others_are_well();
    // Lets the threads go on, so that they end before the test does.
    drop(fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap());
}

#[test]
fn unavailable_is_repeated_and_denied_is_not() {
    let (_top, place) = place();
    let store = open(&place, "unavailable-twice");
    assert_eq!(put(&store, 10).unwrap(), PutOutcome::Stored);
    assert_eq!(calls(&place, "puts"), 3);

    let (error, calls) = put_fails("unavailable", 10);
    assert_says(&error, StoreErrorKind::Unavailable(None), &["plugin misbehaving: closed for ever"]);
    assert_eq!(calls, 5);
    let (error, calls) = put_fails("denied", 10);
    assert_says(&error, StoreErrorKind::Denied, &["plugin misbehaving: the key is not good for this"]);
    assert_eq!(calls, 1);
}

#[test]
fn a_flood_of_output_is_thrown_away() {
    let (_top, place) = place();
    let store = open(&place, "flood");
    assert_eq!(put(&store, 10).unwrap(), PutOutcome::Stored);
}

#[test]
fn what_was_not_read_is_not_stored() {
    let (error, calls) = put_fails("unread", 10);
    assert_says(&error, StoreErrorKind::Corrupt, &["it says that it stored 10 bytes, but read only 0 of them"]);
    assert_eq!(calls, 1);
}

#[test]
fn there_is_no_way_out_of_the_directory() {
    let (top, place) = place();
    fs::write(top.path().join("outside"), b"secret").unwrap();
    std::os::unix::fs::symlink("/etc", place.join("link-etc")).unwrap();
    std::os::unix::fs::symlink("..", place.join("link-up")).unwrap();
    let store = open(&place, "escape");
    let error = put(&store, 10).unwrap_err();
    assert_says(&error, StoreErrorKind::Other, &["no way out"]);
    let mut around: Vec<_> = fs::read_dir(top.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    around.sort();
    assert_eq!(around, ["outside", "place"]);
}

#[test]
fn nobody_granted_the_network() {
    let (error, calls) = put_fails("http", 10);
    assert_says(&error, StoreErrorKind::Other, &["request refused: ErrorCode::HttpRequestDenied"]);
    assert_eq!(calls, 1);
    let (error, calls) = put_fails("sockets", 10);
    assert_says(&error, StoreErrorKind::Other, &["connected: false, looked up: false"]);
    assert_eq!(calls, 1);
}

#[test]
fn wishes_beyond_the_location_are_refused() {
    let (_top, place) = place();
    let refused = |manner: &str| misbehaving(&place, manner).map(drop).unwrap_err();
    let etc = refused("wish-etc");
    assert_says(
        &etc,
        StoreErrorKind::Denied,
        &["plugin misbehaving wishes to use the directory \"/etc\"", &text(&place)],
    );
    assert_says(
        &refused("wish-parent"),
        StoreErrorKind::Denied,
        &["wishes to use the directory", "/..\", which is refused"],
    );
    assert_says(&refused("wish-host"), StoreErrorKind::Denied, &["wishes to talk to \"https://example.org\""]);
    let odd = StoreSpec { location: "odd:thing".into(), ..misbehaving_spec(&place, "work") };
    assert_says(&open_store(&odd).map(drop).unwrap_err(), StoreErrorKind::Denied, &["the location names no directory"]);
    others_are_well();
}

#[test]
fn planning_happens_without_grants_and_within_limits() {
    let (_top, place) = place();
    let looks = misbehaving(&place, "plan-looks").map(drop).unwrap_err();
    assert_says(&looks, StoreErrorKind::Invalid, &["plan sees 0 things, reads: false"]);
    let limits = Limits { cpu: Duration::from_millis(200), ..test_limits() };
    let loops = open_store(&StoreSpec { limits, ..misbehaving_spec(&place, "plan-loops") }).map(drop).unwrap_err();
    assert_says(&loops, StoreErrorKind::Plugin, &["could not plan the use of", "of processor time"]);
    others_are_well();
}

#[test]
fn links_planted_by_a_plugin_lead_nowhere() {
    let (top, place) = place();
    fs::create_dir(top.path().join("victim")).unwrap();
    let link = place.join("link");
    std::os::unix::fs::symlink("../victim", &link).unwrap();
    // The user names the directory; the wish is for a link that the plugin may have made in an earlier run.
    let spec = StoreSpec { location: text(&place), ..misbehaving_spec(&place, "wish-link") };
    let error = open_store(&spec).unwrap().open().unwrap_err();
    assert_says(&error, StoreErrorKind::Denied, &["is refused to the plugin: it leads to", "victim, outside of"]);
}

#[test]
fn wrong_bytes_are_seen() {
    let get = |manner: &str, range: Option<std::ops::Range<u64>>| {
        let (_top, place) = place();
        let store = open(&place, manner);
        put(&store, 1000).unwrap();
        let (id, bytes) = chunk(7, 1000);
        let result = store.get(&label("data"), &id, range);
        if let Ok(got) = &result {
            assert_eq!(*got, bytes);
        }
        (result, calls(&place, "gets"))
    };
    let (result, calls) = get("wrong-bytes", None);
    assert_says(&result.unwrap_err(), StoreErrorKind::Corrupt, &["read chunk data/", "are not those of the chunk"]);
    assert_eq!(calls, 2);
    let (result, calls) = get("wrong-bytes-once", None);
    assert!(result.is_ok());
    assert_eq!(calls, 2);
    let (result, _) = get("long", Some(10..20));
    assert_says(&result.unwrap_err(), StoreErrorKind::Corrupt, &["it answered with 11 bytes instead of 10"]);
    let (result, calls) = get("short", Some(10..20));
    assert_says(&result.unwrap_err(), StoreErrorKind::Unavailable(None), &["ended behind 9 of 10 bytes"]);
    assert_eq!(calls, 5);
    let (result, _) = get("long", None);
    assert_says(&result.unwrap_err(), StoreErrorKind::Corrupt, &["the 1001 bytes that it answered with are not"]);

    let (_top, place) = place();
    let limits = Limits { memory: 256 << 20, ..test_limits() };
    let store = open_store(&StoreSpec { limits, ..misbehaving_spec(&place, "too-large") }).unwrap();
    let error = store.get(&label("data"), &chunk(7, 10).0, None).unwrap_err();
    assert_says(&error, StoreErrorKind::Plugin, &["it was stopped: ", "fuel"]);
    others_are_well();
}

#[test]
fn broken_streams_are_repeated() {
    let (_top, place) = place();
    assert!(Command::new("mkfifo").arg(place.join("fifo")).status().unwrap().success());
    let store = open(&place, "broken-stream");
    let (id, _) = chunk(7, 1000);
    let error = store.get(&label("data"), &id, None).unwrap_err();
    assert_says(&error, StoreErrorKind::Unavailable(None), &["the stream broke behind 0 bytes", "try again later"]);
    assert_eq!(calls(&place, "gets"), 5);

    // A stream that ends half-way, and one that goes on behind the range.
    fs::write(place.join("file"), vec![5; 500]).unwrap();
    let store = open(&place, "file-stream");
    let error = store.get(&label("data"), &id, Some(0..1000)).unwrap_err();
    assert_says(&error, StoreErrorKind::Unavailable(None), &["the answer ended behind 500 of 1000 bytes"]);
    assert_eq!(store.get(&label("data"), &id, Some(0..100)).unwrap(), vec![5; 100]);
    others_are_well();
}

#[test]
fn lying_listings_are_seen() {
    let lies = [
        ("list-unsorted", "is not in ascending order"),
        ("list-again", "is not in ascending order"),
        ("list-empty", "a page without chunks says that there are more"),
        ("list-other-label", "it has label other, which was not asked for"),
        ("list-no-label", "\"../x\" is not a label"),
        ("list-too-many", "a page has 1001 chunks"),
    ];
    let (_top, place) = place();
    for (manner, words) in lies {
        let error = open(&place, manner).list(&LabelFilter::Exactly(label("data"))).unwrap_err();
        assert_says(&error, StoreErrorKind::Corrupt, &["plugin misbehaving: could not list chunks", words]);
    }
    let limits = Limits { listing: 10_000, ..test_limits() };
    let endless = open_store(&StoreSpec { limits, ..misbehaving_spec(&place, "list-endless") }).unwrap();
    let error = endless.list(&LabelFilter::All).unwrap_err();
    assert_says(&error, StoreErrorKind::Corrupt, &["it has more than 10000 chunks and does not end"]);

    let store = open(&place, "stat-of-another");
    put(&store, 10).unwrap();
    let error = store.stat(&label("data"), &chunk(7, 10).0).unwrap_err();
    assert_says(&error, StoreErrorKind::Corrupt, &["it answered about another/"]);
}

#[test]
fn secrets_do_not_show() {
    let (_top, place) = place();
    let mut spec = misbehaving_spec(&place, "leak");
    spec.options.push(("password".into(), "hunter2".into()));
    let error = open_store(&spec).unwrap().open().unwrap_err();
    assert_says(&error, StoreErrorKind::Denied, &["login of [secret] at https://h/p?[...] failed"]);
    assert!(!error.message.contains("hunter2") && !error.message.contains('\u{1b}'), "{error:?}");
}

#[test]
fn one_bad_call_does_not_disturb_the_others() {
    let (_top, place) = place();
    let limits = Limits { cpu: Duration::from_millis(200), ..test_limits() };
    let store = open_store(&StoreSpec { workers: 4, limits, ..misbehaving_spec(&place, "loop") }).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| assert_eq!(put(&store, 10).unwrap_err().kind, StoreErrorKind::Plugin));
        }
        for _ in 0..6 {
            scope.spawn(others_are_well);
        }
    });
}

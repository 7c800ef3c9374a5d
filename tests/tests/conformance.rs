//! The conformance suite: green on the bundled plugins, and red, on the right line, on plugins that break one promise each.

#![allow(clippy::unwrap_used)]

mod plugin_support;

use std::path::{Path, PathBuf};

use obnam::plugin::conformance::{self, Verdict};
use obnam::plugin::{PluginSource, StoreSpec};
use obnam_tests::s3::fake::{FakeS3, Faults};
use obnam_tests::s3::garage::Garage;
use obnam_tests::server::{Server, Setup};
use obnam_tests::{Sandbox, args, run};
use plugin_support::{cache, text};

/// Runs the suite; the names of the clauses that are broken, and what was seen.
fn broken(spec: &StoreSpec) -> Vec<(&'static str, String)> {
    // More than a page; the command is tried with as many as its users have.
    let (_, outcomes) = conformance::run(spec, 1_500, &mut |_| {}).unwrap();
    assert_eq!(outcomes.len(), conformance::promises().len());
    let broken = outcomes.into_iter().filter_map(|outcome| match outcome.verdict {
        Verdict::Kept | Verdict::Untried(_) => None,
        Verdict::Broken(why) => Some((outcome.clause, why)),
    });
    broken.collect()
}

fn at(location: &str, options: &[(&str, &str)]) -> StoreSpec {
    StoreSpec {
        options: options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        cache_dir: Some(cache()),
        ..StoreSpec::for_location(location).unwrap()
    }
}

#[test]
fn the_plugin_for_directories_keeps_the_contract() {
    let top = tempfile::tempdir().unwrap();
    assert_eq!(broken(&at(&text(&top.path().join("place")), &[("fsync", "no")])), []);
}

#[test]
fn the_plugin_for_s3_keeps_the_contract() {
    let garage = Garage::start();
    let keys = [
        ("region", garage.region()),
        ("access-key-id", garage.access_key()),
        ("secret-access-key", garage.secret_key()),
    ];
    assert_eq!(broken(&at(&format!("{}/conformance", garage.location()), &keys)), []);
    let fake = FakeS3::start(Faults::default());
    let keys =
        [("region", fake.region()), ("access-key-id", fake.access_key()), ("secret-access-key", fake.secret_key())];
    assert_eq!(broken(&at(&format!("{}/conformance", fake.location()), &keys)), []);
}

#[test]
fn the_plugin_for_the_server_keeps_the_contract() {
    let garage = Garage::start();
    let more = "[limits]\ntoken-requests = 100000\naddress-requests = 100000\n".to_owned();
    let server = Server::start(&garage, &Setup { more, ..Setup::default() });
    server.tenant("alice");
    let token = server.token("alice", &["--preset", "all"]);
    let options = [("token", token.as_str()), ("data-host", garage.endpoint())];
    assert_eq!(broken(&at(&format!("{}/alice", server.url), &options)), []);
}

/// What a guest does wrong, and the clause that finds it.
const FAULTS: [(&str, &str); 30] = [
    ("plan-changes", "plan"),
    ("plan-traps", "plan-refuses"),
    ("takes-any-option", "plan-refuses"),
    ("opens-anything", "open-before-init"),
    ("init-once", "init-again"),
    ("init-wipes", "init-with-chunks"),
    ("text-only", "put-get"),
    ("flips-a-bit", "put-get"),
    ("no-empty-chunks", "empty-chunk"),
    ("no-large-chunks", "largest-chunk"),
    ("short-labels", "labels"),
    ("stat-lies", "stat"),
    ("forgets", "durable"),
    ("once-only", "put-again"),
    ("replaces", "put-never-replaces"),
    ("takes-any-size", "put-wrong-size"),
    ("one-at-a-time", "put-concurrent"),
    ("absent-is-other", "absent-chunk"),
    ("ignores-ranges", "ranges"),
    ("no-empty-ranges", "range-of-nothing"),
    ("cuts-ranges", "range-too-far"),
    ("unavailable-ranges", "range-too-far"),
    ("prefix-without-dot", "list-filters"),
    ("lists-as-texts", "list-order"),
    ("long-pages", "list-pages"),
    ("repeats", "list-pages"),
    ("counts", "list-while-writing"),
    ("lists-a-thousand", "ten-thousand"),
    ("keeps", "remove"),
    ("misses-what-is-gone", "remove-absent"),
];

fn guest() -> PluginSource {
    PluginSource::File(PathBuf::from(env!("GUEST_BROKEN")))
}

fn with_fault(place: &Path, fault: &str) -> StoreSpec {
    let options = if fault.is_empty() { Vec::new() } else { vec![("fault".to_owned(), fault.to_owned())] };
    StoreSpec { source: guest(), options, ..at(&text(place), &[]) }
}

#[test]
fn a_guest_without_a_fault_keeps_the_contract() {
    let top = tempfile::tempdir().unwrap();
    assert_eq!(broken(&with_fault(&top.path().join("place"), "")), []);
}

/// The clauses that some faults break; those that break another one too are told apart by what is looked for.
fn faults_are_found(faults: &[(&str, &str)]) {
    for (fault, clause) in faults {
        let top = tempfile::tempdir().unwrap();
        let found = broken(&with_fault(&top.path().join("place"), fault));
        assert!(found.iter().any(|(name, why)| name == clause && !why.is_empty()), "{fault}: {found:?}");
    }
}

#[test]
fn broken_promises_are_found_first_third() {
    faults_are_found(&FAULTS[..10]);
}

#[test]
fn broken_promises_are_found_second_third() {
    faults_are_found(&FAULTS[10..20]);
}

#[test]
fn broken_promises_are_found_last_third() {
    faults_are_found(&FAULTS[20..]);
}

#[test]
fn the_command_prints_a_table_and_json() {
    let sandbox = Sandbox::new();
    let place = sandbox.path("place");
    let ran =
        run(sandbox.bare().args(args!["plugin", "test", "local", "--location", place, "-o", "fsync=no"])).expect(0);
    let table = ran.text();
    for (name, promise) in conformance::promises() {
        assert!(table.contains(&format!("kept    {name}")) && table.contains(promise), "{name}: {table}");
    }
    let guest = env!("GUEST_BROKEN");
    let place = sandbox.path("other");
    let ran = run(sandbox.bare().args(args![
        "--json",
        "plugin",
        "test",
        guest,
        "--location",
        place,
        "-o",
        "fault=stat-lies"
    ]))
    .expect(4);
    let outcomes = ran.result()["outcomes"].as_array().unwrap().clone();
    let stat = outcomes.iter().find(|outcome| outcome["clause"] == "stat").unwrap();
    assert_eq!(stat["verdict"], "broken", "{stat}");
    let inspected = run(sandbox.bare().args(args!["--json", "plugin", "inspect", guest])).expect(0).result();
    assert_eq!((&inspected["name"], &inspected["options"][0]["name"]), (&"broken".into(), &"fault".into()));
    run(sandbox.bare().args(args!["plugin", "list"])).expect(0);
    run(sandbox.bare().args(args!["plugin", "inspect", "/nowhere.wasm"])).expect(17).says(&["/nowhere.wasm"]);
}

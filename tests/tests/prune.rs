//! Freeing space, with the real programs.

#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use obnam_tests::tree::Random;
use obnam_tests::{Sandbox, args};
use serde_json::Value;

/// Backups of which each has some bytes of its own.
fn with_snapshots(sandbox: &Sandbox, count: u64) {
    for number in 0..count {
        Random(number).write_file(&sandbox.source().join("own"), 300_000);
        sandbox.back_up();
    }
}

fn stored(sandbox: &Sandbox) -> u64 {
    let output = sandbox.obnam(args!["--json", "stats"]).expect(0).result();
    output["repository"]["bytes"].as_u64().unwrap()
}

fn packs(result: &Value, which: &str) -> u64 {
    result[which]["packs"].as_u64().unwrap()
}

#[test]
fn space_is_free_once_snapshots_are_forgotten() {
    let sandbox = Sandbox::with_repository();
    with_snapshots(&sandbox, 5);
    let nothing = sandbox.obnam(args!["--json", "prune"]).expect(0).result();
    assert_eq!((packs(&nothing, "removed"), packs(&nothing, "marked")), (0, 0));
    sandbox.obnam(args!["forget", "--keep-last", "1"]).expect(0);
    let before = stored(&sandbox);
    let preview = sandbox.obnam(args!["prune", "--dry-run"]).expect(0).text();
    assert!(preview.contains("would be removed; nothing was done"), "{preview}");
    assert_eq!(stored(&sandbox), before);
    let foretold = sandbox.obnam(args!["--json", "prune", "-n"]).expect(0).result();
    let result = sandbox.obnam(args!["--json", "prune"]).expect(0).result();
    assert_eq!(result["removed"], foretold["removed"]);
    assert!(packs(&result, "removed") >= 4, "{result}");
    assert!(before - stored(&sandbox) > 1_100_000, "{before} {}", stored(&sandbox));
    for _ in 0..2 {
        let found = sandbox.check(0);
        assert!(found.iter().all(|found| found["code"] == "first-use"), "{found:#?}");
        sandbox.obnam(args!["check", "--read-data"]).expect(0);
        sandbox.assert_restores();
        sandbox.next_machine();
    }
    let again = sandbox.back_up();
    assert!(again["statistics"]["new_bytes"].as_u64().unwrap() < 20_000, "{again}");
    let text = sandbox.obnam(args!["prune"]).expect(0).text();
    assert!(text.contains("0 packs (0 B) removed"), "{text}");
}

#[test]
fn packs_that_are_needed_in_part_are_repacked() {
    let sandbox = Sandbox::with_repository();
    for number in 0..40 {
        Random(number).write_file(&sandbox.source().join(format!("file {number}")), 20_000);
    }
    sandbox.back_up();
    for number in (0..40).filter(|number| number % 4 > 0) {
        fs::remove_file(sandbox.source().join(format!("file {number}"))).unwrap();
    }
    sandbox.back_up();
    sandbox.obnam(args!["forget", "--keep-last", "1"]).expect(0);
    let nothing = sandbox.obnam(args!["--json", "prune", "--max-unused", "unlimited"]).expect(0).result();
    assert!(nothing["waste"].as_u64().unwrap() >= 600_000 && packs(&nothing, "repacked") == 0, "{nothing}");
    for limit in [["--max-unused", "90%"], ["--max-repack", "100K"], ["--max-time", "0"]] {
        let result = sandbox.obnam(["--json", "prune"].iter().chain(&limit)).expect(0).result();
        assert_eq!(packs(&result, "repacked"), 0, "{limit:?}: {result}");
    }
    let preview = sandbox.obnam(args!["prune", "-n"]).expect(0).text();
    assert!(preview.contains("would be repacked"), "{preview}");
    let before = stored(&sandbox);
    let text = sandbox.obnam(args!["prune"]).expect(0).text();
    assert!(text.contains("repacked into"), "{text}");
    assert!(before - stored(&sandbox) > 500_000, "{before} {}", stored(&sandbox));
    for _ in 0..2 {
        sandbox.obnam(args!["check", "--read-data"]).expect(0);
        sandbox.assert_restores();
        sandbox.next_machine();
    }
    for wrong in [["--max-unused", "much"], ["--max-unused", "101%"], ["--max-repack", "x"], ["--max-time", "soon"]] {
        sandbox.obnam(["prune"].iter().chain(&wrong)).expect(2).says(&[wrong[0]]);
    }
}

#[test]
fn a_grace_is_kept_where_the_user_wants_one() {
    let sandbox = Sandbox::with_repository();
    with_snapshots(&sandbox, 3);
    sandbox.obnam(args!["forget", "--keep-last", "1"]).expect(0);
    let before = stored(&sandbox);
    // Nothing here is an hour old.
    let young = sandbox.obnam(args!["--json", "prune", "--grace", "1h"]).expect(0).result();
    assert!(packs(&young, "young") >= 2 && packs(&young, "marked") == 0, "{young}");
    assert!(stored(&sandbox) == before);
    for grace in ["--grace=-1h", "--grace=soon", "--grace=5"] {
        sandbox.obnam(args!["prune", grace]).expect(2).says(&["2d"]);
    }
    sandbox.obnam(args!["prune", "--give-up", "abc"]).expect(17).says(&["4 digits"]);
}

#[test]
fn a_damaged_snapshot_stops_it() {
    let sandbox = Sandbox::with_repository();
    with_snapshots(&sandbox, 3);
    let all = sandbox.snapshots();
    sandbox.obnam(args!["forget", &all[0]]).expect(0);
    let (label, id, _) = sandbox.chunks().into_iter().find(|(_, id, _)| *id == all[1]).unwrap();
    assert!(label.starts_with("snapshot."));
    let path = sandbox.repository().join(&label).join(&id[..2]).join(&id);
    let good = fs::read(&path).unwrap();
    fs::write(&path, &good[1..]).unwrap();
    sandbox.next_machine();
    let before = stored(&sandbox);
    sandbox.obnam(args!["prune"]).expect(15).says(&[&all[1], "--give-up"]);
    assert_eq!(stored(&sandbox), before);
    fs::write(&path, good).unwrap();
    let result = sandbox.obnam(args!["--json", "prune"]).expect(0).result();
    assert!(packs(&result, "removed") >= 1, "{result}");
    assert!(sandbox.check(0).is_empty());
}

/// Killed again and again, each time a little later, until it comes through.
#[test]
fn a_prune_that_is_killed_is_gone_on_with() {
    let sandbox = Sandbox::with_repository();
    with_snapshots(&sandbox, 12);
    sandbox.obnam(args!["forget", "--keep-last", "1"]).expect(0);
    let before = stored(&sandbox);
    let mut wait = Duration::from_millis(20);
    loop {
        let mut child = sandbox.command(args!["prune"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(wait);
        let is_done = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        sandbox.obnam(args!["check", "--read-data"]).expect(0);
        if is_done {
            break;
        }
        wait = wait.mul_f64(1.3);
    }
    sandbox.obnam(args!["prune"]).expect(0);
    assert!(before - stored(&sandbox) > 3_000_000);
    sandbox.assert_restores();
    assert!(sandbox.check(0).is_empty());
}

//! When each source was last backed up, for people and for monitoring.

#![allow(clippy::unwrap_used)]

use std::fs;

use obnam_tests::{Sandbox, args};
use serde_json::Value;

#[test]
fn sources_are_told_with_their_last_good_backup() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    fs::write(source.join("a"), "aaaa").unwrap();
    // None at all.
    sandbox.obnam(["status"]).expect(0);
    sandbox.obnam(["status", "--max-age", "26h"]).expect(5).says(&["no backup"]);
    assert_eq!(sandbox.obnam(["--json", "status", "--max-age", "26h"]).expect(5).json()["status"], "stale");

    sandbox.back_up();
    sandbox.obnam(args!["-q", "backup", "--host", "desk", source]).expect(0);
    sandbox.obnam(args!["-q", "backup", "--host", "desk", source]).expect(0);
    let newest = sandbox.snapshots().last().unwrap().clone();
    let listed = sandbox.obnam(["--json", "status", "--max-age", "1h"]).expect(0).result();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 2);
    let desk = listed.iter().find(|one| one["host"] == "desk").unwrap();
    assert_eq!((&desk["last"]["snapshot"], &desk["too_old"]), (&Value::from(newest), &Value::from(false)));
    assert_eq!(desk["last"]["bytes"], 4);
    assert!(desk["last"]["age"].as_u64().unwrap() < 3_000);
    let text = sandbox.obnam(["status"]).expect(0).text();
    assert!(text.contains("0min") && text.contains("host desk") && text.contains("2 sources"), "{text}");
    // A filter without a source.
    sandbox.obnam(["status", "--max-age", "1h", "--host", "desk"]).expect(0);
    sandbox.obnam(["status", "--max-age", "1h", "--host", "nobody"]).expect(5);
    sandbox.obnam(["status", "--max-age", "soon"]).expect(2).says(&["12h"]);

    let file = sandbox.path("obnam.prom");
    sandbox.obnam(args!["status", "--metrics", file]).expect(0);
    let metrics = fs::read_to_string(&file).unwrap();
    assert_eq!(metrics.matches("\nobnam_last_backup_timestamp_seconds{").count(), 2, "{metrics}");
    sandbox.obnam(args!["status", "--metrics", sandbox.path("none/x.prom")]).expect(1).says(&["metrics", "none"]);
}

/// Neither data nor trees are asked for.
#[test]
fn it_reads_small_labels_only() {
    let sandbox = Sandbox::with_repository();
    fs::write(sandbox.source().join("a"), "a").unwrap();
    sandbox.back_up();
    for label in ["data", "tree"] {
        let _ = fs::remove_dir_all(sandbox.repository().join(label));
    }
    sandbox.next_machine();
    sandbox.obnam(["status", "--max-age", "1h"]).expect(0);
}

//! Long backups: partial snapshots, going on after `kill -9`, streams.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use obnam_tests::tree::{self, Random};
use obnam_tests::{Ran, Sandbox, args, below};
use serde_json::Value;

/// Files that were changed right before a backup are read again by the next one; lets them get older.
fn settle() {
    thread::sleep(Duration::from_millis(2_100));
}

fn listed(sandbox: &Sandbox) -> Vec<Value> {
    sandbox.obnam(args!["--json", "snapshots", "--all"]).expect(0).result().as_array().unwrap().clone()
}

/// The bytes in the repository below the directories whose name begins like this.
fn stored(sandbox: &Sandbox, family: &str) -> u64 {
    let size = |path: &Path| -> u64 {
        let files = fs::read_dir(path).into_iter().flatten().flatten();
        files
            .flat_map(|folder| fs::read_dir(folder.path()))
            .flatten()
            .flatten()
            // Others are temporary.
            .filter(|file| file.file_name().len() == 64)
            .filter_map(|file| file.metadata().ok())
            .map(|metadata| metadata.len())
            .sum()
    };
    let labels = fs::read_dir(sandbox.repository()).into_iter().flatten().flatten();
    labels
        .filter(|label| label.file_name().to_string_lossy().starts_with(family))
        .map(|label| size(&label.path()))
        .sum()
}

/// Starts a backup, and kills it when the repository has this much below the directories whose name begins like this.
fn kill_at(sandbox: &Sandbox, arguments: &[std::ffi::OsString], family: &str, size: u64) {
    let mut child = sandbox.command(arguments).stdout(Stdio::null()).spawn().unwrap();
    while stored(sandbox, family) < size && child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn partial_snapshots_hold_what_was_there_and_never_count_as_latest() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    for folder in ["a/deep/er", "b", "c"] {
        tree::small_files(&source.join(folder), 1_500, 5);
    }
    Random(6).write_file(&source.join("b/large"), 40_000_000);
    settle();
    let backup = args!["--json", "backup", "--checkpoint-interval", "0.0005", source];
    let last = sandbox.obnam(&backup).expect(0).result()["snapshot"].as_str().unwrap().to_owned();
    let all = listed(&sandbox);
    let (partial, whole): (Vec<_>, Vec<_>) = all.iter().partition(|one| one["partial"] == true);
    assert!(!partial.is_empty(), "no partial snapshot was made");
    assert_eq!(whole.len(), 1);
    assert_eq!(whole[0]["id"], last);
    let shown = sandbox.snapshots();
    assert_eq!(shown, [last], "partial snapshots that a later one replaces are not shown");
    sandbox.assert_restores();
    for one in &partial {
        let restored = sandbox.restore(one["id"].as_str().unwrap());
        for file in tree::describe(&restored).keys().filter(|path| restored.join(path).is_file()) {
            assert!(fs::read(restored.join(file)).unwrap() == fs::read(source.join(file)).unwrap(), "{file:?}");
        }
        sandbox.discard(&restored);
    }
    assert!(sandbox.check(0).is_empty());
    // The next backup knows all files.
    let second = sandbox.obnam(&backup).expect(0).result();
    assert_eq!(second["statistics"]["new_files"], 0);
    assert_eq!(second["statistics"]["changed_files"], 0);
}

#[test]
fn after_kill_9_almost_nothing_is_stored_twice() {
    const SIZE: u64 = 160_000_000;
    let sandbox = Sandbox::with_repository();
    for number in 0..8 {
        Random(20 + number).write_file(&sandbox.source().join(format!("{number}")), SIZE / 8);
    }
    kill_at(&sandbox, &args!["--quiet", "backup", sandbox.source()], "data", SIZE / 3);
    let before = stored(&sandbox, "data");
    assert!(sandbox.snapshots().is_empty() && before < SIZE * 9 / 10, "it was killed too late to show anything");
    let second = sandbox.back_up();
    assert!(second["statistics"]["new_bytes"].as_u64().unwrap() < SIZE);
    // Packs that were being stored when the program was killed, of at most 17 MiB each.
    let all = stored(&sandbox, "data");
    assert!(all < SIZE + SIZE / 50 + 4 * (17 << 20), "{all} bytes are stored of {SIZE}, {before} of them at first");
    sandbox.assert_restores();
    sandbox.check(0);
}

#[test]
fn a_killed_backup_with_a_partial_snapshot_reads_no_file_twice() {
    let sandbox = Sandbox::with_repository();
    tree::small_files(&sandbox.source().join("a"), 1_000, 7);
    Random(8).write_file(&sandbox.source().join("b"), 20_000_000);
    Random(9).write_file(&sandbox.source().join("c"), 200_000_000);
    settle();
    kill_at(&sandbox, &args!["--quiet", "backup", "--checkpoint-interval", "0.0005", sandbox.source()], "snapshot", 1);
    let left = listed(&sandbox);
    assert!(left.iter().all(|one| one["partial"] == true) && !left.is_empty(), "{left:?}");
    let second = sandbox.back_up();
    assert!(second["statistics"]["unchanged_files"].as_u64().unwrap() > 0, "{second}");
    sandbox.assert_restores();
    assert_eq!(sandbox.snapshots().len(), 1);
}

fn with_input(sandbox: &Sandbox, arguments: &[std::ffi::OsString], input: &[u8]) -> Ran {
    let mut command = sandbox.command(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = thread::spawn(move || pipe.write_all(&input));
    let ran = Ran::new("obnam backup --stdin".into(), child.wait_with_output().unwrap());
    let _ = writer.join().unwrap();
    ran
}

#[test]
fn standard_input_becomes_a_file() {
    let sandbox = Sandbox::with_repository();
    let mut input = Random(9).bytes(30_000_000);
    let backup = args!["--json", "backup", "--stdin", "--stdin-filename", "dump.sql"];
    with_input(&sandbox, &backup, &input).expect(0);
    let target = sandbox.fresh("restored");
    sandbox.obnam(args!["restore", "latest", target]).expect(0);
    assert!(fs::read(target.join("dump.sql")).unwrap() == input);
    // The same again, with a change in the middle, stores little.
    input[15_000_000] ^= 1;
    let again = with_input(&sandbox, &backup, &input).expect(0).result();
    assert!(again["statistics"]["new_bytes"].as_u64().unwrap() < 10_000_000, "{again}");
    with_input(&sandbox, &args!["backup", "--stdin"], b"").expect(0);
    let bad = sandbox.obnam(args!["backup", "--stdin", "--stdin-filename", "a/b"]).expect(17);
    bad.says(&["a/b", "without a slash"]);
    assert!(sandbox.obnam(args!["backup", "--stdin", "/etc"]).code == Some(2));
    assert!(sandbox.check(0).is_empty());
}

#[test]
fn what_a_command_prints_becomes_a_file_if_it_succeeds() {
    let sandbox = Sandbox::with_repository();
    let backup = |script: &str| {
        let command = ["backup", "--stdin-filename", "out", "--stdin-from-command", "--", "sh", "-c", script];
        sandbox.obnam(command)
    };
    backup("seq 1 1000000").expect(0);
    let target = sandbox.fresh("restored");
    sandbox.obnam(args!["restore", "latest", target]).expect(0);
    let seq: String = (1..=1_000_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(fs::read_to_string(target.join("out")).unwrap(), seq);
    backup("seq 1 1000; exit 7").expect(1).says(&["the command sh failed", "7", "no snapshot was made"]);
    backup("kill -9 $$").expect(1).says(&["the command sh failed", "signal: 9"]);
    let none = sandbox.obnam(["backup", "--stdin-from-command", "--", "/no/such/command"]).expect(17);
    none.says(&["/no/such/command", "nothing was done"]);
    assert_eq!(sandbox.obnam(["backup", "--stdin-from-command"]).code, Some(2));
    assert_eq!(sandbox.snapshots().len(), 1);
    // A backup of files does not forget its state because of one of a stream.
    tree::small_files(&sandbox.source(), 50, 3);
    settle();
    sandbox.back_up();
    backup("echo").expect(0);
    assert_eq!(sandbox.back_up()["statistics"]["unchanged_files"], 50);
    assert!(below(&target, &sandbox.source()).parent().is_some());
}

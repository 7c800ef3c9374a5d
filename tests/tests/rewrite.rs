//! Snapshots that are made of others, without some of their files.

#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use obnam_tests::rich::rich;
use obnam_tests::tree::{self, Random};
use obnam_tests::{Sandbox, args, chunks, run};
use serde_json::Value;

fn rewrite(sandbox: &Sandbox, words: &[&str]) -> Value {
    sandbox.obnam([&["--json", "rewrite"], words].concat()).expect(0).result()
}

fn snapshots(sandbox: &Sandbox) -> Vec<Value> {
    sandbox.obnam(args!["--json", "snapshots"]).expect(0).result().as_array().unwrap().clone()
}

fn stored(sandbox: &Sandbox) -> u64 {
    sandbox.chunks().iter().map(|(_, _, size)| size).sum()
}

fn list(result: &Value, key: &str) -> Vec<Value> {
    result[key].as_array().unwrap().clone()
}

/// Removes something from the source as if it had never been there.
fn remove(path: &Path) {
    let parent = path.parent().unwrap();
    let time = fs::metadata(parent).unwrap().modified().unwrap();
    if path.is_dir() {
        fs::remove_dir_all(path).unwrap()
    } else {
        fs::remove_file(path).unwrap()
    }
    tree::set_mtime(parent, time);
}

#[test]
fn what_matches_is_gone_and_all_else_is_as_it_was() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    rich(&source, 1);
    fs::create_dir_all(source.join("sizes/cache/deeper")).unwrap();
    Random(2).write_file(&source.join("sizes/cache/deeper/film.iso"), 2_000_000);
    tree::small_files(&source.join("many"), 3_000, 3);
    sandbox.obnam(args!["-q", "backup", source, "--tag", "a", "--host", "desk"]).expect(0);
    let whole = tree::describe(&source);
    fs::write(source.join("film.iso"), "another").unwrap();
    sandbox.back_up();
    let (before, listed) = (sandbox.chunks(), snapshots(&sandbox));

    // The first name of a file with three, a directory, names at any depth, one of many.
    let first = source.join("links/first");
    let words = ["-e", "*.iso", "-e", first.to_str().unwrap(), "-e", "times/", "-e", "many/*/file 1234"];
    let rehearsed = rewrite(&sandbox, &[&words[..], &["--dry-run", "-v"]].concat());
    assert_eq!(list(&rehearsed, "snapshots").len(), 2);
    assert_eq!(rehearsed["snapshots"][0]["left_out"], serde_json::json!({ "files": 3, "directories": 1 }));
    assert!(list(&rehearsed, "left_out").iter().any(|one| one["path"] == first.to_str().unwrap()), "{rehearsed}");
    let shown = sandbox.obnam([&["rewrite", "-n", "-v"], &words[..]].concat()).expect(0).text();
    assert!(
        shown.contains(&format!("- {}/times/\n", source.display())) && shown.contains("nothing was done"),
        "{shown}"
    );
    assert_eq!(sandbox.chunks(), before);

    let result = rewrite(&sandbox, &words);
    assert_eq!((list(&result, "snapshots").len(), list(&result, "removed").len()), (2, 0));
    // Nothing was stored but directories.
    assert!(result["stored_bytes"].as_u64().unwrap() < 300_000, "{result}");
    let all = snapshots(&sandbox);
    assert_eq!(all.len(), 4);
    for (original, made) in listed.iter().zip(list(&result, "snapshots")) {
        let new = all.iter().find(|one| one["id"] == made["snapshot"]).unwrap();
        for key in ["started", "finished", "host", "paths", "tags", "partial"] {
            assert_eq!(new[key], original[key], "{key}");
        }
        assert_eq!(new["rewritten"]["snapshot"], original["id"]);
        let (was, is) = (&original["statistics"], &new["statistics"]);
        let less = if original["id"] == listed[0]["id"] { 8 } else { 9 };
        assert_eq!(was["files"].as_u64().unwrap() - is["files"].as_u64().unwrap(), less, "{was} {is}");
        assert_eq!(was["others"], is["others"]);
    }
    // The originals are what they were.
    tree::assert_is(&whole, &sandbox.restore(listed[0]["id"].as_str().unwrap()));
    sandbox.assert_restores();
    for path in ["links/first", "times", "film.iso", "sizes/cache/deeper/film.iso", "many/012/file 1234"] {
        remove(&source.join(path));
    }
    tree::assert_same(&source, &sandbox.restore(made_of(&result, 1)));
    sandbox.obnam(args!["restore", made_of(&result, 0), sandbox.fresh("other"), "--verify"]).expect(0);
    assert!(sandbox.check(0).is_empty());
    // Once more, nothing is left to do; nor for a machine that remembers nothing.
    for _ in 0..2 {
        let again = rewrite(&sandbox, &words);
        assert_eq!((&again["untouched"], &again["stored_bytes"]), (&Value::from(2), &Value::from(0)), "{again}");
        assert_eq!(snapshots(&sandbox).len(), 4);
        sandbox.next_machine();
    }
    // A later backup takes nothing for changed that has not changed.
    let later = sandbox.back_up();
    assert_eq!(later["statistics"]["new_files"], 0, "{later}");
}

fn made_of(result: &Value, place: usize) -> &str {
    result["snapshots"][place]["snapshot"].as_str().unwrap()
}

#[test]
fn space_is_free_once_the_originals_are_forgotten() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    tree::varied(&source.join("kept"), 4);
    sandbox.back_up();
    let small = stored(&sandbox);
    for number in 0..3 {
        Random(10 + number).write_file(&source.join(format!("{number}.iso")), 3_000_000);
        sandbox.back_up();
    }
    let originals = sandbox.snapshots();
    let result = rewrite(&sandbox, &["--exclude", "*.iso", "--forget"]);
    assert_eq!((list(&result, "removed").len(), &result["untouched"]), (3, &Value::from(1)), "{result}");
    let all = sandbox.snapshots();
    assert!(all.len() == 4 && all.iter().filter(|id| originals.contains(id)).count() == 1, "{all:?}");
    sandbox.obnam(args!["prune"]).expect(0);
    // What is left over is one pack that is needed in part, at most.
    assert!(stored(&sandbox) < small + 1_500_000, "{small} {}", stored(&sandbox));
    for number in 0..3 {
        remove(&source.join(format!("{number}.iso")));
    }
    for _ in 0..2 {
        for snapshot in &all[1..] {
            let restored = sandbox.restore(snapshot);
            tree::assert_same(&source.join("kept"), &restored.join("kept"));
            assert!(!restored.join("0.iso").exists());
        }
        sandbox.assert_restores();
        let found = sandbox.check(0);
        assert!(found.iter().all(|found| found["code"] == "first-use"), "{found:#?}");
        sandbox.obnam(args!["audit"]).expect(0);
        sandbox.next_machine();
    }
    let later = sandbox.back_up();
    assert!(later["statistics"]["new_bytes"].as_u64().unwrap() < 20_000, "{later}");
    sandbox.assert_restores();
}

#[test]
fn policies_treat_both_as_one() {
    let sandbox = Sandbox::with_repository();
    for number in 0..4 {
        fs::write(sandbox.source().join("counter"), format!("{number}")).unwrap();
        fs::write(sandbox.source().join("secret"), format!("{number}")).unwrap();
        sandbox.back_up();
    }
    let originals = sandbox.snapshots();
    // By a client that is a maintainer: it is in the history of the first one.
    let made = rewrite(&sandbox, &["--exclude", "secret", &originals[0], &originals[1]]);
    let status = sandbox.obnam(args!["--json", "status"]).expect(0).result();
    assert_eq!(status.as_array().unwrap().len(), 1, "{status}");
    assert_eq!(status[0]["last"]["snapshot"], originals[3].as_str());
    let kept = sandbox.obnam(args!["--json", "forget", "--keep-last", "3", "-n"]).expect(0).result();
    assert_eq!(list(&kept, "groups").len(), 1, "{kept}");
    let keeps: Vec<bool> =
        list(&kept["groups"][0], "snapshots").iter().map(|one| one["keep"].as_bool().unwrap()).collect();
    // The last one of its client is never forgotten.
    assert_eq!(keeps, [false, false, true, true, true, true], "{kept}");
    let by_id = ["--json", "forget", "--keep-id", made_of(&made, 0), "-n"];
    let kept = sandbox.obnam(by_id).expect(0).result();
    assert!(kept["groups"][0]["snapshots"][0]["keep"] == true, "{kept}");
    assert_eq!(kept["groups"][0]["snapshots"][0]["id"], originals[0].as_str());
    sandbox.obnam(args!["audit"]).expect(0);
    // Those that were made of something old are not the latest.
    let restored = sandbox.restore("latest");
    assert_eq!(fs::read_to_string(restored.join("secret")).unwrap(), "3");
    let listed = sandbox.obnam(args!["snapshots"]).expect(0).text();
    assert_eq!(listed.matches("(rewritten)").count(), 2, "{listed}");
    // With a backup behind them they go with their originals.
    sandbox.back_up();
    sandbox.obnam(args!["forget", "--keep-last", "3"]).expect(0);
    assert_eq!(sandbox.snapshots().len(), 3);
    sandbox.obnam(args!["prune"]).expect(0);
    assert!(sandbox.check(0).is_empty());
}

#[test]
fn a_rewrite_that_is_killed_is_gone_on_with() {
    let sandbox = Sandbox::with_repository();
    tree::small_files(&sandbox.source().join("small"), 2_000, 5);
    for number in 0..5 {
        fs::write(sandbox.source().join("secret"), format!("{number}")).unwrap();
        sandbox.back_up();
    }
    let originals = sandbox.snapshots();
    let mut wait = Duration::from_millis(30);
    loop {
        let mut command = sandbox.command(args!["rewrite", "-e", "secret"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(wait);
        let is_done = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        sandbox.obnam(args!["check", "--read-data"]).expect(0);
        if is_done {
            break;
        }
        wait = wait.mul_f64(1.4);
    }
    let result = rewrite(&sandbox, &["-e", "secret", "--forget"]);
    let made: Vec<_> = list(&result, "snapshots").iter().map(|one| one["snapshot"].clone()).collect();
    let all = sandbox.snapshots();
    assert!(all.len() == 5 && all.iter().all(|id| made.contains(&Value::from(id.as_str()))), "{all:?} {result}");
    assert!(originals.iter().all(|id| !all.contains(id)));
    remove(&sandbox.source().join("secret"));
    sandbox.assert_restores();
    assert!(sandbox.check(0).is_empty());
}

/// A client as its own machine sees it.
struct Client(String, String);

impl Client {
    fn add(sandbox: &Sandbox, words: &[&str]) -> Self {
        let words = [&["--json", "client", "add", "--generate-passphrase"], words].concat();
        let made = sandbox.obnam(words).expect(0).result();
        let text = |key: &str| made[key].as_str().unwrap().to_owned();
        Client(text("credential"), text("passphrase"))
    }

    fn command(&self, sandbox: &Sandbox, words: &[&str]) -> Command {
        let mut command = sandbox.bare();
        command.env("OBNAM_PASSPHRASE", &self.1).arg("--repo").arg(sandbox.location());
        command.args(["--credential", &self.0]).args(words);
        command
    }
}

#[test]
fn each_may_do_what_its_role_allows() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    tree::small_files(&source.join("small"), 300, 6);
    Random(7).write_file(&source.join("large"), 1_000_000);
    Random(8).write_file(&source.join("secret"), 1_000_000);
    let writer = Client::add(&sandbox, &["laptop", "--write-only"]);
    let reader = Client::add(&sandbox, &["desk"]);
    sandbox.next_machine();
    let backup = ["--json", "backup", source.to_str().unwrap()];
    let first = run(&mut writer.command(&sandbox, &backup)).expect(0).result();
    let original = first["snapshot"].as_str().unwrap().to_owned();
    let before = sandbox.chunks();
    run(&mut writer.command(&sandbox, &["rewrite", "-e", "secret"])).expect(12).says(&["read the snapshots"]);
    sandbox.next_machine();
    run(&mut reader.command(&sandbox, &["rewrite", "-e", "secret", "--forget"])).expect(12).says(&["forget"]);
    assert_eq!(sandbox.chunks(), before);

    // Whoever relies on nothing that the write-only one says still refers to what it has stored.
    let result = rewrite(&sandbox, &["-e", "secret", "--forget"]);
    assert!(result["stored_bytes"].as_u64().unwrap() < 100_000, "{result}");
    assert_eq!((&result["kept"][0], list(&result, "removed").len()), (&Value::from(original.as_str()), 0), "{result}");
    // Its newest one goes when there is another one.
    Random(9).write_file(&source.join("large"), 1_000_000);
    sandbox.next_machine();
    run(&mut writer.command(&sandbox, &backup)).expect(0);
    sandbox.next_machine();
    let again = rewrite(&sandbox, &["-e", "secret", "--forget", &original]);
    assert_eq!(again["removed"], serde_json::json!([original]));
    assert_eq!(again["snapshots"][0]["snapshot"], made_of(&result, 0));
    sandbox.obnam(args!["prune"]).expect(0);
    let restored = sandbox.restore(made_of(&result, 0));
    assert!(!restored.join("secret").exists());
    assert_eq!(fs::read(restored.join("large")).unwrap(), Random(7).bytes(1_000_000));
    tree::assert_same(&source.join("small"), &restored.join("small"));
    sandbox.check(0);
    // It counts for its first client.
    let status = sandbox.obnam(args!["--json", "status"]).expect(0).result();
    assert_eq!(status.as_array().unwrap().len(), 1, "{status}");

    // One that is no maintainer can add to its own history only, and no policy drops that.
    let mut command = reader.command(&sandbox, &["--json", "rewrite", "-e", "small/", made_of(&result, 0)]);
    run(&mut command).expect(0);
    let kept = sandbox.obnam(args!["--json", "forget", "--keep-last", "1", "-n"]).expect(0).result();
    assert_eq!(list(&kept, "groups").len(), 2, "{kept}");
}

#[test]
fn what_cannot_be_done_is_told_and_changes_nothing() {
    let sandbox = Sandbox::with_repository();
    fs::create_dir(sandbox.source().join("dir")).unwrap();
    fs::write(sandbox.source().join("dir/a"), "a").unwrap();
    sandbox.back_up();
    let id = sandbox.snapshots()[0].clone();
    let before = sandbox.chunks();
    let refused = |words: &[&str], code: i32, says: &[&str]| {
        sandbox.obnam([&["rewrite"], words].concat()).expect(code).says(says);
        assert_eq!(sandbox.chunks(), before);
    };
    refused(&[], 17, &["--exclude PATTERN"]);
    refused(&["--exclude", "# no pattern\\"], 17, &["nothing was rewritten"]);
    refused(&["--exclude", "a//b"], 17, &["a//b", "can never match"]);
    refused(&["--exclude-from", "/nowhere"], 17, &["/nowhere"]);
    refused(&["--exclude", "a", "feed"], 17, &["no snapshot is called"]);
    refused(&["--exclude", "a", "latest", "--tag", "x"], 17, &["leave out"]);
    refused(&["--exclude", "/*", "--forget"], 3, &["nothing would be left", &format!("obnam forget {}", &id[..10])]);
    refused(&["--exclude", "b"], 0, &[]);
    // A directory that is lost.
    let pack = chunks::of_family(&sandbox.repository(), "data").pop().unwrap();
    fs::rename(&pack.path, sandbox.path("away")).unwrap();
    sandbox.obnam(args!["rewrite", "--exclude", "a"]).expect(3).says(&["tree blob", "check --read-data"]);
    fs::rename(sandbox.path("away"), &pack.path).unwrap();
    assert_eq!(sandbox.chunks(), before);
    let result = rewrite(&sandbox, &["--exclude", "a"]);
    assert_eq!(list(&result, "snapshots").len(), 1);
}

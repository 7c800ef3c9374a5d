//! Copies from one repository into another one: a laptop's spool, and the big storage that is not always there.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use obnam_tests::s3::garage::Garage;
use obnam_tests::tree::{self, Random};
use obnam_tests::{Ran, Sandbox, args, below, chmod, chunks, run};
use serde_json::Value;

/// A sandbox with a spool that an identity opens, a target that a passphrase opens, and a profile for each.
fn spool_and_target() -> Sandbox {
    let sandbox = Sandbox::with_repository();
    let at = |name: &str| sandbox.path(name).display().to_string();
    let config = format!(
        "[profile.spool]\nrepository = {:?}\nidentity = {:?}\nsources = [{:?}]\nsync-to = \"big\"\n\
         [profile.big]\nrepository = {:?}\npassphrase-file = {:?}\n",
        at("repository"),
        at("identity"),
        at("source"),
        at("big"),
        at("passphrase")
    );
    let file = sandbox.local().join("config/obnam/config.toml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, config).unwrap();
    fs::write(sandbox.path("passphrase"), "of the big one\n").unwrap();
    chmod(&file, 0o600);
    chmod(&sandbox.path("passphrase"), 0o600);
    let mut init = sandbox.bare();
    run(init.args(["-p", "big", "init"]).env("OBNAM_NEW_PASSPHRASE", "of the big one")).expect(0);
    sandbox
}

/// Runs the program with a profile.
fn with(sandbox: &Sandbox, words: &[&str]) -> Ran {
    run(sandbox.bare().args(words))
}

fn listed(sandbox: &Sandbox, profile: &str) -> Vec<Value> {
    with(sandbox, &["-p", profile, "--json", "snapshots"]).expect(0).result().as_array().unwrap().clone()
}

/// Restores a snapshot of the target; where the source is in there.
fn restored(sandbox: &Sandbox, snapshot: &str) -> PathBuf {
    let target = sandbox.fresh("restored");
    with(sandbox, &["-q", "-p", "big", "restore", snapshot, target.to_str().unwrap()]).expect(0);
    below(&target, &sandbox.source())
}

#[test]
fn a_spool_is_copied_once_and_restores_from_the_target() {
    let sandbox = spool_and_target();
    let source = sandbox.source();
    tree::varied(&source.join("varied"), 1);
    tree::small_files(&source.join("small"), 1_500, 2);
    Random(3).write_file(&source.join("large"), 30_000_000);
    with(&sandbox, &["-q", "-p", "spool", "backup", "--tag", "first"]).expect(0);
    let first = tree::describe(&source);
    Random(4).write_file(&source.join("another"), 5_000_000);
    fs::remove_dir_all(source.join("small")).unwrap();
    with(&sandbox, &["-q", "-p", "spool", "backup", "--host", "desk"]).expect(0);

    let rehearsed = with(&sandbox, &["-p", "spool", "--json", "sync", "--dry-run"]).expect(0).result();
    assert_eq!(rehearsed["missing"].as_array().unwrap().len(), 2);
    assert!(rehearsed["estimate"]["bytes"].as_u64().unwrap() > 35_000_000, "{rehearsed}");
    assert!(listed(&sandbox, "big").is_empty());

    let copied = with(&sandbox, &["-p", "spool", "--json", "sync"]).expect(0).result();
    assert_eq!((copied["copied"].as_array().unwrap().len(), &copied["present"]), (2, &Value::from(0)));
    let (spool, big) = (listed(&sandbox, "spool"), listed(&sandbox, "big"));
    for (of_spool, of_big) in spool.iter().zip(&big) {
        for key in ["started", "finished", "host", "paths", "tags", "statistics", "partial"] {
            assert_eq!(of_spool[key], of_big[key], "{key}");
        }
        assert_eq!(of_big["origin"]["snapshot"], of_spool["id"]);
        assert_eq!(of_big["origin"]["client"], of_spool["client"]["name"]);
        assert_ne!(of_big["id"], of_spool["id"]);
    }
    assert_eq!(big[1]["previous"], big[0]["id"]);
    tree::assert_is(&first, &restored(&sandbox, big[0]["id"].as_str().unwrap()));
    tree::assert_same(&source, &restored(&sandbox, "latest"));
    with(&sandbox, &["-p", "big", "check", "--read-data"]).expect(0);

    // No id, key or byte of the one is in the other.
    let ids = |folder: &Path| chunks::all(folder).into_iter().map(|chunk| chunk.id).collect::<Vec<_>>();
    let of_spool = ids(&sandbox.repository());
    assert!(ids(&sandbox.path("big")).iter().all(|id| !of_spool.contains(id)));

    // A second time nothing is read or written, also on a machine that remembers nothing of it.
    let before = ids(&sandbox.path("big"));
    let again = with(&sandbox, &["-p", "spool", "--json", "copy", "--to-profile", "big"]).expect(0).result();
    assert_eq!((&again["present"], &again["read_bytes"]), (&Value::from(2), &Value::from(0)));
    fs::remove_dir_all(sandbox.local().join("cache")).unwrap();
    with(&sandbox, &["-p", "spool", "sync"]).expect(0);
    assert_eq!(ids(&sandbox.path("big")), before);
    // Nor is what goes back where it came from.
    let back = sandbox.repository();
    let back = ["-p", "big", "--json", "copy", "--to", back.to_str().unwrap(), "--to-identity"];
    let mut back = back.map(str::to_owned).to_vec();
    back.push(sandbox.identity().display().to_string());
    let back: Vec<&str> = back.iter().map(String::as_str).collect();
    assert_eq!(with(&sandbox, &back).expect(0).result()["present"], 2);

    // Without the names, all of the source is read once more, and only what is new is stored.
    fs::write(source.join("new"), "new").unwrap();
    with(&sandbox, &["-q", "-p", "spool", "backup"]).expect(0);
    let third = with(&sandbox, &["-p", "spool", "--json", "sync"]).expect(0).result();
    assert!(third["stored_bytes"].as_u64().unwrap() < 1_000_000, "{third}");
    // With them, only that is read too.
    fs::write(source.join("newer"), "newer").unwrap();
    with(&sandbox, &["-q", "-p", "spool", "backup"]).expect(0);
    let fourth = with(&sandbox, &["-p", "spool", "--json", "sync"]).expect(0).result();
    assert_eq!(fourth["read_bytes"], 5, "{fourth}");
    tree::assert_same(&source, &restored(&sandbox, "latest"));
    with(&sandbox, &["-p", "big", "check", "--read-data"]).expect(0);
}

#[test]
fn a_killed_copy_needs_no_repair_and_goes_on() {
    let sandbox = spool_and_target();
    let source = sandbox.source();
    tree::small_files(&source.join("small"), 3_000, 5);
    Random(6).write_file(&source.join("large"), 120_000_000);
    with(&sandbox, &["-q", "-p", "spool", "backup"]).expect(0);
    for round in 0..6 {
        let mut command = sandbox.bare();
        command.args(["-q", "-p", "spool", "sync"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        // Not to wait for something, but to hit it in the middle.
        thread::sleep(Duration::from_millis(400 + 200 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        with(&sandbox, &["-p", "big", "check"]).expect(0);
    }
    with(&sandbox, &["-p", "spool", "sync"]).expect(0);
    tree::assert_same(&source, &restored(&sandbox, "latest"));
    assert_eq!(listed(&sandbox, "big").len(), 1);
    with(&sandbox, &["-p", "big", "check", "--read-data"]).expect(0);
}

#[test]
fn damage_in_the_source_is_named_and_costs_one_snapshot() {
    let sandbox = spool_and_target();
    let source = sandbox.source();
    fs::write(source.join("good"), "good").unwrap();
    with(&sandbox, &["-q", "-p", "spool", "backup"]).expect(0);
    let before = chunks::of_family(&sandbox.repository(), "data");
    Random(7).write_file(&source.join("bad"), 3_000_000);
    with(&sandbox, &["-q", "-p", "spool", "backup"]).expect(0);
    fs::remove_file(source.join("bad")).unwrap();
    fs::write(source.join("later"), "later").unwrap();
    with(&sandbox, &["-q", "-p", "spool", "backup"]).expect(0);
    let new = chunks::of_family(&sandbox.repository(), "data");
    let large = new.iter().filter(|chunk| !before.contains(chunk)).max_by_key(|chunk| chunk.read().len()).unwrap();
    let mut bytes = large.read();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&large.path, bytes).unwrap();
    let ran = with(&sandbox, &["-p", "spool", "sync"]).expect(3).says(&["/bad", "data blob", "not copied"]);
    assert!(ran.text().contains("2 snapshots copied"), "{}", ran.text());
    let big = listed(&sandbox, "big");
    let bad = listed(&sandbox, "spool")[1]["id"].clone();
    assert!(big.len() == 2 && big.iter().all(|one| one["origin"]["snapshot"] != bad), "{big:?}");
    tree::assert_same(&source, &restored(&sandbox, "latest"));
    with(&sandbox, &["-p", "big", "check", "--read-data"]).expect(0);
    // And again, with the others there.
    with(&sandbox, &["-p", "spool", "sync"]).expect(3).says(&["/bad"]);
}

#[test]
fn a_target_that_is_away_is_told_and_nothing_is_lost() {
    let sandbox = spool_and_target();
    fs::write(sandbox.source().join("a"), "a").unwrap();
    with(&sandbox, &["-q", "-p", "spool", "backup"]).expect(0);
    fs::rename(sandbox.path("big"), sandbox.path("unplugged")).unwrap();
    with(&sandbox, &["-p", "spool", "sync"]).expect(10).says(&["target", "Nothing is lost"]);
    assert!(!sandbox.path("big").exists());
    fs::rename(sandbox.path("unplugged"), sandbox.path("big")).unwrap();
    with(&sandbox, &["-p", "spool", "sync"]).expect(0);
    assert_eq!(listed(&sandbox, "big").len(), 1);
    // Wrong words.
    with(&sandbox, &["-p", "big", "sync"]).expect(17).says(&["--to-profile", "sync-to"]);
    with(&sandbox, &["-p", "spool", "copy", "--to-profile", "spool"]).expect(17).says(&["the same repository"]);
    with(&sandbox, &["-p", "spool", "copy", "--to-profile", "bog"]).expect(17).says(&["there are big, spool"]);
    with(&sandbox, &["-p", "spool", "copy", "latest", "--tag", "x"]).expect(17).says(&["leave out"]);
    let big = sandbox.path("big").display().to_string();
    let words = ["-p", "spool", "copy", "--to", &big];
    with(&sandbox, &words).expect(12).says(&["OBNAM_TO_PASSPHRASE"]);
    run(sandbox.bare().args(words).env("OBNAM_PASSPHRASE", "of the big one")).expect(12);
    run(sandbox.bare().args(words).env("OBNAM_TO_PASSPHRASE", "wrong"))
        .expect(12)
        .says(&["target", "wrong passphrase"]);
    run(sandbox.bare().args(words).env("OBNAM_TO_PASSPHRASE", "of the big one")).expect(0);
}

/// A policy weighs copies among those of the same origin, whatever the order in which they were copied.
#[test]
fn copies_of_two_machines_are_forgotten_apart() {
    let sandbox = spool_and_target();
    let source = sandbox.source();
    for number in 0..4 {
        fs::write(source.join("file"), format!("{number}")).unwrap();
        with(&sandbox, &["-q", "-p", "spool", "backup"]).expect(0);
    }
    with(&sandbox, &["-p", "spool", "sync"]).expect(0);
    // A backup of the target's own client, of the same paths.
    with(&sandbox, &["-q", "-p", "big", "backup", source.to_str().unwrap()]).expect(0);
    let forgotten = with(&sandbox, &["-p", "big", "--json", "forget", "--keep-last", "1"]).expect(0).result();
    assert_eq!(listed(&sandbox, "big").len(), 2, "{forgotten}");
}

#[test]
fn a_bucket_takes_what_the_spool_has() {
    let garage = Garage::start();
    let sandbox = Sandbox::with_repository_at_s3(&garage);
    let source = sandbox.source();
    tree::small_files(&source, 500, 8);
    Random(9).write_file(&source.join("large"), 20_000_000);
    let spool = sandbox.path("spool").display().to_string();
    let secret = |command: &mut std::process::Command| {
        run(command.env("OBNAM_NEW_PASSPHRASE", "spool").env("OBNAM_PASSPHRASE", "spool")).expect(0)
    };
    secret(sandbox.bare().args(["--repo", &spool, "init"]));
    secret(sandbox.bare().args(["-q", "--repo", &spool, "backup"]).arg(&source));
    let location = sandbox.location();
    let sync = || {
        let mut command = sandbox.bare();
        command
            .args(["--json", "--repo", &spool, "sync", "--to"])
            .arg(&location)
            .arg("--to-identity")
            .arg(sandbox.identity());
        secret(&mut command).result()
    };
    assert_eq!(sync()["copied"].as_array().unwrap().len(), 1);
    assert_eq!(sync()["present"], 1);
    sandbox.assert_restores();
    sandbox.obnam(args!["check", "--read-data"]).expect(0);
}

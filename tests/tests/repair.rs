//! Checking in parts, and setting right what check has found, with the real programs.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use obnam_tests::tree::{self, Random};
use obnam_tests::{Sandbox, args};
use serde_json::Value;

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_repository();
    for (number, name) in (0..).zip(["a", "b", "dir/c"]) {
        let path = sandbox.source().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        Random(number).write_file(&path, 3_000_000);
        sandbox.back_up();
    }
    sandbox
}

fn file(sandbox: &Sandbox, label: &str, id: &str) -> PathBuf {
    sandbox.repository().join(label).join(&id[..2]).join(id)
}

/// The biggest chunk with this label.
fn biggest(sandbox: &Sandbox, label: &str) -> (String, PathBuf) {
    let chunks = sandbox.chunks().into_iter().filter(|(of, ..)| of == label);
    let (_, id, _) = chunks.max_by_key(|(_, _, size)| *size).unwrap();
    let path = file(sandbox, label, &id);
    (id, path)
}

fn check(sandbox: &Sandbox, more: &[&str], code: i32) -> Value {
    let arguments = ["--json", "check"].iter().chain(more);
    sandbox.obnam(arguments).expect(code).result()
}

fn error<'r>(result: &'r Value, code: &str) -> &'r Value {
    let findings = result["findings"].as_array().unwrap();
    findings.iter().find(|found| found["code"] == code).unwrap_or_else(|| panic!("no {code} in {result:#}"))
}

#[test]
fn a_repository_is_read_in_parts() {
    let sandbox = sandbox();
    let all = check(&sandbox, &[], 0)["chunks"].as_u64().unwrap();
    let read = |more: &[&str]| {
        let result = check(&sandbox, more, 0);
        result["chunks"].as_u64().unwrap() - result["unread"].as_u64().unwrap()
    };
    let shares: u64 = (1..=3).map(|share| read(&["--read-data-subset", &format!("{share}/3")])).sum();
    assert_eq!(shares, all);
    // All of them were read today.
    assert_eq!(read(&["--read-data", "--max-age", "2d"]), 0);
    assert_eq!(read(&["--read-data"]), all);
    sandbox.next_machine();
    let part = read(&["--read-data-subset", "20%"]);
    assert!(part > 0 && part < all, "{part} of {all}");
    assert_eq!(read(&["--read-data", "--max-age", "2d"]), all - part);
    let text = sandbox.obnam(args!["check", "--read-data-subset", "1M"]).expect(0).text();
    assert!(text.contains("not read"), "{text}");
    for part in ["0/3", "4/3", "0%", "101%", "some", ""] {
        sandbox.obnam(args!["check", "--read-data-subset", part]).expect(2).says(&["2/7"]);
    }
    sandbox.obnam(args!["check", "--max-age", "2d"]).expect(17).says(&["--read-data"]);
}

#[test]
fn a_lost_pack_is_stored_again() {
    let sandbox = sandbox();
    let (id, path) = biggest(&sandbox, "data");
    fs::remove_file(path).unwrap();
    let result = check(&sandbox, &[], 4);
    let found = error(&result, "pack-missing");
    assert!(found["writer"].is_string() && found["files"].as_u64().unwrap() > 0, "{found}");
    assert!(found["next"].as_str().unwrap().contains("repair index"), "{found}");
    let text = sandbox.obnam(args!["check"]).expect(4).text();
    assert!(text.contains("lost with it; next: obnam repair index"), "{text}");
    // A backup alone believes the index.
    let chunks = sandbox.chunks();
    let preview = sandbox.obnam(args!["repair", "index", "--dry-run"]).expect(0).text();
    assert!(preview.contains(&id) && preview.contains("nothing was done"), "{preview}");
    assert_eq!(sandbox.chunks(), chunks);
    let repaired = sandbox.obnam(args!["--json", "repair", "index"]).expect(0).result();
    assert_eq!(repaired["missing"], serde_json::json!([format!("data/{id}")]));
    sandbox.back_up();
    for _ in 0..2 {
        check(&sandbox, &["--read-data"], 0);
        sandbox.assert_restores();
        for snapshot in sandbox.snapshots() {
            let restored = sandbox.restore(&snapshot);
            sandbox.discard(&restored);
        }
        sandbox.next_machine();
    }
    // Forgetting and pruning bring nothing back.
    sandbox.obnam(args!["forget", "--keep-last", "1"]).expect(0);
    sandbox.obnam(args!["prune"]).expect(0);
    check(&sandbox, &["--read-data"], 0);
    sandbox.assert_restores();
    let again = sandbox.obnam(args!["repair", "index"]).expect(0).text();
    assert!(again.contains("0 packs and 0 entries of damaged blobs dropped, 0 packs found"), "{again}");
}

#[test]
fn a_damaged_blob_is_stored_again() {
    let sandbox = Sandbox::with_repository();
    // One pack with a blob for each file.
    for number in 0..30 {
        Random(number).write_file(&sandbox.source().join(format!("file {number}")), 60_000);
    }
    sandbox.back_up();
    let (id, path) = biggest(&sandbox, "data");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let result = check(&sandbox, &["--read-data"], 4);
    let found = error(&result, "blob-damaged");
    assert_eq!(found["chunk"], format!("data/{id}"));
    assert!(found["next"].as_str().unwrap().contains("--read-data"), "{found}");
    let repaired = sandbox.obnam(args!["--json", "repair", "index", "--read-data"]).expect(0).result();
    assert_eq!((&repaired["dropped"], repaired["missing"].as_array().unwrap().len()), (&1.into(), 0));
    let stored = sandbox.back_up()["statistics"]["new_blobs"].as_u64().unwrap();
    assert!(stored < 12, "{stored} blobs were stored again");
    // What is left of the pack is used, and what was damaged of it is not. That the pack is damaged stays true, and hurts nobody.
    check(&sandbox, &[], 0);
    let result = check(&sandbox, &["--read-data"], 0);
    let found = error(&result, "chunk-damaged");
    assert!(found["files"] == 0 && found["message"].as_str().unwrap().contains("are intact"), "{found}");
    assert_eq!((&found["severity"], &result["errors"]), (&"warning".into(), &0.into()));
    sandbox.next_machine();
    sandbox.assert_restores();
}

#[test]
fn packs_whose_index_is_lost_are_found() {
    let sandbox = sandbox();
    // What stood in the first snapshots' indexes is in an index chunk now.
    sandbox.obnam(args!["forget", "--keep-last", "1"]).expect(0);
    let (label, id, _) = sandbox.chunks().into_iter().find(|(label, ..)| label.starts_with("index.")).unwrap();
    fs::remove_file(file(&sandbox, &label, &id)).unwrap();
    sandbox.next_machine();
    check(&sandbox, &[], 4);
    let repaired = sandbox.obnam(args!["--json", "repair", "index"]).expect(0).result();
    assert!(!repaired["found"].as_array().unwrap().is_empty(), "{repaired}");
    check(&sandbox, &["--read-data"], 0);
    sandbox.assert_restores();
}

/// What a repair of snapshots says is lost of one of them: paths below the source.
fn lost(sandbox: &Sandbox, result: &Value, snapshot: &str) -> BTreeSet<PathBuf> {
    let all = result["lost"].as_array().unwrap().iter().filter(|one| one["snapshot"] == snapshot);
    let below =
        |one: &Value| Path::new(one["path"].as_str().unwrap()).strip_prefix(sandbox.source()).unwrap().to_owned();
    all.map(below).collect()
}

/// Asserts that a restored tree is as described, but for what is lost, which is not there.
fn assert_is_but_for(lost: &BTreeSet<PathBuf>, expected: &BTreeMap<PathBuf, tree::Description>, restored: &Path) {
    let (is, was) = (tree::describe(restored), expected.keys().cloned().collect::<BTreeSet<_>>());
    let gone: BTreeSet<PathBuf> = was.iter().filter(|path| !is.contains_key(*path)).cloned().collect();
    assert_eq!(gone, *lost);
    let left = expected.iter().filter(|(path, _)| !lost.contains(*path));
    tree::assert_is(&left.map(|(path, one)| (path.clone(), one.clone())).collect(), restored);
}

/// The snapshots that check finds damaged.
fn damaged(result: &Value) -> BTreeSet<String> {
    let all = result["findings"].as_array().unwrap().iter().filter(|found| found["severity"] == "error");
    all.map(|found| found["path"].as_str().unwrap().split(':').next().unwrap().to_owned()).collect()
}

#[test]
fn what_an_index_has_lost_is_found_before_anything_is_given_up() {
    let sandbox = Sandbox::with_repository();
    tree::varied(&sandbox.source().join("varied"), 5);
    sandbox.back_up();
    fs::write(sandbox.source().join("more"), "more").unwrap();
    sandbox.back_up();
    // The first snapshot has the only index of its packs in it.
    let first = &sandbox.snapshots()[0];
    let (label, ..) =
        sandbox.chunks().into_iter().find(|(label, id, ..)| label.starts_with("snapshot.") && id == first).unwrap();
    fs::remove_file(file(&sandbox, &label, first)).unwrap();
    let advice = sandbox.obnam(args!["check"]).expect(4).text();
    assert!(advice.contains("next: obnam repair index, then"), "{advice}");
    sandbox.obnam(args!["repair", "snapshots"]).expect(17).says(&["no index names", "first: obnam repair index"]);
    assert_eq!(sandbox.snapshots().len(), 1);
    sandbox.obnam(args!["repair", "index"]).expect(0);
    let nothing = sandbox.obnam(args!["--json", "repair", "snapshots"]).expect(0).result();
    assert_eq!((&nothing["whole"], nothing["lost"].as_array().unwrap().len()), (&1.into(), 0));
    sandbox.assert_restores();
}

#[test]
fn what_is_left_of_snapshots_whose_contents_are_lost() {
    let sandbox = sandbox();
    let source = sandbox.source();
    tree::varied(&source.join("varied"), 5);
    sandbox.back_up();
    let whole = tree::describe(&source);
    let nothing = sandbox.obnam(args!["--json", "repair", "snapshots"]).expect(0).result();
    assert_eq!((&nothing["whole"], &nothing["stored_bytes"]), (&4.into(), &0.into()));
    let (_, path) = biggest(&sandbox, "data");
    fs::remove_file(path).unwrap();
    let originals = sandbox.snapshots();
    // With the index as it is, and with one that has been set right.
    let (before, first) =
        (sandbox.chunks(), sandbox.obnam(args!["--json", "repair", "snapshots", "-n"]).expect(0).result());
    let advice = sandbox.obnam(args!["repair", "index"]).expect(0).text();
    assert!(advice.contains("For what is not: obnam repair snapshots"), "{advice}");
    let advice = sandbox.obnam(args!["check"]).expect(4).text();
    assert!(
        advice.contains("next: obnam repair index, then obnam backup where the files are, then obnam repair snapshots"),
        "{advice}"
    );
    let rehearsed = sandbox.obnam(args!["--json", "repair", "snapshots", "--dry-run"]).expect(0).result();
    assert_eq!(rehearsed["lost"], first["lost"]);
    assert!(rehearsed["snapshots"].as_array().unwrap().iter().all(|one| one["snapshot"].is_null()), "{rehearsed}");
    assert!(sandbox.chunks().iter().filter(|chunk| chunk.0 == "data").all(|chunk| before.contains(chunk)));

    let result = sandbox.obnam(args!["--json", "repair", "snapshots"]).expect(0).result();
    assert_eq!(result["lost"], rehearsed["lost"]);
    let repaired: Vec<(String, String)> = result["snapshots"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let text = |key: &str| one[key].as_str().unwrap().to_owned();
            (text("id"), text("snapshot"))
        })
        .collect();
    assert!(repaired.iter().any(|(original, _)| *original == originals[3]), "{result}");
    let gone = lost(&sandbox, &result, &originals[3]);
    assert!(!gone.is_empty() && gone.len() < 40, "{gone:?}");
    let new = &repaired.iter().find(|(original, _)| *original == originals[3]).unwrap().1;
    let restored = sandbox.restore(new);
    assert_is_but_for(&gone, &whole, &restored);
    // The damaged ones are still there, and nothing else is damaged.
    let found = check(&sandbox, &["--read-data"], 4);
    assert_eq!(damaged(&found), repaired.iter().map(|(original, _)| original[..10].to_owned()).collect());
    let again = sandbox.obnam(args!["repair", "snapshots"]).expect(0).text();
    assert!(again.contains(&format!("0 snapshots repaired, {} before", repaired.len())), "{again}");
    assert_eq!(sandbox.snapshots().len(), originals.len() + repaired.len());
    // When they are forgotten, all is well.
    let names: Vec<&str> = repaired.iter().map(|(original, _)| original.as_str()).collect();
    sandbox.obnam([&["forget"], &names[..]].concat()).expect(0);
    sandbox.obnam(args!["prune"]).expect(0);
    check(&sandbox, &["--read-data"], 0);
    sandbox.next_machine();
    assert_is_but_for(&gone, &whole, &sandbox.restore("latest"));
}

#[test]
fn what_is_left_of_snapshots_whose_directories_are_lost() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    tree::small_files(&source.join("many"), 6_000, 7);
    Random(8).write_file(&source.join("large"), 30_000_000);
    sandbox.back_up();
    let whole = tree::describe(&source);
    let (_, path) = biggest(&sandbox, "tree");
    let good = fs::read(&path).unwrap();
    let mut bytes = good.clone();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    sandbox.next_machine();
    sandbox.obnam(args!["repair", "index", "--read-data"]).expect(0);
    let original = sandbox.snapshots()[0].clone();
    let result = sandbox.obnam(args!["--json", "repair", "snapshots"]).expect(0).result();
    let told = lost(&sandbox, &result, &original);
    assert_eq!((told.len(), &result["lost"][0]["directory"]), (1, &true.into()), "{result}");
    let folder = told.first().unwrap();
    let gone: BTreeSet<PathBuf> =
        whole.keys().filter(|path| path.starts_with(folder) && *path != folder).cloned().collect();
    assert!(!gone.is_empty() && gone.len() <= 100);
    let new = result["snapshots"][0]["snapshot"].as_str().unwrap();
    assert_is_but_for(&gone, &whole, &sandbox.restore(new));
    assert_eq!(damaged(&check(&sandbox, &[], 4)), BTreeSet::from([original[..10].to_owned()]));
    sandbox.obnam(args!["forget", original]).expect(0);
    check(&sandbox, &[], 0);

    // All of them.
    fs::remove_file(&path).unwrap();
    for (label, id, _) in sandbox.chunks().into_iter().filter(|(label, ..)| label == "tree" || label == "data") {
        fs::remove_file(file(&sandbox, &label, &id)).unwrap();
    }
    let before = sandbox.chunks();
    sandbox.obnam(args!["repair", "snapshots"]).expect(3).says(&["nothing of it is left"]);
    assert_eq!(sandbox.chunks(), before);
}

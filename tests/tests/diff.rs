//! `obnam diff`, as a user sees it.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::time::SystemTime;

use obnam_tests::{Sandbox, args, chmod, chunks, tree};

/// The letters of the paths below the source.
fn letters(sandbox: &Sandbox, before: &str, after: &str) -> BTreeMap<String, char> {
    let text = sandbox.obnam(args!["-q", "diff", before, after]).expect(0).text();
    let source = format!("{}/", sandbox.source().display());
    let parse = |line: &str| {
        let (letter, path) = line.split_once(' ').unwrap();
        Some((path.strip_prefix(&source)?.to_owned(), letter.parse().unwrap()))
    };
    text.lines().filter_map(parse).collect()
}

#[test]
fn each_kind_of_change_has_its_letter() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    for name in ["same/deep", "gone/sub", "into file", "touched"] {
        fs::create_dir_all(source.join(name)).unwrap();
    }
    for name in ["same/deep/a", "gone/sub/x", "into file/y", "changed", "mode", "time", "z same"] {
        fs::write(source.join(name), name).unwrap();
    }
    symlink("one", source.join("link")).unwrap();
    sandbox.back_up();

    fs::remove_dir_all(source.join("gone")).unwrap();
    fs::remove_dir_all(source.join("into file")).unwrap();
    fs::write(source.join("into file"), "now a file").unwrap();
    fs::write(source.join("changed"), "other contents").unwrap();
    chmod(&source.join("mode"), 0o600);
    tree::set_mtime(&source.join("time"), SystemTime::UNIX_EPOCH);
    tree::set_mtime(&source.join("touched"), SystemTime::UNIX_EPOCH);
    fs::remove_file(source.join("link")).unwrap();
    symlink("two", source.join("link")).unwrap();
    fs::create_dir(source.join("new")).unwrap();
    fs::write(source.join("new/file"), "12345").unwrap();
    fs::write(source.join(OsStr::from_bytes(b"odd\xff")), "").unwrap();
    sandbox.back_up();

    let [one, two] = <[String; 2]>::try_from(sandbox.snapshots()).unwrap();
    let expected = [
        ("changed", 'M'),
        ("gone/", '-'),
        ("gone/sub/", '-'),
        ("gone/sub/x", '-'),
        ("into file", 'T'),
        ("into file/y", '-'),
        ("link", 'M'),
        ("mode", 'U'),
        ("new/", '+'),
        ("new/file", '+'),
        ("odd\u{fffd}", '+'),
        ("time", 'U'),
        ("touched/", 'U'),
    ];
    assert_eq!(letters(&sandbox, &one, "latest"), expected.map(|(name, letter)| (name.to_owned(), letter)).into());
    // The other way round, what came has gone.
    let back = letters(&sandbox, &two, &one);
    assert_eq!((back["new/"], back["gone/sub/x"], back["into file/"], back["into file/y"]), ('-', '+', 'T', '+'));
    assert!(letters(&sandbox, &one, &one).is_empty());

    let lines = sandbox.obnam(args!["--json", "diff", one, two]).expect(0).lines();
    let (summary, lines) = lines.split_last().unwrap();
    let odd = lines.iter().find(|line| line["path_hex"] != serde_json::Value::Null).unwrap();
    assert!(odd["path_hex"].as_str().unwrap().ends_with("6f6464ff") && odd["change"] == "added");
    let new = lines.iter().find(|line| line["path"].as_str().unwrap().ends_with("new/file")).unwrap();
    assert_eq!((&new["after"]["size"], &new["before"]), (&5.into(), &serde_json::Value::Null));
    let totals = &summary["summary"];
    assert_eq!(
        (&totals["files_added"], &totals["files_removed"], &totals["files_changed"]),
        (&2.into(), &2.into(), &1.into())
    );
}

#[test]
fn parts_of_snapshots_are_compared() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    for (name, text) in [("a/f", "1"), ("a/same", "s"), ("b/f", "22"), ("b/same", "s")] {
        fs::create_dir_all(source.join(name).parent().unwrap()).unwrap();
        fs::write(source.join(name), text).unwrap();
        tree::set_mtime(&source.join(name), SystemTime::UNIX_EPOCH);
    }
    sandbox.back_up();
    let part = |name: &str| format!("latest:{}/{name}", source.display());
    let diff = |one: &str, other: &str| sandbox.obnam(args!["-q", "diff", part(one), part(other)]).expect(0).text();
    assert_eq!(diff("a", "b"), "M ./f\n");
    assert_eq!(diff("a/f", "b/f"), "M .\n");
    assert_eq!(diff("a/same", "b/same"), "");
    sandbox.obnam(args!["diff", part("c"), "latest"]).expect(17).says(&["/c is not in snapshot"]);
    sandbox.obnam(args!["diff", "latest"]).expect(2);
    sandbox.obnam(args!["diff", "latest", "ffff"]).expect(17).says(&["ffff"]);
}

#[test]
fn what_cannot_be_read_is_named() {
    let sandbox = Sandbox::with_repository();
    tree::small_files(&sandbox.source(), 300, 5);
    sandbox.back_up();
    sandbox.back_up();
    fs::write(sandbox.source().join("000/file 7"), "new").unwrap();
    let one = sandbox.snapshots().remove(0);
    let before = chunks::all(&sandbox.repository());
    sandbox.back_up();
    // The packs of the last backup alone: what they held has not gone from the backup, it cannot be read.
    for chunk in chunks::all(&sandbox.repository()) {
        let is_new = before.iter().all(|old| old.path != chunk.path);
        if is_new && matches!(chunk.family(), "tree" | "data") {
            fs::remove_file(&chunk.path).unwrap();
        }
    }
    let ran = sandbox.obnam(args!["-q", "diff", one, "latest"]).expect(3).says(&["warning:"]);
    assert!(!ran.text().contains("file"), "{ran:?}");
    let last = sandbox.obnam(args!["--json", "diff", one, "latest"]).expect(3).lines().pop().unwrap();
    assert_eq!(last["warnings"][0]["code"], "directory-damaged");
}

//! Tags of snapshots, which change although snapshots never do; and the filters of `obnam snapshots`.

#![allow(missing_docs, clippy::unwrap_used)]

use obnam_tests::{Sandbox, args};
use serde_json::{Value, json};

fn tags(sandbox: &Sandbox, snapshot: &str) -> Value {
    let all = sandbox.obnam(args!["--json", "snapshots"]).expect(0).result();
    all.as_array().unwrap().iter().find(|one| one["id"] == snapshot).unwrap()["tags"].clone()
}

#[test]
fn tags_are_added_removed_and_set() {
    let sandbox = Sandbox::with_repository();
    std::fs::write(sandbox.source().join("a"), "a").unwrap();
    sandbox.obnam(args!["backup", "--tag", "first", sandbox.source()]).expect(0);
    sandbox.obnam(args!["backup", sandbox.source()]).expect(0);
    let [one, two] = <[String; 2]>::try_from(sandbox.snapshots()).unwrap();
    let before = sandbox.chunks();

    sandbox.obnam(args!["tag", one, two, one, "--add", "keep"]).expect(0);
    assert_eq!((tags(&sandbox, &one), tags(&sandbox, &two)), (json!(["first", "keep"]), json!(["keep"])));
    let changed = sandbox.obnam(args!["--json", "tag", one, two, "--remove", "first"]).expect(0).result();
    assert_eq!(changed["snapshots"], 2);
    assert_eq!(changed["changed"], json!([{ "snapshot": one, "tags": ["keep"], "tags_before": ["first", "keep"] }]));
    sandbox.obnam(args!["tag", "latest", "--set", "x", "--set", "y"]).expect(0);
    assert_eq!(tags(&sandbox, &two), json!(["x", "y"]));
    sandbox.obnam(args!["tag", "latest", "--clear"]).expect(0);
    // Another machine sees the same; a change that changes nothing stores nothing.
    sandbox.next_machine();
    assert_eq!((tags(&sandbox, &one), tags(&sandbox, &two)), (json!(["keep"]), json!([])));
    let now = sandbox.chunks();
    assert!(sandbox.obnam(args!["tag", one, "--add", "keep"]).expect(0).text().contains("1 snapshot unchanged"));
    assert_eq!(sandbox.chunks(), now);

    // Snapshots are what they were, and the new chunks are notes.
    assert!(before.iter().all(|chunk| now.contains(chunk)));
    let new: Vec<_> = now.iter().filter(|chunk| !before.contains(chunk)).collect();
    assert!(new.iter().all(|(label, ..)| label.starts_with("note.")) && new.len() == 5, "{new:?}");
    let shown = sandbox.obnam(args!["cat", "snapshot", one]).expect(0).json();
    assert_eq!((&shown["tags"], &shown["original_tags"]), (&json!(["keep"]), &json!(["first"])));
    assert!(sandbox.check(0).is_empty());
    sandbox.assert_restores();
}

#[test]
fn wrong_uses_of_tag_are_explained() {
    let sandbox = Sandbox::with_repository();
    std::fs::write(sandbox.source().join("a"), "a").unwrap();
    sandbox.back_up();
    let before = sandbox.chunks();
    sandbox.obnam(args!["tag", "latest"]).expect(17).says(&["--add"]);
    sandbox.obnam(args!["tag", "latest", "--add", ""]).expect(17).says(&["--clear"]);
    sandbox.obnam(args!["tag", "latest", "--add", "a", "--remove", "a"]).expect(17).says(&["both"]);
    sandbox.obnam(args!["tag", "latest", "0000", "--add", "a"]).expect(17).says(&["0000"]);
    sandbox.obnam(args!["tag", "latest", "--add", "a", "--set", "b"]).expect(2);
    sandbox.obnam(args!["tag"]).expect(2);
    assert_eq!(sandbox.chunks(), before, "nothing was done");
}

#[test]
fn snapshots_are_filtered() {
    let sandbox = Sandbox::with_repository();
    for name in ["a", "b"] {
        std::fs::create_dir(sandbox.source().join(name)).unwrap();
    }
    let (a, b) = (sandbox.source().join("a"), sandbox.source().join("b"));
    sandbox.obnam(args!["backup", "--host", "one", "--tag", "t", &a]).expect(0);
    sandbox.obnam(args!["backup", "--host", "two", "--tag", "t", &a, &b]).expect(0);
    sandbox.obnam(args!["backup", "--host", "two", &b]).expect(0);
    let all = sandbox.snapshots();
    let listed = |filters: &[std::ffi::OsString]| {
        let arguments = [&args!["--json", "snapshots"], filters].concat();
        let result = sandbox.obnam(arguments).expect(0).result();
        let place = |one: &Value| all.iter().position(|id| one["id"] == id.as_str()).unwrap();
        result.as_array().unwrap().iter().map(place).collect::<Vec<_>>()
    };
    assert_eq!(listed(&args!["--tag", "t"]), [0, 1]);
    assert_eq!(listed(&args!["--host", "two"]), [1, 2]);
    assert_eq!(listed(&args!["--host", "two", "--host", "one"]), [0, 1, 2]);
    assert_eq!(listed(&args!["--path", &b, "--tag", "t"]), [1]);
    assert_eq!(listed(&args!["--last", "1", "--tag", "t"]), [1]);
    assert_eq!(listed(&args!["--last", "9"]), [0, 1, 2]);
    assert!(listed(&args!["--client", "nobody"]).is_empty());
    let roster = sandbox.obnam(args!["cat", "roster"]).expect(0).json();
    for key in ["tag", "name"] {
        assert_eq!(listed(&args!["--client", roster["members"][0][key].as_str().unwrap()]), [0, 1, 2]);
    }
    let table = sandbox.obnam(args!["snapshots", "--tag", "t"]).expect(0).text();
    assert!(table.contains("TAGS") && table.contains("2 snapshots of 3"), "{table}");
}

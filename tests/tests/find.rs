//! `obnam find`, as a user sees it.

#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::time::{Duration, SystemTime};

use obnam_tests::{Sandbox, args, tree};
use serde_json::Value;

/// The paths below the source that are found, each with the numbers of snapshots of each version.
fn found(sandbox: &Sandbox, arguments: &[&str]) -> Vec<(String, Vec<Vec<usize>>)> {
    let all = sandbox.snapshots();
    let number = |id: &Value| all.iter().position(|other| id == other.as_str()).unwrap();
    let numbers = |version: &Value| version["snapshots"].as_array().unwrap().iter().map(number).collect();
    let source = format!("{}/", sandbox.source().display());
    let lines = sandbox.obnam([&["--json", "find"], arguments].concat()).expect(0).lines();
    let path = |line: &Value| line["path"].as_str().unwrap().replace(&source, "");
    lines.iter().map(|line| (path(line), line["versions"].as_array().unwrap().iter().map(numbers).collect())).collect()
}

#[test]
fn files_are_found_in_all_snapshots() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    let moment = |days: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400);
    let write = |name: &str, text: &str, days: u64| {
        fs::create_dir_all(source.join(name).parent().unwrap()).unwrap();
        fs::write(source.join(name), text).unwrap();
        tree::set_mtime(&source.join(name), moment(days));
    };
    write("docs/Letter.txt", "one", 10);
    write("docs/sub/letter.txt", "two", 20);
    write("other/letter.odt", "three", 30);
    sandbox.back_up();
    write("docs/Letter.txt", "one more", 40);
    fs::remove_dir_all(source.join("other")).unwrap();
    sandbox.back_up();
    write("letters/a", "a", 50);
    sandbox.back_up();

    let one = |path: &str, versions: &[&[usize]]| (path.to_owned(), versions.iter().map(|v| v.to_vec()).collect());
    let letter = || one("docs/Letter.txt", &[&[0], &[1, 2]]);
    let sub = || one("docs/sub/letter.txt", &[&[0, 1, 2]]);
    assert_eq!(found(&sandbox, &["letter.*"]), [sub(), one("other/letter.odt", &[&[0]])]);
    assert_eq!(found(&sandbox, &["-i", "letter.TXT"]), [letter(), sub()]);
    assert_eq!(found(&sandbox, &["docs/*.txt"]), [letter()]);
    assert_eq!(found(&sandbox, &["docs/**/*.txt"]), [letter(), sub()]);
    assert_eq!(found(&sandbox, &[&format!("{}/*/Letter.txt", source.display())]), [letter()]);
    assert!(found(&sandbox, &["/docs/*.txt"]).is_empty());
    assert_eq!(found(&sandbox, &["letter*", "--type", "directory"]), [one("letters", &[&[2]])]);
    assert_eq!(
        found(&sandbox, &["*.txt", "--snapshot", "latest"]),
        [one("docs/Letter.txt", &[&[2]]), one("docs/sub/letter.txt", &[&[2]])]
    );
    assert_eq!(found(&sandbox, &["*.txt", "--newer", "1970-01-21T00:00Z", "--older", "1970-02-01"]), [sub()]);
    assert_eq!(found(&sandbox, &["*.odt", "nothing"]).len(), 1);

    let text = sandbox.obnam(args!["find", "Letter.txt"]).expect(0).text();
    for id in sandbox.snapshots() {
        assert!(text.contains(&id[..10]), "{text}");
    }
    assert!(text.contains("1 path found in 3 snapshots") && text.contains("3 B"), "{text}");
    for (bad, says) in
        [(&["[a"][..], "[a"), (&["a", "--newer", "soon"], "soon"), (&["a", "--snapshot", "fff0"], "fff0")]
    {
        sandbox.obnam([&["find"], bad].concat()).expect(17).says(&[says]);
    }
    sandbox.obnam(["find"]).expect(2);
}

/// Names that are not text, and terminals that must not be played with.
#[test]
fn odd_names_are_found() {
    let sandbox = Sandbox::with_repository();
    tree::varied(&sandbox.source(), 3);
    sandbox.back_up();
    let listed = sandbox.obnam(args!["--json", "ls", "latest", sandbox.source()]).expect(0).lines().len();
    let all = sandbox.obnam(args!["--json", "find", "*", "--snapshot", "latest"]).expect(0).lines();
    let below =
        all.iter().filter(|line| line["path"].as_str().unwrap().starts_with(sandbox.source().to_str().unwrap()));
    assert_eq!(below.count(), listed);
    assert!(!sandbox.obnam(args!["find", "*"]).expect(0).text().contains('\x1b'));
}

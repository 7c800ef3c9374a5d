//! Secrets stay where they belong: not in output, not in the log, not in the files that the program leaves.

#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use obnam_tests::{Sandbox, run};

const PASSPHRASE: &str = "a passphrase that is found nowhere else";

/// All files below a directory, with their contents.
fn files(directory: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), found);
        } else {
            found.push((entry.path().display().to_string(), fs::read(entry.path()).unwrap()));
        }
    }
}

fn holds(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[test]
fn no_secret_appears_in_output_or_log() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.source().join("file"), "contents").unwrap();
    let with_both = |arguments: &[&str]| {
        let mut command = sandbox.command(arguments);
        run(command.env("OBNAM_PASSPHRASE", PASSPHRASE).env("OBNAM_LOG", "trace"))
    };
    let with_passphrase = |arguments: &[&str]| {
        let mut command = sandbox.bare();
        command.arg("--repo").arg(sandbox.repository()).args(arguments);
        run(command.env("OBNAM_PASSPHRASE", PASSPHRASE).env("OBNAM_LOG", "trace"))
    };
    let source = sandbox.source();
    let source = source.to_str().unwrap();
    let mut said = vec![with_both(&["-vv", "init"]).expect(0)];
    let identity = fs::read_to_string(sandbox.identity()).unwrap();
    let identity = identity.lines().find(|line| line.starts_with("AGE-SECRET-KEY-1")).unwrap();
    for arguments in [
        &["-vv", "backup", source][..],
        &["-vv", "snapshots"],
        &["-vv", "ls", "latest"],
        &["-vv", "check", "--read-data"],
        &["-vv", "cat", "roster"],
        &["-vv", "cat", "snapshot", "latest"],
        &["-vv", "--json", "chunks"],
    ] {
        said.push(with_both(arguments).expect(0));
        said.push(with_passphrase(arguments).expect(0));
    }
    let mut found = Vec::new();
    files(&sandbox.local(), &mut found);
    files(&sandbox.repository(), &mut found);
    assert!(found.len() > 10, "the program leaves files behind");
    found.extend(said.into_iter().map(|ran| ("what was printed".to_owned(), ran.all().into_bytes())));
    for (place, bytes) in &found {
        for secret in [PASSPHRASE, identity] {
            assert!(!holds(bytes, secret), "{place} holds a secret");
        }
    }
}

//! The documents keep their word: every test that they name exists.

#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// `file::test` in backticks.
fn named_tests(text: &str) -> Vec<(String, String)> {
    let is_name = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
    };
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|code| code.split_once("::"))
        .filter(|(file, test)| is_name(file) && is_name(test))
        .map(|(file, test)| (file.to_owned(), test.to_owned()))
        .collect()
}

#[test]
fn every_promise_has_the_test_that_it_names() {
    let mut checked = 0;
    for page in ["docs/threat-model.md", "docs/architecture.md"] {
        for (file, test) in named_tests(&fs::read_to_string(root().join(page)).unwrap()) {
            let places = ["tests/tests", "host/tests"].map(|folder| root().join(folder).join(format!("{file}.rs")));
            let source = places.iter().find_map(|path| fs::read_to_string(path).ok());
            let source = source.unwrap_or_else(|| panic!("{page} names {file}::{test}, but there is no such file"));
            assert!(source.contains(&format!("fn {test}(")), "{page} names {file}::{test}, which is not there");
            checked += 1;
        }
    }
    assert!(checked >= 30, "only {checked} tests are named: are they still written as `file::test`?");
}

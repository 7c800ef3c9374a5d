//! The documents keep their word: every test that they name exists, links lead somewhere, policies are JSON.

#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use obnam::plugin::{ADJUSTABLE, StoreSpec, inspect};
use obnam_tests::obnam;
use serde_json::Value;

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

/// What is in the test of this name: a file, or the files of a folder.
fn source_of(test: &str) -> Option<String> {
    ["tests/tests", "host/tests", "server/tests/server"].iter().find_map(|folder| {
        let folder = root().join(folder);
        let whole = || fs::read_dir(folder.join(test)).ok().map(|files| files.map(|file| read(&file.unwrap().path())));
        fs::read_to_string(folder.join(format!("{test}.rs"))).ok().or_else(|| Some(whole()?.collect()))
    })
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// README.md and all pages below docs.
fn pages() -> Vec<PathBuf> {
    let of = |folder: &str| fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let pages = of("docs").chain(of("docs/stores")).filter(|path| path.extension().is_some_and(|end| end == "md"));
    pages.chain([root().join("README.md")]).collect()
}

#[test]
fn every_promise_has_the_test_that_it_names() {
    let mut checked = 0;
    for page in ["docs/threat-model.md", "docs/architecture.md"] {
        for (file, test) in named_tests(&fs::read_to_string(root().join(page)).unwrap()) {
            let source = source_of(&file);
            let source = source.unwrap_or_else(|| panic!("{page} names {file}::{test}, but there is no such file"));
            assert!(source.contains(&format!("fn {test}(")), "{page} names {file}::{test}, which is not there");
            checked += 1;
        }
    }
    assert!(checked >= 30, "only {checked} tests are named: are they still written as `file::test`?");
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut checked = 0;
    for page in pages() {
        for link in read(&page).split("](").skip(1).filter_map(|rest| rest.split(')').next().map(str::to_owned)) {
            let target = link.split('#').next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            assert!(page.with_file_name(target).exists(), "{} leads to {link}", page.display());
            checked += 1;
        }
    }
    assert!(checked >= 30, "{checked}");
}

/// What stands between ```json and ``` on a page.
fn json_of(page: &str) -> Vec<Value> {
    let text = read(&root().join(page));
    let blocks = text.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.map(|block| serde_json::from_str(block).unwrap_or_else(|error| panic!("{page}: {error}\n{block}"))).collect()
}

fn texts(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .map_or_else(|| vec![value.as_str().unwrap()], |all| all.iter().map(|one| one.as_str().unwrap()).collect())
}

#[test]
fn policies_grant_what_is_needed_and_no_more() {
    let policies = json_of("docs/stores/aws.md");
    let [read_only, create_only, full, bucket] = policies.as_slice() else { panic!("{} policies", policies.len()) };
    let actions = |policy: &Value, effect: &str| -> Vec<String> {
        assert_eq!(policy["Version"], "2012-10-17");
        let statements = policy["Statement"].as_array().unwrap().iter();
        let mut actions: Vec<String> = statements
            .filter(|statement| statement["Effect"] == effect)
            .flat_map(|statement| texts(&statement["Action"]))
            .map(str::to_owned)
            .collect();
        actions.sort();
        actions
    };
    assert_eq!(actions(read_only, "Allow"), ["s3:GetObject", "s3:ListBucket"]);
    assert_eq!(actions(create_only, "Allow"), ["s3:GetObject", "s3:ListBucket", "s3:PutObject"]);
    assert_eq!(actions(full, "Allow"), ["s3:DeleteObject", "s3:GetObject", "s3:ListBucket", "s3:PutObject"]);
    assert_eq!(actions(bucket, "Deny"), ["s3:*", "s3:PutObject"]);
    assert_eq!(actions(bucket, "Allow"), [""; 0]);

    // The labels are those of the test of the calls that a backup makes: host/tests/counting.rs.
    let labels = |action: &str| -> Vec<String> {
        let statements = create_only["Statement"].as_array().unwrap();
        let statement = statements.iter().find(|statement| statement["Action"] == action).unwrap();
        let label = |resource: &str| {
            let label = resource.strip_prefix("arn:aws:s3:::BUCKET/laptop/").unwrap().trim_end_matches(['*', '/', '.']);
            label.to_owned()
        };
        texts(&statement["Resource"]).into_iter().map(label).collect()
    };
    let small =
        ["OBNAM-CHUNK-STORE", "repository", "roster", "credential", "client", "snapshot", "index", "note", "tombstone"];
    assert_eq!(labels("s3:GetObject"), small);
    assert_eq!(labels("s3:PutObject"), ["data", "tree", "index", "snapshot"]);
}

/// What stands in backticks in the first column of the tables in a text.
fn first_column(text: &str) -> Vec<String> {
    let cells = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let codes = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    codes.map(|code| code.split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn the_page_on_configuration_has_every_limit_with_its_default_and_range() {
    let text = read(&root().join("docs/configuration.md"));
    let section = text.split("\n## Limits of plugins\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<Vec<String>> = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(|cell| cell.trim().replace('`', "")).collect())
        .collect();
    let documented: Vec<_> = rows.iter().map(|row| (row[0].as_str(), row[2].as_str(), row[3].as_str())).collect();
    let ranges: Vec<_> = ADJUSTABLE.iter().map(|limit| limit.range()).collect();
    let ranges: Vec<String> = ranges.iter().map(|(least, most)| format!("{least} to {most}")).collect();
    let defaults: Vec<String> = ADJUSTABLE.iter().map(|limit| limit.default_value()).collect();
    let known = ADJUSTABLE.iter().zip(&defaults).zip(&ranges);
    let known: Vec<_> = known.map(|((limit, default), range)| (limit.name, default.as_str(), range.as_str())).collect();
    assert_eq!(documented, known);
}

#[test]
fn the_page_on_s3_names_the_options_that_there_are() {
    let text = read(&root().join("docs/s3.md"));
    let section = text.split("\n## Options\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let (of_plugin, of_all) = section.split_once("Of all commands").unwrap();
    let spec = StoreSpec::for_location("s3://bucket").unwrap();
    let info = inspect(&spec.source, None, &spec.limits).unwrap();
    let mut known: Vec<String> = info.options.into_iter().map(|option| option.name).collect();
    let mut named = first_column(of_plugin);
    known.sort();
    named.sort();
    assert_eq!(named, known);

    let help = String::from_utf8(Command::new(obnam()).arg("--help").output().unwrap().stdout).unwrap();
    let options = first_column(of_all);
    assert!(options.len() >= 5, "{options:?}");
    for option in options {
        assert!(help.contains(&format!("{option} ")) || help.contains(&format!("{option}\n")), "{option}");
    }
}

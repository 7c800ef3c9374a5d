//! What a user leaves out of a backup.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use obnam_tests::{Ran, Sandbox, args, is_root, tree};
use serde_json::Value;

const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# made by a test\n";

/// Writes small files, with their parents.
fn files(root: &Path, names: &[&str]) {
    for name in names {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
}

/// Backs the source up with these options.
#[track_caller]
fn back_up(sandbox: &Sandbox, options: &[&dyn AsRef<OsStr>]) -> Ran {
    let mut arguments: Vec<OsString> = args!["--json", "backup", sandbox.source()].to_vec();
    arguments.extend(options.iter().map(|option| option.as_ref().to_owned()));
    sandbox.obnam(arguments).expect(0)
}

/// What the newest snapshot has below a directory: paths from there; directories end in a slash.
#[track_caller]
fn listed(sandbox: &Sandbox, root: &Path) -> BTreeSet<String> {
    let lines = sandbox.obnam(args!["--json", "ls", "latest"]).expect(0).lines();
    let name = |line: &Value| {
        let below = Path::new(line["path"].as_str().unwrap()).strip_prefix(root).ok()?.to_str()?.to_owned();
        let slash = if line["type"] == "directory" { "/" } else { "" };
        Some(below + slash).filter(|name| name != "/")
    };
    lines.iter().filter_map(name).collect()
}

#[track_caller]
fn assert_listed(sandbox: &Sandbox, expected: &[&str]) {
    assert_eq!(listed(sandbox, &sandbox.source()), expected.iter().map(|name| name.to_string()).collect());
}

fn excluded(ran: &Ran) -> (u64, u64) {
    let result = ran.result();
    (result["excluded_files"].as_u64().unwrap(), result["excluded_directories"].as_u64().unwrap())
}

/// The codes of the warnings, and their texts.
fn warnings(ran: &Ran) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = ran.json()["warnings"].as_array().unwrap().clone();
    all.iter().map(|one| (text(&one["code"]), text(&one["message"]))).collect()
}

// ------------------------------------------------------------------------------------------------------- patterns

#[test]
fn patterns_leave_files_and_directories_out() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    files(
        &source,
        &["a.o", "a.c", "sub/b.o", "sub/keep.o", "cache/x", "sub/cache", "top/x", "sub/top/x", "p/q/r", "s/p/q/r"],
    );
    let top = source.join("top");
    let ran =
        back_up(&sandbox, &[&"--exclude", &"*.o", &"-e", &"!keep.o", &"-e", &"cache/", &"-e", &top, &"-e", &"p/q"]);
    assert_listed(&sandbox, &["a.c", "sub/", "sub/keep.o", "sub/cache", "sub/top/", "sub/top/x", "p/", "s/", "s/p/"]);
    assert_eq!(excluded(&ran), (2, 4));
    assert!(warnings(&ran).is_empty());
    let words = sandbox.obnam(args!["backup", source, "-e", "*.o"]).expect(0).text();
    assert!(words.contains("3 files and 0 directories excluded"), "{words}");
    assert!(!sandbox.obnam(args!["backup", source]).expect(0).text().contains("excluded"));
    sandbox.assert_restores();
}

#[test]
fn patterns_come_from_files() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    files(&source, &["a.o", "b.o", "c.o", "#d#", "x y", "deep/e/f/g.tmp"]);
    fs::write(sandbox.path("patterns"), "# objects\r\n*.o\r\n!b.o\n\nx\\ y\n/**/f/*.tmp\n").unwrap();
    fs::write(sandbox.path("more"), "!c.o\n").unwrap();
    let from = "--exclude-from";
    // The command line has the last word, and knows no comments.
    back_up(&sandbox, &[&from, &"patterns", &from, &"more", &"-e", &"b.o", &"-e", &"#d#"]);
    assert_listed(&sandbox, &["c.o", "deep/", "deep/e/", "deep/e/f/"]);
}

#[test]
fn excluded_directories_are_not_opened() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    files(&source, &["out/file", "tagged/file", "in/file"]);
    fs::write(source.join("tagged/CACHEDIR.TAG"), TAG).unwrap();
    // Listing a directory that was never read since its last change moves its access time.
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let times = fs::FileTimes::new().set_accessed(long_ago);
    for name in ["out", "in", "in/file"] {
        fs::File::open(source.join(name)).unwrap().set_times(times).unwrap();
    }
    let accessed = |name: &str| fs::metadata(source.join(name)).unwrap().atime();
    back_up(&sandbox, &[&"-e", &"out"]);
    assert_eq!(accessed("out"), 1_000_000_000);
    if accessed("in") == 1_000_000_000 {
        eprintln!("half of this test is void: {} is mounted without access times", source.display());
    }
    // And a file that has not changed is not opened.
    let settle = || std::thread::sleep(Duration::from_millis(2_500));
    settle();
    back_up(&sandbox, &[]);
    fs::File::open(source.join("out")).unwrap();
    settle();
    let before = accessed("in/file");
    let ran = back_up(&sandbox, &[]);
    assert_eq!(accessed("in/file"), before);
    assert_eq!(ran.result()["statistics"]["unchanged_files"], 4);
}

#[test]
fn names_that_are_not_utf8() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    for name in [&b"\xff.o"[..], b"\xfe.c", b"a\xffb", b"\xc3"] {
        fs::write(source.join(OsStr::from_bytes(name)), name).unwrap();
    }
    let ran = back_up(&sandbox, &[&"-e", &"*.o", &"-e", &"a?b"]);
    assert_eq!(excluded(&ran), (2, 0));
    let restored = sandbox.restore("latest");
    let names: BTreeSet<_> = fs::read_dir(restored).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [&b"\xfe.c"[..], b"\xc3"].map(|name| OsStr::from_bytes(name).to_owned()).into());
    // Neither has the pattern's file to be in a directory with a good name.
    let folder = source.join(OsStr::from_bytes(b"\xf0"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join(".ignore"), "*.x").unwrap();
    fs::write(folder.join("a.x"), "").unwrap();
    assert_eq!(excluded(&back_up(&sandbox, &[&"--ignore-file", &".ignore"])), (1, 0));
}

#[test]
fn what_was_named_is_never_left_out() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    files(&source, &["cache/deep/wanted/file", "cache/deep/other", "cache/x.o", "big", "other/x.o"]);
    let wanted = source.join("cache/deep/wanted");
    // Inside another root, below something that is excluded.
    let ran = sandbox.obnam(args!["--json", "backup", source, wanted, "-e", "cache"]).expect(0);
    assert_listed(
        &sandbox,
        &["cache/", "cache/deep/", "cache/deep/wanted/", "cache/deep/wanted/file", "big", "other/", "other/x.o"],
    );
    let said = warnings(&ran);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].0 == "excluded-but-named" && said[0].1.contains(wanted.to_str().unwrap()), "{said:?}");
    // What is in it is subject to the patterns.
    let cache = source.join("cache");
    let ran = sandbox.obnam(args!["backup", cache, source.join("other"), "-e", "cache/", "-e", "*.o"]).expect(0);
    ran.says(&["warning: ", "cache\" would be left out", "it is backed up"]);
    assert_listed(
        &sandbox,
        &["cache/", "cache/deep/", "cache/deep/wanted/", "cache/deep/wanted/file", "cache/deep/other", "other/"],
    );
    // A file may be named, too, and a directory with a tag.
    fs::write(source.join("cache/CACHEDIR.TAG"), TAG).unwrap();
    let big = source.join("big");
    let ran = sandbox
        .obnam(args!["--json", "backup", cache, big, "--exclude-larger-than", "1", "--exclude-caches"])
        .expect(0);
    assert_listed(&sandbox, &["big", "cache/", "cache/deep/", "cache/deep/wanted/"]);
    assert!(warnings(&ran).iter().any(|(code, text)| code == "excluded-but-named" && text.contains("CACHEDIR.TAG")));
}

#[test]
fn patterns_hold_for_all_roots() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    files(&source, &["one/a.o", "one/a", "two/a.o", "two/b/a.o", "two/b/a"]);
    let ran = sandbox.obnam(args!["--json", "backup", source.join("one"), source.join("two/b"), "-e", "*.o"]).expect(0);
    assert_listed(&sandbox, &["one/", "one/a", "two/", "two/b/", "two/b/a"]);
    assert_eq!(excluded(&ran), (2, 0));
}

#[test]
fn bad_input_is_explained() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    fs::write(sandbox.path("bad"), "good\n[a\n").unwrap();
    let refused = |option: &str, value: &str, words: &[&str]| {
        sandbox.obnam(args!["backup", source, option, value]).expect(17).says(words);
    };
    refused("--exclude", "[a", &["\"[a\" is wrong", "nothing was backed up"]);
    refused("--exclude", "../x", &["\"../x\" can never match", "write the path"]);
    refused("--exclude", "~/x", &["home directory"]);
    refused("--exclude-from", "bad", &["bad, line 2", "\"[a\""]);
    refused("--exclude-from", "nowhere", &["cannot read the patterns in nowhere", "No such file"]);
    refused("--exclude-if-present", "a/b", &["\"a/b\" is no name", "NAME:HEADER"]);
    refused("--exclude-larger-than", "many", &["--exclude-larger-than: \"many\" is no size", "100M"]);
    refused("--ignore-file", "a/b", &["without a directory"]);
    assert!(sandbox.snapshots().is_empty());
}

// -------------------------------------------------------------------------------------------------------- markers

#[test]
fn cache_directories_keep_their_tag_only() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    files(&source, &["cache/a", "cache/sub/b", "fake/a", "other/a", "headed/a", "unheaded/a"]);
    fs::write(source.join("cache/CACHEDIR.TAG"), TAG).unwrap();
    fs::write(source.join("fake/CACHEDIR.TAG"), "Signature: none").unwrap();
    fs::write(source.join("other/.nobackup"), "").unwrap();
    fs::write(source.join("headed/.tag"), "yes!").unwrap();
    fs::write(source.join("unheaded/.tag"), "no").unwrap();
    let present = "--exclude-if-present";
    let ran = back_up(&sandbox, &[&"--exclude-caches", &present, &".nobackup", &present, &".tag:yes"]);
    let expected =
        ["cache/", "cache/CACHEDIR.TAG", "fake/", "fake/CACHEDIR.TAG", "fake/a", "other/", "other/.nobackup"];
    let expected: Vec<_> =
        expected.into_iter().chain(["headed/", "headed/.tag", "unheaded/", "unheaded/.tag", "unheaded/a"]).collect();
    assert_listed(&sandbox, &expected);
    assert_eq!(excluded(&ran), (0, 3));
}

#[test]
fn a_new_tag_that_makes_files_vanish_is_reported() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    files(&source, &["precious/a", "precious/b", "always/a"]);
    fs::write(source.join("always/CACHEDIR.TAG"), TAG).unwrap();
    assert!(warnings(&back_up(&sandbox, &[&"--exclude-caches"])).is_empty());
    fs::write(source.join("precious/CACHEDIR.TAG"), TAG).unwrap();
    // Even if everything is to be read.
    let ran = back_up(&sandbox, &[&"--exclude-caches", &"--force"]);
    let said = warnings(&ran);
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0].0, "newly-excluded");
    for words in [source.join("precious").to_str().unwrap(), "CACHEDIR.TAG", "2 entries", "remove that file"] {
        assert!(said[0].1.contains(words), "{words}: {said:?}");
    }
    // Once is enough: the backup before has none of them now.
    assert!(warnings(&back_up(&sandbox, &[&"--exclude-caches"])).is_empty());
    // In words, for another marker.
    files(&source, &["plain/a"]);
    back_up(&sandbox, &[]);
    fs::write(source.join("plain/.no"), "").unwrap();
    let ran = sandbox.obnam(args!["backup", source, "--exclude-if-present", ".no"]).expect(0);
    ran.says(&["warning: ", "plain\" is left out of the backup now, because it holds \".no\"", "1 entry"]);
}

#[test]
fn a_named_directory_that_is_empty_now_is_reported() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    assert!(warnings(&back_up(&sandbox, &[])).is_empty());
    files(&source, &["disk/a"]);
    let disk = source.join("disk");
    back_up(&sandbox, &[&disk]);
    fs::remove_file(disk.join("a")).unwrap();
    let said = warnings(&back_up(&sandbox, &[&disk]));
    assert!(said.len() == 1 && said[0].0 == "now-empty" && said[0].1.contains("source/disk\" is empty"), "{said:?}");
    assert!(warnings(&back_up(&sandbox, &[&disk])).is_empty());
}

// ------------------------------------------------------------------------------------- ignore files, sizes, mounts

#[test]
fn ignore_files_hold_where_they_are() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    files(&source, &["a.o", "target/x", "sub/target/x", "sub/a.o", "sub/deep/a.o", "sub/deep/build/x", "sub/build/x"]);
    fs::write(source.join(".gitignore"), "*.o\n/target\n").unwrap();
    fs::write(source.join("sub/.gitignore"), "!a.o\ndeep/build\n[bad\n").unwrap();
    let ran = back_up(&sandbox, &[&"--ignore-file", &".gitignore", &"-e", &"/**/deep/a.o"]);
    let expected = [".gitignore", "sub/", "sub/.gitignore", "sub/target/", "sub/target/x", "sub/a.o", "sub/deep/"];
    assert_listed(&sandbox, &[&expected[..], &["sub/build/", "sub/build/x"]].concat());
    assert_eq!(excluded(&ran), (2, 2));
    let said = warnings(&ran);
    assert!(said.len() == 1 && said[0].1.contains("sub/.gitignore, line 3"), "{said:?}");
}

#[test]
fn large_files_are_left_out() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    for (name, size) in [("below", 2047), ("exactly", 2048), ("above", 2049)] {
        fs::write(source.join(name), vec![1; size]).unwrap();
    }
    let ran = back_up(&sandbox, &[&"--exclude-larger-than", &"2K"]);
    assert_listed(&sandbox, &["below", "exactly"]);
    assert_eq!(excluded(&ran), (1, 0));
}

#[test]
fn other_file_systems_are_kept_as_empty_directories() {
    // Mounting takes root, and a mount namespace of our own so that nothing is left behind.
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    files(&source, &["file", "mount/hidden", "named/hidden"]);
    let script =
        "mount -t tmpfs none mount && mount -t tmpfs none named && touch mount/inside named/inside && exec \"$@\"";
    let mounted = |options: &[&dyn AsRef<OsStr>]| {
        let program = sandbox.command(args!["--json", "backup", source]);
        let mut command = std::process::Command::new("unshare");
        command.args(["-m", "sh", "-c", script, "sh"]).current_dir(&source).env_clear();
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.arg(program.get_program()).args(program.get_args()).args(options.iter().map(|option| option.as_ref()));
        obnam_tests::run(&mut command)
    };
    if !is_root() || mounted(&[]).code != Some(0) {
        eprintln!("skipped: cannot mount here");
        return;
    }
    assert_listed(&sandbox, &["file", "mount/", "mount/inside", "named/", "named/inside"]);
    let ran = mounted(&[&"--one-file-system"]).expect(0);
    assert_listed(&sandbox, &["file", "mount/", "named/"]);
    assert_eq!(excluded(&ran), (0, 2));
    let named = source.join("named");
    mounted(&[&"-x", &named]).expect(0);
    assert_listed(&sandbox, &["file", "mount/", "named/", "named/inside"]);
}

#[test]
fn excluding_changes_nothing_else() {
    let sandbox = Sandbox::with_repository();
    tree::varied(&sandbox.source(), 5);
    let first = back_up(&sandbox, &[&"-e", &"nothing is called this"]);
    assert_eq!(excluded(&first), (0, 0));
    sandbox.assert_restores();
}

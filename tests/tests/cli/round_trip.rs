//! Backups, and what restores make of them.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use obnam_tests::tree::{self, Random};
use obnam_tests::{Sandbox, args, chmod, run};
use serde_json::Value;

#[test]
fn everything_comes_back() {
    let sandbox = Sandbox::with_repository();
    tree::varied(&sandbox.source(), 1);
    tree::small_files(&sandbox.source().join("many"), 1_500, 2);
    Random(3).write_file(&sandbox.source().join("big"), 25_000_000);
    let before = tree::describe(&sandbox.source());
    let made = sandbox.back_up();
    assert_eq!(made["problems"], serde_json::json!([]));
    tree::assert_is(&before, &sandbox.source());
    sandbox.assert_restores();
    let id = made["snapshot"].as_str().unwrap();
    tree::assert_is(&before, &sandbox.restore(&id[..10]));
    assert!(sandbox.check(0).is_empty());
    // A machine that has nothing but the identity and the disk.
    sandbox.next_machine();
    sandbox.assert_restores();
    for name in ["big", "sizes/0", "links/second"] {
        let path = sandbox.source().join(name);
        let printed = sandbox.obnam(args!["cat", "file", "latest", path]).expect(0).stdout;
        assert!(printed == fs::read(&path).unwrap(), "{name}");
    }
}

#[test]
fn parents_come_back_too() {
    let sandbox = Sandbox::with_repository();
    let parent = sandbox.source().join("parent");
    fs::create_dir_all(parent.join("wanted")).unwrap();
    fs::write(parent.join("not wanted"), "").unwrap();
    fs::write(parent.join("wanted/file"), "x").unwrap();
    chmod(&parent, 0o751);
    tree::set_mtime(&parent, SystemTime::UNIX_EPOCH);
    sandbox.obnam(args!["backup", parent.join("wanted")]).expect(0);
    let restored = sandbox.restore("latest").join("parent");
    let metadata = fs::metadata(&restored).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o751, 0));
    assert_eq!(names(&restored), ["wanted"]);
}

#[test]
fn a_tiny_backup_is_two_objects() {
    let sandbox = Sandbox::with_repository();
    let before = sandbox.chunks();
    fs::write(sandbox.source().join("a"), "tiny").unwrap();
    sandbox.back_up();
    assert_eq!(new_labels(&before, &sandbox.chunks()), ["data", "snapshot"]);
}

#[test]
fn an_unchanged_backup_adds_one_chunk() {
    let sandbox = Sandbox::below(Path::new(env!("CARGO_TARGET_TMPDIR")));
    sandbox.obnam(["init"]).expect(0);
    tree::varied(&sandbox.source(), 4);
    tree::small_files(&sandbox.source().join("many"), 3_000, 5);
    // The directories above the source are part of a snapshot, and /tmp belongs to everybody.
    let parents = || -> Vec<_> {
        let stat = |path: &Path| fs::metadata(path).map(|m| (m.mtime(), m.mtime_nsec(), m.ctime_nsec())).unwrap();
        sandbox.source().ancestors().map(stat).collect()
    };
    for _ in 0..50 {
        sandbox.next_machine();
        sandbox.back_to_machine(1);
        let before_first = parents();
        let first = sandbox.back_up();
        let between = sandbox.chunks();
        let second = sandbox.back_up();
        let after = sandbox.chunks();
        if before_first != parents() {
            continue;
        }
        assert_eq!(new_labels(&between, &after), ["snapshot"]);
        assert_eq!(second["statistics"]["new_blobs"], 0);
        assert_eq!(second["statistics"]["new_bytes"], 0);
        assert_eq!(second["statistics"]["files"], first["statistics"]["files"]);
        // And a machine without any memory comes to the same conclusion.
        sandbox.back_to_machine(2);
        let third = sandbox.back_up();
        if before_first == parents() {
            assert_eq!(third["statistics"]["new_blobs"], 0);
            assert_eq!(new_labels(&after, &sandbox.chunks()), ["snapshot"]);
            return;
        }
    }
    panic!("the directories above {} never stand still", sandbox.source().display());
}

#[test]
fn each_snapshot_keeps_its_own_state() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    tree::varied(&source, 6);
    let mut states = Vec::new();
    let mut keep = || {
        let made = sandbox.back_up();
        states.push((made["snapshot"].as_str().unwrap().to_owned(), tree::describe(&source)));
    };
    keep();
    // Contents, with the same length and the same time of modification: the ctime tells.
    let path = source.join("sizes/4096");
    let mtime = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, Random(77).bytes(4_096)).unwrap();
    tree::set_mtime(&path, mtime);
    keep();
    fs::remove_file(source.join("sizes/1")).unwrap();
    fs::remove_dir_all(source.join("deep")).unwrap();
    fs::rename(source.join("names"), source.join("renamed")).unwrap();
    keep();
    // Types change.
    fs::remove_file(source.join("sizes/0")).unwrap();
    fs::create_dir(source.join("sizes/0")).unwrap();
    fs::write(source.join("deep"), "a file now").unwrap();
    fs::remove_dir(source.join("empty folder")).unwrap();
    symlink("sizes", source.join("empty folder")).unwrap();
    fs::remove_file(source.join("links/dangling")).unwrap();
    fs::write(source.join("links/dangling"), "no link any more").unwrap();
    keep();
    // Nothing but metadata.
    chmod(&source.join("sizes/text"), 0o600);
    tree::set_mtime(&source.join("sizes/zeros"), SystemTime::UNIX_EPOCH);
    fs::remove_file(source.join("third")).unwrap();
    keep();
    fs::hard_link(source.join("sizes/text"), source.join("text too")).unwrap();
    let mut file = fs::OpenOptions::new().append(true).open(source.join("sizes/5000000")).unwrap();
    std::io::Write::write_all(&mut file, b"a longer end").unwrap();
    drop(file);
    keep();
    for _ in 0..2 {
        for (id, state) in &states {
            let restored = sandbox.restore(id);
            tree::assert_is(state, &restored);
            sandbox.discard(&restored);
        }
        sandbox.next_machine();
    }
    assert_eq!(sandbox.snapshots(), states.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>());
    assert!(sandbox.check(0).is_empty());
}

#[test]
fn roots_of_all_kinds() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    fs::create_dir_all(source.join("a/b/c")).unwrap();
    fs::create_dir_all(source.join("d")).unwrap();
    for name in ["a/1", "a/b/2", "a/b/c/3", "d/4", "5"] {
        fs::write(source.join(name), name).unwrap();
    }
    symlink("a", source.join("link")).unwrap();
    let files = |arguments: &[&str], folder: &Path| -> Vec<String> {
        let mut command = sandbox.command(["--json", "backup"]);
        let made = run(command.args(arguments).current_dir(folder)).expect(0).result();
        let listed = sandbox.obnam(args!["--json", "ls", made["snapshot"].as_str().unwrap(), source]).expect(0).lines();
        let shown = |line: &Value| {
            let path = PathBuf::from(line["path"].as_str().unwrap());
            (line["type"] != "directory").then(|| path.strip_prefix(&source).unwrap().to_str().unwrap().to_owned())
        };
        listed.iter().filter_map(shown).collect()
    };
    let all = ["5", "a/1", "a/b/2", "a/b/c/3", "d/4", "link"];
    assert_eq!(files(&["."], &source), all);
    assert_eq!(files(&[".", "a", "./a/b/../b", "."], &source), all);
    assert_eq!(files(&["a/b", "d"], &source), ["a/b/2", "a/b/c/3", "d/4"]);
    assert_eq!(files(&["a/b/c", "a/b", "a/b/2"], &source), ["a/b/2", "a/b/c/3"]);
    assert_eq!(files(&[".."], &source.join("a/b")), ["a/1", "a/b/2", "a/b/c/3"]);
    assert_eq!(files(&["5", "a/1"], &source), ["5", "a/1"]);
    assert_eq!(files(&["link"], &source), ["link"]);
    assert_eq!(files(&["link/"], &source.join(".")), ["link"]);
    assert_eq!(files(&["link/b"], &source), ["a/b/2", "a/b/c/3"]);
    // Every path has to be there, before anything is done.
    let count = sandbox.snapshots().len();
    sandbox.obnam(args!["backup", source, source.join("missing")]).expect(17).says(&["missing", "nothing was done"]);
    assert_eq!(sandbox.snapshots().len(), count);
}

#[test]
fn snapshots_have_names() {
    let sandbox = Sandbox::with_repository();
    sandbox.obnam(args!["restore", "latest", sandbox.path("t")]).expect(17).says(&["no snapshot yet"]);
    assert!(!sandbox.path("t").exists(), "nothing is made for a snapshot that is not there");
    fs::write(sandbox.source().join("a"), "1").unwrap();
    sandbox.obnam(args!["backup", "--tag", "first", "--tag", "ü", "--host", "elsewhere", sandbox.source()]).expect(0);
    fs::write(sandbox.source().join("a"), "2").unwrap();
    sandbox.back_up();
    let ids = sandbox.snapshots();
    let a = sandbox.source().join("a");
    let content = |name: &str| sandbox.obnam(args!["cat", "file", name, a]).expect(0).text();
    assert_eq!([content("latest"), content(&ids[0]), content(&ids[0][..12])], ["2", "1", "1"]);
    let shown = sandbox.obnam(args!["--json", "cat", "snapshot", &ids[0]]).expect(0).result();
    assert_eq!((&shown["host"], &shown["tags"]), (&"elsewhere".into(), &serde_json::json!(["first", "ü"])));
    for unknown in ["0123456789", "Latest", "zzzz", ""] {
        sandbox.obnam(args!["cat", "file", unknown, a]).expect(17);
    }
    for short in [&ids[0][..1], &ids[0][..3], ""] {
        sandbox.obnam(args!["cat", "file", short, a]).expect(17).says(&["more digits"]);
    }
    sandbox.obnam(args!["cat", "file", "latest", sandbox.source().join("b")]).expect(17).says(&["is not in snapshot"]);
    sandbox.obnam(args!["cat", "file", "latest", sandbox.source()]).expect(17).says(&["no file"]);
    sandbox.obnam(args!["ls", "latest", sandbox.source().join("a/b")]).expect(17).says(&["is not in snapshot"]);
}

#[test]
fn restore_touches_nothing_that_is_there() {
    let sandbox = Sandbox::with_repository();
    fs::write(sandbox.source().join("a"), "1").unwrap();
    sandbox.back_up();
    let full = sandbox.path("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("mine"), "mine").unwrap();
    sandbox.obnam(args!["restore", "latest", full]).expect(17).says(&["not empty"]);
    assert_eq!((names(&full), fs::read(full.join("mine")).unwrap()), (vec!["mine".to_owned()], b"mine".to_vec()));
    sandbox.obnam(args!["restore", "latest", full.join("mine")]).expect(17);
    sandbox.obnam(args!["restore", "latest", full.join("mine/below")]).expect(17);
    assert_eq!(fs::read(full.join("mine")).unwrap(), b"mine");
    // An empty directory that is there keeps its own mode; one that is not is made with its parents.
    let empty = sandbox.path("empty");
    fs::create_dir(&empty).unwrap();
    chmod(&empty, 0o700);
    sandbox.obnam(args!["restore", "latest", empty]).expect(0);
    assert_eq!(fs::metadata(&empty).unwrap().mode() & 0o7777, 0o700);
    sandbox.obnam(args!["restore", "latest", sandbox.path("new/with/parents")]).expect(0);
    sandbox.obnam(args!["restore", "latest", sandbox.path("new/with/parents")]).expect(17);
}

#[test]
fn the_repository_is_not_backed_up_into_itself() {
    let sandbox = Sandbox::new();
    let repository = sandbox.source().join("inside/repository");
    fs::create_dir_all(sandbox.source().join("inside")).unwrap();
    fs::write(sandbox.source().join("inside/file"), "x").unwrap();
    let there = |command: &mut Command, arguments: &[&str]| {
        run(command.arg("--identity").arg(sandbox.identity()).args(arguments).current_dir(sandbox.source())).expect(0)
    };
    let by_path = || {
        let mut command = sandbox.bare();
        command.arg("--repo").arg(&repository);
        command
    };
    there(&mut by_path(), &["init"]);
    symlink("inside/repository", sandbox.source().join("way in")).unwrap();
    // However the repository is named.
    for name in ["inside/repository", "./inside/../inside/repository/", "way in", "file:inside/repository"] {
        let mut command = sandbox.bare();
        there(command.arg("--repo").arg(name), &["backup", "."]);
        let listed = there(&mut by_path(), &["--json", "ls", "latest"]).lines();
        let paths: Vec<&str> = listed.iter().map(|line| line["path"].as_str().unwrap()).collect();
        assert!(paths.iter().any(|path| path.ends_with("inside/file")), "{name}");
        assert!(!paths.iter().any(|path| path.contains("inside/repository/")), "{name}: {paths:?}");
    }
}

/// Labels of the chunks that were added, without tags.
fn new_labels(before: &[(String, String, u64)], after: &[(String, String, u64)]) -> Vec<String> {
    assert!(before.iter().all(|chunk| after.contains(chunk)), "nothing is ever removed");
    let new = after.iter().filter(|chunk| !before.contains(chunk));
    new.map(|(label, ..)| label.split('.').next().unwrap().to_owned()).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

//! What a user does with the program, command by command.

#![allow(clippy::unwrap_used)]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::SystemTime;

use obnam_tests::tree::{self, Random};
use obnam_tests::{Sandbox, args, below, chmod, is_root, obnam, run};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use serde_json::Value;

const PASSPHRASE: &str = "correct horse battery staple";

// ---------------------------------------------------------------------------------------------- backup and restore

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

// -------------------------------------------------------------------------------------------------- difficult sources

#[test]
fn files_that_change_while_they_are_read_are_reported() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    Random(8).write_file(&source.join("log"), 40_000_000);
    tree::small_files(&source.join("calm"), 300, 9);
    let over = AtomicBool::new(false);
    let ran = thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = fs::OpenOptions::new().append(true).open(source.join("log")).unwrap();
            while !over.load(Ordering::Relaxed) {
                std::io::Write::write_all(&mut file, b"one more line\n").unwrap();
                // As fast as it goes, but not until the disk is full.
                thread::yield_now();
            }
        });
        let ran = sandbox.obnam(args!["--json", "backup", source]);
        over.store(true, Ordering::Relaxed);
        ran
    });
    let ran = ran.expect(3);
    assert_eq!(ran.json()["status"], "incomplete");
    let problems = ran.result()["problems"].as_array().unwrap().clone();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0]["path"], source.join("log").to_str().unwrap());
    assert!(problems[0]["message"].as_str().unwrap().contains("changed while it was being read"));
    // It is in the snapshot all the same, as far as it was read.
    let restored = sandbox.restore("latest");
    tree::assert_same(&source.join("calm"), &restored.join("calm"));
    let (now, then) = (fs::read(source.join("log")).unwrap(), fs::read(restored.join("log")).unwrap());
    assert!(then.len() >= 40_000_000 && now.starts_with(&then[..40_000_000]));
    sandbox.back_up();
    sandbox.assert_restores();
}

#[test]
fn files_that_come_and_go_disturb_nobody() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    tree::small_files(&source.join("calm"), 1_000, 10);
    fs::create_dir(source.join("busy")).unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let busy = source.join("busy");
            for round in 0u64.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let (file, folder) = (busy.join(format!("{}", round % 40)), busy.join(format!("d{}", round % 40)));
                let _ = fs::remove_file(&file);
                let _ = fs::remove_dir_all(&folder);
                let next = busy.join(format!("{}", (round + 20) % 40));
                match round % 3 {
                    0 => fs::write(next, vec![7; 5_000]).unwrap(),
                    1 => fs::create_dir_all(busy.join(format!("d{}", (round + 20) % 40)).join("below")).unwrap(),
                    _ => drop(symlink("somewhere", next)),
                }
            }
        });
        for _ in 0..15 {
            let ran = sandbox.obnam(args!["--quiet", "backup", "--force", source]);
            assert!(matches!(ran.code, Some(0 | 3)), "{ran:?}");
            for line in ran.stderr.lines() {
                assert!(line.contains("/source/busy"), "{line}");
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    let restored = sandbox.restore("latest");
    tree::assert_same(&source.join("calm"), &restored.join("calm"));
    assert!(sandbox.check(0).is_empty());
}

/// The program as a user who may not read everything: as somebody else if root runs the tests.
fn as_a_user(sandbox: &Sandbox, arguments: &[std::ffi::OsString]) -> Command {
    let mut command = sandbox.command(arguments);
    if is_root() {
        let give = |path: &Path| std::os::unix::fs::lchown(path, Some(65534), Some(65534)).unwrap();
        let mut waiting = vec![sandbox.path("")];
        while let Some(path) = waiting.pop() {
            give(&path);
            // What was made unreadable stays root's.
            if path.is_dir() && !path.ends_with("source") {
                waiting.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        command.uid(65534).gid(65534);
    }
    command
}

#[test]
fn what_cannot_be_read_is_reported_and_the_rest_is_kept() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    for name in ["open", "locked", "half"] {
        fs::create_dir(source.join(name)).unwrap();
        fs::write(source.join(name).join("file"), name).unwrap();
    }
    fs::write(source.join("secret"), "secret").unwrap();
    chmod(&source.join("secret"), 0o000);
    chmod(&source.join("locked"), 0o000);
    chmod(&source.join("half"), 0o444); // can be listed, but not entered
    if is_root() && run(as_a_user(&sandbox, &args!["--version"]).stdin(Stdio::null())).code != Some(0) {
        eprintln!("skipped: user 65534 cannot run {}", obnam().display());
        return;
    }
    let ran = run(&mut as_a_user(&sandbox, &args!["--json", "backup", source])).expect(3);
    let problems = ran.result()["problems"].as_array().unwrap().clone();
    let mut paths: Vec<_> = problems.iter().map(|problem| problem["path"].as_str().unwrap().to_owned()).collect();
    paths.sort();
    assert_eq!(paths, ["half/file", "locked", "secret"].map(|name| source.join(name).to_str().unwrap().to_owned()));
    assert_eq!(ran.result()["statistics"]["errors"], 3);
    // Not even the user's own things are readable for others than the user.
    for name in ["locked", "half"] {
        chmod(&source.join(name), 0o755);
    }
    let target = sandbox.path("target");
    let restored = run(&mut as_a_user(&sandbox, &args!["restore", "latest", target]));
    let restored = if is_root() { restored.expect(3).says(&["only root can do that"]) } else { restored.expect(0) };
    assert_eq!(restored.stderr.lines().count(), usize::from(is_root()), "{}", restored.stderr);
    let restored = below(&target, &source);
    assert_eq!(fs::read(restored.join("open/file")).unwrap(), b"open");
    assert!(restored.join("locked").is_dir() || !is_root());
    assert!(!restored.join("secret").exists());
    // Without JSON the same is said in words.
    chmod(&source.join("locked"), 0o000);
    let ran = run(&mut as_a_user(&sandbox, &args!["backup", source])).expect(3);
    ran.says(&["source/secret", "source/locked", "Permission denied"]);
    chmod(&source.join("locked"), 0o755);
}

#[test]
fn a_directory_with_many_entries() {
    let sandbox = Sandbox::with_repository();
    for number in 0..20_000 {
        let length = if number % 10 == 0 { "x" } else { "" };
        fs::write(sandbox.source().join(format!("a name that is not too short {number}")), length).unwrap();
    }
    sandbox.back_up();
    sandbox.assert_restores();
    assert_eq!(sandbox.obnam(args!["--json", "ls", "latest", sandbox.source()]).expect(0).lines().len(), 20_001);
    fs::write(sandbox.source().join("a name that is not too short 777"), "changed").unwrap();
    let second = sandbox.back_up();
    assert!(second["statistics"]["new_bytes"].as_u64().unwrap() < 1_000_000, "{second}");
    sandbox.assert_restores();
}

#[test]
fn a_file_with_a_list_of_lists() {
    let sandbox = Sandbox::with_repository();
    Random(11).write_file(&sandbox.source().join("big"), 200_000_000);
    let first = sandbox.back_up();
    let blobs = first["statistics"]["new_blobs"].as_u64().unwrap();
    assert!(blobs > 140, "{blobs} blobs do not need a list");
    let second = sandbox.back_up();
    assert!(second["statistics"]["new_bytes"].as_u64().unwrap() < 100_000, "{second}");
    sandbox.assert_restores();
    // One byte more at the front moves all others.
    let mut contents = fs::read(sandbox.source().join("big")).unwrap();
    contents.insert(0, b'!');
    fs::write(sandbox.source().join("big"), &contents).unwrap();
    let third = sandbox.back_up();
    assert!(third["statistics"]["new_bytes"].as_u64().unwrap() < 20_000_000, "{third}");
    sandbox.assert_restores();
    assert!(sandbox.check(0).is_empty());
}

#[test]
fn directories_below_directories() {
    let sandbox = Sandbox::with_repository();
    let mut path = sandbox.source();
    for _ in 0..980 {
        path.push("d");
    }
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("bottom"), "bottom").unwrap();
    sandbox.back_up();
    sandbox.assert_restores();
    assert!(sandbox.check(0).is_empty());
    let listed = sandbox.obnam(args!["--json", "ls", "latest", sandbox.source()]).expect(0).lines();
    assert_eq!(listed.last().unwrap()["path"], path.join("bottom").to_str().unwrap());
}

/// What could not be restored must not be taken for safe.
#[test]
fn directories_that_are_too_deep_are_reported_when_they_are_backed_up() {
    let sandbox = Sandbox::with_repository();
    let mut path = sandbox.source();
    for _ in 0..1_100 {
        path.push("d");
    }
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("bottom"), "bottom").unwrap();
    fs::write(sandbox.source().join("top"), "top").unwrap();
    sandbox.obnam(args!["backup", sandbox.source()]).expect(3).says(&["more than 1000 levels"]);
    // What is in the snapshot can be restored whole.
    let restored = sandbox.restore("latest");
    assert_eq!(fs::read_to_string(restored.join("top")).unwrap(), "top");
    assert!(restored.join("d/".repeat(900)).is_dir());
    assert!(sandbox.check(0).is_empty());
}

/// Linux takes paths of up to 4,096 bytes in one call, but files may well have longer ones.
#[test]
fn paths_longer_than_the_system_takes_at_once() {
    let sandbox = Sandbox::with_repository();
    let name = "n".repeat(250);
    const LEVELS: usize = 30;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut folder = openat(CWD, sandbox.source(), flags, Mode::empty()).unwrap();
    for level in 0..LEVELS {
        mkdirat(&folder, &name, Mode::from_raw_mode(0o750)).unwrap();
        folder = openat(&folder, &name, flags, Mode::empty()).unwrap();
        let made = openat(&folder, "file", OFlags::WRONLY | OFlags::CREATE, Mode::from_raw_mode(0o640)).unwrap();
        rustix::io::write(&made, format!("level {level}").as_bytes()).unwrap();
    }
    assert_eq!(sandbox.back_up()["statistics"]["files"], LEVELS);
    let restored = sandbox.restore("latest");
    let mut folder = openat(CWD, &restored, flags, Mode::empty()).unwrap();
    for level in 0..LEVELS {
        folder = openat(&folder, &name, flags, Mode::empty()).unwrap();
        let file = openat(&folder, "file", OFlags::RDONLY, Mode::empty()).unwrap();
        let mut contents = [0; 20];
        let length = rustix::io::read(&file, &mut contents).unwrap();
        assert_eq!(contents[..length], *format!("level {level}").as_bytes());
        assert_eq!(rustix::fs::fstat(&file).unwrap().st_mode & 0o7777, 0o640);
        assert_eq!(rustix::fs::fstat(&folder).unwrap().st_mode & 0o7777, 0o750);
    }
}

/// Bound for a backup of any size, in KiB: 16 MiB packs for workers and uploads, plugins, and what a debug build needs.
const MEMORY: u64 = 400 << 10;

#[test]
fn memory_does_not_grow_with_the_source() {
    let sandbox = Sandbox::with_repository();
    Random(12).write_file(&sandbox.source().join("big"), 600_000_000);
    let peak = |arguments: &[std::ffi::OsString]| {
        let mut child = sandbox.command(arguments).stdout(Stdio::null()).spawn().unwrap();
        let mut peak = 0;
        while child.try_wait().unwrap().is_none() {
            let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
            peak = peak.max(line.trim().trim_end_matches(" kB").parse::<u64>().unwrap());
            thread::sleep(std::time::Duration::from_millis(5)); // so as not to take the processor from it
        }
        assert!(child.wait().unwrap().success());
        assert!(peak > 10 << 10, "{peak} KiB cannot be right");
        peak
    };
    let backup = peak(&args!["backup", sandbox.source()]);
    assert!(backup < MEMORY, "backup: {backup} KiB");
    let target = sandbox.path("target");
    let restore = peak(&args!["restore", "latest", target]);
    assert!(restore < MEMORY, "restore: {restore} KiB");
    let check = peak(&args!["check", "--read-data"]);
    assert!(check < MEMORY, "check: {check} KiB");
}

// --------------------------------------------------------------------------------------------------- secrets

fn with_passphrase(sandbox: &Sandbox, arguments: &[&str]) -> Command {
    let mut command = sandbox.bare();
    command.arg("--repo").arg(sandbox.repository()).args(arguments).env("OBNAM_PASSPHRASE", PASSPHRASE);
    command
}

#[test]
fn passphrases_come_from_three_places() {
    let sandbox = Sandbox::new();
    run(&mut with_passphrase(&sandbox, &["init"])).expect(0);
    let source = |name: &str, value: &OsStr| {
        let mut command = with_passphrase(&sandbox, &["--json", "snapshots"]);
        run(command.env_remove("OBNAM_PASSPHRASE").env(name, value))
    };
    let file = sandbox.path("passphrase");
    fs::write(&file, format!("{PASSPHRASE}\nsecond line\n")).unwrap();
    source("OBNAM_PASSPHRASE_FILE", file.as_os_str()).expect(0);
    source("OBNAM_PASSPHRASE_COMMAND", OsStr::new(&format!("echo '{PASSPHRASE}'"))).expect(0);
    source("OBNAM_PASSPHRASE_COMMAND", OsStr::new("exit 3")).expect(12).says_nothing_of(PASSPHRASE);
    source("OBNAM_PASSPHRASE_COMMAND", OsStr::new("true")).expect(12);
    source("OBNAM_PASSPHRASE_FILE", sandbox.path("missing").as_os_str()).expect(12);
    source("OBNAM_PASSPHRASE", OsStr::new("")).expect(12);
    source("OBNAM_PASSPHRASE_NOT", OsStr::new("x")).expect(12);
    let wrong = source("OBNAM_PASSPHRASE", OsStr::new("correct horse battery stapl"));
    assert_eq!(wrong.expect(12).json()["error"]["code"], "no-access");
    let wrong = source("OBNAM_PASSPHRASE_COMMAND", OsStr::new("echo nonsense"));
    assert!(wrong.expect(12).json()["error"]["message"].as_str().unwrap().contains("wrong passphrase"));
    // On a machine that has no pin, too.
    sandbox.next_machine();
    source("OBNAM_PASSPHRASE", OsStr::new("wrong")).expect(12);
    source("OBNAM_PASSPHRASE", OsStr::new(PASSPHRASE)).expect(0);
}

trait SaysNothing {
    fn says_nothing_of(self, secret: &str) -> Self;
}

impl SaysNothing for obnam_tests::Ran {
    fn says_nothing_of(self, secret: &str) -> Self {
        assert!(!self.all().contains(secret), "{}", self.all());
        self
    }
}

#[test]
fn identity_files_are_private() {
    let sandbox = Sandbox::with_repository();
    assert_eq!(fs::metadata(sandbox.identity()).unwrap().mode() & 0o7777, 0o600);
    for mode in [0o640, 0o604, 0o620, 0o602, 0o610] {
        chmod(&sandbox.identity(), mode);
        sandbox.obnam(["snapshots"]).expect(12).says(&["chmod 600"]);
    }
    chmod(&sandbox.identity(), 0o600);
    sandbox.obnam(["snapshots"]).expect(0);
    let text = fs::read_to_string(sandbox.identity()).unwrap();
    let key = text.lines().find(|line| line.starts_with("AGE-SECRET-KEY-1")).unwrap().to_owned();
    let outputs = sandbox.obnam(["-vv", "snapshots"]).expect(0);
    outputs.says_nothing_of(&key);
    // Another identity, no identity, no file.
    fs::rename(sandbox.identity(), sandbox.path("kept")).unwrap();
    sandbox.obnam(["snapshots"]).expect(12);
    assert!(!sandbox.identity().exists(), "only init makes identities");
    let other = Sandbox::with_repository();
    fs::copy(other.identity(), sandbox.identity()).unwrap();
    sandbox.obnam(["snapshots"]).expect(12);
    fs::write(sandbox.identity(), "nothing\n").unwrap();
    sandbox.obnam(["snapshots"]).expect(12);
}

#[test]
fn a_generated_passphrase_opens_the_repository_anywhere() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.bare();
    let sheet = run(command.arg("-r").arg(sandbox.repository()).args(["init", "--generate-passphrase"])).expect(0);
    let sheet = sheet.text();
    let field = |name: &str| -> String {
        let line = sheet.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap_or_else(|| panic!("{sheet}"));
        line.trim().to_owned()
    };
    let (passphrase, id) = (field("passphrase     "), field("repository id"));
    assert_eq!(passphrase.len(), 29);
    let repository = PathBuf::from(field("location"));
    assert_eq!(repository, sandbox.repository());
    fs::write(sandbox.source().join("a"), "precious").unwrap();
    let go = |arguments: &[&str]| {
        let mut command = sandbox.bare();
        run(command.arg("-r").arg(&repository).args(arguments).env("OBNAM_PASSPHRASE", &passphrase))
    };
    go(&["backup", sandbox.source().to_str().unwrap()]).expect(0);
    // A new machine: with the sheet, and without it.
    for options in [vec!["--repository-id", id.as_str()], vec![]] {
        sandbox.next_machine();
        let target = sandbox.fresh("target");
        go(&[options.as_slice(), &["restore", "latest", target.to_str().unwrap()]].concat()).expect(0);
        assert_eq!(fs::read(below(&target, &sandbox.source()).join("a")).unwrap(), b"precious");
    }
    // And with a wrong sheet.
    sandbox.next_machine();
    let other = "0".repeat(64);
    go(&["--repository-id", &other, "snapshots"]).expect(15).says(&[&id]);
    go(&["--repository-id", "abc", "snapshots"]).expect(17).says(&["--repository-id"]);
    go(&["--repository-id", &id, "snapshots"]).expect(0);
    go(&["--repository-id", &other, "snapshots"]).expect(15);
}

#[test]
fn one_repository_with_two_secrets() {
    let sandbox = Sandbox::new();
    let mut command = with_passphrase(&sandbox, &["--json", "init", "--name", "desk"]);
    let made = run(command.arg("--identity").arg(sandbox.identity())).expect(0).result();
    let kinds: Vec<_> = made["credentials"].as_array().unwrap().iter().map(|one| one["kind"].clone()).collect();
    assert_eq!(kinds, ["passphrase", "identity"]);
    for _ in 0..2 {
        sandbox.obnam(["snapshots"]).expect(0);
        run(&mut with_passphrase(&sandbox, &["snapshots"])).expect(0);
        sandbox.next_machine();
    }
    let roster = sandbox.obnam(["--json", "cat", "roster"]).expect(0).result();
    assert_eq!(roster["members"][0]["name"], "desk");
}

#[test]
fn chunks_need_no_secret() {
    let sandbox = Sandbox::with_repository();
    fs::write(sandbox.source().join("a"), "a").unwrap();
    sandbox.back_up();
    let list = |arguments: &[&str]| {
        let mut command = sandbox.bare();
        run(command.arg("-r").arg(sandbox.repository()).args(arguments))
    };
    let all = list(&["chunks", "--json"]).expect(0).lines();
    let on_disk = obnam_tests::chunks::all(&sandbox.repository());
    assert_eq!(all.len(), on_disk.len());
    for chunk in &on_disk {
        let line = all.iter().find(|line| line["id"] == chunk.id.as_str()).unwrap();
        assert_eq!((&line["label"], &line["size"]), (&chunk.label.as_str().into(), &chunk.read().len().into()));
    }
    assert_eq!(list(&["chunks", "--label", "snapshot.", "--json"]).expect(0).lines().len(), 1);
    assert_eq!(list(&["chunks", "--label", "roster"]).expect(0).text().lines().count(), 1);
    assert_eq!(list(&["chunks", "--label", "snapshot"]).expect(0).text(), "");
    list(&["chunks", "--label", "NO LABEL"]).expect(17);
    assert_eq!(fs::read_dir(sandbox.local().join("state")).unwrap().count(), 1, "only the command init has been here");
}

// ----------------------------------------------------------------------------------------------------- output

#[test]
fn every_command_speaks_json() {
    let sandbox = Sandbox::new();
    tree::varied(&sandbox.source(), 13);
    let document = |arguments: &[std::ffi::OsString], code: i32| {
        let ran = sandbox.obnam([args!["--json"].as_slice(), arguments].concat()).expect(code);
        assert_eq!(ran.stderr, "", "with --json all is in the document");
        let document = ran.json();
        assert_eq!(document["command"], arguments[0].to_str().unwrap());
        document
    };
    assert_eq!(document(&args!["snapshots"], 10)["error"]["code"], "no-repository");
    let made = document(&args!["init"], 0);
    assert_eq!(made["status"], "ok");
    assert_eq!(document(&args!["init"], 11)["error"]["exit"], 11);
    let backup = document(&args!["backup", sandbox.source()], 0);
    assert_eq!(backup["result"]["statistics"]["errors"], 0);
    let snapshots = document(&args!["snapshots"], 0);
    assert_eq!(snapshots["result"][0]["id"], backup["result"]["snapshot"]);
    let restored = document(&args!["restore", "latest", sandbox.path("target")], 0);
    assert_eq!(restored["result"]["files"], backup["result"]["statistics"]["files"]);
    assert_eq!(document(&args!["restore", "latest", sandbox.path("target")], 17)["status"], "error");
    let check = document(&args!["check", "--read-data"], 0);
    assert_eq!((&check["result"]["errors"], &check["result"]["snapshots"]), (&0.into(), &1.into()));
    assert_eq!(document(&args!["cat", "snapshot", "latest"], 0)["result"]["id"], backup["result"]["snapshot"]);
    document(&args!["cat", "roster"], 0);
    for (label, id, _) in sandbox.chunks() {
        let shown = document(&args!["cat", "chunk", id], 0);
        assert_eq!((&shown["result"]["label"], &shown["result"]["id"]), (&label.into(), &id.into()));
    }
    assert_eq!(document(&args!["version"], 0)["result"]["obnam"], env!("CARGO_PKG_VERSION"));
    // Names that are not text have a form that loses nothing.
    let listed = sandbox.obnam(args!["--json", "ls", "latest", sandbox.source()]).expect(0).lines();
    let odd = sandbox.source().join("names").join(OsStr::from_bytes(b"not \xff\xfe UTF-8"));
    let hex: String = odd.as_os_str().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(listed.iter().any(|line| line["path_hex"] == hex.as_str()), "{odd:?}");
    assert_eq!(listed.len(), tree::describe(&sandbox.source()).len());
}

#[test]
fn names_cannot_play_with_the_terminal() {
    let sandbox = Sandbox::with_repository();
    let name = "evil \x1b]0;title\x07 \x1b[2J\n-rw-r--r-- root forged";
    fs::create_dir(sandbox.source().join(name)).unwrap();
    let ran = sandbox.obnam(args!["backup", "--tag", "\x1b[2J", sandbox.source().join(name)]).expect(0);
    assert!(!ran.all().contains('\x1b'));
    for arguments in [args!["ls", "latest"].as_slice(), &args!["snapshots"]] {
        let ran = sandbox.obnam(arguments).expect(0);
        assert!(!ran.all().contains('\x1b') && !ran.all().contains("\n-rw-r--r-- root forged"), "{}", ran.text());
    }
}

#[test]
fn whoever_reads_may_stop_reading() {
    let sandbox = Sandbox::with_repository();
    tree::small_files(&sandbox.source(), 3_000, 14);
    sandbox.back_up();
    let garbage = ["roster", "snapshot.0000000000000000", "index.0000000000000000"];
    for label in garbage {
        for number in 0..400 {
            obnam_tests::chunks::add(&sandbox.repository(), label, format!("garbage {number}").as_bytes());
        }
    }
    for arguments in [&["ls", "latest"][..], &["--json", "ls", "latest"], &["chunks"], &["check"], &["snapshots"]] {
        for close_errors in [false, true] {
            let mut command = sandbox.command(arguments);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let mut errors = child.stderr.take();
            if close_errors {
                drop(errors.take());
            }
            let said = thread::spawn(move || {
                let mut said = String::new();
                if let Some(mut errors) = errors {
                    std::io::Read::read_to_string(&mut errors, &mut said).unwrap();
                }
                said
            });
            let mut first = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
            let said = said.join().unwrap();
            let status = child.wait().unwrap();
            assert!(!said.contains("defect"), "{arguments:?}");
            assert_eq!(status.code(), Some(0), "{arguments:?}, errors closed: {close_errors}");
        }
    }
}

#[test]
fn quiet_and_verbose() {
    let sandbox = Sandbox::with_repository();
    fs::write(sandbox.source().join("a"), "a").unwrap();
    let backup = |options: &[&str]| sandbox.obnam([options, &["backup", sandbox.source().to_str().unwrap()]].concat());
    assert_eq!(backup(&["--quiet"]).expect(0).all(), "");
    let usual = backup(&[]).expect(0);
    assert!(usual.text().contains("saved") && usual.stderr.is_empty(), "{usual:?}");
    backup(&["-vv"]).expect(0);
    assert_eq!(sandbox.obnam(["-q", "check"]).expect(0).all(), "");
    assert_eq!(sandbox.obnam(args!["-q", "restore", "latest", sandbox.path("t")]).expect(0).all(), "");
}

#[test]
fn the_version_needs_nothing() {
    for arguments in [&["--version"][..], &["version"], &["version", "--json"], &["--help"], &["backup", "--help"]] {
        let ran = run(Command::new(obnam()).env_clear().args(arguments).current_dir("/")).expect(0);
        assert!(ran.stderr.is_empty() && !ran.stdout.is_empty());
        let ran = Command::new(obnam())
            .env_clear()
            .env("HOME", "/proc/nothing")
            .env("XDG_CACHE_HOME", "/proc/nothing")
            .args(arguments)
            .output()
            .unwrap();
        assert!(ran.status.success());
    }
}

#[test]
fn one_backup_at_a_time() {
    let sandbox = Sandbox::with_repository();
    fs::write(sandbox.source().join("a"), "a").unwrap();
    sandbox.back_up();
    let state = fs::read_dir(sandbox.local().join("state/obnam")).unwrap().next().unwrap().unwrap().path();
    let lock = fs::File::open(state.join("backup.lock")).unwrap();
    lock.lock().unwrap();
    sandbox.obnam(args!["backup", sandbox.source()]).expect(16).says(&["another backup"]);
    // Everything else goes on.
    sandbox.obnam(["snapshots"]).expect(0);
    sandbox.assert_restores();
    assert!(sandbox.check(0).is_empty());
    drop(lock);
    sandbox.back_up();
    // Really at once: some come through, the others are told to wait, and all is well.
    tree::small_files(&sandbox.source(), 500, 15);
    let children: Vec<_> =
        (0..4).map(|_| sandbox.command(args!["-q", "backup", sandbox.source()]).spawn().unwrap()).collect();
    let codes: Vec<_> = children.into_iter().map(|mut child| child.wait().unwrap().code()).collect();
    assert!(codes.iter().all(|code| matches!(code, Some(0 | 16))) && codes.contains(&Some(0)), "{codes:?}");
    assert!(sandbox.check(0).is_empty());
    sandbox.assert_restores();
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

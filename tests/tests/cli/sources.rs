//! Difficult sources: files that change, that may not be read, that are many, large or deep.

use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, thread};

use obnam_tests::tree::{self, Random};
use obnam_tests::{Sandbox, args, below, chmod, is_root, obnam, run};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

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

//! A nasty tree: everything that a Unix file system can hold, there and back again.

#![allow(clippy::unwrap_used)]

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, lchown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use obnam::inode::{Inode, xattrs};
use obnam_tests::tree::{self, Random};
use obnam_tests::{Sandbox, args, below, chmod, is_root, run};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, makedev, mknodat, utimensat};

/// Takes flags away that keep files from being removed, also when a test fails.
struct Unseal(PathBuf);

impl Drop for Unseal {
    fn drop(&mut self) {
        let _ = Command::new("chattr").args(["-R", "-f", "-i", "-a"]).arg(&self.0).output();
    }
}

/// Does what this machine may refuse; says so then.
fn possible(done: &mut Vec<&'static str>, what: &'static str, result: Result<(), impl std::fmt::Display>) {
    match result {
        Ok(()) => done.push(what),
        Err(why) => println!("skipped: {what}: {why}"),
    }
}

/// Runs a tool of the system.
fn tool(command: &str, arguments: &[OsString]) -> Result<(), String> {
    let output = Command::new(command).args(arguments).output().map_err(|error| format!("{command}: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

fn set(path: &Path, name: &str, value: &[u8]) -> rustix::io::Result<()> {
    xattrs::set(&Inode::Named(path.to_owned()), name.as_bytes(), value)
}

fn set_times(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Makes the tree. Returns which of the things that need root, a tool, or a fitting file system are in it.
fn nasty(root: &Path) -> Vec<&'static str> {
    let mut done = Vec::new();
    let mut random = Random(70);
    let at = |name: &str| root.join(name);
    for name in ["a", "b", "names", "attributes", "times", "sealed", "appended", "acl"] {
        fs::create_dir(at(name)).unwrap();
    }
    for size in [0, 1, 100_000] {
        fs::write(at(&format!("a/{size}")), random.bytes(size)).unwrap();
    }
    symlink("nowhere", at("a/link")).unwrap();
    for (name, kind) in [("a/fifo", FileType::Fifo), ("a/socket", FileType::Socket)] {
        mknodat(CWD, at(name), kind, Mode::from_raw_mode(0o640), 0).unwrap();
    }
    for (name, kind) in [("a/block", FileType::BlockDevice), ("a/character", FileType::CharacterDevice)] {
        let made = mknodat(CWD, at(name), kind, Mode::from_raw_mode(0o604), makedev(259, 70_000));
        possible(&mut done, "devices", made);
    }
    // Links across directories: of everything that can have several.
    for name in fs::read_dir(at("a")).unwrap().map(|entry| entry.unwrap().file_name()) {
        fs::hard_link(root.join("a").join(&name), root.join("b").join(&name)).unwrap();
    }
    for _ in 0..100 {
        let name: Vec<u8> = (0..255).map(|_| 1 + random.below(255) as u8).collect();
        let name: Vec<u8> = name.into_iter().map(|byte| if byte == b'/' { b'_' } else { byte }).collect();
        fs::write(at("names").join(OsStr::from_bytes(&name)), &name[..9]).unwrap();
    }
    let mut deep = at("deep");
    (0..300).for_each(|level| deep.push((level % 7).to_string()));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), "bottom").unwrap();

    let file = |name: &str| {
        let path = at("attributes").join(name);
        fs::write(&path, name).unwrap();
        path
    };
    possible(&mut done, "attributes of users", set(&file("user"), "user.some", b"\0\xffvalue\n"));
    if done.contains(&"attributes of users") {
        set(&at("attributes/user"), "user.empty", b"").unwrap();
        set(&at("attributes/user"), "user.long", &random.bytes(2_500)).unwrap();
        set(&at("attributes"), "user.of a directory", b"d").unwrap();
        let path = file("read-only");
        set(&path, "user.some", b"1").unwrap();
        chmod(&path, 0o4555);
    }
    for name in ["trusted", "b/link", "b/fifo"] {
        let path = if name == "trusted" { file(name) } else { at(name) };
        possible(&mut done, "attributes of root", set(&path, "trusted.some", name.as_bytes()));
    }
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    possible(&mut done, "capabilities", set(&file("capability"), "security.capability", &capability));
    if is_root() {
        for name in ["capability", "user"] {
            lchown(at("attributes").join(name), Some(12_345), Some(1)).unwrap();
        }
        // A change of owner takes it away.
        possible(&mut done, "capabilities", set(&at("attributes/capability"), "security.capability", &capability));
        fs::write(at("attributes/setuid"), "").unwrap();
        lchown(at("attributes/setuid"), Some(1), Some(1)).unwrap();
        chmod(&at("attributes/setuid"), 0o6711);
        chmod(&at("b"), 0o3775);
    }
    let acl =
        |entries: &[&str], path: &str| tool("setfacl", &[&args!["-m"][..], &args![entries[0], at(path)]].concat());
    fs::write(at("acl/file"), "").unwrap();
    possible(&mut done, "ACLs", acl(&["u:1:rwx,g:7:-wx,m::rw-"], "acl/file"));
    possible(&mut done, "default ACLs", acl(&["u:2:r-x,d:u:3:rwx,d:g:4:r--"], "acl"));
    fs::write(at("acl/inherits"), "").unwrap();
    fs::create_dir(at("acl/inherits too")).unwrap();

    for (number, name) in ["file", "fifo", "link", "folder"].iter().enumerate() {
        let path = at("times").join(name);
        match *name {
            "file" => fs::write(&path, "").unwrap(),
            "fifo" => mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap(),
            "link" => symlink("file", &path).unwrap(),
            _ => fs::create_dir(&path).unwrap(),
        }
        let seconds = [-2_000_000_000, -1, 2_147_483_648, 8_589_934_592][number];
        set_times(&path, seconds, 999_999_999 - number as i64);
    }

    for name in ["sealed/file", "sealed/other", "appended/log", "times/flags"] {
        fs::write(at(name), name).unwrap();
    }
    fs::hard_link(at("sealed/file"), at("b/sealed too")).unwrap();
    set_times(&at("sealed"), 1_000_000_000, 5);
    possible(&mut done, "flags", tool("chattr", &args!["+dA", at("times/flags")]));
    possible(&mut done, "flags of directories", tool("chattr", &args!["+d", at("times/folder")]));
    for (flag, names) in [("+i", ["sealed/file", "sealed"]), ("+a", ["appended/log", "appended"])] {
        for name in names {
            possible(&mut done, "seals", tool("chattr", &args![flag, at(name)]));
        }
    }
    done
}

/// Longer than it takes until a file that was just touched is believed to be unchanged.
fn calm_down() {
    thread::sleep(Duration::from_millis(2_100));
}

fn restore_and_compare(sandbox: &Sandbox, snapshot: &str) -> PathBuf {
    let restored = sandbox.restore(snapshot);
    tree::assert_same(&sandbox.source(), &restored);
    restored
}

#[test]
fn everything_that_an_inode_has_comes_back() {
    let sandbox = Sandbox::with_repository();
    let _unseal = Unseal(sandbox.path(""));
    let source = sandbox.source();
    let done = nasty(&source);
    println!("the tree has: {done:?}");
    assert!(done.contains(&"attributes of users") || done.contains(&"flags"), "this machine refuses all of it");
    calm_down();
    let first = sandbox.back_up();
    let restored = restore_and_compare(&sandbox, "latest");
    if done.contains(&"seals") {
        assert!(fs::write(restored.join("sealed/file"), "").is_err() && fs::write(restored.join("b/new"), "").is_ok());
        assert!(File::create(restored.join("sealed/new")).is_err(), "the directory is immutable too");
    }
    // Tools of the system see what obnam's own calls see.
    if done.contains(&"ACLs") {
        let acl =
            |root: &Path| Command::new("getfacl").arg("-nR").arg("acl").current_dir(root).output().unwrap().stdout;
        assert_eq!(String::from_utf8_lossy(&acl(&restored)), String::from_utf8_lossy(&acl(&source)));
    }

    // Nothing is read again, and nothing is lost.
    let second = sandbox.back_up();
    assert_eq!(second["statistics"]["unchanged_files"], first["statistics"]["files"]);
    restore_and_compare(&sandbox, "latest");
    // Not on a machine without any memory either.
    sandbox.next_machine();
    let third = sandbox.back_up();
    assert_eq!(third["statistics"]["unchanged_files"], first["statistics"]["files"]);
    restore_and_compare(&sandbox, "latest");
    assert!(sandbox.check(0).is_empty());
}

#[test]
fn changes_of_nothing_but_attributes_are_noticed() {
    let sandbox = Sandbox::with_repository();
    let _unseal = Unseal(sandbox.path(""));
    let source = sandbox.source();
    let done = nasty(&source);
    sandbox.back_up();
    let mut changes = 0;
    for (what, name) in [("attributes of users", "attributes/user"), ("attributes of root", "b/link")] {
        if done.contains(&what) {
            let namespace = if name == "b/link" { "trusted" } else { "user" };
            set(&source.join(name), &format!("{namespace}.some"), b"new").unwrap();
            set(&source.join(name), &format!("{namespace}.more"), b"more").unwrap();
            changes += 1;
        }
    }
    if done.contains(&"attributes of users") {
        xattrs::remove(&Inode::Named(source.join("attributes/user")), b"user.empty").unwrap();
        set(&source.join("attributes"), "user.of a directory", b"e").unwrap();
    }
    if done.contains(&"flags") {
        tool("chattr", &args!["-A", source.join("times/flags")]).unwrap();
        tool("chattr", &args!["-d", source.join("times/folder")]).unwrap();
        changes += 1;
    }
    if done.contains(&"seals") {
        tool("chattr", &args!["-i", source.join("sealed"), source.join("sealed/file")]).unwrap();
        tool("chattr", &args!["+i", source.join("sealed/other")]).unwrap();
    }
    if done.contains(&"ACLs") {
        tool("setfacl", &args!["-m", "u:1:r", source.join("acl/file")]).unwrap();
        tool("setfacl", &args!["-k", source.join("acl")]).unwrap();
        changes += 1;
    }
    assert!(changes > 0, "this machine refuses all of it");
    let made = sandbox.back_up();
    assert_eq!(made["statistics"]["new_files"], 0);
    restore_and_compare(&sandbox, "latest");
}

// ------------------------------------------------------------------------------------------------------------- holes

/// A file with data at these places, and holes elsewhere.
fn sparse(path: &Path, size: u64, data: &[(u64, usize)], seed: u64) {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    for &(offset, length) in data {
        file.write_all_at(&Random(seed + offset).bytes(length), offset).unwrap();
    }
}

#[test]
fn sparse_files_stay_sparse() {
    const M: u64 = 1 << 20;
    const G: u64 = 1 << 30;
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    let huge = source.join("huge");
    sparse(&huge, 3 * G, &[(0, 5_000), (G + 12_345, 3_000_000), (3 * G - 5_000, 5_000)], 1);
    sparse(&source.join("one hole"), 1 << 40, &[], 2);
    sparse(&source.join("hole at the end"), 50 * M + 3, &[(0, 3 * M as usize)], 3);
    sparse(&source.join("hole at the beginning"), 50 * M + 3, &[(50 * M, 3)], 4);
    sparse(&source.join("short holes"), M, &[(0, 4_096), (40_000, 5), (300_000, 4_096)], 5);
    // Runs that begin and end anywhere in blobs, and blobs with many runs.
    let many: Vec<(u64, usize)> = (0..1_000).map(|n| (n * 300_000, 1 + (n as usize * 977) % 30_000)).collect();
    sparse(&source.join("many"), 301 * M, &many, 6);
    fs::hard_link(source.join("many"), source.join("many too")).unwrap();
    if fs::metadata(&huge).unwrap().blocks() * 512 > 3 * G / 2 {
        println!("skipped: the file system of temporary files has no holes");
        return;
    }
    calm_down();
    let made = sandbox.back_up();
    let bytes = made["statistics"]["bytes"].as_u64().unwrap();
    assert!(bytes < 200 * M, "holes are not read: {bytes}");
    for round in 0..2 {
        let restored = sandbox.restore("latest");
        tree::assert_same(&source, &restored);
        for entry in fs::read_dir(&source).unwrap() {
            let (path, name) = (entry.as_ref().unwrap().path(), entry.unwrap().file_name());
            let allocated = |path: &Path| fs::metadata(path).unwrap().blocks() * 512;
            let (before, after) = (allocated(&path), allocated(&restored.join(&name)));
            // Short holes are filled.
            assert!(after <= before + before / 8 + 2 * 65_536 + 300_000, "{name:?}: {before} bytes, then {after}");
        }
        sandbox.discard(&restored);
        let again = sandbox.back_up();
        assert_eq!(again["statistics"]["unchanged_files"], again["statistics"]["files"], "round {round}");
    }
    assert!(sandbox.check(0).is_empty());
    let listed = sandbox.obnam(args!["--json", "ls", "latest", huge]).expect(0).lines();
    assert_eq!(listed[0]["size"], 3 * G);
    let path = source.join("hole at the beginning");
    let printed = sandbox.obnam(args!["cat", "file", "latest", path]).expect(0).stdout;
    assert!(printed == fs::read(&path).unwrap());
    // Contents that move into a hole.
    let file = File::options().write(true).open(&huge).unwrap();
    file.write_all_at(b"here", 2 * G).unwrap();
    File::options().write(true).open(source.join("one hole")).unwrap().set_len(5 * M).unwrap();
    sandbox.back_up();
    sandbox.assert_restores();
}

#[test]
fn sparse_files_that_change_while_they_are_read() {
    let sandbox = Sandbox::with_repository();
    let path = sandbox.source().join("file");
    let runs = [(0, 9_000_000), (30_000_000, 9_000_000), (60_000_000, 9_000_000)];
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        sparse(&path, 80_000_000, &runs, 1);
        scope.spawn(|| {
            let file = File::options().write(true).open(&path).unwrap();
            for round in 0u64.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                file.set_len([80_000_000, 35_000_000, 60_000_001, 1_000, 0][round as usize % 5]).unwrap();
                file.write_all_at(&[7; 100_000], (round % 7) * 10_000_000).unwrap();
            }
        });
        for _ in 0..10 {
            let ran = sandbox.obnam(args!["backup", sandbox.source()]);
            assert!(matches!(ran.code, Some(0 | 3)), "{ran:?}");
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(sandbox.check(0).is_empty());
    for id in sandbox.snapshots() {
        sandbox.discard(&sandbox.restore(&id));
    }
    sandbox.back_up();
    sandbox.assert_restores();
    // One that is gone before it is read costs nothing but a line.
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                sparse(&path, 80_000_000, &runs, 2);
                fs::remove_file(&path).unwrap();
            }
        });
        for _ in 0..5 {
            let ran = sandbox.obnam(args!["backup", sandbox.source()]);
            assert!(matches!(ran.code, Some(0 | 3)), "{ran:?}");
        }
        over.store(true, Ordering::Relaxed);
    });
    sandbox.back_up();
    sandbox.assert_restores();
}

// ------------------------------------------------------------------------------------------------------------- masses

#[test]
fn a_hundred_thousand_files_in_one_directory() {
    let sandbox = Sandbox::with_repository();
    let folder = sandbox.source().join("folder");
    fs::create_dir(&folder).unwrap();
    for number in 0..100_000 {
        // Most are empty: this is about names.
        let content = if number % 100 == 0 { number.to_string() } else { String::new() };
        fs::write(folder.join(format!("{number:x} of many")), content).unwrap();
    }
    calm_down();
    let made = sandbox.back_up();
    assert_eq!(made["statistics"]["files"], 100_000);
    let again = sandbox.back_up();
    assert_eq!(again["statistics"]["unchanged_files"], 100_000);
    sandbox.assert_restores();
}

// ------------------------------------------------------------------------------------------------------------ refusals

#[test]
fn what_the_target_refuses_is_told_once_per_kind() {
    if !is_root() {
        println!("skipped: only root can set what others cannot");
        return;
    }
    let sandbox = Sandbox::with_repository();
    let _unseal = Unseal(sandbox.path(""));
    let mut refused = 0;
    for number in 0..50 {
        let path = sandbox.source().join(format!("file {number}"));
        fs::write(&path, "x").unwrap();
        if set(&path, "trusted.some", b"1").is_err() || tool("chattr", &args!["+i", path]).is_err() {
            println!("skipped: the file system of temporary files refuses it to root too");
            return;
        }
        refused += 1;
    }
    sandbox.back_up();
    for name in ["repository", "identity", sandbox.local().file_name().unwrap().to_str().unwrap()] {
        tool("chown", &args!["-R", "65534:65534", sandbox.path(name)]).unwrap();
    }
    chmod(&sandbox.path(""), 0o755);
    let target = sandbox.fresh("restored");
    fs::create_dir(&target).unwrap();
    lchown(&target, Some(65_534), Some(65_534)).unwrap();
    let mut command = sandbox.command(args!["restore", "latest", target]);
    command.uid(65534).gid(65534);
    let ran = run(&mut command).expect(3).says(&["trusted.*", "immutable", &format!("{refused} files"), "owners"]);
    assert_eq!(ran.stderr.lines().filter(|line| line.contains("the target refuses")).count(), 2, "{}", ran.stderr);
    let restored = below(&target, &sandbox.source());
    assert_eq!(fs::read_dir(restored).unwrap().count(), refused);
}

#[test]
fn an_acl_of_the_target_is_not_inherited() {
    let sandbox = Sandbox::with_repository();
    fs::create_dir(sandbox.source().join("folder")).unwrap();
    fs::write(sandbox.source().join("folder/file"), "x").unwrap();
    sandbox.back_up();
    let target = sandbox.fresh("restored");
    fs::create_dir(&target).unwrap();
    if let Err(why) = tool("setfacl", &args!["-m", "d:u:7:rwx,d:g:8:rwx", target]) {
        println!("skipped: {why}");
        return;
    }
    sandbox.obnam(args!["restore", "latest", target]).expect(0);
    tree::assert_same(&sandbox.source(), &below(&target, &sandbox.source()));
}

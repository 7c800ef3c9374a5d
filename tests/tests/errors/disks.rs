//! Disks and repositories that are full or may not be written.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use obnam_tests::tree::{self, Random};
use obnam_tests::{Ran, Sandbox, args, chmod, is_root, run};

/// A small file system of its own; unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: &Path, size: &str) -> Option<Disk> {
        fs::create_dir_all(path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
            .arg(path)
            .stderr(Stdio::null())
            .status();
        if is_root() && mounted.is_ok_and(|status| status.success()) {
            return Some(Disk(path.to_owned()));
        }
        eprintln!("skipped: cannot mount a small file system here");
        None
    }

    fn remount(&self, options: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk() {
    let sandbox = Sandbox::new();
    let Some(disk) = Disk::mount(&sandbox.repository(), "30m") else { return };
    sandbox.obnam(["init"]).expect(0);
    Random(2).write_file(&sandbox.source().join("fits"), 5_000_000);
    sandbox.back_up();
    let before = tree::describe(&sandbox.source());
    tree::small_files(&sandbox.source().join("many"), 2_500, 3);
    for number in 0..4 {
        Random(10 + number).write_file(&sandbox.source().join(format!("too much {number}")), 15_000_000);
    }
    for _ in 0..2 {
        let ran = sandbox.obnam(args!["backup", sandbox.source()]).expect(13);
        assert!(ran.stderr.contains("full") || ran.stderr.contains("No space left"), "{}", ran.stderr);
        // What was there before is there, and can be restored.
        sandbox.check(0);
        let restored = sandbox.restore("latest");
        tree::assert_is(&before, &restored);
        sandbox.discard(&restored);
    }
    disk.remount("size=200m");
    sandbox.back_up();
    sandbox.assert_restores();
    sandbox.check(0);
    // Read-only: everything but storing works.
    disk.remount("ro");
    sandbox.assert_restores();
    assert_eq!(sandbox.snapshots().len(), 2);
    sandbox.check(0);
    fs::write(sandbox.source().join("new"), "new").unwrap();
    let ran = sandbox.obnam(args!["backup", sandbox.source()]).expect(13);
    assert!(ran.stderr.to_lowercase().contains("read-only"), "{}", ran.stderr);
    disk.remount("rw");
    sandbox.back_up();
    sandbox.assert_restores();
}

#[test]
fn a_target_that_is_full() {
    let sandbox = Sandbox::with_repository();
    Random(4).write_file(&sandbox.source().join("large"), 20_000_000);
    sandbox.back_up();
    let target = sandbox.path("target");
    let Some(_disk) = Disk::mount(&target, "10m") else { return };
    let ran = sandbox.obnam(args!["restore", "latest", target]);
    assert!(matches!(ran.code, Some(1 | 17)), "{ran:?}");
    assert!(ran.stderr.contains("No space left"), "{}", ran.stderr);
}

#[test]
fn a_full_disk_for_local_files() {
    let sandbox = Sandbox::with_repository();
    tree::small_files(&sandbox.source(), 3_000, 5);
    sandbox.back_up();
    sandbox.next_machine();
    let cache = sandbox.local().join("cache");
    let Some(disk) = Disk::mount(&cache, "64k") else { return };
    // Restoring needs the index, which needs room; it is said, or it works without.
    let target = sandbox.path("target");
    let ran = sandbox.obnam(args!["restore", "latest", target]);
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    assert!(ran.code == Some(0) || ran.stderr.contains("No space left"), "{}", ran.stderr);
    let ran = sandbox.obnam(args!["backup", sandbox.source()]);
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    drop(disk);
    sandbox.back_up();
    sandbox.assert_restores();
}

/// The program as somebody who may not write everywhere.
fn as_nobody(command: &mut Command, sandbox: &Sandbox) -> Ran {
    if is_root() {
        let mut waiting = vec![sandbox.path("")];
        while let Some(path) = waiting.pop() {
            if !path.starts_with(sandbox.repository()) {
                std::os::unix::fs::lchown(&path, Some(65534), Some(65534)).unwrap();
                if path.is_dir() {
                    waiting.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
                }
            }
        }
        command.uid(65534).gid(65534);
    }
    run(command)
}

#[test]
fn a_repository_that_may_only_be_read() {
    let sandbox = Sandbox::with_repository();
    fs::write(sandbox.source().join("a"), "a").unwrap();
    sandbox.back_up();
    let mut folders = vec![sandbox.repository()];
    while let Some(folder) = folders.pop() {
        chmod(&folder, 0o555);
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { chmod(&path, 0o444) }
        }
    }
    let before = sandbox.chunks();
    as_nobody(&mut sandbox.command(["snapshots"]), &sandbox).expect(0);
    as_nobody(&mut sandbox.command(["check", "--read-data"]), &sandbox).expect(0);
    let ran = as_nobody(&mut sandbox.command(args!["backup", sandbox.source()]), &sandbox).expect(13);
    assert!(ran.stderr.contains("denied") || ran.stderr.contains("permit"), "{}", ran.stderr);
    assert_eq!(sandbox.chunks(), before);
    // Nothing can be read at all.
    chmod(&sandbox.repository(), 0o000);
    if is_root() {
        std::os::unix::fs::lchown(sandbox.repository(), Some(0), Some(0)).unwrap();
    }
    let ran = as_nobody(&mut sandbox.command(["snapshots"]), &sandbox);
    assert!(matches!(ran.code, Some(10 | 13 | 14)) && ran.stderr.contains("denied"), "{ran:?}");
    chmod(&sandbox.repository(), 0o755);
}

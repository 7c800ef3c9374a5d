//! What goes wrong around the program: arguments, places, disks, local files, signals. Each has a clear message and a
//! documented exit code, and nothing is lost.

#![allow(clippy::unwrap_used)]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use obnam_tests::tree::{self, Random};
use obnam_tests::{Ran, Sandbox, args, chmod, is_root, run};

fn bare(sandbox: &Sandbox, arguments: &[OsString]) -> Ran {
    run(sandbox.bare().args(arguments))
}

#[test]
fn wrong_usage() {
    let sandbox = Sandbox::with_repository();
    for arguments in [
        args![].as_slice(),
        &args!["frobnicate"],
        &args!["--frobnicate", "snapshots"],
        &args!["restore", "latest"],
        &args!["restore", "latest", "a", "b"],
        &args!["cat"],
        &args!["cat", "file", "latest"],
        &args!["snapshots", "extra"],
        &args!["--repo"],
    ] {
        let ran = bare(&sandbox, arguments).expect(2);
        assert!(ran.stderr.contains("Usage") || ran.stderr.starts_with("error: "), "{}", ran.stderr);
        assert!(ran.stdout.is_empty());
    }
    for arguments in [
        args!["cat", "chunk", "xyz"].as_slice(),
        &args!["cat", "chunk", "0".repeat(64)],
        &args!["cat", "blob", "data", "xyz"],
        &args!["cat", "blob", "frob", "0".repeat(64)],
        &args!["--repository-id", "xyz", "snapshots"],
        &args!["-o", "novalue", "snapshots"],
        &args!["-o", "=value", "snapshots"],
        &args!["-o", "frobnicate=1", "snapshots"],
    ] {
        let ran = sandbox.obnam(arguments).expect(17);
        assert!(ran.stderr.starts_with("obnam: ") && ran.stderr.lines().count() == 1, "{arguments:?}: {}", ran.stderr);
    }
    // A blob that is not there.
    sandbox.obnam(args!["cat", "blob", "data", "0".repeat(64)]).expect(15);
}

#[test]
fn no_repository_given() {
    let sandbox = Sandbox::new();
    for arguments in
        [args!["snapshots"].as_slice(), &args!["init"], &args!["--repo", "", "snapshots"], &args!["chunks"]]
    {
        bare(&sandbox, arguments).expect(17).says(&["--repo LOCATION", "OBNAM_REPOSITORY"]);
    }
    bare(&sandbox, &args!["backup"]).expect(17).says(&["nothing to back up", "obnam backup PATH"]);
    run(sandbox.bare().arg("snapshots").env("OBNAM_REPOSITORY", "")).expect(17);
    assert_eq!(fs::read_dir(sandbox.local().join("config")).unwrap().count(), 0);
}

#[test]
fn places_that_are_no_repository() {
    let sandbox = Sandbox::new();
    let place = |name: &OsStr, arguments: &[&str]| {
        let mut command = sandbox.bare();
        run(command.arg("-r").arg(name).arg("--identity").arg(sandbox.identity()).args(arguments))
    };
    sandbox.obnam(["init"]).expect(0);
    let empty = sandbox.path("empty");
    fs::create_dir(&empty).unwrap();
    let foreign = sandbox.path("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("letter.txt"), "Dear").unwrap();
    let file = sandbox.path("file");
    fs::write(&file, "file").unwrap();
    let missing = sandbox.path("missing/below");
    for path in [&empty, &foreign, &missing] {
        place(path.as_os_str(), &["snapshots"]).expect(10);
    }
    place(empty.as_os_str(), &["snapshots"]).says(&["mounted", "init"]);
    assert!(!sandbox.path("missing").exists());
    let ran = place(file.as_os_str(), &["snapshots"]);
    assert!(matches!(ran.code, Some(10 | 13 | 14 | 17)), "{ran:?}");
    // init: not there, not into anything foreign, not twice.
    place(foreign.as_os_str(), &["init"]).expect(11);
    let ran = place(file.as_os_str(), &["init"]);
    assert!(matches!(ran.code, Some(11 | 13 | 14 | 17)), "{ran:?}");
    assert_eq!(names(&foreign), ["letter.txt"]);
    assert_eq!(fs::read(&file).unwrap(), b"file");
    let before = sandbox.chunks();
    sandbox.obnam(["init"]).expect(11).says(&["already", "nothing was changed"]);
    assert_eq!(sandbox.chunks(), before);
    // Unknown schemes.
    for name in ["nosuchscheme:whatever", "s3://bucket/prefix", "https://example.com/"] {
        let ran = place(OsStr::new(name), &["snapshots"]);
        assert!(matches!(ran.code, Some(14 | 17)), "{name}: {ran:?}");
        assert!(ran.stderr.contains("scheme") || ran.stderr.contains("plugin"), "{}", ran.stderr);
    }
    // A place that init has prepared, and nothing more; and one whose chunks are of something else.
    fs::remove_dir_all(sandbox.repository().join("repository")).unwrap();
    fs::create_dir_all(sandbox.repository().join("data/00")).unwrap();
    obnam_tests::chunks::add(&sandbox.repository(), "data", b"something");
    sandbox.obnam(["snapshots"]).expect(10);
    sandbox.obnam(["init"]).expect(11).says(&["no repository"]);
}

#[test]
fn failed_inits_leave_nothing_behind() {
    let sandbox = Sandbox::new();
    let foreign = sandbox.path("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("letter.txt"), "Dear").unwrap();
    let mut command = sandbox.bare();
    run(command.arg("-r").arg(&foreign).arg("--identity").arg(sandbox.identity()).arg("init")).expect(11);
    assert!(!sandbox.identity().exists(), "an identity that opens nothing");
}

#[test]
fn plugins_that_are_none() {
    let sandbox = Sandbox::with_repository();
    let with = |path: &Path| {
        let mut command = sandbox.command(["snapshots"]);
        run(command.arg("--backend").arg(path))
    };
    let ran = with(&sandbox.path("missing.wasm"));
    assert!(matches!(ran.code, Some(14 | 17)) && ran.stderr.contains("missing.wasm"), "{ran:?}");
    let file = sandbox.path("bad.wasm");
    for contents in [b"".as_slice(), b"not wasm", b"\0asm\x01\0\0\0", b"\0asm\x0d\0\x01\0", &Random(1).bytes(10_000)] {
        fs::write(&file, contents).unwrap();
        let ran = with(&file);
        assert!(matches!(ran.code, Some(14 | 17)) && ran.stderr.contains("bad.wasm"), "{ran:?}");
    }
    assert!(matches!(with(&sandbox.source()).code, Some(14 | 17)));
}

#[test]
fn arguments_that_are_no_text() {
    let sandbox = Sandbox::with_repository();
    let odd = sandbox.source().join(OsStr::from_bytes(b"odd \xff name"));
    fs::create_dir(&odd).unwrap();
    fs::write(odd.join("file"), "file").unwrap();
    sandbox.obnam(args!["backup", odd]).expect(0);
    assert_eq!(sandbox.obnam(args!["cat", "file", "latest", odd.join("file")]).expect(0).text(), "file");
    assert_eq!(sandbox.obnam(args!["--json", "ls", "latest", odd]).expect(0).lines().len(), 2);
    let target = sandbox.path("").join(OsStr::from_bytes(b"target \xfe"));
    sandbox.obnam(args!["--json", "restore", "latest", target]).expect(0).json();
    tree::assert_same(&odd, &obnam_tests::below(&target, &odd));
    // An identity in an odd place.
    let identity = sandbox.path("").join(OsStr::from_bytes(b"identity \xfd"));
    fs::copy(sandbox.identity(), &identity).unwrap();
    let mut command = sandbox.bare();
    run(command.arg("-r").arg(sandbox.repository()).arg("--identity").arg(&identity).arg("snapshots")).expect(0);
    // Where only text will do, it is said.
    let bytes = OsStr::from_bytes(b"\xff");
    for arguments in
        [args!["--repo", bytes, "snapshots"].as_slice(), &args!["backup", "--tag", bytes, "."], &args![bytes]]
    {
        bare(&sandbox, arguments).expect(2);
    }
}

#[test]
fn output_that_cannot_be_written() {
    let sandbox = Sandbox::with_repository();
    fs::write(sandbox.source().join("a"), "a").unwrap();
    obnam_tests::chunks::add(&sandbox.repository(), "roster", b"something to warn about");
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let backup = args!["backup", sandbox.source()];
    for arguments in [backup.as_slice(), &args!["snapshots"], &args!["check"], &args!["chunks"], &args!["ls", "latest"]]
    {
        for json in [false, true] {
            let mut command = sandbox.command(arguments);
            if json {
                command.arg("--json");
            }
            let output = command.stdout(full()).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
            let ran = Ran::new(format!("{arguments:?}"), output).expect(1);
            if !json {
                ran.says(&["standard output", "No space left"]);
            }
            // Standard error is full or closed: then nothing can be said, but all is done.
            let status = sandbox.command(arguments).stdout(Stdio::null()).stderr(full()).status().unwrap();
            assert_eq!(status.code(), Some(0), "{arguments:?}");
        }
    }
    assert_eq!(sandbox.snapshots().len(), 4, "what was done before the output failed is done");
    let status = sandbox.command(["snapshots"]).arg("nonsense").stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

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

fn only_entry(folder: PathBuf) -> PathBuf {
    let mut entries: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.retain(|path| path.file_name().unwrap() != "plugins");
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries.remove(0)
}

/// Every way in which a file can be damaged; the last one puts it back.
fn damages(path: &Path, mut look: impl FnMut(&str)) {
    let original = fs::read(path).unwrap();
    let mut random = Random(6);
    fs::write(path, "").unwrap();
    look("empty");
    fs::write(path, random.bytes(original.len().max(100))).unwrap();
    look("noise");
    for _ in 0..6 {
        let mut bytes = original.clone();
        let place = random.below(bytes.len() as u64) as usize;
        bytes[place] ^= 1 << random.below(8);
        fs::write(path, bytes).unwrap();
        look(&format!("byte {place} of {}", original.len()));
        let length = random.below(original.len() as u64) as usize;
        fs::write(path, &original[..length]).unwrap();
        look(&format!("the first {length} of {}", original.len()));
    }
    fs::write(path, [original.as_slice(), b"more"].concat()).unwrap();
    look("a longer end");
    // A cache may have been removed by the program meanwhile, and other files made again.
    let _ = fs::remove_file(path);
    fs::create_dir(path).unwrap();
    look("a directory");
    let _ = fs::remove_dir(path);
    let _ = fs::remove_file(path);
    look("missing");
    fs::write(path, original).unwrap();
}

#[test]
fn damaged_caches_are_made_again_without_a_word() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    tree::small_files(&source.join("many"), 2_300, 7);
    Random(8).write_file(&source.join("large"), 150_000_000);
    sandbox.back_up();
    sandbox.assert_restores();
    let cache = only_entry(sandbox.local().join("cache/obnam"));
    let files = || -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut waiting = vec![cache.clone()];
        while let Some(path) = waiting.pop() {
            if path.is_dir() {
                waiting.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            } else {
                found.push(path);
            }
        }
        found
    };
    let kinds = [".state", ".run", ""];
    let mut round = 0;
    for kind in kinds {
        let path = files().into_iter().find(|path| path.to_str().unwrap().ends_with(kind)).unwrap();
        damages(&path, |how| {
            let what = format!("{}: {how}", path.display());
            round += 1;
            fs::write(source.join("changes"), format!("{round}")).unwrap();
            let ran = sandbox.obnam(args!["--json", "backup", source]);
            assert_eq!(ran.code, Some(0), "{what}: {}", ran.all());
            assert!(ran.result()["statistics"]["new_bytes"].as_u64().unwrap() < 1_000_000, "{what}: {}", ran.all());
            let content = sandbox.obnam(args!["cat", "file", "latest", source.join("changes")]);
            assert_eq!(content.text(), round.to_string(), "{what}: {}", content.all());
        });
    }
    sandbox.assert_restores();
    assert!(sandbox.check(0).is_empty());
    fs::remove_dir_all(&cache).unwrap();
    sandbox.back_up();
    sandbox.assert_restores();
}

#[test]
fn damaged_memory_is_named() {
    let sandbox = Sandbox::with_repository();
    fs::write(sandbox.source().join("a"), "a").unwrap();
    sandbox.back_up();
    let state = only_entry(sandbox.local().join("state/obnam"));
    let pin = only_entry(sandbox.local().join("config/obnam/repositories"));
    for path in [state.join("seen.json"), pin] {
        damages(&path, |how| {
            let ran = sandbox.obnam(["snapshots"]);
            let what = format!("{}: {how}: {ran:?}", path.display());
            match ran.code {
                // Some changes give another valid file, or none; that is not to be told from the truth.
                Some(0) => assert!(how.starts_with("byte") || how == "missing", "{what}"),
                // It names another credential or repository now, or other history.
                Some(15 | 10) => assert!(how.starts_with("byte"), "{what}"),
                Some(1 | 17) => assert!(ran.stderr.contains(path.to_str().unwrap()), "{what}"),
                _ => panic!("{what}"),
            }
        });
        sandbox.obnam(["snapshots"]).expect(0);
    }
    // The lock is only a lock, whatever is in it.
    fs::write(state.join("backup.lock"), "nonsense").unwrap();
    sandbox.back_up();
    fs::remove_file(state.join("backup.lock")).unwrap();
    sandbox.back_up();
    fs::create_dir(sandbox.path("x")).unwrap();
    fs::remove_file(state.join("backup.lock")).unwrap();
    fs::create_dir(state.join("backup.lock")).unwrap();
    sandbox.obnam(args!["backup", sandbox.source()]).expect(1).says(&["backup.lock"]);
    fs::remove_dir(state.join("backup.lock")).unwrap();
    // Without any memory it goes on as on a new machine.
    fs::remove_dir_all(sandbox.local().join("state")).unwrap();
    fs::remove_dir_all(sandbox.local().join("config")).unwrap();
    sandbox.back_up();
    sandbox.assert_restores();
    assert!(sandbox.check(0).is_empty());
}

#[test]
fn local_directories_that_cannot_be_made() {
    let sandbox = Sandbox::with_repository();
    for variable in ["XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"] {
        let ran = run(sandbox.command(["snapshots"]).env(variable, "/proc/nothing"));
        assert!(matches!(ran.code, Some(0 | 1 | 17)), "{variable}: {ran:?}");
        assert!(ran.code == Some(0) || ran.stderr.contains("/proc/nothing"), "{variable}: {ran:?}");
    }
    let mut command = sandbox.command(["snapshots"]);
    for variable in ["XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"] {
        command.env(variable, "relative/is/ignored");
    }
    run(&mut command).expect(0);
    assert!(!sandbox.path("relative").exists());
}

#[test]
fn an_interrupt_ends_a_backup_well() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    fs::write(source.join("a"), "a").unwrap();
    sandbox.back_up();
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM, rustix::process::Signal::HUP] {
        // A backup that cannot end by itself.
        let mut command = sandbox.command(args!["--json", "backup", "--stdin"]);
        command.stdin(fs::File::open("/dev/zero").unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It is at work when it has a thread that reads.
        let tasks = format!("/proc/{}/task", child.id());
        let reading = || {
            let names =
                fs::read_dir(&tasks).unwrap().flatten().map(|task| fs::read_to_string(task.path().join("comm")));
            names.flatten().any(|name| name.starts_with("read-"))
        };
        while !reading() {
            assert!(child.try_wait().unwrap().is_none(), "it has ended");
            std::thread::yield_now();
        }
        let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        let ran = Ran::new(format!("{signal:?}"), child.wait_with_output().unwrap()).expect(130);
        assert_eq!(ran.json()["error"]["code"], "interrupted");
        assert_eq!(sandbox.snapshots().len(), 1);
    }
    sandbox.check(0);
    sandbox.back_up();
    sandbox.assert_restores();
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

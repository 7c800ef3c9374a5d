//! What the program keeps on this machine: damaged, in the way, or interrupted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use obnam_tests::tree::{self, Random};
use obnam_tests::{Ran, Sandbox, args, run};

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

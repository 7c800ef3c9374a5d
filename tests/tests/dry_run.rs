//! What a backup would do, before it does it.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use obnam_tests::{Ran, Sandbox, args, chmod, is_root, obnam, run};
use serde_json::Value;

/// Files that were changed right before a backup are read again by the next one; these are not any more.
fn settle() {
    sleep(Duration::from_millis(2_500));
}

/// The listing without the sandbox's path.
fn lines(sandbox: &Sandbox, ran: &Ran) -> Vec<String> {
    let source = format!("{}/", sandbox.source().to_str().unwrap());
    let signs = ["+ ", "M ", "- "];
    let text = ran.text();
    let listed = text.lines().filter(|line| signs.iter().any(|sign| line.starts_with(sign)));
    listed
        .filter(|line| line.contains(&source) && !line.ends_with(&source))
        .map(|line| line.replace(&source, ""))
        .collect()
}

/// Every file below a directory with its contents' length and change time.
fn census(root: &Path) -> Vec<(std::path::PathBuf, u64, i64, i64)> {
    use std::os::unix::fs::MetadataExt;
    let mut all = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        all.push((path, metadata.len(), metadata.ctime(), metadata.ctime_nsec()));
    }
    all.sort();
    all
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    fs::create_dir_all(source.join("sub")).unwrap();
    for name in ["changed", "gone", "same", "left out", "sub/same"] {
        fs::write(source.join(name), name).unwrap();
    }
    std::os::unix::fs::symlink("same", source.join("link")).unwrap();
    let before = census(&sandbox.repository());
    let first = sandbox.obnam(args!["-v", "backup", "--dry-run", source]).expect(0);
    let all = ["+ changed", "+ gone", "+ left out", "+ link", "+ same", "+ sub/", "+ sub/same"];
    assert_eq!(lines(&sandbox, &first), all);
    assert_eq!(census(&sandbox.repository()), before);
    assert!(sandbox.snapshots().is_empty());
    settle();
    sandbox.back_up();
    fs::write(source.join("changed"), "something else").unwrap();
    fs::remove_file(source.join("gone")).unwrap();
    fs::create_dir(source.join("new")).unwrap();
    fs::write(source.join("new/file"), vec![0; 1000]).unwrap();
    fs::remove_file(source.join("link")).unwrap();
    std::os::unix::fs::symlink("elsewhere", source.join("link")).unwrap();
    let before = census(&sandbox.repository());
    let words = sandbox.obnam(args!["-v", "backup", "-n", source, "-e", "left*"]).expect(0);
    assert_eq!(lines(&sandbox, &words), ["M changed", "M link", "+ new/", "+ new/file", "- gone", "- left out"]);
    for part in ["nothing was stored", "4 files: 1 new, 1 changed, 2 unchanged", "1014 B to read", "2 entries removed"]
    {
        assert!(words.text().contains(part), "{part}: {}", words.text());
    }
    assert!(words.text().contains("1 file and 0 directories excluded"));
    // Without -v there is the summary only.
    assert_eq!(sandbox.obnam(args!["backup", "-n", source]).expect(0).text().lines().count(), 3);
    assert_eq!(census(&sandbox.repository()), before);
    // It is right about what is done then.
    let made = sandbox.obnam(args!["--json", "backup", source, "-e", "left*"]).expect(0).result();
    assert_eq!(made["statistics"]["new_files"], 1);
    assert_eq!(made["statistics"]["changed_files"], 1);
    assert_eq!(made["statistics"]["unchanged_files"], 2);
}

#[test]
fn a_dry_run_in_json() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    fs::write(source.join("a"), "12345").unwrap();
    let odd = source.join(std::ffi::OsStr::from_bytes(b"\xff"));
    fs::write(&odd, "").unwrap();
    let result = sandbox.obnam(args!["--json", "backup", "--dry-run", source]).expect(0).result();
    assert_eq!(result["dry_run"], true);
    assert_eq!((result["new_files"].as_u64(), result["bytes_to_read"].as_u64()), (Some(2), Some(5)));
    assert_eq!(result["changes"], Value::Null);
    let result = sandbox.obnam(args!["--json", "-v", "backup", "--dry-run", source]).expect(0).result();
    let changes = result["changes"].as_array().unwrap();
    let one = changes.iter().find(|change| change["path"] == source.join("a").to_str().unwrap()).unwrap();
    assert_eq!((one["change"].as_str(), one["type"].as_str()), (Some("new"), Some("file")));
    let odd = hex(odd.as_os_str().as_bytes());
    assert!(changes.iter().any(|change| change["path_hex"] == odd), "{changes:?}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_dry_run_opens_no_file_and_needs_no_lock() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    fs::write(source.join("secret"), "secret").unwrap();
    chmod(&source.join("secret"), 0o000);
    // Another backup holds the lock.
    sandbox.obnam(args!["backup", "--dry-run", source]).expect(0);
    let state = sandbox.local().join("state/obnam");
    let folder = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    let lock = fs::File::create(folder.join("backup.lock")).unwrap();
    lock.lock().unwrap();
    sandbox.obnam(args!["backup", "--dry-run", source]).expect(0);
    sandbox.obnam(args!["backup", source]).expect(16);
}

#[test]
fn a_dry_run_does_with_a_repository_that_can_only_be_read() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    fs::write(source.join("a"), "a").unwrap();
    sandbox.back_up();
    if !is_root() {
        eprintln!("skipped: only root can give a directory away");
        return;
    }
    // The machine's own things are the user's; the repository is not, but may be read.
    let mut waiting = vec![sandbox.local(), sandbox.identity(), source.clone(), sandbox.path("")];
    while let Some(path) = waiting.pop() {
        std::os::unix::fs::lchown(&path, Some(65534), Some(65534)).unwrap();
        if path.starts_with(sandbox.local()) && path.is_dir() {
            waiting.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    for (path, ..) in census(&sandbox.repository()) {
        chmod(&path, if path.is_dir() { 0o555 } else { 0o444 });
    }
    let as_a_user = |arguments: &[std::ffi::OsString]| {
        let mut command = sandbox.command(arguments);
        command.uid(65534).gid(65534);
        run(&mut command)
    };
    if as_a_user(&args!["--version"]).code != Some(0) {
        eprintln!("skipped: user 65534 cannot run {}", obnam().display());
        return;
    }
    assert_ne!(as_a_user(&args!["backup", source]).code, Some(0));
    as_a_user(&args!["backup", "--dry-run", source]).expect(0);
}

#[test]
fn a_dry_run_tells_what_it_could_not_look_at() {
    let sandbox = Sandbox::with_repository();
    sandbox.obnam(args!["backup", "--dry-run", "nowhere"]).expect(17).says(&["nowhere", "No such file"]);
    sandbox.obnam(args!["backup", "--dry-run", sandbox.source(), "-e", "[x"]).expect(17);
}

//! Restores other than into an empty directory: parts of a snapshot, in place, over what is there, interrupted ones.

#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use obnam_tests::tree::{self, Random};
use obnam_tests::{Ran, Sandbox, args, is_root, run};
use rustix::process::{Pid, Signal, kill_process};

fn with_backup(files: &[(&str, &str)]) -> Sandbox {
    let sandbox = Sandbox::with_repository();
    for (path, contents) in files {
        let path = sandbox.source().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }
    sandbox.back_up();
    sandbox
}

fn some_files() -> Sandbox {
    with_backup(&[("a", "aaa"), ("b.pdf", "bbb"), ("dir/c", "ccc"), ("dir/d.pdf", "ddd"), ("dir/deep/e.pdf", "eee")])
}

/// The source as SNAPSHOT:PATH.
fn part(sandbox: &Sandbox, path: &str) -> OsString {
    let mut argument = OsString::from("latest:");
    argument.push(sandbox.source().join(path).components().collect::<std::path::PathBuf>());
    argument
}

fn number(ran: &Ran, key: &str) -> u64 {
    ran.result()[key].as_u64().unwrap()
}

/// The same, but for the target's own metadata: where it was there before, it stays as it was.
#[track_caller]
fn assert_same_inside(source: &Path, target: &Path) {
    let mut expected = tree::describe(source);
    expected.insert("".into(), tree::describe(target).remove(Path::new("")).unwrap());
    tree::assert_is(&expected, target);
}

/// Names of files that were not whole, anywhere.
fn leftovers(folder: &Path) -> Vec<std::path::PathBuf> {
    tree::describe(folder).into_keys().filter(|path| path.to_string_lossy().contains(".obnam-restore")).collect()
}

#[test]
fn a_part_of_a_snapshot_goes_straight_into_the_target() {
    let sandbox = some_files();
    let target = sandbox.path("whole");
    sandbox.obnam(args!["restore", part(&sandbox, ""), target]).expect(0);
    tree::assert_same(&sandbox.source(), &target);
    let target = sandbox.path("dir");
    sandbox.obnam(args!["restore", part(&sandbox, "dir"), target]).expect(0);
    tree::assert_same(&sandbox.source().join("dir"), &target);
    let target = sandbox.path("one");
    fs::create_dir(&target).unwrap();
    let ran = sandbox.obnam(args!["--json", "restore", part(&sandbox, "dir/c"), target]).expect(0);
    assert_eq!((number(&ran, "made"), number(&ran, "files")), (1, 1));
    assert_eq!(fs::read(target.join("c")).unwrap(), b"ccc");
    let missing = sandbox.path("missing");
    sandbox.obnam(args!["restore", part(&sandbox, "nope"), missing]).expect(17).says(&["nope is not in snapshot"]);
    sandbox.obnam(args!["restore", "latest:", missing]).expect(17).says(&["no path after the colon"]);
    sandbox.obnam(args!["restore", "latest:/a/../b", missing]).expect(17).says(&["has no \"..\""]);
    assert!(!missing.exists());
}

#[test]
fn patterns_choose_what_is_restored() {
    let sandbox = some_files();
    let names = |target: &Path| -> Vec<String> {
        let files = tree::describe(target).into_iter().filter(|(_, what)| what.contents.is_some());
        files.map(|(path, _)| path.to_string_lossy().into_owned()).collect()
    };
    let restore = |options: &[&str]| {
        let target = sandbox.fresh("chosen");
        let mut arguments = args!["restore", part(&sandbox, ""), target].to_vec();
        arguments.extend(options.iter().map(OsString::from));
        sandbox.obnam(arguments).expect(0);
        target
    };
    let pdfs = restore(&["--include", "*.pdf"]);
    assert_eq!(names(&pdfs), ["b.pdf", "dir/d.pdf", "dir/deep/e.pdf"]);
    // Directories on the way are as they were.
    assert_eq!(tree::describe(&pdfs)[Path::new("dir/deep")], tree::describe(&sandbox.source())[Path::new("dir/deep")]);
    let none = restore(&["--include", "nothing like it"]);
    assert_eq!(tree::describe(&none).len(), 1, "no empty directories");
    assert_eq!(names(&restore(&["--exclude", "*.pdf"])), ["a", "dir/c"]);
    assert_eq!(names(&restore(&["--include", "dir", "--exclude", "deep"])), ["dir/c", "dir/d.pdf"]);
    sandbox.obnam(args!["restore", "latest", sandbox.path("x"), "--include", "a[b"]).expect(17).says(&["--include"]);
}

#[test]
fn overwriting_by_mode() {
    let sandbox = some_files();
    let prepare = || {
        let target = sandbox.fresh("over");
        sandbox.obnam(args!["restore", part(&sandbox, ""), target]).expect(0);
        fs::write(target.join("a"), "mine").unwrap();
        fs::remove_file(target.join("b.pdf")).unwrap();
        fs::write(target.join("stranger"), "stranger").unwrap();
        // The same size and time, other contents.
        let sneaky = target.join("dir/c");
        let time = fs::metadata(&sneaky).unwrap().modified().unwrap();
        fs::write(&sneaky, "CCC").unwrap();
        tree::set_mtime(&sneaky, time);
        target
    };
    let go = |target: &Path, options: &[&str]| {
        let mut arguments = args!["--json", "restore", part(&sandbox, ""), target].to_vec();
        arguments.extend(options.iter().map(OsString::from));
        sandbox.obnam(arguments)
    };
    let target = prepare();
    let refused = sandbox.obnam(args!["restore", part(&sandbox, ""), target]).expect(17);
    refused.says(&["not empty", "--overwrite if-changed", "always", "never"]);

    let ran = go(&target, &["--overwrite", "never"]).expect(0);
    assert_eq!(["made", "overwritten", "kept", "deleted"].map(|key| number(&ran, key)), [1, 0, 4, 0]);
    assert_eq!(fs::read(target.join("a")).unwrap(), b"mine");
    assert_eq!(fs::read(target.join("b.pdf")).unwrap(), b"bbb");

    let target = prepare();
    let inode = fs::metadata(target.join("a")).unwrap().ino();
    let ran = go(&target, &["--overwrite", "if-changed"]).expect(0);
    assert_eq!(["made", "overwritten", "kept", "deleted"].map(|key| number(&ran, key)), [1, 1, 3, 0]);
    assert_eq!(fs::read(target.join("a")).unwrap(), b"aaa");
    assert_ne!(fs::metadata(target.join("a")).unwrap().ino(), inode, "a new file took its place");
    assert_eq!(fs::read(target.join("dir/c")).unwrap(), b"CCC");
    // Reading it back tells.
    let ran = go(&target, &["--overwrite", "if-changed", "--verify"]).expect(3);
    assert_eq!(number(&ran, "verified"), 4);
    assert!(ran.text().contains("not as in the snapshot"));
    assert!(target.join("stranger").exists());

    let ran = go(&target, &["--overwrite", "always", "--delete", "--verify"]).expect(0);
    assert_eq!(["made", "overwritten", "deleted", "verified"].map(|key| number(&ran, key)), [0, 5, 1, 5]);
    assert_same_inside(&sandbox.source(), &target);
}

#[test]
fn a_dry_run_writes_nothing() {
    let sandbox = some_files();
    let target = sandbox.path("target");
    let dry = sandbox.obnam(args!["restore", part(&sandbox, ""), target, "--dry-run", "-v"]).expect(0);
    assert!(dry.text().contains("nothing was written"), "{}", dry.text());
    assert!(dry.text().contains("dir/deep/e.pdf"));
    assert!(!target.exists());
    sandbox.obnam(args!["restore", part(&sandbox, ""), target]).expect(0);
    fs::write(target.join("a"), "mine").unwrap();
    fs::create_dir(target.join("stranger")).unwrap();
    fs::write(target.join("stranger/x"), "x").unwrap();
    let before = tree::describe(&target);
    let options = ["--json", "-v", "--dry-run", "--overwrite", "if-changed", "--delete"].map(OsString::from);
    let arguments = [&args!["restore", part(&sandbox, ""), target][..], &options].concat();
    let dry = sandbox.obnam(arguments).expect(0);
    tree::assert_is(&before, &target);
    assert_eq!(["made", "overwritten", "kept", "deleted"].map(|key| number(&dry, key)), [0, 1, 4, 2]);
    let changes = dry.result()["changes"].as_array().unwrap().clone();
    assert!(
        changes.iter().any(
            |change| change["action"] == "delete" && change["path"] == *target.join("stranger/x").to_str().unwrap()
        )
    );
}

#[test]
fn in_place_restores_what_is_missing_and_touches_nothing_else() {
    let sandbox = some_files();
    let source = sandbox.source();
    let before = tree::describe(&source);
    let parent = fs::metadata(sandbox.path("")).unwrap();
    let neighbour = sandbox.path("neighbour");
    fs::write(&neighbour, "not in the backup").unwrap();
    sandbox.obnam(["restore", "latest", "--in-place"]).expect(17).says(&["something is there already", "--overwrite"]);
    fs::remove_file(source.join("a")).unwrap();
    fs::write(source.join("b.pdf"), "damaged").unwrap();
    fs::write(source.join("new"), "new").unwrap();
    sandbox.obnam(["restore", "latest", "--in-place", "--overwrite", "if-changed", "--delete"]).expect(0);
    tree::assert_is(&before, &source);
    // Beside the root nothing is deleted, and its parents are as they were.
    assert!(neighbour.exists());
    let now = fs::metadata(sandbox.path("")).unwrap();
    assert_eq!((now.mode(), now.uid()), (parent.mode(), parent.uid()));
    // One directory of it.
    fs::remove_dir_all(source.join("dir")).unwrap();
    fs::remove_file(source.join("a")).unwrap();
    sandbox.obnam(args!["restore", part(&sandbox, "dir"), "--in-place"]).expect(0);
    assert!(source.join("dir/deep/e.pdf").exists());
    assert!(!source.join("a").exists());
    // All of it, where nothing is.
    fs::remove_dir_all(&source).unwrap();
    sandbox.obnam(["restore", "latest", "--in-place", "--verify"]).expect(0);
    tree::assert_is(&before, &source);
}

#[test]
fn delete_spares_what_it_does_not_know() {
    let sandbox = some_files();
    let target = sandbox.path("target");
    sandbox.obnam(args!["restore", part(&sandbox, ""), target]).expect(0);
    fs::write(target.join("dir/mine.o"), "mine").unwrap();
    fs::write(target.join("stranger"), "x").unwrap();
    let go = |options: &[&str]| {
        let mut arguments =
            args!["restore", part(&sandbox, ""), target, "--overwrite", "if-changed", "--delete"].to_vec();
        arguments.extend(options.iter().map(OsString::from));
        sandbox.obnam(arguments)
    };
    // Only a part is selected: nothing is deleted where something was left out.
    go(&["--include", "*.pdf"]).expect(0);
    assert!(target.join("stranger").exists() && target.join("dir/mine.o").exists());
    // What is excluded is not deleted either.
    go(&["--exclude", "*.o"]).expect(0);
    assert!(!target.join("stranger").exists() && target.join("dir/mine.o").exists());
    go(&[]).expect(0);
    assert_same_inside(&sandbox.source(), &target);
    // The repository itself stands in what is restored in place.
    let inner = Sandbox::new();
    let repository = inner.source().join("repository");
    let obnam = |arguments: &[&str]| {
        let mut command = inner.bare();
        command.arg("--repo").arg(&repository).arg("--identity").arg(inner.identity()).args(arguments);
        run(&mut command)
    };
    fs::write(inner.source().join("a"), "a").unwrap();
    obnam(&["init"]).expect(0);
    obnam(&["backup", inner.source().to_str().unwrap()]).expect(0);
    fs::write(inner.source().join("b"), "b").unwrap();
    obnam(&["restore", "latest", "--in-place", "--overwrite", "if-changed", "--delete"])
        .expect(3)
        .says(&["keeps its own files"]);
    assert!(!inner.source().join("b").exists());
    obnam(&["check", "--read-data"]).expect(0);
}

#[test]
fn directories_and_links_in_the_way() {
    let sandbox = some_files();
    let target = sandbox.path("target");
    let outside = sandbox.path("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("c"), "precious").unwrap();
    fs::create_dir_all(target.join("a/full")).unwrap();
    fs::create_dir_all(target.join("b.pdf")).unwrap();
    symlink(&outside, target.join("dir")).unwrap();
    let go = |options: &[&str]| {
        let mut arguments = args!["restore", part(&sandbox, ""), target].to_vec();
        arguments.extend(options.iter().map(OsString::from));
        sandbox.obnam(arguments)
    };
    go(&["--overwrite", "never"]).expect(3).says(&["a symbolic link stands in its place", "a directory stands there"]);
    assert!(target.join("dir").is_symlink());
    go(&["--overwrite", "always"]).expect(3).says(&["a directory that is not empty stands there"]);
    assert_eq!(fs::read(target.join("b.pdf")).unwrap(), b"bbb");
    assert_eq!(fs::read(target.join("dir/c")).unwrap(), b"ccc");
    go(&["--overwrite", "if-changed", "--delete"]).expect(0);
    assert_same_inside(&sandbox.source(), &target);
    assert_eq!(fs::read(outside.join("c")).unwrap(), b"precious");
}

#[test]
fn without_owners_nothing_is_setuid() {
    let sandbox = some_files();
    let source = sandbox.source();
    obnam_tests::chmod(&source.join("a"), 0o6755);
    if is_root() {
        std::os::unix::fs::chown(source.join("b.pdf"), Some(1234), Some(1234)).unwrap();
    }
    sandbox.back_up();
    let target = sandbox.path("target");
    sandbox.obnam(args!["restore", part(&sandbox, ""), target, "--no-owner"]).expect(0);
    assert_eq!(fs::metadata(target.join("a")).unwrap().mode() & 0o7777, 0o755);
    let own = rustix::process::geteuid().as_raw();
    assert_eq!(fs::metadata(target.join("b.pdf")).unwrap().uid(), own);
}

fn measure(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

/// Starts the command and sends it a signal when this holds, or when it has ended.
fn interrupt(sandbox: &Sandbox, arguments: &[OsString], signal: Signal, is_time: impl Fn() -> bool) {
    let mut child = sandbox.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !is_time() && child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(1));
    }
    let _ = kill_process(Pid::from_child(&child), signal);
    child.wait().unwrap();
}

#[test]
fn an_interrupted_restore_goes_on() {
    let sandbox = Sandbox::with_repository();
    tree::small_files(&sandbox.source(), 4_000, 6);
    Random(7).write_file(&sandbox.source().join("large"), 30_000_000);
    fs::hard_link(sandbox.source().join("large"), sandbox.source().join("000/same")).unwrap();
    symlink("large", sandbox.source().join("link")).unwrap();
    obnam_tests::chmod(&sandbox.source().join("large"), 0o444);
    sandbox.back_up();
    let target = sandbox.path("target");
    let restore = args!["--json", "restore", part(&sandbox, ""), target];
    sandbox.obnam(&restore).expect(0);
    let entries = || fs::read_dir(&target).into_iter().flatten().count() as u64;
    let all = entries();
    let mut random = Random(8);
    let mut resumed = 0;
    for round in 0..8 {
        let signal = if round % 2 == 0 { Signal::KILL } else { Signal::INT };
        fs::remove_dir_all(&target).unwrap();
        for _ in 0..3 {
            // The second and third may come as early as the restore begins.
            let enough = random.below(all - 1);
            interrupt(&sandbox, &restore, signal, || entries() > enough);
        }
        let again = sandbox.obnam(&restore);
        // Either it was interrupted, or it had come to its end.
        match again.code {
            Some(0) => resumed += u64::from(again.result()["resumed"] == true),
            _ => drop(again.expect(17)),
        }
        tree::assert_same(&sandbox.source(), &target);
        assert_eq!(leftovers(&target), Vec::<std::path::PathBuf>::new());
        // It is over: whatever is changed now stays.
        sandbox.obnam(&restore).expect(17);
    }
    eprintln!("{resumed} restores were resumed");
    assert!(resumed > 0);
    // What is over leaves no record.
    let state = sandbox.local().join("state/obnam");
    let records = tree::describe(&state).into_keys().filter(|path| path.to_string_lossy().contains("restores/"));
    assert_eq!(records.count(), 0);
}

#[test]
fn an_interrupted_overwrite_leaves_the_old_or_the_new() {
    let sandbox = Sandbox::with_repository();
    tree::small_files(&sandbox.source(), 2_000, 6);
    sandbox.back_up();
    let target = sandbox.path("target");
    sandbox.obnam(args!["restore", part(&sandbox, ""), target]).expect(0);
    let old = tree::describe(&target);
    let first = sandbox.snapshots().remove(0);
    tree::small_files(&sandbox.source(), 2_000, 9);
    sandbox.back_up();
    let restore = |mode: &str| args!["--quiet", "restore", part(&sandbox, ""), target, "--overwrite", mode];
    let whole = measure(|| drop(sandbox.obnam(restore("always")).expect(0)));
    let new = tree::describe(&target);
    let mut random = Random(8);
    for round in 0..6 {
        let signal = if round % 2 == 0 { Signal::KILL } else { Signal::INT };
        let back = format!("{first}:{}", sandbox.source().display());
        sandbox.obnam(args!["--quiet", "restore", back, target, "--overwrite", "always"]).expect(0);
        let (begun, time) = (Instant::now(), whole.mul_f64(random.below(1_000) as f64 / 1_000.0));
        interrupt(&sandbox, &restore("always"), signal, || begun.elapsed() > time);
        for (path, now) in tree::describe(&target) {
            let is_file = now.contents.is_some() && !path.to_string_lossy().contains(".obnam-restore");
            let is_known = |tree: &std::collections::BTreeMap<std::path::PathBuf, tree::Description>| {
                tree.get(&path).is_some_and(|then| then.contents == now.contents)
            };
            assert!(!is_file || is_known(&old) || is_known(&new), "{} is neither", path.display());
        }
        sandbox.obnam(restore("if-changed")).expect(0);
        assert_same_inside(&sandbox.source(), &target);
    }
}

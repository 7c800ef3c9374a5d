//! Arguments, places, plugins, and outputs that make no sense.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Stdio;

use obnam_tests::tree::{self, Random};
use obnam_tests::{Ran, Sandbox, args, run};

use super::{bare, names};

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
    for name in ["nosuchscheme:whatever", "sftp://host/directory", "https://example.com/"] {
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

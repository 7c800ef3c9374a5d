//! What the program prints, and the lock.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::{fs, thread};

use obnam_tests::tree;
use obnam_tests::{Sandbox, args, obnam, run};

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

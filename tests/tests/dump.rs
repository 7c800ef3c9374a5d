//! `obnam dump`: what tar and Python make of the archives.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use obnam_tests::rich::rich;
use obnam_tests::tree::{self, Description, Random};
use obnam_tests::{Sandbox, args, below, chunks, is_root};
use rustix::fs::FileType;

/// Extracts with GNU tar.
fn extract(archive: &Path, target: &Path) -> Output {
    fs::create_dir(target).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--warning=no-timestamp", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"])
        .arg(archive)
        .arg("-C")
        .arg(target);
    tar.output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What tar can hold of it.
fn without_sockets(root: &Path) -> BTreeMap<PathBuf, Description> {
    let mut expected = tree::describe(root);
    expected.retain(|_, entry| FileType::from_raw_mode(entry.mode) != FileType::Socket);
    expected
}

#[test]
fn tar_holds_everything() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    rich(&source, 81);
    sandbox.back_up();
    let archive = sandbox.path("all.tar");
    let ran = sandbox.obnam(args!["--json", "dump", "latest", "--output", archive]).expect(0).result();
    assert_eq!((ran["left_out"].as_u64(), ran["archive"].as_str()), (Some(1), Some("tar")), "the socket");
    assert!(ran["files"].as_u64().unwrap() > 50 && ran["problems"].as_array().unwrap().is_empty());
    let target = sandbox.path("extracted");
    let extracted = extract(&archive, &target);
    assert!(extracted.status.success() && stderr(&extracted).is_empty(), "{extracted:?}");
    if is_root() {
        tree::assert_is(&without_sockets(&source), &below(&target, &source));
    }
    // Standard output gets the same bytes.
    let printed = sandbox.obnam(args!["dump", "latest"]).expect(0).says(&["1 socket or special file is left out"]);
    assert!(printed.stdout == fs::read(&archive).unwrap());
    // Another program that reads tar archives, of other authors.
    let script = "import sys, tarfile\nfor m in tarfile.open(sys.argv[1]):\n    print(ascii(m.name), m.size)";
    let python = Command::new("python3").args(["-c", script]).arg(&archive).output().unwrap();
    assert!(python.status.success(), "{python:?}");
    let listed = String::from_utf8_lossy(&python.stdout).into_owned();
    assert!(listed.contains("holes/all hole' 1073741824") && listed.contains("sizes/5000000' 5000000"), "{listed}");
}

#[test]
fn a_part_goes_by_its_last_name() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    rich(&source, 82);
    sandbox.back_up();
    for (path, format) in [(source.join("links"), None), (source.join("links/first"), Some("tar"))] {
        let archive = sandbox.fresh("part");
        let mut arguments = args!["dump", "latest", path, "--output", archive].to_vec();
        arguments.extend(format.map(|format| format!("--archive={format}").into()));
        sandbox.obnam(arguments).expect(0);
        let target = sandbox.fresh("extracted");
        assert!(extract(&archive, &target).status.success());
        let names: Vec<_> = fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [path.file_name().unwrap()]);
    }
    // A file comes as it is, with its holes filled.
    for name in ["links/first", "sizes/0", "sizes/5000000", "holes/both ends", "names/tab\t and \x1b[31mescape"] {
        let path = source.join(name);
        let printed = sandbox.obnam(args!["dump", "latest", path]).expect(0).stdout;
        assert!(printed == fs::read(&path).unwrap(), "{name}");
        assert!(printed == sandbox.obnam(args!["cat", "file", "latest", path]).expect(0).stdout, "{name}");
    }
    let file = sandbox.path("file");
    sandbox.obnam(args!["dump", "latest", source.join("sizes/300000"), "--output", file]).expect(0);
    assert_eq!(fs::read(&file).unwrap(), fs::read(source.join("sizes/300000")).unwrap());
}

#[test]
fn zip_holds_files_directories_and_links() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    for name in ["folder/deeper", "empty"] {
        fs::create_dir_all(source.join(name)).unwrap();
    }
    for (name, size) in [("folder/one", 1), ("folder/deeper/million", 1_000_000), ("nothing", 0), ("ümlaut", 70)] {
        fs::write(source.join(name), Random(size).bytes(size as usize)).unwrap();
    }
    fs::write(source.join("text"), "All work and no play\n".repeat(50_000)).unwrap();
    fs::hard_link(source.join("text"), source.join("folder/text")).unwrap();
    std::os::unix::fs::symlink("folder/one", source.join("link")).unwrap();
    obnam_tests::chmod(&source.join("folder/one"), 0o751);
    tree::set_mtime(&source.join("folder/one"), std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_234_567_891));
    rustix::fs::mknodat(
        rustix::fs::CWD,
        source.join("fifo"),
        FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    sandbox.back_up();
    let archive = sandbox.path("all.zip");
    let ran = sandbox.obnam(args!["dump", "latest", "--archive", "zip", "--output", archive]).expect(0);
    ran.says(&["1 socket or special file is left out"]);
    assert!(fs::metadata(&archive).unwrap().len() < 1_200_000, "text is compressed");
    let target = sandbox.path("extracted");
    // Python sets neither modes nor times nor links.
    let script = "
import os, stat, struct, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as z:
    assert z.testzip() is None
    for info in z.infolist():
        mode, extra = info.external_attr >> 16, info.extra
        path = z.extract(info, sys.argv[2])
        while extra:
            kind, length = struct.unpack('<HH', extra[:4])
            if kind == 0x5455:
                seconds = struct.unpack('<i', extra[5:9])[0]
            extra = extra[4 + length:]
        if stat.S_ISLNK(mode):
            target = open(path).read()
            os.unlink(path)
            os.symlink(target, path)
        else:
            os.chmod(path, mode & 0o7777)
            os.utime(path, (seconds, seconds))
";
    let python = Command::new("python3").args(["-c", script]).arg(&archive).arg(&target).output().unwrap();
    assert!(python.status.success(), "{python:?}");
    let simple = |root: &Path| -> BTreeMap<PathBuf, _> {
        let all = tree::describe(root).into_iter();
        let all = all.filter(|(_, entry)| FileType::from_raw_mode(entry.mode) != FileType::Fifo);
        let of = |entry: Description| (entry.mode, entry.size, entry.contents, entry.target);
        all.map(|(path, entry)| (path, of(entry))).collect()
    };
    let extracted = below(&target, &source);
    assert_eq!(simple(&extracted), simple(&source));
    assert_eq!(fs::metadata(extracted.join("folder/one")).unwrap().mtime(), 1_234_567_891);

    // What it cannot hold is told, and the rest is there.
    let odd: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"not \xff UTF-8");
    fs::write(source.join(odd), "").unwrap();
    sandbox.back_up();
    let archive = sandbox.path("second.zip");
    let ran = sandbox.obnam(args!["--json", "dump", "latest", "--archive", "zip", "--output", archive]).expect(3);
    assert_eq!(ran.json()["status"], "incomplete");
    let problems = ran.result()["problems"].clone();
    assert_eq!(problems.as_array().unwrap().len(), 1);
    assert!(problems[0]["message"].as_str().unwrap().contains("zip cannot hold a name"), "{problems}");
}

#[test]
fn an_archive_with_damage_never_looks_complete() {
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    for number in 0..40 {
        let mut random = Random(number);
        fs::write(source.join(format!("file {number:02}")), random.bytes(1_000_000)).unwrap();
    }
    sandbox.back_up();
    let packs = chunks::of_family(&sandbox.repository(), "data");
    assert!(packs.len() > 2, "{}", packs.len());
    fs::remove_file(&packs[0].path).unwrap();

    let archive = sandbox.path("all.tar");
    let ran = sandbox.obnam(args!["--json", "dump", "latest", "--output", archive]).expect(3).result();
    let problems = ran["problems"].as_array().unwrap().clone();
    let lost: std::collections::BTreeSet<_> =
        problems.iter().map(|problem| PathBuf::from(problem["path"].as_str().unwrap())).collect();
    assert!(!lost.is_empty() && lost.len() < 40);
    let target = sandbox.path("extracted");
    let extracted = extract(&archive, &target);
    assert!(!extracted.status.success(), "tar takes it for whole");
    let mut good = 0;
    for number in 0..40 {
        let path = source.join(format!("file {number:02}"));
        let there = fs::read(below(&target, &path)).unwrap();
        let is_whole = there == fs::read(&path).unwrap();
        assert_eq!(is_whole, !lost.contains(&path), "{}", path.display());
        good += u32::from(is_whole);
    }
    assert!(good > 0);
    let lost_one = lost.first().unwrap();
    let name = lost_one.to_str().unwrap();
    sandbox.obnam(args!["dump", "latest"]).expect(3).says(&["are lost, zeros stand in their place", name]);

    // Formats without a way to go on end at once.
    let archive = sandbox.path("all.zip");
    let ran = sandbox.obnam(args!["dump", "latest", "--archive", "zip", "--output", archive]).expect(15);
    ran.says(&["are lost", "not complete"]);
    assert!(!archive.exists());
    let printed = sandbox.obnam(args!["dump", "latest", "--archive", "zip"]).expect(15).stdout;
    assert!(!printed.windows(4).any(|bytes| bytes == b"PK\x05\x06"), "it has the end of a zip archive");
    let file = sandbox.path("file");
    sandbox.obnam(args!["dump", "latest", lost_one, "--output", file]).expect(15).says(&[name]);
    assert!(!file.exists());
    assert!(
        fs::read_dir(sandbox.path("")).unwrap().all(|e| !e.unwrap().file_name().to_string_lossy().starts_with(".tmp"))
    );
}

#[test]
fn what_cannot_be_dumped_is_said() {
    let sandbox = Sandbox::with_repository();
    fs::write(sandbox.source().join("file"), "contents").unwrap();
    sandbox.obnam(args!["dump", "latest"]).expect(17).says(&["no snapshot yet"]);
    sandbox.back_up();
    let there = sandbox.path("there");
    fs::write(&there, "precious").unwrap();
    sandbox.obnam(args!["dump", "latest", "--output", there]).expect(17).says(&["is there already"]);
    assert_eq!(fs::read(&there).unwrap(), b"precious");
    sandbox.obnam(args!["--json", "dump", "latest"]).expect(17);
    sandbox.obnam(args!["dump", "latest", "/no/such"]).expect(17).says(&["/no/such is not in snapshot"]);
    sandbox.obnam(args!["dump", "latest", "/tmp/../etc"]).expect(17).says(&[".."]);
    sandbox.obnam(args!["dump", "latest", "--archive", "rar"]).expect(2);
    sandbox.obnam(args!["dump", "latest", "--output", "/no/such/folder/x"]).expect(1).says(&["/no/such/folder/x"]);
}

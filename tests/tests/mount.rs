//! `obnam mount`: what the kernel shows is what was backed up.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use obnam_tests::mount::{Mount, is_possible};
use obnam_tests::rich::rich;
use obnam_tests::tree::{self, Random};
use obnam_tests::{Sandbox, args, chmod, chunks, is_root};

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

/// What rsync would change to make `to` what `from` is.
fn rsync(from: &Path, to: &Path) -> String {
    let mut command = Command::new("rsync");
    command.args(["-anc", "--numeric-ids", "-AXH", "--delete", "--itemize-changes"]);
    let output = command.arg(from.join("")).arg(to.join("")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_mounted_snapshot_is_its_source() {
    if !is_possible() {
        return;
    }
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    rich(&source, 91);
    sandbox.back_up();
    let mut mount = Mount::new(&sandbox, &[]);
    assert_eq!(mount.said["result"]["snapshots"], 1);
    let shown = mount.latest(&source);
    if is_root() {
        tree::assert_same(&source, &shown);
        assert_eq!(rsync(&source, &shown), "");
        assert_eq!(rsync(&shown, &source), "");
    }
    let links = ["links/first", "links/second", "third"].map(|name| fs::metadata(shown.join(name)).unwrap());
    assert!(links.iter().all(|link| link.ino() == links[0].ino() && link.nlink() > 1));
    assert_eq!(fs::metadata(shown.join("holes/all hole")).unwrap().blocks(), 0);
    let error = fs::write(shown.join("new"), "").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    assert!(!shown.join("no such name").exists());
    // Unmounted by somebody else: the program ends.
    let umount = if is_root() { Command::new("umount") } else { Command::new("fusermount") };
    let (mut umount, arguments) = (umount, if is_root() { vec![] } else { vec!["-u"] });
    assert!(umount.args(arguments).arg(&mount.point).status().unwrap().success());
    assert_eq!(mount.ended(), (Some(0), String::new()));
    assert!(names(&mount.point).is_empty());
}

#[test]
fn snapshots_are_found_by_id_time_tag_and_host() {
    if !is_possible() {
        return;
    }
    let sandbox = Sandbox::with_repository();
    let file = sandbox.source().join("file");
    let mut ids = Vec::new();
    for (number, tag) in ["a/b", "..", "plain"].iter().enumerate() {
        fs::write(&file, format!("{number}")).unwrap();
        let made = sandbox.obnam(args!["--json", "backup", sandbox.source(), "--tag", tag]).expect(0).result();
        ids.push(made["snapshot"].as_str().unwrap()[..10].to_owned());
    }
    let mount = Mount::new(&sandbox, &[]);
    let at = |name: &str| mount.point.join(name);
    assert_eq!(names(&mount.point), ["by-host", "by-id", "by-tag", "by-time", "latest"]);
    assert_eq!(names(&at("by-id")).into_iter().collect::<BTreeSet<_>>(), ids.iter().cloned().collect());
    assert_eq!(names(&at("by-tag")), ["%..", "a%2Fb", "plain"]);
    assert_eq!(names(&at("by-time")).len(), 3);
    assert_eq!(names(&at("by-host")).len(), 1);
    assert_eq!(fs::read_link(at("latest")).unwrap(), Path::new("by-id").join(&ids[2]));
    let read = |folder: PathBuf| fs::read_to_string(obnam_tests::below(&folder, &file)).unwrap();
    let only = |folder: PathBuf| folder.join(&names(&folder)[0]);
    for (number, tag) in ["a%2Fb", "%..", "plain"].iter().enumerate() {
        assert_eq!(read(at("by-id").join(&ids[number])), number.to_string());
        assert_eq!(read(only(at("by-tag").join(tag))), number.to_string());
    }
    assert_eq!(read(at("latest")), "2");
    for name in names(&at("by-time")) {
        assert!(name.starts_with("20") && name.contains("T") && name.contains('Z'), "{name}");
        read(at("by-time").join(name));
    }
    // Ended by a signal: nothing is left.
    let point = mount.point.clone();
    let (code, said) = mount.interrupt();
    assert_eq!(code, Some(0), "{said}");
    assert!(names(&point).is_empty());
}

#[test]
fn large_files_and_directories_are_read_by_parts() {
    const SIZE: usize = 60_000_000;
    if !is_possible() {
        return;
    }
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    let bytes = Random(92).bytes(SIZE);
    fs::write(source.join("large"), &bytes).unwrap();
    fs::create_dir(source.join("many")).unwrap();
    let long = "x".repeat(200);
    for number in 0..8_000 {
        fs::write(source.join("many").join(format!("{number:05} {long}")), number.to_string()).unwrap();
    }
    sandbox.back_up();
    let mount = Mount::new(&sandbox, &["--cache-size", "64M"]);
    let shown = mount.latest(&source);
    // Single names before the directory was listed.
    for number in [0, 1, 3_999, 4_000, 7_999] {
        let name = format!("{number:05} {long}");
        assert_eq!(fs::read_to_string(shown.join("many").join(name)).unwrap(), number.to_string());
    }
    for name in ["", "00000", "08000", "zzz", "04000 y"] {
        assert!(name.is_empty() || !shown.join("many").join(name).exists(), "{name}");
    }
    assert!(names(&shown.join("many")) == names(&source.join("many")));
    // From several threads, anywhere in the file.
    thread::scope(|scope| {
        for seed in 0..4 {
            let (bytes, shown) = (&bytes, &shown);
            scope.spawn(move || {
                let file = File::open(shown.join("large")).unwrap();
                let mut random = Random(seed);
                for _ in 0..60 {
                    let start = random.below(SIZE as u64) as usize;
                    let length = (random.below(300_000) as usize).min(SIZE - start);
                    let mut buffer = vec![0; length];
                    file.read_exact_at(&mut buffer, start as u64).unwrap();
                    assert!(buffer == bytes[start..start + length], "{start} {length}");
                }
            });
        }
    });
    assert!(fs::read(shown.join("large")).unwrap() == bytes);
    let file = File::open(shown.join("large")).unwrap();
    let mut buffer = [0; 100];
    assert_eq!(file.read_at(&mut buffer, SIZE as u64 - 10).unwrap(), 10);
    assert_eq!(file.read_at(&mut buffer, SIZE as u64 + 10).unwrap(), 0);
}

#[test]
fn damage_is_an_error_and_never_wrong_bytes() {
    if !is_possible() {
        return;
    }
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    for number in 0..40 {
        fs::write(source.join(format!("file {number:02}")), Random(number).bytes(1_000_000)).unwrap();
    }
    fs::write(source.join("large"), Random(100).bytes(30_000_000)).unwrap();
    sandbox.back_up();
    let packs = chunks::of_family(&sandbox.repository(), "data");
    assert!(packs.len() > 3);
    // One is gone, one has a wrong bit.
    fs::remove_file(&packs[0].path).unwrap();
    let mut bytes = packs[1].read();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    chmod(&packs[1].path, 0o600);
    fs::write(&packs[1].path, bytes).unwrap();
    let mount = Mount::new(&sandbox, &[]);
    let shown = mount.latest(&source);
    let mut lost = Vec::new();
    for name in names(&source) {
        match fs::read(shown.join(&name)) {
            Ok(there) => assert!(there == fs::read(source.join(&name)).unwrap(), "{name}"),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(5), "{name}: {error}");
                lost.push(name);
            }
        }
    }
    assert!(!lost.is_empty() && lost.len() < 40, "{lost:?}");
    let (code, said) = mount.interrupt();
    assert_eq!(code, Some(0));
    for name in lost {
        let line = said.lines().find(|line| line.contains(&name)).unwrap_or_else(|| panic!("{name} is not in {said}"));
        assert!(packs[..2].iter().any(|pack| line.contains(&pack.id)), "{line} names no chunk");
    }
}

#[test]
fn a_damaged_directory_is_never_shown_as_whole() {
    if !is_possible() {
        return;
    }
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    // Names that do not compress, so that the two directories are most of the pack.
    let name = |folder: &str, number: u64| {
        let name: String = Random(number).bytes(60).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{number:05}{folder}{name}")
    };
    for folder in ["a", "b"] {
        fs::create_dir(source.join(folder)).unwrap();
        for number in 0..20_000 {
            File::create(source.join(folder).join(name(folder, number))).unwrap();
        }
    }
    fs::write(source.join("file"), Random(1).bytes(2_000_000)).unwrap();
    sandbox.back_up();
    let packs = chunks::of_family(&sandbox.repository(), "tree");
    let pack = packs.iter().max_by_key(|pack| pack.read().len()).unwrap();
    let mut bytes = pack.read();
    let place = bytes.len() / 4;
    bytes[place] ^= 1;
    chmod(&pack.path, 0o600);
    fs::write(&pack.path, bytes).unwrap();
    let mount = Mount::new(&sandbox, &[]);
    let shown = mount.latest(&source);
    let list =
        |folder: &str| fs::read_dir(shown.join(folder)).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let listed = ["a", "b"].map(list);
    assert_eq!(listed.iter().filter(|listed| listed.is_err()).count(), 1, "one of them is damaged");
    assert!(listed.iter().flatten().all(|entries| entries.len() == 20_000));
    let damaged = if listed[0].is_err() { "a" } else { "b" };
    // Each name is there, or may be there: none is said not to be.
    let (mut there, mut lost) = (0, 0);
    for number in (0..20_000).step_by(50) {
        match fs::metadata(shown.join(damaged).join(name(damaged, number))) {
            Ok(_) => there += 1,
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(5), "{error}");
                lost += 1;
            }
        }
    }
    assert!(there > 0 && lost > 0, "{there} {lost}");
}

#[test]
fn others_are_let_in_as_far_as_modes_and_acls_go() {
    if !is_possible() || !is_root() {
        println!("skipped: needs root");
        return;
    }
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    for (name, mode) in [("public", 0o644), ("private", 0o600), ("named", 0o600)] {
        fs::write(source.join(name), name).unwrap();
        chmod(&source.join(name), mode);
    }
    let acl = Command::new("setfacl").args(["-m", "u:12345:r"]).arg(source.join("named")).output().unwrap();
    // The group's bits are the mask now.
    fs::write(source.join("masked"), "masked").unwrap();
    chmod(&source.join("masked"), 0o600);
    std::os::unix::fs::chown(source.join("masked"), Some(0), Some(12_346)).unwrap();
    let masked = Command::new("setfacl").args(["-m", "u:1:r,g::-,m::r"]).arg(source.join("masked")).output().unwrap();
    assert!(acl.status.success() && masked.status.success(), "this file system has no ACLs");
    sandbox.back_up();
    let mut above = source.as_path();
    while let Some(folder) = above.parent().filter(|folder| folder.starts_with(sandbox.path(""))) {
        chmod(folder, 0o755);
        above = folder;
    }
    sandbox.back_up();
    let read = |mount: &Mount, uid: u32, gid: u32, name: &str| {
        let mut cat = Command::new("cat");
        cat.arg(mount.latest(&source).join(name)).uid(uid).gid(gid).output().unwrap().status.success()
    };
    let mount = Mount::new(&sandbox, &["--allow-other"]);
    let all = ["public", "private", "named", "masked"];
    assert_eq!(all.map(|name| read(&mount, 12_345, 12_345, name)), [true, false, true, false]);
    assert_eq!(all.map(|name| read(&mount, 12_347, 12_346, name)), [true, false, false, false]);
    assert_eq!(all.map(|name| read(&mount, 0, 0, name)), [true; 4]);
    drop(mount);
    let mount = Mount::new(&sandbox, &["--owner-root"]);
    assert_eq!(all.map(|name| read(&mount, 12_345, 12_345, name)), [false; 4]);
    assert_eq!(fs::metadata(mount.latest(&source).join("masked")).unwrap().gid(), 0);
}

#[test]
fn what_cannot_be_mounted_is_said() {
    let sandbox = Sandbox::with_repository();
    sandbox.obnam(args!["mount", sandbox.path("missing")]).expect(17).says(&["missing", "mkdir"]);
    sandbox.obnam(args!["mount", sandbox.source(), "--cache-size", "much"]).expect(17).says(&["--cache-size"]);
    sandbox.obnam(args!["mount"]).expect(2);
}

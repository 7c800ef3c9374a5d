//! `kill -9`: nothing that was committed is lost, and nothing ever needs repair.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use obnam_tests::tree::{self, Random};
use obnam_tests::{Sandbox, args, below, libc_signal};

/// Runs the program and kills it after this time. Returns whether it was still running.
fn kill_after(sandbox: &Sandbox, arguments: &[std::ffi::OsString], time: Duration) -> bool {
    let mut command = sandbox.command(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    // Not to wait for something, but to hit it in the middle.
    thread::sleep(time);
    child.kill().unwrap();
    let status = child.wait().unwrap();
    let killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(libc_signal::KILL);
    assert!(killed || status.success(), "{status}");
    killed
}

fn measure(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

/// Changes a part of the source, so that there is something to do.
fn change(source: &Path, round: u64) {
    let mut random = Random(round);
    let folder = source.join(format!("round {}", round % 7));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    for number in 0..120 {
        let length = random.below(3_000) as usize;
        fs::write(folder.join(format!("{number}")), random.bytes(length)).unwrap();
    }
    random.write_file(&source.join(format!("large {}", round % 5)), 5_000_000 + random.clone().below(20_000_000));
    fs::rename(source.join("wanders"), source.join("wandered")).unwrap();
    fs::rename(source.join("wandered"), source.join("wanders")).unwrap();
    fs::write(source.join("wanders/file"), format!("{round}")).unwrap();
}

#[test]
fn killed_backups_lose_nothing_and_need_no_repair() {
    const ROUNDS: u64 = 50;
    let sandbox = Sandbox::with_repository();
    let source = sandbox.source();
    tree::small_files(&source.join("many"), 2_500, 1);
    fs::create_dir(source.join("wanders")).unwrap();
    change(&source, 1);
    let backup = args!["--quiet", "backup", source];
    let first = measure(|| drop(sandbox.obnam(&backup).expect(0)));
    let mut kept = vec![(sandbox.snapshots().remove(0), tree::describe(&source))];
    change(&source, 2);
    let mut whole = measure(|| drop(sandbox.obnam(&backup).expect(0)));
    let mut random = Random(1_000);
    let mut killed = 0;
    for round in 0..ROUNDS {
        change(&source, round + 3);
        // Some machines have no memory, and some backups are the first into a repository.
        if round % 10 == 5 {
            sandbox.next_machine();
            whole = first;
        }
        let time = whole.mul_f64(random.below(1_000) as f64 / 1_000.0);
        killed += u32::from(kill_after(&sandbox, &backup, time));
        let before = sandbox.snapshots();
        let took = measure(|| drop(sandbox.obnam(&backup).expect(0)));
        whole = whole.mul_f64(0.5) + took.mul_f64(0.5);
        let after = sandbox.snapshots();
        assert_eq!(after[..before.len()], before, "a snapshot was lost");
        assert_eq!(after.len(), before.len() + 1);
        let report = sandbox.obnam(["--json", "check"]).expect(0).result();
        assert_eq!(report["errors"], 0);
        if round % 10 == 0 {
            sandbox.assert_restores();
            kept.push((after.last().unwrap().clone(), tree::describe(&source)));
        }
    }
    eprintln!("{killed} of {ROUNDS} were killed before they had ended");
    assert!(killed > 0);
    sandbox.assert_restores();
    for finding in sandbox.check(0) {
        assert_eq!(finding["code"], "pack-unindexed", "{finding}");
    }
    sandbox.next_machine();
    for (id, state) in &kept {
        let restored = sandbox.restore(id);
        tree::assert_is(state, &restored);
        sandbox.discard(&restored);
    }
}

#[test]
fn a_killed_first_backup_leaves_a_usable_repository() {
    let sandbox = Sandbox::with_repository();
    tree::small_files(&sandbox.source(), 1_000, 2);
    Random(3).write_file(&sandbox.source().join("large"), 60_000_000);
    let backup = args!["--quiet", "backup", sandbox.source()];
    // How long it takes, from another repository.
    let other = Sandbox::with_repository();
    let whole = measure(|| drop(other.obnam(&backup).expect(0)));
    let mut random = Random(4);
    for _ in 0..5 {
        kill_after(&sandbox, &backup, whole.mul_f64(random.below(900) as f64 / 1_000.0));
        sandbox.check(0);
        assert!(sandbox.snapshots().len() <= 5);
    }
    sandbox.back_up();
    sandbox.assert_restores();
    sandbox.check(0);
}

#[test]
fn a_killed_init_can_be_repeated() {
    let mut random = Random(5);
    let whole = measure(|| drop(Sandbox::with_repository()));
    let (mut killed, mut repeated) = (0, 0);
    for _ in 0..20 {
        let sandbox = Sandbox::new();
        killed += u32::from(kill_after(&sandbox, &args!["init"], whole.mul_f64(random.below(1_000) as f64 / 1_000.0)));
        let again = sandbox.obnam(["init"]);
        match again.code {
            Some(0) => repeated += 1,
            // It had come to its end, and says so.
            Some(11) => {}
            _ => panic!("{again:?}"),
        }
        // In either case there is a repository, and the identity opens it.
        fs::write(sandbox.source().join("a"), "a").unwrap();
        sandbox.back_up();
        sandbox.next_machine();
        sandbox.assert_restores();
        assert!(sandbox.check(0).is_empty());
    }
    // How many it was depends on the machine; the next test does not.
    eprintln!("{killed} killed, {repeated} repeated");
}

/// What a killed `init` can leave at worst, without hoping for the right moment.
#[test]
fn init_finishes_what_an_earlier_one_began() {
    let sandbox = Sandbox::with_repository();
    // Without the repository chunk, which is stored last.
    fs::remove_dir_all(sandbox.repository().join("repository")).unwrap();
    sandbox.obnam(["snapshots"]).expect(10);
    sandbox.obnam(["init"]).expect(0);
    fs::write(sandbox.source().join("a"), "a").unwrap();
    sandbox.back_up();
    assert!(sandbox.check(0).is_empty(), "nothing is left of the first one");
    // An identity file that was made and not yet written.
    let other = Sandbox::new();
    fs::write(other.identity(), "").unwrap();
    obnam_tests::chmod(&other.identity(), 0o600);
    other.obnam(["init"]).expect(12).says(&["identity"]);
    assert!(!other.repository().join("repository").exists());
}

#[test]
fn a_killed_restore_can_be_repeated() {
    let sandbox = Sandbox::with_repository();
    tree::small_files(&sandbox.source(), 3_000, 6);
    Random(7).write_file(&sandbox.source().join("large"), 40_000_000);
    sandbox.back_up();
    let target = sandbox.path("target");
    let restore = args!["--quiet", "restore", "latest", target];
    let whole = measure(|| drop(sandbox.obnam(&restore).expect(0)));
    fs::remove_dir_all(&target).unwrap();
    let mut random = Random(8);
    for _ in 0..10 {
        kill_after(&sandbox, &restore, whole.mul_f64(random.below(1_000) as f64 / 1_000.0));
        // The same command goes on where it was; had it come to its end, it touches nothing.
        match sandbox.obnam(&restore) {
            ran if ran.code == Some(0) => {}
            ran => drop(ran.expect(17).says(&["not empty"])),
        }
        tree::assert_same(&sandbox.source(), &below(&target, &sandbox.source()));
        fs::remove_dir_all(&target).unwrap();
    }
    assert!(sandbox.check(0).is_empty(), "reading changes nothing");
}

#[test]
fn opening_a_place_without_a_repository_creates_nothing() {
    let sandbox = Sandbox::with_repository();
    fs::write(sandbox.source().join("a"), "a").unwrap();
    sandbox.back_up();
    // The disk is not mounted: only its empty mount point is there, or not even that.
    fs::rename(sandbox.repository(), sandbox.path("elsewhere")).unwrap();
    for mount_point in [false, true] {
        if mount_point {
            fs::create_dir(sandbox.repository()).unwrap();
        }
        for arguments in [
            args!["backup", sandbox.source()].as_slice(),
            &args!["snapshots"],
            &args!["check"],
            &args!["chunks"],
            &args!["restore", "latest", sandbox.path("target")],
        ] {
            let ran = sandbox.obnam(arguments).expect(10);
            assert!(ran.stderr.contains("no repository") || ran.stderr.contains("repository"), "{}", ran.stderr);
            assert_eq!(sandbox.repository().exists(), mount_point);
            assert!(!mount_point || fs::read_dir(sandbox.repository()).unwrap().next().is_none());
            assert!(!sandbox.path("target").exists());
        }
    }
    fs::remove_dir(sandbox.repository()).unwrap();
    fs::rename(sandbox.path("elsewhere"), sandbox.repository()).unwrap();
    sandbox.assert_restores();
}

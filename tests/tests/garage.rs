//! With Garage, a real S3 server: what it honours, whole rounds of the program, and what happens when it goes away.

#![allow(clippy::unwrap_used)]

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use obnam_tests::proxy::{Behaviour, Passed, Proxy};
use obnam_tests::s3::client::{Ask, Blocking};
use obnam_tests::s3::garage::Garage;
use obnam_tests::tree::{self, Random};
use obnam_tests::{Ran, Sandbox, args};
use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest, Sha256};

/// What docs/stores/garage.md says.
#[test]
fn what_garage_honours() {
    let mut garage = Garage::start();
    let client = Blocking::new(&garage);
    let put = |key: &'static str, body: &'static [u8], announced: &[u8]| {
        let sum = STANDARD.encode(Sha256::digest(announced));
        let headers = vec![("x-amz-checksum-sha256", sum), ("if-none-match", "*".to_owned())];
        client.send(&Ask { method: "PUT", key, headers, body: body.into(), unsigned: true, ..Ask::default() }).status
    };
    assert_eq!(put("k", b"hello", b"hello"), 200);
    assert_eq!(put("k", b"again", b"again"), 200, "it ignores if-none-match");
    assert_eq!(put("l", b"other", b"hello"), 400, "it enforces checksums");
    assert_eq!(client.list(""), ["k"]);
    let mut wrong = (*garage).clone();
    wrong.secret_key = "0".repeat(64);
    assert_eq!(Blocking::new(&wrong).send(&Ask { method: "GET", key: "k", ..Ask::default() }).status, 403);
    garage.kill();
    assert!(client.try_send(&Ask { method: "GET", key: "k", ..Ask::default() }).is_err());
    garage.restart();
    assert_eq!(client.get("k"), "again");
}

/// Compares as a user would who does not trust us.
fn assert_rsync_finds_nothing(source: &Path, restored: &Path) {
    let mut command = Command::new("rsync");
    command.args(["-anc", "--delete", "--itemize-changes"]);
    command.arg(format!("{}/", source.display())).arg(format!("{}/", restored.display()));
    let output = command.output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// A few thousand small files, and two that fill several packs.
fn make_tree(source: &Path) {
    tree::small_files(&source.join("small"), 3_000, 1);
    Random(2).write_file(&source.join("large"), 40_000_000);
    Random(3).write_file(&source.join("small/larger"), 50_000_000);
}

#[test]
fn a_round() {
    /// So many connections the program keeps to a store, unless it is told otherwise.
    const POOL: usize = 8;
    let garage = Garage::start();
    let proxy = Proxy::of(&garage, Behaviour::Record);
    let sandbox = Sandbox::at_s3(&proxy.access(&garage));
    sandbox.obnam(args!["init"]).expect(0);
    make_tree(&sandbox.source());
    proxy.forget();
    sandbox.back_up();
    // No more in all than may be open at the same time: each is used again and again.
    let connections = proxy.connections();
    assert!(connections.total <= POOL, "{connections:?}: connections are not used again");
    let puts: Vec<Passed> = proxy.requests().into_iter().filter(|request| request.method == "PUT").collect();
    assert!(puts.len() >= 6 && puts.iter().all(|put| put.status == 200), "{puts:?}");

    let unchanged = |sandbox: &Sandbox| {
        proxy.forget();
        let result = sandbox.back_up();
        assert_eq!(result["statistics"]["new_files"], 0, "{result}");
        proxy.requests().len()
    };
    // The second backup sees what the first one has stored.
    unchanged(&sandbox);
    let few = unchanged(&sandbox);
    tree::small_files(&sandbox.source().join("more"), 6_000, 4);
    sandbox.back_up();
    unchanged(&sandbox);
    let many = unchanged(&sandbox);
    assert!(many <= few + 4, "an unchanged backup took {few} requests for 3,000 files, {many} for 9,000");
    assert!(many <= 25, "an unchanged backup takes {many} requests");

    proxy.forget();
    let restored = sandbox.restore("latest");
    assert_rsync_finds_nothing(&sandbox.source(), &restored);
    sandbox.discard(&restored);
    let connections = proxy.connections();
    assert!(connections.peak <= POOL, "{connections:?}");
    assert!(sandbox.check(0).is_empty());

    // Another machine, which has nothing but the location and the identity, and no proxy.
    sandbox.move_to(&garage);
    sandbox.next_machine();
    assert_eq!(sandbox.snapshots().len(), 6);
    let restored = sandbox.restore("latest");
    assert_rsync_finds_nothing(&sandbox.source(), &restored);
    tree::assert_same(&sandbox.source(), &restored);
}

#[test]
fn damage_is_found() {
    let garage = Garage::start();
    let sandbox = Sandbox::with_repository_at_s3(&garage);
    tree::small_files(&sandbox.source(), 200, 5);
    Random(6).write_file(&sandbox.source().join("large"), 5_000_000);
    sandbox.back_up();
    assert!(sandbox.check(0).is_empty());
    let client = Blocking::new(&garage);
    let key = client.list(&format!("{}/data/", sandbox.prefix())).remove(0);
    // Garage lets anybody who may write replace an object.
    let mut bytes = client.get(&key).to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    client.put(&key, bytes);
    sandbox.next_machine();
    let findings = sandbox.check(4);
    assert!(!findings.is_empty());
    client.delete(&key);
    sandbox.obnam(args!["--quiet", "restore", "latest", sandbox.path("target")]).expect(3);
}

/// A backup under way. The proxy slows it down, so that it can be disturbed in the middle.
struct Running<'a> {
    child: Child,
    words: String,
    proxy: &'a Proxy,
}

impl<'a> Running<'a> {
    fn backup(sandbox: &Sandbox, proxy: &'a Proxy) -> Self {
        proxy.forget();
        proxy.set_behaviour(Behaviour::Delay(Duration::from_millis(500)));
        let mut command = sandbox.command(args!["--quiet", "backup", sandbox.source()]);
        let words = format!("{command:?}");
        Running { child: command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap(), words, proxy }
    }

    /// Waits until a second pack is on its way.
    fn wait_for_packs(&mut self, prefix: &str) {
        let (proxy, begun) = (self.proxy, Instant::now());
        let is_pack = |request: &Passed| request.method == "PUT" && request.path.contains(&format!("{prefix}/data/"));
        while proxy.requests().iter().filter(|request| is_pack(request)).count() < 2 {
            if self.child.try_wait().unwrap().is_some() {
                let mut said = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                panic!("it has ended already: {said}\n{:#?}", proxy.requests());
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "it stores nothing");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn end(self) -> Ran {
        self.proxy.set_behaviour(Behaviour::Record);
        let output: Output = self.child.wait_with_output().unwrap();
        Ran::new(self.words, output)
    }

    fn kill(mut self) {
        self.proxy.set_behaviour(Behaviour::Record);
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Everything is there: the newest snapshot is the source, and nothing is damaged.
fn assert_whole(sandbox: &Sandbox) {
    sandbox.assert_restores();
    for finding in sandbox.check(0) {
        // What an interrupted run has stored, and the next one has not used.
        assert_eq!(finding["code"], "pack-unindexed", "{finding}");
    }
}

fn disturbed() -> (Garage, Proxy, Sandbox) {
    let garage = Garage::start();
    let proxy = Proxy::of(&garage, Behaviour::Record);
    let sandbox = Sandbox::with_repository_at_s3(&proxy.access(&garage));
    make_tree(&sandbox.source());
    (garage, proxy, sandbox)
}

#[test]
fn a_backup_waits_for_a_server_that_is_started_again() {
    let (mut garage, proxy, sandbox) = disturbed();
    let mut backup = Running::backup(&sandbox, &proxy);
    backup.wait_for_packs(&sandbox.prefix());
    garage.kill();
    thread::sleep(Duration::from_millis(500));
    garage.restart();
    backup.end().expect(0);
    assert_whole(&sandbox);
}

#[test]
fn a_backup_waits_for_a_network_that_comes_back() {
    let (_garage, proxy, sandbox) = disturbed();
    let mut backup = Running::backup(&sandbox, &proxy);
    backup.wait_for_packs(&sandbox.prefix());
    // Silence first, then connections that break.
    proxy.pause();
    thread::sleep(Duration::from_secs(3));
    proxy.resume();
    thread::sleep(Duration::from_millis(300));
    proxy.cut();
    thread::sleep(Duration::from_secs(1));
    proxy.resume();
    backup.end().expect(0);
    assert_whole(&sandbox);
}

#[test]
fn a_backup_whose_server_stays_away_can_be_ended_and_goes_on_later() {
    let (mut garage, proxy, sandbox) = disturbed();
    let mut backup = Running::backup(&sandbox, &proxy);
    backup.wait_for_packs(&sandbox.prefix());
    garage.kill();
    thread::sleep(Duration::from_secs(2));
    kill_process(Pid::from_child(&backup.child), Signal::INT).unwrap();
    let ran = backup.end();
    assert!([Some(130), Some(13)].contains(&ran.code), "{ran:?}");
    assert!(!ran.stderr.trim().is_empty(), "it ends without a word");
    garage.restart();
    assert!(sandbox.snapshots().is_empty());
    sandbox.back_up();
    assert_whole(&sandbox);
}

#[test]
fn a_killed_backup_needs_no_repair() {
    let (_garage, proxy, sandbox) = disturbed();
    for _ in 0..2 {
        let mut backup = Running::backup(&sandbox, &proxy);
        backup.wait_for_packs(&sandbox.prefix());
        backup.kill();
        assert!(sandbox.snapshots().is_empty());
        sandbox.check(0);
    }
    sandbox.back_up();
    assert_whole(&sandbox);
    sandbox.next_machine();
    let restored = sandbox.restore("latest");
    tree::assert_same(&sandbox.source(), &restored);
}

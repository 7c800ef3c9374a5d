//! The server, its database or its store goes away in the middle of a backup: the backup waits and goes on, or it is
//! stopped, and the next one goes on where it was.

#![allow(clippy::unwrap_used)]

use std::ops::Deref;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use obnam_tests::postgres::Postgres;
use obnam_tests::s3::Access;
use obnam_tests::s3::client::Blocking;
use obnam_tests::s3::fake::{Action, Answer, FakeS3, Faults, When};
use obnam_tests::s3::garage::Garage;
use obnam_tests::server::{Server, Setup};
use obnam_tests::tree::Random;
use obnam_tests::{Ran, Sandbox, args};

/// How long something is away.
const AWAY: Duration = Duration::from_secs(3);

/// A store that takes half a second for each chunk, so that a backup can be hit in the middle.
fn slow() -> FakeS3 {
    let late = Answer::Late(Duration::from_millis(500));
    FakeS3::start(Faults::default().trouble(late, When::Always, Some(Action::Put)))
}

/// A source of several packs, whose backup has begun: something is stored, and more will be.
struct Running {
    sandbox: Sandbox,
    backup: Child,
}

impl Running {
    fn start(store: &Access, server: &Server) -> Self {
        server.tenant("alice");
        let sandbox = Sandbox::at(server.remote("alice", &server.token("alice", &["--preset", "all"])));
        sandbox.obnam(args!["init"]).expect(0);
        Random(1).write_file(&sandbox.source().join("large"), 150_000_000);
        let mut command = sandbox.command(args!["--json", "backup", sandbox.source()]);
        let backup = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut running = Running { sandbox, backup };
        let (client, begin) = (Blocking::new(store), Instant::now());
        while client.list("server/alice/data/").is_empty() {
            assert!(running.backup.try_wait().unwrap().is_none(), "the backup ended before it was hit");
            assert!(begin.elapsed() < Duration::from_secs(60), "nothing is stored");
            sleep(Duration::from_millis(20));
        }
        assert!(client.list("server/alice/snapshot").is_empty(), "the backup was done before it was hit");
        running
    }

    /// Waits until the backup ends, which must be with success, and restores it.
    fn goes_on(self) {
        let ran = Ran::new("backup".into(), self.backup.wait_with_output().unwrap()).expect(0);
        assert_eq!(ran.result()["statistics"]["new_files"], 1, "{ran:?}");
        self.sandbox.next_machine();
        self.sandbox.assert_restores();
        assert!(self.sandbox.check(0).is_empty());
    }

    /// Interrupts it while it waits.
    fn interrupt(self) -> (Sandbox, Ran) {
        let pid = rustix::process::Pid::from_child(&self.backup);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        (self.sandbox, Ran::new("backup".into(), self.backup.wait_with_output().unwrap()))
    }
}

#[test]
fn the_server_is_killed_and_comes_back() {
    let s3 = slow();
    let mut server = Server::start(&s3, &Setup::default());
    let running = Running::start(&s3, &server);
    server.kill();
    sleep(AWAY);
    server.restart();
    running.goes_on();
}

#[test]
fn the_server_is_killed_again_and_again() {
    let s3 = slow();
    let mut server = Server::start(&s3, &Setup::default());
    let running = Running::start(&s3, &server);
    for _ in 0..5 {
        server.restart();
        sleep(Duration::from_millis(300));
    }
    running.goes_on();
}

#[test]
fn the_database_goes_away_and_comes_back() {
    let Some(mut postgres) = Postgres::start() else {
        eprintln!("NOT TESTED: PostgreSQL is not installed");
        return;
    };
    let s3 = slow();
    let setup = Setup { database: Some(postgres.database("outage")), ..Setup::default() };
    let server = Server::start(&s3, &setup);
    let running = Running::start(&s3, &server);
    postgres.stop();
    sleep(AWAY);
    postgres.go_on();
    running.goes_on();
}

#[test]
fn garage_goes_away_and_comes_back() {
    let mut garage = Garage::start();
    let access = garage.deref().clone();
    let server = Server::start(&access, &Setup::default());
    let running = Running::start(&access, &server);
    garage.kill();
    sleep(AWAY);
    garage.restart();
    running.goes_on();
}

/// Whoever does not want to wait ends the backup; the next one finds what was stored.
#[test]
fn a_backup_that_waits_for_a_server_is_interrupted_and_resumed() {
    let s3 = slow();
    let mut server = Server::start(&s3, &Setup::default());
    let running = Running::start(&s3, &server);
    server.kill();
    sleep(AWAY);
    let (sandbox, ran) = running.interrupt();
    ran.expect(130);
    assert!(!s3.objects().keys().any(|key| key.contains("/snapshot")), "something half done looks whole");
    let stored: u64 = bytes_of_data(&s3);
    assert!(stored > 0);
    server.restart();
    let result = sandbox.back_up();
    let uploaded = bytes_of_data(&s3) - stored;
    assert!(uploaded < 160_000_000 - stored / 2, "{uploaded} bytes were stored beside {stored}: {result}");
    sandbox.next_machine();
    sandbox.assert_restores();
    assert!(sandbox.check(0).is_empty());
}

fn bytes_of_data(s3: &FakeS3) -> u64 {
    let objects = s3.objects();
    let data = objects.iter().filter(|(key, _)| key.contains("/data/"));
    data.map(|(_, object)| object.bytes.len() as u64).sum()
}

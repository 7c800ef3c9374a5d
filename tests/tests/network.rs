//! The network as a user meets it: options, stores that are not there, stores that are away for a while.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use obnam_tests::proxy::{Behaviour, Proxy};
use obnam_tests::s3::fake::{Action, Answer, FakeS3, Faults, When};
use obnam_tests::{Ran, Sandbox, args, run};

/// An address of this computer where nothing listens.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("s3:http://{}/bucket", listener.local_addr().unwrap())
}

/// A command about another place, with keys that are none.
fn at(sandbox: &Sandbox, location: &str, more: &[&str]) -> Ran {
    let mut command = sandbox.bare();
    command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret").env("AWS_REGION", "here");
    run(command.arg("--repo").arg(location).arg("--identity").arg(sandbox.identity()).args(more))
}

#[test]
fn a_store_that_is_not_there_is_told_within_seconds() {
    let store = FakeS3::start(Faults::default());
    let sandbox = Sandbox::with_repository_at_s3(&store);
    let start = Instant::now();
    at(&sandbox, &nowhere(), &["snapshots"]).expect(13).says(&["connection refused"]);
    at(&sandbox, "s3:https://no-such-host.invalid/bucket", &["snapshots"])
        .expect(13)
        .says(&["no-such-host.invalid", "looked up"]);
    // Far below the time that a store which was there before is waited for.
    assert!(start.elapsed() < Duration::from_secs(120), "{:?}", start.elapsed());
}

#[test]
fn mistakes_in_options_are_explained() {
    let store = FakeS3::start(Faults::default());
    let sandbox = Sandbox::with_repository_at_s3(&store);
    let location = sandbox.location().into_string().unwrap();
    at(&sandbox, "s3:http://s3.example.org/bucket", &["snapshots"]).expect(13).says(&["not encrypted", "--plain-http"]);
    let secure = "s3:https://127.0.0.1:1/bucket";
    at(&sandbox, secure, &["snapshots", "--ca-file", "/nowhere.pem"]).expect(17).says(&["CA file /nowhere.pem"]);
    let identity = sandbox.identity().into_os_string().into_string().unwrap();
    at(&sandbox, secure, &["snapshots", "--ca-file", &identity]).expect(17).says(&["holds no certificate"]);
    at(&sandbox, &location, &["snapshots", "--proxy", "ann:secret@x"]).expect(17).says(&["--proxy", "http://"]);
    at(&sandbox, &location, &["snapshots", "--limit-upload", "fast"]).expect(17).says(&["--limit-upload", "fast"]);
    at(&sandbox, &location, &["snapshots", "--limit-download", "3"])
        .expect(17)
        .says(&["--limit-download", "at least 1K"]);
    at(&sandbox, &location, &["snapshots", "--connections", "0"]).expect(2).says(&["--connections"]);
}

#[test]
fn a_profile_gives_them_and_says_so() {
    let sandbox = Sandbox::new();
    let folder = sandbox.local().join("config/obnam");
    fs::create_dir_all(&folder).unwrap();
    let text = "[profile.default]\nrepository = \"s3:https://s3.example.org/b\"\nca-file = \"/ca.pem\"\nplain-http = true\n\
        proxy = \"http://ann:secret@proxy:3128\"\nconnections = 3\nlimit-upload = \"2M\"\nlimit-download = \"9M\"\n";
    fs::write(folder.join("config.toml"), text).unwrap();
    let shown = run(sandbox.bare().args(["config", "show", "--connections", "5"])).expect(0);
    let shown = shown.text();
    for part in ["/ca.pem", "plain-http", "http://(not shown)@proxy:3128", "5", "command line", "2M", "9M", "line 8"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!run(sandbox.bare().args(["config", "show"])).all().contains("secret"));
    // What belongs to the profile's repository is not used for another one.
    let other =
        run(sandbox.bare().args(["config", "show", "-p", "default", "--repo", "s3:https://x/y"])).expect(0).text();
    assert!(!other.contains("/ca.pem") && !other.contains("plain-http") && other.contains("2M"), "{other}");
    fs::write(folder.join("config.toml"), "[profile.default]\nconnections = 1000\nlimit-upload = \"x\"\n").unwrap();
    let mistakes = run(sandbox.bare().args(["config", "check"])).expect(17).text();
    assert!(mistakes.contains("connections") && mistakes.contains("from 1 to 256"), "{mistakes}");
}

/// Bytes that cannot be compressed.
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..size).map(|_| step()).collect()
}

#[test]
fn connections_stay_below_their_limit() {
    let store = FakeS3::start(Faults::default());
    let proxy = Proxy::of(&store, Behaviour::Record);
    let sandbox = Sandbox::at_s3(&proxy.access(&store));
    sandbox.obnam(args!["init"]).expect(0);
    for number in 0..40 {
        fs::write(sandbox.source().join(format!("{number}")), noise(number, 1_500_000)).unwrap();
    }
    proxy.forget();
    sandbox.obnam(args!["backup", "--connections", "2", sandbox.source()]).expect(0);
    let connections = proxy.connections();
    assert!(connections.peak <= 2 && connections.total <= 2, "{connections:?}, {} requests", proxy.requests().len());
    sandbox.assert_restores();
}

#[test]
fn an_interrupt_ends_the_waiting_for_a_store() {
    let store = FakeS3::start(Faults::default());
    let sandbox = Sandbox::with_repository_at_s3(&store);
    fs::write(sandbox.source().join("file"), "text").unwrap();
    store.set_faults(Faults::default().trouble(Answer::SlowDown(None), When::Always, Some(Action::Put)));
    let mut command = sandbox.command(args!["--json", "backup", sandbox.source()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It says that it waits.
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
    let said = errors.find_map(|line| line.ok().filter(|line| line.contains("tried again")));
    assert!(said.is_some(), "it has ended without a word");
    let before = Instant::now();
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ran = Ran::new("backup".into(), child.wait_with_output().unwrap()).expect(130);
    assert_eq!(ran.json()["error"]["code"], "interrupted");
    // It would have waited for minutes.
    assert!(before.elapsed() < Duration::from_secs(100), "{:?}", before.elapsed());
    store.set_faults(Faults::default());
    sandbox.back_up();
    sandbox.assert_restores();
}

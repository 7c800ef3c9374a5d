//! Passphrases and identities.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use obnam_tests::{Sandbox, below, chmod, run};

const PASSPHRASE: &str = "correct horse battery staple";

fn with_passphrase(sandbox: &Sandbox, arguments: &[&str]) -> Command {
    let mut command = sandbox.bare();
    command.arg("--repo").arg(sandbox.repository()).args(arguments).env("OBNAM_PASSPHRASE", PASSPHRASE);
    command
}

#[test]
fn passphrases_come_from_three_places() {
    let sandbox = Sandbox::new();
    run(&mut with_passphrase(&sandbox, &["init"])).expect(0);
    let source = |name: &str, value: &OsStr| {
        let mut command = with_passphrase(&sandbox, &["--json", "snapshots"]);
        run(command.env_remove("OBNAM_PASSPHRASE").env(name, value))
    };
    let file = sandbox.path("passphrase");
    fs::write(&file, format!("{PASSPHRASE}\nsecond line\n")).unwrap();
    source("OBNAM_PASSPHRASE_FILE", file.as_os_str()).expect(0);
    source("OBNAM_PASSPHRASE_COMMAND", OsStr::new(&format!("echo '{PASSPHRASE}'"))).expect(0);
    source("OBNAM_PASSPHRASE_COMMAND", OsStr::new("exit 3")).expect(12).says_nothing_of(PASSPHRASE);
    source("OBNAM_PASSPHRASE_COMMAND", OsStr::new("true")).expect(12);
    source("OBNAM_PASSPHRASE_FILE", sandbox.path("missing").as_os_str()).expect(12);
    source("OBNAM_PASSPHRASE", OsStr::new("")).expect(12);
    source("OBNAM_PASSPHRASE_NOT", OsStr::new("x")).expect(12);
    let wrong = source("OBNAM_PASSPHRASE", OsStr::new("correct horse battery stapl"));
    assert_eq!(wrong.expect(12).json()["error"]["code"], "no-access");
    let wrong = source("OBNAM_PASSPHRASE_COMMAND", OsStr::new("echo nonsense"));
    assert!(wrong.expect(12).json()["error"]["message"].as_str().unwrap().contains("wrong passphrase"));
    // On a machine that has no pin, too.
    sandbox.next_machine();
    source("OBNAM_PASSPHRASE", OsStr::new("wrong")).expect(12);
    source("OBNAM_PASSPHRASE", OsStr::new(PASSPHRASE)).expect(0);
}

trait SaysNothing {
    fn says_nothing_of(self, secret: &str) -> Self;
}

impl SaysNothing for obnam_tests::Ran {
    fn says_nothing_of(self, secret: &str) -> Self {
        assert!(!self.all().contains(secret), "{}", self.all());
        self
    }
}

#[test]
fn identity_files_are_private() {
    let sandbox = Sandbox::with_repository();
    assert_eq!(fs::metadata(sandbox.identity()).unwrap().mode() & 0o7777, 0o600);
    for mode in [0o640, 0o604, 0o620, 0o602, 0o610] {
        chmod(&sandbox.identity(), mode);
        sandbox.obnam(["snapshots"]).expect(12).says(&["chmod 600"]);
    }
    chmod(&sandbox.identity(), 0o600);
    sandbox.obnam(["snapshots"]).expect(0);
    let text = fs::read_to_string(sandbox.identity()).unwrap();
    let key = text.lines().find(|line| line.starts_with("AGE-SECRET-KEY-1")).unwrap().to_owned();
    let outputs = sandbox.obnam(["-vv", "snapshots"]).expect(0);
    outputs.says_nothing_of(&key);
    // Another identity, no identity, no file.
    fs::rename(sandbox.identity(), sandbox.path("kept")).unwrap();
    sandbox.obnam(["snapshots"]).expect(12);
    assert!(!sandbox.identity().exists(), "only init makes identities");
    let other = Sandbox::with_repository();
    fs::copy(other.identity(), sandbox.identity()).unwrap();
    sandbox.obnam(["snapshots"]).expect(12);
    fs::write(sandbox.identity(), "nothing\n").unwrap();
    sandbox.obnam(["snapshots"]).expect(12);
}

#[test]
fn a_generated_passphrase_opens_the_repository_anywhere() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.bare();
    let sheet = run(command.arg("-r").arg(sandbox.repository()).args(["init", "--generate-passphrase"])).expect(0);
    let sheet = sheet.text();
    let field = |name: &str| -> String {
        let line = sheet.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap_or_else(|| panic!("{sheet}"));
        line.trim().to_owned()
    };
    let (passphrase, id) = (field("passphrase     "), field("repository id"));
    assert_eq!(passphrase.len(), 29);
    let repository = PathBuf::from(field("location"));
    assert_eq!(repository, sandbox.repository());
    fs::write(sandbox.source().join("a"), "precious").unwrap();
    let go = |arguments: &[&str]| {
        let mut command = sandbox.bare();
        run(command.arg("-r").arg(&repository).args(arguments).env("OBNAM_PASSPHRASE", &passphrase))
    };
    go(&["backup", sandbox.source().to_str().unwrap()]).expect(0);
    // A new machine: with the sheet, and without it.
    for options in [vec!["--repository-id", id.as_str()], vec![]] {
        sandbox.next_machine();
        let target = sandbox.fresh("target");
        go(&[options.as_slice(), &["restore", "latest", target.to_str().unwrap()]].concat()).expect(0);
        assert_eq!(fs::read(below(&target, &sandbox.source()).join("a")).unwrap(), b"precious");
    }
    // And with a wrong sheet.
    sandbox.next_machine();
    let other = "0".repeat(64);
    go(&["--repository-id", &other, "snapshots"]).expect(15).says(&[&id]);
    go(&["--repository-id", "abc", "snapshots"]).expect(17).says(&["--repository-id"]);
    go(&["--repository-id", &id, "snapshots"]).expect(0);
    go(&["--repository-id", &other, "snapshots"]).expect(15);
}

#[test]
fn one_repository_with_two_secrets() {
    let sandbox = Sandbox::new();
    let mut command = with_passphrase(&sandbox, &["--json", "init", "--name", "desk"]);
    let made = run(command.arg("--identity").arg(sandbox.identity())).expect(0).result();
    let kinds: Vec<_> = made["credentials"].as_array().unwrap().iter().map(|one| one["kind"].clone()).collect();
    assert_eq!(kinds, ["passphrase", "identity"]);
    for _ in 0..2 {
        sandbox.obnam(["snapshots"]).expect(0);
        run(&mut with_passphrase(&sandbox, &["snapshots"])).expect(0);
        sandbox.next_machine();
    }
    let roster = sandbox.obnam(["--json", "cat", "roster"]).expect(0).result();
    assert_eq!(roster["members"][0]["name"], "desk");
}

#[test]
fn chunks_need_no_secret() {
    let sandbox = Sandbox::with_repository();
    fs::write(sandbox.source().join("a"), "a").unwrap();
    sandbox.back_up();
    let list = |arguments: &[&str]| {
        let mut command = sandbox.bare();
        run(command.arg("-r").arg(sandbox.repository()).args(arguments))
    };
    let all = list(&["chunks", "--json"]).expect(0).lines();
    let on_disk = obnam_tests::chunks::all(&sandbox.repository());
    assert_eq!(all.len(), on_disk.len());
    for chunk in &on_disk {
        let line = all.iter().find(|line| line["id"] == chunk.id.as_str()).unwrap();
        assert_eq!((&line["label"], &line["size"]), (&chunk.label.as_str().into(), &chunk.read().len().into()));
    }
    assert_eq!(list(&["chunks", "--label", "snapshot.", "--json"]).expect(0).lines().len(), 1);
    assert_eq!(list(&["chunks", "--label", "roster"]).expect(0).text().lines().count(), 1);
    assert_eq!(list(&["chunks", "--label", "snapshot"]).expect(0).text(), "");
    list(&["chunks", "--label", "NO LABEL"]).expect(17);
    assert_eq!(fs::read_dir(sandbox.local().join("state")).unwrap().count(), 1, "only the command init has been here");
}

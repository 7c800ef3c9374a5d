//! Clients: added with a role, removed, given new keys; a write-only one backs up and reads nothing.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

use obnam_tests::{Ran, Sandbox, args, below, run, tree};
use serde_json::{Value, json};

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// A client as its own machine sees it: what `client add` or `client rotate` said of it.
struct Client {
    credential: String,
    passphrase: String,
    tag: String,
}

impl Client {
    fn of(made: &Value) -> Self {
        Client {
            credential: text(&made["credential"]).to_owned(),
            passphrase: text(&made["passphrase"]).to_owned(),
            tag: text(&made["client"]["tag"]).to_owned(),
        }
    }

    /// The program as this client. Which machine it runs on is up to the sandbox.
    fn command(&self, sandbox: &Sandbox, words: &[&str]) -> Command {
        let mut command = sandbox.bare();
        command.env("OBNAM_PASSPHRASE", &self.passphrase).arg("--repo").arg(sandbox.location());
        command.args(["--credential", &self.credential]).args(words);
        command
    }

    fn obnam(&self, sandbox: &Sandbox, words: &[&str]) -> Ran {
        run(&mut self.command(sandbox, words))
    }

    #[track_caller]
    fn back_up(&self, sandbox: &Sandbox) -> Value {
        let source = sandbox.source();
        self.obnam(sandbox, &["--json", "backup", source.to_str().unwrap()]).expect(0).result()
    }
}

fn add(sandbox: &Sandbox, words: &[&str]) -> Client {
    let words = [&["--json", "client", "add", "--generate-passphrase"], words].concat();
    Client::of(&sandbox.obnam(words).expect(0).result())
}

fn list(sandbox: &Sandbox) -> Vec<Value> {
    let result = sandbox.obnam(args!["--json", "client", "list"]).expect(0).result();
    result["clients"].as_array().unwrap().clone()
}

/// Files that do not compress, under different names.
fn fill(folder: &Path, seed: u8) {
    for number in 0..4u8 {
        let mut bytes = vec![0; 300_000];
        blake3_like(&[seed, number], &mut bytes);
        fs::write(folder.join(format!("file-{seed}-{number}")), bytes).unwrap();
    }
}

/// Noise from a seed.
fn blake3_like(seed: &[u8], bytes: &mut [u8]) {
    let mut state = seed
        .iter()
        .fold(0x9e37_79b9_7f4a_7c15u64, |state, byte| (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    for byte in bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = (state >> 24) as u8;
    }
}

#[test]
fn a_write_only_client_backs_up_and_reads_nothing() {
    let sandbox = Sandbox::with_repository();
    fill(&sandbox.source(), 1);
    sandbox.back_up();
    let client = add(&sandbox, &["laptop", "--write-only"]);
    sandbox.next_machine();
    fill(&sandbox.source(), 2);
    // Files that were touched in the second before a backup are read again by the next one.
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    let first = client.back_up(&sandbox);
    let statistics = |backup: &Value, key: &str| backup["statistics"][key].as_u64().unwrap();
    // What the first client has stored, whom it trusts, is not stored again.
    assert!((1_200_000..1_300_000).contains(&statistics(&first, "new_bytes")), "{first}");
    // The second one opens no file: this machine remembers what was there.
    let second = client.back_up(&sandbox);
    assert_eq!((statistics(&second, "unchanged_files"), statistics(&second, "changed_files")), (8, 0));
    assert!(statistics(&second, "new_bytes") < 20_000, "{second}");
    // Without what it remembers it reads all files, and stores nothing twice.
    fs::remove_dir_all(sandbox.local().join("cache")).unwrap();
    sandbox.obnam(args!["plugin", "list"]).expect(0);
    let third = client.back_up(&sandbox);
    assert_eq!(statistics(&third, "unchanged_files"), 0);
    assert!(statistics(&third, "new_bytes") < 20_000, "{third}");

    // It sees the snapshots, and nothing in them.
    let snapshots = client.obnam(&sandbox, &["--json", "snapshots"]).expect(0).result();
    assert_eq!(snapshots.as_array().unwrap().len(), 4);
    let id = text(&third["snapshot"]);
    let target = sandbox.path("target");
    let target = target.to_str().unwrap();
    for words in [
        &["restore", "latest", target][..],
        &["restore", "--verify", id, target],
        &["ls", id],
        &["find", "*"],
        &["cat", "file", id, "/etc/passwd"],
        &["diff", id, text(&first["snapshot"])],
        &["check", "--read-data"],
        &["forget", "--keep-last", "1"],
    ] {
        client.obnam(&sandbox, words).expect(12).says(&["this client may not", "client list"]);
    }
    assert!(!Path::new(target).exists());
    for words in [
        &["client", "add", "other", "--generate-passphrase"][..],
        &["client", "remove", "laptop"],
        &["client", "rotate"],
    ] {
        client.obnam(&sandbox, words).expect(12).says(&["does not hold the root key"]);
    }
    client.obnam(&sandbox, &["check"]).expect(0);
    client.obnam(&sandbox, &["stats"]).expect(0);
    client.obnam(&sandbox, &["tag", "--add", "mine", id]).expect(0);
    let listed = client.obnam(&sandbox, &["client", "list"]).expect(0).text();
    assert!(listed.contains("write-only") && listed.contains("this client"), "{listed}");

    // Who can read restores all of it.
    sandbox.back_to_machine(1);
    let restored = sandbox.restore(id);
    tree::assert_same(&sandbox.source(), &restored);
    assert!(sandbox.check(0).is_empty());
}

#[test]
fn nobody_relies_on_a_write_only_client_unless_told_to() {
    let sandbox = Sandbox::with_repository();
    let client = add(&sandbox, &["laptop", "--write-only"]);
    let other = add(&sandbox, &["other", "--write-only"]);
    fill(&sandbox.source(), 1);
    sandbox.next_machine();
    client.back_up(&sandbox);
    let new = |backup: Value| backup["statistics"]["new_bytes"].as_u64().unwrap();
    sandbox.next_machine();
    assert!(new(other.back_up(&sandbox)) > 1_200_000);
    sandbox.back_to_machine(1);
    assert!(new(sandbox.back_up()) > 1_200_000);
    // Told to, it does.
    fill(&sandbox.source(), 2);
    sandbox.back_to_machine(2);
    client.back_up(&sandbox);
    sandbox.back_to_machine(3);
    let trust = |words: &[&str]| sandbox.obnam([&["--json", "client", "trust"], words].concat());
    sandbox.back_to_machine(1);
    assert_eq!(trust(&["other", "laptop"]).expect(0).result()["trusts"], json!([client.tag]));
    sandbox.back_to_machine(3);
    assert!(new(other.back_up(&sandbox)) < 50_000);
    sandbox.back_to_machine(1);
    assert_eq!(trust(&["other", "--nobody"]).expect(0).result()["trusts"], json!([]));
    let listed = sandbox.obnam(args!["client", "list"]).expect(0).text();
    assert!(listed.contains("trusts nobody"), "{listed}");
    assert_eq!(trust(&["other", "--default"]).expect(0).result()["trusts"], Value::Null);
    for (words, code) in [
        (&["other"][..], 2),
        (&["other", "--nobody", "--default"], 2),
        (&["other", "nobody"], 17),
        (&["x", "other"], 17),
    ] {
        trust(words).expect(code);
    }
}

#[test]
fn a_full_client_restores_and_governs_nothing() {
    let sandbox = Sandbox::with_repository();
    fill(&sandbox.source(), 1);
    let first = sandbox.back_up();
    let sheet = run(sandbox.command(args!["client", "add", "desktop"]).env("OBNAM_NEW_PASSPHRASE", "of the desktop"))
        .expect(0)
        .text();
    assert!(
        sheet.contains("client desktop (full)") && sheet.contains("Recovery sheet of the client desktop"),
        "{sheet}"
    );
    assert!(!sheet.contains("of the desktop"), "a passphrase that the user gave is shown");
    let restore = sheet.lines().find(|line| line.ends_with("restore latest TARGET")).unwrap().trim();
    sandbox.next_machine();
    let words: Vec<&str> =
        restore.split(' ').skip(1).map(|word| if word == "TARGET" { "target" } else { word }).collect();
    run(sandbox.bare().args(words).env("OBNAM_PASSPHRASE", "of the desktop")).expect(0);
    tree::assert_same(&sandbox.source(), &below(&sandbox.path("target"), &sandbox.source()));
    let mut forget = sandbox.bare();
    forget
        .arg("--repo")
        .arg(sandbox.location())
        .args(["forget", "--keep-last", "1"])
        .env("OBNAM_PASSPHRASE", "of the desktop");
    run(&mut forget).expect(12).says(&["may not forget"]);

    sandbox.back_to_machine(1);
    let maintainer = add(&sandbox, &["nas", "--maintainer"]);
    sandbox.back_up();
    sandbox.next_machine();
    maintainer.obnam(&sandbox, &["forget", text(&first["snapshot"])]).expect(0);
    sandbox.back_to_machine(1);
    assert_eq!(sandbox.snapshots().len(), 1);
    let roles: Vec<_> = list(&sandbox).iter().map(|one| one["role"].clone()).collect();
    assert_eq!(roles, ["maintainer", "full", "maintainer"]);
}

#[test]
fn a_removed_client_is_told_and_its_history_stays() {
    let sandbox = Sandbox::with_repository();
    fill(&sandbox.source(), 1);
    sandbox.back_up();
    let client = add(&sandbox, &["laptop"]);
    sandbox.next_machine();
    fill(&sandbox.source(), 2);
    let kept = client.back_up(&sandbox);
    sandbox.back_to_machine(1);
    let removed = sandbox.obnam(args!["--json", "client", "remove", "laptop"]).expect(0).result();
    assert_eq!((&removed["last"], &removed["client"]["tag"]), (&kept["snapshot"], &json!(client.tag)));
    // It is told, also on a machine that knows nothing.
    sandbox.back_to_machine(2);
    client
        .obnam(&sandbox, &["backup", "."])
        .expect(12)
        .says(&["no member of the repository any more", "another credential"]);
    sandbox.next_machine();
    client.obnam(&sandbox, &["snapshots"]).expect(12).says(&["no member of the repository any more"]);
    sandbox.back_to_machine(1);
    let restored = sandbox.restore(text(&kept["snapshot"]));
    tree::assert_same(&sandbox.source(), &restored);
    assert!(sandbox.check(0).is_empty());
    let laptop = &list(&sandbox)[1];
    assert_eq!((&laptop["removed"]["last"], &laptop["snapshots"]), (&kept["snapshot"], &json!(1)));
    // The keys are new, but nothing that the others have is stored again; a new client of the same name starts afresh.
    fs::write(sandbox.source().join("small"), "small").unwrap();
    let own = sandbox.back_up();
    assert!(
        own["statistics"]["new_bytes"].as_u64().unwrap() > 1_200_000,
        "what the removed one stored is not relied on"
    );
    assert!(own["statistics"]["new_bytes"].as_u64().unwrap() < 1_300_000, "{own}");
    let again = add(&sandbox, &["laptop"]);
    assert_ne!(again.tag, client.tag);
    sandbox.next_machine();
    let unchanged = again.back_up(&sandbox);
    assert!(unchanged["statistics"]["new_bytes"].as_u64().unwrap() < 20_000, "{unchanged}");
    sandbox.back_to_machine(1);
    assert!(sandbox.check(0).is_empty());
    sandbox.assert_restores();
}

#[test]
fn what_makes_no_sense_is_told_and_changes_nothing() {
    let sandbox = Sandbox::with_repository();
    add(&sandbox, &["laptop"]);
    let before = sandbox.chunks();
    let long = "x".repeat(65);
    for (words, code, said) in [
        (&["add", "laptop", "--generate-passphrase"][..], 17, "there is a client \"laptop\" already"),
        (&["add", "", "--generate-passphrase"], 17, "is no name"),
        (&["add", " x", "--generate-passphrase"], 17, "is no name"),
        (&["add", "a\nb", "--generate-passphrase"], 17, "is no name"),
        (&["add", &long, "--generate-passphrase"], 17, "is no name"),
        (&["add", "x"], 17, "--generate-passphrase"),
        (&["add"], 2, "NAME"),
        (&["add", "x", "--recipient", "age1x"], 17, "neither a public key of age"),
        (&["add", "x", "--write-only", "--maintainer"], 2, "cannot be used with"),
        (&["add", "x", "--generate-passphrase", "--preset", "backup"], 17, "knows no tokens"),
        (&["remove", "x"], 17, "there is no client \"x\""),
        (&["remove", "laptop", "--last", "abcdef"], 17, "is no snapshot of the client"),
        (&["rotate", "x", "--generate-passphrase"], 17, "there is no client \"x\""),
        (&["rotate"], 17, "--generate-passphrase"),
    ] {
        let ran = sandbox.obnam([&["client"], words].concat());
        ran.expect(code).says(&[said]);
    }
    let own = list(&sandbox)[0]["tag"].clone();
    sandbox.obnam(args!["client", "remove", text(&own)]).expect(17).says(&["cannot remove itself"]);
    assert_eq!(sandbox.chunks(), before);
}

#[test]
fn new_keys_for_a_client_that_is_open() {
    let sandbox = Sandbox::with_repository();
    fill(&sandbox.source(), 1);
    let first = sandbox.back_up();
    let rotated = sandbox.obnam(args!["--json", "client", "rotate", "--generate-passphrase"]).expect(0).result();
    let client = Client::of(&rotated);
    assert_eq!(rotated["client"]["role"], "maintainer");
    // The identity file opens the old keys, which are out of use.
    sandbox.obnam(args!["snapshots"]).expect(12).says(&["given it new keys"]);
    // On this machine the credential need not be named.
    let mut command = sandbox.bare();
    command.env("OBNAM_PASSPHRASE", &client.passphrase).arg("--repo").arg(sandbox.location()).arg("snapshots");
    run(&mut command).expect(0);
    let second = client.back_up(&sandbox);
    assert!(second["statistics"]["new_bytes"].as_u64().unwrap() > 1_200_000, "what the old keys said is not relied on");
    let third = client.back_up(&sandbox);
    assert!(third["statistics"]["new_bytes"].as_u64().unwrap() < 20_000, "{third}");
    // It still holds the root key, and reads what was there before.
    client.obnam(&sandbox, &["client", "add", "x", "--generate-passphrase"]).expect(0);
    let target = sandbox.path("target");
    client.obnam(&sandbox, &["restore", text(&first["snapshot"]), target.to_str().unwrap()]).expect(0);
    tree::assert_same(&sandbox.source(), &below(&target, &sandbox.source()));
    client.obnam(&sandbox, &["check", "--read-data"]).expect(0);
}

#[test]
fn new_keys_for_another_client() {
    let sandbox = Sandbox::with_repository();
    let old = add(&sandbox, &["laptop", "--write-only"]);
    fill(&sandbox.source(), 1);
    sandbox.next_machine();
    let first = old.back_up(&sandbox);
    sandbox.back_to_machine(1);
    let words = args!["--json", "client", "rotate", "laptop", "--generate-passphrase"];
    let rotated = sandbox.obnam(words).expect(0).result();
    assert_eq!(rotated["client"]["role"], "write-only");
    let new = Client::of(&rotated);
    sandbox.back_to_machine(2);
    old.obnam(&sandbox, &["backup", "."]).expect(12).says(&["given it new keys"]);
    let second = new.back_up(&sandbox);
    let third = new.back_up(&sandbox);
    assert!(third["statistics"]["new_bytes"].as_u64().unwrap() < 20_000, "{third}");
    sandbox.back_to_machine(1);
    for snapshot in [&first, &second, &third] {
        let restored = sandbox.restore(text(&snapshot["snapshot"]));
        tree::assert_same(&sandbox.source(), &restored);
        sandbox.discard(&restored);
    }
    assert!(sandbox.check(0).is_empty());
    let names: Vec<_> = list(&sandbox).iter().map(|one| (one["name"].clone(), one["removed"].is_null())).collect();
    assert_eq!(names[1..], [(json!("laptop"), false), (json!("laptop"), true)]);
}

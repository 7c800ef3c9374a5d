//! Identities that are not age's own: SSH keys and age plugins.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use obnam_tests::terminal::on_a_terminal;
use obnam_tests::{Ran, Sandbox, args, chmod, run};
use serde_json::Value;

/// Keys that open nothing but the repositories of these tests.
const PLAIN: &str = "\
-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACAQoK8y0suqHT+fiXgcQQMkup7gfcm/46Y9UXoOtRhXywAAAIjrWgUJ61oF
CQAAAAtzc2gtZWQyNTUxOQAAACAQoK8y0suqHT+fiXgcQQMkup7gfcm/46Y9UXoOtRhXyw
AAAEA3F5qitA9CciiMID3a8iwtRHPbAXtLlORvFjXs+6PERRCgrzLSy6odP5+JeBxBAyS6
nuB9yb/jpj1Reg61GFfLAAAABHRlc3QB
-----END OPENSSH PRIVATE KEY-----
";
const PLAIN_PUBLIC: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBCgrzLSy6odP5+JeBxBAyS6nuB9yb/jpj1Reg61GFfL";
const LOCKED: &str = "\
-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABCq22bmTF
ZTvcOis/uZuO1qAAAAEAAAAAEAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIGoojnVe/tAfRjnp
gU9FH0kPa4ecPi9qZwBhR4nond/EAAAAkANrWZjHFkd/r1CXdi7VKczgCOuyFB6ME0FgNY
MbmoO08k2OkwbZ57+s6JZR5v0S/uuQF4AZ+yUIoLBRW6dE36PHghDwpy3TOK5BdoV3II3x
heGtLVfG8Hhe+DgKk3TdNYTbiXvG8NZPeqL9pin00QGzKBz80WNaqm2iXzQl9w2kEYpzs7
7oUzdchAO8mZPYng==
-----END OPENSSH PRIVATE KEY-----
";
const LOCKED_PASSPHRASE: &str = "words of the key";
const RSA: &str = "\
-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAABFwAAAAdzc2gtcn
NhAAAAAwEAAQAAAQEAm5E8qM65jmeWRWzlNFx2HOiCEz3viq9yzY8n+TGvu5zyh7RwioUU
Ej3EnWUDzmu10XLtssFR4vhhOSml7+CrhFbvjyaXus/PMHGHTbGCG7q3/300tXVCTsaWCJ
zpS6h6OW0LQ9Kqfvs4VoiG8nr0vHSz5LszcR2POIU8udO4pX3N8qP5ZbmJJQTWJWYL+PGZ
pp48RqmVtufaJ6l9xTTYy4/IgKhdODNMGbaODGvRaRDUYh/9ClHpiXt63MoOhKlRD1Dmzf
YwIssuKPQkJrgNZdhHmjhNUvaNQxgWDME5eMGk79J+wSZbnw2Pc/m6uylRA+RbDRxjfGfR
6jCzCpbVYQAAA8B2tZ/KdrWfygAAAAdzc2gtcnNhAAABAQCbkTyozrmOZ5ZFbOU0XHYc6I
ITPe+Kr3LNjyf5Ma+7nPKHtHCKhRQSPcSdZQPOa7XRcu2ywVHi+GE5KaXv4KuEVu+PJpe6
z88wcYdNsYIburf/fTS1dUJOxpYInOlLqHo5bQtD0qp++zhWiIbyevS8dLPkuzNxHY84hT
y507ilfc3yo/lluYklBNYlZgv48ZmmnjxGqZW259onqX3FNNjLj8iAqF04M0wZto4Ma9Fp
ENRiH/0KUemJe3rcyg6EqVEPUObN9jAiyy4o9CQmuA1l2EeaOE1S9o1DGBYMwTl4waTv0n
7BJlufDY9z+bq7KVED5FsNHGN8Z9HqMLMKltVhAAAAAwEAAQAAAP8OszC/C+5MAHGgZvL4
eZNyrfOEP3qT6W375jXIYogHxLR7i/8WbRtHqi0CaUw77AoFRr6En48dUR4n5xzrjdVqSm
s0D320o0OzyhK11wP6djyjnp7ihqvuGwaMQ7U1iWCt9BnHEfBHZMsSnyleOkAi/Go0Dlfa
QBVg4FrEQKsZorxI0Z7rWISZBQoMVTrdZrvy93NHsauYX63YC4daFEwZDVonL0Q8w9GZGW
W19LDKFUoI9zLHnl/GhNdEcQwqPryCju0Y8M4fbUnYe+A+J+T0IP+bCrXLh3INzasw3NtX
s9fJEaZUjTZm+JNPa4aVldusD9EEh1Vq1zXP0otbNDEAAACBAIjxsiEIS64e64yHSKcskO
f8e47xfF4PJ3N1tnaOycvnIhPEYI0/UMbihPbfH1bUT7Rg9Tg7FtfT2mdSobJLM26GjFMW
3ZeJ/gLKsSfji1Z3dIo1knGIviO7Q+AJaUOQW9+MYD5mMqVgfCi8CiLEp/6vRU1OxAEe7D
ZaFELt3wfHAAAAgQDNgMe+XtcdGxI48EzlHqZdxbnlqAEORl9dgCGzP2hQ1MiRT6+ljCOc
1L28eDCncUJWxc9Ics0mmI3yJTU5cKrtlk2BXpXw8mLVEFElLjnxJVSc+QdrBqVPNSSaqJ
NxELjH+gvrFcw02ys9Z4DVP8KdNjgoEQKcOZgH4iikYDqVBwAAAIEAwcs8+0c9Cd10cKWR
rFGZDVXywd4jgt3s5C15Q815kS0IgBsqMrPKjjMx0A/9d8A/jHxj56oVx1ZX5K4Kce8iNC
zS8CIr3EAX5teErrak+VRs/hGlerOczo/aMmGUFNkLb3s+cbZS5TznF6Ozk8xd/SxAurXt
vsL7iq9/P6wEUFcAAAAEdGVzdAECAwQFBgc=
-----END OPENSSH PRIVATE KEY-----
";
const ECDSA: &str = "\
-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAaAAAABNlY2RzYS
1zaGEyLW5pc3RwMjU2AAAACG5pc3RwMjU2AAAAQQQaEIrFwRkn6YesrpBCsCunI9mvDlkO
ZLpZWQL8vsKzB+veia0GQf6PKSxN7AsTrJhbeAikd14wTgmLvXC33jKSAAAAoM0sKcvNLC
nLAAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBBoQisXBGSfph6yu
kEKwK6cj2a8OWQ5kullZAvy+wrMH696JrQZB/o8pLE3sCxOsmFt4CKR3XjBOCYu9cLfeMp
IAAAAhAMvj7MFtEv+YO5A1wbc2cizdi3ZIWyp9hRLzWFwS8m/KAAAABHRlc3QBAgM=
-----END OPENSSH PRIVATE KEY-----
";

/// A file that only its owner may read.
fn file(sandbox: &Sandbox, name: &str, text: &str) -> PathBuf {
    let path = sandbox.path(name);
    fs::write(&path, text).unwrap();
    chmod(&path, 0o600);
    path
}

/// The program with the sandbox's repository and this identity.
fn with(sandbox: &Sandbox, identity: &str, words: &[&str]) -> Command {
    let mut command = sandbox.bare();
    command.arg("--repo").arg(sandbox.repository()).arg("--identity").arg(sandbox.path(identity)).args(words);
    command
}

fn add(sandbox: &Sandbox, words: &[&str]) -> Value {
    sandbox.obnam([&["--json", "credential", "add"], words].concat()).expect(0).result()
}

#[test]
fn an_ssh_key_opens_what_was_sealed_for_it() {
    let sandbox = Sandbox::with_repository();
    fs::write(sandbox.source().join("file"), "file").unwrap();
    sandbox.back_up();
    file(&sandbox, "ssh", PLAIN);
    run(&mut with(&sandbox, "ssh", &["snapshots"])).expect(12).says(&["wrong identity"]);
    // By the line of a .pub file, where the private key need not be.
    let added = add(&sandbox, &["--recipient", PLAIN_PUBLIC]);
    assert_eq!(added["kind"], "identity");
    let listed = sandbox.obnam(args!["--json", "credential", "list"]).expect(0).result();
    let listed = listed["credentials"].as_array().unwrap();
    let key_of = |id: &Value| &listed.iter().find(|one| one["id"] == *id).unwrap()["key"];
    assert_eq!((listed.len(), key_of(&added["credential"])), (2, &"ssh-ed25519".into()));
    assert!(listed.iter().any(|one| one["key"] == "X25519"), "{listed:?}");
    assert!(sandbox.obnam(args!["credential", "list"]).expect(0).text().contains("  ssh-ed25519  "));
    sandbox.next_machine();
    run(&mut with(&sandbox, "ssh", &["snapshots"])).expect(0).says(&["compare the repository id"]);
    sandbox.next_machine();
    let id = added["credential"].as_str().unwrap();
    run(&mut with(&sandbox, "ssh", &["--credential", id, "check"])).expect(0);
    sandbox.back_to_machine(1);
    sandbox.obnam(args!["credential", "remove", id]).expect(0);
    sandbox.next_machine();
    run(&mut with(&sandbox, "ssh", &["snapshots"])).expect(12);
}

#[test]
fn an_ssh_key_is_all_that_a_repository_needs() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.source().join("file"), "file").unwrap();
    let path = file(&sandbox, "ssh", PLAIN);
    run(&mut with(&sandbox, "ssh", &["init"])).expect(0);
    assert_eq!(fs::read_to_string(path).unwrap(), PLAIN, "it is not written anew");
    run(with(&sandbox, "ssh", &["backup"]).arg(sandbox.source())).expect(0);
    // A client of its own, and new keys for it.
    file(&sandbox, "other", LOCKED);
    let words = ["client", "add", "desk", "--new-identity", sandbox.path("other").to_str().unwrap()].map(str::to_owned);
    run(with(&sandbox, "ssh", &[]).args(&words)).expect(0);
    run(with(&sandbox, "ssh", &["client", "rotate", "desk", "--recipient"]).arg(PLAIN_PUBLIC)).expect(0);
    chmod(&sandbox.path("ssh"), 0o644);
    run(&mut with(&sandbox, "ssh", &["snapshots"])).expect(12).says(&["may be read by others", "chmod 600"]);
}

#[test]
fn a_locked_ssh_key_is_unlocked_on_a_terminal() {
    let sandbox = Sandbox::with_repository();
    let path = file(&sandbox, "locked", LOCKED);
    // Its public half is not locked.
    let added = add(&sandbox, &["--new-identity", path.to_str().unwrap()]);
    let mut snapshots = with(&sandbox, "locked", &["--credential", added["credential"].as_str().unwrap(), "snapshots"]);
    run(&mut snapshots).expect(12).says(&["passphrase of its own", "no terminal", "--new-identity"]);
    let said = on_a_terminal(&mut snapshots, &format!("{LOCKED_PASSPHRASE}\r\n"));
    assert!(said.contains("Passphrase of the SSH key") && said.contains("0 snapshots"), "{said}");
    let said = on_a_terminal(&mut snapshots, "other words\r\n");
    assert!(said.contains("wrong passphrase: it does not open the SSH key"), "{said}");
    // Looking over a configuration asks for nothing.
    let config = format!("[profile.default]\nrepository = {:?}\nidentity = {path:?}\n", sandbox.repository());
    fs::write(sandbox.path("config.toml"), config).unwrap();
    run(sandbox.bare().args(["--config", "config.toml", "config", "check"])).expect(0);
}

#[test]
fn other_ssh_keys_are_refused() {
    let sandbox = Sandbox::with_repository();
    for (kind, key) in [("ssh-rsa", RSA), ("ecdsa-sha2-nistp256", ECDSA)] {
        let path = file(&sandbox, kind, key);
        run(&mut with(&sandbox, kind, &["snapshots"])).expect(12).says(&[kind, "ssh-keygen -t ed25519"]);
        sandbox.obnam(args!["credential", "add", "--new-identity", path]).expect(12).says(&[kind]);
        let public = format!("{kind} AAAA");
        sandbox
            .obnam(args!["credential", "add", "--recipient", public])
            .expect(17)
            .says(&["only those of the kind ssh-ed25519"]);
    }
    let broken = PLAIN.replace("b3BlbnNz", "AAAAAAAA");
    file(&sandbox, "broken", &broken);
    run(&mut with(&sandbox, "broken", &["snapshots"])).expect(12).says(&["holds no identity"]);
    file(&sandbox, "public", PLAIN_PUBLIC);
    run(&mut with(&sandbox, "public", &["snapshots"])).expect(12).says(&["holds no identity"]);
    sandbox.obnam(args!["credential", "add", "--recipient", "age1x"]).expect(17).says(&["neither", "ssh-ed25519"]);
}

/// An age plugin: its recipient and identity are names, and its wrapping is none to rely on. It writes down when it runs.
const PLUGIN: &str = r#"#!/usr/bin/env python3
import base64, os, sys

def read():
    words = sys.stdin.readline().rstrip("\n").split(" ")
    body = ""
    while True:
        line = sys.stdin.readline().rstrip("\n")
        body += line
        if len(line) < 64:
            return words[1:], base64.b64decode(body + "=" * (-len(body) % 4))

def write(words, body=b""):
    text = base64.b64encode(body).decode().rstrip("=")
    lines = [text[at:at + 64] for at in range(0, len(text), 64)] or [""]
    if len(lines[-1]) == 64:
        lines.append("")
    print("-> " + " ".join(words) + "\n" + "\n".join(lines), flush=True)

def say(words, body=b""):
    write(words, body)
    return read()

machine = sys.argv[1].removeprefix("--age-plugin=")
folder = os.path.dirname(os.path.realpath(__file__))
with open(folder + "/runs", "a") as runs:
    runs.write(machine + "\n")
commands = []
while True:
    words, body = read()
    if words[0] == "done":
        break
    commands.append((words, body))
if os.path.exists(folder + "/broken"):
    say(["error", "internal"], b"the key is \x1b[31mnot plugged in")
elif machine == "recipient-v1":
    for words, body in commands:
        if words[0] == "wrap-file-key":
            say(["recipient-stanza", "0", "obnamtest"], bytes(byte ^ 0x55 for byte in body))
else:
    for words, body in commands:
        if words[0] == "recipient-stanza" and words[2] == "obnamtest":
            say(["msg"], b"touch the key")
            say(["file-key", "0"], bytes(byte ^ 0x55 for byte in body))
write(["done"])
"#;
const RECIPIENT: &str = "age1obnamtest1dahx2p5mfqx";
const IDENTITY: &str = "AGE-PLUGIN-OBNAMTEST-1DAHX2RWFWWZ";

/// Puts the plugin into a directory of the sandbox.
fn install(sandbox: &Sandbox) {
    fs::create_dir(sandbox.path("bin")).unwrap();
    fs::write(sandbox.path("bin/age-plugin-obnamtest"), PLUGIN).unwrap();
    chmod(&sandbox.path("bin/age-plugin-obnamtest"), 0o755);
    file(sandbox, "plugin", &format!("# made by a test\n{IDENTITY}\n"));
}

/// Runs with the plugin in the PATH.
fn run_with_plugin(sandbox: &Sandbox, command: &mut Command) -> Ran {
    let path = format!("{}:{}", sandbox.path("bin").display(), std::env::var("PATH").unwrap());
    run(command.env("PATH", path))
}

/// What the plugin was run for, once.
fn runs(sandbox: &Sandbox) -> String {
    let runs = fs::read_to_string(sandbox.path("bin/runs")).unwrap_or_default();
    let _ = fs::remove_file(sandbox.path("bin/runs"));
    runs
}

#[test]
fn an_age_plugin_opens_what_was_sealed_for_it() {
    let sandbox = Sandbox::with_repository();
    install(&sandbox);
    let path = sandbox.path("plugin");
    let add = args!["credential", "add", "--recipient", RECIPIENT];
    sandbox.obnam(&add).expect(12).says(&["age-plugin-obnamtest", "PATH"]);
    run(&mut with(&sandbox, "plugin", &["snapshots"])).expect(12).says(&["age-plugin-obnamtest", "install it"]);
    // No credential is for it yet: it is not asked.
    run_with_plugin(&sandbox, &mut with(&sandbox, "plugin", &["snapshots"]))
        .expect(12)
        .says(&["wrong identity", "--credential ID"]);
    assert_eq!(runs(&sandbox), "");
    let json = args!["--json", "credential", "add", "--recipient", RECIPIENT];
    let added = run_with_plugin(&sandbox, &mut sandbox.command(json)).expect(0).result();
    assert_eq!(runs(&sandbox), "recipient-v1\n");
    let named = ["--credential", added["credential"].as_str().unwrap(), "snapshots"];
    run_with_plugin(&sandbox, &mut with(&sandbox, "plugin", &named)).expect(0).says(&["touch the key"]);
    assert_eq!(runs(&sandbox), "identity-v1\n");
    // A machine that knows none of them asks it about the one that may be for it.
    sandbox.next_machine();
    run_with_plugin(&sandbox, &mut with(&sandbox, "plugin", &["snapshots"])).expect(0);
    assert_eq!(runs(&sandbox), "identity-v1\n");
    // The public half of an identity is known to its plugin alone.
    sandbox.back_to_machine(1);
    let desk = args!["client", "add", "desk", "--new-identity", path];
    run_with_plugin(&sandbox, &mut sandbox.command(desk)).expect(0);
    assert_eq!(runs(&sandbox), "recipient-v1\n");
    // The key is not plugged in.
    fs::write(sandbox.path("bin/broken"), "").unwrap();
    run_with_plugin(&sandbox, &mut sandbox.command(&add)).expect(12).says(&["not plugged in"]);
    sandbox.back_to_machine(2);
    let ran = run_with_plugin(&sandbox, &mut with(&sandbox, "plugin", &["snapshots"])).expect(12);
    assert!(ran.stderr.contains("not plugged in") && !ran.stderr.contains('\x1b'), "{}", ran.stderr);
    sandbox.next_machine();
    run_with_plugin(&sandbox, &mut with(&sandbox, "plugin", &["snapshots"])).expect(12).says(&["not plugged in"]);
    fs::write(sandbox.path("bin/age-plugin-obnamtest"), "#!/bin/sh\nexit 1\n").unwrap();
    run_with_plugin(&sandbox, &mut with(&sandbox, "plugin", &["snapshots"]))
        .expect(12)
        .says(&["age plugin has failed"]);
}

#[test]
fn an_age_plugin_is_all_that_a_repository_needs() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.source().join("file"), "file").unwrap();
    install(&sandbox);
    run_with_plugin(&sandbox, &mut with(&sandbox, "plugin", &["init"])).expect(0);
    run_with_plugin(&sandbox, with(&sandbox, "plugin", &["backup"]).arg(sandbox.source())).expect(0);
    sandbox.next_machine();
    run_with_plugin(&sandbox, &mut with(&sandbox, "plugin", &["check", "--read-data"])).expect(0);
}

/// Somebody who may store anything, and makes credentials that look as if they were for the plugin.
#[test]
fn a_plugin_is_not_run_without_end() {
    let sandbox = Sandbox::with_repository();
    install(&sandbox);
    run_with_plugin(&sandbox, &mut sandbox.command(args!["credential", "add", "--recipient", RECIPIENT])).expect(0);
    runs(&sandbox);
    let header = |kind: &str| format!("age-encryption.org/v1\n-> {kind}\n{}\n--- {}\n", "A".repeat(22), "A".repeat(43));
    for number in 0..40 {
        for kind in [format!("other{number}"), format!("X25519 {}", "A".repeat(43)), format!("x{number}-grease")] {
            obnam_tests::chunks::add(&sandbox.repository(), "credential", header(&kind).as_bytes());
        }
    }
    sandbox.next_machine();
    run_with_plugin(&sandbox, &mut with(&sandbox, "plugin", &["snapshots"]));
    let count = runs(&sandbox).lines().count();
    assert!(count <= 16, "{count} runs");
}

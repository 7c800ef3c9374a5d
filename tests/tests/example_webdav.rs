//! The example of a plugin for WebDAV (`plugins/examples/webdav`), with two servers that others wrote.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use obnam_tests::tree::{self, Random};
use obnam_tests::webdav::{PASSWORD, USER, WebDav};
use obnam_tests::{Remote, Sandbox, args, run};

fn plugin() -> &'static Path {
    Path::new(env!("GUEST_WEBDAV"))
}

/// The conformance suite, as authors run it.
fn keeps_the_contract(server: &WebDav) {
    // A folder that has to be made, with a name that has to be encoded.
    let sandbox = Sandbox::at(server.remote(plugin(), "My%20b%C3%BCcher"));
    let ran = run(sandbox.bare().args(args!["plugin", "test", plugin(), "--location", sandbox.location()]));
    let table = ran.expect(0).text();
    assert!(table.lines().count() > 30 && table.lines().all(|line| !line.starts_with("BROKEN")), "{table}");
}

#[test]
fn it_keeps_the_contract_with_wsgidav() {
    keeps_the_contract(&WebDav::wsgidav());
}

#[test]
fn it_keeps_the_contract_with_apache() {
    keeps_the_contract(&WebDav::apache());
}

/// What the plugin finds out about the place has these words in it.
fn finds(sandbox: &Sandbox, words: &[&str]) {
    let found = sandbox.obnam(args!["check", "--store"]).expect(0).text();
    assert!(words.iter().all(|word| found.contains(word)), "{found}");
}

fn round(server: &WebDav) {
    let sandbox = Sandbox::at(server.remote(plugin(), "backups"));
    sandbox.obnam(args!["init"]).expect(0);
    tree::small_files(&sandbox.source(), 200, 1);
    Random(2).write_file(&sandbox.source().join("large"), 40_000_000);
    sandbox.back_up();
    fs::write(sandbox.source().join("new"), "new").unwrap();
    sandbox.back_up();
    sandbox.next_machine();
    assert_eq!(sandbox.snapshots().len(), 2);
    sandbox.assert_restores();
    assert!(sandbox.check(0).is_empty());
    sandbox.obnam(args!["init"]).expect(11);
    finds(&sandbox, &["never replaces", "parts of files can be read", "WebDAV has no word for it"]);

    // Each chunk is a file with nothing but its bytes.
    let chunks = sandbox.chunks();
    for (label, id, size) in &chunks {
        let file = server.root.join("backups").join(label).join(&id[..2]).join(id);
        assert_eq!(fs::metadata(file).unwrap().len(), *size);
    }
    let (label, id, _) = chunks.iter().find(|(label, _, _)| label == "data").unwrap();
    fs::remove_file(server.root.join("backups").join(label).join(&id[..2]).join(id)).unwrap();
    assert!(!sandbox.check(4).is_empty());
}

#[test]
fn a_round_with_wsgidav() {
    round(&WebDav::wsgidav());
}

#[test]
fn a_round_with_apache() {
    round(&WebDav::apache());
}

#[test]
fn mistakes_are_explained() {
    let mut server = WebDav::wsgidav();
    let place = server.remote(plugin(), "backups");
    let sandbox = Sandbox::at(place.clone());
    let says = |remote: Remote, command: &str, code: i32, words: &[&str]| {
        sandbox.go_to(remote);
        let ran = sandbox.obnam(args![command]).expect(code).says(words);
        assert!(!ran.all().contains(PASSWORD), "{}", ran.all());
    };
    let at = |location: String| Remote { location, ..place.clone() };
    let unprepared = ["no file OBNAM-CHUNK-STORE", "obnam init"];
    says(place.clone(), "snapshots", 10, &unprepared);
    says(at(format!("dav:{}/a/b/c", server.url)), "snapshots", 10, &unprepared);
    says(at(format!("dav:{}/a/b/c", server.url)), "init", 10, &["neither this folder nor the one above"]);
    says(place.clone(), "init", 0, &[]);
    fs::create_dir_all(server.root.join("other/folder")).unwrap();
    says(at(format!("dav:{}/other", server.url)), "init", 11, &["not empty", "folder"]);

    let user = ("OBNAM_PLUGIN_WEBDAV_USER", USER.to_owned());
    let wrong = ("OBNAM_PLUGIN_WEBDAV_PASSWORD", "guessed".to_owned());
    let knows = |environment: &[(&'static str, String)]| Remote { environment: environment.to_vec(), ..place.clone() };
    says(knows(&[user.clone(), wrong]), "snapshots", 13, &["does not accept user and password"]);
    says(knows(&[]), "snapshots", 13, &["wants a user and a password", "OBNAM_PLUGIN_WEBDAV_PASSWORD"]);
    says(knows(&[user]), "snapshots", 17, &["no password"]);
    says(at("dav:http://192.0.2.1/backups".into()), "snapshots", 13, &["not encrypted", "--plain-http"]);
    says(at(format!("dav:http://{USER}:{PASSWORD}@127.0.0.1/x")), "snapshots", 17, &["do not stand in a location"]);
    says(at("dav:127.0.0.1/x".into()), "snapshots", 17, &["dav:https://HOST"]);
    server.server.kill();
    says(place.clone(), "snapshots", 13, &["connection refused"]);
}

#[test]
fn what_interrupted_backups_leave_is_ignored_then_removed() {
    let server = WebDav::wsgidav();
    let sandbox = Sandbox::at(server.remote(plugin(), "backups"));
    sandbox.obnam(args!["init"]).expect(0);
    tree::small_files(&sandbox.source(), 20, 1);
    sandbox.back_up();
    let before = sandbox.chunks();
    let incoming = server.root.join("backups/OBNAM-INCOMING");
    let (old, young) = (incoming.join("0123456789abcdef"), incoming.join("fedcba9876543210"));
    for file in [&old, &young] {
        fs::write(file, "half a chu").unwrap();
    }
    let day_before_yesterday = SystemTime::now() - Duration::from_secs(2 * 24 * 60 * 60);
    File::options().write(true).open(&old).unwrap().set_modified(day_before_yesterday).unwrap();
    fs::write(server.root.join("backups/notes.txt"), "mine").unwrap();
    assert_eq!(sandbox.chunks(), before);
    finds(&sandbox, &["left files in OBNAM-INCOMING/: 1", "notes.txt", "not Obnam's"]);
    fs::write(sandbox.source().join("new"), "new").unwrap();
    sandbox.back_up();
    assert!(!old.exists() && young.exists());
    sandbox.assert_restores();
}

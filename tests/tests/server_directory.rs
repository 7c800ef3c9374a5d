//! The program with a server that keeps chunks in a directory, and with that directory alone.

#![allow(clippy::unwrap_used)]

use std::fs;

use obnam_tests::server::Server;
use obnam_tests::tree::{self, Random};
use obnam_tests::{Plugin, Remote, Sandbox, args};

#[test]
fn what_the_server_keeps_opens_without_it() {
    let mut server = Server::in_directory();
    server.tenant("alice");
    let alice = server.remote("alice", &server.token("alice", &["--preset", "all"]));
    let sandbox = Sandbox::at(alice.clone());
    sandbox.obnam(args!["init"]).expect(0);
    tree::small_files(&sandbox.source().join("small"), 300, 1);
    Random(2).write_file(&sandbox.source().join("large"), 40_000_000);
    sandbox.back_up();
    sandbox.assert_restores();
    assert!(sandbox.check(0).is_empty());
    sandbox.obnam(args!["check", "--store"]).expect(0);
    sandbox.obnam(args!["init"]).expect(11);

    // The disk in another computer, which has no server.
    server.kill();
    let alone = Remote {
        location: server.storage("alice").to_str().unwrap().to_owned(),
        environment: Vec::new(),
        options: Vec::new(),
        plugin: Plugin::Local,
    };
    sandbox.go_to(alone);
    sandbox.next_machine();
    sandbox.assert_restores();
    assert!(sandbox.check(0).is_empty());
    let found = sandbox.obnam(args!["--json", "check", "--store"]).expect(0).result();
    assert!(!found.to_string().contains("foreign-file") && !found.to_string().contains("unfinished"), "{found}");
    fs::write(sandbox.source().join("later"), "written without the server").unwrap();
    sandbox.back_up();

    // And back.
    server.restart();
    sandbox.go_to(alice);
    sandbox.next_machine();
    sandbox.assert_restores();
    assert_eq!(sandbox.snapshots().len(), 2);
    assert!(sandbox.check(0).is_empty());
}

#[test]
fn a_directory_that_is_not_mounted_is_no_empty_repository() {
    let server = Server::in_directory();
    server.tenant("alice");
    let sandbox = Sandbox::at(server.remote("alice", &server.token("alice", &["--preset", "all"])));
    sandbox.obnam(args!["init"]).expect(0);
    fs::write(sandbox.source().join("file"), "contents").unwrap();
    sandbox.back_up();
    fs::rename(server.storage("alice"), server.storage("away")).unwrap();
    sandbox.obnam(args!["backup", sandbox.source()]).expect(10);
    assert!(!server.storage("alice").exists());
    fs::rename(server.storage("away"), server.storage("alice")).unwrap();
    sandbox.back_up();
    sandbox.assert_restores();
}

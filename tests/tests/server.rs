//! The program with a server that holds the keys: whole rounds, and what the user is told.

#![allow(clippy::unwrap_used)]

use obnam_tests::proxy::{Behaviour, Passed, Proxy};
use obnam_tests::s3::Access;
use obnam_tests::s3::fake::{FakeS3, Faults};
use obnam_tests::s3::garage::Garage;
use obnam_tests::server::{Server, Setup};
use obnam_tests::tree::{self, Random};
use obnam_tests::{Remote, Sandbox, args};

/// A tenant with a token for everything.
fn alice(server: &Server) -> Remote {
    server.tenant("alice");
    server.remote("alice", &server.token("alice", &["--preset", "all"]))
}

fn round(store: &Access, setup: &Setup) {
    let server = Server::start(store, setup);
    let proxy = Proxy::start(server.address(), Behaviour::Record);
    let alice = alice(&server);
    let sandbox = Sandbox::at(Remote { location: format!("{}/alice", proxy.endpoint()), ..alice });
    sandbox.obnam(args!["init"]).expect(0);
    tree::small_files(&sandbox.source().join("small"), 500, 1);
    Random(2).write_file(&sandbox.source().join("large"), 40_000_000);
    proxy.forget();
    sandbox.back_up();
    let crossed: u64 = proxy.requests().iter().map(|request: &Passed| request.sent + request.received).sum();
    assert!(crossed < 400_000, "{crossed} bytes of 40 MB went through the server");
    let result = sandbox.back_up();
    assert_eq!(result["statistics"]["new_files"], 0, "{result}");
    sandbox.next_machine();
    sandbox.assert_restores();
    assert!(sandbox.check(0).is_empty());
    // Everything is encrypted, and below the tenant.
    sandbox.obnam(args!["check", "--store"]).expect(0);
}

#[test]
fn a_round_on_a_strict_store() {
    round(&FakeS3::start(Faults::default()), &Setup::default());
}

#[test]
fn a_round_on_garage() {
    round(&Garage::start(), &Setup::default());
}

//! With moto, an S3 that nobody here has written.

#![allow(clippy::unwrap_used)]

use std::fs;

use obnam_tests::s3::client::Blocking;
use obnam_tests::s3::moto::Moto;
use obnam_tests::tree::{self, Random};
use obnam_tests::{Sandbox, args};

#[test]
fn a_round() {
    let moto = Moto::start();
    let sandbox = Sandbox::with_repository_at_s3(&moto);
    sandbox.obnam(args!["init"]).expect(11);
    tree::small_files(&sandbox.source(), 300, 1);
    Random(2).write_file(&sandbox.source().join("large"), 20_000_000);
    sandbox.back_up();
    fs::write(sandbox.source().join("new"), "new").unwrap();
    sandbox.back_up();
    sandbox.assert_restores();
    assert!(sandbox.check(0).is_empty());
    sandbox.next_machine();
    assert_eq!(sandbox.snapshots().len(), 2);
    sandbox.assert_restores();

    let client = Blocking::new(&moto);
    let keys = client.list(&sandbox.prefix());
    assert_eq!(keys.iter().filter(|key| key.contains("/snapshot.")).count(), 2, "{keys:?}");
    client.delete(keys.iter().find(|key| key.contains("/data/")).unwrap());
    sandbox.next_machine();
    assert!(!sandbox.check(4).is_empty());
}

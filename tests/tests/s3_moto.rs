//! With moto, an S3 that nobody here has written.

#![allow(clippy::unwrap_used)]

use obnam_tests::s3::client::Blocking;
use obnam_tests::s3::moto::Moto;

#[test]
fn it_answers() {
    let moto = Moto::start();
    let client = Blocking::new(&moto);
    client.put("a/b", "hello");
    assert_eq!(client.get("a/b"), "hello");
    assert_eq!(client.list("a/"), ["a/b"]);
}

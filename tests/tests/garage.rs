//! With Garage, a real S3 server: what it honours, and whole rounds of the program.

#![allow(clippy::unwrap_used)]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use obnam_tests::s3::client::{Ask, Blocking};
use obnam_tests::s3::garage::Garage;
use sha2::{Digest, Sha256};

/// What docs/stores/garage.md says.
#[test]
fn what_garage_honours() {
    let mut garage = Garage::start();
    let client = Blocking::new(&garage);
    let put = |key: &'static str, body: &'static [u8], announced: &[u8]| {
        let sum = STANDARD.encode(Sha256::digest(announced));
        let headers = vec![("x-amz-checksum-sha256", sum), ("if-none-match", "*".to_owned())];
        client.send(&Ask { method: "PUT", key, headers, body: body.into(), unsigned: true, ..Ask::default() }).status
    };
    assert_eq!(put("k", b"hello", b"hello"), 200);
    assert_eq!(put("k", b"again", b"again"), 200, "it ignores if-none-match");
    assert_eq!(put("l", b"other", b"hello"), 400, "it enforces checksums");
    assert_eq!(client.list(""), ["k"]);
    let mut wrong = (*garage).clone();
    wrong.secret_key = "0".repeat(64);
    assert_eq!(Blocking::new(&wrong).send(&Ask { method: "GET", key: "k", ..Ask::default() }).status, 403);
    garage.kill();
    assert!(client.try_send(&Ask { method: "GET", key: "k", ..Ask::default() }).is_err());
    garage.restart();
    assert_eq!(client.get("k"), "again");
}

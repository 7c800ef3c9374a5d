//! What the holder of a token or of an URL must not be able to do. One test for each attack.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::s3::fake::Faults;
use crate::support::{Answer, Place, Running, id, text};

const BYTES: &[u8] = b"these bytes were announced";

/// A store, an URL to put `BYTES` there, and what an attacker makes of it; nothing may be stored then.
fn attack(make: impl Fn(&Place, &Value) -> Answer) {
    // A store as strict as S3, and one that overwrites, as Garage does.
    for ignores_if_none_match in [false, true] {
        let place = Place::new(Faults { ignores_if_none_match, ..Faults::default() }, "");
        place.tenant("alice");
        let token = place.token("alice", "backup", &[]);
        let server = place.serve();
        let access = server.put_access(&token, "alice", "data", BYTES).ok();
        let answer = make(&place, &access);
        assert!((400..500).contains(&answer.status), "{}: {:?}", answer.status, answer.body);
        let stored: Vec<String> = place.s3.objects().into_keys().collect();
        assert!(stored.is_empty(), "{stored:?}");
        // The right bytes are still welcome.
        place.s3.set_faults(Faults { ignores_if_none_match, ..Faults::default() });
        assert_eq!(place.http.follow(&access, BYTES).status, 200);
    }
}

/// The headers of an access without some of them, and with others.
fn headers<'a>(access: &'a Value, without: &[&str], with: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let given = access["headers"].as_object().expect("headers");
    let kept = given.iter().filter(|(name, _)| !without.contains(&name.as_str()));
    kept.map(|(name, value)| (name.as_str(), text(value))).chain(with.iter().copied()).collect()
}

#[test]
fn other_bytes() {
    attack(|place, access| place.http.follow(access, b"those bytes were not so...."[..26].as_ref()));
}

#[test]
fn longer_bytes() {
    attack(|place, access| {
        let longer = [BYTES, b" and more"].concat();
        place.http.send("PUT", text(&access["url"]), &headers(access, &["content-length"], &[]), &longer)
    });
}

#[test]
fn other_bytes_with_their_own_checksum() {
    attack(|place, access| {
        let checksum = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=";
        let name = "x-amz-checksum-sha256";
        place.http.send(
            "PUT",
            text(&access["url"]),
            &headers(access, &[name, "content-length"], &[(name, checksum)]),
            b"hello",
        )
    });
}

#[test]
fn without_the_signed_headers() {
    for left_out in ["x-amz-checksum-sha256", "if-none-match"] {
        attack(|place, access| place.http.send("PUT", text(&access["url"]), &headers(access, &[left_out], &[]), BYTES));
    }
    attack(|place, access| place.http.send("PUT", text(&access["url"]), &[], b"anything"));
}

#[test]
fn after_expiry() {
    attack(|place, access| {
        place.s3.set_faults(Faults { clock_ahead: 901, ..Faults::default() });
        place.http.follow(access, BYTES)
    });
}

#[test]
fn another_key() {
    attack(|place, access| {
        let other = text(&access["url"]).replace("/data/", "/roster/");
        place.http.send("PUT", &other, &headers(access, &[], &[]), BYTES)
    });
    attack(|place, access| {
        let other = text(&access["url"]).replace("/alice/", "/bob/");
        place.http.send("PUT", &other, &headers(access, &[], &[]), BYTES)
    });
}

#[test]
fn another_method() {
    for method in ["GET", "DELETE", "HEAD"] {
        attack(|place, access| place.http.send(method, text(&access["url"]), &[], &[]));
    }
}

#[test]
fn an_url_to_read_stores_and_removes_nothing() {
    let place = Place::new(Faults { ignores_if_none_match: true, ..Faults::default() }, "");
    place.tenant("alice");
    let token = place.token("alice", "all", &[]);
    let server = place.serve();
    server.store(&token, "alice", "data", BYTES);
    let access = server.ask(&token, "GET", &format!("/alice/chunk/{}?label=data", id(BYTES))).ok();
    let before = place.s3.objects();
    for method in ["PUT", "DELETE", "POST"] {
        let answer = place.http.send(method, text(&access["url"]), &[], b"other");
        assert!((400..600).contains(&answer.status), "{method}: {}", answer.status);
    }
    assert_eq!(place.s3.objects().len(), before.len());
    assert_eq!(place.http.follow(&access, &[]).body, BYTES);
}

#[test]
fn an_id_that_is_not_the_checksum() {
    let place = Place::new(Faults::default(), "");
    place.tenant("alice");
    let token = place.token("alice", "all", &[]);
    let server = place.serve();
    let wrong = id(b"something else");
    let access = server.ask(&token, "PUT", &format!("/alice/chunk?id={wrong}&label=data&size={}", BYTES.len())).ok();
    assert_eq!(place.http.follow(&access, BYTES).status, 400);
    assert!(place.s3.objects().is_empty());
}

#[test]
fn path_tricks() {
    let place = Place::new(Faults::default(), "");
    place.tenant("alice");
    let token = place.token("alice", "all", &[]);
    let server = place.serve();
    let good = id(b"x");
    let upper = good.to_uppercase();
    for bad in ["..", "%2e%2e", "x", &upper, &good[..63], "..%2f..%2froster", "%00", &format!("{good}%2f..")] {
        for (method, path) in [
            ("GET", format!("/alice/chunk/{bad}?label=data")),
            ("DELETE", format!("/alice/chunk/{bad}?label=data")),
            ("PUT", format!("/alice/chunk?id={bad}&label=data&size=1")),
            ("GET", format!("/alice/chunk/{bad}/stat?label=data")),
        ] {
            let answer = server.ask(&token, method, &path);
            assert!([400, 404].contains(&answer.status), "{method} {path}: {}", answer.status);
        }
    }
    for bad in ["..", "%2e%2e%2fbob%2fdata", "A", "a%2fb", "", "%00", "a%20b", "%ff"] {
        for (method, path) in [
            ("GET", format!("/alice/chunk/{good}?label={bad}")),
            ("DELETE", format!("/alice/chunk/{good}?label={bad}")),
            ("PUT", format!("/alice/chunk?id={good}&label={bad}&size=1")),
            ("POST", format!("/alice/chunk/{good}/undelete?label={bad}")),
        ] {
            assert_eq!(server.ask(&token, method, &path).problem(), "bad-request", "{method} {path}");
        }
    }
    for bad in ["-1", "67108865", "99999999999999999999", "x", ""] {
        let path = format!("/alice/chunk?id={good}&label=data&size={bad}");
        assert_eq!(server.ask(&token, "PUT", &path).problem(), "bad-request", "{bad}");
    }
    let objects = place.s3.objects();
    assert!(objects.is_empty(), "{:?}", objects.keys());
}

#[test]
fn large_and_odd_bodies() {
    let place = Place::new(Faults::default(), "");
    place.tenant("alice");
    let token = place.token("alice", "all", &[]);
    let server = place.serve();
    assert_eq!(begin_of_large_body(&server, &token), "HTTP/1.1 413 Payload Too Large");
    let deep = "[".repeat(100_000);
    for bad in ["", "{", "[]", "{}", r#"{"items":1}"#, r#"{"items":[1]}"#, r#"{"items":[],"x":1}"#, &deep] {
        assert_eq!(server.ask_with(&token, "POST", "/alice/batch", bad.as_bytes()).problem(), "bad-request");
    }
    let answer = server.ask(&token, "PATCH", "/alice/chunk");
    assert_eq!((answer.status, answer.problem().as_str()), (405, "method-not-allowed"));
    assert_eq!(server.ask(&token, "GET", "/alice/nothing").problem(), "not-found");
}

/// Announces ten megabytes, sends as many as a body may have and one byte more, and answers the first line of what
/// comes back. (A server that answers early closes the connection; whoever goes on sending may not see the answer.)
fn begin_of_large_body(server: &Running, token: &str) -> String {
    let address = server.url.strip_prefix("http://").expect("an address");
    let mut stream = TcpStream::connect(address).expect("connects");
    let head = format!(
        "POST /v1/alice/batch HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: 10000000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("writes");
    stream.write_all(&vec![b' '; (1 << 20) + 1]).expect("writes");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("reads");
    line.trim_end().to_owned()
}

#[test]
fn many_requests_from_one_token() {
    let place = Place::new(Faults::default(), "[limits]\ntoken-requests = 1\n");
    place.tenant("alice");
    let token = place.token("alice", "backup", &[]);
    let other = place.token("alice", "backup", &[]);
    let server = place.serve();
    let refused = (0..100).map(|_| server.ask(&token, "GET", "/alice/self")).find(|answer| answer.status != 200);
    let refused = refused.expect("a refusal");
    assert_eq!((refused.status, refused.problem().as_str()), (429, "rate-limited"));
    let wait: u64 = refused.headers["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((1..=2).contains(&wait), "{wait}");
    assert_eq!(server.ask(&other, "GET", "/alice/self").status, 200);
}

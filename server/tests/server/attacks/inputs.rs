//! Requests that are not as they should be: names that lead elsewhere, bodies that are too large or too odd.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::json;

use super::stores::{Tried, on_each, raw};
use crate::crowd::peak_kib;
use crate::s3::fake::Faults;
use crate::support::{Place, Running, id};

/// The most bytes that a server may have used in these tests. It is told what is too large long before.
const MEMORY_KIB: u64 = 256 << 10;

/// Texts that are no ids and no labels, percent-encoded as a path or a query carries them.
fn tricks() -> Vec<String> {
    let good = id(b"x");
    let mut tricks: Vec<String> = [
        "..",
        "%2e%2e",
        "%2E%2E%2F",
        "..%2f..%2froster",
        "..%5c..%5croster",
        "%2e%2e%2fbob%2fdata",
        "%252e%252e%252f",
        "a%2fb",
        "a%5cb",
        "%2f",
        "%2fetc%2fpasswd",
        "%00",
        "data%00",
        "data%0d%0ax-evil:%201",
        "data%0a",
        "%ff",
        "%c0%ae%c0%ae",
        "%ef%bc%8f",
        "d%c3%a4ta",
        "%e2%80%ae",
        "DATA",
        "a%20b",
        ".data",
        "-data",
        "%7e",
        "*",
        "%27%20OR%20%271%27=%271",
        "%24%7bjndi:ldap:%2f%2fx%7d",
        "%3fx-id=y",
        "%23",
    ]
    .map(str::to_owned)
    .into();
    tricks.extend([good.to_uppercase(), good[..63].to_owned(), format!("{good}0"), format!("{good}%2f..")]);
    tricks.extend(["a".repeat(65), "a".repeat(6_000), format!("{good}%00"), format!("%20{good}")]);
    tricks
}

fn nothing_happened(tried: &Tried) {
    assert!(tried.objects().is_empty(), "{:?}", tried.objects());
    assert_eq!(tried.signed().iter().filter(|line| !line.ends_with(" 0")).count(), 0, "{:?}", tried.signed());
    assert_eq!(tried.server.ask(&tried.alice, "GET", "/alice/removal").ok()["removals"], json!([]));
    assert!(!tried.server.log().contains("panicked"), "{}", tried.server.log());
}

const MANY: &str = "[limits]\ntoken-requests = 10000\naddress-requests = 10000\n";

#[test]
fn path_tricks_in_the_id() {
    on_each(MANY, |tried| {
        for bad in tricks() {
            for (method, path) in [
                ("GET", format!("/alice/chunk/{bad}?label=data")),
                ("GET", format!("/alice/chunk/{bad}")),
                ("DELETE", format!("/alice/chunk/{bad}?label=data")),
                ("PUT", format!("/alice/chunk?id={bad}&label=data&size=1")),
                ("GET", format!("/alice/chunk/{bad}/stat?label=data")),
                ("POST", format!("/alice/chunk/{bad}/undelete?label=data")),
                ("GET", format!("/alice/removal?after=data/{bad}")),
                ("GET", format!("/alice/chunk?after=data/{bad}")),
            ] {
                let answer = tried.server.ask(&tried.alice, method, &path);
                assert!([400, 404].contains(&answer.status), "{method} {path}: {}", answer.status);
                answer.problem();
            }
        }
        nothing_happened(tried);
    });
}

#[test]
fn path_tricks_in_the_label() {
    on_each(MANY, |tried| {
        let good = id(b"x");
        for bad in tricks().into_iter().filter(|bad| bad.len() > 64 || bad.contains(|c: char| !c.is_ascii_hexdigit())) {
            for (method, path) in [
                ("GET", format!("/alice/chunk/{good}?label={bad}")),
                ("GET", format!("/alice/chunk/{good}/stat?label={bad}")),
                ("GET", format!("/alice/chunk?label={bad}")),
                ("GET", format!("/alice/chunk?after={bad}/{good}")),
                ("DELETE", format!("/alice/chunk/{good}?label={bad}")),
                ("PUT", format!("/alice/chunk?id={good}&label={bad}&size=1")),
                ("POST", format!("/alice/chunk/{good}/undelete?label={bad}")),
            ] {
                assert_eq!(tried.server.ask(&tried.alice, method, &path).problem(), "bad-request", "{method} {path}");
            }
        }
        nothing_happened(tried);
    });
}

#[test]
fn path_tricks_in_the_tenant() {
    on_each(MANY, |tried| {
        for bad in tricks() {
            for tenant in [bad.clone(), format!("alice{bad}"), format!("{bad}alice"), format!("bob/{bad}/alice")] {
                for (method, path) in [
                    ("GET", format!("/{tenant}/chunk")),
                    ("GET", format!("/{tenant}/self")),
                    ("PUT", format!("/{tenant}/chunk?id={}&label=data&size=1", id(b"x"))),
                    ("DELETE", format!("/{tenant}/chunk/{}?label=data", id(b"x"))),
                ] {
                    let answer = tried.server.ask(&tried.alice, method, &path);
                    assert!([404, 405].contains(&answer.status), "{method} {path}: {}", answer.status);
                    answer.problem();
                }
            }
        }
        nothing_happened(tried);
    });
}

#[test]
fn path_tricks_in_a_batch() {
    on_each(MANY, |tried| {
        let texts = ["..", "../bob/data", "a/b", "\0", "data\0", "däta", "\u{202e}", "DATA", "", "a b", "\u{ff0f}"];
        let long = "a".repeat(100_000);
        for bad in texts.into_iter().chain([long.as_str()]) {
            for what in ["get", "put", "stat", "delete", "undelete"] {
                let size = if what == "put" { json!(1) } else { json!(null) };
                let items = json!([
                    { "do": what, "label": bad, "id": id(b"x"), "size": size },
                    { "do": what, "label": "data", "id": bad, "size": size },
                ]);
                let answers = tried.server.batch(&tried.alice, "alice", &items).ok();
                for answer in answers["answers"].as_array().expect("answers") {
                    assert_eq!(answer["code"], "bad-request", "{what} {bad:?}");
                }
            }
        }
        nothing_happened(tried);
    });
}

/// Requests that HTTP itself does not know.
#[test]
fn requests_that_are_no_http() {
    on_each(MANY, |tried| {
        let authorization = format!("Bearer {}", tried.alice);
        let good = [("authorization", authorization.as_str())];
        let long = format!("{}/v1/alice/chunk?label={}", tried.server.url, "a".repeat(1 << 20));
        for (method, url, headers) in [
            ("GET", format!("{}/v1/alice/chunk/../../bob/chunk", tried.server.url), &good[..]),
            ("GET", format!("{}/v1/alice/../bob/chunk", tried.server.url), &good),
            ("GET", format!("{}/v1//alice/chunk", tried.server.url), &good),
            ("GET", format!("{}//v1/alice/chunk", tried.server.url), &good),
            ("GET", format!("{}/v1/alice/chunk\0", tried.server.url), &good),
            ("G\0T", format!("{}/v1/alice/chunk", tried.server.url), &good),
            ("CONNECT", format!("{}/v1/alice/chunk", tried.server.url), &good),
            ("GET", long, &good),
            ("GET", format!("{}/v1/alice/chunk", tried.server.url), &[("authorization", "Bearer \u{1}\u{2}")]),
            ("GET", format!("{}/v1/alice/chunk", tried.server.url), &[("content-length", "-1")]),
            ("POST", format!("{}/v1/alice/batch", tried.server.url), &[("content-length", "99999999999999999999999")]),
        ] {
            let status = raw(method, &url, headers, b"");
            assert!(status.is_none_or(|status| (400..500).contains(&status)), "{method} {url:.100}: {status:?}");
        }
        nothing_happened(tried);
    });
}

#[test]
fn sizes_that_make_no_sense() {
    on_each("", |tried| {
        for bad in ["-1", "67108865", "99999999999999999999", "1e3", "0x10", "1.0", "%00", "x", ""] {
            let path = format!("/alice/chunk?id={}&label=data&size={bad}", id(b"x"));
            assert_eq!(tried.server.ask(&tried.alice, "PUT", &path).problem(), "bad-request", "{bad}");
        }
        nothing_happened(tried);
    });
}

#[test]
fn large_and_odd_bodies() {
    on_each(MANY, |tried| {
        let (server, token) = (&tried.server, &tried.alice);
        assert_eq!(begin_of_large_body(server, token, "content-length: 10000000"), "HTTP/1.1 413 Payload Too Large");
        assert_eq!(begin_of_large_body(server, token, "transfer-encoding: chunked"), "HTTP/1.1 413 Payload Too Large");
        let deep = "[".repeat(100_000);
        let nested = format!(r#"{{"items":{}"#, "[".repeat(1_000_000));
        let name = format!(r#"{{"items":[{{"do":"get","label":"{}","id":"x"}}]}}"#, "a".repeat(1_040_000));
        for bad in ["", "{", "[]", "{}", r#"{"items":1}"#, r#"{"items":[1]}"#, r#"{"items":[],"x":1}"#, &deep, &nested]
        {
            assert_eq!(server.ask_with(token, "POST", "/alice/batch", bad.as_bytes()).problem(), "bad-request");
        }
        let answers = server.ask_with(token, "POST", "/alice/batch", name.as_bytes()).ok();
        assert_eq!(answers["answers"][0]["code"], "bad-request");
        let twice = format!(r#"{{"items":[{{"do":"get","do":"put","label":"data","id":"{}"}}]}}"#, id(b"x"));
        assert_eq!(server.ask_with(token, "POST", "/alice/batch", twice.as_bytes()).problem(), "bad-request");
        let answer = server.ask(token, "PATCH", "/alice/chunk");
        assert_eq!((answer.status, answer.problem().as_str()), (405, "method-not-allowed"));
        assert_eq!(server.ask(token, "GET", "/alice/nothing").problem(), "not-found");
        nothing_happened(tried);
        assert!(peak_kib(server.pid()) < MEMORY_KIB, "{} KiB", peak_kib(server.pid()));
    });
}

#[test]
fn a_hundred_thousand_ids_in_a_batch() {
    on_each(MANY, |tried| {
        let (server, token) = (&tried.server, &tried.alice);
        let items = |count: usize, item: &dyn Fn(usize) -> serde_json::Value| {
            json!({ "items": (0..count).map(item).collect::<Vec<_>>() }).to_string()
        };
        let whole = |n: usize| json!({ "do": "put", "label": "data", "id": id(&n.to_le_bytes()), "size": 1 });
        let body = items(100_000, &whole);
        assert!(body.len() > 10_000_000, "{}", body.len());
        assert_eq!(begin_of_body(server, token, body.as_bytes()), "HTTP/1.1 413 Payload Too Large");
        // As many as a body has room for.
        for (count, item) in [
            (1_001, &whole as &dyn Fn(usize) -> serde_json::Value),
            (30_000, &|_| json!({ "do": "get", "label": "", "id": "" })),
        ] {
            let answer = server.ask_with(token, "POST", "/alice/batch", items(count, item).as_bytes());
            assert_eq!((answer.status, answer.problem().as_str()), (400, "bad-request"), "{count}");
        }
        nothing_happened(tried);
        assert!(peak_kib(server.pid()) < MEMORY_KIB, "{} KiB", peak_kib(server.pid()));
        let answers = server.ask_with(token, "POST", "/alice/batch", items(1_000, &whole).as_bytes()).ok();
        assert_eq!(answers["answers"].as_array().map(Vec::len), Some(1_000));
    });
}

/// Begins to send ten megabytes, measured or in pieces, and answers the first line of what comes back. (A server that
/// answers early closes the connection; whoever goes on sending may not see the answer.)
fn begin_of_large_body(server: &Running, token: &str, measure: &str) -> String {
    let mut piece = vec![b' '; (1 << 20) + 1];
    if measure.starts_with("transfer") {
        piece.splice(..0, *b"100001\r\n");
    }
    begin(server, token, measure, &piece)
}

/// The same with a body of one's own.
fn begin_of_body(server: &Running, token: &str, body: &[u8]) -> String {
    begin(server, token, &format!("content-length: {}", body.len()), &body[..(1 << 20) + 1])
}

fn begin(server: &Running, token: &str, measure: &str, bytes: &[u8]) -> String {
    let address = server.url.strip_prefix("http://").expect("an address");
    let mut stream = TcpStream::connect(address).expect("connects");
    let head = format!(
        "POST /v1/alice/batch HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\n{measure}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("writes");
    let _ = stream.write_all(bytes);
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

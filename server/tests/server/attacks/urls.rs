//! What the holder of a signed URL must not be able to do.

use std::time::Duration;

use serde_json::Value;

use super::stores::{Tried, headers, is_refused, on_each, raw};
use crate::removals::{block_on, opened};
use crate::support::{Answer, id, text};

const BYTES: &[u8] = b"these bytes were announced";
const OTHER: &[u8] = b"those bytes were not so...";

type Attempt<'a> = (&'a str, &'a dyn Fn(&Tried, &Value) -> Answer);

/// What is in the store when the right bytes were stored, and nothing else.
fn right() -> Vec<(String, bytes::Bytes)> {
    vec![(format!("server/alice/data/{}", id(BYTES)), BYTES.into())]
}

/// An URL to store `BYTES`, and what an attacker makes of it: nothing may be stored, and the right bytes are welcome
/// afterwards.
fn attack(attempts: &[Attempt<'_>]) {
    on_each("", |tried| {
        let access = tried.put_access(BYTES);
        for (what, attempt) in attempts {
            let answer = attempt(tried, &access);
            assert!(is_refused(&answer), "{what}: {}: {:?}", answer.status, answer.body);
            let objects = tried.objects();
            assert!(objects.is_empty(), "{what}: {objects:?}");
        }
        assert_eq!(tried.place.http.follow(&access, BYTES).status, 200);
        assert_eq!(tried.objects().into_iter().collect::<Vec<_>>(), right());
        // Now that it is there, it cannot be changed either.
        for (what, attempt) in attempts {
            attempt(tried, &access);
            assert_eq!(tried.objects().into_iter().collect::<Vec<_>>(), right(), "{what}");
        }
    });
}

fn put(tried: &Tried, access: &Value, without: &[&str], with: &[(&str, &str)], body: &[u8]) -> Answer {
    tried.place.http.send("PUT", text(&access["url"]), &headers(access, without, with), body)
}

#[test]
fn other_bytes() {
    attack(&[("other bytes", &|tried, access| tried.place.http.follow(access, OTHER))]);
}

#[test]
fn longer_bytes() {
    attack(&[
        ("longer", &|tried, access| put(tried, access, &["content-length"], &[], &[BYTES, b" and more"].concat())),
        ("shorter", &|tried, access| put(tried, access, &["content-length"], &[], &BYTES[..20])),
        ("none", &|tried, access| put(tried, access, &["content-length"], &[], &[])),
    ]);
}

/// A length that says one thing, and a body that says another.
#[test]
fn a_body_that_is_not_as_long_as_announced() {
    on_each("", |tried| {
        let access = tried.put_access(BYTES);
        let url = text(&access["url"]);
        let all = headers(&access, &[], &[]);
        let chunked = headers(&access, &[], &[("transfer-encoding", "chunked")]);
        let unmeasured = headers(&access, &["content-length"], &[("transfer-encoding", "chunked")]);
        let longer: &[u8] = b"23\r\nthese bytes were announced and more\r\n0\r\n\r\n";
        for (headers, body) in
            [(&all, &BYTES[..20]), (&chunked, longer), (&unmeasured, longer), (&chunked, &longer[..20])]
        {
            let status = raw("PUT", url, headers, body);
            assert!(status.is_none_or(|status| status >= 400), "{status:?}");
            assert!(tried.objects().is_empty(), "{:?}", tried.objects());
        }
        assert_eq!(tried.place.http.follow(&access, BYTES).status, 200);
    });
}

#[test]
fn other_bytes_with_their_own_checksum() {
    let name = "x-amz-checksum-sha256";
    let checksum = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=";
    attack(&[
        ("another checksum", &|tried, access| {
            put(tried, access, &[name, "content-length"], &[(name, checksum)], b"hello")
        }),
        ("both checksums", &|tried, access| put(tried, access, &["content-length"], &[(name, checksum)], b"hello")),
        ("another kind of checksum", &|tried, access| {
            put(tried, access, &[name], &[("x-amz-checksum-crc32", "AAAAAA==")], OTHER)
        }),
    ]);
}

#[test]
fn without_the_signed_headers() {
    attack(&[
        ("no checksum", &|tried, access| put(tried, access, &["x-amz-checksum-sha256"], &[], BYTES)),
        ("no if-none-match", &|tried, access| put(tried, access, &["if-none-match"], &[], BYTES)),
        ("nothing", &|tried, access| tried.place.http.send("PUT", text(&access["url"]), &[], BYTES)),
        ("nothing, other bytes", &|tried, access| tried.place.http.send("PUT", text(&access["url"]), &[], OTHER)),
    ]);
}

/// Headers that make another request of it: none of them is signed.
#[test]
fn with_headers_that_are_not_signed() {
    on_each("", |tried| {
        tried.server.store(&tried.bob, "bob", "data", b"of bob");
        let of_bob = format!("/backups/server/bob/data/{}", id(b"of bob"));
        let before = tried.objects();
        let access = tried.put_access(BYTES);
        for (name, value, body) in [
            ("x-amz-copy-source", of_bob.as_str(), BYTES),
            ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", OTHER),
            ("x-amz-content-sha256", "UNSIGNED-PAYLOAD", OTHER),
            ("content-encoding", "aws-chunked", OTHER),
            ("x-amz-decoded-content-length", "5", OTHER),
            ("x-amz-acl", "public-read", OTHER),
            ("x-amz-website-redirect-location", "https://example.org/", OTHER),
            ("x-amz-write-offset-bytes", "3", OTHER),
            ("content-range", "bytes 0-25/100", OTHER),
            ("x-http-method-override", "DELETE", OTHER),
        ] {
            let answer = put(tried, &access, &[], &[(name, value)], body);
            assert!(is_refused(&answer), "{name}: {}: {:?}", answer.status, answer.body);
            assert_eq!(tried.objects(), before, "{name}: {value}");
        }
    });
}

#[test]
fn with_another_query() {
    let changed = |from: &'static str, to: &'static str| {
        move |tried: &Tried, access: &Value| {
            let url = text(&access["url"]);
            assert!(url.contains(from), "{url}");
            tried.place.http.send("PUT", &url.replacen(from, to, 1), &headers(access, &[], &[]), BYTES)
        }
    };
    attack(&[
        ("a longer life", &changed("X-Amz-Expires=900", "X-Amz-Expires=86400")),
        ("fewer signed headers", &changed("X-Amz-SignedHeaders=content-length%3B", "X-Amz-SignedHeaders=")),
        ("a part of an upload", &changed("?", "?partNumber=1&uploadId=x&")),
        ("an access list", &changed("?", "?acl&")),
        ("tags", &changed("?", "?tagging&")),
        ("another day", &changed("X-Amz-Date=20", "X-Amz-Date=21")),
        ("no signature", &changed("X-Amz-Signature=", "X-Amz-Nothing=")),
    ]);
}

#[test]
fn after_expiry() {
    on_each("", |tried| {
        let name = format!("data/{}", id(BYTES));
        let access = block_on(async {
            let server = opened(&tried.place).await;
            let second = Duration::from_secs(1);
            let key = format!("server/alice/{name}");
            let access = server.store.s3().expect("S3").signer.put_for(
                &key,
                &obnam_chunk::ChunkId::of(BYTES),
                BYTES.len() as u64,
                second,
            );
            server.state.close().await;
            serde_json::to_value(access.expect("signs")).expect("writes")
        });
        let expires = access["expires"].as_u64().expect("a time");
        while obnam_server::now() <= expires + 1 {
            std::thread::sleep(Duration::from_millis(100));
        }
        let answer = tried.place.http.follow(&access, BYTES);
        assert!(is_refused(&answer), "{}: {:?}", answer.status, answer.body);
        assert!(tried.objects().is_empty(), "{:?}", tried.objects());
    });
}

#[test]
fn another_key() {
    let elsewhere = |from: &'static str, to: String| {
        move |tried: &Tried, access: &Value| {
            let url = text(&access["url"]);
            assert!(url.contains(from), "{url}");
            tried.place.http.send("PUT", &url.replacen(from, &to, 1), &headers(access, &[], &[]), BYTES)
        }
    };
    let of_data = format!("/data/{}", id(OTHER));
    attack(&[
        ("another label", &elsewhere("/data/", "/roster/".into())),
        ("another tenant", &elsewhere("/alice/", "/bob/".into())),
        ("no tenant", &elsewhere("/alice/", "/".into())),
        ("a way up", &elsewhere("/data/", "/data/../roster/".into())),
        ("an encoded way up", &elsewhere("/data/", "/data/%2e%2e/roster/".into())),
        ("a slash more", &elsewhere("/data/", "//data/".into())),
        ("another bucket", &elsewhere("/backups/", "/backup/".into())),
        ("another id", &|tried, access| {
            let other = text(&access["url"]).replacen(&format!("/data/{}", id(BYTES)), &of_data, 1);
            tried.place.http.send("PUT", &other, &headers(access, &[], &[]), OTHER)
        }),
    ]);
}

#[test]
fn another_method() {
    let with = |method: &'static str| {
        move |tried: &Tried, access: &Value| tried.place.http.send(method, text(&access["url"]), &[], &[])
    };
    attack(&[("GET", &with("GET")), ("HEAD", &with("HEAD")), ("DELETE", &with("DELETE")), ("POST", &with("POST"))]);
}

#[test]
fn an_url_to_store_reads_nothing() {
    on_each("", |tried| {
        tried.server.store(&tried.alice, "alice", "data", BYTES);
        let access = tried.put_access(BYTES);
        let all = headers(&access, &["content-length"], &[]);
        for headers in [&all[..], &[]] {
            let answer = tried.place.http.send("GET", text(&access["url"]), headers, &[]);
            assert!(is_refused(&answer), "{}", answer.status);
            assert!(!answer.body.windows(BYTES.len()).any(|part| part == BYTES));
        }
    });
}

#[test]
fn an_url_to_read_stores_and_removes_nothing() {
    on_each("", |tried| {
        tried.server.store(&tried.alice, "alice", "data", BYTES);
        let access = tried.server.ask(&tried.alice, "GET", &format!("/alice/chunk/{}?label=data", id(BYTES))).ok();
        for (method, body) in [("PUT", OTHER), ("PUT", BYTES), ("DELETE", &[]), ("POST", OTHER), ("HEAD", &[])] {
            let answer = tried.place.http.send(method, text(&access["url"]), &[], body);
            assert!((400..600).contains(&answer.status), "{method}: {}", answer.status);
            assert_eq!(tried.objects().into_iter().collect::<Vec<_>>(), right(), "{method}");
        }
        assert_eq!(tried.place.http.follow(&access, &[]).body, BYTES);
    });
}

#[test]
fn an_url_to_read_reads_nothing_else() {
    on_each("", |tried| {
        tried.server.store(&tried.alice, "alice", "data", BYTES);
        tried.server.store(&tried.alice, "alice", "credential", BYTES);
        tried.server.store(&tried.bob, "bob", "data", BYTES);
        let access = tried.server.ask(&tried.alice, "GET", &format!("/alice/chunk/{}?label=data", id(BYTES))).ok();
        let url = text(&access["url"]);
        let whole_bucket = url.replacen(&format!("/server/alice/data/{}", id(BYTES)), "/", 1);
        for other in [
            url.replacen("/data/", "/credential/", 1),
            url.replacen("/alice/", "/bob/", 1),
            url.replacen('?', "?versions&", 1),
            url.replacen('?', "?acl&", 1),
            url.replacen("X-Amz-Expires=900", "X-Amz-Expires=9000", 1),
            whole_bucket,
        ] {
            assert_ne!(other, url);
            let answer = tried.place.http.send("GET", &other, &[], &[]);
            assert!(is_refused(&answer), "{other}: {}", answer.status);
        }
    });
}

#[test]
fn an_id_that_is_not_the_checksum() {
    on_each("", |tried| {
        let wrong = id(b"something else");
        let path = format!("/alice/chunk?id={wrong}&label=data&size={}", BYTES.len());
        let access = tried.server.ask(&tried.alice, "PUT", &path).ok();
        let answer = tried.place.http.follow(&access, BYTES);
        assert_eq!(answer.status, 400, "{:?}", answer.body);
        assert!(tried.objects().is_empty(), "{:?}", tried.objects());
    });
}

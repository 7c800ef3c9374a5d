//! What a token that is not good, or not good for this, must not be able to do: each of them on every call.

use serde_json::Value;

use super::stores::{Tried, on_each};
use crate::support::id;

const KEPT: &[u8] = b"kept";
const GOING: &[u8] = b"removed in a week";

/// Every call of the API as `(method, path, body)`, for chunks of alice.
fn every_call() -> Vec<(&'static str, String, String)> {
    let mut calls = vec![
        ("GET", "/alice/chunk".to_owned(), String::new()),
        ("GET", "/alice/chunk?label=data".to_owned(), String::new()),
        ("GET", "/alice/removal".to_owned(), String::new()),
        ("GET", "/alice/self".to_owned(), String::new()),
    ];
    for (bytes, number) in [(KEPT, KEPT.len()), (GOING, GOING.len()), (b"new", 3)] {
        let path = format!("/alice/chunk/{}", id(bytes));
        calls.push(("GET", path.clone(), String::new()));
        calls.push(("GET", format!("{path}?label=data"), String::new()));
        calls.push(("GET", format!("{path}/stat?label=data"), String::new()));
        calls.push(("DELETE", format!("{path}?label=data"), String::new()));
        calls.push(("POST", format!("{path}/undelete?label=data"), String::new()));
        calls.push(("PUT", format!("/alice/chunk?id={}&label=data&size={number}", id(bytes)), String::new()));
        for what in ["get", "put", "stat", "delete", "undelete"] {
            let mut item = serde_json::json!({ "do": what, "label": "data", "id": id(bytes) });
            if what == "put" {
                item["size"] = number.into();
            }
            calls.push(("POST", "/alice/batch".to_owned(), serde_json::json!({ "items": [item] }).to_string()));
        }
    }
    calls
}

/// Tries every call with tokens that are made from good ones; each is answered with this problem, and nothing changes:
/// no object, no pending removal, no URL.
fn refused(code: &str, tokens: impl Fn(&Tried) -> Vec<String>) {
    on_each("[limits]\ntoken-requests = 1000\naddress-requests = 1000\n", |tried| {
        let (server, alice) = (&tried.server, &tried.alice);
        server.store(alice, "alice", "data", KEPT);
        server.store(alice, "alice", "data", GOING);
        server.ask(alice, "DELETE", &format!("/alice/chunk/{}?label=data", id(GOING))).ok();
        let removals = || server.ask(alice, "GET", "/alice/removal").ok();
        let before = (tried.objects(), removals(), tried.signed());
        for token in tokens(tried) {
            for (method, path, body) in every_call() {
                let answer = server.ask_with(&token, method, &path, body.as_bytes());
                assert_eq!(answer.problem(), code, "{method} {path} {body}");
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                assert!(!text.contains("X-Amz-") && !text.contains(&token), "{text}");
            }
        }
        assert_eq!((tried.objects(), removals(), tried.signed()), before);
        assert!(!removals()["removals"].as_array().is_none_or(Vec::is_empty));
    });
}

#[test]
fn a_token_of_another_tenant() {
    refused("not-found", |tried| vec![tried.bob.clone()]);
}

/// The digits of base 62 as tokens write them.
fn checksum(text: &str) -> String {
    let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut sum = [0; 6];
    for digit in sum.iter_mut().rev() {
        *digit = digits[(rest % 62) as usize];
        rest /= 62;
    }
    String::from_utf8_lossy(&sum).into_owned()
}

#[test]
fn a_forged_token_with_a_wrong_checksum() {
    refused("bad-token", |tried| {
        let good = &tried.alice;
        let last = if good.ends_with('0') { '1' } else { '0' };
        vec![
            format!("{}{last}", &good[..64]),
            good[..64].to_owned(),
            format!("{good}0"),
            good.to_uppercase(),
            good.replacen("obn1_", "obn2_", 1),
            format!("{}{}", &good[..15], &tried.bob[15..]),
            "x".repeat(60_000),
        ]
    });
}

#[test]
fn a_forged_token_with_the_right_checksum() {
    refused("bad-token", |tried| {
        let good = &tried.alice;
        assert_eq!(checksum(&good[..59]), good[59..]);
        let with_sum = |text: String| format!("{text}{}", checksum(&text));
        let nobody = obnam_server::token::Token::generate().expect("a token");
        vec![
            nobody.reveal().to_owned(),
            // The id of a good one, and the secret of another good one, or of nobody.
            with_sum(format!("{}{}", &good[..15], &tried.bob[15..59])),
            with_sum(format!("{}{}", &good[..15], &nobody.reveal()[15..59])),
            with_sum(format!("{}{}", &good[..16], "0".repeat(43))),
            // The secret of a good one with another id.
            with_sum(format!("{}{}", &tried.bob[..15], &good[15..59])),
        ]
    });
}

#[test]
fn a_revoked_token() {
    refused("bad-token", |tried| {
        let token = tried.place.token("alice", "all", &[]);
        assert_eq!(tried.server.ask(&token, "GET", "/alice/self").status, 200);
        tried.place.json(&["token", "revoke", &token[5..15]]);
        vec![token]
    });
}

#[test]
fn an_expired_token() {
    refused("bad-token", |tried| {
        let soon = tried.place.token("alice", "all", &["--expires", "1s"]);
        let begin = std::time::Instant::now();
        while tried.server.ask(&soon, "GET", "/alice/self").status == 200 {
            assert!(begin.elapsed().as_secs() < 60, "it does not expire");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        vec![soon, tried.place.token("alice", "all", &["--expires", "0s"])]
    });
}

#[test]
fn a_token_from_elsewhere() {
    refused("bad-token", |tried| vec![tried.place.token("alice", "all", &["--network", "192.0.2.0/24"])]);
}

/// The header in other forms than the one that is right.
#[test]
fn a_good_token_in_another_place() {
    on_each("", |tried| {
        let good = &tried.alice;
        let url = format!("{}/v1/alice/self", tried.server.url);
        let ask = |headers: &[(&str, &str)], query: &str| {
            let answer = tried.place.http.send("GET", &format!("{url}{query}"), headers, &[]);
            assert_eq!(answer.problem(), "bad-token", "{headers:?} {query}");
        };
        ask(&[("authorization", good)], "");
        ask(&[("authorization", &format!("Basic {good}"))], "");
        ask(&[("authorization", &format!("Bearer,{good}"))], "");
        ask(&[("authorization", &format!("Bearer {good} {good}"))], "");
        ask(&[("cookie", &format!("token={good}"))], "");
        ask(&[], &format!("?token={good}&access_token={good}"));
        let right: Value =
            tried.place.http.send("GET", &url, &[("authorization", &format!("bearer {good}"))], &[]).ok();
        assert_eq!(right["tenant"], "alice");
        // What stood in a query is in no log.
        assert!(!tried.server.log().contains(&good[16..]) && !tried.place.audit().contains(&good[16..]));
    });
}

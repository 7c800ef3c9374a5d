//! Which tokens are good, and for what.

use serde_json::Value;

use crate::s3::fake::Faults;
use crate::support::{Place, Running, id, text};

#[test]
fn only_good_tokens_are_accepted() {
    let place = Place::new(Faults::default(), "");
    only_good_ones(&place, &place_server(&place));
}

fn place_server(place: &Place) -> Running {
    place.tenant("alice");
    place.serve()
}

/// Also run on PostgreSQL.
pub fn only_good_ones(place: &Place, server: &Running) {
    let good = place.token("alice", "restore", &[]);
    assert_eq!(server.ask(&good, "GET", "/alice/chunk").status, 200);
    let other = place.token("alice", "restore", &[]);
    // The id of one, the secret of the other: the checksum is right for its own text only.
    let forged = obnam_server::token::Token::generate().expect("a token");
    let mistyped = format!("{}{}", &good[..64], if good.ends_with('0') { '1' } else { '0' });
    let mixed = format!("{}{}", &good[..15], &other[15..]);
    for bad in ["", "x", forged.reveal(), &mistyped, &mixed, &good[..64]] {
        let answer = server.ask(bad, "GET", "/alice/chunk");
        assert_eq!((answer.status, answer.problem().as_str()), (401, "bad-token"), "{bad}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    let bare = place.http.send("GET", &format!("{}/v1/alice/chunk", server.url), &[], &[]);
    assert_eq!(bare.problem(), "bad-token");

    let expired = place.token("alice", "restore", &["--expires", "0s"]);
    let elsewhere = place.token("alice", "restore", &["--network", "192.0.2.0/24", "--network", "2001:db8::/32"]);
    let here = place.token("alice", "restore", &["--network", "192.0.2.0/24", "--network", "127.0.0.0/8"]);
    assert_eq!(server.ask(&expired, "GET", "/alice/chunk").problem(), "bad-token");
    assert_eq!(server.ask(&elsewhere, "GET", "/alice/chunk").problem(), "bad-token");
    assert_eq!(server.ask(&here, "GET", "/alice/chunk").status, 200);

    place.json(&["token", "revoke", &good[5..15]]);
    assert_eq!(server.ask(&good, "GET", "/alice/chunk").problem(), "bad-token");
    let rotated = place.json(&["token", "rotate", &here[5..15]]);
    assert_eq!(server.ask(&here, "GET", "/alice/chunk").problem(), "bad-token");
    let rotated = text(&rotated["token"]);
    assert_eq!(server.ask(rotated, "GET", "/alice/chunk").status, 200);
    let slowly = place.json(&["token", "rotate", &rotated[5..15], "--overlap", "1h"]);
    assert_eq!(server.ask(rotated, "GET", "/alice/chunk").status, 200);
    assert_eq!(server.ask(text(&slowly["token"]), "GET", "/alice/chunk").status, 200);

    let shown = place.json(&["token", "show", &rotated[5..15]]);
    assert!(shown["last-used"].as_u64().is_some_and(|used| used + 60 > obnam_server::now()), "{shown}");
    let listed = place.json(&["token", "list", "--tenant", "alice"]).to_string();
    for secret in [&good, &other, &expired] {
        assert!(listed.contains(&secret[5..15]) && !listed.contains(&secret[16..]), "{listed}");
    }
    let state = std::fs::read(place.folder().join("state.db")).unwrap_or_default();
    assert!(!String::from_utf8_lossy(&state).contains(&good[16..]), "the database holds a token");
}

#[test]
fn tenants_do_not_see_each_other() {
    let place = Place::new(Faults::default(), "");
    let server = place_server(&place);
    place.tenant("bob");
    let alice = place.token("alice", "all", &[]);
    let bob = place.token("bob", "all", &[]);
    server.store(&alice, "alice", "data", b"of alice");
    let chunk = id(b"of alice");
    let mut answers = Vec::new();
    for tenant in ["alice", "nobody", "bob%2F..%2Falice", "..", "%2e%2e", "bob%00"] {
        for path in
            [format!("/chunk/{chunk}?label=data"), "/chunk".to_owned(), "/self".to_owned(), "/removal".to_owned()]
        {
            let answer = server.ask(&bob, "GET", &format!("/{tenant}{path}"));
            assert_eq!(answer.problem(), "not-found", "{tenant}{path}");
            answers.push(answer.body);
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "there is more than one answer for what must not be known");
    // The same chunk: nothing tells that another tenant has it.
    assert_eq!(server.ask(&bob, "GET", &format!("/bob/chunk/{chunk}")).problem(), "not-found");
    let access = server.put_access(&bob, "bob", "data", b"of alice").ok();
    assert_eq!(place.http.follow(&access, b"of alice").status, 200);
}

/// What may be done with chunks of a label: find, read, create, delete.
type OfLabel = (&'static str, bool, bool, bool, bool);

/// What each preset may do.
const PRESETS: [(&str, [OfLabel; 6]); 5] = [
    (
        "bootstrap",
        [
            ("data", false, false, false, false),
            ("tree", false, false, false, false),
            ("snapshot.aa", false, false, false, false),
            ("index.aa", false, false, false, false),
            ("tombstone", false, false, false, false),
            ("roster", true, true, false, false),
        ],
    ),
    (
        "backup",
        [
            ("data", false, false, true, false),
            ("tree", false, false, true, false),
            ("snapshot.aa", true, true, true, false),
            ("index.aa", true, true, true, false),
            ("tombstone", true, true, false, false),
            ("roster", true, true, false, false),
        ],
    ),
    (
        "restore",
        [
            ("data", true, true, false, false),
            ("tree", true, true, false, false),
            ("snapshot.aa", true, true, false, false),
            ("index.aa", true, true, false, false),
            ("tombstone", true, true, false, false),
            ("roster", true, true, false, false),
        ],
    ),
    (
        "prune",
        [
            ("data", true, true, true, true),
            ("tree", true, true, true, true),
            ("snapshot.aa", true, true, false, true),
            ("index.aa", true, true, true, true),
            ("tombstone", true, true, true, true),
            ("roster", true, true, false, false),
        ],
    ),
    (
        "all",
        [
            ("data", true, true, true, true),
            ("tree", true, true, true, true),
            ("snapshot.aa", true, true, true, true),
            ("index.aa", true, true, true, true),
            ("tombstone", true, true, true, true),
            ("roster", true, true, true, true),
        ],
    ),
];

#[test]
fn every_call_with_every_preset() {
    let place = Place::new(Faults::default(), "");
    let server = place_server(&place);
    let all = place.token("alice", "all", &[]);
    for (preset, labels) in PRESETS {
        let token = place.token("alice", preset, &[]);
        for (label, find, read, create, delete) in labels {
            let bytes = format!("{preset} {label}");
            server.store(&all, "alice", label, bytes.as_bytes());
            let path = format!("/alice/chunk/{}", id(bytes.as_bytes()));
            let what = format!("{preset} {label}");
            let is = |answer: crate::support::Answer, allowed: bool, otherwise: &str| {
                if allowed {
                    assert_eq!(answer.status, 200, "{what}: {:?}", answer.body);
                } else {
                    assert_eq!(answer.problem(), otherwise, "{what}");
                }
            };
            is(server.ask(&token, "GET", &format!("{path}/stat?label={label}")), find, "not-found");
            is(server.ask(&token, "GET", &format!("{path}?label={label}")), read, "not-found");
            is(server.ask(&token, "GET", &path), read, "not-found");
            is(server.put_access(&token, "alice", label, b"new"), create, "not-allowed");
            is(server.ask(&token, "DELETE", &format!("{path}?label={label}")), delete, "not-allowed");
            is(server.ask(&token, "POST", &format!("{path}/undelete?label={label}")), create || delete, "not-allowed");
            let listed = server.ask(&token, "GET", &format!("/alice/chunk?label={label}")).ok();
            assert_eq!(listed["chunks"].as_array().is_some_and(|chunks| !chunks.is_empty()), find, "{what}");
        }
    }
}

#[test]
fn single_rights_are_enough_for_their_call() {
    let place = Place::new(Faults::default(), "");
    let server = place_server(&place);
    let made = place.json(&[
        "token",
        "create",
        "--tenant",
        "alice",
        "--name",
        "x",
        "--right",
        "create=data",
        "--right",
        "find=snapshot.",
    ]);
    let token = text(&made["token"]);
    assert_eq!(server.put_access(token, "alice", "data", b"x").status, 200);
    assert_eq!(server.put_access(token, "alice", "tree", b"x").problem(), "not-allowed");
    assert_eq!(server.ask(token, "GET", &format!("/alice/chunk/{}", id(b"x"))).problem(), "not-found");
    let me = server.ask(token, "GET", "/alice/self").ok();
    assert_eq!(me["rights"], serde_json::json!({ "create": ["data"], "find": ["snapshot."] }));
    assert_eq!((&me["tenant"], &me["stores"]), (&Value::from("alice"), &Value::from(true)));
}

#[test]
fn wrong_input_on_the_command_line_is_told() {
    let place = Place::new(Faults::default(), "");
    for (arguments, word) in [
        (&["token", "create", "--tenant", "nobody", "--name", "x", "--preset", "all"][..], "tenant create nobody"),
        (&["token", "create", "--tenant", "A", "--name", "x", "--preset", "all"], "cannot name a tenant"),
        (&["token", "create", "--tenant", "a", "--name", "x", "--right", "fly=*"], "no verb"),
        (&["token", "create", "--tenant", "a", "--name", "x", "--right", "read=A"], "names no labels"),
        (&["token", "create", "--tenant", "a", "--name", "x"], "--preset"),
        (&["token", "revoke", "0123456789"], "there is no token 0123456789"),
        (&["token", "show", "short"], "short"),
        (&["tenant", "quota", "nobody", "1G"], "there is no tenant nobody"),
        (&["tenant", "removals", "nobody"], "there is no tenant nobody"),
    ] {
        let output = place.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!([Some(2), Some(17)].contains(&output.status.code()), "{arguments:?}: {:?} {error}", output.status);
        assert!(error.contains(word), "{arguments:?}: {error}");
    }
    place.tenant("alice");
    assert_eq!(place.run(&["tenant", "create", "alice"]).status.code(), Some(17));
}

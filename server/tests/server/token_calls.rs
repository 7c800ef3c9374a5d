//! Tokens that are made, listed and revoked with tokens.

use serde_json::{Value, json};

use crate::s3::fake::Faults;
use crate::support::{Answer, Place, Running, text};

fn make(server: &Running, token: &str, wish: &Value) -> Answer {
    server.ask_with(token, "POST", "/alice/token", wish.to_string().as_bytes())
}

fn list(server: &Running, token: &str) -> Vec<String> {
    let listed = server.ask(token, "GET", "/alice/token").ok();
    let tokens = listed["tokens"].as_array().expect("a list");
    tokens.iter().map(|token| text(&token["id"]).to_owned()).collect()
}

fn revoke(server: &Running, token: &str, id: &str) -> Answer {
    server.ask(token, "DELETE", &format!("/alice/token/{id}"))
}

fn id(token: &str) -> &str {
    &token[5..15]
}

fn started() -> (Place, Running) {
    let place = Place::new(Faults::default(), "");
    place.tenant("alice");
    let server = place.serve();
    (place, server)
}

#[test]
fn made_used_listed_and_revoked() {
    let (place, server) = started();
    made_and_revoked(&place, &server);
}

/// Also run on PostgreSQL.
pub fn made_and_revoked(place: &Place, server: &Running) {
    let all = place.token("alice", "all", &[]);
    let answer = make(server, &all, &json!({ "name": "laptop", "preset": "backup" }));
    let made = answer.ok();
    assert_eq!(answer.headers["cache-control"], "no-store");
    let laptop = text(&made["token"]);
    assert_eq!((&made["id"], &made["name"]), (&json!(id(laptop)), &json!("laptop")));
    assert_eq!((&made["made-by"], &made["networks"]), (&json!(id(&all)), &json!([])));
    let own = server.ask(laptop, "GET", "/alice/self").ok();
    assert_eq!(own["rights"], made["rights"]);
    assert_eq!(server.put_access(laptop, "alice", "data", b"x").status, 200);
    assert_eq!(server.put_access(laptop, "alice", "roster", b"x").problem(), "not-allowed");
    // It manages nothing, but may give itself up.
    assert_eq!(server.ask(laptop, "GET", "/alice/token").problem(), "not-allowed");
    assert_eq!(make(server, laptop, &json!({ "name": "x", "preset": "bootstrap" })).problem(), "not-allowed");
    assert_eq!(revoke(server, laptop, id(&all)).problem(), "not-allowed");
    let listed = server.ask(&all, "GET", "/alice/token");
    assert!(!String::from_utf8_lossy(&listed.body).contains(&laptop[16..]), "a list holds a secret");
    assert!(list(server, &all).contains(&id(laptop).to_owned()));
    assert_eq!(revoke(server, laptop, id(laptop)).ok(), json!({ "id": id(laptop), "state": "revoked" }));
    assert_eq!(server.ask(laptop, "GET", "/alice/self").problem(), "bad-token");
    assert!(!list(server, &all).contains(&id(laptop).to_owned()));
    // Again, for a request whose answer was lost.
    assert_eq!(revoke(server, &all, id(laptop)).status, 200);

    let second = make(server, &all, &json!({ "name": "second", "preset": "bootstrap" })).ok();
    let second = text(&second["token"]);
    assert_eq!(server.ask(second, "GET", "/alice/chunk?label=credential").status, 200);
    assert_eq!(
        server.ask(second, "GET", &format!("/alice/chunk/{}?label=data", "0".repeat(64))).problem(),
        "not-found"
    );
    assert_eq!(revoke(server, &all, id(second)).status, 200);
    assert_eq!(server.ask(second, "GET", "/alice/self").problem(), "bad-token");

    let audit = place.audit();
    for line in [
        format!(r#""action":"token-create","subject":"{}","count":0,"bytes":0,"outcome":"ok""#, id(laptop)),
        format!(r#""action":"token-revoke","subject":"{}","count":0,"bytes":0,"outcome":"ok""#, id(laptop)),
        r#""action":"token-list","count":0,"bytes":0,"outcome":"not-allowed""#.to_owned(),
    ] {
        assert!(audit.contains(&line), "{line} is not in\n{audit}");
    }
    for secret in [&all, laptop, second] {
        assert!(!audit.contains(&secret[16..]) && !server.log().contains(&secret[16..]), "a log holds a token");
    }
}

#[test]
fn nothing_beyond_the_asking_token() {
    let (place, server) = started();
    let all = place.token("alice", "all", &[]);
    let year = obnam_server::now() + 365 * 86400;
    let month = obnam_server::now() + 30 * 86400;
    let limits = json!({ "expires": month, "networks": ["127.0.0.0/8", "192.0.2.0/24"], "daily-bytes": 1000 });
    let wish = |rights: Value, more: &Value| {
        let mut wish = json!({ "name": "x", "rights": rights });
        for (key, value) in more.as_object().expect("an object") {
            wish[key] = value.clone();
        }
        wish
    };
    let rights = json!({ "find": ["*"], "read": ["snapshot.", "roster"], "admin": ["*"] });
    let chief = make(&server, &all, &wish(rights, &limits)).ok();
    assert_eq!(chief["expires"], json!(month));
    let chief = text(&chief["token"]);
    // What is not said is as for the asking token.
    let same = make(&server, chief, &wish(json!({ "read": ["snapshot.aa"], "find": ["data"] }), &json!({}))).ok();
    for (key, value) in limits.as_object().expect("an object") {
        assert_eq!(same[key], *value, "{key}");
    }
    let within = json!({ "expires": month - 1, "networks": ["192.0.2.7/32"], "daily-bytes": 1 });
    assert_eq!(make(&server, chief, &wish(json!({ "read": ["snapshot."] }), &within)).status, 200);
    for rights in [
        json!({ "read": ["*"] }),
        json!({ "read": ["snapshot"] }),
        json!({ "read": ["snapshots."] }),
        json!({ "read": ["roster."] }),
        json!({ "read": ["roster", "client"] }),
        json!({ "create": ["data"] }),
        json!({ "delete": ["snapshot.aa"] }),
    ] {
        let answer = make(&server, chief, &wish(rights.clone(), &json!({})));
        assert_eq!(answer.problem(), "not-allowed", "{rights}");
    }
    for more in [
        json!({ "expires": year }),
        json!({ "expires": month + 1 }),
        json!({ "networks": [] }),
        json!({ "networks": ["0.0.0.0/0"] }),
        json!({ "networks": ["127.0.0.0/8", "198.51.100.0/24"] }),
        json!({ "networks": ["::1/128"] }),
        json!({ "daily-bytes": 1001 }),
    ] {
        let answer = make(&server, chief, &wish(json!({ "find": ["data"] }), &more));
        assert_eq!(answer.problem(), "not-allowed", "{more}");
    }
    // What it could not make it does not see, nor revoke: as if it were not there.
    let unknown = revoke(&server, chief, "0123456789");
    assert_eq!(unknown.problem(), "not-found");
    for other in
        [&all, &place.token("alice", "backup", &[]), &place.token("alice", "bootstrap", &["--expires", "365d"])]
    {
        assert_eq!(revoke(&server, chief, id(other)).body, unknown.body);
        assert!(!list(&server, chief).contains(&id(other).to_owned()));
        assert_eq!(server.ask(other, "GET", "/alice/self").status, 200);
    }
    assert_eq!(list(&server, chief).len(), 3, "itself and the two that it made");
    assert_eq!(revoke(&server, chief, text(&same["id"])).status, 200);
    // An administrator of some labels only.
    let part = make(&server, &all, &wish(json!({ "read": ["*"], "admin": ["snapshot."] }), &json!({}))).ok();
    let part = text(&part["token"]);
    assert_eq!(make(&server, part, &wish(json!({ "read": ["snapshot.a"] }), &json!({}))).status, 200);
    assert_eq!(make(&server, part, &wish(json!({ "read": ["data"] }), &json!({}))).problem(), "not-allowed");
}

#[test]
fn tokens_of_other_tenants_do_not_exist() {
    let (place, server) = started();
    place.tenant("bob");
    let (alice, bob) = (place.token("alice", "all", &[]), place.token("bob", "all", &[]));
    let victim = place.token("alice", "backup", &[]);
    for (method, path) in [("GET", "/alice/token".to_owned()), ("DELETE", format!("/alice/token/{}", id(&victim)))] {
        assert_eq!(server.ask(&bob, method, &path).problem(), "not-found");
    }
    let wish = json!({ "name": "x", "preset": "backup" });
    assert_eq!(make(&server, &bob, &wish).problem(), "not-found");
    let by_id = server.ask(&bob, "DELETE", &format!("/bob/token/{}", id(&victim)));
    assert_eq!(by_id.body, server.ask(&bob, "DELETE", "/bob/token/0123456789").body);
    assert_eq!(server.ask(&victim, "GET", "/alice/self").status, 200);
    assert_eq!(list(&server, &alice).len(), 2);
}

#[test]
fn wishes_that_make_no_sense_are_told() {
    let (place, server) = started();
    let all = place.token("alice", "all", &[]);
    let long = "x".repeat(101);
    let many: Vec<String> = (0..101).map(|number| format!("a{number}")).collect();
    for (wish, word) in [
        (json!({ "preset": "backup" }), "name"),
        (json!({ "name": "", "preset": "backup" }), "a name"),
        (json!({ "name": long, "preset": "backup" }), "a name"),
        (json!({ "name": "a\nb", "preset": "backup" }), "a name"),
        (json!({ "name": "x" }), "either a preset or rights"),
        (json!({ "name": "x", "preset": "backup", "rights": { "read": ["data"] } }), "either"),
        (json!({ "name": "x", "preset": "root" }), "root"),
        (json!({ "name": "x", "rights": {} }), "1 to 100 rights"),
        (json!({ "name": "x", "rights": { "read": many } }), "1 to 100 rights"),
        (json!({ "name": "x", "rights": { "fly": ["*"] } }), "fly"),
        (json!({ "name": "x", "rights": { "read": ["A"] } }), "names no labels"),
        (json!({ "name": "x", "preset": "backup", "expires": 1 }), "in the past"),
        (json!({ "name": "x", "preset": "backup", "expires": u64::MAX }), "too large"),
        (json!({ "name": "x", "preset": "backup", "daily-bytes": u64::MAX }), "too large"),
        (json!({ "name": "x", "preset": "backup", "networks": ["everywhere"] }), "networks"),
        (json!({ "name": "x", "preset": "backup", "tenant": "bob" }), "tenant"),
    ] {
        let answer = make(&server, &all, &wish);
        assert_eq!((answer.status, answer.problem().as_str()), (400, "bad-request"), "{wish}");
        assert!(text(&answer.json()["detail"]).contains(word), "{wish}: {:?}", answer.body);
    }
    assert_eq!(revoke(&server, &all, "short").problem(), "bad-request");
    assert_eq!(server.ask(&all, "PUT", "/alice/token").problem(), "method-not-allowed");
    assert_eq!(list(&server, &all).len(), 1);
}

#[test]
fn the_operator_revokes_a_token_with_all_that_it_made() {
    let (place, server) = started();
    let all = place.token("alice", "all", &[]);
    let other = place.token("alice", "all", &[]);
    let wish = json!({ "name": "x", "preset": "all" });
    let child = text(&make(&server, &all, &wish).ok()["token"]).to_owned();
    let grandchild = text(&make(&server, &child, &wish).ok()["token"]).to_owned();
    assert_eq!(place.json(&["token", "show", id(&grandchild)])["made-by"], id(&child));
    let done = place.json(&["token", "revoke", id(&all), "--with-made"]);
    assert_eq!(done["made"], json!([id(&child), id(&grandchild)]));
    for revoked in [&all, &child, &grandchild] {
        assert_eq!(server.ask(revoked, "GET", "/alice/self").problem(), "bad-token");
    }
    assert_eq!(server.ask(&other, "GET", "/alice/self").status, 200);
}

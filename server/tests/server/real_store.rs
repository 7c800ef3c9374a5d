//! The same against a real store, Garage: it ignores `if-none-match`, so the checksum and the length alone have to bind.

use serde_json::Value;

use crate::s3::garage::Garage;
use crate::support::{Http, Place, Running, id, text};

#[test]
fn signed_urls_store_the_announced_bytes_only() {
    let garage = Garage::start();
    let place = Place::at(garage, None, "");
    let found = place.json(&["check"]);
    assert_eq!((&found["store"]["binds"], &found["store"]["create_only"]), (&true.into(), &false.into()), "{found}");
    place.tenant("alice");
    let token = place.token("alice", "all", &[]);
    let server = place.serve();
    let bytes = b"these bytes were announced";
    let access = server.put_access(&token, "alice", "data", bytes).ok();
    let given = access["headers"].as_object().expect("headers");
    let all: Vec<(&str, &str)> = given.iter().map(|(name, value)| (name.as_str(), text(value))).collect();
    let bare: Vec<(&str, &str)> = all.iter().copied().filter(|(name, _)| *name != "content-length").collect();
    let url = text(&access["url"]);
    let longer = [bytes.as_slice(), b" and more"].concat();
    let other_key = url.replace("/data/", "/roster/");
    type Attack<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, &'a str)], &'a [u8]);
    let attacks: [Attack<'_>; 6] = [
        ("other bytes", "PUT", url, &all, b"those bytes were not so..."),
        ("longer bytes", "PUT", url, &bare, &longer),
        ("without headers", "PUT", url, &[], bytes),
        ("another key", "PUT", &other_key, &all, bytes),
        ("another method", "DELETE", url, &[], &[]),
        ("reading", "GET", url, &[], &[]),
    ];
    for (what, method, url, headers, body) in attacks {
        let answer = place.http.send(method, url, headers, body);
        assert!((400..500).contains(&answer.status), "{what}: {}", answer.status);
        let listed = server.ask(&token, "GET", "/alice/chunk").ok();
        assert_eq!(listed["chunks"], Value::Array(Vec::new()), "{what}");
    }
    assert_eq!(place.http.follow(&access, bytes).status, 200);
    stored(&place.http, &server, &token, bytes);
}

fn stored(http: &Http, server: &Running, token: &str, bytes: &[u8]) {
    let path = format!("/alice/chunk/{}", id(bytes));
    let access = server.ask(token, "GET", &path).ok();
    assert_eq!(http.follow(&access, &[]).body, bytes);
    let stat = server.ask(token, "GET", &format!("{path}/stat?label=data")).ok();
    assert_eq!(stat["size"], bytes.len());
    let listed = server.ask(token, "GET", "/alice/chunk?label=data").ok();
    assert_eq!(listed["chunks"][0], stat);
    assert_eq!(server.ask(token, "DELETE", &format!("{path}?label=data")).ok()["state"], "pending");
}

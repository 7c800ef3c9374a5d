//! Preparing a tenant's place.

use std::ops::Deref;

use serde_json::json;

use crate::s3::Access;
use crate::s3::client::Blocking;
use crate::s3::fake::{Faults, Object};
use crate::s3::garage::Garage;
use crate::support::{Place, id};

const MARKER: &str = "server/alice/OBNAM-CHUNK-STORE";

#[test]
fn a_place_is_prepared_once() {
    prepared_once(&Place::new(Faults::default(), ""));
}

#[test]
fn a_place_is_prepared_on_garage() {
    prepared_once(&Place::at(Garage::start(), None, ""));
}

fn prepared_once<S: Deref<Target = Access>>(place: &Place<S>) {
    place.tenant("alice");
    place.tenant("bob");
    let token = place.token("alice", "all", &[]);
    let bob = place.token("bob", "all", &[]);
    let server = place.serve();
    let is_prepared = |token: &str, tenant: &str| {
        let own = server.ask(token, "GET", &format!("/{tenant}/self")).ok();
        assert_eq!(own["data"], json!([place.s3.endpoint()]));
        own["prepared"] == true
    };
    assert!(!is_prepared(&token, "alice"));
    for _ in 0..2 {
        assert_eq!(server.ask(&token, "POST", "/alice/init").ok(), json!({ "state": "prepared" }));
        assert!(is_prepared(&token, "alice") && !is_prepared(&bob, "bob"));
    }
    // What the plugin for S3 writes.
    let text = String::from_utf8(Blocking::new(&place.s3).get(MARKER).to_vec()).expect("text");
    assert_eq!(text, "This is an Obnam chunk store, version 1. Leave it to Obnam.\n");
    assert_eq!(server.ask(&token, "GET", "/alice/chunk").ok()["chunks"], json!([]));
    server.store(&token, "alice", "data", b"x");
    let answer = server.ask(&token, "POST", "/alice/init");
    assert_eq!((answer.status, answer.problem().as_str()), (409, "already-initialised"));
    let listed = server.ask(&token, "GET", "/alice/chunk").ok();
    assert_eq!(listed["chunks"].as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(server.ask(&token, "DELETE", &format!("/alice/chunk/{}?label=data", id(b"x"))).ok()["state"], "pending");
    assert!(place.audit().contains(r#""action":"init","count":0,"bytes":0,"outcome":"already-initialised""#));
}

#[test]
fn only_who_may_make_a_repository_prepares_its_place() {
    let place = Place::new(Faults::default(), "");
    place.tenant("alice");
    let server = place.serve();
    for preset in ["backup", "restore", "prune"] {
        let token = place.token("alice", preset, &[]);
        let answer = server.ask(&token, "POST", "/alice/init");
        assert_eq!((answer.status, answer.problem().as_str()), (403, "not-allowed"), "{preset}");
    }
    let other = place.token("alice", "all", &[]);
    assert_eq!(server.ask(&other, "POST", "/bob/init").problem(), "not-found");
    assert!(place.s3.objects().is_empty());
    let narrow = place.token("alice", "backup", &["--right", "create=repository"]);
    server.ask(&narrow, "POST", "/alice/init").ok();
    assert_eq!(place.s3.objects().into_keys().collect::<Vec<_>>(), [MARKER]);
}

#[test]
fn a_place_of_another_version_is_left_alone() {
    let place = Place::new(Faults::default(), "");
    place.tenant("alice");
    let token = place.token("alice", "all", &[]);
    let server = place.serve();
    server.store(&token, "alice", "data", b"x");
    let object = place.s3.objects().into_values().next().expect("an object");
    place.s3.set_object(MARKER, Object { bytes: "version 9".into(), ..object });
    for (method, path) in [("GET", "/alice/self"), ("POST", "/alice/init")] {
        assert!(server.ask(&token, method, path).status >= 400);
    }
    assert!(server.log().contains("another version of Obnam"), "{}", server.log());
    assert_eq!(place.s3.objects()[MARKER].bytes, "version 9");
}

//! What the operator relies on: the probe, health, logs, metrics, stopping.

use serde_json::{Value, json};

use crate::s3::fake::{Answer, Faults, When};
use crate::support::{Place, id};

#[test]
fn check_says_what_the_store_guarantees() {
    let place = Place::new(Faults::default(), "");
    let found = place.json(&["check"]);
    assert_eq!((&found["store"]["binds"], &found["store"]["create_only"]), (&json!(true), &json!(true)), "{found}");
    place.s3.set_faults(Faults { ignores_if_none_match: true, ..Faults::default() });
    let found = place.json(&["check"]);
    assert_eq!((&found["store"]["binds"], &found["store"]["create_only"]), (&json!(true), &json!(false)), "{found}");
    assert!(place.s3.objects().is_empty(), "the probe left something");
}

#[test]
fn wrong_keys_are_told_in_words() {
    let place = Place::new(Faults::default(), "");
    let output = place.command(&["check"]).env("AWS_SECRET_ACCESS_KEY", "another").output().expect("runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("403 SignatureDoesNotMatch") && error.contains("look at keys"), "{error}");
    assert!(!error.contains("another"), "{error}");
}

#[test]
fn a_store_that_takes_wrong_bytes_gets_no_signed_urls() {
    // The test of uploads shows what happens without this line.
    for faults in [
        Faults { ignores_checksum: true, ..Faults::default() },
        Faults { stores_before_checking: true, ..Faults::default() },
        Faults { copies_unsigned: true, ..Faults::default() },
    ] {
        let place = Place::new(faults, "");
        place.configure("uploads = \"never\"");
        place.tenant("alice");
        let output = place.run(&["check"]);
        assert_eq!(output.status.code(), Some(4), "{output:?}");
        let token = place.token("alice", "all", &[]);
        let server = place.serve();
        assert_eq!(server.put_access(&token, "alice", "data", b"x").problem(), "store-unfit");
        assert_eq!(server.ask(&token, "GET", "/alice/self").ok()["stores"], false);
        // Reading works.
        assert_eq!(server.ask(&token, "GET", &format!("/alice/chunk/{}?label=data", id(b"x"))).status, 200);
        assert!(place.s3.objects().is_empty(), "the probe left something");
    }
}

#[test]
fn a_store_that_does_not_answer_is_told_and_probed_later() {
    let down = Faults::default().trouble(Answer::InternalError, When::Always, None);
    let place = Place::new(down, "");
    place.tenant("alice");
    let output = place.run(&["check"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let token = place.token("alice", "all", &[]);
    let server = place.serve_unprobed();
    let get = |path: &str| place.http.send("GET", &format!("{}{path}", server.url), &[], &[]).status;
    assert_eq!((get("/livez"), get("/readyz")), (200, 503));
    assert_eq!(server.put_access(&token, "alice", "data", b"x").problem(), "store-unfit");
    let answer = server.ask(&token, "GET", "/alice/chunk");
    assert_eq!((answer.status, answer.problem().as_str()), (503, "store-unavailable"));
    place.s3.set_faults(Faults::default());
    server.wait_for("the object store refuses wrong bytes");
    assert_eq!(server.put_access(&token, "alice", "data", b"x").status, 200);
}

#[test]
fn logs_hold_no_secrets_and_no_urls() {
    let place = Place::new(Faults::default(), "");
    place.tenant("alice");
    let token = place.token("alice", "all", &[]);
    let server = place.serve();
    server.store(&token, "alice", "data", b"x");
    server.ask(&token, "GET", &format!("/alice/chunk/{}", id(b"x"))).ok();
    server.ask(&format!("{}x", &token[..64]), "GET", "/alice/chunk");
    let audit = place.audit();
    for text in [server.log(), audit.clone()] {
        for secret in [&token[16..], place.s3.secret_key(), "X-Amz-Signature", &id(b"x")] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    let lines: Vec<Value> = audit.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let create = lines.iter().find(|line| line["action"] == "create").expect("a line");
    assert_eq!(create["token"], &token[5..15]);
    assert_eq!((&create["tenant"], &create["count"], &create["bytes"]), (&json!("alice"), &json!(1), &json!(1)));
    assert_eq!((&create["outcome"], &create["address"]), (&json!("ok"), &json!("127.0.0.1")));
}

#[test]
fn metrics_are_on_their_own_address() {
    let place = Place::new(Faults::default(), "");
    place.tenant("alice");
    let token = place.token("alice", "all", &[]);
    let server = place.serve();
    server.store(&token, "alice", "data", b"xyz");
    let page = place.http.send("GET", &format!("{}/metrics", server.management), &[], &[]);
    let page = String::from_utf8_lossy(&page.body).into_owned();
    assert!(page.contains("obnam_server_signed_bytes_total 3"), "{page}");
    assert!(page.contains(r#"obnam_server_requests_total{path="PUT /v1/{tenant}/chunk",status="200"} 1"#), "{page}");
    assert_eq!(place.http.send("GET", &format!("{}/metrics", server.url), &[], &[]).problem(), "not-found");
}

#[test]
fn it_stops_on_sigterm_and_goes_on_after_kill() {
    let place = Place::new(Faults::default(), "");
    place.tenant("alice");
    let token = place.token("alice", "all", &[]);
    {
        let mut server = place.serve();
        server.store(&token, "alice", "data", b"x");
        server.ask(&token, "DELETE", &format!("/alice/chunk/{}?label=data", id(b"x"))).ok();
        let kill = std::process::Command::new("kill").arg(server.pid().to_string()).status().expect("kill runs");
        assert!(kill.success());
        assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    }
    // Dropping it kills it with SIGKILL.
    drop(place.serve());
    let server = place.serve();
    assert_eq!(server.ask(&token, "GET", "/alice/removal").ok()["removals"].as_array().map(Vec::len), Some(1));
}

#[test]
fn wrong_configurations_are_told() {
    let place = Place::new(Faults::default(), "");
    let config = std::fs::read_to_string(&place.config).expect("reads");
    for (wrong, word) in [
        (config.replace("[s3]", "[s4]"), "s4"),
        (config.replace("server/", "server"), "s3.prefix"),
        (config.replace("sqlite:/", "sqlite:/absent/"), "database"),
        (config.replace("http://127", "ftp://127"), "s3.endpoint"),
        (config.replace("listen = \"127.0.0.1:0\"", "listen = \"x\""), "listen"),
    ] {
        std::fs::write(&place.config, wrong).expect("writes");
        let output = place.run(&["serve"]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(word), "{word}: {error}");
    }
    std::fs::remove_file(&place.config).expect("removes");
    let output = place.run(&["serve"]);
    assert_eq!(output.status.code(), Some(17));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--config"), "{output:?}");
}

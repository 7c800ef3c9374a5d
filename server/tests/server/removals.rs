//! Removals: in two steps, never early, called off by whoever stores the chunk again.

use std::ops::Deref;
use std::path::Path;

use obnam_server::config::Config;
use obnam_server::removal;
use obnam_server::server::Server;
use obnam_server::state::{PendingRemoval, State};
use serde_json::json;

use crate::s3::Access;
use crate::s3::fake::{Action, Answer, Faults, When};
use crate::support::{Place, Running, id};

const DAY: u64 = 86_400;

fn place(more: &str) -> Place {
    let place = Place::new(Faults::default(), more);
    place.tenant("alice");
    place
}

#[test]
fn a_removal_is_pending_for_the_whole_delay() {
    let place = place("");
    pending_and_called_off(&place, &place.serve());
}

/// Also run on PostgreSQL.
pub fn pending_and_called_off(place: &Place, server: &Running) {
    let token = place.token("alice", "all", &[]);
    server.store(&token, "alice", "data", b"x");
    let path = format!("/alice/chunk/{}", id(b"x"));
    let first = server.ask(&token, "DELETE", &format!("{path}?label=data")).ok();
    assert_eq!(first["state"], "pending");
    let until = first["until"].as_u64().expect("a time");
    assert!((obnam_server::now() + 7 * DAY - 60..=obnam_server::now() + 7 * DAY).contains(&until), "{until}");
    // Asking again changes nothing, and neither does anything that a request could carry.
    let again = server.ask(&token, "DELETE", &format!("{path}?label=data&until=0&delay=0")).ok();
    assert_eq!(again, first);
    assert_eq!(server.ask(&token, "GET", &format!("{path}/stat?label=data")).status, 200);
    let listed = server.ask(&token, "GET", "/alice/removal").ok();
    assert_eq!(listed["removals"], json!([first]));

    // Whoever stores the chunk again keeps it.
    server.put_access(&token, "alice", "data", b"x").ok();
    assert_eq!(server.ask(&token, "GET", "/alice/removal").ok()["removals"], json!([]));

    server.ask(&token, "DELETE", &format!("{path}?label=data")).ok();
    let undelete = |state: &str| {
        let answer = server.ask(&token, "POST", &format!("{path}/undelete?label=data")).ok();
        assert_eq!(answer["state"], state);
    };
    undelete("kept");
    undelete("not-pending");

    server.ask(&token, "DELETE", &format!("{path}?label=data")).ok();
    let removals = place.json(&["tenant", "removals", "alice"]);
    assert_eq!(removals["removals"][0]["chunk"], format!("data/{}", id(b"x")));
    assert_eq!(place.json(&["tenant", "undelete", "alice", "--all"])["called-off"], 1);

    let gone = server.ask(&token, "DELETE", &format!("/alice/chunk/{}?label=data", id(b"absent"))).ok();
    assert_eq!(gone["state"], "removed");
}

#[test]
fn a_young_chunk_is_not_removed() {
    let place = place("[removal]\nminimum-age = \"1h\"\n");
    let token = place.token("alice", "all", &[]);
    let server = place.serve();
    server.store(&token, "alice", "data", b"x");
    let path = format!("/alice/chunk/{}?label=data", id(b"x"));
    let answer = server.ask(&token, "DELETE", &path);
    assert_eq!((answer.status, answer.problem().as_str()), (409, "too-young"));
    assert!(answer.json()["until"].as_u64().expect("a time") > obnam_server::now() + 3000);
    assert_eq!(server.ask(&token, "GET", "/alice/removal").ok()["removals"], json!([]));
}

/// A server without a network, and its place.
pub async fn opened<S: Deref<Target = Access>>(place: &Place<S>) -> Server {
    let environment = place.s3.environment();
    let variable = |name: &str| environment.iter().find(|(given, _)| *given == name).map(|(_, value)| value.clone());
    Server::open(Config::read(Path::new(&place.config), variable).expect("a configuration")).await.expect("opens")
}

/// Waits for what the library does.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(work)
}

/// Records a removal whose time has come.
pub async fn due(state: &State, chunk: &str) {
    let tenant = "alice".parse().expect("a tenant");
    state.record_removal(&tenant, chunk, "token", 1, obnam_server::now() - 1).await.expect("records");
}

#[test]
fn what_is_due_is_removed_and_nothing_else() {
    let place = place("");
    due_and_nothing_else(&place);
}

/// Also run on PostgreSQL.
pub fn due_and_nothing_else(place: &Place) {
    let chunks = [b"due", b"two", b"not"].map(|bytes| (bytes, format!("data/{}", id(bytes))));
    {
        let token = place.token("alice", "all", &[]);
        let server = place.serve();
        for (bytes, _) in &chunks {
            server.store(&token, "alice", "data", *bytes);
        }
        server.ask(&token, "DELETE", &format!("/alice/chunk/{}?label=data", id(b"not"))).ok();
    }
    block_on(async {
        let server = opened(place).await;
        due(&server.state, &chunks[0].1).await;
        due(&server.state, &chunks[1].1).await;
        due(&server.state, &format!("data/{}", id(b"absent"))).await;
        assert_eq!(removal::round(&server).await.expect("works"), 3);
        assert_eq!(removal::round(&server).await.expect("works"), 0);
        assert_eq!(server.state.count_removals().await.expect("counts"), 1);
        server.state.close().await;
    });
    let left: Vec<String> = place.s3.objects().into_keys().collect();
    assert_eq!(left, [format!("server/alice/{}", chunks[2].1)]);
    let lines = place.audit();
    assert_eq!(lines.lines().filter(|line| line.contains(r#""action":"remove""#)).count(), 3, "{lines}");
}

#[test]
fn what_was_stored_anew_is_not_removed() {
    let place = place("[removal]\nminimum-age = \"1h\"\n");
    let token = place.token("alice", "all", &[]);
    place.serve().store(&token, "alice", "data", b"x");
    let chunk = format!("data/{}", id(b"x"));
    block_on(async {
        let server = opened(&place).await;
        due(&server.state, &chunk).await;
        assert_eq!(removal::round(&server).await.expect("works"), 1);
        assert_eq!(server.state.count_removals().await.expect("counts"), 0);
        server.state.close().await;
    });
    assert_eq!(place.s3.objects().len(), 1);
    assert!(place.audit().contains(r#""outcome":"too-young""#));
}

#[test]
fn nothing_is_signed_for_a_chunk_that_is_being_removed() {
    let place = place("");
    nothing_while_removed(&place, &place.serve());
}

/// Also run on PostgreSQL.
pub fn nothing_while_removed(place: &Place, server: &Running) {
    let token = place.token("alice", "all", &[]);
    server.store(&token, "alice", "data", b"claimed");
    let chunk = format!("data/{}", id(b"claimed"));
    let claimed = block_on(async {
        let server = opened(place).await;
        due(&server.state, &chunk).await;
        let claimed = server.state.claim_removals(obnam_server::now(), 10).await.expect("claims");
        assert_eq!(claimed, [PendingRemoval { tenant: "alice".into(), chunk: chunk.clone(), until: claimed[0].until }]);
        // It is claimed once.
        assert_eq!(server.state.claim_removals(obnam_server::now(), 10).await.expect("claims"), []);
        server.state.close().await;
        claimed
    });
    let answer = server.put_access(&token, "alice", "data", b"claimed");
    assert_eq!((answer.status, answer.problem().as_str()), (503, "being-removed"));
    assert!(answer.headers.contains_key("retry-after"));
    let undelete = format!("/alice/chunk/{}/undelete?label=data", id(b"claimed"));
    assert_eq!(server.ask(&token, "POST", &undelete).ok()["state"], "not-pending");
    // Another chunk of the same batch is not held up.
    let items = json!([
        { "do": "put", "label": "data", "id": id(b"claimed"), "size": 7 },
        { "do": "put", "label": "data", "id": id(b"y"), "size": 1 },
    ]);
    let answers = server.batch(&token, "alice", &items).ok();
    assert_eq!(answers["answers"][0]["code"], "being-removed");
    assert_eq!(answers["answers"][1]["method"], "PUT");
    block_on(async {
        let opened = opened(place).await;
        opened.state.finish_removal(&claimed[0]).await.expect("finishes");
        opened.state.close().await;
    });
    assert_eq!(server.put_access(&token, "alice", "data", b"claimed").status, 200);
}

#[test]
fn a_removal_that_fails_is_tried_again_later() {
    let place = place("");
    let token = place.token("alice", "all", &[]);
    place.serve().store(&token, "alice", "data", b"x");
    place.s3.set_faults(Faults::default().trouble(
        Answer::Other(403, "", "text/plain"),
        When::Always,
        Some(Action::Delete),
    ));
    let chunk = format!("data/{}", id(b"x"));
    block_on(async {
        let server = opened(&place).await;
        due(&server.state, &chunk).await;
        removal::round(&server).await.expect_err("fails");
        assert_eq!(server.state.count_removals().await.expect("counts"), 1);
        // The claim counts as abandoned later.
        let later = server.state.claim_removals(obnam_server::now() + 700, 10).await.expect("claims");
        assert_eq!(later.len(), 1);
        server.state.close().await;
    });
    assert_eq!(place.s3.objects().len(), 1);
}

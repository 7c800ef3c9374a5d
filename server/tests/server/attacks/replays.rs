//! URLs that outlive what they were signed for, and removals that come too early.

use obnam_server::removal;
use serde_json::Value;

use super::stores::{Tried, is_refused, on_each};
use crate::removals::{block_on, due, opened};
use crate::support::id;

const BYTES: &[u8] = b"stored, removed, and back again";
const OTHER: &[u8] = b"what somebody else would put in";

/// Replays an URL to store a chunk that was removed. The store forgot that it was used, so the chunk comes back: but
/// never as anything else than what was announced.
fn replayed(tried: &Tried, access: &Value) {
    let refused = tried.place.http.follow(access, OTHER);
    assert!(is_refused(&refused), "{}: {:?}", refused.status, refused.body);
    assert!(tried.objects().is_empty(), "{:?}", tried.objects());
    assert_eq!(tried.place.http.follow(access, BYTES).status, 200);
    let key = format!("server/alice/data/{}", id(BYTES));
    assert_eq!(tried.objects().into_iter().collect::<Vec<_>>(), [(key, BYTES.into())]);
}

#[test]
fn a_put_is_replayed_after_somebody_removed_the_object() {
    on_each("", |tried| {
        let access = tried.put_access(BYTES);
        assert_eq!(tried.place.http.follow(&access, BYTES).status, 200);
        tried.remove_object(&format!("server/alice/data/{}", id(BYTES)));
        replayed(tried, &access);
    });
}

#[test]
fn a_put_is_replayed_after_its_removal_was_executed() {
    on_each("", |tried| {
        let access = tried.put_access(BYTES);
        assert_eq!(tried.place.http.follow(&access, BYTES).status, 200);
        execute(tried, 1);
        assert!(tried.objects().is_empty(), "{:?}", tried.objects());
        replayed(tried, &access);
        let path = format!("/alice/chunk/{}/stat?label=data", id(BYTES));
        assert_eq!(tried.server.ask(&tried.alice, "GET", &path).ok()["size"], BYTES.len());
    });
}

/// Lets the removal of `BYTES` be due at once, and executes what is due.
fn execute(tried: &Tried, executed: usize) {
    block_on(async {
        let server = opened(&tried.place).await;
        due(&server.state, &format!("data/{}", id(BYTES))).await;
        assert_eq!(removal::round(&server).await.expect("works"), executed);
        assert_eq!(server.state.count_removals().await.expect("counts"), 0);
        server.state.close().await;
    });
}

/// Whoever replays an URL while a removal is pending makes the chunk younger, which can only keep it.
#[test]
fn a_put_is_replayed_while_a_removal_is_pending() {
    on_each("", |tried| {
        let access = tried.put_access(BYTES);
        assert_eq!(tried.place.http.follow(&access, BYTES).status, 200);
        let path = format!("/alice/chunk/{}?label=data", id(BYTES));
        let removal = tried.server.ask(&tried.alice, "DELETE", &path).ok();
        assert!([200, 412].contains(&tried.place.http.follow(&access, BYTES).status));
        assert!(is_refused(&tried.place.http.follow(&access, OTHER)));
        assert_eq!(tried.server.ask(&tried.alice, "DELETE", &path).ok(), removal);
        assert_eq!(tried.objects().len(), 1);
    });
}

#[test]
fn young_chunks_are_not_removed() {
    on_each("[removal]\nminimum-age = \"1h\"\n", |tried| {
        tried.server.store(&tried.alice, "alice", "data", BYTES);
        let path = format!("/alice/chunk/{}", id(BYTES));
        let answer = tried.server.ask(&tried.alice, "DELETE", &format!("{path}?label=data"));
        assert_eq!((answer.status, answer.problem().as_str()), (409, "too-young"));
        let items = serde_json::json!([{ "do": "delete", "label": "data", "id": id(BYTES) }]);
        let answers = tried.server.batch(&tried.alice, "alice", &items).ok();
        assert_eq!(answers["answers"][0]["code"], "too-young");
        assert_eq!(tried.server.ask(&tried.alice, "GET", "/alice/removal").ok()["removals"], serde_json::json!([]));
        // Not even a removal that was recorded in time, and whose time has come, removes what is young again.
        execute(tried, 1);
        assert_eq!(tried.objects().len(), 1);
        assert!(tried.place.audit().contains(r#""outcome":"too-young""#));
    });
}

//! Quotas of tenants and tokens.

use serde_json::json;

use obnam_server::survey;

use crate::s3::fake::Faults;
use crate::support::{Place, Running, id};

#[test]
fn a_tenant_stores_no_more_than_its_quota() {
    let place = Place::new(Faults::default(), "");
    place.tenant("alice");
    no_more_than_the_quota(&place, &place.serve());
}

/// Also run on PostgreSQL.
pub fn no_more_than_the_quota(place: &Place, server: &Running) {
    place.json(&["tenant", "quota", "alice", "100"]);
    let token = place.token("alice", "backup", &[]);
    let put = |size: u64| {
        let path = format!("/alice/chunk?id={}&label=data&size={size}", id(&size.to_le_bytes()));
        server.ask(&token, "PUT", &path)
    };
    assert_eq!(put(60).status, 200);
    let refused = put(41);
    assert_eq!((refused.status, refused.problem().as_str()), (507, "quota"));
    assert_eq!(put(40).status, 200);
    assert_eq!(put(1).problem(), "quota");
    assert_eq!(put(0).status, 200);
    // All of a batch fits, or nothing is counted.
    place.json(&["tenant", "quota", "alice", "110"]);
    let item = |n: u8| json!({ "do": "put", "label": "data", "id": id(&[n]), "size": 6 });
    let answers = server.batch(&token, "alice", &json!([item(1), item(2)])).ok();
    assert_eq!(answers["answers"][1]["code"], "quota");
    assert_eq!(put(10).status, 200);
    place.json(&["tenant", "quota", "alice", "none"]);
    assert_eq!(put(1000).status, 200);
}

#[test]
fn a_listing_replaces_what_was_signed() {
    let place = Place::new(Faults::default(), "");
    place.tenant("alice");
    place.json(&["tenant", "quota", "alice", "100"]);
    let token = place.token("alice", "backup", &[]);
    {
        let server = place.serve();
        server.store(&token, "alice", "snapshot.aa", b"0123456789");
        // Signed, and never stored.
        server.ask(&token, "PUT", &format!("/alice/chunk?id={}&label=data&size=90", id(b"x"))).ok();
        assert_eq!(server.put_access(&token, "alice", "data", b"y").problem(), "quota");
    }
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        let server = crate::removals::opened(&place).await;
        survey::round(&server).await.expect("surveys");
        server.state.close().await;
    });
    let tenants = place.json(&["tenant", "list"]);
    let alice = &tenants["tenants"][0];
    assert_eq!((&alice["used"], &alice["signed"]), (&json!(10), &json!(0)), "{alice}");
    assert!(alice["newest_snapshot"].as_u64().is_some_and(|time| time + 60 > obnam_server::now()));
    let server = place.serve();
    assert_eq!(server.put_access(&token, "alice", "data", b"y").status, 200);
}

#[test]
fn a_token_signs_no_more_than_its_bytes_of_a_day() {
    let place = Place::new(Faults::default(), "");
    place.tenant("alice");
    no_more_than_a_day(&place, &place.serve());
}

/// Also run on PostgreSQL.
pub fn no_more_than_a_day(place: &Place, server: &Running) {
    let token = place.token("alice", "backup", &["--daily-bytes", "10"]);
    let other = place.token("alice", "backup", &[]);
    assert_eq!(server.put_access(&token, "alice", "data", b"12345678").status, 200);
    let refused = server.put_access(&token, "alice", "data", b"123");
    // At midnight there would be more.
    if refused.status != 200 {
        assert_eq!((refused.status, refused.problem().as_str()), (507, "token-quota"));
        let until = refused.json()["until"].as_u64().expect("a time");
        assert!(until.is_multiple_of(86_400) && until > obnam_server::now(), "{until}");
    }
    assert_eq!(server.put_access(&other, "alice", "data", b"123").status, 200);
}

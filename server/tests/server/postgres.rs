//! The same on PostgreSQL, and two servers side by side on one.

use serde_json::json;

use crate::s3::fake::Faults;
use crate::shared::postgres::Postgres;
use crate::support::{Place, id};
use crate::{calls, quotas, removals, token_calls, tokens};

#[test]
fn everything_that_asks_the_database() {
    let Some(postgres) = Postgres::start() else {
        eprintln!("NOT TESTED: PostgreSQL is not installed");
        return;
    };
    let place = |name: &str| {
        let place = Place::with(Faults::default(), Some(&postgres.database(name)), "");
        place.tenant("alice");
        place
    };
    let one = place("one");
    let server = one.serve();
    let token = one.token("alice", "all", &[]);
    calls::stored_found_and_read(&one, &server, &token);
    tokens::only_good_ones(&one, &server);
    token_calls::made_and_revoked(&one, &server);
    removals::pending_and_called_off(&one, &server);
    removals::nothing_while_removed(&one, &server);
    let two = place("two");
    removals::due_and_nothing_else(&two);
    let three = place("three");
    let server = three.serve();
    quotas::no_more_than_the_quota(&three, &server);
    quotas::no_more_than_a_day(&three, &server);
    side_by_side(&place("four"));
}

/// Two servers that share one database.
fn side_by_side(place: &Place) {
    let (left, right) = (place.serve(), place.serve());
    let token = place.token("alice", "all", &[]);
    left.store(&token, "alice", "data", b"x");
    left.ask(&token, "DELETE", &format!("/alice/chunk/{}?label=data", id(b"x"))).ok();
    assert_eq!(right.ask(&token, "GET", "/alice/removal").ok()["removals"].as_array().map(Vec::len), Some(1));
    right.put_access(&token, "alice", "data", b"x").ok();
    assert_eq!(left.ask(&token, "GET", "/alice/removal").ok()["removals"], json!([]));
    place.json(&["tenant", "quota", "alice", "50"]);
    // The quota holds however the requests are spread.
    let granted: usize = std::thread::scope(|scope| {
        let ask = |url: String| {
            let token = &token;
            move || {
                let http = crate::support::Http::new();
                let authorization = format!("Bearer {token}");
                let put = |n: u8| {
                    let url = format!("{url}/v1/alice/chunk?id={}&label=data&size=4", id(&[n]));
                    http.send("PUT", &url, &[("authorization", &authorization)], &[])
                };
                (0..20).filter(|n| put(*n).status == 200).count()
            }
        };
        let threads = [left.url.clone(), right.url.clone()].map(|url| scope.spawn(ask(url)));
        threads.into_iter().map(|thread| thread.join().expect("a count")).sum()
    });
    // Two bytes are used up: the chunk was announced twice.
    assert_eq!(granted, 12);
    place.json(&["token", "revoke", &token[5..15]]);
    assert_eq!(left.ask(&token, "GET", "/alice/self").problem(), "bad-token");
    assert_eq!(right.ask(&token, "GET", "/alice/self").problem(), "bad-token");
}

//! A crowd of clients. Nothing here depends on how fast the machine is.

use std::time::Duration;

use crate::crowd::{Asking, Crowd, Outcome, peak_kib};
use crate::s3::fake::Faults;
use crate::shared::postgres::Postgres;
use crate::support::Place;

/// What `docs/server.md` says.
const MEMORY_KIB: u64 = 256 << 10;

/// All kinds of requests from 200 clients at once; nothing goes wrong but what the limits say.
fn crowded(database: Option<&str>, limits: &str, may_be_refused: bool) {
    let place = Place::with(Faults::default(), database, limits);
    place.tenant("alice");
    let token = place.token("alice", "all", &[]);
    let server = place.serve();
    let crowd =
        Crowd { url: &server.url, token: &token, pid: server.pid(), clients: 200, time: Duration::from_millis(500) };
    for asking in [Asking::Both, Asking::Store, Asking::Read] {
        let Outcome { statuses, urls, .. } = crowd.ask(asking);
        let allowed: &[u16] = if may_be_refused { &[200, 429] } else { &[200] };
        assert!(statuses.keys().all(|status| allowed.contains(status)), "{asking:?}: {statuses:?}\n{}", server.log());
        assert!(may_be_refused || urls >= 200, "{asking:?}: {urls} URLs");
    }
    let peak = peak_kib(server.pid());
    assert!(peak < MEMORY_KIB, "{peak} KiB");
    assert_eq!(place.http.send("GET", &format!("{}/readyz", server.url), &[], &[]).status, 200);
    let other = place.token("alice", "all", &[]);
    let me = server.ask(&other, "GET", "/alice/self");
    assert!(me.status == 200 || may_be_refused && me.status == 429, "{}", me.status);
}

const UNLIMITED: &str = "[limits]\ntoken-requests = 1000000\naddress-requests = 1000000\n";

#[test]
fn a_crowd_on_sqlite() {
    crowded(None, UNLIMITED, false);
}

#[test]
fn a_crowd_on_postgresql() {
    match Postgres::start() {
        Some(postgres) => crowded(Some(&postgres.database("crowd")), UNLIMITED, false),
        None => eprintln!("NOT TESTED: PostgreSQL is not installed"),
    }
}

#[test]
fn a_crowd_that_is_slowed_down() {
    crowded(None, "[limits]\ntoken-requests = 1\naddress-requests = 1\n", true);
}

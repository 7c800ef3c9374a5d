//! The server is killed, its database restarts, its store goes away: nothing that was answered is lost, and all is well
//! again as soon as everything is back.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::removals::{block_on, due, opened};
use crate::s3::Access;
use crate::s3::fake::{self, Action, FakeS3, Faults, When};
use crate::s3::garage::Garage;
use crate::shared::postgres::Postgres;
use crate::shared::proxy::{Behaviour, Proxy};
use crate::support::{Answer, Http, Place, Running, id};

const LIMITS: &str = "[limits]\ntoken-requests = 100000\naddress-requests = 100000\n";

/// Asks until the answer is as wanted.
fn until<T: std::fmt::Debug>(what: &str, ask: impl Fn() -> T, wanted: impl Fn(&T) -> bool) -> T {
    let begin = Instant::now();
    loop {
        let answer = ask();
        if wanted(&answer) {
            return answer;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "{what}: still {answer:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn readiness(server: &Running) -> u16 {
    Http::new().send("GET", &format!("{}/readyz", server.url), &[], &[]).status
}

fn is_unavailable(answer: &Answer, code: &str) {
    assert_eq!((answer.status, answer.problem().as_str()), (503, code));
    let wait: u64 = answer.headers["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
}

/// What a client was told last of a chunk; none while an answer is missing.
type Told = BTreeMap<Vec<u8>, Option<bool>>;

/// Clients that have removals recorded and called off, over and over, until the server is killed. Answers of each chunk
/// whether its removal has to be pending, if that is known.
fn on_and_off(url: &str, token: &str, chunks: &[Vec<u8>]) -> Told {
    let http = Http::new();
    let authorization = format!("Bearer {token}");
    let mut told: Told = chunks.iter().map(|chunk| (chunk.clone(), Some(false))).collect();
    for round in 0.. {
        for chunk in chunks {
            let (id, size) = (id(chunk), chunk.len());
            let (method, path, pending) = match round % 4 {
                0 | 2 => ("DELETE", format!("/alice/chunk/{id}?label=data"), true),
                1 => ("POST", format!("/alice/chunk/{id}/undelete?label=data"), false),
                _ => ("PUT", format!("/alice/chunk?id={id}&label=data&size={size}"), false),
            };
            told.insert(chunk.clone(), None);
            match http.try_send(method, &format!("{url}/v1{path}"), &[("authorization", &authorization)], &[]) {
                Some(answer) => {
                    assert_eq!(answer.status, 200, "{:?}", answer.body);
                    told.insert(chunk.clone(), Some(pending));
                }
                None => return told,
            }
        }
    }
    told
}

/// Kills the server in the middle of requests, again and again.
fn killed_in_requests(place: &Place) {
    let token = place.token("alice", "all", &[]);
    let all: Vec<Vec<Vec<u8>>> =
        (0..4).map(|client| (0..5).map(|chunk| format!("{client} {chunk}").into_bytes()).collect()).collect();
    {
        let server = place.serve();
        all.iter().flatten().for_each(|chunk| server.store(&token, "alice", "data", chunk));
    }
    for _ in 0..3 {
        let server = place.serve();
        for chunk in all.iter().flatten() {
            server.ask(&token, "POST", &format!("/alice/chunk/{}/undelete?label=data", id(chunk))).ok();
        }
        let url = server.url.clone();
        let told: Vec<Told> = std::thread::scope(|scope| {
            let clients: Vec<_> = all.iter().map(|chunks| scope.spawn(|| on_and_off(&url, &token, chunks))).collect();
            std::thread::sleep(Duration::from_millis(700));
            drop(server);
            clients.into_iter().map(|client| client.join().expect("a client")).collect()
        });
        let server = place.serve();
        let answer = server.ask(&token, "GET", "/alice/removal").ok();
        let pending = |chunk: &[u8]| {
            let removals = answer["removals"].as_array().expect("removals");
            removals.iter().any(|removal| removal["id"] == id(chunk))
        };
        for (chunk, told) in told.iter().flatten() {
            if let Some(told) = told {
                assert_eq!(pending(chunk), *told, "{}", String::from_utf8_lossy(chunk));
            }
        }
        assert!(told.iter().flatten().filter(|(_, told)| told.is_some()).count() >= 16);
    }
    assert_eq!(place.s3.objects().len(), 20);
}

#[test]
fn the_server_is_killed_in_the_middle_of_requests() {
    let place = Place::new(Faults::default(), LIMITS);
    place.tenant("alice");
    killed_in_requests(&place);
}

#[test]
fn the_server_is_killed_in_the_middle_of_requests_on_postgresql() {
    let Some(postgres) = Postgres::start() else {
        eprintln!("NOT TESTED: PostgreSQL is not installed");
        return;
    };
    let place = Place::with(Faults::default(), Some(&postgres.database("killed")), LIMITS);
    place.tenant("alice");
    killed_in_requests(&place);
}

/// Removals are due, clients call half of them off, and the server is killed meanwhile.
#[test]
fn the_server_is_killed_in_the_middle_of_removals() {
    let place = Place::new(Faults::default(), LIMITS);
    place.tenant("alice");
    let token = place.token("alice", "all", &[]);
    let chunks: Vec<Vec<u8>> = (0..60_u8).map(|number| vec![number; 3]).collect();
    let (kept, going) = chunks.split_at(10);
    {
        let server = place.serve();
        chunks.iter().for_each(|chunk| server.store(&token, "alice", "data", chunk));
    }
    block_on(async {
        let server = opened(&place).await;
        for chunk in going {
            due(&server.state, &format!("data/{}", id(chunk))).await;
        }
        server.state.close().await;
    });
    // Slow enough to be killed in between.
    let slow = fake::Answer::Late(Duration::from_millis(50));
    place.s3.set_faults(Faults::default().trouble(slow, When::Always, Some(Action::Delete)));
    let mut called_off: Vec<&Vec<u8>> = Vec::new();
    for _ in 0..3 {
        let server = place.serve();
        let before = place.s3.objects().len();
        for chunk in going.iter().rev().take(5) {
            let answer = server.ask(&token, "POST", &format!("/alice/chunk/{}/undelete?label=data", id(chunk))).ok();
            if answer["state"] == "kept" {
                called_off.push(chunk);
            }
        }
        for chunk in going.iter().rev().skip(5).take(5) {
            if server.put_access(&token, "alice", "data", chunk).status == 200 {
                called_off.push(chunk);
            }
        }
        until("a removal", || place.s3.objects().len(), |now| *now < before);
        drop(server);
    }
    place.s3.set_faults(Faults::default());
    let there = |chunk: &[u8]| place.s3.objects().contains_key(&format!("server/alice/data/{}", id(chunk)));
    assert!(!called_off.is_empty());
    for chunk in kept.iter().chain(called_off.iter().copied()) {
        assert!(there(chunk), "a chunk is gone whose removal was called off");
    }
    // What is left of the rest is still recorded, also where a claim was cut off.
    let left = block_on(async {
        let server = opened(&place).await;
        let left = server.state.claim_removals(obnam_server::now() + 700, 1000).await.expect("claims");
        server.state.close().await;
        left
    });
    let recorded = |chunk: &[u8]| left.iter().any(|removal| removal.chunk == format!("data/{}", id(chunk)));
    assert!(!going.iter().all(|chunk| there(chunk)));
    for chunk in going.iter().filter(|chunk| !called_off.contains(chunk)) {
        assert!(!there(chunk) || recorded(chunk), "a removal is forgotten that was not executed");
    }
    assert!(!called_off.iter().any(|chunk| recorded(chunk)));
}

#[test]
fn postgresql_restarts_during_requests() {
    let Some(mut postgres) = Postgres::start() else {
        eprintln!("NOT TESTED: PostgreSQL is not installed");
        return;
    };
    let place = Place::with(Faults::default(), Some(&postgres.database("restarted")), LIMITS);
    place.tenant("alice");
    let token = place.token("alice", "all", &[]);
    let server = place.serve();
    server.store(&token, "alice", "data", b"x");
    let path = format!("/alice/chunk/{}?label=data", id(b"x"));
    let first = server.ask(&token, "DELETE", &path).ok();
    let (over, url, begin) = (AtomicBool::new(false), &server.url, Instant::now());
    std::thread::scope(|scope| {
        // Somebody asks all the time: whatever is not answered 200 is answered 503, and says when to come back.
        let client = scope.spawn(|| {
            let (http, authorization) = (Http::new(), format!("Bearer {token}"));
            let mut refused = 0;
            while !over.load(Ordering::SeqCst) && begin.elapsed() < Duration::from_secs(120) {
                let answer = http.send("GET", &format!("{url}/v1{path}"), &[("authorization", &authorization)], &[]);
                if answer.status != 200 {
                    is_unavailable(&answer, "state-unavailable");
                    refused += 1;
                }
            }
            refused
        });
        std::thread::sleep(Duration::from_millis(300));
        postgres.stop();
        is_unavailable(&server.ask(&token, "GET", "/alice/self"), "state-unavailable");
        let answer = until("readiness", || readiness(&server), |status| *status == 503);
        assert_eq!(answer, 503);
        assert_eq!(Http::new().send("GET", &format!("{url}/livez"), &[], &[]).status, 200);
        postgres.go_on();
        until("an answer", || server.ask(&token, "GET", "/alice/self").status, |status| *status == 200);
        over.store(true, Ordering::SeqCst);
        assert!(client.join().expect("a client") > 0);
    });
    until("readiness", || readiness(&server), |status| *status == 200);
    assert_eq!(server.ask(&token, "GET", "/alice/removal").ok()["removals"], json!([first]));
    server.put_access(&token, "alice", "data", b"y").ok();
}

#[test]
fn garage_restarts_during_requests() {
    let mut place = Place::at(Garage::start(), None, LIMITS);
    place.tenant("alice");
    let token = place.token("alice", "all", &[]);
    let server = place.serve();
    server.store(&token, "alice", "data", b"x");
    let path = format!("/alice/chunk/{}", id(b"x"));
    place.s3.kill();
    for (method, path) in [
        ("GET", "/alice/chunk?label=data".to_owned()),
        ("GET", format!("{path}/stat?label=data")),
        ("DELETE", format!("{path}?label=data")),
        ("GET", path.clone()),
    ] {
        is_unavailable(&server.ask(&token, method, &path), "store-unavailable");
    }
    // Signing asks nobody.
    assert_eq!(server.put_access(&token, "alice", "data", b"y").status, 200);
    until("readiness", || readiness(&server), |status| *status == 503);
    assert_eq!(server.ask(&token, "GET", "/alice/removal").ok()["removals"], json!([]));
    place.s3.restart();
    until("readiness", || readiness(&server), |status| *status == 200);
    assert_eq!(server.ask(&token, "GET", &format!("{path}/stat?label=data")).ok()["size"], 1);
    assert_eq!(server.ask(&token, "DELETE", &format!("{path}?label=data")).ok()["state"], "pending");
}

/// A store that is reached by way of a proxy.
struct Behind {
    proxy: Proxy,
    access: Access,
    _store: FakeS3,
}

impl Deref for Behind {
    type Target = Access;

    fn deref(&self) -> &Access {
        &self.access
    }
}

#[test]
fn the_way_to_the_store_is_cut_or_silent() {
    let store = FakeS3::start(Faults::default());
    let proxy = Proxy::of(&store, Behaviour::Record);
    let place = Place::at(Behind { access: proxy.access(&store), proxy, _store: store }, None, LIMITS);
    place.tenant("alice");
    let token = place.token("alice", "all", &[]);
    let server = place.serve();
    server.store(&token, "alice", "data", b"x");
    place.s3.proxy.cut();
    is_unavailable(&server.ask(&token, "GET", "/alice/chunk"), "store-unavailable");
    until("readiness", || readiness(&server), |status| *status == 503);
    place.s3.proxy.resume();
    until("readiness", || readiness(&server), |status| *status == 200);
    // A store that is silent is not ready either, and whoever asks learns it before the store gives up.
    place.s3.proxy.pause();
    let begin = Instant::now();
    until("readiness", || readiness(&server), |status| *status == 503);
    assert!(begin.elapsed() < Duration::from_secs(40), "{:?}", begin.elapsed());
    place.s3.proxy.resume();
    until("readiness", || readiness(&server), |status| *status == 200);
    assert_eq!(server.ask(&token, "GET", "/alice/chunk").ok()["chunks"].as_array().map(Vec::len), Some(1));
}

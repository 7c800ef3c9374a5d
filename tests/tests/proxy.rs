//! The proxies do what they say: other tests rely on it.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use obnam_tests::proxy::{Behaviour, Connections, Proxy, Trouble};
use obnam_tests::s3::client::{Ask, Blocking};
use obnam_tests::s3::fake::{FakeS3, Faults, Object};

fn get(key: &str) -> Ask<'_> {
    Ask { method: "GET", key, ..Ask::default() }
}

fn start(behaviour: Behaviour) -> (FakeS3, Proxy, Blocking) {
    let fake = FakeS3::start(Faults::default());
    let proxy = Proxy::of(&fake, behaviour);
    let client = Blocking::new(&proxy.access(&fake));
    (fake, proxy, client)
}

#[test]
fn it_records() {
    let (fake, proxy, client) = start(Behaviour::Record);
    let body = vec![7; 3_000_000];
    client.put("a", body.clone());
    assert_eq!(client.get("a"), body);
    assert_eq!(client.send(&get("b")).status, 404);
    assert_eq!(fake.objects()["a"].bytes, body);
    let requests = proxy.requests();
    let seen: Vec<(&str, u16)> = requests.iter().map(|request| (request.method.as_str(), request.status)).collect();
    assert_eq!(seen, [("PUT", 200), ("GET", 200), ("GET", 404)]);
    assert_eq!(
        (requests[0].path.as_str(), requests[0].sent, requests[1].received),
        ("/backups/a", 3_000_000, 3_000_000)
    );
    // A pool may open one more than it needs.
    assert!(proxy.connections().total <= 3);
}

#[test]
fn it_counts_connections() {
    let (_fake, proxy, _) = start(Behaviour::Record);
    let ask = |connection: &mut TcpStream| {
        connection.write_all(b"GET /backups/k HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"</Error>") {
            let mut byte = [0];
            connection.read_exact(&mut byte).unwrap();
            answer.extend(byte);
        }
        assert!(answer.starts_with(b"HTTP/1.1 403"));
    };
    let mut connections: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(proxy.address()).unwrap()).collect();
    for _ in 0..2 {
        connections.iter_mut().for_each(ask);
    }
    assert_eq!(proxy.connections(), Connections { total: 3, peak: 3 });
    assert_eq!(proxy.requests().len(), 6);
    proxy.forget();
    assert!(proxy.requests().is_empty());
    assert_eq!(proxy.connections(), Connections { total: 3, peak: 3 });
}

#[test]
fn delayed_requests_do_not_wait_for_each_other() {
    const DELAY: Duration = Duration::from_millis(300);
    let (fake, proxy, _) = start(Behaviour::Delay(DELAY));
    fake.set_object("k", Object::new(vec![1; 100_000]));
    let access = proxy.access(&fake);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                let begun = Instant::now();
                assert_eq!(Blocking::new(&access).get("k").len(), 100_000);
                assert!(begun.elapsed() >= DELAY);
            });
        }
    });
    assert!(begun.elapsed() < 9 * DELAY, "they were served one after the other");
    assert_eq!(proxy.connections().total, 10);
}

#[test]
fn a_flaky_one_does_all_that_it_can() {
    let (fake, proxy, client) = start(Behaviour::Flaky { seed: 5, one_in: 3 });
    let body = vec![9; 10_000];
    fake.set_object("k", Object::new(body.clone()));
    for _ in 0..150 {
        let _ = client.try_send(&get("k"));
        let _ = client.try_send(&Ask { method: "PUT", key: "l", body: body.clone().into(), ..Ask::default() });
    }
    let requests = proxy.requests();
    assert_eq!(requests.len(), 300);
    let with = |wanted: &dyn Fn(Trouble) -> bool| requests.iter().filter(|one| one.trouble.is_some_and(wanted)).count();
    assert!(with(&|trouble| trouble == Trouble::Reset) > 0);
    assert!(with(&|trouble| trouble == Trouble::Unanswered) > 0);
    assert!(with(&|trouble| trouble == Trouble::Truncate) > 0);
    assert!(with(&|trouble| trouble == Trouble::FlipReceived) > 0);
    assert!(with(&|trouble| trouble == Trouble::FlipSent) > 0);
    assert!(with(&|trouble| matches!(trouble, Trouble::Slow(_))) > 0);
    for status in [500, 503, 429] {
        let count = requests.iter().filter(|one| one.status == status).count();
        assert_eq!(count, with(&|trouble| trouble == Trouble::Status(status)));
        assert!(count > 0);
    }
    // The payload is signed: the fake has noticed each bit that was changed on its way.
    let refused = fake.requests().iter().filter(|request| request.status == 400).count();
    assert_eq!(refused, with(&|trouble| trouble == Trouble::FlipSent));
    proxy.set_behaviour(Behaviour::Record);
    assert_eq!(client.get("k"), body);
}

#[test]
fn nothing_passes_while_it_is_paused() {
    let (fake, proxy, client) = start(Behaviour::Record);
    fake.set_object("k", Object::new("v"));
    proxy.pause();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| client.get("k"));
        std::thread::sleep(Duration::from_millis(200));
        assert!(!asked.is_finished());
        assert!(fake.requests().is_empty());
        proxy.resume();
        assert_eq!(asked.join().unwrap(), "v");
    });
    proxy.cut();
    assert!(client.try_send(&get("k")).is_err());
    proxy.resume();
    assert_eq!(client.get("k"), "v");
}

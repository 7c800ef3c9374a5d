//! What attacks are tried on: a store as strict as S3, one that overwrites, and Garage, a real one that overwrites too.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::Deref;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::s3::Access;
use crate::s3::client::Blocking;
use crate::s3::fake::{FakeS3, Faults};
use crate::s3::garage::Garage;
use crate::support::{Answer, Place, Running, text};

/// A store.
pub enum Store {
    /// Inside the test process.
    Fake(FakeS3),
    /// A real one.
    Garage(Garage),
}

impl Deref for Store {
    type Target = Access;

    fn deref(&self) -> &Access {
        match self {
            Store::Fake(fake) => fake,
            Store::Garage(garage) => garage,
        }
    }
}

/// A running server of the tenants alice and bob.
pub struct Tried {
    pub place: Place<Store>,
    pub server: Running,
    /// Alice's, with all rights.
    pub alice: String,
    /// Bob's, with all rights.
    pub bob: String,
}

impl Tried {
    fn new(store: Store, more: &str) -> Self {
        let place = Place::at(store, None, more);
        place.tenant("alice");
        place.tenant("bob");
        let (alice, bob) = (place.token("alice", "all", &[]), place.token("bob", "all", &[]));
        Tried { server: place.serve(), place, alice, bob }
    }

    /// What is in the store, read past the server.
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        let client = Blocking::new(&self.place.s3);
        client.list("").into_iter().map(|key| (key.clone(), client.get(&key))).collect()
    }

    /// Removes an object past the server.
    pub fn remove_object(&self, key: &str) {
        Blocking::new(&self.place.s3).delete(key);
    }

    /// Access to store these bytes as alice's data.
    pub fn put_access(&self, bytes: &[u8]) -> Value {
        self.server.put_access(&self.alice, "alice", "data", bytes).ok()
    }

    /// How many URLs were signed, by the server's metrics.
    pub fn signed(&self) -> Vec<String> {
        let page = self.place.http.send("GET", &format!("{}/metrics", self.server.management), &[], &[]);
        let page = String::from_utf8_lossy(&page.body).into_owned();
        page.lines().filter(|line| line.starts_with("obnam_server_signed_")).map(str::to_owned).collect()
    }
}

/// Tries something on each of the stores, with these lines more in the configuration of the server.
pub fn on_each(more: &str, attempt: impl Fn(&Tried)) {
    let overwrites = Faults { ignores_if_none_match: true, ..Faults::default() };
    for fake in [Faults::default(), overwrites] {
        attempt(&Tried::new(Store::Fake(FakeS3::start(fake)), more));
    }
    attempt(&Tried::new(Store::Garage(Garage::start()), more));
}

/// The headers of an access without some of them, and with others.
pub fn headers<'a>(access: &'a Value, without: &[&str], with: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let given = access["headers"].as_object().expect("headers");
    let kept = given.iter().filter(|(name, _)| !without.contains(&name.as_str()));
    kept.map(|(name, value)| (name.as_str(), text(value))).chain(with.iter().copied()).collect()
}

/// Sends a request byte by byte as it is given here; the status of the answer, if there is one.
pub fn raw(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<u16> {
    let (address, path) = url.strip_prefix("http://").expect("http").split_once('/').expect("a path");
    let mut request = format!("{method} /{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("sets a time limit");
    stream.write_all(format!("{request}\r\n").as_bytes()).expect("writes");
    // Whoever refuses early may close the connection while this is written.
    let _ = stream.write_all(body).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok()
}

/// What an attempt came to.
pub fn is_refused(answer: &Answer) -> bool {
    (400..500).contains(&answer.status)
}

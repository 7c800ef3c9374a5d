//! What no backup program can be faster than: a bare loop of concurrent requests that moves the objects of a repository.
//!
//! `s3-floor get` reads all objects below a prefix, `s3-floor put` stores the same bytes below another one. Keys come from
//! `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_REGION`. It prints what it did as JSON. Payloads are not hashed.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use obnam_tests::s3::Access;
use obnam_tests::s3::client::{Ask, Blocking, Client};
use tokio::runtime::Runtime;

const USAGE: &str = "s3-floor get|put http://HOST:PORT BUCKET PREFIX CONNECTIONS";

/// An object: its key, and its bytes once they were read.
type Object = (String, Bytes);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [what, endpoint, bucket, prefix, connections] = &words[..] else { panic!("{USAGE}") };
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let access = Access {
        endpoint: endpoint.clone(),
        region: variable("AWS_REGION"),
        bucket: bucket.clone(),
        access_key: variable("AWS_ACCESS_KEY_ID"),
        secret_key: variable("AWS_SECRET_ACCESS_KEY"),
        session_token: None,
    };
    let connections: usize = connections.parse().expect(USAGE);
    let objects: Vec<Object> = Blocking::new(&access).list(prefix).into_iter().map(|key| (key, Bytes::new())).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let begun = Instant::now();
    let objects = all(&runtime, &access, "GET", objects, connections);
    let mut seconds = begun.elapsed().as_secs_f64();
    let bytes: usize = objects.iter().map(|(_, bytes)| bytes.len()).sum();
    let count = objects.len();
    match what.as_str() {
        "get" => {}
        "put" => {
            let renamed = objects.into_iter().map(|(key, bytes)| (format!("floor/{key}"), bytes)).collect();
            let begun = Instant::now();
            all(&runtime, &access, "PUT", renamed, connections);
            seconds = begun.elapsed().as_secs_f64();
        }
        _ => panic!("{USAGE}"),
    }
    println!("{}", serde_json::json!({ "objects": count, "bytes": bytes, "seconds": seconds }));
}

/// Makes a request for each object, so many at a time.
fn all(
    runtime: &Runtime,
    access: &Access,
    method: &'static str,
    objects: Vec<Object>,
    connections: usize,
) -> Vec<Object> {
    let (objects, next) = (Arc::new(objects), Arc::new(AtomicUsize::new(0)));
    let client = Arc::new(Client::new(access));
    let workers: Vec<_> = (0..connections)
        .map(|_| {
            let (objects, next, client) = (Arc::clone(&objects), Arc::clone(&next), Arc::clone(&client));
            runtime.spawn(async move {
                let mut done = Vec::new();
                while let Some((key, bytes)) = objects.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let ask = Ask { method, key, body: bytes.clone(), unsigned: true, ..Ask::default() };
                    let answer = client.send(&ask).await.unwrap();
                    assert_eq!(answer.status, 200, "{method} {key}: {}", answer.text());
                    done.push((key.clone(), answer.body));
                }
                done
            })
        })
        .collect();
    workers.into_iter().flat_map(|worker| runtime.block_on(worker).unwrap()).collect()
}

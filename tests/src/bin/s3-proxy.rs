//! The proxy of the tests as a program, for benchmarks and for trying things out by hand.
//!
//! It prints the address that it listens on. For each line on its standard input it prints how many requests, connections
//! and bytes there were since the one before, as JSON. It ends with its standard input.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::time::Duration;

use obnam_tests::proxy::{Behaviour, Proxy};

const USAGE: &str = "s3-proxy --upstream 127.0.0.1:PORT [--listen 127.0.0.1:PORT] [--delay-ms N] [--seed N --one-in N]";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut options = BTreeMap::new();
    for pair in words.chunks(2) {
        match pair {
            [name, value] if name.starts_with("--") => options.insert(name[2..].to_owned(), value.clone()),
            _ => panic!("{USAGE}"),
        };
    }
    let mut address = |name: &str| -> Option<SocketAddr> {
        let text = options.remove(name)?;
        Some(text.trim_start_matches("http://").parse().unwrap_or_else(|error| panic!("{name} {text}: {error}")))
    };
    let upstream = address("upstream").expect(USAGE);
    let listen = address("listen").unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
    let mut number = |name: &str| options.remove(name).map(|text| text.parse::<u64>().expect(name));
    let behaviour = match (number("delay-ms"), number("seed"), number("one-in")) {
        (Some(delay), None, None) => Behaviour::Delay(Duration::from_millis(delay)),
        (None, Some(seed), one_in) => Behaviour::Flaky { seed, one_in: one_in.unwrap_or(20) },
        (None, None, None) => Behaviour::Record,
        _ => panic!("{USAGE}"),
    };
    assert!(options.is_empty(), "{USAGE}");
    let proxy = Proxy::listen(listen, upstream, behaviour);
    println!("{}", proxy.endpoint());
    for line in std::io::stdin().lock().lines() {
        line.unwrap();
        let (requests, connections) = (proxy.requests(), proxy.connections());
        proxy.forget();
        let mut methods: BTreeMap<&str, usize> = BTreeMap::new();
        for request in &requests {
            *methods.entry(request.method.as_str()).or_default() += 1;
        }
        let counts = serde_json::json!({
            "requests": requests.len(),
            "methods": methods,
            "connections": connections.total,
            "peak-connections": connections.peak,
            "sent": requests.iter().map(|request| request.sent).sum::<u64>(),
            "received": requests.iter().map(|request| request.received).sum::<u64>(),
        });
        println!("{counts}");
        std::io::stdout().flush().unwrap();
    }
}

//! What a crowd of clients gets out of one server: URLs in a second, of which one core of the server, how long requests
//! take, and how much memory the server needs.
//!
//! `cargo bench -p obnam-server --bench load [-- CLIENTS [SECONDS]]`. Clients and server share the machine. No test: it
//! decides nothing.

#[path = "../../tests/src"]
#[allow(dead_code, unused_imports, clippy::unwrap_used)]
mod shared {
    pub mod postgres;
    pub mod proxy;
    pub mod s3;
    pub mod tools;
}
use shared::{s3, tools};

#[path = "../tests/server/crowd.rs"]
mod crowd;
#[path = "../tests/server/support.rs"]
#[allow(dead_code)]
mod support;

use std::time::Duration;

use crowd::{Asking, Crowd, peak_kib};
use s3::fake::Faults;
use shared::postgres::Postgres;
use support::Place;

const LIMITS: &str = "[limits]\ntoken-requests = 1000000\naddress-requests = 1000000\n";

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let clients = numbers.next().unwrap_or(200);
    let time = Duration::from_secs(numbers.next().unwrap_or(10));
    println!("{clients} clients, {} s each, {} cores", time.as_secs(), cores());
    run("SQLite", None, clients, time);
    match Postgres::start() {
        Some(postgres) => run("PostgreSQL", Some(&postgres.database("load")), clients, time),
        None => println!("PostgreSQL is not installed"),
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn run(name: &str, database: Option<&str>, clients: u64, time: Duration) {
    println!(
        "\n{name}\n{:8} {:>10} {:>10} {:>9} {:>9} {:>9}  statuses",
        "asking", "URLs/s", "URLs/core", "p50 ms", "p99 ms", "MiB"
    );
    for asking in [Asking::Reads, Asking::Stores, Asking::Both, Asking::Read, Asking::Store] {
        // A database of its own would be fairer still; a server of its own tells the memory of this alone.
        let place = Place::with(Faults::default(), database, LIMITS);
        let _ = place.run(&["tenant", "create", "alice"]);
        let token = place.token("alice", "all", &[]);
        let server = place.serve();
        let crowd = Crowd { url: &server.url, token: &token, pid: server.pid(), clients: clients as usize, time };
        let outcome = crowd.ask(asking);
        println!(
            "{:8} {:>10.0} {:>10.0} {:>9.1} {:>9.1} {:>9}  {:?}",
            format!("{asking:?}"),
            outcome.urls as f64 / outcome.time.as_secs_f64(),
            outcome.urls as f64 / outcome.busy.as_secs_f64(),
            outcome.percentile(50).as_secs_f64() * 1e3,
            outcome.percentile(99).as_secs_f64() * 1e3,
            peak_kib(server.pid()) / 1024,
            outcome.statuses,
        );
    }
}

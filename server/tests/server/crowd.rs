//! Many clients at once, and what the server did meanwhile.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;

/// What each client asks for, over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// Batches of 1,000 URLs to read.
    Reads,
    /// Batches of 1,000 URLs to store.
    Stores,
    /// Batches of 500 each.
    Both,
    /// One URL to read.
    Read,
    /// One URL to store.
    Store,
}

/// Clients of one tenant.
pub struct Crowd<'a> {
    /// `http://127.0.0.1:PORT`
    pub url: &'a str,
    /// Everybody's token, for the tenant alice.
    pub token: &'a str,
    /// The server's process.
    pub pid: u32,
    /// How many.
    pub clients: usize,
    /// For how long.
    pub time: Duration,
}

/// What happened.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many requests were answered, by status; 0 stands for connections that broke.
    pub statuses: BTreeMap<u16, u64>,
    /// How many URLs were signed.
    pub urls: u64,
    /// How long it took.
    pub time: Duration,
    /// The server's own processor time.
    pub busy: Duration,
    /// How long the answered requests took, in ascending order.
    pub waits: Vec<Duration>,
}

impl Outcome {
    /// The time that so many of a hundred requests did not exceed.
    pub fn percentile(&self, of_hundred: usize) -> Duration {
        let place = (self.waits.len() * of_hundred).div_ceil(100).saturating_sub(1);
        self.waits.get(place).copied().unwrap_or_default()
    }
}

/// Numbers from which ids are made: no two requests ask for the same chunk.
static NEXT: AtomicU64 = AtomicU64::new(1);

impl Crowd<'_> {
    /// Lets them ask until the time is over and every request is answered.
    pub fn ask(&self, asking: Asking) -> Outcome {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let before = processor_time(self.pid);
        let begin = Instant::now();
        let outcomes = runtime.expect("a runtime").block_on(async {
            let clients: Vec<_> = (0..self.clients)
                .map(|_| tokio::spawn(client(self.url.to_owned(), self.token.to_owned(), begin + self.time, asking)))
                .collect();
            let mut outcomes = Vec::new();
            for client in clients {
                outcomes.push(client.await.expect("a client"));
            }
            outcomes
        });
        let mut all = Outcome {
            time: begin.elapsed(),
            busy: processor_time(self.pid).saturating_sub(before),
            ..Outcome::default()
        };
        for outcome in outcomes {
            all.urls += outcome.urls;
            all.waits.extend(outcome.waits);
            for (status, count) in outcome.statuses {
                *all.statuses.entry(status).or_default() += count;
            }
        }
        all.waits.sort_unstable();
        all
    }
}

async fn client(url: String, token: String, end: Instant, asking: Asking) -> Outcome {
    let address: SocketAddr = url.strip_prefix("http://").expect("http").parse().expect("an address");
    let mut outcome = Outcome::default();
    let mut connection = None;
    while Instant::now() < end {
        let request = request(address, &token, asking);
        let begin = Instant::now();
        match send(&mut connection, address, request).await {
            Some((status, body)) => {
                *outcome.statuses.entry(status.as_u16()).or_default() += 1;
                outcome.urls += body.windows(7).filter(|part| part == b"\"url\":\"").count() as u64;
                outcome.waits.push(begin.elapsed());
            }
            None => {
                *outcome.statuses.entry(0).or_default() += 1;
                connection = None;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    outcome
}

type Connection = SendRequest<Full<Bytes>>;

async fn send(
    connection: &mut Option<Connection>,
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Option<(StatusCode, Bytes)> {
    if connection.is_none() {
        let stream = TcpStream::connect(address).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let (sender, driver) = handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(driver);
        *connection = Some(sender);
    }
    let sender = connection.as_mut()?;
    sender.ready().await.ok()?;
    let answer = sender.send_request(request).await.ok()?;
    let status = answer.status();
    Some((status, answer.into_body().collect().await.ok()?.to_bytes()))
}

fn request(address: SocketAddr, token: &str, asking: Asking) -> Request<Full<Bytes>> {
    let id = || format!("{:064x}", NEXT.fetch_add(1, Ordering::Relaxed));
    let read = || json!({ "do": "get", "label": "data", "id": id() });
    let store = || json!({ "do": "put", "label": "data", "id": id(), "size": 16 << 20 });
    let items: Vec<_> = match asking {
        Asking::Reads => (0..1_000).map(|_| read()).collect(),
        Asking::Stores => (0..1_000).map(|_| store()).collect(),
        Asking::Both => (0..500).flat_map(|_| [read(), store()]).collect(),
        Asking::Read | Asking::Store => Vec::new(),
    };
    let (method, path) = match asking {
        Asking::Read => ("GET", format!("/v1/alice/chunk/{}?label=data", id())),
        Asking::Store => ("PUT", format!("/v1/alice/chunk?id={}&label=data&size=1048576", id())),
        _ => ("POST", "/v1/alice/batch".to_owned()),
    };
    let body = if items.is_empty() { Bytes::new() } else { json!({ "items": items }).to_string().into() };
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", address.to_string())
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(Full::new(body))
        .expect("a request")
}

/// How long a process has used processors, with all its threads.
fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the server runs");
    // The name of the program, in parentheses, may hold spaces.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    // Linux tells them in hundredths of a second, whatever its own clock does.
    Duration::from_millis(ticks * 10)
}

/// The most memory that a process ever had, in KiB.
pub fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

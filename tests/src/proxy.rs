//! A proxy in front of a store: it records, delays, breaks or stops what passes.
//!
//! It speaks HTTP/1.1 with keep-alive, one connection to the store for each that it accepts, and leaves requests as they
//! are, the header `host` included: the client signs for the proxy's address, and the store verifies what arrives.

mod trouble;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::AbortHandle;

pub use trouble::Trouble;

use crate::s3::Access;

/// What the proxy does beside recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// Nothing.
    Record,
    /// The answer to each request comes so much later. Requests do not wait for each other.
    Delay(Duration),
    /// One in so many requests goes wrong, another way each time. The seed decides which and how.
    Flaky {
        /// Decides which and how.
        seed: u64,
        /// One in so many.
        one_in: u64,
    },
}

/// A request that came through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// Its method.
    pub method: String,
    /// Its path, still encoded.
    pub path: String,
    /// Its query, still encoded.
    pub query: String,
    /// The status that the client was given; 0 if the connection was closed without one.
    pub status: u16,
    /// The bytes of its body.
    pub sent: u64,
    /// The bytes of the answer's body.
    pub received: u64,
    /// What the proxy did to it.
    pub trouble: Option<Trouble>,
}

/// Connections that clients opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// All of them.
    pub total: usize,
    /// The most at the same time.
    pub peak: usize,
}

/// The proxy. It ends when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

struct Shared {
    upstream: SocketAddr,
    behaviour: Mutex<Behaviour>,
    /// Whether bytes pass.
    open: watch::Sender<bool>,
    seen: AtomicU64,
    records: Mutex<Vec<Record>>,
    total: AtomicUsize,
    now: AtomicUsize,
    peak: AtomicUsize,
    tasks: Mutex<HashMap<usize, AbortHandle>>,
    refusing: AtomicBool,
}

/// A request that may still be under way.
struct Record {
    passed: Passed,
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
}

/// A body on its way through.
type Flow = UnsyncBoxBody<Bytes, io::Error>;

impl Proxy {
    /// A proxy of a server at an address like `127.0.0.1:3900`.
    pub fn start(upstream: SocketAddr, behaviour: Behaviour) -> Self {
        Proxy::listen(SocketAddr::from(([127, 0, 0, 1], 0)), upstream, behaviour)
    }

    /// A proxy of a store.
    pub fn of(store: &Access, behaviour: Behaviour) -> Self {
        Proxy::start(store.authority().parse().unwrap(), behaviour)
    }

    /// The same at an address of one's choice.
    pub fn listen(address: SocketAddr, upstream: SocketAddr, behaviour: Behaviour) -> Self {
        let runtime = crate::s3::runtime();
        let listener = runtime.block_on(TcpListener::bind(address)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream,
            behaviour: Mutex::new(behaviour),
            open: watch::channel(true).0,
            seen: AtomicU64::new(0),
            records: Mutex::default(),
            total: AtomicUsize::new(0),
            now: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            tasks: Mutex::default(),
            refusing: AtomicBool::new(false),
        });
        runtime.spawn(accept(listener, Arc::clone(&shared)));
        Proxy { address, shared, runtime: Some(runtime) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The store as it is reached by way of the proxy.
    pub fn access(&self, store: &Access) -> Access {
        store.through(&self.endpoint())
    }

    /// Another behaviour from now on.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap() = behaviour;
    }

    /// How many connections were opened.
    pub fn connections(&self) -> Connections {
        let count = |number: &AtomicUsize| number.load(Ordering::SeqCst);
        Connections { total: count(&self.shared.total), peak: count(&self.shared.peak) }
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Passed> {
        let records = self.shared.records.lock().unwrap();
        let current = |record: &Record| Passed {
            sent: record.sent.load(Ordering::SeqCst),
            received: record.received.load(Ordering::SeqCst),
            ..record.passed.clone()
        };
        records.iter().map(current).collect()
    }

    /// Counts requests and connections anew; connections that are open count.
    pub fn forget(&self) {
        self.shared.records.lock().unwrap().clear();
        let now = self.shared.now.load(Ordering::SeqCst);
        self.shared.total.store(now, Ordering::SeqCst);
        self.shared.peak.store(now, Ordering::SeqCst);
    }

    /// Nothing passes any more, as when a cable is pulled: connections stay open and silent.
    pub fn pause(&self) {
        self.shared.open.send_replace(false);
    }

    /// Everything passes again.
    pub fn resume(&self) {
        self.shared.refusing.store(false, Ordering::SeqCst);
        self.shared.open.send_replace(true);
    }

    /// Closes all connections, and each new one at once, until [`Proxy::resume`].
    pub fn cut(&self) {
        self.shared.refusing.store(true, Ordering::SeqCst);
        for (_, task) in self.shared.tasks.lock().unwrap().drain() {
            task.abort();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((connection, _)) = listener.accept().await {
        let number = shared.total.fetch_add(1, Ordering::SeqCst);
        if shared.refusing.load(Ordering::SeqCst) {
            continue;
        }
        let _ = connection.set_nodelay(true);
        let open = Open::new(&shared);
        let task = tokio::spawn(serve(connection, open));
        shared.tasks.lock().unwrap().insert(number, task.abort_handle());
    }
}

/// A connection counts as open as long as this lives.
struct Open(Arc<Shared>);

impl Open {
    fn new(shared: &Arc<Shared>) -> Self {
        let now = shared.now.fetch_add(1, Ordering::SeqCst) + 1;
        shared.peak.fetch_max(now, Ordering::SeqCst);
        Open(Arc::clone(shared))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Serves a connection. Its requests come one after the other.
async fn serve(connection: TcpStream, open: Open) {
    // The connection to the store, while no request is using it.
    let idle: Arc<tokio::sync::Mutex<Option<SendRequest<Flow>>>> = Arc::default();
    let shared = &open.0;
    let service = service_fn(|request| {
        let (shared, idle) = (Arc::clone(shared), Arc::clone(&idle));
        async move { pass(&shared, &mut *idle.lock().await, request).await }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    let _ = server.half_close(false).serve_connection(TokioIo::new(connection), service).await;
}

/// Passes a request on and the answer back. An error closes the connection.
async fn pass(
    shared: &Shared,
    upstream: &mut Option<SendRequest<Flow>>,
    request: Request<Incoming>,
) -> Result<Response<Flow>, io::Error> {
    let behaviour = shared.behaviour.lock().unwrap().clone();
    let trouble = match behaviour {
        Behaviour::Flaky { seed, one_in } => {
            Trouble::choose(seed, one_in, shared.seen.fetch_add(1, Ordering::SeqCst), request.method())
        }
        _ => None,
    };
    let (head, body) = request.into_parts();
    let (sent, received) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let place = shared.note(&head, &sent, &received, trouble);
    let gate = || shared.open.subscribe();
    wait(&mut gate()).await;
    if let Some(Trouble::Reset) = trouble {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    if let Some(Trouble::Status(status)) = trouble {
        // It is what a load balancer says, which has not asked the store.
        drain(body).await?;
        shared.answered(place, status);
        let answer = Response::builder().status(status).header("content-type", "text/plain");
        let text = Full::new(Bytes::from_static(b"the proxy says so\n"));
        return Ok(answer.body(text.map_err(io::Error::other).boxed_unsync()).unwrap());
    }
    if let Some(Trouble::Slow(time)) = trouble {
        tokio::time::sleep(time).await;
    }
    let is_head = head.method == Method::HEAD;
    let flip = matches!(trouble, Some(Trouble::FlipSent)).then(|| trouble::middle(&head.headers)).flatten();
    let body = trouble::flow(body, sent, gate(), None, flip);
    let mut sender = match upstream.take().filter(|sender| !sender.is_closed()) {
        Some(sender) => sender,
        None => connect(shared.upstream).await?,
    };
    sender.ready().await.map_err(io::Error::other)?;
    let answer = sender.send_request(Request::from_parts(head, body)).await.map_err(io::Error::other)?;
    *upstream = Some(sender);
    if let Behaviour::Delay(time) = behaviour {
        tokio::time::sleep(time).await;
    }
    wait(&mut gate()).await;
    if let Some(Trouble::Unanswered) = trouble {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    shared.answered(place, answer.status().as_u16());
    let (head, body) = answer.into_parts();
    let middle = trouble::middle(&head.headers).filter(|_| !is_head);
    let end = matches!(trouble, Some(Trouble::Truncate)).then_some(middle).flatten();
    let flip = matches!(trouble, Some(Trouble::FlipReceived)).then_some(middle).flatten();
    Ok(Response::from_parts(head, trouble::flow(body, received, gate(), end, flip)))
}

impl Shared {
    /// Notes a request; where.
    fn note(
        &self,
        head: &hyper::http::request::Parts,
        sent: &Arc<AtomicU64>,
        received: &Arc<AtomicU64>,
        trouble: Option<Trouble>,
    ) -> usize {
        let passed = Passed {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            status: 0,
            sent: 0,
            received: 0,
            trouble,
        };
        let mut records = self.records.lock().unwrap();
        records.push(Record { passed, sent: Arc::clone(sent), received: Arc::clone(received) });
        records.len() - 1
    }

    fn answered(&self, place: usize, status: u16) {
        // Nothing there if they were forgotten meanwhile.
        if let Some(record) = self.records.lock().unwrap().get_mut(place) {
            record.passed.status = status;
        }
    }
}

/// Waits until bytes pass.
async fn wait(open: &mut watch::Receiver<bool>) {
    let _ = open.wait_for(|open| *open).await;
}

async fn drain(mut body: Incoming) -> Result<(), io::Error> {
    while let Some(frame) = body.frame().await {
        frame.map_err(io::Error::other)?;
    }
    Ok(())
}

async fn connect(upstream: SocketAddr) -> Result<SendRequest<Flow>, io::Error> {
    let stream = TcpStream::connect(upstream).await?;
    let _ = stream.set_nodelay(true);
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    Ok(sender)
}

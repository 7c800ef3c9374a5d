//! A strict S3 inside the test process: it believes nothing that it can check, and does wrong only what [`Faults`] say.
//!
//! It knows what a chunk store uses: PutObject (`if-none-match: *`, `x-amz-checksum-sha256`), GetObject (ranges),
//! HeadObject, DeleteObject, ListObjectsV2, HeadBucket, CreateBucket; path style, and virtual hosts below `localhost`.
//! Every signature is verified. Requests are recorded.

mod authentication;
mod faults;
mod listing;
mod objects;
mod refused;
mod request;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::{StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, DATE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

pub use faults::{Action, Answer, Faults, Trouble, When};
pub use objects::Object;
pub use refused::Refused;

use super::Access;
use authentication::{authenticate, clock, http_date};
use objects::Buckets;
use request::{Arrived, Target};

/// The fake. It ends when it is dropped.
pub struct FakeS3 {
    access: Access,
    state: Arc<Mutex<State>>,
    runtime: Option<Runtime>,
}

/// A request that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// What it does.
    pub action: Action,
    /// Its method.
    pub method: String,
    /// Its path, still encoded.
    pub path: String,
    /// Its query, still encoded.
    pub query: String,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// The status of the answer; 0 if the connection was closed without one.
    pub status: u16,
}

impl Recorded {
    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }
}

struct State {
    access: Access,
    faults: Faults,
    /// To how many requests each of the troubles could have happened.
    seen: Vec<usize>,
    buckets: Buckets,
    requests: Vec<Recorded>,
}

type Sent = UnsyncBoxBody<Bytes, io::Error>;

impl FakeS3 {
    /// A store with an empty bucket.
    pub fn start(faults: Faults) -> Self {
        FakeS3::with(faults, None)
    }

    /// The same, opened by temporary keys: with a session token.
    pub fn with_session_token(faults: Faults, token: &str) -> Self {
        FakeS3::with(faults, Some(token.to_owned()))
    }

    fn with(faults: Faults, session_token: Option<String>) -> Self {
        let runtime = super::runtime();
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let access = Access {
            endpoint: format!("http://{}", listener.local_addr().unwrap()),
            region: "fake-region-1".into(),
            bucket: "backups".into(),
            access_key: "AKIAFAKEFAKEFAKEFAKE".into(),
            secret_key: "fake/secret+key/of/40/characters/FAKEFAKE".into(),
            session_token,
        };
        let mut buckets = Buckets::default();
        buckets.all.insert(access.bucket.clone(), BTreeMap::new());
        let seen = vec![0; faults.troubles.len()];
        let state = State { access: access.clone(), faults, seen, buckets, requests: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        runtime.spawn(serve(listener, Arc::clone(&state)));
        FakeS3 { access, state, runtime: Some(runtime) }
    }

    /// What it listens on.
    pub fn address(&self) -> SocketAddr {
        self.access.authority().parse().unwrap()
    }

    /// Other faults from now on; what troubles count begins anew.
    pub fn set_faults(&self, faults: Faults) {
        let mut state = self.state();
        state.seen = vec![0; faults.troubles.len()];
        state.faults = faults;
    }

    /// Other keys from now on, as when temporary ones are replaced.
    pub fn set_access(&self, access: Access) {
        self.state().access = access;
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.state().requests.clone()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.state().requests.clear();
    }

    /// The objects in the bucket by their keys.
    pub fn objects(&self) -> BTreeMap<String, Object> {
        self.state().buckets.all.get(&self.access.bucket).cloned().unwrap_or_default()
    }

    /// Puts an object there, past all checks.
    pub fn set_object(&self, key: &str, object: Object) {
        self.state().buckets.all.entry(self.access.bucket.clone()).or_default().insert(key.to_owned(), object);
    }

    /// Takes an object away; whether it was there.
    pub fn remove_object(&self, key: &str) -> bool {
        self.state().buckets.all.get_mut(&self.access.bucket).is_some_and(|bucket| bucket.remove(key).is_some())
    }

    /// The names of the buckets.
    pub fn buckets(&self) -> Vec<String> {
        self.state().buckets.all.keys().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Deref for FakeS3 {
    type Target = Access;

    fn deref(&self) -> &Access {
        &self.access
    }
}

impl Drop for FakeS3 {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    while let Ok((connection, _)) = listener.accept().await {
        let _ = connection.set_nodelay(true);
        let state = Arc::clone(&state);
        let service = service_fn(move |request| handle(Arc::clone(&state), request));
        let mut server = hyper::server::conn::http1::Builder::new();
        tokio::spawn(server.half_close(false).serve_connection(TokioIo::new(connection), service));
    }
}

/// Answers a request, with the faults that apply. An error closes the connection.
async fn handle(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Response<Sent>, io::Error> {
    let (head, body) = request.into_parts();
    let mut request = Arrived {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body: Bytes::new(),
    };
    let target = request.target();
    let under_way = UnderWay::of(&state, &request, &target);
    if !is_unmeasured(&request) {
        request.body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    }
    let trouble = state.lock().unwrap().trouble(target.action);
    match &trouble {
        Some(Answer::Dropped) => {
            state.lock().unwrap().record(&request, &target, 0);
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Some(Answer::Late(time)) => tokio::time::sleep(*time).await,
        _ => {}
    }
    let is_racing = under_way.is_none();
    let Some(answer) = decide(&state, &request, &target, trouble.as_ref(), is_racing) else {
        return Err(io::ErrorKind::ConnectionAborted.into());
    };
    Ok(damaged(answer, trouble.as_ref(), request.method == Method::HEAD).await)
}

/// The answer to a request; none if the connection shall be closed instead.
fn decide(
    state: &Mutex<State>,
    request: &Arrived,
    target: &Target,
    trouble: Option<&Answer>,
    is_racing: bool,
) -> Option<Response<Full<Bytes>>> {
    let mut state = state.lock().unwrap();
    let mut answer = match trouble.and_then(instead) {
        Some(answer) => answer,
        None if request.headers.contains_key("transfer-encoding") && request.method != Method::PUT => {
            let message = "A header you provided implies functionality that is not implemented";
            Refused::new(501, "NotImplemented", message).with("Header", "Transfer-Encoding").answer(&request.path)
        }
        None if is_unmeasured(request) => {
            let message = "You must provide the Content-Length HTTP header.";
            Refused::new(411, "MissingContentLength", message).answer(&request.path)
        }
        None if is_racing => objects::conflict().answer(&request.path),
        None => state.carry_out(request, target).unwrap_or_else(|refused| refused.answer(&request.path)),
    };
    let headers = answer.headers_mut();
    headers.insert(DATE, http_date(clock(state.faults.clock_ahead)).parse().unwrap());
    headers.insert("x-amz-request-id", "FAKE".parse().unwrap());
    if matches!(trouble, Some(Answer::Unanswered)) {
        state.record(request, target, 0);
        return None;
    }
    state.record(request, target, answer.status().as_u16());
    Some(answer)
}

/// S3 takes no body without a length, nor does it read one.
fn is_unmeasured(request: &Arrived) -> bool {
    request.method == Method::PUT && request.header("content-length").is_none()
}

impl State {
    /// The trouble that happens to the next request.
    fn trouble(&mut self, action: Action) -> Option<Answer> {
        let troubles = self.faults.troubles.iter().zip(&mut self.seen);
        // All of them count, also those behind the one that happens.
        let happening: Vec<Answer> = troubles
            .filter_map(|(trouble, seen)| faults::applies(trouble, seen, action).then(|| trouble.what.clone()))
            .collect();
        happening.into_iter().next()
    }

    fn carry_out(&mut self, request: &Arrived, target: &Target) -> Result<Response<Full<Bytes>>, Refused> {
        let mut request = request.clone();
        let copied = if self.faults.copies_unsigned { request.headers.remove("x-amz-copy-source") } else { None };
        let copied = copied.map(|source| source.to_str().unwrap().to_owned());
        let request = &request;
        authenticate(request, &self.access, clock(self.faults.clock_ahead), self.faults.token_expired)?;
        let about = if target.action == Action::List {
            request.parameter("prefix").unwrap_or_default()
        } else {
            target.key.clone()
        };
        let is_denied = |(action, prefix): &(Action, String)| *action == target.action && about.starts_with(prefix);
        if self.faults.denied.iter().any(is_denied) {
            self.buckets.bucket(&target.bucket)?;
            return Err(refused::denied());
        }
        let (buckets, region) = (&mut self.buckets, &self.access.region);
        if let Some(source) = &copied {
            return buckets.copy(source, target);
        }
        match target.action {
            Action::Get => buckets.get(request, target, &self.faults),
            Action::Head => buckets.head(request, target, &self.faults),
            Action::Put => buckets.put(request, target, &mut self.faults),
            Action::Delete => buckets.delete(target),
            Action::List => listing::list(buckets.bucket(&target.bucket)?, request, target, &self.faults),
            Action::HeadBucket => buckets.head_bucket(target, region),
            Action::CreateBucket => buckets.create_bucket(request, target, region),
            Action::Other => {
                let message = "A parameter you provided implies functionality that is not implemented";
                Err(Refused::new(501, "NotImplemented", message))
            }
        }
    }

    fn record(&mut self, request: &Arrived, target: &Target, status: u16) {
        let header = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        self.requests.push(Recorded {
            action: target.action,
            method: request.method.to_string(),
            path: request.path.clone(),
            query: request.query.clone(),
            headers: request.headers.iter().map(header).collect(),
            status,
        });
    }
}

/// A key that is being stored on a condition.
struct UnderWay {
    state: Arc<Mutex<State>>,
    key: Option<(String, String)>,
}

impl UnderWay {
    /// None if another request is just storing the same key, and that matters.
    fn of(state: &Arc<Mutex<State>>, request: &Arrived, target: &Target) -> Option<UnderWay> {
        let mut locked = state.lock().unwrap();
        let conditional = target.action == Action::Put && request.header("if-none-match").is_some();
        let matters = conditional && locked.faults.conflicts_on_race;
        let key = matters.then(|| (target.bucket.clone(), target.key.clone()));
        if let Some(key) = &key
            && !locked.buckets.under_way.insert(key.clone())
        {
            return None;
        }
        drop(locked);
        Some(UnderWay { state: Arc::clone(state), key })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.state.lock().unwrap().buckets.under_way.remove(&key);
        }
    }
}

/// The answer of a trouble that keeps a request from being carried out.
fn instead(trouble: &Answer) -> Option<Response<Full<Bytes>>> {
    let wait = |refused: Refused, seconds: &Option<u32>| match seconds {
        Some(seconds) => refused.header("retry-after", seconds.to_string()),
        None => refused,
    };
    let refused = match trouble {
        Answer::SlowDown(seconds) => wait(Refused::new(503, "SlowDown", "Please reduce your request rate."), seconds),
        Answer::TooMany(seconds) => wait(Refused::new(429, "TooManyRequests", "Please try again later."), seconds),
        Answer::InternalError => {
            Refused::new(500, "InternalError", "We encountered an internal error. Please try again.")
        }
        Answer::Redirect(to) => {
            let message = "Please re-send this request to the specified temporary endpoint.";
            Refused::new(307, "TemporaryRedirect", message).header("location", to)
        }
        Answer::Other(status, content_type, text) => {
            let answer = Response::builder().status(*status).header("content-type", *content_type);
            return Some(answer.body(Full::new(Bytes::from_static(text.as_bytes()))).unwrap());
        }
        Answer::Html => {
            let text = "<!doctype html><html><head><title>Welcome</title></head><body>Please log in.</body></html>";
            let answer = Response::builder().header("content-type", "text/html");
            return Some(answer.body(Full::new(Bytes::from_static(text.as_bytes()))).unwrap());
        }
        Answer::Truncated | Answer::Flipped | Answer::Dropped | Answer::Unanswered | Answer::Late(_) => return None,
    };
    Some(refused.answer(""))
}

/// The answer with its body as the trouble leaves it.
async fn damaged(answer: Response<Full<Bytes>>, trouble: Option<&Answer>, is_head: bool) -> Response<Sent> {
    let (mut head, body) = answer.into_parts();
    let whole = |body: Full<Bytes>| body.map_err(|never: Infallible| match never {}).boxed_unsync();
    if body.size_hint().lower() == 0 || is_head || !matches!(trouble, Some(Answer::Truncated | Answer::Flipped)) {
        return Response::from_parts(head, whole(body));
    }
    let Ok(bytes) = body.collect().await.map(|body| body.to_bytes());
    let middle = bytes.len() / 2;
    if matches!(trouble, Some(Answer::Flipped)) {
        let mut bytes = bytes.to_vec();
        bytes[middle] ^= 1;
        return Response::from_parts(head, whole(Full::new(bytes.into())));
    }
    head.headers.insert(CONTENT_LENGTH, bytes.len().into());
    let frames = [Ok(Frame::data(bytes.slice(..middle))), Err(io::ErrorKind::ConnectionReset.into())];
    // The error must not overtake the bytes.
    let frames = stream::iter(frames).then(|frame| async {
        if frame.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        frame
    });
    Response::from_parts(head, StreamBody::new(frames).boxed_unsync())
}

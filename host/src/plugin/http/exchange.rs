//! One request and the head of its answer.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::time::{sleep, timeout};
use wasmtime_wasi_http::{Error as Code, RequestOptions, WasiBody};

use super::answer::Answer;
use super::client::{Client, Times};
use super::fault::Fault;
use super::hooks::Turn;
use super::seats::{Connection, Seat};
use super::wire::Activity;
use crate::plugin::progress::Progress;

/// The body of a request, and whether nothing more of it will be asked for.
pub(super) struct Outgoing {
    body: WasiBody,
    /// How many bytes are still to come, where the guest said it.
    left: Option<u64>,
    taken: Arc<AtomicBool>,
}

impl Outgoing {
    fn new(body: WasiBody, length: Option<u64>) -> Self {
        let taken = Arc::new(AtomicBool::new(body.is_end_stream() || length == Some(0)));
        Outgoing { body, left: length, taken }
    }
}

impl Drop for Outgoing {
    /// Nothing more of it is needed: it was sent, or is none (a GET with an empty body), or the connection has broken, which
    /// is seen there.
    fn drop(&mut self) {
        self.taken.store(true, Ordering::Release);
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Code;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Code>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        let ended = match &frame {
            Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.left = self.left.map(|left| left.saturating_sub(bytes));
                self.left == Some(0)
            }
            _ => false,
        };
        if ended {
            self.taken.store(true, Ordering::Release);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.taken.load(Ordering::Acquire)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Client {
    /// Sends a request and waits for the head of the answer.
    pub(super) async fn exchange(
        &self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        progress: Arc<Progress>,
        turn: &Arc<Turn>,
    ) -> Result<Response<Answer>, Fault> {
        let (grant, times) = self.admit(&request, options)?;
        let mut seat = timeout(times.connect, self.seats.take(&grant.origin))
            .await
            .map_err(|_| Fault::new(Code::ConnectionLimitReached, "all connections are in use; see --connections"))?;
        let mut request = prepare(request);
        let taken = request.body().taken.clone();
        loop {
            let reused = seat.connection.as_ref().is_some_and(|connection| connection.serves(&grant.origin));
            if !reused {
                if let Some(useless) = seat.connection.take() {
                    useless.close().await;
                }
                let fresh = self.connector.connect(&grant.origin, grant.named, times.connect).await?;
                seat.connection = Some(fresh);
            }
            // Taken out, so that it is closed when this future is dropped before the answer is whole.
            let Some(mut connection) = seat.connection.take() else { continue };
            connection.activity.watch(Some(progress.clone()));
            match send(&mut connection, request, &taken, times).await {
                Ok(response) => {
                    let held = Held { seat, connection, taken };
                    return Answer::begin(response, held, (times.idle, self.most), turn);
                }
                // The server has closed it while it rested; nothing was sent yet.
                Err((_, Some(unsent))) if reused => request = *unsent,
                Err((fault, _)) => return Err(fault),
            }
            connection.close().await;
        }
    }
}

/// The request as it goes to the server itself: with a path only.
pub(super) fn prepare(request: Request<WasiBody>) -> Request<Outgoing> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    parts.uri = path.parse().unwrap_or_else(|_| Uri::from_static("/"));
    let length = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    Request::from_parts(parts, Outgoing::new(body, length))
}

/// A seat and a connection in use.
pub(super) struct Held {
    pub(super) seat: Seat,
    pub(super) connection: Connection,
    /// Whether the request was sent as a whole.
    pub(super) taken: Arc<AtomicBool>,
}

impl Held {
    /// Gives both back once the answer is whole; a connection that still waits for a request is closed.
    pub(super) fn release(self) {
        let Held { mut seat, connection, taken } = self;
        if taken.load(Ordering::Acquire) {
            seat.connection = Some(connection);
        }
    }
}

/// A fault, with the request when nothing of it was sent.
type Unsent = (Fault, Option<Box<Request<Outgoing>>>);

async fn send(
    connection: &mut Connection,
    request: Request<Outgoing>,
    taken: &AtomicBool,
    times: Times,
) -> Result<Response<Incoming>, Unsent> {
    let activity = connection.activity.clone();
    if let Err(error) = connection.sender.ready().await {
        return Err((Fault::broken(&error, false), Some(Box::new(request))));
    }
    let sending = connection.sender.try_send_request(request);
    let allowed = || if taken.load(Ordering::Acquire) { times.first_byte } else { times.idle };
    match unless_idle(&activity, allowed, sending).await {
        Some(Ok(response)) => Ok(response),
        Some(Err(mut error)) => Err(unsent(&mut error)),
        None if taken.load(Ordering::Acquire) => {
            let why = format!("no answer came within {:?}", times.first_byte);
            Err((Fault::new(Code::HttpResponseTimeout, why), None))
        }
        None => {
            let why = format!("no byte of the request could be sent for {:?}", times.idle);
            Err((Fault::new(Code::ConnectionWriteTimeout, why), None))
        }
    }
}

fn unsent(error: &mut TrySendError<Request<Outgoing>>) -> Unsent {
    (Fault::broken(error.error(), false), error.take_message().map(Box::new))
}

/// The answer of a future; `None` when nothing moved for the time that is allowed, which may change meanwhile.
async fn unless_idle<T>(
    activity: &Activity,
    allowed: impl Fn() -> Duration,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut future = pin!(future);
    let mut alarm = pin!(sleep(allowed()));
    poll_fn(|context| {
        if let Poll::Ready(answer) = future.as_mut().poll(context) {
            return Poll::Ready(Some(answer));
        }
        while alarm.as_mut().poll(context).is_ready() {
            let left = allowed().saturating_sub(activity.idle());
            if left.is_zero() {
                return Poll::Ready(None);
            }
            alarm.set(sleep(left));
        }
        Poll::Pending
    })
    .await
}

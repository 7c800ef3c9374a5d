//! Where an instance's requests come in.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;

use http::Request;
use http_body_util::BodyExt;
use tokio::sync::watch;
use wasmtime_wasi_http::{Error as Code, RequestOptions, WasiBody, WasiHttpHooks};

use super::answer::Open;
use super::client::Client;
use super::fault::Fault;
use super::origin::Origin;
use crate::plugin::progress::Progress;

/// The HTTP of one instance.
pub(in crate::plugin) struct Http {
    /// None when no origin was granted: then every request is refused.
    client: Option<Arc<Client>>,
    progress: Arc<Progress>,
    turn: Arc<Turn>,
}

impl Http {
    pub(in crate::plugin) fn new(client: Option<Arc<Client>>, progress: Arc<Progress>) -> Self {
        Http { client, progress, turn: Arc::default() }
    }

    /// Begins a call of the guest.
    pub(in crate::plugin) fn begin_call(&mut self) {
        self.turn = Arc::default();
    }

    /// Ends a call of the guest, and with it every request that it left open, so that the connections are free for
    /// others. Answers with what went wrong, for people.
    pub(in crate::plugin) async fn end_call(&mut self) -> Option<String> {
        self.turn.end();
        // The tasks that wait for answers see it when they run next.
        while self.turn.waiting.load(Ordering::SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
        self.turn.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A call of the guest, as far as its requests are concerned.
pub(super) struct Turn {
    over: watch::Sender<bool>,
    /// How many requests wait for the heads of their answers.
    waiting: AtomicUsize,
    bodies: Mutex<Vec<Weak<Mutex<Option<Open>>>>>,
    trouble: Mutex<Option<String>>,
}

impl Default for Turn {
    fn default() -> Self {
        Turn {
            over: watch::Sender::new(false),
            waiting: AtomicUsize::new(0),
            bodies: Mutex::default(),
            trouble: Mutex::default(),
        }
    }
}

impl Turn {
    /// Keeps an eye on a body that is to be read.
    pub(super) fn add(&self, body: &Arc<Mutex<Option<Open>>>) {
        let mut bodies = self.bodies();
        bodies.retain(|body| body.strong_count() > 0);
        bodies.push(Arc::downgrade(body));
    }

    /// Remembers why a request failed; the last one counts.
    pub(super) fn remember(&self, origin: &str, fault: &Fault) {
        tracing::debug!(target: "obnam::http", "{origin}: {}", fault.why);
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{origin}: {}", fault.why));
    }

    fn bodies(&self) -> MutexGuard<'_, Vec<Weak<Mutex<Option<Open>>>>> {
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.over.send_replace(true);
        for body in self.bodies().drain(..).filter_map(|body| body.upgrade()) {
            if let Some(open) = body.lock().unwrap_or_else(PoisonError::into_inner).take() {
                open.abandon();
            }
        }
    }

    /// The answer of a future, unless the call ends before.
    async fn unless_over<T>(self: &Arc<Self>, future: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let _waiting = Waiting::new(self);
        let mut receiver = self.over.subscribe();
        let mut over = pin!(async move {
            // Also when it is over already.
            let _ = receiver.wait_for(|over| *over).await;
        });
        let mut future = pin!(future);
        poll_fn(|context| match over.as_mut().poll(context) {
            Poll::Ready(()) => {
                let why = "the call of the plugin ended before the answer came";
                Poll::Ready(Err(Fault::new(Code::ConnectionTerminated, why)))
            }
            Poll::Pending => future.as_mut().poll(context),
        })
        .await
    }
}

/// Counts a request that waits.
struct Waiting(Arc<Turn>);

impl Waiting {
    fn new(turn: &Arc<Turn>) -> Self {
        turn.waiting.fetch_add(1, Ordering::SeqCst);
        Waiting(turn.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

type Sent = Result<(http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Code>> + Send>), Code>;

impl WasiHttpHooks for Http {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _sent: Box<dyn Future<Output = Result<(), Code>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let (client, progress, turn) = (self.client.clone(), self.progress.clone(), self.turn.clone());
        let origin =
            Origin::of(request.uri()).map_or_else(|| "a URL that names no host".into(), |origin| origin.to_string());
        Box::new(async move {
            let exchange = async {
                match &client {
                    Some(client) => client.exchange(request, options, progress, &turn).await,
                    None => Err(Fault::new(Code::HttpRequestDenied, "the plugin may not use the network")),
                }
            };
            match turn.unless_over(exchange).await {
                Ok(response) => {
                    let done: Box<dyn Future<Output = Result<(), Code>> + Send> = Box::new(async { Ok(()) });
                    Ok((response.map(BodyExt::boxed_unsync), done))
                }
                Err(fault) => {
                    turn.remember(&origin, &fault);
                    Err(fault.code)
                }
            }
        })
    }

    fn default_scheme(&mut self) -> Option<http::uri::Scheme> {
        None
    }
}

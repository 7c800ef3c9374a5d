//! The body of an answer, on its way to the guest.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep, timeout};
use wasmtime_wasi_http::Error as Code;

use super::background;
use super::exchange::Held;
use super::fault::Fault;
use super::hooks::Turn;

/// What is read of a body that nobody wants any more, so that its connection can be used again: an error's text, the end
/// of a range. More than that costs more than another connection.
const REST: u64 = 64 << 10;
/// How long that may take.
const REST_TIME: Duration = Duration::from_millis(250);

/// A body. Its connection is given back as soon as the last byte has come. When it is dropped before, or the call of the
/// guest ends, what little is left is read in the background, or the connection is closed.
pub(super) struct Answer {
    open: Arc<Mutex<Option<Open>>>,
    turn: Arc<Turn>,
    whole: bool,
    size: SizeHint,
}

/// What is left to be read, and what is needed for it.
pub(super) struct Open {
    incoming: Incoming,
    held: Held,
    received: u64,
    /// The most bytes that it may have.
    most: u64,
    idle: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Answer {
    /// Takes over behind the head. The body may stand still for `idle`, and have `most` bytes.
    pub(super) fn begin(
        response: Response<Incoming>,
        held: Held,
        (idle, most): (Duration, u64),
        turn: &Arc<Turn>,
    ) -> Result<Response<Self>, Fault> {
        let (parts, incoming) = response.into_parts();
        let size = incoming.size_hint();
        if size.lower() > most {
            return Err(too_large(most));
        }
        let whole = incoming.is_end_stream();
        let open = if whole {
            held.release();
            None
        } else {
            Some(Open { incoming, held, received: 0, most, idle, alarm: None })
        };
        let open = Arc::new(Mutex::new(open));
        if !whole {
            turn.add(&open);
        }
        Ok(Response::from_parts(parts, Answer { open, turn: turn.clone(), whole, size }))
    }
}

fn too_large(most: u64) -> Fault {
    let why = format!("its answer has more than the {most} bytes that are allowed");
    Fault::new(Code::HttpResponseBodySize(Some(most)), why)
}

impl Open {
    /// Nobody reads it any more.
    pub(super) fn abandon(self) {
        let Open { mut incoming, held, .. } = self;
        let much = incoming.size_hint().exact().is_some_and(|left| left > REST);
        let Some(background) = background::runtime().ok().filter(|_| !much) else { return };
        background.spawn(timeout(REST_TIME, async move {
            let mut left = REST;
            while let Some(Ok(frame)) = incoming.frame().await {
                left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
                if left == 0 {
                    return;
                }
            }
            // Unless it broke off: then the connection has ended, and is not used again.
            held.release();
        }));
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match Pin::new(&mut self.incoming).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                self.alarm = None;
                self.received += frame.data_ref().map_or(0, |data| data.len() as u64);
                Poll::Ready(Some(if self.received > self.most { Err(too_large(self.most)) } else { Ok(frame) }))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Fault::broken(&error, true)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let idle = self.idle;
                loop {
                    let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep(idle)));
                    if alarm.as_mut().poll(context).is_pending() {
                        return Poll::Pending;
                    }
                    let left = idle.saturating_sub(self.held.connection.activity.idle());
                    if left.is_zero() {
                        let why = format!("its answer stood still for {idle:?}");
                        return Poll::Ready(Some(Err(Fault::new(Code::ConnectionReadTimeout, why))));
                    }
                    self.alarm = Some(Box::pin(sleep(left)));
                }
            }
        }
    }
}

/// Gives back what a body that has come whole does not need any more.
fn give_back(slot: &mut Option<Open>) {
    if let Some(open) = slot.take() {
        open.held.release();
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(open) = self.open.lock().unwrap_or_else(PoisonError::into_inner).take() {
            open.abandon();
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Code;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Code>>> {
        if self.whole {
            return Poll::Ready(None);
        }
        let shared = self.open.clone();
        let mut slot = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = &mut *slot else {
            return Poll::Ready(Some(Err(Code::ConnectionTerminated)));
        };
        let frame = match open.poll(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(frame) => frame,
        };
        match frame {
            Some(Err(fault)) => {
                self.turn.remember(&open.held.connection.origin.to_string(), &fault);
                *slot = None;
                Poll::Ready(Some(Err(fault.code)))
            }
            Some(Ok(frame)) => {
                if open.incoming.is_end_stream() {
                    self.whole = true;
                    give_back(&mut slot);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            None => {
                self.whole = true;
                give_back(&mut slot);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.whole
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}

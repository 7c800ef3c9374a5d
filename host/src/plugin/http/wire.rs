//! The bytes on the wire: noticed, and slowed down.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::bandwidth::Bucket;
use crate::plugin::progress::Progress;

/// When bytes moved on a connection, and who wants to know.
pub(super) struct Activity {
    began: Instant,
    /// Milliseconds from the beginning to the last byte.
    last: AtomicU64,
    watcher: Mutex<Option<Arc<Progress>>>,
}

impl Activity {
    pub(super) fn new() -> Self {
        Activity { began: Instant::now(), last: AtomicU64::new(0), watcher: Mutex::new(None) }
    }

    /// Bytes moved.
    fn step(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
        if let Some(watcher) = &*self.watcher.lock().unwrap_or_else(PoisonError::into_inner) {
            watcher.step();
        }
    }

    /// Tells this worker of the bytes from now on; `None` tells nobody. Counts as a step.
    pub(super) fn watch(&self, watcher: Option<Arc<Progress>>) {
        *self.watcher.lock().unwrap_or_else(PoisonError::into_inner) = watcher;
        self.step();
    }

    /// How long nothing has moved.
    pub(super) fn idle(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}

/// A limit of the bandwidth, as one connection waits for it.
struct Throttle {
    bucket: Arc<Bucket>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Throttle {
    /// How many bytes may move now.
    fn poll_take(&mut self, context: &mut Context<'_>, wanted: usize) -> Poll<usize> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            match self.bucket.take(wanted) {
                Ok(taken) => return Poll::Ready(taken),
                Err(pause) => self.pause = Some(Box::pin(sleep(pause))),
            }
        }
    }
}

/// A TCP connection whose bytes are noticed.
pub(super) struct Wire {
    socket: TcpStream,
    activity: Arc<Activity>,
    up: Option<Throttle>,
    down: Option<Throttle>,
}

impl Wire {
    pub(super) fn new(
        socket: TcpStream,
        activity: Arc<Activity>,
        up: Option<Arc<Bucket>>,
        down: Option<Arc<Bucket>>,
    ) -> Self {
        let throttle = |bucket| Throttle { bucket, pause: None };
        Wire { socket, activity, up: up.map(throttle), down: down.map(throttle) }
    }

    /// Accounts for a write that was allowed `granted` bytes.
    fn wrote(&self, granted: usize, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let written = match &result {
            Poll::Ready(Ok(written)) => *written,
            _ => 0,
        };
        if let Some(up) = &self.up {
            up.bucket.put_back(granted.saturating_sub(written));
        }
        if written > 0 {
            self.activity.step();
        }
        result
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let granted = match &mut self.up {
            Some(up) if !bytes.is_empty() => ready!(up.poll_take(context, bytes.len())),
            _ => bytes.len(),
        };
        let result = Pin::new(&mut self.socket).poll_write(context, &bytes[..granted]);
        self.wrote(granted, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.up.is_some() {
            let first = pieces.iter().find(|piece| !piece.is_empty()).map_or(&[][..], |piece| piece);
            return self.poll_write(context, first);
        }
        let result = Pin::new(&mut self.socket).poll_write_vectored(context, pieces);
        self.wrote(0, result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let Wire { socket, down, .. } = &mut *self;
        let result = match down {
            Some(down) if buffer.remaining() > 0 => {
                let granted = ready!(down.poll_take(context, buffer.remaining()));
                let mut part = ReadBuf::new(buffer.initialize_unfilled_to(granted));
                let result = Pin::new(socket).poll_read(context, &mut part);
                let read = part.filled().len();
                buffer.advance(read);
                down.bucket.put_back(granted - read);
                result
            }
            _ => Pin::new(socket).poll_read(context, buffer),
        };
        if buffer.filled().len() > before {
            self.activity.step();
        }
        result
    }
}

/// Fills the reader's buffer as far as it can be: TLS hands out records of at most 16 KiB, each of which would be passed
/// to the guest's thread for itself.
pub(super) struct Gather<T> {
    inner: T,
    error: Option<io::Error>,
}

impl<T> Gather<T> {
    pub(super) fn new(inner: T) -> Self {
        Gather { inner, error: None }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gather<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Err(error));
        }
        let before = buffer.filled().len();
        loop {
            let filled = buffer.filled().len();
            let result = Pin::new(&mut self.inner).poll_read(context, buffer);
            if filled == before {
                ready!(result)?;
            } else if let Poll::Ready(Err(error)) = result {
                self.error = Some(error);
            }
            if buffer.filled().len() == filled || buffer.remaining() == 0 || self.error.is_some() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gather<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

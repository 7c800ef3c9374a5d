//! Seats: how many requests can be under way, each with at most one connection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::client::conn::http1::SendRequest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::exchange::Outgoing;
use super::origin::Origin;
use super::wire::Activity;

/// A connection that rested longer is not used again: a firewall between may have forgotten it.
const RESTED: Duration = Duration::from_secs(45);

/// A connection to an origin. It is closed when this is dropped.
pub(super) struct Connection {
    pub(super) origin: Origin,
    pub(super) sender: SendRequest<Outgoing>,
    pub(super) activity: Arc<Activity>,
    /// What drives it, on the thread for connections.
    pub(super) task: JoinHandle<()>,
    pub(super) rests_since: Instant,
}

impl Connection {
    /// Whether a request to the origin can be tried on it.
    pub(super) fn serves(&self, origin: &Origin) -> bool {
        self.origin == *origin && !self.sender.is_closed() && self.rests_since.elapsed() < RESTED
    }

    /// Closes it, and comes back when it is closed.
    pub(super) async fn close(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All seats of a store.
pub(super) struct Seats {
    free: Mutex<Vec<Option<Connection>>>,
    permits: Arc<Semaphore>,
}

impl Seats {
    /// So many seats, and a place for each seat's connection to each of so many origins.
    pub(super) fn new(count: usize, origins: usize) -> Self {
        let free = std::iter::repeat_with(|| None).take(count * origins.max(1)).collect();
        Seats { free: Mutex::new(free), permits: Arc::new(Semaphore::new(count)) }
    }

    /// Waits for a seat; one with a connection to the origin if there is one, else one without any.
    pub(super) async fn take(self: &Arc<Self>, origin: &Origin) -> Seat {
        let permit = self.permits.clone().acquire_owned().await.ok();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = free.iter().rposition(|seat| seat.as_ref().is_some_and(|connection| connection.serves(origin)));
        let best = fits.or_else(|| free.iter().position(Option::is_none)).or(free.len().checked_sub(1));
        let connection = best.and_then(|best| free.remove(best));
        Seat { seats: self.clone(), connection, _permit: permit }
    }
}

/// The right to one request, until it is dropped. The connection that is in it then is kept for the next request.
pub(super) struct Seat {
    seats: Arc<Seats>,
    pub(super) connection: Option<Connection>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.rests_since = Instant::now();
            connection.activity.watch(None);
        }
        let connection = self.connection.take();
        self.seats.free.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}

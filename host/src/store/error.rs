//! What can go wrong in a store: the closed set of the plugin contract, with the call that failed.

use std::time::Duration;

/// The class of a [`StoreError`]; the same set as the `error` variant of the plugin contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// No such chunk.
    NotFound,
    /// The place is not prepared as a chunk store (or is not mounted).
    NotInitialised,
    /// `init` on a place that holds something already.
    AlreadyInitialised,
    /// Credentials, permissions, or the sandbox refuse it.
    Denied,
    /// The request makes no sense: bad location, bad option, bad label.
    Invalid,
    /// The store answered with something that cannot be right.
    Corrupt,
    /// No room: disk full or quota used up.
    Quota,
    /// The chunk has to be fetched from cold storage first.
    Archived,
    /// It may work later; with the delay that the store asks for.
    Unavailable(Option<Duration>),
    /// The store cannot do that.
    Unsupported,
    /// A plugin was stopped: trap, limit, time, contract broken.
    Plugin,
    /// Anything else.
    Other,
}

/// A store's final failure, after retries.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    /// Its class.
    pub kind: StoreErrorKind,
    /// A whole sentence for people: what was being done to what, why it failed, and the next step.
    pub message: String,
}

impl StoreError {
    /// An error of this class with this message.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        StoreError { kind, message: message.into() }
    }

    /// Whether the same call may work a little later.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Unavailable(_))
    }

    /// Whether the store failed as a whole, so that nothing follows for the chunk that was asked for.
    pub fn is_outage(&self) -> bool {
        use StoreErrorKind::{NotInitialised, Plugin, Unavailable};
        matches!(self.kind, Unavailable(_) | NotInitialised | Plugin)
    }

    /// Whether this is [`StoreErrorKind::NotFound`].
    pub fn is_not_found(&self) -> bool {
        self.kind == StoreErrorKind::NotFound
    }
}

//! How one call on one instance can fail, before anybody decides whether to repeat it.

use std::fmt;
use std::time::Duration;

use super::bindings::contract;
use super::output::Redaction;
use crate::store::{StoreError, StoreErrorKind};

/// A call that did not work.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// The plugin answered with an error of the contract (or the host refused in its place).
    Answered(StoreError),
    /// The instance trapped, or was stopped at a limit. It is gone.
    Stopped(String),
    /// A stream failed, or yielded too few bytes.
    Broken(String),
    /// The answer cannot be right.
    Wrong(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Answered(error) => f.write_str(&error.message),
            Failure::Stopped(why) | Failure::Broken(why) | Failure::Wrong(why) => f.write_str(why),
        }
    }
}

impl Failure {
    /// The contract's error, as it is shown: with the plugin's name, and cleaned.
    pub(super) fn from_contract(error: contract::Error, plugin: &str, redaction: &Redaction) -> Self {
        use contract::Error;
        let (kind, message) = match error {
            Error::NotFound(message) => (StoreErrorKind::NotFound, message),
            Error::NotInitialised(message) => (StoreErrorKind::NotInitialised, message),
            Error::AlreadyInitialised(message) => (StoreErrorKind::AlreadyInitialised, message),
            Error::Denied(message) => (StoreErrorKind::Denied, message),
            Error::Invalid(message) => (StoreErrorKind::Invalid, message),
            Error::Corrupt(message) => (StoreErrorKind::Corrupt, message),
            Error::Quota(message) => (StoreErrorKind::Quota, message),
            Error::Archived(message) => (StoreErrorKind::Archived, message),
            Error::Unavailable(error) => {
                let delay = error.delay_ms.map(|ms| Duration::from_millis(ms.into()));
                (StoreErrorKind::Unavailable(delay), error.message)
            }
            Error::Unsupported(message) => (StoreErrorKind::Unsupported, message),
            Error::Other(message) => (StoreErrorKind::Other, message),
        };
        let message = redaction.clean(&message);
        let message = if message.is_empty() { "it gave no reason".to_owned() } else { message };
        Failure::Answered(StoreError::new(kind, format!("plugin {plugin}: {message}")))
    }

    /// Adds what the host itself saw of the network, where the plugin did not say it already.
    pub(super) fn because_of(self, trouble: Option<String>) -> Self {
        let Some(trouble) = trouble else { return self };
        let add = |message: String| {
            if message.contains(&trouble) { message } else { format!("{message} ({trouble})") }
        };
        match self {
            Failure::Answered(error) => Failure::Answered(StoreError { message: add(error.message), kind: error.kind }),
            Failure::Broken(why) => Failure::Broken(add(why)),
            Failure::Stopped(why) => Failure::Stopped(add(why)),
            Failure::Wrong(why) => Failure::Wrong(why),
        }
    }

    /// The final error for the caller. `doing` is what was being done, "store chunk data/00ab...".
    pub(super) fn into_error(self, plugin: &str, doing: &str) -> StoreError {
        match self {
            Failure::Answered(error) => error,
            Failure::Stopped(why) => StoreError::new(
                StoreErrorKind::Plugin,
                format!("plugin {plugin}: could not {doing}: it was stopped: {why}"),
            ),
            Failure::Broken(why) => StoreError::new(
                StoreErrorKind::Unavailable(None),
                format!("plugin {plugin}: could not {doing}: {why}; try again later"),
            ),
            Failure::Wrong(why) => {
                StoreError::new(StoreErrorKind::Corrupt, format!("plugin {plugin}: could not {doing}: {why}"))
            }
        }
    }
}

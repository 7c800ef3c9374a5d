//! The plugin under test: its instances, and calls that nobody repeats or checks on their way.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::Broken;
use crate::chunk::ChunkId;
use crate::plugin::PluginInfo;
use crate::plugin::bindings::contract::{self, ByteRange, ChunkInfo, PutOutcome, RemoveOutcome};
use crate::plugin::failure::Failure;
use crate::plugin::instance::{Answer, Call};
use crate::plugin::pool::Pool;
use crate::plugin::retry;
use crate::store::{StoreError, StoreErrorKind};

/// The label of most chunks that are stored here.
pub(super) const LABEL: &str = "conformance";

/// How often a place that is not available is asked again.
const TRIES: usize = 4;

/// A plugin with a place for it.
pub(super) struct Subject {
    pool: Pool,
    /// What it says that it is.
    pub(super) info: PluginInfo,
    /// How many chunks are many.
    pub(super) many: u64,
    /// What was stored, so that it can be removed: label and id.
    stored: Mutex<BTreeSet<(String, String)>>,
}

impl Subject {
    pub(super) fn new(pool: Pool, info: PluginInfo, many: u64, create_directories: bool) -> Result<Self, StoreError> {
        if create_directories {
            for directory in &pool.blueprint.grants.directories {
                directory.create()?;
            }
        }
        Ok(Subject { pool, info, many, stored: Mutex::default() })
    }

    /// A fresh instance that has opened nothing yet.
    pub(super) fn instance(&self) -> Instance<'_> {
        Instance { subject: self, pool: Pool::new(self.pool.blueprint.renewed(), 1) }
    }

    /// An instance that has another location and other options, and no grant.
    pub(super) fn elsewhere(&self, location: &str, options: &[(&str, &str)]) -> Instance<'_> {
        let mut blueprint = self.pool.blueprint.renewed();
        blueprint.grants = Default::default();
        blueprint.client = None;
        blueprint.location = location.to_owned();
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        blueprint.options.extend(options);
        Instance { subject: self, pool: Pool::new(blueprint, 1) }
    }

    /// The location as the plugin sees it.
    pub(super) fn location(&self) -> &str {
        &self.pool.blueprint.location
    }

    /// Removes what was stored, as far as that is possible.
    pub(super) fn clean_up(&self) {
        let instance = self.instance();
        let stored = std::mem::take(&mut *self.stored.lock().unwrap_or_else(PoisonError::into_inner));
        for (label, id) in stored {
            if instance.remove(&label, &id).is_err() {
                return;
            }
        }
    }
}

/// One instance of the plugin.
pub(super) struct Instance<'a> {
    subject: &'a Subject,
    pool: Pool,
}

impl Instance<'_> {
    /// Makes a call; only a place that is not available is asked again.
    fn call(&self, call: &Call) -> Result<Answer, Failure> {
        let mut limits = self.pool.blueprint.limits;
        limits.unavailable_tries = TRIES;
        limits.instance_tries = 1;
        retry::repeat(&limits, "try it", || self.pool.call(call.clone()))
    }

    pub(super) fn describe(&self) -> Result<contract::Description, Failure> {
        match self.call(&Call::Describe)? {
            Answer::Description(description) => Ok(description),
            _ => other(),
        }
    }

    pub(super) fn plan(&self) -> Result<contract::Grants, Failure> {
        match self.call(&Call::Plan)? {
            Answer::Grants(grants) => Ok(grants),
            _ => other(),
        }
    }

    pub(super) fn init(&self) -> Result<(), Failure> {
        self.call(&Call::Init).map(drop)
    }

    pub(super) fn open(&self) -> Result<(), Failure> {
        self.call(&Call::Open).map(drop)
    }

    /// Stores bytes under their id.
    pub(super) fn put(&self, label: &str, bytes: &Bytes) -> Result<PutOutcome, Failure> {
        self.put_as(label, &ChunkId::of(bytes).to_string(), bytes.len() as u64, bytes)
    }

    /// Stores bytes under some id, announced with some size.
    pub(super) fn put_as(&self, label: &str, id: &str, size: u64, bytes: &Bytes) -> Result<PutOutcome, Failure> {
        let name = (label.to_owned(), id.to_owned());
        self.subject.stored.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
        let call = Call::Put { label: label.to_owned(), id: id.to_owned(), size, bytes: bytes.clone() };
        match self.call(&call)? {
            Answer::Put(outcome) => Ok(outcome),
            _ => other(),
        }
    }

    pub(super) fn get(&self, label: &str, id: &str, range: Option<ByteRange>) -> Result<Bytes, Failure> {
        match self.call(&Call::Get { label: label.to_owned(), id: id.to_owned(), range })? {
            Answer::Bytes(bytes, _) => Ok(bytes),
            _ => other(),
        }
    }

    pub(super) fn stat(&self, label: &str, id: &str) -> Result<ChunkInfo, Failure> {
        match self.call(&Call::Stat { label: label.to_owned(), id: id.to_owned() })? {
            Answer::Info(info) => Ok(info),
            _ => other(),
        }
    }

    pub(super) fn page(&self, filter: &str, after: Option<&str>, limit: u32) -> Result<contract::Page, Failure> {
        let call = Call::List { filter: filter.to_owned(), after: after.map(str::to_owned), limit };
        match self.call(&call)? {
            Answer::Page(page) => Ok(page),
            _ => other(),
        }
    }

    pub(super) fn remove(&self, label: &str, id: &str) -> Result<RemoveOutcome, Failure> {
        match self.call(&Call::Remove { label: label.to_owned(), id: id.to_owned() })? {
            Answer::Removed(outcome) => Ok(outcome),
            _ => other(),
        }
    }

    pub(super) fn check(&self) -> Result<Vec<contract::Finding>, Failure> {
        match self.call(&Call::Check)? {
            Answer::Findings(findings) => Ok(findings),
            _ => other(),
        }
    }
}

fn other<T>() -> Result<T, Failure> {
    Err(Failure::Wrong("the answer belongs to another call".into()))
}

/// Bytes that no other seed gives.
pub(super) fn noise(seed: u64, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}

/// The id of some bytes.
pub(super) fn id(bytes: &[u8]) -> String {
    ChunkId::of(bytes).to_string()
}

/// What went wrong with a call.
pub(super) fn shown(failure: &Failure) -> String {
    match failure {
        Failure::Answered(error) => format!("it answers {}: {}", case(error.kind), error.message),
        Failure::Stopped(why) => format!("it was stopped: {why}"),
        Failure::Broken(why) | Failure::Wrong(why) => why.clone(),
    }
}

/// The case of the contract's `error`.
fn case(kind: StoreErrorKind) -> &'static str {
    match kind {
        StoreErrorKind::NotFound => "not-found",
        StoreErrorKind::NotInitialised => "not-initialised",
        StoreErrorKind::AlreadyInitialised => "already-initialised",
        StoreErrorKind::Denied => "denied",
        StoreErrorKind::Invalid => "invalid",
        StoreErrorKind::Corrupt => "corrupt",
        StoreErrorKind::Quota => "quota",
        StoreErrorKind::Archived => "archived",
        StoreErrorKind::Unavailable(_) => "unavailable",
        StoreErrorKind::Unsupported => "unsupported",
        StoreErrorKind::Plugin | StoreErrorKind::Other => "other",
    }
}

/// Fails unless a call answered with this case of the contract's `error`.
pub(super) fn must_answer<T>(result: Result<T, Failure>, wanted: StoreErrorKind, doing: &str) -> Result<(), Broken> {
    let wanted = case(wanted);
    match result {
        Err(Failure::Answered(error)) if case(error.kind) == wanted => Ok(()),
        Err(failure) => Err(Broken::new(format!("{doing} has to answer {wanted}; {}", shown(&failure)))),
        Ok(_) => Err(Broken::new(format!("{doing} has to answer {wanted}, and it works"))),
    }
}

//! [`PluginStore`]: a plugin as a chunk store.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::bindings::contract;
use super::failure::Failure;
use super::instance::{Answer, Call};
use super::opening::Renewal;
use super::pool::Pool;
use super::verify::{self, Cursor, PAGE};
use super::{PluginInfo, retry};
use crate::chunk::{ChunkId, ChunkInfo, Label, LabelFilter, MAX_CHUNK_SIZE};
use crate::store::{
    ChunkStore, Finding, ListPage, PutOutcome, RemoveOutcome, Severity, StoreError, StoreErrorKind, Tokens,
};

/// A place that a plugin keeps. Calls are checked, repeated where that helps, and bounded in time and memory.
pub struct PluginStore {
    /// Replaced as a whole when keys are renewed.
    pool: RwLock<Arc<Pool>>,
    info: PluginInfo,
    create_directories: bool,
    renewal: Option<Renewal>,
    /// When keys were last read again, and were the same.
    unchanged: Mutex<Option<Instant>>,
    /// Whether the token in use is the one that a credential holds.
    token_of_credential: AtomicBool,
}

/// Keys that were read again and were the same are not read for so long: reading them may mean to run a program.
const RENEWAL_PAUSE: Duration = Duration::from_secs(30);

impl std::fmt::Debug for PluginStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginStore").field("plugin", &self.info.name).finish_non_exhaustive()
    }
}

impl PluginStore {
    pub(super) fn new(pool: Pool, info: PluginInfo, create_directories: bool, renewal: Option<Renewal>) -> Self {
        let pool = RwLock::new(Arc::new(pool));
        PluginStore {
            pool,
            info,
            create_directories,
            renewal,
            unchanged: Mutex::default(),
            token_of_credential: AtomicBool::new(false),
        }
    }

    pub(super) fn pool(&self) -> Arc<Pool> {
        self.pool.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A pool with other keys than those that were refused, if there are any.
    fn renewed(&self, refused: &Arc<Pool>) -> Option<Arc<Pool>> {
        let renewal = self.renewal.as_ref()?;
        let mut pool = self.pool.write().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&pool, refused) {
            let mut unchanged = self.unchanged.lock().unwrap_or_else(PoisonError::into_inner);
            if unchanged.is_some_and(|when| when.elapsed() < RENEWAL_PAUSE) {
                return None;
            }
            let (options, redaction) =
                renewal().inspect_err(|error| tracing::warn!("keys are not renewed: {error}")).ok()?;
            if options == refused.blueprint.options {
                *unchanged = Some(Instant::now());
                return None;
            }
            tracing::debug!(plugin = %self.info.name, "the keys have changed; going on with the new ones");
            *pool = Arc::new(refused.with(options, redaction));
        }
        Some(pool.clone())
    }

    /// The origins (`https://host:port`) that the plugin wanted to talk to, and that the user has not named.
    pub fn refused_origins(&self) -> Vec<String> {
        let pool = self.pool();
        let refused = pool.blueprint.client.as_ref().map(|client| client.refused());
        refused.unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    /// What the plugin says about itself.
    pub fn info(&self) -> &PluginInfo {
        &self.info
    }

    /// Makes a call, as often as it is worth it.
    fn call<T>(&self, doing: &str, call: &Call, check: impl Fn(Answer) -> Result<T, Failure>) -> Result<T, StoreError> {
        let first = matches!(call, Call::Init | Call::Open);
        let make = |pool: &Pool| {
            let limits = &pool.blueprint.limits;
            let limits = if first { limits.first_contact() } else { *limits };
            retry::repeat(&limits, doing, || pool.call(call.clone()).and_then(&check))
        };
        let pool = self.pool();
        let answer = match make(&pool) {
            // Temporary keys expire.
            Err(Failure::Answered(error)) if error.kind == StoreErrorKind::Denied => match self.renewed(&pool) {
                Some(renewed) => make(&renewed),
                None => Err(Failure::Answered(error)),
            },
            answer => answer,
        };
        answer.map_err(|failure| {
            let mut error = failure.into_error(&self.info.name, doing);
            if error.kind == StoreErrorKind::Denied && self.token_of_credential.load(Ordering::Relaxed) {
                error.message += " (asked with the token in the credential; another one: -o token-file=FILE)";
            }
            error
        })
    }

    /// Goes on with another pool. Calls in flight end on the old one.
    pub(super) fn go_on_with(&self, pool: Pool, token_of_credential: bool) {
        *self.pool.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pool);
        self.token_of_credential.store(token_of_credential, Ordering::Relaxed);
    }
}

/// An answer of another call than was made; the worker answers each in kind.
fn mismatch<T>() -> Result<T, Failure> {
    Err(Failure::Stopped("the answer belongs to another call".into()))
}

fn chunk(label: &Label, id: &ChunkId) -> (String, String) {
    (label.to_string(), id.to_string())
}

impl ChunkStore for PluginStore {
    fn init(&self) -> Result<(), StoreError> {
        for directory in &self.pool().blueprint.grants.directories {
            if self.create_directories {
                directory.create()?;
            }
        }
        self.call("prepare the store", &Call::Init, |_| Ok(()))
    }

    fn open(&self) -> Result<(), StoreError> {
        self.call("open the store", &Call::Open, |_| Ok(()))
    }

    fn put(&self, label: &Label, id: &ChunkId, bytes: Bytes) -> Result<PutOutcome, StoreError> {
        let doing = format!("store chunk {label}/{id}");
        if bytes.len() as u64 > MAX_CHUNK_SIZE {
            let message = format!("cannot {doing}: it has {} bytes, at most {MAX_CHUNK_SIZE} are allowed", bytes.len());
            return Err(StoreError::new(StoreErrorKind::Invalid, message));
        }
        let (label, id) = chunk(label, id);
        let size = bytes.len() as u64;
        self.call(&doing, &Call::Put { label, id, size, bytes }, |answer| match answer {
            Answer::Put(contract::PutOutcome::Stored) => Ok(PutOutcome::Stored),
            Answer::Put(contract::PutOutcome::AlreadyPresent) => Ok(PutOutcome::AlreadyPresent),
            _ => mismatch(),
        })
    }

    fn get(&self, label: &Label, id: &ChunkId, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        let wire = match &range {
            None => None,
            Some(range) => {
                let length = range.end.checked_sub(range.start).filter(|&length| length <= MAX_CHUNK_SIZE);
                let length = length.ok_or_else(|| {
                    let message = format!("cannot read chunk {label}/{id}: {range:?} is no range of a chunk");
                    StoreError::new(StoreErrorKind::Invalid, message)
                })?;
                Some(contract::ByteRange { offset: range.start, length })
            }
        };
        let doing = format!("read chunk {label}/{id}");
        let (label, wire_id) = chunk(label, id);
        let call = Call::Get { label, id: wire_id, range: wire };
        let read = || {
            self.call(&doing, &call, |answer| match answer {
                Answer::Bytes(bytes, _) if wire.is_some() => Ok(bytes),
                Answer::Bytes(bytes, hashed) if hashed.unwrap_or_else(|| ChunkId::of(&bytes)) == *id => Ok(bytes),
                Answer::Bytes(bytes, _) => {
                    let len = bytes.len();
                    Err(Failure::Wrong(format!("the {len} bytes that it answered with are not those of the chunk")))
                }
                _ => mismatch(),
            })
        };
        match read() {
            // Bytes can be damaged on their way; damage that stays is on the disk.
            Err(error) if error.kind == StoreErrorKind::Corrupt => read(),
            result => result,
        }
    }

    fn stat(&self, label: &Label, id: &ChunkId) -> Result<ChunkInfo, StoreError> {
        let doing = format!("look at chunk {label}/{id}");
        let (wire_label, wire_id) = chunk(label, id);
        self.call(&doing, &Call::Stat { label: wire_label, id: wire_id }, |answer| {
            let Answer::Info(info) = answer else { return mismatch() };
            let info = verify::info(info)?;
            if info.label != *label || info.id != *id {
                return Err(Failure::Wrong(format!("it answered about {}/{} instead", info.label, info.id)));
            }
            Ok(info)
        })
    }

    fn list_page(&self, filter: &LabelFilter, after: Option<&str>) -> Result<ListPage, StoreError> {
        let cursor = match after {
            None => None,
            Some(text) => Some(Cursor::parse(text).ok_or_else(|| {
                StoreError::new(StoreErrorKind::Invalid, format!("{text:?} is not where a page of a listing ended"))
            })?),
        };
        let most = self.pool().blueprint.limits.listing;
        let plugin_cursor = cursor.as_ref().map(|cursor| cursor.next.clone());
        let call = Call::List { filter: filter.to_wire(), after: plugin_cursor, limit: PAGE };
        let (chunks, next) = self.call("list chunks", &call, |answer| match answer {
            Answer::Page(page) => verify::page(page, filter, cursor.as_ref(), most),
            _ => mismatch(),
        })?;
        Ok(ListPage { chunks, next: next.map(|cursor| cursor.to_text()) })
    }

    fn remove(&self, label: &Label, id: &ChunkId) -> Result<RemoveOutcome, StoreError> {
        let doing = format!("remove chunk {label}/{id}");
        let (label, id) = chunk(label, id);
        self.call(&doing, &Call::Remove { label, id }, |answer| match answer {
            Answer::Removed(contract::RemoveOutcome::Removed) => Ok(RemoveOutcome::Removed),
            Answer::Removed(contract::RemoveOutcome::Pending(until)) => Ok(RemoveOutcome::Pending(until)),
            _ => mismatch(),
        })
    }

    fn check(&self) -> Result<Vec<Finding>, StoreError> {
        let pool = self.pool();
        let redaction = &pool.blueprint.redaction;
        self.call("check the store", &Call::Check, |answer| {
            let Answer::Findings(findings) = answer else { return mismatch() };
            let findings = findings.into_iter().map(|finding| Finding {
                severity: match finding.severity {
                    contract::Severity::Info => Severity::Info,
                    contract::Severity::Warning => Severity::Warning,
                    contract::Severity::Error => Severity::Error,
                },
                code: redaction.clean(&finding.code),
                message: redaction.clean(&finding.message),
            });
            Ok(findings.collect())
        })
    }

    fn parallelism(&self) -> usize {
        self.pool().size()
    }

    fn use_token(&self, token: &str) {
        self.take_token(token);
    }

    fn tokens(&self) -> Option<&dyn Tokens> {
        self.pool().blueprint.component.tokens.is_some().then_some(self)
    }
}

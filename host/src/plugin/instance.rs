//! One instance of a plugin and the calls on it. Used by the thread that owns it only.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use wasmtime::component::ResourceAny;
use wasmtime::{Store, UpdateDeadline, WasmBacktrace};
use wasmtime_wasi::p2::DynInputStream;

use super::bindings::{MadeToken, Plugin, TokenWish, contract};
use super::failure::Failure;
use super::fit::Linked;
use super::grants::Grants;
use super::http::Client;
use super::limits::Limits;
use super::output::Redaction;
use super::progress::Progress;
use super::sandbox::Sandbox;
use super::streams::{self, ChunkStream};
use crate::chunk::{ChunkId, MAX_CHUNK_SIZE};
use crate::store::{StoreError, StoreErrorKind};

/// What every instance of an opened plugin is made from.
pub(super) struct Blueprint {
    /// The component, compiled and linked.
    pub(super) component: Linked,
    /// The plugin's name, for messages.
    pub(super) plugin: String,
    /// What it may use.
    pub(super) grants: Grants,
    /// How it reaches the origins among them.
    pub(super) client: Option<Arc<Client>>,
    /// The location as the plugin sees it.
    pub(super) location: String,
    /// The options as the plugin sees them.
    pub(super) options: Vec<(String, String)>,
    /// Whether `put` hands over a stream.
    pub(super) put_streams: bool,
    /// What it runs under.
    pub(super) limits: Limits,
    /// What must not be shown.
    pub(super) redaction: Redaction,
    /// Whether the plugin understands [`OPENED`].
    pub(super) tells_opened: bool,
    /// Whether some instance has opened the place.
    pub(super) opened: AtomicBool,
}

impl Blueprint {
    /// The same for a place that nobody has opened yet.
    pub(super) fn renewed(&self) -> Self {
        Blueprint {
            component: self.component.clone(),
            plugin: self.plugin.clone(),
            grants: self.grants.clone(),
            client: self.client.clone(),
            location: self.location.clone(),
            options: self.options.clone(),
            put_streams: self.put_streams,
            limits: self.limits,
            redaction: self.redaction.clone(),
            tells_opened: self.tells_opened,
            opened: AtomicBool::new(false),
        }
    }
}

/// The option by which a plugin learns that another instance has opened the place, so that it need not look again.
pub(super) const OPENED: &str = "opened";

/// A call, with everything that it needs; cheap to clone, since it may have to be repeated.
#[derive(Clone)]
pub(super) enum Call {
    Describe,
    Plan,
    Init,
    Open,
    Put { label: String, id: String, size: u64, bytes: Bytes },
    Get { label: String, id: String, range: Option<contract::ByteRange> },
    Stat { label: String, id: String },
    List { filter: String, after: Option<String>, limit: u32 },
    Remove { label: String, id: String },
    Check,
    TokenId { token: String },
    CreateToken { wish: TokenWish },
    RevokeToken { id: String },
}

/// What a [`Call`] answers, case by case.
pub(super) enum Answer {
    Description(contract::Description),
    Grants(contract::Grants),
    Done,
    Put(contract::PutOutcome),
    /// With the id that the bytes have, where they were hashed on their way.
    Bytes(Bytes, Option<ChunkId>),
    Info(contract::ChunkInfo),
    Page(contract::Page),
    Removed(contract::RemoveOutcome),
    Findings(Vec<contract::Finding>),
    TokenId(String),
    Token(MadeToken),
}

impl Call {
    /// How many bytes it moves at most, for its time limit.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Call::Put { bytes, .. } => bytes.len() as u64,
            Call::Get { range: Some(range), .. } => range.length,
            Call::Get { range: None, .. } => MAX_CHUNK_SIZE,
            _ => 0,
        }
    }
}

/// A living instance.
pub(super) struct Instance {
    store: Store<Sandbox>,
    plugin: Plugin,
    /// The contract's `store` resource, once it is initialised or opened.
    place: Option<ResourceAny>,
    blueprint: Arc<Blueprint>,
}

impl Instance {
    /// Instantiates the component.
    pub(super) async fn new(blueprint: Arc<Blueprint>, progress: Arc<Progress>) -> Result<Self, Failure> {
        let limits = &blueprint.limits;
        let sandbox = Sandbox::new(&blueprint.grants, blueprint.client.clone(), limits, progress);
        let sandbox = sandbox.map_err(Failure::Answered)?;
        let mut store = Store::new(blueprint.component.plugin.engine(), sandbox);
        store.limiter(|sandbox| &mut sandbox.quota);
        store.set_hostcall_fuel(limits.transfer);
        store.epoch_deadline_callback(|context| {
            context.data().may_go_on()?;
            Ok(UpdateDeadline::Yield(1))
        });
        store.set_epoch_deadline(1);
        store.data_mut().begin_call();
        match blueprint.component.plugin.instantiate_async(&mut store).await {
            Ok(plugin) => Ok(Instance { store, plugin, place: None, blueprint }),
            Err(error) => Err(stopped(&error, &store, &blueprint)),
        }
    }

    /// Makes a call. After [`Failure::Stopped`] the instance must be dropped.
    pub(super) async fn call(&mut self, call: Call) -> Result<Answer, Failure> {
        self.store.data_mut().begin_call();
        self.store.set_epoch_deadline(1);
        let result = self.dispatch(call).await;
        let trouble = self.store.data_mut().http.end_call().await;
        let result = result.map_err(|failure| failure.because_of(trouble));
        for line in self.store.data().output.take(&self.blueprint.redaction) {
            tracing::debug!(target: "obnam::plugin", plugin = %self.blueprint.plugin, "{line}");
        }
        result
    }

    async fn dispatch(&mut self, call: Call) -> Result<Answer, Failure> {
        match call {
            Call::Describe => {
                let answer = self.plugin.obnam_chunk_store_chunk_store().call_describe(&mut self.store).await;
                Ok(Answer::Description(self.trapped(answer)?))
            }
            Call::Plan => {
                let (location, options) = (&self.blueprint.location, &self.blueprint.options);
                let guest = self.plugin.obnam_chunk_store_chunk_store();
                let answer = guest.call_plan(&mut self.store, location, options).await;
                Ok(Answer::Grants(self.answered(answer)?))
            }
            Call::Init => {
                self.forget_place().await?;
                let (location, options) = (&self.blueprint.location, &self.blueprint.options);
                let guest = self.plugin.obnam_chunk_store_chunk_store().store();
                let answer = guest.call_init(&mut self.store, location, options).await;
                self.place = Some(self.answered(answer)?);
                self.blueprint.opened.store(true, Ordering::Relaxed);
                Ok(Answer::Done)
            }
            Call::Open => {
                self.forget_place().await?;
                self.open(false).await?;
                Ok(Answer::Done)
            }
            Call::Put { label, id, size, bytes } => self.put(&label, &id, size, bytes).await,
            Call::Get { label, id, range } => self.get(&label, &id, range).await,
            Call::Stat { label, id } => {
                let place = self.place().await?;
                let guest = self.plugin.obnam_chunk_store_chunk_store().store();
                let answer = guest.call_stat(&mut self.store, place, &label, &id).await;
                Ok(Answer::Info(self.answered(answer)?))
            }
            Call::List { filter, after, limit } => {
                let place = self.place().await?;
                let guest = self.plugin.obnam_chunk_store_chunk_store().store();
                let answer = guest.call_list(&mut self.store, place, &filter, after.as_deref(), limit).await;
                Ok(Answer::Page(self.answered(answer)?))
            }
            Call::Remove { label, id } => {
                let place = self.place().await?;
                let guest = self.plugin.obnam_chunk_store_chunk_store().store();
                let answer = guest.call_remove(&mut self.store, place, &label, &id).await;
                Ok(Answer::Removed(self.answered(answer)?))
            }
            Call::Check => {
                let place = self.place().await?;
                let guest = self.plugin.obnam_chunk_store_chunk_store().store();
                let answer = guest.call_check(&mut self.store, place).await;
                Ok(Answer::Findings(self.answered(answer)?))
            }
            call @ (Call::TokenId { .. } | Call::CreateToken { .. } | Call::RevokeToken { .. }) => {
                self.tokens(call).await
            }
        }
    }

    /// A call of the interface `tokens`, on an instance of its own in the same sandbox: such calls are rare.
    async fn tokens(&mut self, call: Call) -> Result<Answer, Failure> {
        let blueprint = self.blueprint.clone();
        let Some(component) = &blueprint.component.tokens else {
            let message = format!("plugin {}: it gives out no tokens", blueprint.plugin);
            return Err(Failure::Answered(StoreError::new(StoreErrorKind::Unsupported, message)));
        };
        let instance = component.instantiate_async(&mut self.store).await;
        let instance = self.trapped(instance)?;
        let guest = instance.obnam_chunk_store_tokens();
        let (location, options) = (&blueprint.location, &blueprint.options);
        match call {
            Call::TokenId { token } => {
                let answer = guest.call_token_id(&mut self.store, &token).await;
                Ok(Answer::TokenId(self.answered(answer)?))
            }
            Call::CreateToken { wish } => {
                let answer = guest.call_create_token(&mut self.store, location, options, &wish).await;
                Ok(Answer::Token(self.answered(answer)?))
            }
            Call::RevokeToken { id } => {
                let answer = guest.call_revoke_token(&mut self.store, location, options, &id).await;
                self.answered(answer)?;
                Ok(Answer::Done)
            }
            _ => Err(Failure::Stopped("this is no call about tokens".into())),
        }
    }

    /// Drops the `store` resource, if there is one.
    async fn forget_place(&mut self) -> Result<(), Failure> {
        let Some(place) = self.place.take() else { return Ok(()) };
        let dropped = place.resource_drop_async(&mut self.store).await;
        self.trapped(dropped)
    }

    /// The `store` resource; opens it when this instance has none yet.
    async fn place(&mut self) -> Result<ResourceAny, Failure> {
        if let Some(place) = self.place {
            return Ok(place);
        }
        self.open(self.blueprint.tells_opened && self.blueprint.opened.load(Ordering::Relaxed)).await
    }

    /// Opens the place; `again` says that another instance has done so.
    async fn open(&mut self, again: bool) -> Result<ResourceAny, Failure> {
        let blueprint = &self.blueprint;
        let mut options = Cow::Borrowed(&blueprint.options);
        if again {
            options.to_mut().push((OPENED.into(), "yes".into()));
        }
        let guest = self.plugin.obnam_chunk_store_chunk_store().store();
        let answer = guest.call_open(&mut self.store, &blueprint.location, &options).await;
        let place = self.answered(answer)?;
        self.blueprint.opened.store(true, Ordering::Relaxed);
        self.place = Some(place);
        Ok(place)
    }

    /// Hands over `bytes`, announced as `size` of them.
    async fn put(&mut self, label: &str, id: &str, size: u64, bytes: Bytes) -> Result<Answer, Failure> {
        let place = self.place().await?;
        let mut taken = None;
        let content = if self.blueprint.put_streams {
            let (stream, counter) = ChunkStream::new(bytes, self.store.data().progress.clone());
            taken = Some(counter);
            let stream: DynInputStream = Box::new(stream);
            let handle = self.store.data_mut().table.push(stream);
            contract::Content::Stream(handle.map_err(|error| Failure::Stopped(error.to_string()))?)
        } else {
            contract::Content::Bytes(bytes.to_vec())
        };
        let guest = self.plugin.obnam_chunk_store_chunk_store().store();
        let answer = guest.call_put(&mut self.store, place, label, id, size, &content).await;
        let outcome = self.answered(answer)?;
        let taken = taken.map_or(size, |taken| taken.load(Ordering::Relaxed));
        if outcome == contract::PutOutcome::Stored && taken < size {
            return Err(Failure::Wrong(format!("it says that it stored {size} bytes, but read only {taken} of them")));
        }
        Ok(Answer::Put(outcome))
    }

    async fn get(&mut self, label: &str, id: &str, range: Option<contract::ByteRange>) -> Result<Answer, Failure> {
        let place = self.place().await?;
        let guest = self.plugin.obnam_chunk_store_chunk_store().store();
        let answer = guest.call_get(&mut self.store, place, label, id, range).await;
        let length = range.map(|range| range.length);
        match self.answered(answer)? {
            contract::Content::Stream(handle) => {
                let (bytes, id) = streams::drain(self.store.data_mut(), handle, length).await?;
                Ok(Answer::Bytes(bytes, id))
            }
            contract::Content::Bytes(bytes) => {
                streams::check_length(bytes.len() as u64, length)?;
                Ok(Answer::Bytes(bytes.into(), None))
            }
        }
    }

    /// Sorts out both ways in which a call can fail.
    fn answered<T, E>(&self, answer: wasmtime::Result<Result<T, E>>) -> Result<T, Failure>
    where
        contract::Error: From<E>,
    {
        let Blueprint { plugin, redaction, .. } = &*self.blueprint;
        self.trapped(answer)?.map_err(|error| Failure::from_contract(error.into(), plugin, redaction))
    }

    fn trapped<T>(&self, answer: wasmtime::Result<T>) -> Result<T, Failure> {
        answer.map_err(|error| stopped(&error, &self.store, &self.blueprint))
    }
}

/// Why an instance ended: the root cause, and the last words of the guest. The log gets all of them, and where it was.
fn stopped(error: &wasmtime::Error, store: &Store<Sandbox>, blueprint: &Blueprint) -> Failure {
    let Blueprint { plugin, redaction, .. } = blueprint;
    let mut why = redaction.clean(&error.root_cause().to_string());
    let mut lines = store.data().output.take(redaction);
    // What Rust adds to a panic does not help: a guest has no environment, and its stack is below.
    lines.retain(|line| !line.starts_with("note: run with `RUST_BACKTRACE=1`"));
    for line in &lines {
        tracing::debug!(target: "obnam::plugin", plugin = %plugin, "{line}");
    }
    tracing::debug!(target: "obnam::plugin", plugin = %plugin, "stopped: {why}");
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        tell_backtrace(backtrace, blueprint);
    }
    let last = lines.len().saturating_sub(3);
    if !lines.is_empty() {
        why = format!("{why}; it had printed: {}", lines[last..].join(" / "));
    }
    Failure::Stopped(why)
}

/// Where a guest was when it was stopped, in the log: a line for each function, the innermost first.
fn tell_backtrace(backtrace: &WasmBacktrace, blueprint: &Blueprint) {
    let Blueprint { plugin, redaction, .. } = blueprint;
    // The first line is a heading. The names are the plugin's own, and cleaned as all that it says.
    for line in backtrace.to_string().lines().skip(1) {
        tracing::debug!(target: "obnam::plugin", plugin = %plugin, "  at {}", redaction.clean(line));
    }
    let frames = backtrace.frames();
    if !frames.is_empty() && frames.iter().all(|frame| frame.func_name().is_none()) {
        let advice = "the functions have no names, since the plugin was built with them stripped";
        tracing::debug!(target: "obnam::plugin", plugin = %plugin, "  ({advice})");
    }
}

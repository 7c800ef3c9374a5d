//! A storage backend as a plain Rust type, and how it becomes the exports of a component.

use crate::bindings::exports::obnam::chunk_store::chunk_store::{Guest, GuestStore, Store};
use crate::{ByteRange, ChunkInfo, Content, Description, Error, Finding, Grants, Page, PutOutcome, RemoveOutcome};

/// A storage backend: the contract of `wit/chunk-store.wit` in Rust. A value is an opened place.
///
/// Obnam hands over only well-formed labels and ids (see [`crate::chunk`]), and makes one call at a time. It repeats calls that
/// failed with `unavailable`, and nothing else does: a backend tries each thing once.
pub trait Plugin: Sized + 'static {
    /// What this plugin is. Asks nobody and depends on nothing.
    fn describe() -> Description;

    /// Which directories and origins the plugin wishes to use for this location and these options. Depends on nothing but them;
    /// `invalid` when they make no sense.
    fn plan(location: &str, options: &[(String, String)]) -> Result<Grants, Error>;

    /// Prepares an empty place, durably, and opens it. `already-initialised`, without any change, for one that holds chunks, or things
    /// that are not Obnam's; repeating it on a prepared place without chunks is fine.
    fn init(location: &str, options: &[(String, String)]) -> Result<Self, Error>;

    /// Opens a place that `init` prepared, and creates nothing. `not-initialised` for whatever looks never prepared: an unmounted
    /// disk must not become a fresh store.
    fn open(location: &str, options: &[(String, String)]) -> Result<Self, Error>;

    /// Called before each of the calls below: the time to drop what an answer of the call before was still read from.
    fn begin(&self) {}

    /// Stores a chunk of `size` bytes: all or nothing, durable when it returns, never in place of bytes that are there. Present with
    /// this size: `already-present`; with another: `corrupt`; content of another length: `invalid`.
    fn put(&self, label: &str, id: &str, size: u64, content: Content) -> Result<PutOutcome, Error>;

    /// Reads a chunk, or exactly a range of it. A range beyond the end is `invalid`, an absent chunk `not-found`. What an answered
    /// stream is read from is kept in `self` until [`begin`](Plugin::begin).
    fn get(&self, label: &str, id: &str, range: Option<ByteRange>) -> Result<Content, Error>;

    /// What is known of a chunk without reading it; `not-found` when there is none.
    fn stat(&self, label: &str, id: &str) -> Result<ChunkInfo, Error>;

    /// One page of the chunks that pass `filter` ([`crate::chunk::passes`]), in ascending order by label, then id, behind `after` (the
    /// `next` of the page before): at most `limit` of them, 1 to 1,000.
    fn list(&self, filter: &str, after: Option<&str>, limit: u32) -> Result<Page, Error>;

    /// Removes a chunk. One that is not there is no error.
    fn remove(&self, label: &str, id: &str) -> Result<RemoveOutcome, Error>;

    /// What the place does and does not guarantee. Changes nothing that lasts.
    fn check(&self) -> Result<Vec<Finding>, Error> {
        Ok(Vec::new())
    }
}

/// What [`export!`](crate::export) exports: a [`Plugin`] as `wit-bindgen` wants it.
#[doc(hidden)]
pub struct Exported<P>(P);

impl<P: Plugin> Exported<P> {
    fn call(&self) -> &P {
        self.0.begin();
        &self.0
    }
}

impl<P: Plugin> Guest for Exported<P> {
    type Store = Self;

    fn describe() -> Description {
        P::describe()
    }

    fn plan(location: String, options: Vec<(String, String)>) -> Result<Grants, Error> {
        P::plan(&location, &options)
    }
}

impl<P: Plugin> GuestStore for Exported<P> {
    fn init(location: String, options: Vec<(String, String)>) -> Result<Store, Error> {
        P::init(&location, &options).map(|store| Store::new(Exported(store)))
    }

    fn open(location: String, options: Vec<(String, String)>) -> Result<Store, Error> {
        P::open(&location, &options).map(|store| Store::new(Exported(store)))
    }

    fn put(&self, label: String, id: String, size: u64, content: Content) -> Result<PutOutcome, Error> {
        self.call().put(&label, &id, size, content)
    }

    fn get(&self, label: String, id: String, range: Option<ByteRange>) -> Result<Content, Error> {
        self.call().get(&label, &id, range)
    }

    fn stat(&self, label: String, id: String) -> Result<ChunkInfo, Error> {
        self.call().stat(&label, &id)
    }

    fn list(&self, filter: String, after: Option<String>, limit: u32) -> Result<Page, Error> {
        self.call().list(&filter, after.as_deref(), limit)
    }

    fn remove(&self, label: String, id: String) -> Result<RemoveOutcome, Error> {
        self.call().remove(&label, &id)
    }

    fn check(&self) -> Result<Vec<Finding>, Error> {
        self.call().check()
    }
}

//! A storage backend as a plain Rust type, and how it becomes the exports of a component.

use crate::bindings::exports::obnam::chunk_store::chunk_store::{Guest, GuestStore, Store};
use crate::{ByteRange, ChunkInfo, Content, Description, Error, Finding, Grants, Page, PutOutcome, RemoveOutcome};

/// A storage backend: the contract of `wit/chunk-store.wit` in Rust. A value is an opened place.
///
/// - *Labels* are `[a-z0-9][a-z0-9.-]{0,63}`, *ids* 64 lower-case hexadecimal digits (the SHA-256 of the chunk's
///   bytes), chunks 0 bytes to 64 MiB. Obnam hands over only well-formed ones.
/// - An instance gets one call at a time, but there are several instances, and other computers: two may store one chunk
///   at the same moment. Instances are made and thrown away at any time, so nothing that must last is kept in memory.
/// - A plugin tries each thing once. Obnam repeats what failed with [`Error::Unavailable`], trapped (a panic is a trap)
///   or ran out of time, so each function is safe to repeat, also when the first call did its work and only the answer
///   was lost.
/// - Messages of errors say what could not be done to what, why, and what to do about it. They hold no secrets.
pub trait Plugin: Sized + 'static {
    /// What this plugin is. Asks nobody, depends on nothing, is called without any grant.
    fn describe() -> Description;

    /// Which directories and origins the plugin wishes to use for this location and these options; called without any
    /// grant, and depends on nothing else. Obnam grants a wish only where the user named it.
    ///
    /// `location` is what the user wrote: a URL of one of the schemes, or for the scheme `file` an absolute path.
    /// `options` are names and values, each name at most once, with the values of environment variables filled in; see
    /// [`crate::options::Options`].
    ///
    /// [`Error::Invalid`] when they make no sense: also for options that there are none of.
    fn plan(location: &str, options: &[(String, String)]) -> Result<Grants, Error>;

    /// Prepares an empty place, durably, and opens it. The granted directory is there: Obnam creates it.
    ///
    /// Repeating it on a prepared place without chunks is fine. [`Error::AlreadyInitialised`], without any change, for
    /// one that holds chunks, or things that are not Obnam's.
    fn init(location: &str, options: &[(String, String)]) -> Result<Self, Error>;

    /// Opens a place that `init` prepared, and creates nothing.
    ///
    /// [`Error::NotInitialised`] for whatever looks never prepared: an unmounted disk must not become a fresh store.
    fn open(location: &str, options: &[(String, String)]) -> Result<Self, Error>;

    /// Called before each of the calls below: the time to drop what an answer of the call before was still read from,
    /// see [`crate::http::Reading`].
    fn begin(&self) {}

    /// Stores a chunk of `size` bytes, which `content` yields, in the form that [`Description::bodies`] asked for: all
    /// or nothing (also when the power fails), durable when it returns, never in place of bytes that are there.
    ///
    /// A chunk that is there with this size is [`PutOutcome::AlreadyPresent`], and `content` may be left unread; one
    /// with another size is [`Error::Corrupt`]. Content of another length is [`Error::Invalid`], and nothing is stored.
    /// A full place is [`Error::Quota`].
    fn put(&self, label: &str, id: &str, size: u64, content: Content) -> Result<PutOutcome, Error>;

    /// Reads a chunk, or exactly the `length` bytes at `offset` of it, in either form: a stream that a range is
    /// answered with may go on behind it.
    ///
    /// A range beyond the end is [`Error::Invalid`], also one of length 0; one of length 0 at the end is fine. An
    /// absent chunk is [`Error::NotFound`]. What a stream is read from is kept in `self` until
    /// [`begin`](Plugin::begin).
    fn get(&self, label: &str, id: &str, range: Option<ByteRange>) -> Result<Content, Error>;

    /// What is known of a chunk without reading it: its size in bytes, and when it was stored in seconds since 1970 by
    /// the clock of the place, where that knows. [`Error::NotFound`] when there is none.
    fn stat(&self, label: &str, id: &str) -> Result<ChunkInfo, Error>;

    /// One page of the chunks that pass `filter` ([`crate::chunk::passes`]), in ascending order by label, then id: at
    /// most `limit` of them (1 to 1,000), behind `after`, which is the [`Page::next`] of the page before.
    /// [`crate::listing::Listing`] does that.
    ///
    /// What was stored before the first page was asked for is listed exactly once, whatever else comes and goes.
    fn list(&self, filter: &str, after: Option<&str>, limit: u32) -> Result<Page, Error>;

    /// Removes a chunk. One that is not there is no error. A place that removes later answers
    /// [`RemoveOutcome::Pending`] with the time, in seconds since 1970, and keeps the chunk until then.
    fn remove(&self, label: &str, id: &str) -> Result<RemoveOutcome, Error>;

    /// What the place does and does not guarantee, for people. Changes nothing that lasts.
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

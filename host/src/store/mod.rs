//! The raw layer: a [`ChunkStore`] keeps immutable chunks and knows nothing of what they mean.
//!
//! Everything below this trait sees ciphertext only and is not trusted for anything but keeping bytes. A store is
//! blocking and may be called from any number of threads at once; whoever implements it retries what is worth a
//! retry, so that an error that comes out of here is final.

use std::ops::Range;

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::chunk::{ChunkId, ChunkInfo, Label, LabelFilter};

pub mod error;
pub mod memory;

pub use error::{StoreError, StoreErrorKind};

/// What [`ChunkStore::put`] did. Information only: both mean that the chunk is there and durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// The chunk was written.
    Stored,
    /// The chunk was there before.
    AlreadyPresent,
}

/// What [`ChunkStore::remove`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoveOutcome {
    /// The chunk is gone (or was not there).
    Removed,
    /// The store will remove it at this time (seconds since 1970), and until then keeps it.
    Pending(u64),
}

/// One page of a listing.
#[derive(Debug, Clone, Default)]
pub struct ListPage {
    /// At most 1,000 chunks, in ascending order of (label, id).
    pub chunks: Vec<ChunkInfo>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<String>,
}

/// How serious a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// A guarantee that this place does not give.
    Warning,
    /// Something is broken.
    Error,
}

/// What a store's own check found out about the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How serious it is.
    pub severity: Severity,
    /// A stable name, `[a-z0-9-]+`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// What a new token is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenWish {
    /// A name for people.
    pub name: String,
    /// What it may do, in a word that the place knows: `backup`, `restore`, `prune`, `all`.
    pub preset: String,
    /// When it ends, in seconds since 1970.
    pub expires: Option<u64>,
}

/// A token that was made. It has no `Debug`.
pub struct MadeToken {
    /// Names it in lists and logs.
    pub id: String,
    /// The token itself.
    pub token: Zeroizing<String>,
    /// When it ends, in seconds since 1970.
    pub expires: Option<u64>,
}

/// The tokens by which a place knows its users.
pub trait Tokens {
    /// The id in a token. Asks nobody.
    fn id_of(&self, token: &str) -> Result<String, StoreError>;

    /// Makes a token, which may do no more than the one in use.
    fn create(&self, wish: &TokenWish) -> Result<MadeToken, StoreError>;

    /// Revokes a token, in its own name. [`StoreErrorKind::Denied`] where the place does not accept it any more.
    fn give_up(&self, token: &str) -> Result<(), StoreError>;
}

/// A place that keeps chunks.
///
/// - `put` never replaces other bytes, is idempotent, and is durable when it returns.
/// - `list` after `put` sees the chunk.
/// - `get` of the whole chunk has been checked against its id; a range has been checked for its length only.
pub trait ChunkStore: Send + Sync {
    /// Prepares an empty place. May be repeated on a place that holds no chunks.
    fn init(&self) -> Result<(), StoreError>;

    /// Checks that the place is there and usable. Creates nothing.
    fn open(&self) -> Result<(), StoreError>;

    /// Stores a chunk; `id` must be the SHA-256 of `bytes`.
    fn put(&self, label: &Label, id: &ChunkId, bytes: Bytes) -> Result<PutOutcome, StoreError>;

    /// Reads a whole chunk (`range` is `None`), or exactly the bytes of `range`.
    fn get(&self, label: &Label, id: &ChunkId, range: Option<Range<u64>>) -> Result<Bytes, StoreError>;

    /// What the store knows of a chunk; [`StoreErrorKind::NotFound`] when it has none such.
    fn stat(&self, label: &Label, id: &ChunkId) -> Result<ChunkInfo, StoreError>;

    /// One page of the chunks that pass the filter, from where an earlier page ended.
    fn list_page(&self, filter: &LabelFilter, after: Option<&str>) -> Result<ListPage, StoreError>;

    /// Removes a chunk; removing one that is not there is no error.
    fn remove(&self, label: &Label, id: &ChunkId) -> Result<RemoveOutcome, StoreError>;

    /// What this place does and does not guarantee.
    fn check(&self) -> Result<Vec<Finding>, StoreError>;

    /// Goes on with the API token that a credential holds, where the place knows its users by tokens and this one gave
    /// none himself. Calls in flight end with what they began with.
    fn use_token(&self, _token: &str) {}

    /// The tokens of the place, if it makes and revokes some.
    fn tokens(&self) -> Option<&dyn Tokens> {
        None
    }

    /// How many calls the store works on at the same time; more callers wait.
    fn parallelism(&self) -> usize;

    /// The whole listing, page by page.
    fn list(&self, filter: &LabelFilter) -> Result<Vec<ChunkInfo>, StoreError> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let page = self.list_page(filter, after.as_deref())?;
            all.extend(page.chunks);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(all),
            }
        }
    }
}

//! The typed layer: a repository, opened with one client's keys.
//!
//! [`init`] makes one, [`open`] opens one, [`metadata`] reads what is sealed under the metadata key (snapshots, index
//! chunks, tombstones), [`notes`] reads and writes the tags of snapshots, [`forgetting`] removes snapshots, [`pruning`] the packs that none needs any more, as [`tombstones`] say, [`repairing`] mends the index, [`credentials`] lists, adds and removes what opens it,
//! [`clients`] changes who is a member, by a new [`roster`], [`blobs`] reads blobs, [`windows`] reads those that stand side by side, [`tree`] and [`entries`] read contents and directories, [`mod@write`] seals and stores. Below
//! this layer there is only ciphertext. What cannot be opened or verified is noted in [`Warnings`] and skipped.

pub mod blobs;
pub mod clients;
pub mod credentials;
pub mod entries;
pub mod forgetting;
mod history;
mod indexes;
pub mod init;
pub mod lineage;
mod merging;
pub mod metadata;
mod names;
pub mod notes;
pub mod open;
pub mod pruning;
pub mod repairing;
mod roster;
pub mod tombstones;
pub mod tree;
mod unlock;
pub mod warnings;
pub mod windows;
pub mod write;

use std::path::PathBuf;
use std::sync::Arc;

use crate::chunk::{ChunkId, Label};
use crate::credential::CredentialError;
use crate::format::client::{ClientKeys, Credential};
use crate::format::header::{KeyId, OpenWith};
use crate::format::marker::Marker;
use crate::format::roster::{GroupKeys, Member, Role, Roster};
use crate::format::{FormatError, WriterTag};
use crate::index::run::RunError;
use crate::local::chunks::ChunkCache;
use crate::local::{Dirs, LocalError};
use crate::store::{ChunkStore, StoreError, StoreErrorKind};

pub use warnings::{Warning, Warnings};

/// Why a repository cannot be made, opened or used.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A local file failed.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// The index cache failed.
    #[error(transparent)]
    Index(#[from] RunError),
    /// `init` where there is a repository.
    #[error("there is a repository at {location} already (id {id}); nothing was changed")]
    Exists {
        /// Where.
        location: String,
        /// Its id.
        id: ChunkId,
    },
    /// `init` in a store that holds chunks of something else.
    #[error("the store at {location} holds chunks, but no repository; choose an empty place (nothing was changed)")]
    Foreign {
        /// Where.
        location: String,
    },
    /// `open` where there is none.
    #[error(
        "there is no repository at {location}; is the right disk mounted? To make a new repository there, run: obnam --repo {location} init"
    )]
    NotThere {
        /// Where.
        location: String,
    },
    /// The chunk that the id names is gone.
    #[error("the repository at {location} is not the one that {knows} (id {pinned}): {found}. {next}")]
    NotPinned {
        /// Where.
        location: String,
        /// The id that was expected.
        pinned: ChunkId,
        /// Who or what expects it.
        knows: &'static str,
        /// What is there instead.
        found: String,
        /// What to do.
        next: String,
    },
    /// No credential opens.
    #[error("{why}")]
    NoAccess {
        /// What was tried.
        why: String,
    },
    /// The passphrase is wrong.
    #[error(
        "wrong passphrase: it does not open credential {credential} of this repository; try again, or look where it comes from: obnam config show. Another credential is named by --credential ID"
    )]
    WrongPassphrase {
        /// The credential.
        credential: ChunkId,
    },
    /// The identity is another one.
    #[error(
        "wrong identity: it does not open credential {credential} of this repository; give the file that was made with it, or the passphrase. Another credential is named by --credential ID"
    )]
    WrongIdentity {
        /// The credential.
        credential: ChunkId,
    },
    /// The credential that this run depends on is not removed.
    #[error("{}", needed(credential, *is_last))]
    CredentialNeeded {
        /// The credential.
        credential: ChunkId,
        /// Whether there is no other one.
        is_last: bool,
    },
    /// A credential that may be somebody else's is not removed.
    #[error(
        "the credential {credential} does not open with the secret in use, or is another client's; who has no other one is locked out for good when it is gone. Nothing was removed; --force removes it all the same"
    )]
    CredentialOfOthers {
        /// The credential.
        credential: ChunkId,
    },
    /// A chunk that nothing can replace does not open.
    #[error("the {label} chunk {id} cannot be used: {why}")]
    Unusable {
        /// Its label.
        label: Label,
        /// Its id.
        id: ChunkId,
        /// Why.
        why: FormatError,
    },
    /// A credential that could not be made.
    #[error("cannot make the credential: {0}")]
    NotSealed(CredentialError),
    /// A credential that does not open for another reason than its secret.
    #[error("the credential {credential} cannot be used: {why}")]
    BadCredential {
        /// The credential.
        credential: ChunkId,
        /// Why.
        why: CredentialError,
    },
    /// No valid roster.
    #[error(
        "no valid roster among {count} found; without one nobody knows the keys. If the store was damaged, restore its roster chunks"
    )]
    NoRoster {
        /// How many there are.
        count: usize,
    },
    /// Two valid rosters of one epoch.
    #[error(
        "two different rosters of epoch {epoch} are signed by the root key ({first} and {second}): an attack or a copied root key. Neither is used; the holder of the root key has to act"
    )]
    RosterConflict {
        /// The epoch.
        epoch: u64,
        /// One of them.
        first: ChunkId,
        /// The other.
        second: ChunkId,
    },
    /// The store hides newer rosters.
    #[error(
        "the newest roster has epoch {found}, but this machine has seen epoch {seen}: the store shows an old state. Nothing was done"
    )]
    RosterRollback {
        /// The newest one there is.
        found: u64,
        /// The newest one that was seen.
        seen: u64,
    },
    /// A program of a later version made this.
    #[error("this repository needs a newer obnam: {0}")]
    TooNew(FormatError),
    /// The client is not in the roster any more.
    #[error(
        "this client ({name}, {tag}) is no member of the repository any more: the holder of the root key has removed it, or given it new keys. Open the repository with another credential; what it has backed up can be restored by the clients that are left"
    )]
    NotMember {
        /// Its name.
        name: String,
        /// Its tag.
        tag: WriterTag,
    },
    /// The client lacks a right.
    #[error(
        "this client may not {action}: its role in the repository lacks the right. Open the repository with a credential of a client that has it; obnam client list shows their roles"
    )]
    NotAllowed {
        /// A verb.
        action: &'static str,
    },
    /// The client cannot sign rosters.
    #[error(
        "this client may not {action}: it does not hold the root key of the repository. Open the repository with a credential of the client that does, usually the first one"
    )]
    NoRootKey {
        /// A verb.
        action: &'static str,
    },
    /// Another machine has changed the roster at the same time.
    #[error(
        "somebody else has changed who is a client of the repository just now; nothing was done. Run the command again"
    )]
    RosterMoved,
    /// The store failed while a roster was being stored: it may be there.
    #[error(
        "whether the change to the clients was stored is not known: {0}. See: obnam client list; where it shows nothing of the change, run the command again. Keep what is to open a new credential until then"
    )]
    RosterUnsure(Box<RepositoryError>),
    /// A client that there is not, or not to be.
    #[error("{0}")]
    BadClient(String),
    /// A blob is nowhere whole.
    #[error("{kind} blob {id} cannot be read: {why}", kind = kind.as_str())]
    BlobLost {
        /// Its kind.
        kind: crate::format::blob::BlobKind,
        /// Its id.
        id: crate::format::blob::BlobId,
        /// What happened at each place.
        why: String,
    },
    /// Something sealed and verified that still makes no sense.
    #[error("{what}: {why}")]
    Malformed {
        /// What it is.
        what: String,
        /// What is wrong.
        why: FormatError,
    },
    /// The stream that was to be backed up has failed.
    #[error("{name} cannot be backed up: {why}; no snapshot was made")]
    Stream {
        /// The name of the file that it was to become.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// A snapshot that cannot be read, and may need anything.
    #[error(
        "snapshot {snapshot} cannot be read ({why}), so it is not known what it needs, and nothing was removed. If it is lost for good, run: obnam prune --give-up {short}", short = snapshot.short()
    )]
    Unprunable {
        /// The snapshot.
        snapshot: ChunkId,
        /// Why.
        why: String,
    },
    /// So long that nobody remembers what was removed meanwhile.
    #[error(
        "this has taken more than 45 days, time asleep included, and what was removed meanwhile is not known any more; run it again"
    )]
    TooLong,
    /// A grace that is too short for other clients.
    #[error(
        "other clients back up into this repository too: marked packs have to stay for an hour at least (--grace 1h), so that a backup that runs just now hears of it"
    )]
    ShortGrace,
    /// A name that no snapshot has.
    #[error("{0}")]
    NoSnapshot(String),
    /// The user asked to stop.
    #[error("interrupted; everything that was finished before stays, and the next run goes on from there")]
    Interrupted,
}

fn needed(credential: &ChunkId, is_last: bool) -> String {
    let why = if is_last {
        "is the last one: without it nobody can open the repository any more"
    } else {
        "is the one that this run has opened the repository with; open it with another one, or name that by --credential ID"
    };
    format!("the credential {credential} {why}. Nothing was removed; --force removes it all the same")
}

impl RepositoryError {
    /// Whether the store has other bytes than those that were stored.
    pub fn is_corrupt(&self) -> bool {
        matches!(self, RepositoryError::Store(error) if error.kind == StoreErrorKind::Corrupt)
    }

    /// The error again, unless the store failed as a whole, or has the chunk in cold storage: then nothing follows for what was to be read,
    /// and whatever is being done has to end.
    pub fn about_chunk(self) -> Result<Self, Self> {
        match &self {
            RepositoryError::Store(error) if error.is_outage() || error.kind == StoreErrorKind::Archived => Err(self),
            _ => Ok(self),
        }
    }

    /// The same, but for restoring: what a plugin fails at, and what is in cold storage, keeps nobody from all the rest.
    pub fn about_chunk_or_plugin(self) -> Result<Self, Self> {
        match &self {
            RepositoryError::Store(error)
                if matches!(error.kind, StoreErrorKind::Plugin | StoreErrorKind::Archived) =>
            {
                Ok(self)
            }
            _ => self.about_chunk(),
        }
    }

    /// Whether the store denies it to this user: what is there may be as it should be.
    pub fn is_denied(&self) -> bool {
        matches!(self, RepositoryError::Store(error) if error.kind == StoreErrorKind::Denied)
    }
}

/// A chunk's label and id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkName {
    /// Its label.
    pub label: Label,
    /// Its id.
    pub id: ChunkId,
}

/// An open repository.
pub struct Repository {
    /// The raw store.
    pub store: Arc<dyn ChunkStore>,
    /// Where it is, for messages.
    pub location: String,
    /// The repository id.
    pub id: ChunkId,
    /// The repository chunk.
    pub marker: Marker,
    /// This client.
    pub client: ClientKeys,
    /// The chunk with its keys.
    pub client_chunk: ChunkId,
    /// The roster in force.
    pub roster: Roster,
    /// The chunk that it is in.
    pub roster_chunk: ChunkId,
    /// The credential that opened it.
    pub credential: ChunkId,
    /// What is in that credential.
    pub(crate) opened: Credential,
    /// What could not be used.
    pub warnings: Warnings,
    /// All key sets that this client can open, the group's newest last.
    pub(crate) keys: Vec<GroupKeys>,
    pub(crate) cache: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) chunks: ChunkCache,
}

/// The label `FAMILY`.
pub(crate) fn family(name: &'static str) -> Label {
    name.parse().expect("families are labels")
}

/// The label `FAMILY.TAG`.
pub(crate) fn tagged(name: &str, tag: &WriterTag) -> Label {
    format!("{name}.{tag}").parse().expect("a family with a tag is a label")
}

impl Repository {
    /// This client's entry in the roster.
    pub fn member(&self) -> &Member {
        self.roster.member(&self.client.tag).expect("membership was checked when the repository was opened")
    }

    /// The keys that new chunks are sealed with.
    pub fn sealing_keys(&self) -> &GroupKeys {
        self.keys.last().expect("a repository that opens has keys")
    }

    /// The keys of a group and epoch.
    pub fn keys_of(&self, group: &KeyId, epoch: u64) -> Option<&GroupKeys> {
        self.keys.iter().find(|keys| keys.group == *group && keys.epoch == epoch)
    }

    /// Whether this client can read data and trees.
    pub fn can_read(&self) -> bool {
        self.keys.iter().any(|keys| keys.data_private.is_some())
    }

    /// Refuses what the client's role does not allow.
    pub fn require(&self, role: Role, action: &'static str) -> Result<(), RepositoryError> {
        if self.member().has(role) { Ok(()) } else { Err(RepositoryError::NotAllowed { action }) }
    }

    /// The directory for this repository's caches.
    pub fn cache_dir(&self) -> &PathBuf {
        &self.cache
    }

    /// The directory for what is remembered of this repository.
    pub fn state_dir(&self) -> &PathBuf {
        &self.state
    }

    /// What opens chunks with this header.
    pub(crate) fn opener(&self, header: &crate::format::header::Header) -> Result<OpenWith<'_>, FormatError> {
        use crate::format::header::Wrap;
        let keys = self.keys_of(&header.key_id, header.epoch).ok_or(FormatError::NoKey)?;
        match header.wrap {
            Wrap::Data => keys.data_private.as_ref().map(OpenWith::Data).ok_or(FormatError::NoKey),
            Wrap::Metadata => Ok(OpenWith::Metadata(&keys.metadata)),
            Wrap::Client | Wrap::Members => Err(FormatError::Misplaced("sealed with another kind of key")),
        }
    }
}

/// What is needed to open a repository, besides a secret.
#[derive(Clone)]
pub struct Place {
    /// The raw store.
    pub store: Arc<dyn ChunkStore>,
    /// Where it is.
    pub location: String,
    /// Where local files go.
    pub dirs: Dirs,
}

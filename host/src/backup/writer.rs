//! What fills a repository: the session that knows what is there, the packers, and the first failure that ends it all.
//! A backup has one, and so has whoever else makes snapshots, such as [`crate::copy`].

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::counters::Counters;
use super::packer::{Packer, Packers};
use super::session::{Claim, Known, Session};
use super::upload::UploadSender;
use crate::format::blob::{BlobHasher, BlobKind};
use crate::format::content::Item;
use crate::repository::{Repository, RepositoryError};

/// See the head of this module.
pub struct Writer<'a> {
    /// What is written into.
    pub repository: &'a Repository,
    /// Which blobs are there.
    pub session: Session,
    /// Names blobs.
    pub hasher: BlobHasher,
    /// Where blobs go.
    pub packers: Packers,
    /// What has been stored.
    pub counters: &'a Counters,
    stop: &'a AtomicBool,
    /// The first failure.
    failure: Mutex<Option<RepositoryError>>,
    failed: AtomicBool,
}

impl<'a> Writer<'a> {
    /// A writer that may rely on what is known. It ends when `stop` is set.
    pub fn new(
        repository: &'a Repository,
        known: Known<'_>,
        counters: &'a Counters,
        stop: &'a AtomicBool,
    ) -> Result<Self, RepositoryError> {
        Ok(Writer {
            repository,
            session: Session::new(repository, known)?,
            hasher: BlobHasher::new(&repository.sealing_keys().blob_id),
            packers: Packers::new(&repository.roster.parameters),
            counters,
            stop,
            failure: Mutex::default(),
            failed: AtomicBool::new(false),
        })
    }

    /// Names a blob, and stores it if it is new; in `packer`, if it is data.
    pub fn store(
        &self,
        uploads: &UploadSender,
        packer: Option<&mut Packer>,
        kind: BlobKind,
        plaintext: &[u8],
    ) -> Result<Item, RepositoryError> {
        let id = self.hasher.id(kind, plaintext);
        if self.session.claim(&id) == Claim::New {
            self.packers.store(self, uploads, packer, kind, id, plaintext)?;
        }
        Ok(Item { id, size: plaintext.len() as u64 })
    }

    /// Ends everything with this failure, unless another one came first.
    pub fn fail(&self, error: RepositoryError) {
        self.failure.lock().expect("no panic while the lock is held").get_or_insert(error);
        self.failed.store(true, Ordering::Relaxed);
    }

    /// The failure that has ended everything, if one has.
    pub fn ended(&self) -> Result<(), RepositoryError> {
        if let Some(error) = self.failure.lock().expect("no panic while the lock is held").take() {
            return Err(error);
        }
        if self.stop.load(Ordering::Relaxed) { Err(RepositoryError::Interrupted) } else { Ok(()) }
    }

    /// Whether threads should wind down.
    pub fn is_over(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.stop.load(Ordering::Relaxed)
    }
}

//! Sealing and storing: new packs, and chunks under the metadata key.

use bytes::Bytes;

use super::{Repository, RepositoryError};
use crate::chunk::{ChunkId, Label};
use crate::format::client::ClientKeys;
use crate::format::header::{SealFor, create};
use crate::format::pack::PackBuilder;
use crate::format::roster::GroupKeys;
use crate::format::signed::{Context, sign};
use crate::format::{FormatError, whole};

/// A chunk that has been stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its id.
    pub id: ChunkId,
    /// Its length.
    pub size: u64,
}

impl Repository {
    /// An empty pack, sealed for the readers of this client's group.
    pub fn new_pack(&self, label: &Label, capacity: usize) -> Result<PackBuilder, RepositoryError> {
        self.new_pack_under(self.sealing_keys(), label, capacity)
    }

    /// An empty pack, sealed with these keys.
    pub fn new_pack_under(
        &self,
        keys: &GroupKeys,
        label: &Label,
        capacity: usize,
    ) -> Result<PackBuilder, RepositoryError> {
        let header = create(&self.id, label, keys.epoch, &keys.group, &SealFor::Data(&keys.data_public))
            .map_err(|error| sealing_failed(label, error))?;
        Ok(PackBuilder::new(label.clone(), header, capacity))
    }

    /// Signs a payload as this client, seals it under the metadata key and stores it.
    pub fn put_signed(&self, label: &Label, context: Context, payload: Vec<u8>) -> Result<Stored, RepositoryError> {
        self.put_signed_by(&self.client, label, context, payload)
    }

    /// The same, signed by a client that is to become a member.
    pub(super) fn put_signed_by(
        &self,
        signer: &ClientKeys,
        label: &Label,
        context: Context,
        payload: Vec<u8>,
    ) -> Result<Stored, RepositoryError> {
        let keys = self.sealing_keys();
        let header = create(&self.id, label, keys.epoch, &keys.group, &SealFor::Metadata(&keys.metadata))
            .map_err(|error| sealing_failed(label, error))?;
        let body = sign(context, &self.id, Some(signer.tag), &signer.signing, payload);
        let chunk = Bytes::from(whole::seal(header, &body));
        let id = ChunkId::of(&chunk);
        self.store.put(label, &id, chunk.clone())?;
        self.chunks.put(&id, &chunk);
        Ok(Stored { id, size: chunk.len() as u64 })
    }
}

fn sealing_failed(label: &Label, error: crate::crypto::CryptoError) -> RepositoryError {
    RepositoryError::Malformed { what: format!("sealing a {label} chunk"), why: FormatError::Crypto(error) }
}

//! The credentials of a repository: which there are, further ones for the client that is open, and their removal.
//!
//! A credential is an age file with the key of a client chunk, and perhaps with a token. No roster knows of it, so adding
//! and removing one changes no member and no key: whoever has opened one keeps what was in it.

use std::time::SystemTime;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::open::{MAX_TRIED, read_client};
use super::{Repository, RepositoryError, family};
use crate::chunk::{ChunkId, LabelFilter};
use crate::credential::{Kind, MAX_AGE_FILE, Recipient, Secret, key_of};
use crate::format::client::Credential;
use crate::store::{RemoveOutcome, StoreErrorKind};

/// A credential in the store.
pub struct Listed {
    /// Its id.
    pub id: ChunkId,
    /// Its length in bytes.
    pub size: u64,
    /// When it was stored, where the store knows.
    pub stored: Option<SystemTime>,
    /// What opens it; none for what is no usable age file.
    pub kind: Option<Kind>,
    /// What age calls the key that opens it.
    pub key: Option<String>,
    /// Whether the repository was opened with it.
    pub in_use: bool,
    /// What is in it, where it opens with what is at hand.
    pub opened: Option<Opened>,
}

/// What is in a credential.
pub struct Opened {
    /// The name of the client whose key it holds; none where that client's chunk cannot be read.
    pub client: Option<String>,
    /// Whether it holds a token.
    pub has_token: bool,
    /// The id of that token, where the place can tell.
    pub token: Option<String>,
}

/// What became of the token in a removed credential.
pub enum TokenFate {
    /// There was none.
    None,
    /// It is revoked.
    Revoked(String),
    /// The place did not revoke it, since it does not accept it.
    Refused(String),
    /// The credential does not open with what is at hand, so whether it holds a token is not known.
    Unknown,
}

/// A credential that was removed.
pub struct Removed {
    /// What the store did.
    pub outcome: RemoveOutcome,
    /// What became of its token.
    pub token: TokenFate,
}

impl Repository {
    /// All credentials, oldest first. Those are opened that this secret opens.
    pub fn credentials(&self, secret: &Secret) -> Result<Vec<Listed>, RepositoryError> {
        let label = family("credential");
        let mut infos = self.store.list(&LabelFilter::Exactly(label.clone()))?;
        infos.sort_by_key(|info| (info.stored, info.id));
        let mut tries = MAX_TRIED;
        let mut listed = Vec::new();
        for info in infos {
            let in_use = info.id == self.credential;
            let file = if info.size <= MAX_AGE_FILE { self.store.get(&label, &info.id, None).ok() } else { None };
            let kind = file.as_deref().and_then(Kind::of);
            let key = kind.and_then(|_| key_of(file.as_deref()?));
            let opened = if in_use {
                Some(self.opened.clone())
            } else if tries > 0 && kind == Some(secret.kind()) {
                tries -= 1;
                file.and_then(|file| secret.open(&file).ok())
            } else {
                None
            };
            let opened = opened.filter(|opened| opened.repository == self.id).map(|opened| self.look_into(&opened));
            listed.push(Listed { id: info.id, size: info.size, stored: info.stored, kind, key, in_use, opened });
        }
        Ok(listed)
    }

    fn look_into(&self, credential: &Credential) -> Opened {
        let client = if credential.client == self.client_chunk {
            Some(self.client.name.clone())
        } else {
            let read = read_client(credential, &|label, id| Ok(self.store.get(label, id, None)?));
            read.ok().map(|client| client.name)
        };
        let token = credential.api_token.as_ref();
        let id = token.zip(self.store.tokens()).and_then(|(token, tokens)| tokens.id_of(token).ok());
        Opened { client, has_token: token.is_some(), token: id }
    }

    /// Stores one more credential for the client that is open.
    pub fn add_credential(
        &self,
        recipient: &Recipient,
        api_token: Option<Zeroizing<String>>,
    ) -> Result<ChunkId, RepositoryError> {
        let file = recipient.seal(&Credential { api_token, ..self.opened.clone() });
        let file = file.map_err(RepositoryError::NotSealed)?;
        let id = ChunkId::of(&file);
        self.store.put(&family("credential"), &id, Bytes::from(file))?;
        Ok(id)
    }

    /// Stores another credential with all that is in the one in use, its token too, and makes sure that this secret opens it.
    pub fn copy_credential(&self, secret: &Secret) -> Result<ChunkId, RepositoryError> {
        let id = self.add_credential(&secret.recipient(), self.opened.api_token.clone())?;
        let file = self.store.get(&family("credential"), &id, None)?;
        match secret.open(&file) {
            Ok(_) => Ok(id),
            Err(why) => Err(RepositoryError::BadCredential { credential: id, why }),
        }
    }

    /// Removes the credential in use, and leaves its token alone: another credential holds it now.
    pub fn give_up_credential(&self) -> Result<RemoveOutcome, RepositoryError> {
        Ok(self.store.remove(&family("credential"), &self.credential)?)
    }

    /// Removes a credential, and revokes its token. `force`: also the last one and the one in use, and also where the token
    /// cannot be revoked now.
    pub fn remove_credential(&self, id: &ChunkId, secret: &Secret, force: bool) -> Result<Removed, RepositoryError> {
        let label = family("credential");
        let file = match self.store.get(&label, id, None) {
            Ok(file) => Some(file),
            Err(error) if error.is_not_found() => return Err(error.into()),
            // What cannot be read can still be removed.
            Err(_) => None,
        };
        if *id == self.credential && !force {
            let count = self.store.list(&LabelFilter::Exactly(label.clone()))?.len();
            return Err(RepositoryError::CredentialNeeded { credential: *id, is_last: count == 1 });
        }
        // Who governs the repository can give others new keys. Anybody else could lock somebody out for good.
        let is_own = |file: &Bytes| secret.open(file).is_ok_and(|opened| opened.client == self.client_chunk);
        if *id != self.credential && !force && self.client.root.is_none() && !file.as_ref().is_some_and(is_own) {
            return Err(RepositoryError::CredentialOfOthers { credential: *id });
        }
        let opened = if *id == self.credential {
            Some(self.opened.clone())
        } else {
            file.and_then(|file| secret.open(&file).ok())
        };
        let Some(tokens) = self.store.tokens() else {
            return Ok(Removed { outcome: self.store.remove(&label, id)?, token: TokenFate::None });
        };
        let Some(opened) = opened else {
            return Ok(Removed { outcome: self.store.remove(&label, id)?, token: TokenFate::Unknown });
        };
        let Some(token) = opened.api_token else {
            return Ok(Removed { outcome: self.store.remove(&label, id)?, token: TokenFate::None });
        };
        let revoke = || match tokens.give_up(&token) {
            Ok(()) => Ok(TokenFate::Revoked(tokens.id_of(&token)?)),
            Err(error) if force || error.kind == StoreErrorKind::Denied => Ok(TokenFate::Refused(error.message)),
            Err(error) => Err(RepositoryError::from(error)),
        };
        if self.opened.api_token.as_ref() == Some(&token) {
            // It is what the removal is asked with.
            let outcome = self.store.remove(&label, id)?;
            return Ok(Removed { outcome, token: revoke()? });
        }
        let token = revoke()?;
        let outcome = self.store.remove(&label, id).map_err(|mut error| {
            if let TokenFate::Revoked(token) = &token {
                error.message = format!("the token {token} is revoked, but {}", error.message);
            }
            error
        })?;
        Ok(Removed { outcome, token })
    }
}

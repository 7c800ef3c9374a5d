//! Making a repository: keys, client chunk, credentials, first roster, and last the repository chunk.
//!
//! The `repository` chunk is stored last, so that an `init` that was cut off has made no repository; the next one
//! removes what it left and starts again.

use bytes::Bytes;

use super::clients::{fresh_keys, member, seal_client};
use super::roster::{seal_keys, seal_roster};
use super::{Place, RepositoryError, family};
use crate::chunk::{ChunkId, Label, LabelFilter};
use crate::credential::Secret;
use crate::crypto::public::SignKey;
use crate::crypto::random;
use crate::format::client::ClientKeys;
use crate::format::marker::Marker;
use crate::format::roster::{Group, GroupId, GroupKeys, Parameters, Role, Roster};
use crate::format::{Time, WriterTag};
use crate::local::pin::Pin;
use crate::local::seen::Seen;
use crate::store::StoreErrorKind;

/// What `init` has made.
#[derive(Debug, Clone)]
pub struct Made {
    /// The repository id.
    pub repository: ChunkId,
    /// The credentials, in the order of the secrets.
    pub credentials: Vec<ChunkId>,
    /// The client's tag.
    pub client: WriterTag,
}

/// The families of chunks that an `init` which was cut off leaves behind.
const LEFT_OVERS: [&str; 3] = ["client", "credential", "roster"];

/// Makes a repository that each of the secrets opens. Its first client is called `client_name`, has all roles, and
/// holds the root key.
pub fn init(
    place: &Place,
    secrets: &[Secret],
    client_name: &str,
    parameters: Parameters,
) -> Result<Made, RepositoryError> {
    prepare(place)?;
    let root = SignKey::random();
    let marker = Marker::new(&root.public());
    let marker_chunk = marker.to_chunk();
    let repository = ChunkId::of(&marker_chunk);

    let keys = GroupKeys::random(random(), 1);
    let client = ClientKeys { root: Some(root.clone()), ..fresh_keys(client_name) };
    let (client_chunk, credential) = seal_client(&repository, &client)?;
    put(place, &family("client"), client_chunk)?;
    let mut credentials = Vec::new();
    for secret in secrets {
        credentials.push(put(
            place,
            &family("credential"),
            secret.seal(&credential).map_err(RepositoryError::NotSealed)?,
        )?);
    }
    let roster = first_roster(&repository, &client, &keys, parameters)?;
    put(place, &family("roster"), seal_roster(&repository, &root, &roster, roster.members.iter())?)?;

    put(place, &family("repository"), marker_chunk)?;
    Seen { roster_epoch: 1, ..Seen::default() }.save(&place.dirs.state(&repository)?)?;
    let of = |wanted: fn(&Secret) -> bool| {
        secrets.iter().zip(&credentials).find(|(secret, _)| wanted(secret)).map(|(_, id)| *id)
    };
    let pin = Pin {
        location: place.location.clone(),
        repository,
        passphrase_credential: of(|secret| matches!(secret, Secret::Passphrase(_))),
        identity_credential: of(|secret| matches!(secret, Secret::Identity(_))),
    };
    pin.save(&place.dirs)?;
    Ok(Made { repository, credentials, client: client.tag })
}

fn first_roster(
    repository: &ChunkId,
    client: &ClientKeys,
    keys: &GroupKeys,
    parameters: Parameters,
) -> Result<Roster, RepositoryError> {
    let group = GroupId(keys.group);
    let member = member(client, &[Role::Writer, Role::Reader, Role::Maintainer], vec![group]);
    let key_sets = vec![seal_keys(repository, keys, std::iter::once(&member))?];
    Ok(Roster {
        epoch: 1,
        previous: None,
        created: Time::now(),
        mandatory: vec![],
        optional: vec![],
        parameters,
        members: vec![member],
        groups: vec![Group { id: group, name: "main".into(), key_sets }],
    })
}

fn put(place: &Place, label: &Label, chunk: Vec<u8>) -> Result<ChunkId, RepositoryError> {
    let id = ChunkId::of(&chunk);
    place.store.put(label, &id, Bytes::from(chunk))?;
    Ok(id)
}

/// Makes sure that the place is empty, or holds nothing but what an `init` that was cut off has left.
fn prepare(place: &Place) -> Result<(), RepositoryError> {
    match place.store.init() {
        Ok(()) => {}
        Err(error) if error.kind == StoreErrorKind::AlreadyInitialised => place.store.open().map_err(|_| error)?,
        Err(error) => return Err(error.into()),
    }
    if let Some(found) = place.store.list(&LabelFilter::Exactly(family("repository")))?.first() {
        return Err(RepositoryError::Exists { location: place.location.clone(), id: found.id });
    }
    let page = place.store.list_page(&LabelFilter::All, None)?;
    if page.next.is_some() || page.chunks.iter().any(|chunk| !LEFT_OVERS.contains(&chunk.label.as_str())) {
        return Err(RepositoryError::Foreign { location: place.location.clone() });
    }
    for chunk in page.chunks {
        place.store.remove(&chunk.label, &chunk.id)?;
    }
    Ok(())
}

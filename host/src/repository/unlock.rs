//! Which credential opens a repository.

use std::collections::HashSet;

use super::open::{MAX_TRIED, read_client};
use super::{ChunkName, Place, RepositoryError, Warnings, family};
use crate::chunk::{ChunkId, LabelFilter};
use crate::credential::{CredentialError, MAX_AGE_FILE, Secret};
use crate::format::client::Credential;
use crate::local::pin::Pin;

/// The credential that the user names. No other one is looked at.
pub(super) fn named_credential(
    place: &Place,
    secret: &Secret,
    id: ChunkId,
    expected: Option<ChunkId>,
) -> Result<Credential, RepositoryError> {
    let file = place.store.get(&family("credential"), &id, None).map_err(|error| match error.is_not_found() {
        true => RepositoryError::NoAccess {
            why: format!(
                "there is no credential {id} at {}; obnam credential list shows those that there are",
                place.location
            ),
        },
        false => error.into(),
    });
    let file = match file {
        Ok(file) => file,
        Err(error) => {
            check_there(place, expected)?;
            return Err(error);
        }
    };
    let credential = secret.open(&file).map_err(|why| match why {
        CredentialError::DoesNotOpen => wrong_secret(secret, id),
        why => RepositoryError::BadCredential { credential: id, why },
    })?;
    match expected {
        Some(expected) if credential.repository != expected => Err(not_pinned(place, expected, &credential.repository)),
        _ => Ok(credential),
    }
}

/// The credential that the pin names, or the first of those in the store that opens.
pub(super) fn find_credential(
    place: &Place,
    secret: &Secret,
    pin: Option<&Pin>,
    expected: Option<ChunkId>,
    passed: &HashSet<ChunkId>,
    warnings: &Warnings,
) -> Result<(ChunkId, Credential), RepositoryError> {
    let label = family("credential");
    let fits = |credential: &Credential| expected.is_none_or(|id| credential.repository == id);
    let pinned = pin.and_then(|pin| match secret {
        Secret::Passphrase(_) => pin.passphrase_credential,
        Secret::Identity(_) => pin.identity_credential,
    });
    let pinned = pinned.filter(|id| !passed.contains(id));
    let mut refused = None;
    if let Some(id) = pinned {
        match place.store.get(&label, &id, None) {
            Ok(file) => match secret.open(&file) {
                Ok(credential) if fits(&credential) => return Ok((id, credential)),
                Ok(_) => {}
                // It may open another one.
                Err(CredentialError::DoesNotOpen | CredentialError::OtherKind) => {
                    refused = Some(wrong_secret(secret, id));
                }
                Err(why) => return Err(RepositoryError::BadCredential { credential: id, why }),
            },
            Err(error) if error.is_not_found() => {
                check_there(place, expected)?;
                warnings.general("credential-missing", format!("the credential {id} is not in the store any more"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    check_there(place, expected)?;
    let mut listed = place.store.list(&LabelFilter::Exactly(label.clone()))?;
    listed.retain(|info| info.size <= MAX_AGE_FILE && Some(info.id) != pinned && !passed.contains(&info.id));
    listed.sort_by_key(|info| (info.stored, info.id));
    let mut wrong = Vec::new();
    let mut denied = None;
    // What costs nothing to refuse does not count, so that nobody can bury the right one below others.
    let mut failed = None;
    let mut tried = 0;
    for info in &listed {
        if secret.is_costly() && tried >= MAX_TRIED {
            break;
        }
        let file = match place.store.get(&label, &info.id, None) {
            Ok(file) => file,
            Err(error) => {
                let error = RepositoryError::from(error).about_chunk()?;
                let name = ChunkName { label: label.clone(), id: info.id };
                warnings.chunk("credential-unreadable", &name, error.to_string());
                denied = denied.or(Some(error).filter(RepositoryError::is_denied));
                continue;
            }
        };
        match secret.open(&file) {
            Ok(credential) if fits(&credential) => {
                match read_client(&credential, &|label, id| Ok(place.store.get(label, id, None)?)) {
                    Ok(_) => return Ok((info.id, credential)),
                    // For an identity, anybody can make a credential that leads nowhere.
                    Err(why) => {
                        let why = why.about_chunk()?;
                        let name = ChunkName { label: label.clone(), id: info.id };
                        warnings.chunk("credential-unusable", &name, why.to_string());
                        denied = denied.or(Some(why).filter(RepositoryError::is_denied));
                    }
                }
            }
            Ok(_) | Err(CredentialError::OtherKind) => {}
            Err(CredentialError::DoesNotOpen) => {
                tried += 1;
                wrong.push(info.id);
            }
            Err(why @ CredentialError::Plugin(_)) => {
                tried += 1;
                failed = failed.or(Some(RepositoryError::BadCredential { credential: info.id, why }));
            }
            Err(why) => {
                let name = ChunkName { label: label.clone(), id: info.id };
                warnings.chunk("credential-unusable", &name, why.to_string());
            }
        }
    }
    if let Some(refused) = refused {
        return Err(refused);
    }
    if let (Some(denied), []) = (denied, wrong.as_slice()) {
        // Whoever may not read the right one is not told that there is none.
        return Err(denied);
    }
    if let Some(failed) = failed {
        return Err(failed);
    }
    match wrong.as_slice() {
        [only] => Err(wrong_secret(secret, *only)),
        [] => Err(RepositoryError::NoAccess { why: no_credential(place, secret) }),
        several => Err(RepositoryError::NoAccess {
            why: format!("none of {} credentials at {} opens with this secret", several.len(), place.location),
        }),
    }
}

fn no_credential(place: &Place, secret: &Secret) -> String {
    match secret {
        Secret::Passphrase(_) => {
            format!("no credential at {} is for a passphrase; try --identity FILE", place.location)
        }
        Secret::Identity(_) => format!("no credential at {} is for an identity; try the passphrase", place.location),
    }
}

fn wrong_secret(secret: &Secret, credential: ChunkId) -> RepositoryError {
    match secret {
        Secret::Passphrase(_) => RepositoryError::WrongPassphrase { credential },
        Secret::Identity(_) => RepositoryError::WrongIdentity { credential },
    }
}

/// Tells "no repository here" from "another repository here".
fn check_there(place: &Place, expected: Option<ChunkId>) -> Result<(), RepositoryError> {
    let there = place.store.list(&LabelFilter::Exactly(family("repository")))?;
    match expected {
        _ if there.is_empty() => Err(RepositoryError::NotThere { location: place.location.clone() }),
        Some(id) if there.iter().all(|info| info.id != id) => Err(not_pinned(place, id, &there[0].id)),
        _ => Ok(()),
    }
}

fn not_pinned(place: &Place, pinned: ChunkId, found: &ChunkId) -> RepositoryError {
    let pin = Pin::load(&place.dirs, &place.location).ok().flatten();
    let (knows, next) = match pin.is_some_and(|pin| pin.repository == pinned) {
        true => {
            let pin = place.dirs.pins().unwrap_or_default();
            ("this machine knows", format!("If you replaced it on purpose, remove {}", pin.display()))
        }
        false => ("the repository id names", "To see where that id comes from: obnam config show".into()),
    };
    RepositoryError::NotPinned {
        location: place.location.clone(),
        pinned,
        knows,
        found: format!("it has the id {found}"),
        next,
    }
}

//! Opening a repository: credential, repository chunk, client chunk, roster, keys, in this order; each is checked
//! before the next is believed.

use std::collections::HashSet;
use std::path::Path;

use bytes::Bytes;

use super::unlock::{find_credential, named_credential};
use super::{ChunkName, Place, Repository, RepositoryError, Warnings, family};
use crate::chunk::{ChunkId, ChunkInfo, Label, LabelFilter};
use crate::credential::Secret;
use crate::crypto::public::VerifyKey;
use crate::format::client::{ClientKeys, Credential};
use crate::format::header::{Header, OpenWith};
use crate::format::marker::Marker;
use crate::format::roster::{GroupKeys, Roster};
use crate::format::signed::{Context, Signed};
use crate::format::{FormatError, from_cbor, whole};
use crate::local::chunks::ChunkCache;
use crate::local::pin::Pin;
use crate::local::seen::Seen;

/// Without a pin, at most this many credentials are tried with a passphrase, which takes some tenths of a second each, or by a
/// plugin, which may want somebody's finger on a key.
pub(super) const MAX_TRIED: usize = 16;
/// A roster above this size is not looked at, in bytes.
pub(super) const MAX_ROSTER: u64 = 16 << 20;

/// What the user says of a repository beforehand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known {
    /// The repository's id, from the recovery sheet. Needed with an identity only where this machine has no pin.
    pub repository: Option<ChunkId>,
    /// The one credential to open.
    pub credential: Option<ChunkId>,
}

impl From<Option<ChunkId>> for Known {
    fn from(repository: Option<ChunkId>) -> Self {
        Known { repository, credential: None }
    }
}

/// Opens a repository with a secret. Where the credential holds a token, the store goes on with it.
///
/// A credential of nobody who is a member is passed over, unless it is named: a client that was being made when that was cut off leaves
/// one behind, and so does one that was removed.
pub fn open(place: Place, secret: &Secret, known: impl Into<Known>) -> Result<Repository, RepositoryError> {
    let known = known.into();
    let mut passed = HashSet::new();
    let mut first = None;
    loop {
        let mut found = None;
        let opened = open_with(place.clone(), secret, known, &passed, &mut found);
        match (opened, found) {
            (Err(why @ (RepositoryError::NoRoster { .. } | RepositoryError::NotMember { .. })), Some(credential))
                if known.credential.is_none() && passed.len() < MAX_TRIED =>
            {
                passed.insert(credential);
                first.get_or_insert(why);
            }
            (opened, _) => return opened.map_err(|why| first.unwrap_or(why)),
        }
    }
}

/// Tries one credential, which is told in `found`: none of those that were passed over.
fn open_with(
    place: Place,
    secret: &Secret,
    known: Known,
    passed: &HashSet<ChunkId>,
    found_credential: &mut Option<ChunkId>,
) -> Result<Repository, RepositoryError> {
    let pin = Pin::load(&place.dirs, &place.location)?;
    let expected = known.repository.or(pin.as_ref().map(|pin| pin.repository));
    let warnings = Warnings::default();
    // Each of these is a round trip to the store, and a passphrase takes a while besides.
    let list = |name| place.store.list(&LabelFilter::Exactly(family(name)));
    let (found, markers, rosters) = std::thread::scope(|scope| {
        let (markers, rosters) = (scope.spawn(|| list("repository")), scope.spawn(|| list("roster")));
        let found = match known.credential {
            Some(id) => named_credential(&place, secret, id, expected).map(|credential| (id, credential)),
            None => find_credential(&place, secret, pin.as_ref(), expected, passed, &warnings),
        };
        let finished = "listing does not panic";
        (found, markers.join().expect(finished), rosters.join().expect(finished))
    });
    let (credential_id, credential) = found?;
    *found_credential = Some(credential_id);
    if let Some(token) = &credential.api_token {
        // The lists above were asked for with what the user has, such as a token that reads no more than these.
        place.store.use_token(token);
    }

    let id = credential.repository;
    let cache = place.dirs.cache(&id)?;
    let state = place.dirs.state(&id)?;
    let chunks = ChunkCache::new(cache.join("chunks"));
    let marker = load_marker(&place, &id, markers?, &chunks, &warnings)?;
    let root_key = marker.root_key().map_err(|why| unusable(&family("repository"), &id, why))?;
    let client = read_client(&credential, &|label, id| fetch(&place, label, id, &chunks))?;
    let (roster_chunk, roster) = load_roster(
        &place,
        &id,
        rosters?,
        &Trust { root_key: &root_key, client: &client },
        &chunks,
        &state,
        &warnings,
    )?;
    if roster.member(&client.tag).is_none_or(|member| member.removed.is_some()) {
        return Err(RepositoryError::NotMember { name: client.name.clone(), tag: client.tag });
    }
    let keys = unwrap_keys(&id, &roster, &client, &warnings);
    if keys.is_empty() {
        return Err(RepositoryError::NotMember { name: client.name.clone(), tag: client.tag });
    }
    if expected.is_none() && matches!(secret, Secret::Identity(_)) {
        // A passphrase credential proves that its maker knew the passphrase; for an identity, anybody can make one.
        warnings.general(
            "first-use",
            format!(
                "first use of this location with an identity: compare the repository id with the recovery sheet: {id}"
            ),
        );
    }
    remember(&place, pin, id, credential_id, secret, known.credential.is_some())?;
    Ok(Repository {
        store: place.store,
        location: place.location,
        id,
        marker,
        client,
        roster,
        roster_chunk,
        client_chunk: credential.client,
        credential: credential_id,
        opened: credential,
        warnings,
        keys,
        cache,
        state,
        chunks,
    })
}

fn unusable(label: &Label, id: &ChunkId, why: FormatError) -> RepositoryError {
    match why {
        FormatError::TooNew(_) => RepositoryError::TooNew(why),
        why => RepositoryError::Unusable { label: label.clone(), id: *id, why },
    }
}

fn fetch(place: &Place, label: &Label, id: &ChunkId, chunks: &ChunkCache) -> Result<Bytes, RepositoryError> {
    if let Some(chunk) = chunks.get(id) {
        return Ok(chunk);
    }
    let chunk = place.store.get(label, id, None)?;
    chunks.put(id, &chunk);
    Ok(chunk)
}

fn load_marker(
    place: &Place,
    id: &ChunkId,
    listed: Vec<ChunkInfo>,
    chunks: &ChunkCache,
    warnings: &Warnings,
) -> Result<Marker, RepositoryError> {
    let label = family("repository");
    if listed.is_empty() {
        return Err(RepositoryError::NotThere { location: place.location.clone() });
    }
    for other in listed.iter().filter(|info| info.id != *id) {
        let name = ChunkName { label: label.clone(), id: other.id };
        warnings.chunk("second-repository", &name, format!("a second repository chunk; it is ignored, this is {id}"));
    }
    let chunk = fetch(place, &label, id, chunks)?;
    Marker::from_chunk(&chunk).map_err(|why| unusable(&label, id, why))
}

/// The keys in the client chunk that a credential names, which `fetch` reads.
pub(super) fn read_client(
    credential: &Credential,
    fetch: &dyn Fn(&Label, &ChunkId) -> Result<Bytes, RepositoryError>,
) -> Result<ClientKeys, RepositoryError> {
    let label = family("client");
    let chunk = fetch(&label, &credential.client)?;
    let read = || {
        let header = Header::parse(&chunk)?;
        header.check_place(&credential.repository, &label)?;
        if header.key_id != credential.key_id {
            return Err(FormatError::NoKey);
        }
        let body = whole::open_behind(&header, &chunk, &OpenWith::Client(&credential.key))?;
        ClientKeys::from_body(&zeroize::Zeroizing::new(body))
    };
    read().map_err(|why| unusable(&label, &credential.client, why))
}

/// Who signs rosters, and who reads them.
struct Trust<'a> {
    root_key: &'a VerifyKey,
    client: &'a ClientKeys,
}

/// The valid roster with the highest epoch.
fn load_roster(
    place: &Place,
    repository: &ChunkId,
    listed: Vec<ChunkInfo>,
    trust: &Trust<'_>,
    chunks: &ChunkCache,
    state: &Path,
    warnings: &Warnings,
) -> Result<(ChunkId, Roster), RepositoryError> {
    let label = family("roster");
    let count = listed.len();
    let mut best: Option<(ChunkId, Roster)> = None;
    let mut conflict = None;
    let mut denied = None;
    let mut unusable = Vec::new();
    for info in listed {
        let name = ChunkName { label: label.clone(), id: info.id };
        if info.size > MAX_ROSTER {
            warnings.chunk("roster-unusable", &name, "larger than any roster; it is ignored");
            continue;
        }
        let chunk = match fetch(place, &label, &info.id, chunks) {
            Ok(chunk) => chunk,
            Err(error) => {
                // An older one must not take its place because of that.
                let error = error.about_chunk()?;
                warnings.chunk("roster-unusable", &name, error.to_string());
                denied = denied.or(Some(error).filter(RepositoryError::is_denied));
                continue;
            }
        };
        let roster = match read_roster(&chunk, repository, trust.root_key, trust.client) {
            Ok(roster) => roster,
            Err(why) => {
                unusable.push((name, why, Header::parse(&chunk).map_or(u64::MAX, |header| header.epoch)));
                continue;
            }
        };
        match &best {
            Some((_, newest)) if newest.epoch > roster.epoch => {}
            Some((first, newest)) if newest.epoch == roster.epoch => {
                conflict = Some((newest.epoch, *first, info.id));
            }
            _ => best = Some((info.id, roster)),
        }
    }
    // Rosters from before this client was a member are none of its business.
    let newest = best.as_ref().map_or(0, |(_, roster)| roster.epoch);
    for (name, why, _) in
        unusable.iter().filter(|(_, why, epoch)| !matches!(why, FormatError::NoKey) || *epoch > newest)
    {
        warnings.chunk("roster-unusable", name, format!("no valid roster, it is ignored: {why}"));
    }
    let (id, roster) = best.ok_or(denied.unwrap_or(RepositoryError::NoRoster { count }))?;
    if let Some((epoch, first, second)) = conflict.filter(|(epoch, ..)| *epoch == roster.epoch) {
        return Err(RepositoryError::RosterConflict { epoch, first, second });
    }
    let mut seen = Seen::load(state)?;
    if roster.epoch < seen.roster_epoch {
        return Err(RepositoryError::RosterRollback { found: roster.epoch, seen: seen.roster_epoch });
    }
    roster.check().map_err(RepositoryError::TooNew)?;
    if roster.epoch > seen.roster_epoch {
        seen.roster_epoch = roster.epoch;
        seen.save(state)?;
    }
    Ok((id, roster))
}

/// Opens a roster as this client, and verifies it.
pub(super) fn read_roster(
    chunk: &[u8],
    repository: &ChunkId,
    root_key: &VerifyKey,
    client: &ClientKeys,
) -> Result<Roster, FormatError> {
    let header = Header::parse(chunk)?;
    header.check_place(repository, &family("roster"))?;
    let body = whole::open_behind(&header, chunk, &OpenWith::Member(client.tag, &client.hpke))?;
    let signed = Signed::parse(&body)?;
    let roster: Roster = from_cbor(signed.verify(Context::Roster, repository, root_key)?)?;
    if roster.epoch == header.epoch { Ok(roster) } else { Err(FormatError::Misplaced("its header has another epoch")) }
}

/// All key sets that the roster wraps for this client; the newest of its first group last.
fn unwrap_keys(repository: &ChunkId, roster: &Roster, client: &ClientKeys, warnings: &Warnings) -> Vec<GroupKeys> {
    let mut keys = Vec::new();
    for group in roster.groups.iter().rev() {
        for set in &group.key_sets {
            match GroupKeys::unwrap(repository, &group.id.0, set, &client.tag, &client.hpke) {
                Ok(Some(opened)) => keys.push(opened),
                Ok(None) => {}
                Err(why) => warnings.general(
                    "keys-unusable",
                    format!("the keys of group {:?}, epoch {}, do not open: {why}", group.name, set.epoch),
                ),
            }
        }
    }
    keys
}

/// Pins the repository, or completes the pin.
fn remember(
    place: &Place,
    pin: Option<Pin>,
    repository: ChunkId,
    credential: ChunkId,
    secret: &Secret,
    is_named: bool,
) -> Result<(), RepositoryError> {
    let old = pin.filter(|pin| pin.repository == repository);
    let mut new = old.clone().unwrap_or(Pin {
        location: place.location.clone(),
        repository,
        passphrase_credential: None,
        identity_credential: None,
    });
    let usual = match secret {
        Secret::Passphrase(_) => &mut new.passphrase_credential,
        Secret::Identity(_) => &mut new.identity_credential,
    };
    // One that was named for this time does not take the place of the one that is used without a name.
    if !is_named || usual.is_none() {
        *usual = Some(credential);
    }
    if old.as_ref() != Some(&new) {
        new.save(&place.dirs)?;
    }
    Ok(())
}

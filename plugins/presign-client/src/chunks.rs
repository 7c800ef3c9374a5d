//! Chunks: put, get, stat, list, remove.

use std::cell::RefCell;

use obnam_plugin::content::{self, beyond};
use obnam_plugin::error::unavailable;
use obnam_plugin::http::{self, Answer, Body, Method, Reading};
use obnam_plugin::url::{Host, query};
use obnam_plugin::{ByteRange, ChunkInfo, Content, Error, Page, PutOutcome, RemoveOutcome};
use serde::Deserialize;

use crate::access::{self, Access, Granted, Kept};
use crate::api;
use crate::identity::Identity;
use crate::refusal;
use crate::settings::Settings;

/// An opened tenant.
pub struct ServerStore {
    /// Where it is, and who asks.
    pub settings: Settings,
    /// URLs to read that can be used again.
    kept: RefCell<Kept>,
    /// The answer whose stream Obnam reads.
    pub reading: Reading,
}

/// What the server knows of a chunk.
#[derive(Deserialize)]
struct Stat {
    label: String,
    id: String,
    size: u64,
    stored: Option<u64>,
}

impl From<Stat> for ChunkInfo {
    fn from(Stat { label, id, size, stored }: Stat) -> Self {
        ChunkInfo { label, id, size, stored }
    }
}

/// A page of a listing.
#[derive(Deserialize)]
struct Listed {
    chunks: Vec<Stat>,
    next: Option<String>,
    /// Whether the filter reaches labels that the token may not list.
    #[serde(default)]
    partial: bool,
}

/// What becomes of a chunk that is to be removed.
#[derive(Deserialize)]
struct Removal {
    state: String,
    until: Option<u64>,
}

impl ServerStore {
    /// The place, not looked at yet.
    pub fn at(settings: Settings) -> Result<Self, Error> {
        if settings.token.is_none() {
            return Err(Error::Denied(format!(
                "there is no token for {}; give the one that 'obnam-server token create' printed in OBNAM_SERVER_TOKEN, or \
                 with -o token-file=FILE",
                settings.place.describe()
            )));
        }
        Ok(ServerStore { settings, kept: RefCell::default(), reading: Reading::default() })
    }

    /// Has the server prepare the tenant's place.
    pub fn prepare(&self) -> Result<(), Error> {
        let doing = format!("prepare {}", self.settings.place.describe());
        // First, so that nothing is prepared where the data may not go.
        self.approve_all(&Identity::ask(&self.settings, &doing)?.what, &doing)?;
        api::call::<serde::de::IgnoredAny>(&self.settings, Method::Post, "/init", &doing).map(drop)
    }

    /// Looks whether the tenant's place was prepared, and whether its data may be reached.
    pub fn look(&self) -> Result<(), Error> {
        let place = self.settings.place.describe();
        let doing = format!("open {place}");
        let identity = Identity::ask(&self.settings, &doing)?.what;
        // First, so that the user is asked before he begins to prepare it.
        self.approve_all(&identity, &doing)?;
        if !identity.prepared {
            return Err(Error::NotInitialised(format!(
                "{place} is not a chunk store yet. Is the tenant the right one? A new store is prepared by 'obnam init'"
            )));
        }
        Ok(())
    }

    fn approve_all(&self, identity: &Identity, doing: &str) -> Result<(), Error> {
        for url in &identity.data {
            let (host, _) = Host::of_url(url)
                .map_err(|why| Error::Other(format!("could not {doing}: the server names an odd store: {why}")))?;
            access::approve(&self.settings, &host, doing)?;
        }
        Ok(())
    }

    /// What is done to a chunk, for messages.
    fn doing(&self, what: &str, label: &str, id: &str) -> String {
        format!("{what} chunk {label}/{id} in {}", self.settings.place.describe())
    }

    /// Says that it was the token that kept a chunk from being found, if that is so.
    fn explain(&self, error: Error, verb: &str, label: &str, doing: &str) -> Error {
        if !matches!(error, Error::NotFound(_)) {
            return error;
        }
        match Identity::ask(&self.settings, doing) {
            Ok(said) if !said.what.may(verb, label) => self.no_right(&said.what, verb, label, doing),
            _ => error,
        }
    }

    fn no_right(&self, identity: &Identity, verb: &str, label: &str, doing: &str) -> Error {
        Error::Denied(format!(
            "could not {doing}: the token {:?} has no right to {verb} {label}; its rights are: {}",
            identity.name,
            identity.rights()
        ))
    }

    /// Stores a chunk, see the contract. One request to the server, one to the store.
    pub fn put_chunk(&self, label: &str, id: &str, size: u64, content: &Content) -> Result<PutOutcome, Error> {
        let doing = self.doing("store", label, id);
        let body = Body::of(content, size, &doing)?;
        let pairs = [("id", id), ("label", label), ("size", &size.to_string())];
        let said = api::call::<Access>(&self.settings, Method::Put, &format!("/chunk?{}", query(&pairs)), &doing)?;
        let granted = Granted::new(&self.settings, said, Method::Put, &doing)?;
        let mut answer = granted.send(body, None, &doing)?;
        let text = answer.text(&doing)?;
        match answer.status {
            200 | 201 | 204 => Ok(PutOutcome::Stored),
            412 => {
                drop(answer);
                self.already_present(label, id, size, &doing)
            }
            _ => Err(self.refused(&granted, &answer, &text, &doing)),
        }
    }

    /// The answer for a chunk that was there before.
    fn already_present(&self, label: &str, id: &str, size: u64, doing: &str) -> Result<PutOutcome, Error> {
        match self.stat_at_once(label, id, doing) {
            Ok(info) if info.size != size => Err(Error::Corrupt(format!(
                "could not {doing}: something else has its name, {} bytes instead of {size}; have it removed there",
                info.size
            ))),
            // Who may create only cannot look. The server signs for the bytes of this name and nothing else.
            Ok(_) | Err(Error::NotFound(_)) => Ok(PutOutcome::AlreadyPresent),
            Err(error) => Err(error),
        }
    }

    /// Reads a chunk, see the contract. One request to the store, and one to the server where no URL is at hand.
    pub fn get_chunk(&self, label: &str, id: &str, range: Option<ByteRange>) -> Result<Content, Error> {
        let doing = self.doing("read", label, id);
        if let Some(range @ ByteRange { length: 0, .. }) = range {
            // A range of HTTP has at least one byte.
            content::end(range, self.size(label, id, &doing)?, &doing)?;
            return Ok(Content::Bytes(Vec::new()));
        }
        let header = match range {
            Some(range) => Some(http::range_header(range).ok_or_else(|| beyond(&doing, range, None))?),
            None => None,
        };
        let mut answer = self.read(label, id, header.as_deref(), &doing)?;
        if !http::is_wanted(&mut answer, range, &doing)? {
            let why = format!("could not {doing}: the store answers with status {}", answer.status);
            return Err(Error::Other(why));
        }
        self.reading.hand_over(answer, &doing)
    }

    /// How long a chunk is, as somebody can learn it who may read it and nothing else.
    fn size(&self, label: &str, id: &str, doing: &str) -> Result<u64, Error> {
        let mut answer = self.read(label, id, Some("bytes=0-0"), doing)?;
        answer.text(doing)?;
        let total = answer.header("content-range").and_then(|range| range.rsplit_once('/')?.1.parse().ok());
        match answer.status {
            416 => Ok(total.unwrap_or(0)),
            206 => total.ok_or_else(|| Error::Other(format!("could not {doing}: the store does not tell its size"))),
            _ => answer
                .number("content-length")
                .ok_or_else(|| Error::Other(format!("could not {doing}: the store does not tell its size"))),
        }
    }

    /// The answer to a GET: 200, 206 or 416. A URL that was at hand and is refused is replaced once.
    fn read(&self, label: &str, id: &str, range: Option<&str>, doing: &str) -> Result<Answer, Error> {
        let chunk = format!("{label}/{id}");
        let own = range.map(|range| ("range", range));
        let mut kept = self.kept.borrow_mut();
        if let Some(granted) = kept.find(&chunk) {
            let answer = granted.send(Body::Nothing, own, doing)?;
            if matches!(answer.status, 200 | 206 | 416) {
                return Ok(answer);
            }
            kept.forget(&chunk);
        }
        let rest = format!("/chunk/{id}?{}", query(&[("label", label)]));
        let said = api::call::<Access>(&self.settings, Method::Get, &rest, doing)
            .map_err(|error| self.explain(error, "read", label, doing))?;
        let granted = Granted::new(&self.settings, said, Method::Get, doing)?;
        let mut answer = granted.send(Body::Nothing, own, doing)?;
        if matches!(answer.status, 200 | 206 | 416) {
            if range.is_some() {
                kept.keep(chunk, granted);
            }
            return Ok(answer);
        }
        let text = answer.text(doing)?;
        Err(self.refused(&granted, &answer, &text, doing))
    }

    /// Whoever keeps the bytes does not do what was signed.
    fn refused(&self, granted: &Granted, answer: &Answer, text: &str, doing: &str) -> Error {
        if granted.host == self.settings.place.host && text.starts_with('{') {
            return refusal::of_server(&self.settings, answer, text, doing);
        }
        refusal::of_store(&granted.host, answer, text, doing)
    }

    /// What the server knows of a chunk.
    pub fn stat_chunk(&self, label: &str, id: &str) -> Result<ChunkInfo, Error> {
        let doing = self.doing("look at", label, id);
        self.stat_at_once(label, id, &doing).map_err(|error| self.explain(error, "find", label, &doing))
    }

    fn stat_at_once(&self, label: &str, id: &str, doing: &str) -> Result<ChunkInfo, Error> {
        let rest = format!("/chunk/{id}/stat?{}", query(&[("label", label)]));
        Ok(api::call::<Stat>(&self.settings, Method::Get, &rest, doing)?.what.into())
    }

    /// One page of a listing. What the token hides is an error: a list with gaps would pass for the whole.
    pub fn page(&self, filter: &str, after: Option<&str>, limit: u32) -> Result<Page, Error> {
        let doing = format!("list {filter}* in {}", self.settings.place.describe());
        let limit = limit.to_string();
        let mut pairs = vec![("label", filter), ("limit", limit.as_str())];
        pairs.extend(after.map(|after| ("after", after)));
        let listed = api::call::<Listed>(&self.settings, Method::Get, &format!("/chunk?{}", query(&pairs)), &doing)?;
        let Listed { chunks, next, partial } = listed.what;
        if partial {
            let what = if filter.is_empty() { "everything" } else { filter };
            let identity = Identity::ask(&self.settings, &doing)?.what;
            return Err(self.no_right(&identity, "find", what, &doing));
        }
        if chunks.is_empty() && next.is_some() {
            return Err(unavailable(format!("could not {doing}: the server answers with an empty page"), None));
        }
        Ok(Page { chunks: chunks.into_iter().map(ChunkInfo::from).collect(), next })
    }

    /// Asks for the removal of a chunk.
    pub fn remove_chunk(&self, label: &str, id: &str) -> Result<RemoveOutcome, Error> {
        let doing = self.doing("remove", label, id);
        let rest = format!("/chunk/{id}?{}", query(&[("label", label)]));
        let removal = api::call::<Removal>(&self.settings, Method::Delete, &rest, &doing)?.what;
        match (removal.state.as_str(), removal.until) {
            ("removed", _) => Ok(RemoveOutcome::Removed),
            ("pending", Some(until)) => Ok(RemoveOutcome::Pending(until)),
            (state, _) => Err(Error::Other(format!("could not {doing}: the server answers with the state {state:?}"))),
        }
    }
}

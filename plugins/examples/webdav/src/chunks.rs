//! Chunks as files: put, get, stat, remove.

use std::cell::Cell;

use obnam_plugin::content::{self, beyond};
use obnam_plugin::error::unavailable;
use obnam_plugin::http::{self, Body, Method, Reading};
use obnam_plugin::{ByteRange, ChunkInfo, Content, Error, PutOutcome, RemoveOutcome};

use crate::dav::{self, Moved};
use crate::names::chunk_file;
use crate::refusal::refused;
use crate::settings::Settings;
use crate::upload::{self, Upload};

/// An opened folder.
pub struct DavStore {
    /// Where it is, and who asks.
    pub settings: Settings,
    /// The answer whose stream Obnam reads: it has to live until the next call.
    pub reading: Reading,
    /// Whether what interrupted backups have left was looked for.
    tidied: Cell<bool>,
}

impl DavStore {
    /// The place, not looked at yet.
    pub fn at(settings: Settings) -> Self {
        DavStore { settings, reading: Reading::default(), tidied: Cell::default() }
    }

    /// What is done to a chunk, for messages.
    fn doing(&self, what: &str, label: &str, id: &str) -> String {
        format!("{what} chunk {label}/{id} in {}", self.settings.place)
    }

    /// Stores a chunk, see the contract. Two requests, where the folder of its neighbours is there.
    pub fn put_chunk(&self, label: &str, id: &str, size: u64, content: &Content) -> Result<PutOutcome, Error> {
        let doing = self.doing("store", label, id);
        let body = Body::of(content, size, &doing)?;
        if !self.tidied.replace(true) {
            upload::remove_stale(&self.settings);
        }
        let upload = Upload::send(&self.settings, body, &doing)?;
        match upload.name_it(&chunk_file(label, id), &doing)? {
            Moved::Done => Ok(PutOutcome::Stored),
            _ => self.already_present(label, id, size, &doing),
        }
    }

    /// The answer for a chunk that was there before.
    fn already_present(&self, label: &str, id: &str, size: u64, doing: &str) -> Result<PutOutcome, Error> {
        let there = match self.info(label, id, doing) {
            Err(Error::NotFound(_)) => {
                return Err(unavailable(format!("could not {doing}: it comes and goes"), None));
            }
            result => result?.size,
        };
        if there == size {
            return Ok(PutOutcome::AlreadyPresent);
        }
        Err(Error::Corrupt(format!(
            "could not {doing}: something else has its name, {there} bytes instead of {size}; remove it there"
        )))
    }

    /// Reads a chunk, see the contract. One request.
    pub fn get_chunk(&self, label: &str, id: &str, range: Option<ByteRange>) -> Result<Content, Error> {
        let doing = self.doing("read", label, id);
        if let Some(range @ ByteRange { length: 0, .. }) = range {
            // A range of HTTP has at least one byte.
            content::end(range, self.info(label, id, &doing)?.size, &doing)?;
            return Ok(Content::Bytes(Vec::new()));
        }
        let header = match range {
            Some(range) => Some(http::range_header(range).ok_or_else(|| beyond(&doing, range, None))?),
            None => None,
        };
        let headers: Vec<_> = header.iter().map(|range| ("range", range.as_str())).collect();
        let name = chunk_file(label, id);
        let mut answer = dav::send(&self.settings, Method::Get, &name, &headers, Body::Nothing, &doing)?;
        if !http::is_wanted(&mut answer, range, &doing)? {
            return Err(refused(&self.settings, answer, &doing));
        }
        self.reading.hand_over(answer, &doing)
    }

    /// What is known of a chunk.
    pub fn stat_chunk(&self, label: &str, id: &str) -> Result<ChunkInfo, Error> {
        self.info(label, id, &self.doing("look at", label, id))
    }

    fn info(&self, label: &str, id: &str, doing: &str) -> Result<ChunkInfo, Error> {
        let properties = dav::look(&self.settings, &chunk_file(label, id), doing)?
            .ok_or_else(|| Error::NotFound(format!("could not {doing}: there is no such file")))?;
        if properties.is_folder {
            return Err(Error::Corrupt(format!("could not {doing}: its name belongs to a folder")));
        }
        let size = properties.size;
        let size =
            size.ok_or_else(|| Error::Other(format!("could not {doing}: the server does not say its length")))?;
        Ok(ChunkInfo { label: label.into(), id: id.into(), size, stored: properties.modified })
    }

    /// Removes a chunk.
    pub fn remove_chunk(&self, label: &str, id: &str) -> Result<RemoveOutcome, Error> {
        dav::remove(&self.settings, &chunk_file(label, id), &self.doing("remove", label, id))?;
        Ok(RemoveOutcome::Removed)
    }
}

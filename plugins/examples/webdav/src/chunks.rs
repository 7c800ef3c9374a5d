//! Chunks as files: put, get, stat, remove.

use std::cell::{Cell, RefCell};

use obnam_plugin::error::unavailable;
use obnam_plugin::http::{self, Answer, Body, Method, beyond};
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
    reading: RefCell<Option<Answer>>,
    /// Whether what interrupted backups have left was looked for.
    tidied: Cell<bool>,
}

impl DavStore {
    /// The place, not looked at yet.
    pub fn at(settings: Settings) -> Self {
        DavStore { settings, reading: RefCell::default(), tidied: Cell::default() }
    }

    /// Obnam has done with what `get` gave it.
    pub fn drop_answer(&self) {
        self.reading.borrow_mut().take();
    }

    /// What is done to a chunk, for messages.
    fn doing(&self, what: &str, label: &str, id: &str) -> String {
        format!("{what} chunk {label}/{id} in {}", self.settings.place)
    }

    /// Stores a chunk, see the contract. Two requests, where the folder of its neighbours is there.
    pub fn put_chunk(&self, label: &str, id: &str, size: u64, content: &Content) -> Result<PutOutcome, Error> {
        let doing = self.doing("store", label, id);
        let body = match content {
            Content::Stream(stream) => Body::Stream { content: stream, size },
            Content::Bytes(bytes) if bytes.len() as u64 == size => Body::Bytes(bytes),
            Content::Bytes(bytes) => {
                let message =
                    format!("could not {doing}: there are {} bytes of content instead of {size}", bytes.len());
                return Err(Error::Invalid(message));
            }
        };
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
        if let Some(range @ ByteRange { offset, length: 0 }) = range {
            // A range of HTTP has at least one byte.
            let size = self.info(label, id, &doing)?.size;
            return if offset <= size {
                Ok(Content::Bytes(Vec::new()))
            } else {
                Err(beyond(&doing, range, Some(size)))
            };
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
        let stream = answer.take_stream();
        *self.reading.borrow_mut() = Some(answer);
        stream.map(Content::Stream).ok_or_else(|| Error::Other(format!("could not {doing}: the answer has no body")))
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

//! The marker file: it tells a prepared place from a folder that was spelled wrong.

use obnam_plugin::Error;
use obnam_plugin::http::{Body, Method};

use crate::dav::{self, Moved};
use crate::listing;
use crate::names::{self, INCOMING, MARKER};
use crate::refusal::{not_understood, refused};
use crate::settings::Settings;
use crate::upload::{self, Upload};

/// What the marker says.
const TEXT: &str = "This folder is an Obnam chunk store, version 1. Leave it to Obnam.\n";

/// Writes the marker into an empty folder, which is made where it is missing; where there is a marker and no chunk, again.
pub fn create_in(settings: &Settings) -> Result<(), Error> {
    let place = &settings.place;
    let doing = format!("prepare {place}");
    let found = match dav::entries(settings, "", &doing)? {
        Some(found) => found,
        None if dav::make_folder(settings, "", &doing)? => Vec::new(),
        None => {
            return Err(Error::NotInitialised(format!(
                "could not {doing}: neither this folder nor the one above it is there; is the path right? Make the one above \
                 it first"
            )));
        }
    };
    if found.iter().any(|entry| entry.name == MARKER) {
        require(settings)?;
        return match first_chunk(settings)? {
            Some(chunk) => Err(Error::AlreadyInitialised(format!(
                "{place} is a chunk store already and holds chunks, {chunk} for one; use it as it is, or choose another folder"
            ))),
            None => Ok(()),
        };
    }
    if let Some(foreign) = found.iter().find(|entry| entry.name != INCOMING.trim_end_matches('/')) {
        return Err(Error::AlreadyInitialised(format!(
            "{place} is not empty: it holds {}, which is not Obnam's; choose another folder",
            foreign.name
        )));
    }
    upload::make_incoming(settings, &doing)?;
    let doing = format!("write the file {MARKER} in {place}");
    let marker = Upload::send(settings, Body::Bytes(TEXT.as_bytes()), &doing)?;
    match marker.name_it(MARKER, &doing)? {
        // Somebody else prepares it at the same moment.
        Moved::Taken => require(settings),
        _ => Ok(()),
    }
}

/// Fails unless the marker is there, and of a version that this plugin knows. One request.
pub fn require(settings: &Settings) -> Result<(), Error> {
    let place = &settings.place;
    let doing = format!("open {place}");
    let mut answer = dav::send(settings, Method::Get, MARKER, &[], Body::Nothing, &doing)?;
    if answer.status != 200 {
        return Err(match refused(settings, answer, &doing) {
            Error::NotFound(_) => Error::NotInitialised(format!(
                "{place} is not a chunk store: there is no file {MARKER} in it. Is the path right? A new store is prepared by \
                 'obnam init'"
            )),
            error => error,
        });
    }
    let text = answer.text(&doing)?;
    if text == TEXT {
        return Ok(());
    }
    let start: String = text.chars().take(100).collect();
    match not_understood(settings, &answer, &text, "", &doing) {
        Error::Other(message) if message.contains("web page") => Err(Error::Other(message)),
        _ => Err(Error::Unsupported(format!(
            "{place} was prepared by another version of Obnam, or its file {MARKER} is damaged: it says {start:?}"
        ))),
    }
}

/// The name of some chunk in the store.
fn first_chunk(settings: &Settings) -> Result<Option<String>, Error> {
    for label in listing::labels(settings, "")? {
        for shard in listing::shards(settings, &label)? {
            if let Some(chunk) = listing::chunks(settings, &label, &shard)?.first() {
                return Ok(Some(names::chunk_file(&label, &chunk.name)));
            }
        }
    }
    Ok(None)
}

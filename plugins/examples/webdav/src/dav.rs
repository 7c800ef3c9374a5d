//! What is asked of the server: one request per function. Names are relative to the folder of the store.

use obnam_plugin::Error;
use obnam_plugin::http::{self, Answer, Body, Method, Request};

use crate::multistatus::{self, Properties, Resource};
use crate::refusal::{self, refused};
use crate::settings::Settings;

const PROPFIND: Method = Method::Other("PROPFIND");
const MKCOL: Method = Method::Other("MKCOL");
const MOVE: Method = Method::Other("MOVE");

/// The properties that are asked for.
const WANTED: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<propfind xmlns="DAV:"><prop><resourcetype/><getcontentlength/><getlastmodified/></prop></propfind>
"#;

/// Something in a folder.
pub struct Entry {
    /// Its name.
    pub name: String,
    /// What is known of it.
    pub properties: Properties,
}

/// What became of a MOVE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// It is there.
    Done,
    /// Something has the name already.
    Taken,
    /// The folder that it was to be moved to is not there, as it seems.
    Nowhere,
}

/// Sends a request and waits for the head of the answer, whatever its status. `doing` says what for.
pub fn send(
    settings: &Settings,
    method: Method,
    name: &str,
    headers: &[(&str, &str)],
    body: Body,
    doing: &str,
) -> Result<Answer, Error> {
    let place = &settings.place;
    let authorization = settings.authorization.as_deref().map(|authorization| ("authorization", authorization));
    let headers: Vec<_> = headers.iter().copied().chain(authorization).collect();
    http::send(&Request { host: &place.host, method, target: &place.path(name), headers: &headers, body }, doing)
}

/// What is in a folder, in no particular order; `None` when there is no such folder.
pub fn entries(settings: &Settings, folder: &str, doing: &str) -> Result<Option<Vec<Entry>>, Error> {
    let Some((resources, answer)) = propfind(settings, folder, "1", doing)? else { return Ok(None) };
    let mut entries = Vec::new();
    for Resource { href, status, properties } in resources {
        let name = settings.place.child(folder, &href);
        let name = name.map_err(|why| refusal::not_understood(settings, &answer, "", &why, doing))?;
        match (name, status) {
            // It was removed meanwhile.
            (_, Some(404 | 410)) | (None, _) => {}
            (_, Some(status)) if !(200..300).contains(&status) => {
                return Err(refusal::of_status(settings, status, doing));
            }
            (Some(name), _) => entries.push(Entry { name, properties }),
        }
    }
    Ok(Some(entries))
}

/// What is known of a file or a folder; `None` when there is none.
pub fn look(settings: &Settings, name: &str, doing: &str) -> Result<Option<Properties>, Error> {
    let Some((resources, answer)) = propfind(settings, name, "0", doing)? else { return Ok(None) };
    match <[Resource; 1]>::try_from(resources) {
        Ok([Resource { status: Some(404 | 410), .. }]) => Ok(None),
        Ok([Resource { status: Some(status), .. }]) if !(200..300).contains(&status) => {
            Err(refusal::of_status(settings, status, doing))
        }
        Ok([resource]) => Ok(Some(resource.properties)),
        Err(all) => {
            let why = format!("it tells of {} things where one was asked for", all.len());
            Err(refusal::not_understood(settings, &answer, "", &why, doing))
        }
    }
}

fn propfind(
    settings: &Settings,
    name: &str,
    depth: &str,
    doing: &str,
) -> Result<Option<(Vec<Resource>, Answer)>, Error> {
    let headers = [("depth", depth), ("content-type", "application/xml; charset=utf-8")];
    let mut answer = send(settings, PROPFIND, name, &headers, Body::Bytes(WANTED.as_bytes()), doing)?;
    match answer.status {
        207 => {
            let text = answer.text(doing)?;
            let resources = multistatus::parse(&text);
            match resources {
                Ok(resources) => Ok(Some((resources, answer))),
                Err(why) => Err(refusal::not_understood(settings, &answer, &text, &why, doing)),
            }
        }
        404 | 410 => answer.text(doing).map(|_| None),
        _ => Err(refused(settings, answer, doing)),
    }
}

/// Makes a folder, unless it is there. Whether the one above it is.
pub fn make_folder(settings: &Settings, folder: &str, doing: &str) -> Result<bool, Error> {
    let mut answer = send(settings, MKCOL, folder, &[], Body::Nothing, doing)?;
    match answer.status {
        200 | 201 | 204 | 405 => answer.text(doing).map(|_| true),
        404 | 409 => answer.text(doing).map(|_| false),
        _ => {
            let refusal = refused(settings, answer, doing);
            // Apache says 403 when somebody else has made it at the same moment.
            match look(settings, folder, doing)? {
                Some(there) if there.is_folder => Ok(true),
                _ => Err(refusal),
            }
        }
    }
}

/// Uploads a file, in place of one that is there. Whether the folder that it belongs into is there.
pub fn upload(settings: &Settings, name: &str, body: Body, doing: &str) -> Result<bool, Error> {
    let headers = [("content-type", "application/octet-stream")];
    let mut answer = send(settings, Method::Put, name, &headers, body, doing)?;
    match answer.status {
        200 | 201 | 204 => answer.text(doing).map(|_| true),
        404 | 409 => answer.text(doing).map(|_| false),
        _ => Err(refused(settings, answer, doing)),
    }
}

/// Gives a file another name, which nothing has yet.
pub fn rename(settings: &Settings, from: &str, to: &str, doing: &str) -> Result<Moved, Error> {
    // A URL, since Apache takes no path here.
    let destination = format!("{}{}", settings.place.host, settings.place.path(to));
    let headers = [("destination", destination.as_str()), ("overwrite", "F")];
    let mut answer = send(settings, MOVE, from, &headers, Body::Nothing, doing)?;
    let moved = match answer.status {
        200 | 201 | 204 => Moved::Done,
        412 => Moved::Taken,
        // It should be 409, but Apache finds out too late.
        404 | 409 | 500 => Moved::Nowhere,
        502 => return Err(refusal::other_server(settings, doing)),
        _ => return Err(refused(settings, answer, doing)),
    };
    answer.text(doing).map(|_| moved)
}

/// Removes a file, if it is there.
pub fn remove(settings: &Settings, name: &str, doing: &str) -> Result<(), Error> {
    let mut answer = send(settings, Method::Delete, name, &[], Body::Nothing, doing)?;
    match answer.status {
        200 | 202 | 204 | 404 | 410 => answer.text(doing).map(drop),
        _ => Err(refused(settings, answer, doing)),
    }
}

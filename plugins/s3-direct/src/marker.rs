//! The marker object: it tells a prepared place from a wrong bucket or a prefix that was spelled wrong.

use crate::chunks::{S3Store, create};
use crate::exchange::{Body, Method, Request, send};
use crate::failures::{not_understood, refused};
use crate::listing::{self, Query};
use crate::names::{self, MARKER, PROBE};
use crate::{Error, probe};

/// What the marker says.
const TEXT: &str = "This is an Obnam chunk store, version 1. Leave it to Obnam.\n";

/// Writes the marker into an empty bucket or below an empty prefix; where there is one and no chunk, again.
pub fn create_in(store: &S3Store) -> Result<(), Error> {
    let place = store.settings.place.describe();
    let found = match listing::below(store, "") {
        Err(Error::NotInitialised(_)) if store.settings.create_bucket => {
            create_bucket(store)?;
            listing::below(store, "")?
        }
        result => result?,
    };
    let keys = found.objects.iter().map(|object| &object.key).filter(|key| !key.is_empty());
    let keys: Vec<&String> = keys.chain(&found.prefixes).collect();
    if keys.iter().any(|key| *key == MARKER) {
        require(store)?;
        for label in keys.iter().filter(|key| key.strip_suffix('/').is_some_and(names::is_label)) {
            let some = listing::list(store, &Query { prefix: label, most: 10, ..Query::default() })?;
            if let Some(chunk) = some.objects.iter().find(|object| names::chunk(&object.key).is_some()) {
                return Err(Error::AlreadyInitialised(format!(
                    "{place} is a chunk store already and holds chunks, {} for one; use it as it is, or choose another \
                     prefix",
                    chunk.key
                )));
            }
        }
        return Ok(());
    }
    if let Some(foreign) = keys.iter().find(|key| key.as_str() != PROBE) {
        return Err(Error::AlreadyInitialised(format!(
            "{place} is not empty: it holds {foreign}, which is not Obnam's; choose another prefix"
        )));
    }
    let doing = format!("write the object {MARKER} in {place}");
    let request = create(&store.settings, MARKER, &probe::sha256(TEXT.as_bytes()), Body::Bytes(TEXT.as_bytes()));
    let mut answer = send(&store.settings, &request, &doing)?;
    match answer.status {
        200 | 201 | 204 => answer.text(&doing).map(drop),
        // Somebody else prepares it at the same moment.
        412 => require(store),
        _ => Err(refused(&store.settings, &request, answer, &doing)),
    }
}

/// Makes the bucket.
fn create_bucket(store: &S3Store) -> Result<(), Error> {
    let settings = &store.settings;
    let doing = format!("make the bucket {} at {}", settings.place.bucket, settings.place.authority);
    let region = &settings.region;
    let wish = format!(
        "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>{region}\
         </LocationConstraint></CreateBucketConfiguration>"
    );
    // The classic region is what a bucket gets without a wish, and must not be wished for.
    let body = if region == "us-east-1" { Body::Nothing } else { Body::Bytes(wish.as_bytes()) };
    let mut request = Request { body, ..Request::new("s3:CreateBucket", Method::Put, None) };
    if matches!(request.body, Body::Nothing) {
        request.headers.push(("content-length", "0".into()));
    }
    let mut answer = send(settings, &request, &doing)?;
    match answer.status {
        200 | 201 | 204 => answer.text(&doing).map(drop),
        409 => {
            let message = answer.text(&doing)?;
            if message.contains("BucketAlreadyOwnedByYou") {
                return Ok(());
            }
            Err(Error::Denied(format!(
                "could not {doing}: somebody else has a bucket of this name; choose another name"
            )))
        }
        _ => Err(refused(settings, &request, answer, &doing)),
    }
}

/// Fails unless the marker is there, and of a version that this plugin knows. One request.
pub fn require(store: &S3Store) -> Result<(), Error> {
    let settings = &store.settings;
    let place = settings.place.describe();
    let doing = format!("open {place}");
    let request = Request::new("s3:GetObject", Method::Get, Some(MARKER));
    let mut answer = send(settings, &request, &doing)?;
    if answer.status != 200 {
        return Err(match refused(settings, &request, answer, &doing) {
            Error::NotFound(_) => Error::NotInitialised(format!(
                "{place} is not a chunk store: there is no object {}{MARKER}. Are bucket and prefix right? A new store is \
                 prepared by 'obnam init'",
                settings.place.prefix
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
            "{place} was prepared by another version of Obnam, or its object {MARKER} is damaged: it says {start:?}"
        ))),
    }
}

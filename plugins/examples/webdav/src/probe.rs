//! What `check` finds: what the server honours, tried on a scratch file, and what is not Obnam's.

use obnam_plugin::http::{Body, Method};
use obnam_plugin::wasi::random::random::{get_random_bytes, get_random_u64};
use obnam_plugin::{Error, Finding};

use crate::dav::{self, Moved};
use crate::marker;
use crate::names::{self, INCOMING, MARKER};
use crate::settings::Settings;
use crate::upload::{self, Upload};

/// How many foreign files are named.
const NAMED: usize = 20;

/// How long a scratch file is, in bytes.
const LENGTH: u64 = 64;

/// Looks at the place and tries it.
pub fn check(settings: &Settings) -> Result<Vec<Finding>, Error> {
    marker::require(settings)?;
    let mut findings = Vec::new();
    foreign(settings, &mut findings)?;
    match tried(settings, &mut findings) {
        Ok(()) => {}
        Err(Error::Denied(message)) => findings.push(Finding::warning("read-only", message)),
        Err(Error::Quota(message)) => findings.push(Finding::warning("full", message)),
        Err(error) => return Err(error),
    }
    findings.push(Finding::warning("no-durability",
        "WebDAV has no word for it: whether the server's disk has a chunk when the server says so depends on the server"));
    let place = &settings.place;
    if !place.host.tls && !place.host.is_here() {
        findings.push(Finding::warning("not-encrypted-on-the-way",
            "the connection has no TLS: others on the network can read the password (backups themselves are always encrypted)"));
    }
    Ok(findings)
}

/// Names what is not Obnam's, and counts what interrupted backups have left.
fn foreign(settings: &Settings, findings: &mut Vec<Finding>) -> Result<(), Error> {
    let all = dav::entries(settings, "", &format!("list {}", settings.place))?.unwrap_or_default();
    let is_ours = |name: &str, is_folder: bool| {
        if is_folder { names::is_label(name) || name == INCOMING.trim_end_matches('/') } else { name == MARKER }
    };
    let foreign = all.iter().filter(|entry| !is_ours(&entry.name, entry.properties.is_folder));
    for entry in foreign.take(NAMED) {
        let message = format!("{} in {} is not Obnam's; it is ignored", entry.name, settings.place);
        findings.push(Finding::warning("foreign-file", message));
    }
    let stale = upload::stale(settings)?.len();
    if stale > 0 {
        let message =
            format!("interrupted backups have left files in {INCOMING}: {stale}. The next backup removes them");
        findings.push(Finding::info("interrupted-uploads", message));
    }
    Ok(())
}

/// Uploads two scratch files, and tries to give the second one the name of the first one.
fn tried(settings: &Settings, findings: &mut Vec<Finding>) -> Result<(), Error> {
    let doing = format!("try a scratch file in {}", settings.place);
    let bytes = get_random_bytes(LENGTH);
    let name = format!("{INCOMING}{:016x}", get_random_u64());
    let first = Upload::send(settings, Body::Bytes(&bytes), &doing)?;
    first.name_it(&name, &doing)?;
    let tried = reading(settings, &name, &bytes, &doing, findings).and_then(|()| {
        let second = Upload::send(settings, Body::Bytes(b"other bytes"), &doing)?;
        second.name_it(&name, &doing)
    });
    dav::remove(settings, &name, &doing)?;
    match tried? {
        Moved::Taken => {
            findings.push(Finding::info("create-only", "the server never replaces a file (it honours overwrite: F)"));
        }
        _ => findings.push(Finding::error("replaces",
            "the server ignores overwrite: F, by which Obnam says that nothing is to be replaced: chunks that are damaged on \
             their way could take the place of good ones. Use another server")),
    }
    Ok(())
}

/// Reads what was stored: its length, and a part.
fn reading(
    settings: &Settings,
    name: &str,
    bytes: &[u8],
    doing: &str,
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    let size = dav::look(settings, name, doing)?.and_then(|properties| properties.size);
    if size != Some(LENGTH) {
        let message = format!("the server says of a file of {LENGTH} bytes that its length is {size:?}");
        findings.push(Finding::error("length-differs", message));
    }
    let mut part = dav::send(settings, Method::Get, name, &[("range", "bytes=1-9")], Body::Nothing, doing)?;
    let (status, read) = (part.status, part.bytes(doing)?);
    match status {
        206 if read == bytes[1..10] => {
            findings.push(Finding::info("ranges", "parts of files can be read"));
        }
        200 if read == bytes => findings.push(Finding::error(
            "no-ranges",
            "the server cannot read parts of files: restoring single files will fail",
        )),
        _ => findings.push(Finding::error("read-differs", "the server gives back other bytes than it was given")),
    }
    Ok(())
}

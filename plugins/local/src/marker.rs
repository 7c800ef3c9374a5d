//! The marker file: it tells a prepared store from an unmounted disk.

use crate::chunks::{LocalStore, TemporaryFile};
use crate::directory;
use crate::errors::explain;
use crate::names::{self, LOST_AND_FOUND, MARKER, TEMPORARY};
use crate::{Content, Error};
use obnam_plugin::wasi::filesystem::types::{DescriptorFlags, DescriptorType, ErrorCode, OpenFlags, PathFlags};

/// What the marker says.
const TEXT: &str = "This directory is an Obnam chunk store, version 1. Leave it to Obnam.\n";

/// Writes the marker, durably, into an empty directory; into one that has a marker and no chunks, again.
pub fn create(store: &LocalStore) -> Result<(), Error> {
    let path = &store.path;
    let found = directory::entries(&store.root, &format!("read the directory {path}"))?;
    if found.iter().any(|entry| entry.name == MARKER) {
        require(store)?;
        if let Some(chunk) = first_chunk(store)? {
            return Err(Error::AlreadyInitialised(format!(
                "{path} is a chunk store already and holds chunks, {chunk} for one; use it as it is, or choose an \
                 empty directory"
            )));
        }
    } else if let Some(foreign) =
        found.iter().find(|entry| entry.name != LOST_AND_FOUND && !entry.name.starts_with(TEMPORARY))
    {
        return Err(Error::AlreadyInitialised(format!(
            "{path} is not empty: it holds {}, which is not Obnam's; choose an empty directory",
            foreign.name
        )));
    } else {
        let doing = format!("write the file {MARKER} in {path}");
        let file = TemporaryFile::create(&store.root, "", &doing)?;
        file.fill(TEXT.len() as u64, Content::Bytes(TEXT.into()), &doing)?;
        store.sync_file(&file.descriptor, &doing)?;
        match file.link_to(MARKER) {
            Ok(()) | Err(ErrorCode::Exist) => {}
            Err(code) => return Err(explain(code, &doing)),
        }
        drop(file);
    }
    store.sync_directory(&store.root, &format!("sync the directory {path}"))
}

/// Fails unless the marker is there, and of a version that this plugin knows.
pub fn require(store: &LocalStore) -> Result<(), Error> {
    let path = &store.path;
    let doing = format!("read the file {MARKER} in {path}");
    let opened = store.root.open_at(PathFlags::empty(), MARKER, OpenFlags::empty(), DescriptorFlags::READ);
    let marker = match opened {
        Ok(marker) => marker,
        Err(ErrorCode::NoEntry) => {
            return Err(Error::NotInitialised(format!(
                "{path} is not a chunk store: it has no file {MARKER}. Is the disk mounted? A new store is prepared \
                 by 'obnam init'"
            )));
        }
        Err(code) => return Err(explain(code, &doing)),
    };
    let (text, _) = marker.read(4096, 0).map_err(|code| explain(code, &doing))?;
    if text == TEXT.as_bytes() {
        return Ok(());
    }
    Err(Error::Unsupported(format!(
        "{path} was prepared by another version of Obnam, or its file {MARKER} is damaged: it says {:?}",
        String::from_utf8_lossy(&text[..text.len().min(100)])
    )))
}

/// The name of some chunk in the store.
fn first_chunk(store: &LocalStore) -> Result<Option<String>, Error> {
    for label in directory::names(&store.root, ".", DescriptorType::Directory, names::is_label)? {
        for shard in directory::names(&store.root, &label, DescriptorType::Directory, names::is_shard)? {
            let path = format!("{label}/{shard}");
            let ids = directory::names(&store.root, &path, DescriptorType::RegularFile, names::is_id)?;
            if let Some(id) = ids.first() {
                return Ok(Some(format!("{path}/{id}")));
            }
        }
    }
    Ok(None)
}

//! Directories, by descriptors: opening, creating durably, reading, and how to tell "not there" from failure.

use crate::Error;
use crate::errors::explain;
use obnam_plugin::wasi::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorStat, DescriptorType, ErrorCode, OpenFlags, PathFlags,
};

/// An entry of a directory.
pub struct Entry {
    /// Its name; names that are not UTF-8 are shown as `?`.
    pub name: String,
    /// What it is.
    pub kind: DescriptorType,
}

/// Opens the directory `path` below `parent`; `None` when it is not there. Follows no symbolic link at its end.
pub fn open(parent: &Descriptor, path: &str) -> Result<Option<Descriptor>, ErrorCode> {
    match parent.open_at(PathFlags::empty(), path, OpenFlags::DIRECTORY, DescriptorFlags::READ) {
        Ok(directory) => Ok(Some(directory)),
        Err(ErrorCode::NoEntry) => Ok(None),
        Err(code) => Err(code),
    }
}

/// Creates the directory `name` in `parent` unless it is there.
pub fn create(parent: &Descriptor, name: &str) -> Result<(), ErrorCode> {
    match parent.create_directory_at(name) {
        Ok(()) | Err(ErrorCode::Exist) => Ok(()),
        Err(code) => Err(code),
    }
}

/// The entries of a directory, in no order. What vanishes meanwhile is left out.
pub fn entries(directory: &Descriptor, doing: &str) -> Result<Vec<Entry>, Error> {
    let stream = directory.read_directory().map_err(|code| explain(code, doing))?;
    let mut entries = Vec::new();
    loop {
        match stream.read_directory_entry() {
            Ok(Some(entry)) => entries.push(Entry { name: entry.name, kind: entry.type_ }),
            Ok(None) => return Ok(entries),
            Err(ErrorCode::NoEntry) => {}
            Err(ErrorCode::IllegalByteSequence) => {
                entries.push(Entry { name: "?".into(), kind: DescriptorType::Unknown });
            }
            Err(code) => return Err(explain(code, doing)),
        }
    }
}

/// The names of those entries of the directory `path` below `parent` that are of one type and pass a test, sorted;
/// none when the directory is not there.
pub fn names(
    parent: &Descriptor,
    path: &str,
    kind: DescriptorType,
    passes: impl Fn(&str) -> bool,
) -> Result<Vec<String>, Error> {
    let doing = format!("list {path}");
    let Some(directory) = open(parent, path).map_err(|code| explain(code, &doing))? else { return Ok(Vec::new()) };
    let mut names: Vec<String> = entries(&directory, &doing)?
        .into_iter()
        .filter(|entry| entry.kind == kind && passes(&entry.name))
        .map(|entry| entry.name)
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// What is at `path` below `parent`, without following a symbolic link; `None` when nothing is.
pub fn stat(parent: &Descriptor, path: &str) -> Result<Option<DescriptorStat>, ErrorCode> {
    match parent.stat_at(PathFlags::empty(), path) {
        Ok(stat) => Ok(Some(stat)),
        Err(ErrorCode::NoEntry) => Ok(None),
        Err(code) => Err(code),
    }
}

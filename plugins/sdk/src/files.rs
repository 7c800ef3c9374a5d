//! Files and directories below a granted directory, by their absolute paths.
//!
//! `std::fs` works in a plugin, for what was granted. What is here is what it does not do, or not well enough for the
//! only copy of somebody's data. Natively, in tests, the same functions work on the files of the computer.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

/// How the names of files begin that [`create`] is writing, or was when the power failed.
pub const TEMPORARY: &str = ".tmp-";

/// Creates a file with these bytes, unless there is one with this name: it is there as a whole or not at all, never
/// replaced, and durable when this returns. Answers whether it was created now.
///
/// The bytes are written and synced under a temporary name, which begins with [`TEMPORARY`], and then linked to the
/// right one: a crash can leave such files behind. A file system without hard links (FAT) is
/// [`ErrorKind::Unsupported`].
pub fn create(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let temporary = path.with_file_name(format!("{TEMPORARY}{:016x}", random()));
    let linked = write(&temporary, bytes).and_then(|()| fs::hard_link(&temporary, path));
    let _ = fs::remove_file(&temporary);
    let created = match linked {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        Err(error) => return Err(error),
    };
    // Also where it was there: whoever created it may not have come that far.
    sync_parent(path)?;
    Ok(created)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Creates a directory, unless it is there; durable when this returns. The one that it is in must be there.
pub fn create_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => sync_parent(path),
    }
}

/// Removes a file; durable when this returns. One that is not there is no error.
pub fn remove(path: &Path) -> io::Result<()> {
    let absent = |error: &io::Error| error.kind() == ErrorKind::NotFound;
    match fs::remove_file(path) {
        Err(error) if !absent(&error) => Err(error),
        // Also where it was gone: whoever removed it may not have come that far.
        _ => sync_parent(path).or_else(|error| if absent(&error) { Ok(()) } else { Err(error) }),
    }
}

/// Waits until the disk has the names in the directory of this path.
fn sync_parent(path: &Path) -> io::Result<()> {
    let Some(directory) = path.parent() else { return Ok(()) };
    match File::open(directory)?.sync_all() {
        // Some network file systems cannot sync a directory; they have what they answered.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        result => result,
    }
}

/// The names in a directory, sorted by their bytes; none for one that is not there, or is no directory. Names that are
/// not UTF-8 are left out.
///
/// Unlike `std::fs::read_dir` in a sandbox it misses no name when others come and go meanwhile: that one reads a
/// directory in pieces, and counts its way to where it was.
pub fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = match entries(directory) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Vec::new(),
        result => result?,
    };
    names.sort_unstable();
    Ok(names)
}

#[cfg(target_family = "wasm")]
fn entries(directory: &Path) -> io::Result<Vec<String>> {
    use crate::wasi::filesystem::preopens::get_directories;
    use crate::wasi::filesystem::types::{DescriptorFlags, ErrorCode, OpenFlags, PathFlags};

    let failed = |code: ErrorCode| match code {
        ErrorCode::NoEntry => ErrorKind::NotFound.into(),
        ErrorCode::Access | ErrorCode::NotPermitted => ErrorKind::PermissionDenied.into(),
        ErrorCode::NotDirectory => ErrorKind::NotADirectory.into(),
        code => io::Error::other(code.message()),
    };
    let granted = get_directories().into_iter().find_map(|(granted, name)| {
        let below = directory.strip_prefix(&name).ok()?.to_str()?.to_owned();
        Some((granted, below))
    });
    let (granted, below) = granted.ok_or(ErrorKind::PermissionDenied)?;
    let below = if below.is_empty() { "." } else { &below };
    let opened = granted.open_at(PathFlags::empty(), below, OpenFlags::DIRECTORY, DescriptorFlags::READ);
    let listed = opened.and_then(|directory| directory.read_directory()).map_err(failed)?;
    let mut names = Vec::new();
    loop {
        match listed.read_directory_entry() {
            Ok(Some(entry)) => names.push(entry.name),
            Ok(None) => return Ok(names),
            // It vanished meanwhile, or has a name that the sandbox cannot say.
            Err(ErrorCode::NoEntry | ErrorCode::IllegalByteSequence) => {}
            Err(code) => return Err(failed(code)),
        }
    }
}

#[cfg(not(target_family = "wasm"))]
fn entries(directory: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(directory)?
        .map(|entry| Ok(entry?.file_name().into_string().ok()))
        .filter_map(io::Result::transpose)
        .collect()
}

#[cfg(target_family = "wasm")]
fn random() -> u64 {
    crate::wasi::random::random::get_random_u64()
}

#[cfg(not(target_family = "wasm"))]
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};

    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_created_once() -> io::Result<()> {
        let top = std::env::temp_dir().join(format!("obnam-plugin-{:016x}", random()));
        create_directory(&top)?;
        create_directory(&top)?;
        let file = top.join("b");
        assert!(create(&file, b"one")?);
        assert!(!create(&file, b"two")?);
        assert_eq!(fs::read(&file)?, b"one");
        assert!(create(&top.join("a"), b"")?);
        assert_eq!(names(&top)?, ["a", "b"]);
        assert!(names(&top.join("absent"))?.is_empty() && names(&file)?.is_empty());
        assert_eq!(create(&top.join("absent/c"), b"").map_err(|error| error.kind()), Err(ErrorKind::NotFound));
        remove(&file)?;
        remove(&file)?;
        assert_eq!(names(&top)?, ["a"]);
        fs::remove_dir_all(&top)
    }
}

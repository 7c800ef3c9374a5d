//! Compiled components, kept from one run to the next: compiling takes 50 ms to seconds, loading well below one.
//!
//! A compiled component is machine code, and loading one that somebody else could have written means to run his
//! code. So it is kept in a directory that nobody else can write to, which is checked each time, and each file
//! begins with the SHA-256 of the rest, against damage. Whatever is wrong with the cache, the answer is to compile.

use std::fs::{self, DirBuilder, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags, Stat};
use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

/// Files that were compiled longer ago go when another one is written.
const OLDEST: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// The component of these bytes: from the cache where there is one, else compiled (and kept there).
pub(super) fn load(engine: &Engine, wasm: &[u8], cache: Option<&Path>) -> wasmtime::Result<Component> {
    let Some(directory) = cache else { return Component::new(engine, wasm) };
    let name = file_name(engine, wasm);
    match read(directory, &name) {
        Ok(Some(compiled)) => match deserialize(engine, &compiled) {
            Ok(component) => return Ok(component),
            Err(error) => tracing::debug!("compiled plugin {name} does not load, compiling again: {error:#}"),
        },
        Ok(None) => {}
        Err(error) => tracing::debug!("cannot use the compiled plugin {name} in {}: {error}", directory.display()),
    }
    let component = Component::new(engine, wasm)?;
    if let Err(error) =
        component.serialize().map_err(|e| e.to_string()).and_then(|bytes| write(directory, &name, &bytes))
    {
        tracing::debug!("cannot keep the compiled plugin in {}: {error}", directory.display());
    }
    Ok(component)
}

/// The name says what the machine code depends on: the component, and the version, target and settings of the compiler.
fn file_name(engine: &Engine, wasm: &[u8]) -> String {
    let mut compiler = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut compiler);
    format!("{}-{:016x}.cwasm", hex::encode(Sha256::digest(wasm)), compiler.finish())
}

#[allow(unsafe_code)]
fn deserialize(engine: &Engine, compiled: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes must come from `Component::serialize` of a compatible engine, unaltered. They come from a file
    // that `read` found in a directory that belongs to us and that only we may enter, which only `write` below puts
    // files into; `read` has checked owner and mode of both, on the opened files, and the checksum. Incompatible
    // versions and settings are refused by wasmtime itself.
    unsafe { Component::deserialize(engine, compiled) }
}

/// The machine code in a file of the cache; `None` when there is none such.
fn read(directory: &Path, name: &str) -> Result<Option<Vec<u8>>, String> {
    let directory = match open_private(directory) {
        Ok(directory) => directory,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(format!("it is not a private directory of ours ({error})")),
    };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(&directory, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let stat = rustix::fs::fstat(&file).map_err(|error| error.to_string())?;
    if !is_private(&stat) {
        return Err("the file is not ours, or others may write to it".into());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or(0));
    File::from(file).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    match bytes.split_at_checked(32) {
        Some((sum, rest)) if *sum == *Sha256::digest(rest) => {}
        _ => return Err("the file is damaged".into()),
    }
    bytes.drain(..32);
    Ok(Some(bytes))
}

/// Opens the directory of the cache, unless it is somebody else's, or open to others.
fn open_private(directory: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(directory, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&opened)?;
    if is_private(&stat) { Ok(opened) } else { Err(rustix::io::Errno::ACCESS) }
}

/// Whether it belongs to us, and group and others have no rights at all.
fn is_private(stat: &Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o077 == 0
}

/// Puts a file into the cache, by way of a temporary one.
fn write(directory: &Path, name: &str, compiled: &[u8]) -> Result<(), String> {
    let words = |error: std::io::Error| error.to_string();
    if !directory.exists() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(words)?;
    }
    open_private(directory).map_err(|error| format!("it is not a private directory of ours ({error})"))?;
    remove_old(directory);
    // Created with mode 0600.
    let mut file = tempfile::Builder::new().prefix(".tmp-").tempfile_in(directory).map_err(words)?;
    file.write_all(&Sha256::digest(compiled)).and_then(|()| file.write_all(compiled)).map_err(words)?;
    file.persist(directory.join(name)).map_err(|error| words(error.error))?;
    Ok(())
}

/// Removes what was compiled long ago. Best effort.
fn remove_old(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path: PathBuf = entry.path();
        let name = entry.file_name();
        let ours = path.extension().is_some_and(|end| end == "cwasm") || name.to_string_lossy().starts_with(".tmp-");
        let written = entry.metadata().and_then(|metadata| metadata.modified());
        let age = written.ok().and_then(|written| SystemTime::now().duration_since(written).ok());
        if ours && age.is_some_and(|age| age > OLDEST) {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_written_is_read_and_damage_is_seen() {
        let top = tempfile::tempdir().unwrap();
        let directory = top.path().join("cache");
        assert_eq!(read(&directory, "a.cwasm"), Ok(None));
        write(&directory, "a.cwasm", b"code").unwrap();
        assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(directory.join("a.cwasm")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&directory, "a.cwasm"), Ok(Some(b"code".to_vec())));

        let mut bytes = fs::read(directory.join("a.cwasm")).unwrap();
        bytes[33] ^= 1;
        fs::write(directory.join("a.cwasm"), &bytes).unwrap();
        assert!(read(&directory, "a.cwasm").unwrap_err().contains("damaged"));
        fs::write(directory.join("a.cwasm"), b"short").unwrap();
        assert!(read(&directory, "a.cwasm").unwrap_err().contains("damaged"));
    }

    #[test]
    fn what_others_could_write_is_not_used() {
        let top = tempfile::tempdir().unwrap();
        let directory = top.path().join("cache");
        write(&directory, "a.cwasm", b"code").unwrap();
        fs::set_permissions(directory.join("a.cwasm"), fs::Permissions::from_mode(0o620)).unwrap();
        assert!(read(&directory, "a.cwasm").is_err());
        fs::set_permissions(directory.join("a.cwasm"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o770)).unwrap();
        assert!(read(&directory, "a.cwasm").is_err());
        assert!(write(&directory, "b.cwasm", b"code").is_err());
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
        let link = top.path().join("link");
        std::os::unix::fs::symlink(&directory, &link).unwrap();
        assert!(read(&link, "a.cwasm").is_err());
    }
}

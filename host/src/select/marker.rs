//! Files that say "do not back this directory up": `CACHEDIR.TAG`, or whatever name the user chose.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat, statat};

/// See <https://bford.info/cachedir/>: such a file begins with this.
const CACHE_SIGNATURE: &str = "Signature: 8a477f597d28d172789f06886806bc55";

/// A file whose presence marks a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// Its name.
    pub name: OsString,
    /// What it has to begin with; if this is empty, anything with the name will do.
    header: Vec<u8>,
}

/// A marker that could never be found.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no name of a file in a directory; give NAME or NAME:HEADER")]
pub struct MarkerError(String);

impl Marker {
    /// The tag of cache directories.
    pub fn cache_tag() -> Self {
        Marker { name: "CACHEDIR.TAG".into(), header: CACHE_SIGNATURE.into() }
    }

    /// Reads `NAME` or `NAME:HEADER`.
    pub fn parse(text: &str) -> Result<Self, MarkerError> {
        let (name, header) = text.split_once(':').unwrap_or((text, ""));
        if name.is_empty() || name.contains('/') || [".", ".."].contains(&name) {
            return Err(MarkerError(text.to_owned()));
        }
        Ok(Marker { name: name.into(), header: header.into() })
    }

    /// Whether the directory holds it. A marker that cannot be read marks nothing.
    pub fn is_in(&self, directory: impl AsFd) -> bool {
        if self.header.is_empty() {
            return statat(directory, &self.name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        }
        self.begins(directory, &self.name).unwrap_or(false)
    }

    fn begins(&self, directory: impl AsFd, name: &OsStr) -> std::io::Result<bool> {
        // A FIFO with this name must not make anybody wait.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let is_file = |mode| FileType::from_raw_mode(mode) == FileType::RegularFile;
        if !is_file(statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode) {
            return Ok(false);
        }
        let mut file = File::from(openat(directory, name, flags, Mode::empty())?);
        let mut head = vec![0; self.header.len()];
        file.read_exact(&mut head)?;
        Ok(head == self.header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_found() {
        let folder = tempfile::tempdir().expect("a directory");
        let directory = File::open(folder.path()).expect("opens");
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("writes");
        let plain = Marker::parse(".nobackup").expect("good");
        let headed = Marker::parse(".no:yes: no").expect("good");
        assert!(!plain.is_in(&directory) && !headed.is_in(&directory) && !Marker::cache_tag().is_in(&directory));
        put(".nobackup", "");
        put(".no", "yes: now");
        put("CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc5");
        assert!(plain.is_in(&directory) && headed.is_in(&directory) && !Marker::cache_tag().is_in(&directory));
        put(".no", "yes; no");
        put("CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n# made by a test");
        assert!(!headed.is_in(&directory) && Marker::cache_tag().is_in(&directory));
        std::fs::remove_file(folder.path().join(".no")).expect("removes");
        std::fs::create_dir(folder.path().join(".no")).expect("makes");
        assert!(!headed.is_in(&directory));
    }

    #[test]
    fn what_is_no_marker() {
        for bad in ["", ":x", "a/b", ".", "..", "..:x"] {
            assert!(Marker::parse(bad).is_err(), "{bad}");
        }
    }
}

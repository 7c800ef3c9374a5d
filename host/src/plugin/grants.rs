//! What a plugin wishes to use, compared with what the user named. Everything else is refused.

use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::fs::StatVfsMountFlags;

use super::bindings::contract;
use crate::store::{StoreError, StoreErrorKind};

/// What was granted.
#[derive(Debug, Clone, Default)]
pub(super) struct Grants {
    /// Directories.
    pub(super) directories: Vec<Directory>,
}

/// A granted directory.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    /// Its path as the plugin wished for it, which is its name in the sandbox.
    pub(super) path: String,
    /// The directory that the user named; this one is it, or lies below it.
    named: PathBuf,
    /// Whether the plugin asked to read only.
    read_only: bool,
}

/// Decides about the wishes of a plugin, given the directory that the user named with the location, if it is one.
pub(super) fn decide(plugin: &str, wishes: contract::Grants, named: Option<&Path>) -> Result<Grants, StoreError> {
    let refused = |message: String| Err(StoreError::new(StoreErrorKind::Denied, message));
    if let Some(origin) = wishes.origins.first() {
        return refused(format!(
            "plugin {plugin} wishes to talk to {origin:?}; this version of obnam gives plugins no network"
        ));
    }
    let mut directories = Vec::new();
    for contract::DirectoryWish { path, read_only } in wishes.directories {
        match named {
            Some(named) if is_plain(&path) && Path::new(&path).starts_with(named) => {
                directories.push(Directory { path, named: named.to_owned(), read_only });
            }
            Some(named) => {
                return refused(format!(
                    "plugin {plugin} wishes to use the directory {path:?}, which is refused: the location names {} only",
                    named.display()
                ));
            }
            None => {
                return refused(format!(
                    "plugin {plugin} wishes to use the directory {path:?}, which is refused: the location names no \
                     directory"
                ));
            }
        }
    }
    Ok(Grants { directories })
}

/// Whether a path is absolute and says nothing in a roundabout way.
fn is_plain(path: &str) -> bool {
    path.starts_with('/')
        && !path.contains('\0')
        && !path.contains("//")
        && path.split('/').all(|part| part != "." && part != "..")
}

impl Directory {
    /// The directory without symbolic links; still the named one or below it, wherever links within that lead.
    pub(super) fn real_path(&self) -> Result<PathBuf, StoreError> {
        let real = |path: &Path| path.canonicalize().map_err(|error| self.unusable(&error));
        let (path, named) = (real(Path::new(&self.path))?, real(&self.named)?);
        if !path.starts_with(&named) {
            return Err(self.refused(&format!("it leads to {}, outside of {}", path.display(), named.display())));
        }
        if !path.is_dir() {
            return Err(StoreError::new(StoreErrorKind::Invalid, format!("{} is not a directory", self.path)));
        }
        Ok(path)
    }

    /// Whether it is granted for reading only: as wished, or since nothing else is possible.
    pub(super) fn is_read_only(&self) -> Result<bool, StoreError> {
        let mount = rustix::fs::statvfs(Path::new(&self.path)).map_err(|error| self.unusable(&error.into()))?;
        Ok(self.read_only || mount.f_flag.contains(StatVfsMountFlags::RDONLY))
    }

    /// Creates the directory, durably, unless it is there.
    pub(super) fn create(&self) -> Result<(), StoreError> {
        let path = Path::new(&self.path);
        let missing: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
        for path in missing.into_iter().rev() {
            let created = match DirBuilder::new().create(path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
                result => result,
            };
            let parent = path.parent().unwrap_or(Path::new("/"));
            created.and_then(|()| File::open(parent)?.sync_all()).map_err(|error| {
                let kind = kind_of(&error);
                StoreError::new(kind, format!("cannot create the directory {}: {error}", path.display()))
            })?;
        }
        Ok(())
    }

    /// The error for a directory that cannot be granted.
    pub(super) fn refused(&self, why: &str) -> StoreError {
        StoreError::new(StoreErrorKind::Denied, format!("the directory {} is refused to the plugin: {why}", self.path))
    }

    fn unusable(&self, error: &std::io::Error) -> StoreError {
        let path = &self.path;
        match error.kind() {
            ErrorKind::NotFound => StoreError::new(
                StoreErrorKind::NotInitialised,
                format!(
                    "the directory {path} is not there. Is the disk mounted? A new store is prepared by 'obnam init'"
                ),
            ),
            _ => StoreError::new(kind_of(error), format!("the directory {path} cannot be used: {error}")),
        }
    }
}

fn kind_of(error: &std::io::Error) -> StoreErrorKind {
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreErrorKind::Denied,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreErrorKind::Quota,
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => StoreErrorKind::Invalid,
        _ => StoreErrorKind::Other,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn wish(path: &str) -> contract::Grants {
        let wish = contract::DirectoryWish { path: path.into(), read_only: false };
        contract::Grants { directories: vec![wish], origins: Vec::new() }
    }

    #[test]
    fn only_the_named_directory_is_granted() {
        let named = Some(Path::new("/srv/backup"));
        assert!(decide("p", wish("/srv/backup"), named).is_ok());
        assert!(decide("p", wish("/srv/backup/chunks"), named).is_ok());
        for path in ["/etc", "/srv", "/srv/backup2", "/srv/backup/../x", "srv/backup", "/srv/backup/./x", "", "/"] {
            let error = decide("p", wish(path), named).unwrap_err();
            assert_eq!(error.kind, StoreErrorKind::Denied, "{path}");
            assert!(error.message.contains(&format!("{path:?}")), "{error}");
        }
        assert!(decide("p", wish("/etc"), None).unwrap_err().message.contains("names no directory"));
    }

    #[test]
    fn hosts_are_refused() {
        let wishes = contract::Grants { directories: Vec::new(), origins: vec!["https://example.org".into()] };
        assert!(decide("p", wishes, None).unwrap_err().message.contains("https://example.org"));
    }

    #[test]
    fn links_do_not_lead_out() {
        let top = tempfile::tempdir().unwrap();
        let named = top.path().join("named");
        std::fs::create_dir(&named).unwrap();
        std::os::unix::fs::symlink("/etc", named.join("link")).unwrap();
        std::fs::create_dir(named.join("sub")).unwrap();
        let directory = |path: PathBuf| {
            let grants = decide("p", wish(path.to_str().unwrap()), Some(&named)).unwrap();
            grants.directories[0].real_path()
        };
        assert!(directory(named.join("sub")).is_ok());
        assert!(directory(named.join("link")).unwrap_err().message.contains("outside"));
        assert_eq!(directory(named.join("absent")).unwrap_err().kind, StoreErrorKind::NotInitialised);
    }
}

//! What a plugin wishes to use, compared with what the user named. Everything else is refused.

use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::fs::StatVfsMountFlags;

use super::bindings::contract;
use super::http::Origin;
use super::location::Location;
use crate::store::{StoreError, StoreErrorKind};

/// The option of a plugin that lists hosts which the user approved beside the one in the location.
pub const DATA_HOST: &str = "data-host";

/// What was granted.
#[derive(Debug, Clone, Default)]
pub(super) struct Grants {
    /// Directories.
    pub(super) directories: Vec<Directory>,
    /// Where requests may go.
    pub(super) origins: Vec<OriginGrant>,
}

/// A granted origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OriginGrant {
    /// The origin.
    pub(super) origin: Origin,
    /// Whether the user wrote it himself. Otherwise a bundled plugin made it from the location.
    pub(super) named: bool,
}

/// Who asks, and for what.
pub(super) struct Asking<'a> {
    /// The plugin's name.
    pub(super) plugin: &'a str,
    /// Whether it is part of this program.
    pub(super) bundled: bool,
    /// The location, which is what the user named.
    pub(super) location: &'a Location,
    /// The options as the user gave them: [`DATA_HOST`] names origins too.
    pub(super) options: &'a [(String, String)],
    /// Whether the user allows `http:` to other computers.
    pub(super) plain_http: bool,
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

/// Decides about the wishes of a plugin, given what the user named with the location.
pub(super) fn decide(asking: &Asking<'_>, wishes: contract::Grants) -> Result<Grants, StoreError> {
    let directories = wishes.directories.into_iter().map(|wish| decide_directory(asking, wish));
    let origins = wishes.origins.iter().map(|wish| decide_origin(asking, wish));
    Ok(Grants { directories: directories.collect::<Result<_, _>>()?, origins: origins.collect::<Result<_, _>>()? })
}

fn decide_directory(asking: &Asking<'_>, wish: contract::DirectoryWish) -> Result<Directory, StoreError> {
    let Location { scheme, text } = asking.location;
    let contract::DirectoryWish { path, read_only } = wish;
    let named = (scheme == "file").then(|| Path::new(text));
    let names = match named {
        Some(named) if is_plain(&path) && Path::new(&path).starts_with(named) => {
            return Ok(Directory { path, named: named.to_owned(), read_only });
        }
        Some(named) => format!("names {} only", named.display()),
        None => "names no directory".into(),
    };
    let plugin = asking.plugin;
    Err(refused(format!(
        "plugin {plugin} wishes to use the directory {path:?}, which is refused: the location {names}"
    )))
}

fn decide_origin(asking: &Asking<'_>, wish: &str) -> Result<OriginGrant, StoreError> {
    let Asking { plugin, bundled, location, options, plain_http } = asking;
    let talks = format!("plugin {plugin} wishes to talk to {wish:?}, which is refused");
    let origin = Origin::parse(wish)
        .ok_or_else(|| refused(format!("{talks}: that is no origin (https://HOST or https://HOST:PORT)")))?;
    let names = Origin::named_by(&location.text);
    let is_it = |text: &str| Origin::parse(text.trim().trim_end_matches('/')).as_ref() == Some(&origin);
    let named = names.as_ref() == Some(&origin) || is_approved(options, is_it);
    if !named && !bundled {
        let names = names.map_or_else(|| "names no host".into(), |names| format!("names {names} only"));
        return Err(refused(format!("{talks}: the location {names}")));
    }
    if !origin.is_secure() && !origin.is_local() && !plain_http {
        return Err(refused(format!(
            "{origin} is not encrypted on its way, and leaves this computer; use https:, or allow it by --plain-http"
        )));
    }
    if !named {
        tracing::debug!(target: "obnam::http", "plugin {plugin} talks to {origin}, which follows from the location");
    }
    Ok(OriginGrant { origin, named })
}

/// Whether the option by which users approve hosts lists such a one.
fn is_approved(options: &[(String, String)], is_it: impl Fn(&str) -> bool) -> bool {
    options.iter().any(|(name, value)| name == DATA_HOST && value.split(',').any(&is_it))
}

fn refused(message: String) -> StoreError {
    StoreError::new(StoreErrorKind::Denied, message)
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

    fn at(scheme: &str, text: &str) -> Location {
        Location { scheme: scheme.into(), text: text.into() }
    }

    fn asking(location: &Location, bundled: bool) -> Asking<'_> {
        Asking { plugin: "p", bundled, location, options: &[], plain_http: false }
    }

    #[test]
    fn only_the_named_directory_is_granted() {
        let named = at("file", "/srv/backup");
        let decide = |path: &str| decide(&asking(&named, true), wish(path));
        assert!(decide("/srv/backup").is_ok());
        assert!(decide("/srv/backup/chunks").is_ok());
        for path in ["/etc", "/srv", "/srv/backup2", "/srv/backup/../x", "srv/backup", "/srv/backup/./x", "", "/"] {
            let error = decide(path).unwrap_err();
            assert_eq!(error.kind, StoreErrorKind::Denied, "{path}");
            assert!(error.message.contains(&format!("{path:?}")), "{error}");
        }
        let none = at("mem", "mem:/etc");
        assert!(super::decide(&asking(&none, true), wish("/etc")).unwrap_err().message.contains("names no directory"));
    }

    #[test]
    fn only_the_named_origin_is_granted() {
        let decide = |location: &str, origin: &str, bundled, plain_http| {
            let location = at("s3", location);
            let wishes = contract::Grants { directories: Vec::new(), origins: vec![origin.into()] };
            let asking = Asking { plain_http, ..asking(&location, bundled) };
            decide(&asking, wishes).map(|mut grants| grants.origins.remove(0)).map_err(|error| error.message)
        };
        let named = "s3:https://s3.example.org/bucket";
        let granted = decide(named, "https://s3.example.org:443", false, false).unwrap();
        assert!(granted.named && granted.origin.to_string() == "https://s3.example.org");
        for other in ["https://s3.example.org:444", "http://s3.example.org", "https://example.org", "https://evil.org"]
        {
            let error = decide(named, other, false, false).unwrap_err();
            assert!(error.contains(&format!("{other:?}")), "{error}");
            assert!(error.contains("names https://s3.example.org only"), "{error}");
        }
        assert!(decide("s3://bucket", "https://evil.org", false, false).unwrap_err().contains("names no host"));
        assert!(decide(named, "https://s3.example.org/", false, false).unwrap_err().contains("no origin"));
        // What a bundled plugin makes of the location counts, but is not named.
        assert!(!decide("s3://bucket", "https://s3.amazonaws.com", true, false).unwrap().named);
        // One option names origins as well as the location does, and no other one.
        let location = at("https", "https://server.example/alice");
        let options = [("data-host".to_owned(), "https://a.example, https://s3.example.org/".to_owned())];
        let decide_with = |origin: &str| {
            let wishes = contract::Grants { directories: Vec::new(), origins: vec![origin.into()] };
            super::decide(&Asking { options: &options, ..asking(&location, false) }, wishes)
        };
        assert!(decide_with("https://s3.example.org").unwrap().origins[0].named);
        assert!(decide_with("https://s3.example.com").is_err());
        let options = [("endpoint".to_owned(), "https://s3.example.org".to_owned())];
        let wishes = contract::Grants { directories: Vec::new(), origins: vec!["https://s3.example.org".into()] };
        assert!(super::decide(&Asking { options: &options, ..asking(&location, false) }, wishes).is_err());
        // Unencrypted only on this computer.
        let plain = "s3:http://s3.example.org/bucket";
        let error = decide(plain, "http://s3.example.org", true, false).unwrap_err();
        assert!(error.contains("--plain-http"), "{error}");
        assert!(decide(plain, "http://s3.example.org", true, true).is_ok());
        assert!(decide("s3:http://127.0.0.1:3900/b", "http://127.0.0.1:3900", false, false).is_ok());
    }

    #[test]
    fn links_do_not_lead_out() {
        let top = tempfile::tempdir().unwrap();
        let named = top.path().join("named");
        std::fs::create_dir(&named).unwrap();
        std::os::unix::fs::symlink("/etc", named.join("link")).unwrap();
        std::fs::create_dir(named.join("sub")).unwrap();
        let location = at("file", named.to_str().unwrap());
        let directory = |path: PathBuf| {
            let grants = decide(&asking(&location, true), wish(path.to_str().unwrap())).unwrap();
            grants.directories[0].real_path()
        };
        assert!(directory(named.join("sub")).is_ok());
        assert!(directory(named.join("link")).unwrap_err().message.contains("outside"));
        assert_eq!(directory(named.join("absent")).unwrap_err().kind, StoreErrorKind::NotInitialised);
    }
}

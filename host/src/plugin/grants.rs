//! What a plugin wishes to use, compared with what the user named. All else he has to approve, or it is refused.

use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::fs::StatVfsMountFlags;

use super::bindings::contract;
use super::http::Origin;
use super::location::Location;
use super::wish::Wish;
use crate::store::{StoreError, StoreErrorKind};

/// The option of a plugin that lists hosts which the user approved beside the one in the location.
pub const DATA_HOST: &str = "data-host";

/// How many wishes beyond the location a user is asked about. More than that nobody reads.
const MOST: usize = 16;

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
    /// Whether the user wrote it himself. Otherwise a bundled plugin made it from the location, or he said yes to a name that
    /// may lead anywhere.
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
    /// Whether the user approved it, and has not named it: then no symbolic link may be on the way to it. One could have been
    /// planted there since.
    approved: bool,
}

/// The wishes of a plugin, sorted.
#[derive(Debug)]
pub(super) struct Weighed {
    named: Vec<Wish>,
    granted: Grants,
    beyond: Vec<Beyond>,
}

/// A wish for what the user has not named.
#[derive(Debug)]
struct Beyond {
    wish: Wish,
    grant: Grant,
    /// What is said when he does not approve it.
    refusal: StoreError,
}

#[derive(Debug, Clone)]
enum Grant {
    Directory(Directory),
    Origin(OriginGrant),
}

/// What becomes of a wish: it is granted, or up to the user.
type Sorted = (Wish, Grant, Option<StoreError>);

/// Sorts the wishes of a plugin by whether the user named with the location what they are for. What nobody can approve is
/// an error: nonsense, and whatever a bundled plugin has no business with.
pub(super) fn weigh(asking: &Asking<'_>, wishes: contract::Grants) -> Result<Weighed, StoreError> {
    let mut weighed = Weighed { named: Vec::new(), granted: Grants::default(), beyond: Vec::new() };
    let directories = wishes.directories.into_iter().map(|wish| weigh_directory(asking, wish));
    for sorted in directories.chain(wishes.origins.iter().map(|wish| weigh_origin(asking, wish))) {
        let (wish, grant, refusal) = sorted?;
        match refusal {
            None => {
                weighed.granted.add(grant);
                weighed.named.push(wish);
            }
            Some(refusal) if asking.bundled || weighed.beyond.len() == MOST => return Err(refusal),
            Some(refusal) => weighed.beyond.push(Beyond { wish, grant, refusal }),
        }
    }
    Ok(weighed)
}

impl Weighed {
    /// The wishes for what the user named.
    pub(super) fn named(&self) -> &[Wish] {
        &self.named
    }

    /// The wishes for what the user has not named.
    pub(super) fn beyond(&self) -> impl Iterator<Item = &Wish> {
        self.beyond.iter().map(|beyond| &beyond.wish)
    }

    /// What is granted, where the user has approved these wishes; an error if there are others.
    pub(super) fn grant(self, approved: &[Wish]) -> Result<Grants, StoreError> {
        let mut grants = self.granted;
        for Beyond { wish, grant, refusal } in self.beyond {
            if !approved.iter().any(|approved| approved.covers(&wish)) {
                return Err(refusal);
            }
            grants.add(grant);
        }
        Ok(grants)
    }
}

impl Grants {
    fn add(&mut self, grant: Grant) {
        match grant {
            Grant::Directory(directory) => self.directories.push(directory),
            Grant::Origin(origin) => self.origins.push(origin),
        }
    }
}

fn weigh_directory(asking: &Asking<'_>, wish: contract::DirectoryWish) -> Result<Sorted, StoreError> {
    let Location { scheme, text } = asking.location;
    let contract::DirectoryWish { path, read_only } = wish;
    let wish = Wish::Directory { path: path.clone(), read_only };
    let named = (scheme == "file").then(|| Path::new(text));
    let names = match named {
        Some(named) if is_plain(&path) && Path::new(&path).starts_with(named) => {
            let directory = Directory { path, named: named.to_owned(), read_only, approved: false };
            return Ok((wish, Grant::Directory(directory), None));
        }
        Some(named) => format!("names {} only", named.display()),
        None => "names no directory".into(),
    };
    let plugin = asking.plugin;
    let refusal = refused(format!(
        "plugin {plugin} wishes to use the directory {path:?}, which is refused: the location {names}"
    ));
    if !is_plain(&path) || Path::new(&path).parent().is_none() {
        return Err(refusal);
    }
    let directory = Directory { named: PathBuf::from(&path), path, read_only, approved: true };
    Ok((wish, Grant::Directory(directory), Some(refusal)))
}

fn weigh_origin(asking: &Asking<'_>, wish: &str) -> Result<Sorted, StoreError> {
    let Asking { plugin, bundled, location, options, plain_http } = asking;
    let talks = format!("plugin {plugin} wishes to talk to {wish:?}, which is refused");
    let origin = Origin::parse(wish)
        .ok_or_else(|| refused(format!("{talks}: that is no origin (https://HOST or https://HOST:PORT)")))?;
    let wish = Wish::Origin { origin: origin.to_string() };
    let names = Origin::named_by(&location.text);
    let is_it = |text: &str| Origin::parse(text.trim().trim_end_matches('/')).as_ref() == Some(&origin);
    let named = names.as_ref() == Some(&origin) || is_approved(options, is_it);
    if !named && !bundled && origin.is_never_reached() {
        return Err(refused(format!("{talks}: such addresses keep no chunks")));
    }
    if !origin.is_secure() && !origin.is_local() && !plain_http {
        return Err(refused(format!(
            "{origin} is not encrypted on its way, and leaves this computer; use https:, or allow it by --plain-http"
        )));
    }
    if named || *bundled {
        if !named {
            tracing::debug!(target: "obnam::http", "plugin {plugin} talks to {origin}, which follows from the location");
        }
        return Ok((wish, Grant::Origin(OriginGrant { origin, named }), None));
    }
    let names = names.map_or_else(|| "names no host".into(), |names| format!("names {names} only"));
    let refusal = refused(format!("{talks}: the location {names}"));
    // A yes to an address is one to this address; a yes to a name is none to whatever private address it may have, unless
    // the user wrote that name himself.
    let written = options.iter().any(|(_, value)| Origin::named_by(value).as_ref() == Some(&origin));
    let named = written || origin.is_address() || origin.is_local();
    Ok((wish, Grant::Origin(OriginGrant { origin, named }), Some(refusal)))
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
        if self.approved && path != Path::new(&self.path) {
            return Err(
                self.refused(&format!("a symbolic link leads it to {}, which you have not approved", path.display()))
            );
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

    /// What is granted when nothing is approved.
    fn decided(asking: &Asking<'_>, wishes: contract::Grants) -> Result<Grants, StoreError> {
        weigh(asking, wishes)?.grant(&[])
    }

    #[test]
    fn only_the_named_directory_is_granted() {
        let named = at("file", "/srv/backup");
        let decide = |path: &str| decided(&asking(&named, true), wish(path));
        assert!(decide("/srv/backup").is_ok());
        assert!(decide("/srv/backup/chunks").is_ok());
        for path in ["/etc", "/srv", "/srv/backup2", "/srv/backup/../x", "srv/backup", "/srv/backup/./x", "", "/"] {
            let error = decide(path).unwrap_err();
            assert_eq!(error.kind, StoreErrorKind::Denied, "{path}");
            assert!(error.message.contains(&format!("{path:?}")), "{error}");
        }
        let none = at("mem", "mem:/etc");
        assert!(decided(&asking(&none, true), wish("/etc")).unwrap_err().message.contains("names no directory"));
    }

    #[test]
    fn only_the_named_origin_is_granted() {
        let decide = |location: &str, origin: &str, bundled, plain_http| {
            let location = at("s3", location);
            let wishes = contract::Grants { directories: Vec::new(), origins: vec![origin.into()] };
            let asking = Asking { plain_http, ..asking(&location, bundled) };
            decided(&asking, wishes).map(|mut grants| grants.origins.remove(0)).map_err(|error| error.message)
        };
        let named = "s3:https://s3.example.org/bucket";
        let granted = decide(named, "https://s3.example.org:443", false, false).unwrap();
        assert!(granted.named && granted.origin.to_string() == "https://s3.example.org");
        for other in ["https://s3.example.org:444", "https://example.org", "https://evil.org"] {
            let error = decide(named, other, false, false).unwrap_err();
            assert!(error.contains(&format!("{other:?}")), "{error}");
            assert!(error.contains("names https://s3.example.org only"), "{error}");
        }
        assert!(decide(named, "http://s3.example.org", false, false).unwrap_err().contains("--plain-http"));
        assert!(decide("s3://bucket", "https://evil.org", false, false).unwrap_err().contains("names no host"));
        assert!(decide(named, "https://s3.example.org/", false, false).unwrap_err().contains("no origin"));
        // What a bundled plugin makes of the location counts, but is not named.
        assert!(!decide("s3://bucket", "https://s3.amazonaws.com", true, false).unwrap().named);
        // One option names origins as well as the location does, and no other one.
        let location = at("https", "https://server.example/alice");
        let options = [("data-host".to_owned(), "https://a.example, https://s3.example.org/".to_owned())];
        let decide_with = |origin: &str| {
            let wishes = contract::Grants { directories: Vec::new(), origins: vec![origin.into()] };
            decided(&Asking { options: &options, ..asking(&location, false) }, wishes)
        };
        assert!(decide_with("https://s3.example.org").unwrap().origins[0].named);
        assert!(decide_with("https://s3.example.com").is_err());
        let options = [("endpoint".to_owned(), "https://s3.example.org".to_owned())];
        let wishes = contract::Grants { directories: Vec::new(), origins: vec!["https://s3.example.org".into()] };
        assert!(decided(&Asking { options: &options, ..asking(&location, false) }, wishes).is_err());
        // Unencrypted only on this computer.
        let plain = "s3:http://s3.example.org/bucket";
        let error = decide(plain, "http://s3.example.org", true, false).unwrap_err();
        assert!(error.contains("--plain-http"), "{error}");
        assert!(decide(plain, "http://s3.example.org", true, true).is_ok());
        assert!(decide("s3:http://127.0.0.1:3900/b", "http://127.0.0.1:3900", false, false).is_ok());
    }

    #[test]
    fn what_is_approved_is_granted_and_nothing_else() {
        let location = at("dav", "dav:me");
        let options = [("server".to_owned(), "https://nas.lan/dav".to_owned())];
        let foreign = Asking { options: &options, ..asking(&location, false) };
        let origins = |origins: &[&str]| contract::Grants {
            directories: Vec::new(),
            origins: origins.iter().map(|&origin| origin.to_owned()).collect(),
        };
        let named = |origin: &str| {
            let weighed = weigh(&foreign, origins(&[origin])).unwrap();
            assert!(weighed.named().is_empty());
            let approved: Vec<Wish> = weighed.beyond().cloned().collect();
            assert_eq!(approved, [Wish::Origin { origin: origin.into() }]);
            weighed.grant(&approved).unwrap().origins.remove(0).named
        };
        // Private addresses only where they, or the name, were written by the user.
        assert!(!named("https://cdn.example"));
        assert!(named("https://nas.lan") && named("https://10.0.0.1") && named("http://localhost:9000"));
        for never in ["http://169.254.169.254", "https://[fe80::1]", "http://example.org", "nonsense"] {
            assert_eq!(weigh(&foreign, origins(&[never])).unwrap_err().kind, StoreErrorKind::Denied, "{never}");
        }
        let some = [Wish::Origin { origin: "https://a".into() }];
        assert!(weigh(&foreign, origins(&["https://a"])).unwrap().grant(&some).is_ok());
        let other = weigh(&foreign, origins(&["https://a", "https://b"])).unwrap().grant(&some).unwrap_err();
        assert!(other.message.contains("\"https://b\""), "{other}");
        let many: Vec<String> = (0..=MOST).map(|number| format!("https://h{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(weigh(&foreign, origins(&many[..MOST])).is_ok() && weigh(&foreign, origins(&many)).is_err());
        // Nobody is asked about a bundled plugin, nor about what is no directory.
        assert!(weigh(&asking(&location, true), wish("/etc")).is_err());
        for path in ["/", "etc", "/etc/../x", ""] {
            assert!(weigh(&foreign, wish(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn approved_directories_are_reached_without_links() {
        let top = tempfile::tempdir().unwrap();
        let top = top.path().canonicalize().unwrap();
        std::fs::create_dir(top.join("real")).unwrap();
        std::os::unix::fs::symlink("real", top.join("link")).unwrap();
        let location = at("dav", "dav:me");
        let directory = |name: &str| {
            let path = top.join(name).to_str().unwrap().to_owned();
            let approved = [Wish::Directory { path: path.clone(), read_only: false }];
            weigh(&asking(&location, false), wish(&path)).unwrap().grant(&approved).unwrap().directories.remove(0)
        };
        assert!(directory("real").real_path().is_ok());
        let error = directory("link").real_path().unwrap_err();
        assert!(error.message.contains("a symbolic link leads it to"), "{error}");
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
            let grants = decided(&asking(&location, true), wish(path.to_str().unwrap())).unwrap();
            grants.directories[0].real_path()
        };
        assert!(directory(named.join("sub")).is_ok());
        assert!(directory(named.join("link")).unwrap_err().message.contains("outside"));
        assert_eq!(directory(named.join("absent")).unwrap_err().kind, StoreErrorKind::NotInitialised);
    }
}

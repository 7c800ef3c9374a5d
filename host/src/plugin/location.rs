//! Locations: which plugin serves them, and paths made absolute.

use std::path::{Component, Path, PathBuf};

use crate::store::{StoreError, StoreErrorKind};

/// The bundled plugins by scheme.
const BUNDLED: [(&str, &str); 4] =
    [("file", "local"), ("s3", "s3-direct"), ("https", "presign-client"), ("http", "presign-client")];

/// A location taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    /// The scheme; `file` for a path.
    pub(super) scheme: String,
    /// What the plugin is given: an absolute path, or the location as the user wrote it.
    pub(super) text: String,
}

/// The scheme in front of the first colon, if there is one: a letter, then letters, digits, `+`, `-` and `.`, at least
/// two characters.
fn scheme(location: &str) -> Option<&str> {
    let (scheme, _) = location.split_once(':')?;
    let ok = scheme.len() > 1
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    ok.then_some(scheme)
}

/// The bundled plugin for a location: by its scheme; a path without a scheme is a directory. `None` when no bundled
/// plugin serves the scheme.
pub fn bundled_for(location: &str) -> Option<&'static str> {
    let scheme = scheme(location).unwrap_or("file").to_ascii_lowercase();
    BUNDLED.iter().find(|(known, _)| *known == scheme).map(|(_, plugin)| *plugin)
}

/// Like [`bundled_for`], with an error that lists the known schemes.
pub fn require_bundled_for(location: &str) -> Result<&'static str, StoreError> {
    bundled_for(location).ok_or_else(|| {
        let known: Vec<String> = BUNDLED.iter().map(|(scheme, _)| format!("{scheme}:")).collect();
        invalid(format!(
            "no bundled plugin serves {:?} locations; known are paths and {}. Other plugins are given by --backend FILE",
            format!("{}:", scheme(location).unwrap_or_default()),
            known.join(", ")
        ))
    })
}

/// Takes a location apart for a plugin that serves these schemes.
pub(super) fn parse(location: &str, plugin: &str, schemes: &[String]) -> Result<Location, StoreError> {
    let serves = |scheme: &str| schemes.iter().any(|known| known.eq_ignore_ascii_case(scheme));
    let found = scheme(location).map(str::to_ascii_lowercase);
    let path = match found.as_deref() {
        None => location,
        Some("file") => {
            let path = &location["file:".len()..];
            path.strip_prefix("//").unwrap_or(path)
        }
        Some(scheme) if serves(scheme) => {
            return Ok(Location { scheme: scheme.to_owned(), text: location.to_owned() });
        }
        Some(scheme) => {
            return Err(invalid(format!(
                "plugin {plugin} does not serve {scheme}: locations; it serves {}",
                schemes.join(", ")
            )));
        }
    };
    if !serves("file") {
        return Err(invalid(format!(
            "plugin {plugin} does not serve directories; its locations begin with {}:",
            schemes.join(": or ")
        )));
    }
    if path.is_empty() || path.contains('\0') {
        return Err(invalid(format!("{location:?} names no directory")));
    }
    let absolute = absolute(Path::new(path))?;
    let text = absolute.to_str().map(str::to_owned);
    let text = text.ok_or_else(|| invalid(format!("the path {} is not UTF-8", absolute.display())))?;
    Ok(Location { scheme: "file".into(), text })
}

/// The path from the root on, without `.` and `..`; symbolic links before a `..` are followed where they exist.
fn absolute(path: &Path) -> Result<PathBuf, StoreError> {
    let here = std::env::current_dir().map_err(|error| {
        invalid(format!("{} cannot be made absolute, the current directory is unknown: {error}", path.display()))
    });
    let whole = if path.is_absolute() { path.to_owned() } else { here?.join(path) };
    let mut clean = PathBuf::new();
    for component in whole.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                clean = clean.canonicalize().unwrap_or(clean);
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    Ok(clean)
}

fn invalid(message: String) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, message)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn schemes_choose_bundled_plugins() {
        for local in ["/srv/backup", "backup", "./a:b", "file:/srv", "FILE:///srv", "c:x", "a b:c"] {
            assert_eq!(bundled_for(local), Some("local"), "{local}");
        }
        assert_eq!(bundled_for("s4://bucket"), None);
        let error = require_bundled_for("s4://bucket").unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Invalid);
        assert!(error.message.contains("\"s4:\"") && error.message.contains("file:"), "{error}");
    }

    #[test]
    fn paths_become_absolute() {
        let file = ["file".to_owned()];
        let text = |location: &str| parse(location, "local", &file).unwrap().text;
        let here = std::env::current_dir().unwrap();
        assert_eq!(text("/srv/backup"), "/srv/backup");
        assert_eq!(text("file:///srv/./backup/"), "/srv/backup");
        assert_eq!(text("file:/srv/x/../backup"), "/srv/backup");
        assert_eq!(text("a/b"), here.join("a/b").to_str().unwrap());
        assert_eq!(text("/../.."), "/");
        assert!(parse("", "local", &file).is_err());
        assert!(parse("file:", "local", &file).is_err());
        assert!(parse("mem:x", "local", &file).unwrap_err().message.contains("does not serve mem:"));
    }

    #[test]
    fn other_schemes_stay_as_they_are() {
        let mem = ["mem".to_owned()];
        let location = parse("mem:../x", "m", &mem).unwrap();
        assert_eq!((location.scheme.as_str(), location.text.as_str()), ("mem", "mem:../x"));
        assert!(parse("/srv", "m", &mem).unwrap_err().message.contains("begin with mem:"));
    }
}

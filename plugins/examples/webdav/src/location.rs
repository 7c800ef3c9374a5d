//! Where a location leads: a server, and a folder there.

use std::fmt;

use obnam_plugin::options::Misfit;
use obnam_plugin::url::{Host, encode, strip_scheme};
use percent_encoding::percent_decode_str;

/// How locations are written.
const FORM: &str = "write dav:https://HOST[:PORT]/FOLDER, with the address that the server says for WebDAV";

/// A folder of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The server.
    pub host: Host,
    /// The names of the folders on the way, from the root on, decoded.
    folders: Vec<String>,
}

impl Place {
    /// Parses `dav:https://HOST[:PORT]/FOLDER`; the folder may have percent-encoded characters, as in other URLs.
    pub fn parse(location: &str) -> Result<Self, Misfit> {
        let rest = strip_scheme(location, "dav:").ok_or_else(|| Misfit(format!("{location:?}: {FORM}")))?;
        let authority = rest.split("://").nth(1).unwrap_or(rest).split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(Misfit(
                "user name and password do not stand in a location, where logs and recovery sheets would show them; give \
                 them with -o user=NAME and in OBNAM_PLUGIN_WEBDAV_PASSWORD"
                    .into(),
            ));
        }
        let misfit = |why: String| Misfit(format!("{location:?} is no location of this plugin: {why}"));
        if let Some(odd) = location.chars().find(|c| c.is_whitespace() || c.is_control() || "?#\\".contains(*c)) {
            return Err(misfit(format!("it contains {odd:?}, which is written %{:02X} there; {FORM}", u32::from(odd))));
        }
        let (host, path) = Host::of_url(rest).map_err(|why| misfit(format!("{why}; {FORM}")))?;
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        let names = path.split('/').filter(|_| !path.is_empty());
        let folders = names.map(|name| decode(name).ok_or_else(|| misfit(format!("{name:?} cannot be a folder"))));
        Ok(Place { host, folders: folders.collect::<Result<_, _>>()? })
    }

    /// The percent-encoded path of something in the folder; of the folder itself for an empty name. Those of folders end in a
    /// slash.
    pub fn path(&self, name: &str) -> String {
        let mut path: String = self.folders.iter().map(|folder| format!("/{}", encode(folder))).collect();
        path.push('/');
        path.push_str(&name.split('/').map(encode).collect::<Vec<_>>().join("/"));
        path
    }

    /// Which thing in a folder the server means by a `href`, which is a path or a URL: the name of a direct child, `None` for
    /// the folder itself. Anything else is an error.
    pub fn child(&self, folder: &str, href: &str) -> Result<Option<String>, String> {
        let path = match href.split_once("://") {
            Some((_, rest)) => &rest[rest.find('/').unwrap_or(rest.len())..],
            None => href,
        };
        let names =
            |path: &str| path.split('/').filter(|name| !name.is_empty()).map(decode).collect::<Option<Vec<_>>>();
        let elsewhere = || format!("it names {href:?}, which does not lie in {}", self.path(folder));
        let (asked, got) = (names(&self.path(folder)), names(path));
        let (asked, mut got) = (asked.ok_or_else(elsewhere)?, got.ok_or_else(elsewhere)?);
        if got == asked {
            return Ok(None);
        }
        let name = got.pop();
        if got == asked { Ok(name) } else { Err(elsewhere()) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path("");
        write!(f, "{}{}", self.host, path.strip_suffix('/').unwrap_or(&path))
    }
}

/// A name in a path, decoded; `None` when it is none.
fn decode(name: &str) -> Option<String> {
    let is_hex = |code: &str| code.get(..2).is_some_and(|code| u8::from_str_radix(code, 16).is_ok());
    if !name.split('%').skip(1).all(is_hex) {
        return None;
    }
    let name = percent_decode_str(name).decode_utf8().ok()?;
    let odd = name.is_empty() || name == "." || name == ".." || name.contains(|c: char| c == '/' || c.is_control());
    (!odd).then(|| name.into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn place(location: &str) -> Place {
        Place::parse(location).unwrap()
    }

    #[test]
    fn locations() {
        let nested = place("DAV:HTTPS://Cloud.example:443/remote.php/dav/files/ann@home/My%20b%c3%bccher/");
        assert_eq!(nested.host.to_string(), "https://cloud.example");
        assert_eq!(nested.path(""), "/remote.php/dav/files/ann%40home/My%20b%C3%BCcher/");
        assert_eq!(nested.path("data/0a/"), "/remote.php/dav/files/ann%40home/My%20b%C3%BCcher/data/0a/");
        let root = place("dav:http://127.0.0.1:8080");
        assert_eq!((root.path(""), root.path("x")), ("/".into(), "/x".into()));
        assert_eq!(
            (root.to_string(), place("dav:http://h/a/").to_string()),
            ("http://127.0.0.1:8080".into(), "http://h/a".into())
        );
    }

    #[test]
    fn locations_that_make_no_sense() {
        for (location, why) in [
            ("dav:", "neither"),
            ("dav://h/a", "neither"),
            ("dav:https://", "no host"),
            ("dav:https://h:0/a", "no port"),
            ("dav:https://h/a?b", "'?'"),
            ("dav:https://h/a b", "%20"),
            ("dav:https://h/a//b", "folder"),
            ("dav:https://h/a/../b", "folder"),
            ("dav:https://h/%2e%2E/b", "folder"),
            ("dav:https://h/a%2Fb", "folder"),
            ("dav:https://h/a%", "folder"),
            ("dav:https://h/%ff", "folder"),
        ] {
            let message = Place::parse(location).unwrap_err().0;
            assert!(message.contains(why), "{location}: {message}");
        }
        let message = Place::parse("dav:https://ann:hunter2@h/a").unwrap_err().0;
        assert!(message.contains("PASSWORD") && !message.contains("hunter2"), "{message}");
    }

    #[test]
    fn names_in_answers() {
        let place = place("dav:https://h/dav/My%20backups");
        let child = |folder: &str, href: &str| place.child(folder, href);
        assert_eq!(child("", "/dav/My%20backups/"), Ok(None));
        assert_eq!(child("", "/dav/My%20backups"), Ok(None));
        assert_eq!(child("", "https://other:1/dav/My%20backups/data/"), Ok(Some("data".into())));
        assert_eq!(child("data/0a/", "/dav/My%20backups/data/0a/%30a"), Ok(Some("0a".into())));
        assert_eq!(child("", "/dav/My backups/x%20y"), Ok(Some("x y".into())));
        for elsewhere in
            ["/", "/dav", "/dav/other/data", "/dav/My%20backups/data/0a", "https://h", "/dav/My%20backups/%2e%2e"]
        {
            assert!(child("", elsewhere).is_err(), "{elsewhere}");
        }
    }
}

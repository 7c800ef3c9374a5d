//! Origins: `scheme://host:port`.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use http::uri::Scheme;

use super::address::is_allowed;

/// Where requests may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::plugin) struct Origin {
    /// Whether it is `https:`; otherwise it is `http:`.
    pub(super) secure: bool,
    /// The host: a name in lower case, or an address without brackets.
    pub(super) host: String,
    /// The port.
    pub(super) port: u16,
}

impl Origin {
    /// Reads `scheme://host` or `scheme://host:port`, without a path; `None` when it is something else.
    pub(in crate::plugin) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let plain = !text.ends_with('/') && matches!(uri.path(), "" | "/") && uri.query().is_none();
        if plain && !text.contains('#') { Self::of(&uri) } else { None }
    }

    /// The origin of a URL; `None` when it has none, or holds a user name.
    pub(in crate::plugin) fn of(uri: &Uri) -> Option<Self> {
        let secure = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return None;
        }
        // A port that is none (`host:99999`, `host:`) must not pass for the default.
        let port = match authority.as_str().strip_prefix(authority.host())? {
            "" => {
                if secure {
                    443
                } else {
                    80
                }
            }
            port => port.strip_prefix(':')?.parse().ok().filter(|&port| port != 0)?,
        };
        let host = authority.host().to_ascii_lowercase();
        let host = match bare(&host).parse::<IpAddr>() {
            Ok(address) => address.to_string(),
            Err(_) if host.starts_with('[') => return None,
            Err(_) => host,
        };
        Some(Origin { secure, host, port })
    }

    /// The origin that a location names: of the URL that it is, or that stands behind its scheme
    /// (`s3:https://host/bucket`).
    pub(in crate::plugin) fn named_by(location: &str) -> Option<Self> {
        let is_url = |text: &str| {
            ["http://", "https://"]
                .iter()
                .any(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
        };
        let url = match location.split_once(':') {
            Some((_, rest)) if is_url(rest) => rest,
            _ if is_url(location) => location,
            _ => return None,
        };
        let end = url.find("://").map_or(0, |at| at + 3);
        let end = url[end..].find(['/', '?', '#']).map_or(url.len(), |at| end + at);
        Self::of(&url[..end].parse().ok()?)
    }

    /// The address, when the host is one.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Whether it can only mean this computer.
    pub(in crate::plugin) fn is_local(&self) -> bool {
        let name = || self.host == "localhost" || self.host.ends_with(".localhost");
        self.address().map_or_else(name, |address| address.is_loopback())
    }

    /// Whether the host is an address.
    pub(in crate::plugin) fn is_address(&self) -> bool {
        self.address().is_some()
    }

    /// Whether the host is an address to which no connection is ever made.
    pub(in crate::plugin) fn is_never_reached(&self) -> bool {
        self.address().is_some_and(|address| !is_allowed(address, true))
    }

    /// Whether it is `https:`.
    pub(in crate::plugin) fn is_secure(&self) -> bool {
        self.secure
    }
}

/// A host without the brackets of an address.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        let default = if self.secure { 443 } else { 80 };
        match self.address() {
            Some(IpAddr::V6(address)) => write!(f, "{scheme}://[{address}]")?,
            _ => write!(f, "{scheme}://{}", self.host)?,
        }
        if self.port == default { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_origins_are_origins() {
        let text = |text: &str| Origin::parse(text).unwrap().to_string();
        assert_eq!(text("https://example.org"), "https://example.org");
        assert_eq!(text("https://EXAMPLE.org:443"), "https://example.org");
        assert_eq!(text("http://example.org:443"), "http://example.org:443");
        assert_eq!(text("http://[0:0::1]:3900"), "http://[::1]:3900");
        assert_eq!(text("http://127.0.0.1"), "http://127.0.0.1");
        for bad in [
            "",
            "example.org",
            "https://",
            "https://a/",
            "https://a/b",
            "https://a?b",
            "https://u@a",
            "https://u:p@a",
            "ftp://a",
            "https://a:",
            "https://a:0",
            "https://a:65536",
            "https://a:b",
            "https://[a]",
            "//a",
            "https://a#b",
        ] {
            assert_eq!(Origin::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn locations_name_origins() {
        let named = |location: &str| Origin::named_by(location).map(|origin| origin.to_string());
        assert_eq!(named("s3:https://s3.example.org:9000/bucket/p").unwrap(), "https://s3.example.org:9000");
        assert_eq!(named("HTTP://Example.org/x?y").unwrap(), "http://example.org");
        assert_eq!(named("server:http://[::1]:80").unwrap(), "http://[::1]");
        for none in ["s3://bucket/p", "/srv/https://x", "file:/srv", "a:b:https://x", "https://u:p@x/"] {
            assert_eq!(named(none), None, "{none}");
        }
    }

    #[test]
    fn this_computer() {
        for local in ["http://127.0.0.1:1", "http://localhost", "http://a.localhost:2", "http://[::1]"] {
            assert!(Origin::parse(local).unwrap().is_local(), "{local}");
        }
        for other in ["http://example.org", "http://localhost.example.org", "http://10.0.0.1", "http://notlocalhost"] {
            assert!(!Origin::parse(other).unwrap().is_local(), "{other}");
        }
    }
}

//! Addresses: hosts, paths, queries.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What is percent-encoded in a path or a query: all but the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A host that speaks HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Whether it is `https:`.
    pub tls: bool,
    /// `HOST` or `HOST:PORT`, in lower case and without the scheme's own port.
    pub authority: String,
}

impl Host {
    /// Takes `https://HOST[:PORT]` or `http://...` apart from the path behind it. The error is the rest of a sentence,
    /// about the URL.
    pub fn of_url(url: &str) -> Result<(Self, &str), String> {
        let (tls, rest) = match (strip_scheme(url, "https://"), strip_scheme(url, "http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err("it begins with neither https:// nor http://".into()),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        Ok((Host { tls, authority: normal_authority(authority, tls)? }, path))
    }

    /// Whether it is this computer.
    pub fn is_here(&self) -> bool {
        let port = self.authority.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
        let host = port.map_or(self.authority.as_str(), |(host, _)| host);
        let is_loopback = host.parse().is_ok_and(|address: std::net::Ipv4Addr| address.is_loopback());
        is_loopback || host == "localhost" || host.ends_with(".localhost") || host == "[::1]"
    }
}

impl fmt::Display for Host {
    /// As the plugin's wishes for origins have it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority)
    }
}

/// A query as it is sent.
pub fn query(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&")
}

/// A part of a path or of a query, percent-encoded.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// The rest behind a scheme, in upper or lower case.
pub fn strip_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let (front, rest) = text.split_at_checked(scheme.len())?;
    front.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// Host and port in lower case, without the port that the scheme has anyway.
pub fn normal_authority(authority: &str, tls: bool) -> Result<String, String> {
    let bracket = authority.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match authority[bracket..].rfind(':') {
        Some(colon) => (&authority[..bracket + colon], Some(&authority[bracket + colon + 1..])),
        None => (authority, None),
    };
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
            !host.is_empty() && host.bytes().all(fits) && !host.starts_with(['.', '-'])
        }
    };
    if !is_host {
        return Err(format!("{host:?} is no host name"));
    }
    let host = host.to_ascii_lowercase();
    let usual = if tls { 443 } else { 80 };
    match port.map(str::parse::<u16>) {
        None => Ok(host),
        Some(Ok(port)) if port == usual => Ok(host),
        Some(Ok(port)) if port > 0 => Ok(format!("{host}:{port}")),
        Some(_) => Err(format!("{:?} is no port", port.unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_urls() {
        let host = |url: &str| Host::of_url(url).map(|(host, path)| (host.to_string(), path.to_owned()));
        assert_eq!(host("HTTPS://Example.org:443/a?b"), Ok(("https://example.org".into(), "/a?b".into())));
        assert_eq!(host("http://[::1]:8080"), Ok(("http://[::1]:8080".into(), String::new())));
        assert_eq!(host("http://h?x"), Ok(("http://h".into(), "?x".into())));
        for bad in ["ftp://h", "https://", "https://u@h", "https://h:0", "https://h:", "https://[x]", "h"] {
            assert!(host(bad).is_err(), "{bad}");
        }
        let here = |url: &str| Host::of_url(url).is_ok_and(|(host, _)| host.is_here());
        assert!(here("http://127.0.0.1:1") && here("http://a.localhost") && here("http://[::1]:2"));
        assert!(!here("http://10.0.0.1") && !here("http://localhost.example.org"));
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(query(&[("list-type", "2"), ("prefix", "a b/ü")]), "list-type=2&prefix=a%20b%2F%C3%BC");
    }
}

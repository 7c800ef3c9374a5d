//! Signed URLs, and the requests that they are good for.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use obnam_plugin::Error;
use obnam_plugin::http::{self, Answer, Body, Method, Request};
use obnam_plugin::url::Host;
use obnam_plugin::wasi::clocks::monotonic_clock;
use serde::Deserialize;

use crate::api::Said;
use crate::settings::{DATA_HOST, Settings};

/// How long before its end a URL is not used any more: the way to the store takes time.
const MARGIN: Duration = Duration::from_secs(20);

/// How many URLs are kept.
const KEPT: usize = 64;

/// One request that may be made, as the server says it.
#[derive(Deserialize)]
pub struct Access {
    url: String,
    method: String,
    headers: BTreeMap<String, String>,
    expires: u64,
}

/// A signed request to a host that the user approved.
pub struct Granted {
    /// Whom it goes to.
    pub host: Host,
    target: String,
    method: Method,
    headers: Vec<(String, String)>,
    /// Until when it is good, by this computer's steady clock, in nanoseconds.
    until: u64,
}

impl Granted {
    /// Looks whether the server's answer is one for this method, and leads to where the user wants to go.
    pub fn new(settings: &Settings, said: Said<Access>, method: Method, doing: &str) -> Result<Self, Error> {
        let Said { what: Access { url, method: named, headers, expires }, at } = said;
        if named != method.name() {
            let why = format!("the server answers with access to {named}, not to {}", method.name());
            return Err(Error::Other(format!("could not {doing}: {why}")));
        }
        let (host, target) = if url.starts_with('/') {
            (settings.place.host.clone(), format!("{}{url}", settings.place.base))
        } else {
            let (host, target) = Host::of_url(&url)
                .map_err(|why| Error::Other(format!("could not {doing}: the server answers with an odd URL: {why}")))?;
            approve(settings, &host, doing)?;
            (host, target.to_owned())
        };
        // The length follows from the body; nothing of it may contradict that.
        let headers = headers.into_iter().filter(|(name, _)| !name.eq_ignore_ascii_case("content-length")).collect();
        let lifetime = Duration::from_secs(expires.saturating_sub(at)).saturating_sub(MARGIN);
        let lifetime = u64::try_from(lifetime.as_nanos()).unwrap_or(u64::MAX);
        Ok(Granted { host, target, method, headers, until: monotonic_clock::now().saturating_add(lifetime) })
    }

    /// Makes the request, with a header of our own.
    pub fn send(&self, body: Body, own: Option<(&str, &str)>, doing: &str) -> Result<Answer, Error> {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let headers: Vec<_> = headers.chain(own).collect();
        let Granted { host, target, method, .. } = self;
        http::send(&Request { host, method: *method, target, headers: &headers, body }, doing)
    }

    fn is_good(&self) -> bool {
        monotonic_clock::now() < self.until
    }
}

/// Fails unless chunks may be moved there.
pub fn approve(settings: &Settings, host: &Host, doing: &str) -> Result<(), Error> {
    if *host == settings.place.host || settings.data_hosts.contains(host) {
        return Ok(());
    }
    // Obnam refuses it, and learns whom to ask the user about.
    let _ = http::send(&Request { host, method: Method::Head, target: "/", headers: &[], body: Body::Nothing }, doing);
    let known = settings.data_hosts.iter().map(|known| format!("{known},")).collect::<String>();
    Err(Error::Denied(format!(
        "could not {doing}: the server {} wants chunks to be moved to and from {host}, which you have not approved; if that \
         is right, give -o {DATA_HOST}={known}{host}",
        settings.place.host
    )))
}

/// URLs to read that can be used again: for other parts of the same chunk.
#[derive(Default)]
pub struct Kept(HashMap<String, Granted>);

impl Kept {
    /// The URL for a chunk, if it is still good.
    pub fn find(&mut self, chunk: &str) -> Option<&Granted> {
        self.0.get(chunk).filter(|granted| granted.is_good())
    }

    /// Keeps a URL, and forgets others where there are too many.
    pub fn keep(&mut self, chunk: String, granted: Granted) {
        if self.0.len() >= KEPT {
            self.0.retain(|_, granted| granted.is_good());
        }
        if self.0.len() >= KEPT {
            self.0.clear();
        }
        self.0.insert(chunk, granted);
    }

    /// Forgets the URL for a chunk.
    pub fn forget(&mut self, chunk: &str) {
        self.0.remove(chunk);
    }
}

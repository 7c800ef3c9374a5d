//! How the network is used: what the options and a profile say about it.

use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::Args;

use super::select::parse_size;
use super::{Failure, Global};
use crate::plugin::{self, HttpSettings};

/// How many calls of a store are in flight, unless the user says it: for directories, behind obnam-server (where half of a
/// call's time can be the wait for a signed URL), and for the network otherwise.
const DIRECTORY_CONNECTIONS: u16 = 4;
const SERVER_CONNECTIONS: u16 = 12;
const NETWORK_CONNECTIONS: u16 = 8;
/// The most that can be asked for.
pub const MOST_CONNECTIONS: u16 = 256;
/// The slowest limit, in bytes a second: with less, eight connections would take turns that are too long.
const SLOWEST: u64 = 1024;

/// Options of all commands that are about the network.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Options of all commands")]
pub struct NetworkArguments {
    /// Trust the certificate authorities in this PEM file too, besides those of the system
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub ca_file: Option<PathBuf>,
    /// Let http: locations leave this computer, readable for everybody on the way but for what is encrypted anyway
    #[arg(long, global = true, hide_short_help = true)]
    pub plain_http: bool,
    /// Reach the store through this HTTP proxy; none is used otherwise
    #[arg(long, global = true, value_name = "http://[USER:PASSWORD@]HOST[:PORT]", hide_short_help = true)]
    pub proxy: Option<String>,
    /// How many calls of the store are in flight, and connections to each host open, at most [default: 4 for directories, 12 behind obnam-server, else 8]
    #[arg(long, global = true, value_name = "N", hide_short_help = true)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST_CONNECTIONS)))]
    pub connections: Option<u16>,
    /// Send at most so many bytes a second, such as 500K or 2M
    #[arg(long, global = true, value_name = "RATE", hide_short_help = true)]
    pub limit_upload: Option<String>,
    /// Receive at most so many bytes a second
    #[arg(long, global = true, value_name = "RATE", hide_short_help = true)]
    pub limit_download: Option<String>,
}

impl Global {
    /// How plugins reach the network.
    pub fn http_settings(&self) -> Result<HttpSettings, Failure> {
        let network = &self.network;
        let rate = |option: &str, text: &Option<String>| {
            let rate = text.as_deref().map(parse_rate).transpose();
            rate.map_err(|error| Failure::Input(format!("{option}: {error}")))
        };
        Ok(HttpSettings {
            ca_file: network.ca_file.clone(),
            plain_http: network.plain_http,
            proxy: network.proxy.clone(),
            limit_upload: rate("--limit-upload", &network.limit_upload)?,
            limit_download: rate("--limit-download", &network.limit_download)?,
            ..HttpSettings::default()
        })
    }

    /// How many calls of the store are in flight at most.
    pub fn connections(&self) -> u16 {
        let usual = match self.repo.as_deref().and_then(plugin::bundled_for) {
            Some("local") => DIRECTORY_CONNECTIONS,
            Some("presign-client") => SERVER_CONNECTIONS,
            _ => NETWORK_CONNECTIONS,
        };
        self.network.connections.unwrap_or(usual)
    }
}

/// A number of bytes a second, written as a size.
pub fn parse_rate(text: &str) -> Result<NonZeroU64, Failure> {
    let number = text.trim().strip_suffix("/s").unwrap_or(text.trim());
    let rate = parse_size(number)?;
    NonZeroU64::new(rate).filter(|rate| rate.get() >= SLOWEST).ok_or_else(|| {
        Failure::Input(format!("{text:?} is too slow for anything; allow at least 1K, or leave the limit out"))
    })
}

/// A proxy without its password, for people.
pub fn shown_proxy(proxy: &str) -> String {
    let start = proxy.find("://").map_or(0, |at| at + 3);
    match proxy[start..].rfind('@') {
        Some(at) => format!("{}(not shown)@{}", &proxy[..start], &proxy[start + at + 1..]),
        None => proxy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        for (text, rate) in [("1024", 1024), ("500K", 500 << 10), ("2M", 2 << 20), ("1.5MiB/s", 3 << 19)] {
            assert_eq!(parse_rate(text).map(NonZeroU64::get).ok(), Some(rate), "{text}");
        }
        for bad in ["", "0", "1023", "fast", "-1M", "/s", "1M/h"] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn passwords_of_proxies_are_not_shown() {
        assert_eq!(shown_proxy("http://ann:pass@word@proxy:3128"), "http://(not shown)@proxy:3128");
        assert_eq!(shown_proxy("http://proxy:3128"), "http://proxy:3128");
    }
}

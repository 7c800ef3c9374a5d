//! Signs URLs for the server's own data endpoint: `/v1/TENANT/data/LABEL/ID?size=…&expires=…&signature=…`.
//!
//! A URL is signed for one method and one chunk, and one to store for the chunk's length. The key is random and kept in
//! the database, so that servers that share it accept each other's URLs.

use std::collections::BTreeMap;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::access::Access;
use crate::store::ChunkName;
use crate::tenant::TenantName;

/// What an URL is signed for.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// `GET` or `PUT`.
    pub method: &'a str,
    /// Whose chunk.
    pub tenant: &'a TenantName,
    /// Which chunk.
    pub name: &'a ChunkName,
    /// How long it is, for a PUT.
    pub size: Option<u64>,
    /// Until when, in seconds since 1970.
    pub expires: u64,
}

/// Signs, and recognises what was signed.
pub struct DataUrls {
    mac: Hmac<Sha256>,
    lifetime: Duration,
}

impl DataUrls {
    /// With a key of random bytes, as many as a block of SHA-256 has.
    pub fn new(key: &[u8; 64], lifetime: Duration) -> Self {
        DataUrls { mac: KeyInit::new(key.into()), lifetime }
    }

    /// To read a chunk.
    pub fn get(&self, tenant: &TenantName, name: &ChunkName) -> Access {
        let terms = Terms { method: "GET", tenant, name, size: None, expires: self.end() };
        Access { url: self.url(&terms), method: "GET", headers: BTreeMap::new(), expires: terms.expires }
    }

    /// To store a chunk of this size.
    pub fn put(&self, tenant: &TenantName, name: &ChunkName, size: u64) -> Access {
        let terms = Terms { method: "PUT", tenant, name, size: Some(size), expires: self.end() };
        let headers = BTreeMap::from([("content-length", size.to_string())]);
        Access { url: self.url(&terms), method: "PUT", headers, expires: terms.expires }
    }

    /// Whether this is the signature for these terms. Takes the same time whatever is wrong with it.
    pub fn is_signed(&self, terms: &Terms<'_>, signature: &str) -> bool {
        let mut bytes = [0; 32];
        hex::decode_to_slice(signature, &mut bytes).is_ok() && self.mac_of(terms).verify_slice(&bytes).is_ok()
    }

    fn end(&self) -> u64 {
        crate::now() + self.lifetime.as_secs()
    }

    /// The URL for these terms, relative to the server.
    fn url(&self, terms: &Terms<'_>) -> String {
        let Terms { tenant, name, expires, .. } = terms;
        let size = terms.size.map_or_else(String::new, |size| format!("size={size}&"));
        let signature = hex::encode(self.mac_of(terms).finalize().into_bytes());
        format!("/v1/{tenant}/data/{name}?{size}expires={expires}&signature={signature}")
    }

    fn mac_of(&self, terms: &Terms<'_>) -> Hmac<Sha256> {
        let Terms { method, tenant, name, size, expires } = terms;
        let size = size.map_or_else(|| "-".to_owned(), |size| size.to_string());
        // None of the parts can hold a line break, so no two terms have one text.
        let text = format!("obnam-server data URL, version 1\n{method}\n{tenant}\n{name}\n{size}\n{expires}\n");
        self.mac.clone().chain_update(text)
    }
}

#[cfg(test)]
mod tests {
    use obnam_chunk::ChunkId;

    use super::*;

    #[test]
    fn a_signature_is_for_its_terms_only() {
        let urls = DataUrls::new(&[7; 64], Duration::from_secs(900));
        let (alice, bob): (TenantName, TenantName) = ("alice".parse().expect("a name"), "bob".parse().expect("a name"));
        let name = |label: &str| ChunkName { label: label.parse().expect("a label"), id: ChunkId::of(b"x") };
        let (data, tree) = (name("data"), name("tree"));
        let access = urls.put(&alice, &data, 5);
        assert!(access.url.starts_with(&format!("/v1/alice/data/data/{}?size=5&expires=", ChunkId::of(b"x"))));
        assert_eq!(access.headers["content-length"], "5");
        let signature = access.url.split("signature=").nth(1).expect("a signature");
        let right = Terms { method: "PUT", tenant: &alice, name: &data, size: Some(5), expires: access.expires };
        assert!(urls.is_signed(&right, signature));
        for wrong in [
            Terms { method: "GET", ..right },
            Terms { tenant: &bob, ..right },
            Terms { name: &tree, ..right },
            Terms { size: Some(6), ..right },
            Terms { size: None, ..right },
            Terms { expires: access.expires + 1, ..right },
        ] {
            assert!(!urls.is_signed(&wrong, signature), "{wrong:?}");
        }
        for wrong in ["", "00", &signature[2..], &format!("{signature}00"), &"0".repeat(64), "é"] {
            assert!(!urls.is_signed(&right, wrong), "{wrong}");
        }
        assert!(!DataUrls::new(&[8; 64], Duration::from_secs(900)).is_signed(&right, signature));
    }
}

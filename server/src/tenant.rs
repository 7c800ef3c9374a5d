//! The names of tenants.

use std::fmt;
use std::str::FromStr;

/// A text that names no tenant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot name a tenant: names are 1 to 63 characters from a-z, 0-9 and '-', and begin with a letter or digit"
)]
pub struct TenantNameError(String);

/// The name of a tenant: `[a-z0-9][a-z0-9-]{0,62}`. It is a part of the keys in the store and of the paths of the API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantName(String);

impl TenantName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantName {
    type Err = TenantNameError;

    fn from_str(text: &str) -> Result<Self, TenantNameError> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = text.as_bytes();
        let ok = (1..=63).contains(&bytes.len()) && fits(bytes[0]) && bytes.iter().all(|&b| fits(b) || b == b'-');
        if ok { Ok(TenantName(text.to_owned())) } else { Err(TenantNameError(text.to_owned())) }
    }
}

impl fmt::Display for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "0", "alice", "team-2", &"x".repeat(63)] {
            assert_eq!(good.parse::<TenantName>().map(|name| name.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "-a", "A", "a/b", "a.b", "..", ".", "a b", "ä", "a\0", &"x".repeat(64)] {
            assert!(bad.parse::<TenantName>().is_err(), "{bad}");
        }
    }
}

//! Where a location leads: a server, and a tenant there.

use obnam_plugin::url::Host;

use crate::settings::Misfit;

/// How locations are written.
const FORM: &str = "write https://SERVER[:PORT]/TENANT";

/// A tenant of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The server.
    pub host: Host,
    /// The path in front of the API, where the server stands behind a proxy: empty, or `/a/b`.
    pub base: String,
    /// Whose chunks.
    pub tenant: String,
}

impl Place {
    /// Parses `https://SERVER[:PORT][/BASE]/TENANT`.
    pub fn parse(location: &str) -> Result<Self, Misfit> {
        let shown = location.rsplit_once('@').map_or(location, |(_, behind)| behind);
        let misfit = |why: &str| Misfit(format!("{shown:?} is no location of this plugin: {why}"));
        if location.contains('@') {
            return Err(misfit(
                "a token does not stand in a location, where logs and recovery sheets would show it; give it in \
                 OBNAM_SERVER_TOKEN",
            ));
        }
        if let Some(odd) = location.chars().find(|c| c.is_whitespace() || c.is_control() || "?#%\\".contains(*c)) {
            return Err(misfit(&format!("it contains {odd:?}; {FORM}")));
        }
        let (host, path) = Host::of_url(location).map_err(|why| misfit(&format!("{why}; {FORM}")))?;
        let path = path.strip_suffix('/').unwrap_or(path);
        let (base, tenant) = path.rsplit_once('/').filter(|(_, tenant)| !tenant.is_empty()).ok_or_else(|| {
            misfit(&format!("it names no tenant; {FORM}, with the name that 'obnam-server tenant create' was given"))
        })?;
        if !is_tenant(tenant) {
            return Err(misfit(&format!(
                "{tenant:?} cannot be the name of a tenant: those have 1 to 63 lower-case letters, digits and hyphens"
            )));
        }
        if base.split('/').skip(1).any(|part| matches!(part, "" | "." | "..")) {
            return Err(misfit(&format!("its path is odd; {FORM}")));
        }
        Ok(Place { host, base: base.to_owned(), tenant: tenant.to_owned() })
    }

    /// The path of a call of the API; `rest` begins with a slash.
    pub fn path(&self, rest: &str) -> String {
        format!("{}/v1/{}{rest}", self.base, self.tenant)
    }

    /// The place in words.
    pub fn describe(&self) -> String {
        format!("tenant {} of the server {}{}", self.tenant, self.host, self.base)
    }
}

fn is_tenant(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=63).contains(&name.len()) && fits(name.as_bytes()[0]) && name.bytes().all(|b| fits(b) || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_tenants() {
        let place = |location: &str| Place::parse(location).unwrap_or_else(|misfit| panic!("{misfit}"));
        let alice = place("HTTPS://Backup.example:443/alice/");
        assert_eq!((alice.host.to_string().as_str(), alice.tenant.as_str()), ("https://backup.example", "alice"));
        assert_eq!(alice.path("/self"), "/v1/alice/self");
        assert_eq!(place("http://[::1]:8080/a/b/bob-2").path("/chunk"), "/a/b/v1/bob-2/chunk");
    }

    #[test]
    fn locations_that_make_no_sense() {
        for (location, why) in [
            ("https://h", "no tenant"),
            ("https://h/", "no tenant"),
            ("https://h//", "no tenant"),
            ("https:h/a", "https://SERVER"),
            ("ftp://h/a", "https://SERVER"),
            ("https://h:0/a", "no port"),
            ("https://h/A", "name of a tenant"),
            ("https://h/a_b", "name of a tenant"),
            ("https://h/../a", "odd"),
            ("https://h//a", "odd"),
            ("https://h/a?b", "'?'"),
            ("https:///a", "no host name"),
        ] {
            let message = Place::parse(location).err().map(|misfit| misfit.0).unwrap_or_default();
            assert!(message.contains(why), "{location}: {message}");
        }
        let message = Place::parse("https://hunter2@h/a").err().map(|misfit| misfit.0).unwrap_or_default();
        assert!(message.contains("OBNAM_SERVER_TOKEN") && !message.contains("hunter2"), "{message}");
    }
}

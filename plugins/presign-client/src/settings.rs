//! What the location and the options say.

use obnam_plugin::OPENED;
pub use obnam_plugin::options::Misfit;
use obnam_plugin::options::Options;
use obnam_plugin::url::Host;

use crate::location::Place;

/// The names of the options.
pub const OPTIONS: [&str; 4] = ["token", "bootstrap-token", DATA_HOST, OPENED];

/// The option that names where chunks may be moved.
pub const DATA_HOST: &str = "data-host";

/// A parsed location with its options.
pub struct Settings {
    /// The server and the tenant.
    pub place: Place,
    /// What the server knows the user by; none when the user gave none.
    pub token: Option<String>,
    /// Whether that is the bootstrap token.
    pub is_bootstrap: bool,
    /// The hosts that the user approved beside the server.
    pub data_hosts: Vec<Host>,
    /// Whether another instance has opened this store before.
    pub opened: bool,
}

impl Settings {
    /// Parses a location and the options of `describe`.
    pub fn parse(location: &str, options: &[(String, String)]) -> Result<Self, Misfit> {
        let options = Options::new(options, &OPTIONS)?;
        let token = options.value("token").or(options.value("bootstrap-token"));
        if token.is_some_and(|token| !token.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(Misfit(
                "the token contains a space, a line break or another character that no token has; was it copied whole?"
                    .into(),
            ));
        }
        Ok(Settings {
            place: Place::parse(location)?,
            token: token.map(str::to_owned),
            is_bootstrap: options.value("token").is_none(),
            data_hosts: data_hosts(options.value(DATA_HOST).unwrap_or_default())?,
            opened: options.yes(OPENED, false)?,
        })
    }
}

/// Parses `https://HOST[:PORT],...`.
fn data_hosts(text: &str) -> Result<Vec<Host>, Misfit> {
    let parse = |text: &str| {
        let wrong = |why: &str| Misfit(format!("option {DATA_HOST}: {text:?} is no host: {why}; write https://HOST"));
        match Host::of_url(text) {
            Ok((host, "" | "/")) => Ok(host),
            Ok(_) => Err(wrong("it has a path")),
            Err(why) => Err(wrong(&why)),
        }
    };
    text.split(',').map(str::trim).filter(|text| !text.is_empty()).map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[(&str, &str)]) -> Result<Settings, String> {
        let options: Vec<_> = options.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Settings::parse("https://h/alice", &options).map_err(|misfit| misfit.0)
    }

    #[test]
    fn the_token_comes_before_the_bootstrap_token() {
        let token = |options: &[(&str, &str)]| parse(options).map(|settings| (settings.token, settings.is_bootstrap));
        assert_eq!(token(&[("bootstrap-token", "b"), ("token", "t")]), Ok((Some("t".into()), false)));
        assert_eq!(token(&[("bootstrap-token", "b"), ("token", "")]), Ok((Some("b".into()), true)));
        assert_eq!(token(&[]), Ok((None, true)));
        let pasted = token(&[("token", "hunter2\n")]).err().unwrap_or_default();
        assert!(pasted.contains("copied") && !pasted.contains("hunter2"), "{pasted}");
        assert!(parse(&[("colour", "red")]).err().unwrap_or_default().contains("\"colour\""));
    }

    #[test]
    fn hosts_for_data() {
        let hosts = |text: &str| {
            parse(&[("data-host", text)])
                .map(|settings| settings.data_hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(hosts("https://a, https://B:443/").as_deref(), Ok("https://a https://b"));
        assert_eq!(hosts("").as_deref(), Ok(""));
        for (bad, why) in [("a", "neither"), ("https://a/b", "path"), ("https://u@a", "no host name")] {
            assert!(hosts(bad).err().unwrap_or_default().contains(why), "{bad}");
        }
    }
}

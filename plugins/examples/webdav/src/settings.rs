//! What the location and the options say.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use obnam_plugin::OPENED;
use obnam_plugin::options::{Misfit, Options};

use crate::location::Place;

/// The option that says whom the server knows.
pub const USER: &str = "user";

/// The option that has his password.
pub const PASSWORD: &str = "password";

/// A parsed location with its options.
pub struct Settings {
    /// The folder.
    pub place: Place,
    /// The header `authorization`, where there is a password.
    pub authorization: Option<String>,
    /// Whether another instance has opened this store before.
    pub opened: bool,
}

impl Settings {
    /// Parses a location and the options of `describe`.
    pub fn parse(location: &str, options: &[(String, String)]) -> Result<Self, Misfit> {
        let options = Options::new(options, &[USER, PASSWORD, OPENED])?;
        Ok(Settings {
            place: Place::parse(location)?,
            authorization: basic(options.value(USER), options.value(PASSWORD))?,
            opened: options.yes(OPENED, false)?,
        })
    }
}

/// Basic authentication (RFC 7617). Digest is not supported: over TLS it adds nothing.
fn basic(user: Option<&str>, password: Option<&str>) -> Result<Option<String>, Misfit> {
    let (user, password) = match (user, password) {
        (Some(user), Some(password)) => (user, password),
        (None, None) => return Ok(None),
        (Some(_), None) => {
            return Err(Misfit(
                "there is a user, but no password; give it in OBNAM_PLUGIN_WEBDAV_PASSWORD, or with \
                 -o password-file=FILE"
                    .into(),
            ));
        }
        (None, Some(_)) => return Err(Misfit("there is a password, but no user; give -o user=NAME".into())),
    };
    if user.contains(':') {
        return Err(Misfit("option user: a user name has no colon".into()));
    }
    if [user, password].iter().any(|text| text.contains(char::is_control)) {
        return Err(Misfit("user or password contains a line break or the like; was it copied whole?".into()));
    }
    Ok(Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(options: &[(&str, &str)]) -> Result<Option<String>, String> {
        let options: Vec<_> = options.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Settings::parse("dav:https://h/a", &options).map(|settings| settings.authorization).map_err(|misfit| misfit.0)
    }

    #[test]
    fn who_asks() {
        assert_eq!(parse(&[]), Ok(None));
        // The example of RFC 7617.
        let known = parse(&[("user", "Aladdin"), ("password", "open sesame")]);
        assert_eq!(known, Ok(Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".into())));
        assert!(parse(&[("user", "ann")]).unwrap_err().contains("OBNAM_PLUGIN_WEBDAV_PASSWORD"));
        assert!(parse(&[("password", "x")]).unwrap_err().contains("-o user"));
        assert!(parse(&[("user", "a:b"), ("password", "x")]).unwrap_err().contains("colon"));
        let pasted = parse(&[("user", "ann"), ("password", "hunter2\n")]).unwrap_err();
        assert!(pasted.contains("copied") && !pasted.contains("hunter2"), "{pasted}");
        assert!(parse(&[("colour", "red")]).unwrap_err().contains("\"colour\""));
    }
}

//! Tokens that are made and revoked with the token in use: `POST /token`, `DELETE /token/ID`.

use obnam_plugin::Error;
use obnam_plugin::http::Method;
use obnam_plugin::tokens::{Guest, MadeToken, TokenError, TokenWish};
use serde::{Deserialize, Serialize};

use crate::api;
use crate::settings::Settings;

/// What is asked for.
#[derive(Serialize)]
struct Wish<'a> {
    name: &'a str,
    preset: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
}

/// What the server has made.
#[derive(Deserialize)]
struct Made {
    id: String,
    token: String,
    expires: Option<u64>,
}

/// What the server says of a token that was revoked; nothing that matters.
#[derive(Deserialize)]
struct Revoked {}

impl Guest for crate::ServerStore {
    fn token_id(token: String) -> Result<String, TokenError> {
        id_of(&token).map(str::to_owned).ok_or_else(|| {
            let why = "this is no token of an obnam-server: those begin with obn1_ and have 65 characters";
            TokenError::Invalid(why.into())
        })
    }

    fn create_token(
        location: String,
        options: Vec<(String, String)>,
        wish: TokenWish,
    ) -> Result<MadeToken, TokenError> {
        let doing = "make a token";
        let settings = Settings::parse(&location, &options).map_err(Error::from)?;
        let wish = Wish { name: &wish.name, preset: &wish.preset, expires: wish.expires };
        let body = serde_json::to_vec(&wish).map_err(|why| TokenError::Other(format!("could not {doing}: {why}")))?;
        let made: Made = api::call_with(&settings, Method::Post, "/token", Some(&body), doing)?.what;
        Ok(MadeToken { id: made.id, token: made.token, expires: made.expires })
    }

    fn revoke_token(location: String, options: Vec<(String, String)>, id: String) -> Result<(), TokenError> {
        let doing = format!("revoke the token {id}");
        let settings = Settings::parse(&location, &options).map_err(Error::from)?;
        match api::call::<Revoked>(&settings, Method::Delete, &format!("/token/{id}"), &doing) {
            Err(Error::NotFound(_)) => Err(TokenError::Denied(format!(
                "could not {doing}: there is no such token, or it may do more than the one that asks"
            ))),
            result => Ok(result.map(drop)?),
        }
    }
}

/// The id in a token: `obn1_ID_...`.
fn id_of(token: &str) -> Option<&str> {
    let is_alphanumeric = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric());
    let (id, secret) = token.strip_prefix("obn1_")?.split_once('_')?;
    (id.len() == 10 && secret.len() == 49 && is_alphanumeric(id) && is_alphanumeric(secret)).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_in_a_token() {
        let secret = "x".repeat(49);
        assert_eq!(id_of(&format!("obn1_0123456789_{secret}")), Some("0123456789"));
        for bad in ["", "obn1_", "obn2_0123456789_", "obn1_0123456789_short", "obn1_01234567_9_"] {
            assert_eq!(id_of(bad), None, "{bad}");
            assert_eq!(id_of(&format!("{bad}{}", &secret[1..])), None, "{bad}");
        }
    }
}

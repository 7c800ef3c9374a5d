//! Calls of the server's API.

use obnam_plugin::Error;
use obnam_plugin::http::{self, Body, Method, Request};
use serde::de::DeserializeOwned;

use crate::refusal;
use crate::settings::Settings;

/// An answer of the server, and when it was made.
pub struct Said<T> {
    /// What it says.
    pub what: T,
    /// The server's time, in seconds since 1970; where it does not say it, this computer's.
    pub at: u64,
}

/// Makes a call. `rest` is the path behind the tenant, with its query; `doing` says what for.
pub fn call<T: DeserializeOwned>(
    settings: &Settings,
    method: Method,
    rest: &str,
    doing: &str,
) -> Result<Said<T>, Error> {
    call_with(settings, method, rest, None, doing)
}

/// Makes a call with a body, which is JSON.
pub fn call_with<T: DeserializeOwned>(
    settings: &Settings,
    method: Method,
    rest: &str,
    body: Option<&[u8]>,
    doing: &str,
) -> Result<Said<T>, Error> {
    let place = &settings.place;
    let authorization = format!("Bearer {}", settings.token.as_deref().unwrap_or_default());
    let mut headers = vec![("authorization", authorization.as_str()), ("accept", "application/json")];
    headers.extend(body.map(|_| ("content-type", "application/json")));
    let target = place.path(rest);
    let body = body.map_or(Body::Nothing, Body::Bytes);
    let request = Request { host: &place.host, method, target: &target, headers: &headers, body };
    let mut answer = http::send(&request, doing)?;
    let text = answer.text(doing)?;
    if answer.status != 200 {
        return Err(refusal::of_server(settings, &answer, &text, doing));
    }
    let at = answer.header("date").and_then(http::date).unwrap_or_else(http::now_seconds);
    match serde_json::from_str(&text) {
        Ok(what) => Ok(Said { what, at }),
        Err(why) => Err(refusal::not_understood(settings, &answer, &text, &why.to_string(), doing)),
    }
}

//! What the token is, as the server says: `GET /self`.

use std::collections::BTreeMap;

use obnam_plugin::Error;
use obnam_plugin::http::Method;
use serde::Deserialize;

use crate::api;
use crate::settings::Settings;

/// What the token is, and what there is to know of the server.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Identity {
    /// Its name.
    pub name: String,
    /// For each verb the labels: a label, a text that ends in a dot (all that begin with it), or `*`.
    pub rights: BTreeMap<String, Vec<String>>,
    /// When it ends, in seconds since 1970.
    pub expires: Option<u64>,
    /// How long after it was asked for a chunk is removed, in seconds.
    pub removal_delay: u64,
    /// Whether chunks can be stored.
    pub stores: bool,
    /// Whether the store refuses a second PUT of one chunk.
    pub create_only: bool,
    /// Whether the tenant's place was prepared.
    pub prepared: bool,
    /// Where signed URLs point at, beside the server itself.
    #[serde(default)]
    pub data: Vec<String>,
}

impl Identity {
    /// Asks the server.
    pub fn ask(settings: &Settings, doing: &str) -> Result<api::Said<Self>, Error> {
        match api::call(settings, Method::Get, "/self", doing) {
            Err(Error::NotFound(_)) => Err(Error::NotInitialised(format!(
                "could not {doing}: the server has no such tenant, or the token is not for it; is the last part of the \
                 location right? Tenants are made by 'obnam-server tenant create'"
            ))),
            result => result,
        }
    }

    /// Whether the token may do this with chunks of this label.
    pub fn may(&self, verb: &str, label: &str) -> bool {
        let covers = |labels: &String| {
            labels == "*" || labels == label || (labels.ends_with('.') && label.starts_with(labels.as_str()))
        };
        self.rights.get(verb).is_some_and(|labels| labels.iter().any(covers))
    }

    /// All rights in words.
    pub fn rights(&self) -> String {
        let of = |(verb, labels): (&String, &Vec<String>)| format!("{verb} {}", labels.join(" "));
        self.rights.iter().map(of).collect::<Vec<_>>().join("; ")
    }
}

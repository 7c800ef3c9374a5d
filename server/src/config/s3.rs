//! The object store in the configuration.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Secret;

/// The object store.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct S3Config {
    /// The bucket.
    pub bucket: String,
    /// What all keys begin with; empty, or a text that ends in a slash.
    #[serde(default)]
    pub prefix: String,
    /// Where the store answers, as clients see it too; without it AWS.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// Whether the bucket is a part of the path; by default where there is an endpoint.
    pub path_style: Option<bool>,
    /// The key's id; else `AWS_ACCESS_KEY_ID`.
    pub access_key_id: Option<String>,
    /// The key; else `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: Option<Secret>,
    /// A file that holds the key in its first line.
    pub secret_access_key_file: Option<PathBuf>,
}

impl S3Config {
    /// Fills in what the environment and files have, and checks the rest.
    pub(super) fn complete(&mut self, variable: impl Fn(&str) -> Option<String>) -> Result<(), String> {
        let or = |given: Option<String>, name: &str| given.or_else(|| variable(name)).filter(|text| !text.is_empty());
        self.access_key_id = or(self.access_key_id.take(), "AWS_ACCESS_KEY_ID");
        self.region = or(self.region.take(), "AWS_REGION");
        if self.secret_access_key.is_none() {
            self.secret_access_key = match &self.secret_access_key_file {
                Some(file) => Some(first_line(file)?),
                None => variable("AWS_SECRET_ACCESS_KEY").map(Secret),
            };
        }
        if self.access_key_id.is_none() || self.secret_access_key.is_none() {
            return Err("the object store's key is missing: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or \
                        s3.access-key-id and s3.secret-access-key-file"
                .to_owned());
        }
        if self.region.is_none() {
            return Err(
                "s3.region is missing; for a store without regions write what it expects, often us-east-1".to_owned()
            );
        }
        if !(self.prefix.is_empty() || self.prefix.ends_with('/')) || self.prefix.starts_with('/') {
            return Err("s3.prefix must end in a slash, and not begin with one".to_owned());
        }
        if let Some(endpoint) = &self.endpoint
            && !(endpoint.starts_with("https://") || endpoint.starts_with("http://"))
        {
            return Err("s3.endpoint must begin with https:// or http://".to_owned());
        }
        Ok(())
    }

    /// The URL of the store.
    pub fn endpoint(&self) -> String {
        match (&self.endpoint, &self.region) {
            (Some(endpoint), _) => endpoint.clone(),
            (None, region) => format!("https://s3.{}.amazonaws.com", region.as_deref().unwrap_or("us-east-1")),
        }
    }

    /// Whether the bucket is a part of the path.
    pub fn path_style(&self) -> bool {
        self.path_style.unwrap_or(self.endpoint.is_some())
    }

    /// Region, id of the key, key; all are there once the configuration was read.
    pub fn credentials(&self) -> (&str, &str, &str) {
        (
            self.region.as_deref().unwrap_or_default(),
            self.access_key_id.as_deref().unwrap_or_default(),
            self.secret_access_key.as_ref().map(Secret::reveal).unwrap_or_default(),
        )
    }
}

fn first_line(file: &Path) -> Result<Secret, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|why| format!("s3.secret-access-key-file: cannot read {}: {why}", file.display()))?;
    Ok(Secret(text.lines().next().unwrap_or_default().trim().to_owned()))
}

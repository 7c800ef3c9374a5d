//! `credential_process`: a program that prints keys.

use std::process::{Command, Stdio};

use serde::Deserialize;

use super::Keys;

/// What such a program prints. An expiry is not looked at: the store says when keys have expired.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    version: u32,
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

/// Runs the command line, as the tools of AWS do: by a shell.
pub(super) fn run(command: &str) -> Result<Keys, String> {
    let failed = |why: String| format!("the credential_process {command:?} failed: {why}");
    let output = Command::new("sh").arg("-c").arg(command).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    // The error of the parser could quote the answer.
    let answer: Answer = serde_json::from_slice(&output.stdout)
        .map_err(|_| failed("it printed no JSON document with Version, AccessKeyId and SecretAccessKey".into()))?;
    if answer.version != 1 {
        return Err(failed(format!("it printed Version {}, known is 1", answer.version)));
    }
    Ok(Keys { id: Some(answer.access_key_id), secret: Some(answer.secret_access_key), token: answer.session_token })
}

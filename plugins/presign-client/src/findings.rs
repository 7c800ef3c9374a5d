//! What `check` finds: what the server and its store guarantee to whoever has this token.

use obnam_plugin::http::time_text;
use obnam_plugin::{Error, Finding};

use crate::identity::Identity;
use crate::settings::Settings;

/// How long before its end a token is worth a warning, in seconds.
const SOON: u64 = 14 * 86_400;

/// Asks the server.
pub fn check(settings: &Settings) -> Result<Vec<Finding>, Error> {
    let place = settings.place.describe();
    let said = Identity::ask(settings, &format!("check {place}"))?;
    let (token, now) = (said.what, said.at);
    let mut findings = Vec::new();
    if !token.prepared {
        findings.push(Finding::error(
            "not-prepared",
            format!("{place} was never prepared; that is what 'obnam init' does"),
        ));
    }
    if !token.stores {
        let message = "the server signs no uploads, since it has not seen its store refuse wrong bytes; its operator runs \
                       'obnam-server check'";
        findings.push(Finding::warning("no-uploads", message));
    }
    if token.create_only {
        findings.push(Finding::info("create-only", "the store never replaces an object"));
    } else {
        let message = "a signed upload can be repeated, which makes a chunk younger and changes nothing else";
        findings.push(Finding::info("no-create-only", message));
    }
    let days = token.removal_delay as f64 / 86_400.0;
    let message = format!("what is removed stays for {days:.1} days, and can be got back until then");
    findings.push(Finding::info("removal-delay", message));
    findings.push(Finding::info("rights", format!("the token {:?} may: {}", token.name, token.rights())));
    if let Some(expires) = token.expires.filter(|expires| expires.saturating_sub(now) < SOON) {
        let message = format!("the token {:?} ends {}; ask for a new one in time", token.name, time_text(expires));
        findings.push(Finding::warning("token-expires", message));
    }
    if !settings.place.host.tls && !settings.place.host.is_here() {
        let message = "the connection to the server has no TLS: others on the network can read the token and use it";
        findings.push(Finding::warning("not-encrypted-on-the-way", message));
    }
    Ok(findings)
}

//! What `check` finds: what the server and its store guarantee to whoever has this token.

use obnam_plugin::http::time_text;
use obnam_plugin::{Error, Finding, Severity};

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
    let mut add = |severity, code: &str, message: String| {
        findings.push(Finding { severity, code: code.into(), message });
    };
    if !token.prepared {
        add(Severity::Error, "not-prepared", format!("{place} was never prepared; that is what 'obnam init' does"));
    }
    if !token.stores {
        let message = "the server signs no uploads, since it has not seen its store refuse wrong bytes; its operator runs \
                       'obnam-server check'";
        add(Severity::Warning, "no-uploads", message.into());
    }
    if token.create_only {
        add(Severity::Info, "create-only", "the store never replaces an object".into());
    } else {
        let message = "a signed upload can be repeated, which makes a chunk younger and changes nothing else";
        add(Severity::Info, "no-create-only", message.into());
    }
    let days = token.removal_delay as f64 / 86_400.0;
    let message = format!("what is removed stays for {days:.1} days, and can be got back until then");
    add(Severity::Info, "removal-delay", message);
    add(Severity::Info, "rights", format!("the token {:?} may: {}", token.name, token.rights()));
    if let Some(expires) = token.expires.filter(|expires| expires.saturating_sub(now) < SOON) {
        let message = format!("the token {:?} ends {}; ask for a new one in time", token.name, time_text(expires));
        add(Severity::Warning, "token-expires", message);
    }
    if !settings.place.host.tls && !settings.place.host.is_here() {
        let message = "the connection to the server has no TLS: others on the network can read the token and use it";
        add(Severity::Warning, "not-encrypted-on-the-way", message.into());
    }
    Ok(findings)
}

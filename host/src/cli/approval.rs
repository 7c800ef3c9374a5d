//! A host that only a server names: shown to the user, who says whether the plugin may talk to it.

use std::io::{self, BufRead, IsTerminal, Write};

use super::output::complain;
use super::{Failure, Global};
use crate::config::keep;
use crate::plugin::{DATA_HOST, PluginStore};
use crate::store::StoreErrorKind;

/// What the user approved in this run.
#[derive(Debug, Clone, Default)]
pub struct Approved(Vec<String>);

impl Approved {
    /// Adds what was approved to the options on the command line, where one of the configuration file (`kept`) may be
    /// replaced by it.
    pub fn add_to(&self, options: &mut Vec<(String, String)>, kept: &[(String, String)]) {
        if self.0.is_empty() {
            return;
        }
        let find = |options: &[(String, String)]| options.iter().position(|(name, _)| name == DATA_HOST);
        let named = match find(options) {
            Some(position) => Some(options.remove(position).1),
            None => find(kept).map(|position| kept[position].1.clone()),
        };
        let all: Vec<&str> = named.iter().chain(&self.0).map(String::as_str).filter(|text| !text.is_empty()).collect();
        options.push((DATA_HOST.into(), all.join(",")));
    }
}

impl Global {
    /// Whether a store may have to be asked for: it says only when it is opened where its data is.
    pub fn may_have_to_approve(&self, store: &PluginStore) -> bool {
        let asks = store.info().options.iter().any(|option| option.name == DATA_HOST);
        asks && can_ask(self.json)
    }

    /// Asks about the hosts that the store was refused; whether the user approved one.
    pub fn approve(
        &self,
        store: &PluginStore,
        error: StoreErrorKind,
        approved: &mut Approved,
    ) -> Result<bool, Failure> {
        let mut refused = store.refused_origins();
        refused.retain(|origin| !approved.0.contains(origin));
        if error != StoreErrorKind::Denied || refused.is_empty() {
            return Ok(false);
        }
        for origin in refused {
            let place = self.repo.as_deref().unwrap_or_default();
            let question = format!(
                "{place} keeps its data at {origin}, which you have not named. Chunks are encrypted before they get there. \
                 May it be used? [y/N] "
            );
            if !ask(&question)? {
                return Ok(false);
            }
            approved.0.push(origin);
        }
        Ok(true)
    }

    /// Writes what was approved into the profile, so that nobody is asked again.
    pub fn keep_approved(&self, approved: &Approved) {
        if approved.0.is_empty() {
            return;
        }
        let mut options = self.plugin_options().unwrap_or_default();
        approved.add_to(&mut options, &self.kept_options().options);
        let Some((_, value)) = options.pop() else { return };
        let by_hand = format!("give -o {DATA_HOST}={value}, or put it into the profile's options");
        let profile = self.settings.profile.as_ref().filter(|_| self.is_of_profile());
        match (profile, &self.settings.file) {
            (Some(profile), Some(file)) => match keep::option(file, &profile.name, DATA_HOST, &value) {
                Ok(()) => complain(format!("{} says so from now on (options.{DATA_HOST})", file.display())),
                Err(why) => complain(format!("warning: the answer is not kept: {why}; next time {by_hand}")),
            },
            _ => complain(format!("the answer is good for this time; next time {by_hand}")),
        }
    }
}

/// Whether there is somebody to ask.
pub fn can_ask(json: bool) -> bool {
    !json && io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks on the terminal; everything but yes is no.
pub fn ask(question: &str) -> Result<bool, Failure> {
    let mut answer = String::new();
    let mut ask = || {
        io::stderr().write_all(question.as_bytes())?;
        io::stderr().flush()?;
        io::stdin().lock().read_line(&mut answer)
    };
    ask().map_err(Failure::Output)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_approved_joins_what_was_named() {
        let approved = Approved(vec!["https://b".into(), "https://c".into()]);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let with = |options: &[(String, String)], kept: &[(String, String)]| {
            let mut options = options.to_vec();
            approved.add_to(&mut options, kept);
            options
        };
        let (data, both) = (|value: &str| pair("data-host", value), "https://b,https://c");
        assert_eq!(with(&[], &[]), [data(both)]);
        assert_eq!(with(&[pair("token", "x"), data("https://a")], &[])[1], data(&format!("https://a,{both}")));
        assert_eq!(with(&[], &[data("https://k")]), [data(&format!("https://k,{both}"))]);
        assert_eq!(with(&[data("https://a")], &[data("https://k")]), [data(&format!("https://a,{both}"))]);
        let mut none = Vec::new();
        Approved::default().add_to(&mut none, &[data("https://k")]);
        assert!(none.is_empty());
    }
}

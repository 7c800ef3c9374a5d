//! Whether the user trusts a plugin file: he said so before, says so with `--trust` or in the profile, or is asked.

use std::path::Path;

use super::approval::{ask, can_ask};
use super::output::{complain, printable};
use super::{Failure, Global};
use crate::config::written_by_others;
use crate::local::Dirs;
use crate::plugin::trust::{Trust, TrustedPlugin, parse_sha256};
use crate::plugin::{Candidate, Component, OptionInfo, PluginSource, PluginStore, StoreSpec, Wish};
use crate::store::{StoreError, StoreErrorKind};

/// The option in which a plugin gets a token.
const TOKEN: &str = "token";

impl Global {
    /// Opens a store, if its plugin is part of this program, or a file that the user trusts with what it wishes for. `trust`
    /// is what he trusts as far as it was looked up; it is added to.
    pub fn open_store(&self, spec: &StoreSpec, trust: &mut Option<Trust>) -> Result<PluginStore, Failure> {
        let component = Component::read(&spec.source)?;
        let PluginSource::File(file) = &spec.source else {
            return Ok(Candidate::new(&component, spec)?.open(&[])?);
        };
        let trust = match trust {
            Some(trust) => trust,
            None => trust.insert(Trust::load(&Dirs::from_environment()?)?),
        };
        let digest = component.sha256();
        let is_trusted = trust.get(digest).is_some() || self.trusted_digests()?.iter().any(|given| given == digest);
        if !is_trusted && !can_ask(self.json) {
            return Err(untrusted(file, digest, trust).into());
        }
        let candidate = Candidate::new(&component, spec)?;
        let new = candidate.beyond(trust.approved(digest));
        if !is_trusted || !new.is_empty() {
            if !can_ask(self.json) {
                return Err(wishes_too_much(file, &candidate, &new, spec).into());
            }
            let told = Told { file, candidate: &candidate, new: &new, trust };
            if !ask(&format!("{}{}", told.introduction(), told.question()))? {
                let message = format!("the plugin {} is not trusted, so it was not used", file.display());
                return Err(StoreError::new(StoreErrorKind::Plugin, message).into());
            }
            keep(trust, file, &candidate, new);
        }
        Ok(candidate.open(trust.approved(digest))?)
    }

    /// The SHA-256 that `--trust` and the profile name.
    pub fn trusted_digests(&self) -> Result<Vec<String>, Failure> {
        let given = self.trust.iter().map(|text| parse_sha256(text).map_err(|why| format!("--trust: {why}")));
        let mut digests = given.collect::<Result<Vec<_>, _>>().map_err(Failure::Input)?;
        let kept = self.profile_trust();
        if !kept.is_empty()
            && let Some(why) = self.settings.file.as_deref().and_then(written_by_others)
        {
            return Err(Failure::Input(format!("the key trust of the profile is not believed: {why}")));
        }
        digests.extend(kept.iter().map(|digest| digest.value.clone()));
        Ok(digests)
    }
}

/// Remembers what the user said.
fn keep(trust: &mut Trust, file: &Path, candidate: &Candidate<'_>, approved: Vec<Wish>) {
    let digest = &candidate.info().wasm_sha256;
    match trust.add(digest, TrustedPlugin::new(candidate.info(), file, approved)) {
        Ok(()) => complain(format_args!(
            "{} says so from now on; to undo it: obnam plugin untrust {digest}",
            trust.path().display()
        )),
        Err(error) => complain(format_args!("warning: the answer is good for this time only: {error}")),
    }
}

fn untrusted(file: &Path, digest: &str, trust: &Trust) -> StoreError {
    let changed = trust.at(file).map_or_else(String::new, |(_, before)| {
        format!("; it is not the file that you trusted there on {}", day(before))
    });
    let file = quoted(&file.to_string_lossy());
    let message = format!(
        "the plugin {file} is not trusted{changed}. Its SHA-256 is {digest}. What it is: obnam plugin inspect {file}. To trust it \
         from now on: obnam plugin trust {file}; for this time: --trust {digest}"
    );
    StoreError::new(StoreErrorKind::Plugin, message)
}

fn wishes_too_much(file: &Path, candidate: &Candidate<'_>, new: &[Wish], spec: &StoreSpec) -> StoreError {
    let wishes: Vec<String> = new.iter().map(ToString::to_string).collect();
    // Their values may be secrets.
    let options = spec
        .options
        .iter()
        .chain(&spec.kept.options)
        .map(|(name, _)| format!(" -o {}=...", printable(name.as_bytes())));
    let message = format!(
        "plugin {} wishes to use {}, which the location does not name, and you have not approved. If it may: \
         obnam plugin trust {} --location {}{}",
        candidate.info().name,
        wishes.join(", and "),
        quoted(&file.to_string_lossy()),
        quoted(&spec.location),
        options.collect::<String>(),
    );
    StoreError::new(StoreErrorKind::Plugin, message)
}

/// What the user is told before he decides.
pub struct Told<'a> {
    /// The plugin's file.
    pub file: &'a Path,
    /// The plugin.
    pub candidate: &'a Candidate<'a>,
    /// What it wishes for that he has neither named nor approved.
    pub new: &'a [Wish],
    /// What he trusts so far.
    pub trust: &'a Trust,
}

impl Told<'_> {
    /// Why he is asked.
    fn introduction(&self) -> String {
        let file = printable(self.file.to_string_lossy().as_bytes());
        match (self.trust.get(&self.candidate.info().wasm_sha256), self.trust.at(self.file)) {
            (Some(before), _) => {
                format!("The plugin {file}, which you trust since {}, wishes for more:\n", day(before))
            }
            (None, Some((digest, before))) => format!(
                "The plugin {file} is another one than the {} {} that you trusted there on {} (SHA-256 {digest}):\n",
                before.name,
                printable(before.version.as_bytes()),
                day(before)
            ),
            (None, None) => format!("The plugin {file} is not part of obnam, and you have not trusted it before:\n"),
        }
    }

    /// What it is, and what it would get.
    pub fn lines(&self) -> Vec<String> {
        let info = self.candidate.info();
        let text = |text: &str| printable(text.as_bytes());
        let mut lines = vec![
            format!("  {} {}: {}", info.name, text(&info.version), text(&info.summary)),
            format!("  SHA-256   {}", info.wasm_sha256),
        ];
        for wish in self.candidate.named() {
            lines.push(format!("  uses      {wish} (named by the location)"));
        }
        for wish in self.candidate.beyond(&[]) {
            let state = if self.new.contains(&wish) { "NOT named by the location" } else { "approved before" };
            lines.push(format!("  uses      {wish} ({state})"));
        }
        let secrets: Vec<&OptionInfo> = info.options.iter().filter(|option| option.secret).collect();
        if !secrets.is_empty() {
            let names: Vec<&str> = secrets.iter().map(|option| option.name.as_str()).collect();
            let token = secrets.iter().any(|option| option.name == TOKEN);
            let token = if token { "; also the token in the credential that opens the repository" } else { "" };
            lines.push(format!("  is given  the secret options {}, where you set them{token}", names.join(", ")));
        }
        lines
    }

    fn question(&self) -> String {
        let lines = self.lines().join("\n");
        format!(
            "{lines}\nIt sees encrypted chunks, and no passphrase or key of the repository. Do you trust it with this? [y/N] "
        )
    }
}

fn day(plugin: &TrustedPlugin) -> &str {
    plugin.since.get(..10).unwrap_or(&plugin.since)
}

/// A word as a shell takes it.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-:@%+,=".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", printable(word.replace('\'', r"'\''").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_a_shell() {
        for (word, shown) in
            [("/a/b.wasm", "/a/b.wasm"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("", "''"), ("$(x)", "'$(x)'")]
        {
            assert_eq!(quoted(word), shown);
        }
    }
}

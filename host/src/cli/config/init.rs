//! `obnam config init`: a first configuration file.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::file;
use crate::cli::output::Output;
use crate::cli::{Failure, Global, exit};
use crate::config::{DEFAULT, example};
use crate::local::Dirs;
use crate::local::pin::Pin;

pub fn run(global: &Global, output: &mut Output) -> Result<u8, Failure> {
    let path = file(global)?;
    if path.symlink_metadata().is_ok() {
        return Err(Failure::Input(format!(
            "the configuration file {} is there already, and was left alone; add a profile with an editor, or write another \
             file with --config FILE",
            path.display()
        )));
    }
    let location = global.absolute_location();
    let pin = match &location {
        Some(location) => Pin::load(&Dirs::from_environment()?, location)?,
        None => None,
    };
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let (backend, identity) = (global.backend.as_ref().map(absolute), global.identity.as_ref().map(absolute));
    let home = std::env::home_dir();
    let profile = global.profile.as_deref().unwrap_or(DEFAULT);
    let id = global.repository_id.clone().or_else(|| pin.map(|pin| pin.repository.to_string()));
    let text = example::text(&example::Known {
        profile,
        repository: location.as_deref(),
        backend: backend.as_deref(),
        identity: identity.as_deref(),
        repository_id: id.as_deref(),
        source: home.as_deref(),
    });
    example::create(&path, &text)?;
    if output.json {
        output.document("ok", &[], json!({ "file": path.to_string_lossy(), "profile": profile }))?;
        return Ok(exit::OK);
    }
    output.line(format!("{} is made, with the profile {profile:?}", path.display()))?;
    for (number, step) in steps(global, profile, &path, location.is_some(), id.is_some()).iter().enumerate() {
        output.summary(format!("  {}. {step}", number + 1))?;
    }
    output.flush()?;
    Ok(exit::OK)
}

/// What comes next.
fn steps(global: &Global, profile: &str, path: &Path, has_repository: bool, has_id: bool) -> Vec<String> {
    let mut obnam = "obnam".to_owned();
    if global.config.is_some() {
        obnam += &format!(" --config {}", path.display());
    }
    if profile != DEFAULT {
        obnam += &format!(" -p {profile}");
    }
    let what = if has_repository { "sources and exclude" } else { "repository, sources and exclude" };
    let mut steps = vec![format!("look it over with an editor: {what}"), format!("{obnam} config check")];
    steps.extend((!has_id).then(|| format!("{obnam} init      makes the repository, if there is none yet")));
    steps.push(format!("{obnam} backup"));
    steps
}

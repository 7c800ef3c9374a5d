//! Paths in the file. They mean the same wherever the program runs: `~/` is the home directory, and nothing else is
//! filled in.

use std::path::{Path, PathBuf};

use crate::plugin;

/// The whole path that is meant, or why there is none.
pub(super) fn expand(text: &str, home: Option<&Path>) -> Result<PathBuf, String> {
    let rest = if text == "~" { Some("") } else { text.strip_prefix("~/") };
    if let Some(rest) = rest {
        let home = home.ok_or("~ is unknown here, because HOME is not set; write the whole path")?;
        return Ok(if rest.is_empty() { home.to_owned() } else { home.join(rest) });
    }
    if text.starts_with('/') {
        return Ok(text.into());
    }
    Err(match text.chars().next() {
        None => "is empty".into(),
        Some('$') => "variables are not filled in; write ~/ for the home directory, or the whole path".into(),
        Some('~') => "only ~/ is known, for the home directory of whoever runs obnam; write the whole path".into(),
        Some(_) => format!("{text:?} would mean another place in every directory; begin it with / or ~/"),
    })
}

/// The location that is meant: paths are expanded, locations with a scheme are left to their plugin.
pub(super) fn location(text: &str, home: Option<&Path>) -> Result<String, String> {
    if plugin::bundled_for(text) != Some("local") {
        return Ok(text.to_owned());
    }
    let path =
        text.split_at_checked(5).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("file:")).map(|(_, path)| path);
    let path = path.map_or(text, |path| path.strip_prefix("//").unwrap_or(path));
    let whole = expand(path, home)?;
    whole.into_os_string().into_string().map_err(|_| "the home directory is not UTF-8; write a whole path".into())
}

/// A program: its path, or a name that is looked for in the PATH.
pub(super) fn program(text: &str, home: Option<&Path>) -> Result<String, String> {
    if !text.is_empty() && !text.contains('/') {
        return Ok(text.to_owned());
    }
    let whole = expand(text, home)?;
    whole.into_os_string().into_string().map_err(|_| "the home directory is not UTF-8; write a whole path".into())
}

/// A pattern of `exclude`: `~/` at its begin, or after `!`, is the home directory, as it is everywhere in the file.
pub(super) fn pattern(text: &str, home: Option<&Path>) -> Result<String, String> {
    let (not, rest) = text.strip_prefix('!').map_or(("", text), |rest| ("!", rest));
    if !rest.starts_with("~/") {
        return Ok(text.to_owned());
    }
    let directory = if rest.ends_with('/') { "/" } else { "" };
    let whole = expand(rest.trim_end_matches('/'), home)?;
    let whole = whole.to_str().ok_or("the home directory is not UTF-8; write a whole path")?;
    Ok(format!("{not}{whole}{directory}"))
}

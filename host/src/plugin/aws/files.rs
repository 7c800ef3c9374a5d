//! The shared files of AWS: `~/.aws/credentials` and `~/.aws/config`.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What both files say about a profile.
pub(super) struct Profile {
    /// Its name.
    pub(super) name: String,
    values: BTreeMap<String, String>,
    found: bool,
    places: Vec<PathBuf>,
}

impl Profile {
    /// Reads a profile. A file comes with whether the user has named it: then it must be there. What the file of
    /// credentials says counts more.
    pub(super) fn read(
        name: &str,
        credentials: (bool, Option<PathBuf>),
        config: (bool, Option<PathBuf>),
    ) -> Result<Self, String> {
        let mut profile = Profile { name: name.to_owned(), values: BTreeMap::new(), found: false, places: Vec::new() };
        let prefixed = format!("profile {name}");
        let titles = if name == "default" { vec![name, prefixed.as_str()] } else { vec![prefixed.as_str()] };
        profile.add(credentials, &[name])?;
        profile.add(config, &titles)?;
        Ok(profile)
    }

    /// A value that is not empty.
    pub(super) fn get(&self, key: &str) -> Option<String> {
        self.values.get(key).filter(|value| !value.is_empty()).cloned()
    }

    /// Whether any of the files has it.
    pub(super) fn is_there(&self) -> bool {
        self.found
    }

    /// Where was looked.
    pub(super) fn places(&self) -> Vec<String> {
        self.places.iter().map(|path| path.display().to_string()).collect()
    }

    fn add(&mut self, (named, path): (bool, Option<PathBuf>), titles: &[&str]) -> Result<(), String> {
        let Some(path) = path else { return Ok(()) };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound && !named => String::new(),
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        };
        self.section(&path, &text, titles)?;
        self.places.push(path);
        Ok(())
    }

    /// Takes over the lines below these titles.
    fn section(&mut self, path: &Path, text: &str, titles: &[&str]) -> Result<(), String> {
        let mut inside = false;
        for (number, line) in text.lines().enumerate() {
            // What is indented belongs to a key that is a group of others, none of which matters here.
            let indented = line.starts_with([' ', '\t']);
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(title) = line.strip_prefix('[') {
                let title = title.split(']').next().unwrap_or_default();
                inside = titles.contains(&title.split_whitespace().collect::<Vec<_>>().join(" ").as_str());
                self.found |= inside;
            } else if inside && !indented {
                // The line itself is not shown: it may hold a key.
                let (key, value) = line
                    .split_once('=')
                    .ok_or_else(|| format!("{}, line {}: there is no = in it", path.display(), number + 1))?;
                self.values.entry(key.trim().to_lowercase()).or_insert_with(|| without_comment(value).to_owned());
            }
        }
        Ok(())
    }
}

/// A value without a comment, which has a space in front.
fn without_comment(value: &str) -> &str {
    let end = [" #", " ;", "\t#", "\t;"].iter().filter_map(|mark| value.find(mark)).min();
    value[..end.unwrap_or(value.len())].trim()
}

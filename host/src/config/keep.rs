//! Writes an answer of the user into the configuration file; all else in it, comments too, stays as it is.

use std::fs;
use std::io::Write;
use std::path::Path;

use toml_edit::{DocumentMut, InlineTable, Item, TableLike, Value};

/// Sets an option of the plugin in a profile.
pub fn option(file: &Path, profile: &str, name: &str, value: &str) -> Result<(), String> {
    change(file, |text| with_option(text, profile, name, value)).map(drop)
}

/// Names another credential in all profiles that name this one; whether there are any.
pub fn credential(file: &Path, old: &str, new: &str) -> Result<bool, String> {
    change(file, |text| with_credential(text, old, new))
}

/// Changes the text of a file; whether there was anything to change.
fn change(file: &Path, with: impl FnOnce(&str) -> Result<String, String>) -> Result<bool, String> {
    // A link stays one: what it leads to is replaced.
    let file = file.canonicalize().map_err(|error| format!("cannot find {}: {error}", file.display()))?;
    let failed = |what: &str, why: &dyn std::fmt::Display| format!("cannot {what} {}: {why}", file.display());
    let text = fs::read_to_string(&file).map_err(|error| failed("read", &error))?;
    let before = text;
    let text = with(&before).map_err(|why| failed("change", &why))?;
    if text == before {
        return Ok(false);
    }
    let write = || {
        let directory = file.parent().unwrap_or(Path::new("/"));
        let mut new = tempfile::NamedTempFile::new_in(directory)?;
        new.write_all(text.as_bytes())?;
        new.as_file().set_permissions(fs::metadata(&file)?.permissions())?;
        new.as_file().sync_all()?;
        new.persist(&file).map_err(|error| error.error)
    };
    write().map(|_| true).map_err(|error| failed("write", &error))
}

fn with_credential(text: &str, old: &str, new: &str) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| error.message().to_owned())?;
    let profiles = document.get_mut("profile").and_then(Item::as_table_like_mut);
    for (_, profile) in profiles.into_iter().flat_map(|profiles| profiles.iter_mut()) {
        let named = profile.as_table_like_mut().and_then(|profile| profile.get_mut("credential"));
        if let Some(value) = named.and_then(Item::as_value_mut).filter(|value| value.as_str() == Some(old)) {
            // What stands around it, such as a comment, stays.
            let decor = value.decor().clone();
            *value = new.into();
            *value.decor_mut() = decor;
        }
    }
    Ok(document.to_string())
}

fn with_option(text: &str, profile: &str, name: &str, value: &str) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| error.message().to_owned())?;
    let found = document.get_mut("profile").and_then(Item::as_table_like_mut);
    let found = found.and_then(|profiles| profiles.get_mut(profile)).and_then(Item::as_table_like_mut);
    let table: &mut dyn TableLike = found.ok_or_else(|| format!("there is no profile {profile:?} in it"))?;
    let options = table.entry("options").or_insert(Item::Value(Value::InlineTable(InlineTable::new())));
    let options = options.as_table_like_mut().ok_or("its options are no table")?;
    options.insert(name, Item::Value(value.into()));
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_else_stays() {
        let text = "# mine\ndefault-profile = 'a'\n\n[profile.a]\nrepository = \"x\" # here\n\n[profile.b]\n";
        let changed = with_option(text, "a", "data-host", "https://s").expect("changes");
        let expected = "# mine\ndefault-profile = 'a'\n\n[profile.a]\nrepository = \"x\" # here\n\
                        options = { data-host = \"https://s\" }\n\n[profile.b]\n";
        assert_eq!(changed, expected);
        let again = with_option(&changed, "a", "data-host", "https://t").expect("changes");
        assert_eq!(again, expected.replace("//s", "//t"));
        let table = "[profile.a]\n[profile.a.options]\nregion = 'eu'\n";
        let changed = with_option(table, "a", "data-host", "https://s").expect("changes");
        assert_eq!(changed, format!("{table}data-host = \"https://s\"\n"));
        assert!(with_option(text, "c", "data-host", "x").expect_err("fails").contains("\"c\""));
    }

    #[test]
    fn credentials_are_renamed_where_they_are_named() {
        let text =
            "[profile.a]\ncredential = \"11\" # mine\n[profile.b]\ncredential = '22'\n[profile.c]\ncredential='11'\n";
        let changed = with_credential(text, "11", "33").expect("changes");
        let expected =
            "[profile.a]\ncredential = \"33\" # mine\n[profile.b]\ncredential = '22'\n[profile.c]\ncredential=\"33\"\n";
        assert_eq!(changed, expected);
        assert_eq!(with_credential(text, "44", "33").expect("changes"), text);
        assert_eq!(with_credential("", "44", "33").expect("changes"), "");
    }

    #[test]
    fn the_file_keeps_its_mode_and_its_links() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("real.toml"), folder.path().join("link.toml"));
        fs::write(&file, "[profile.a]\n").expect("writes");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("sets the mode");
        symlink(&file, &link).expect("links");
        option(&link, "a", "data-host", "https://s").expect("keeps");
        assert!(link.is_symlink());
        assert!(fs::read_to_string(&file).expect("reads").contains("https://s"));
        assert_eq!(fs::metadata(&file).expect("is there").permissions().mode() & 0o777, 0o640);
    }
}

//! Writes an answer of the user into the configuration file; all else in it, comments too, stays as it is.

use std::fs;
use std::io::Write;
use std::path::Path;

use toml_edit::{DocumentMut, InlineTable, Item, TableLike, Value};

/// Sets an option of the plugin in a profile.
pub fn option(file: &Path, profile: &str, name: &str, value: &str) -> Result<(), String> {
    // A link stays one: what it leads to is replaced.
    let file = file.canonicalize().map_err(|error| format!("cannot find {}: {error}", file.display()))?;
    let failed = |what: &str, why: &dyn std::fmt::Display| format!("cannot {what} {}: {why}", file.display());
    let text = fs::read_to_string(&file).map_err(|error| failed("read", &error))?;
    let text = with_option(&text, profile, name, value).map_err(|why| failed("change", &why))?;
    let write = || {
        let directory = file.parent().unwrap_or(Path::new("/"));
        let mut new = tempfile::NamedTempFile::new_in(directory)?;
        new.write_all(text.as_bytes())?;
        new.as_file().set_permissions(fs::metadata(&file)?.permissions())?;
        new.as_file().sync_all()?;
        new.persist(&file).map_err(|error| error.error)
    };
    write().map(drop).map_err(|error| failed("write", &error))
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

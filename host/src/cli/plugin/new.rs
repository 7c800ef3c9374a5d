//! `obnam plugin new`: a project for a storage plugin, from the template in `plugins/template`.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::cli::output::Output;
use crate::cli::{Failure, exit};

/// Make a project for a plugin: one in Rust that works, to be changed
///
/// It keeps chunks in a directory, says in comments what to replace, and brings along all that it is built with but a
/// Rust compiler and crates. See docs/plugin-authors.md.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  obnam plugin new my-store
  cd my-store
  cargo build --target wasm32-wasip2 --release
  obnam plugin test target/wasm32-wasip2/release/my_store.wasm --location /some/new/directory")]
pub struct Arguments {
    /// What to call it: a lower-case letter, then up to 62 of those, digits and hyphens
    #[arg(value_name = "NAME")]
    name: String,
    /// Where to make it, a new or an empty directory; by default NAME below the current one
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// The files of a project: their paths in it, and what they hold. Made by `host/build.rs`.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/project.rs"));

/// What the template is called, as a package and as a library.
const TEMPLATE: (&str, &str) = ("my-store", "my_store");

/// Where the template finds the crate `obnam-plugin`, and where a project does.
const SDK: (&str, &str) = ("path = \"../sdk\"", "path = \"obnam/plugins/sdk\"");

pub fn run(arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let name = &arguments.name;
    check_name(name).map_err(Failure::Input)?;
    let directory = arguments.directory.clone().unwrap_or_else(|| PathBuf::from(name));
    require_empty(&directory)?;
    for (path, text) in FILES {
        write(&directory.join(path), &fitted(path, text, name))?;
    }
    let component = format!("target/wasm32-wasip2/release/{}.wasm", name.replace('-', "_"));
    if output.json {
        let files: Vec<&str> = FILES.iter().map(|(path, _)| *path).collect();
        let result = json!({
            "name": name,
            "directory": directory.to_string_lossy(),
            "files": files,
            "component": component,
        });
        output.document("ok", &[], result)?;
        return Ok(exit::OK);
    }
    output.line(format!("{} is made, a plugin that keeps chunks in a directory", directory.display()))?;
    let steps = [
        format!("cd {}", directory.display()),
        "cargo build --target wasm32-wasip2 --release".into(),
        format!("obnam plugin test {component} --location /some/new/directory"),
        "change src/lib.rs; comments there say what to replace".into(),
    ];
    for (number, step) in steps.iter().enumerate() {
        output.summary(format!("  {}. {step}", number + 1))?;
    }
    output.flush()?;
    Ok(exit::OK)
}

/// Fails unless this can be the name of a plugin, of a package and of a file.
fn check_name(name: &str) -> Result<(), String> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.len() > 63 || !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.bytes().all(fits) {
        return Err(format!(
            "{name:?} cannot be the name of a plugin: those are a lower-case letter and up to 62 lower-case letters, digits \
             and hyphens, such as my-store"
        ));
    }
    let lock = FILES.iter().find(|(path, _)| *path == LOCK).map_or("", |(_, text)| text);
    if name != TEMPLATE.0 && packages(lock).1.iter().any(|package| name_of(package) == name) {
        return Err(format!("{name:?} is the name of a crate that the plugin is built with; choose another one"));
    }
    Ok(())
}

/// Fails where something is already, other than an empty directory.
fn require_empty(directory: &Path) -> Result<(), Failure> {
    let shown = directory.display();
    match directory.read_dir().map(|mut entries| entries.next().is_some()) {
        Ok(false) => Ok(()),
        Ok(true) => Err(Failure::Input(format!(
            "the directory {shown} is not empty, and was left alone; choose another one with --directory DIR"
        ))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => {
            Err(Failure::Input(format!("cannot make a project in {shown}: {error}; choose another directory")))
        }
    }
}

/// Writes a file that is not there yet, and the directories that it lies in.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let written = fs::create_dir_all(parent)
        .and_then(|()| File::create_new(path))
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        Failure::Input(format!(
            "cannot write {}: {error}; choose another directory with --directory DIR",
            path.display()
        ))
    })
}

/// A file of the template with the name of the project in it; what comes along stays as it is.
fn fitted(path: &str, text: &str, name: &str) -> String {
    if path.starts_with("obnam/") {
        return text.to_owned();
    }
    let text = text.replace(TEMPLATE.0, name).replace(TEMPLATE.1, &name.replace('-', "_")).replace(SDK.0, SDK.1);
    if path == LOCK { in_order(&text) } else { text }
}

/// The file that pins the versions of crates.
const LOCK: &str = "Cargo.lock";

/// What stands in front of each package in it.
const PACKAGE: &str = "\n[[package]]\n";

/// A lock file with its packages in the order of their names, which cargo wants.
fn in_order(lock: &str) -> String {
    let (head, mut packages) = packages(lock);
    packages.sort_by_key(|package| name_of(package));
    let packages: String = packages.iter().map(|package| format!("{PACKAGE}{}\n", package.trim_end())).collect();
    format!("{head}{packages}")
}

/// A lock file taken apart: what stands in front of the first package, and the packages.
fn packages(lock: &str) -> (&str, Vec<&str>) {
    let mut parts = lock.split(PACKAGE);
    (parts.next().unwrap_or_default(), parts.collect())
}

fn name_of(package: &str) -> &str {
    package.strip_prefix("name = \"").and_then(|rest| rest.split('"').next()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> &'static str {
        FILES.iter().find(|(known, _)| *known == path).unwrap_or_else(|| panic!("{path} is not there")).1
    }

    #[test]
    fn names() {
        for good in ["a", "my-store", "s3", "x-9-", &"a".repeat(63)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "A", "9a", "-a", "a_b", "a.b", "a/b", "../a", "ä", "a b", &"a".repeat(64)] {
            assert!(check_name(bad).is_err_and(|why| why.contains("such as my-store")), "{bad}");
        }
        for taken in ["obnam-plugin", "bitflags", "wit-bindgen"] {
            assert!(check_name(taken).is_err_and(|why| why.contains("a crate that")), "{taken}");
        }
    }

    #[test]
    fn the_name_of_the_template_is_replaced() {
        for (path, text) in FILES.iter().filter(|(path, _)| !path.starts_with("obnam/")) {
            let fitted = fitted(path, text, "z-place");
            assert!(!fitted.contains(TEMPLATE.0) && !fitted.contains(TEMPLATE.1), "{path}");
        }
        let manifest = fitted("Cargo.toml", file("Cargo.toml"), "z-place");
        assert!(manifest.contains("name = \"z-place\"") && manifest.contains(SDK.1) && !manifest.contains(SDK.0));
        assert!(fitted("README.md", file("README.md"), "z-place").contains("release/z_place.wasm"));
        assert!(
            file("obnam/plugins/sdk/src/lib.rs").contains("../../wit") && file("obnam/wit/chunk-store.wit").len() > 1
        );
    }

    #[test]
    fn lock_files_stay_in_order() {
        let lock = file(LOCK);
        assert_eq!(in_order(lock), lock);
        for name in ["aa", "z-place", "my-store"] {
            let lock = fitted(LOCK, lock, name);
            let names: Vec<&str> = packages(&lock).1.into_iter().map(name_of).collect();
            assert!(names.is_sorted() && names.contains(&name), "{names:?}");
        }
    }
}

//! Plugins in Python, made into components by componentize-py.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use obnam::chunk::ChunkId;

use crate::tools::{cache, python_with, run};

const VERSION: &str = "0.25.1";

/// A component of the Python files in a folder, with `world.wit` among them. It has 18 MB, so it is kept outside of the checkout,
/// and made when it is missing or something of it has changed. `changed` may change a file on its way.
pub fn component(folder: &Path, world: &str, main: &str, changed: impl Fn(&OsStr, String) -> String) -> PathBuf {
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "py" || end == "wit"));
    files.sort();
    let text = |file: &PathBuf| changed(file.file_name().unwrap(), fs::read_to_string(file).unwrap());
    let sources: Vec<(PathBuf, String)> = files.into_iter().map(|file| (file.clone(), text(&file))).collect();
    let mut inputs = format!("{VERSION} {world} {main} {}", fs::read_to_string(wit.join("chunk-store.wit")).unwrap());
    inputs.extend(sources.iter().map(|(_, text)| text.as_str()));
    let name = world.rsplit('/').next().unwrap();
    let component = cache().join(format!("{name}-{}.wasm", ChunkId::of(inputs.as_bytes())));
    if component.exists() {
        return component;
    }
    let build = tempfile::tempdir_in(cache()).unwrap();
    for (file, text) in sources {
        fs::write(build.path().join(file.file_name().unwrap()), text).unwrap();
    }
    let mut command = Command::new(componentize_py());
    command.current_dir(build.path()).arg("-d").arg(&wit).args(["-d", "world.wit", "-w", world]);
    run(command.args(["componentize", "-p", ".", main, "-o", "built.wasm"]));
    fs::rename(build.path().join("built.wasm"), &component).unwrap();
    component
}

/// The componentize-py to use: the one on the path, if it is of the right version, else one of our own.
fn componentize_py() -> PathBuf {
    let output = Command::new("componentize-py").arg("--version").output();
    let is_right = output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim().ends_with(VERSION));
    if is_right {
        return PathBuf::from("componentize-py");
    }
    let name = format!("componentize-py-{VERSION}");
    python_with(&name, &format!("componentize-py=={VERSION}")).with_file_name("componentize-py")
}

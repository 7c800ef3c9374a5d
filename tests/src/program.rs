//! The program under test.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

/// The program. It lies beside the directory `deps` of the running test. `cargo test` for the workspace builds it;
/// where it is missing or older than its sources, it is built here. `OBNAM_TEST_PROGRAM` names another one to test.
pub fn obnam() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| match std::env::var_os("OBNAM_TEST_PROGRAM") {
        Some(program) => program.into(),
        None => built(
            "obnam",
            "counting",
            &["host/src", "host/Cargo.toml", "host/build.rs", "plugins", "wit", "Cargo.lock"],
        ),
    })
}

/// The server, likewise.
pub fn obnam_server() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| built("obnam-server", "server", &["server/src", "server/Cargo.toml", "chunk", "Cargo.lock"]))
}

/// A program of the workspace, built from these sources; `test` is one of its package's own tests.
fn built(name: &str, test: &str, sources: &[&str]) -> PathBuf {
    let running = std::env::current_exe().unwrap();
    let profile = running.parent().unwrap().parent().unwrap();
    let program = profile.join(name);
    if fs::metadata(&program).is_ok_and(|there| there.modified().unwrap() >= newest(sources)) {
        return program;
    }
    let profile_name = match profile.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        name => name,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        // With a test, for which it is built too, and with the features that all tests are compiled with: by itself it
        // would have many a dependency compiled anew.
        .args(["test", "--no-run", "--quiet", "--workspace", "--test", test, "--profile", profile_name, "--target-dir"])
        .arg(profile.parent().unwrap())
        .current_dir(workspace())
        .status();
    assert!(built.is_ok_and(|status| status.success()), "cannot build {}", program.display());
    program
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// When one of these, or a file below them, was last changed.
fn newest(sources: &[&str]) -> SystemTime {
    let mut newest = SystemTime::UNIX_EPOCH;
    let mut waiting: Vec<PathBuf> = sources.iter().map(|name| workspace().join(name)).collect();
    while let Some(path) = waiting.pop() {
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.is_dir() {
            let inside = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
            let apart = ["tests", "target", "examples"];
            waiting.extend(inside.filter(|path| !apart.iter().any(|name| path.ends_with(name))));
        } else {
            newest = newest.max(metadata.modified().unwrap());
        }
    }
    newest
}

/// The bundled plugins, and others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plugin {
    /// For directories.
    Local,
    /// For S3.
    S3Direct,
    /// For obnam-server.
    PresignClient,
    /// A component.
    File(&'static Path),
}

/// Copies a compiled plugin into a cache directory of the program. Each is compiled once per test process.
pub fn provide_compiled_plugin(cache: &Path, plugin: Plugin) {
    static COMPILED: [OnceLock<PathBuf>; 3] = [const { OnceLock::new() }; 3];
    let once = |at: usize, make: &dyn Fn() -> PathBuf| COMPILED[at].get_or_init(make).clone();
    let compiled = match plugin {
        Plugin::Local => once(0, &|| compile("obnam-tests-compiled", |place| place.join("nowhere").into())),
        Plugin::S3Direct => once(1, &|| compile("obnam-tests-compiled-s3", |_| "s3:http://127.0.0.1:1/bucket".into())),
        Plugin::PresignClient => {
            once(2, &|| compile("obnam-tests-compiled-server", |_| "http://127.0.0.1:1/tenant".into()))
        }
        Plugin::File(file) => compile_file(file),
    };
    let target = cache.join("plugins");
    for private in [cache, &target] {
        fs::create_dir_all(private).unwrap();
        super::chmod(private, 0o700);
    }
    for entry in fs::read_dir(compiled).into_iter().flatten() {
        let entry = entry.unwrap();
        // Another test process may be writing here; what does not come over is compiled again.
        let _ = fs::copy(entry.path(), target.join(entry.file_name()));
    }
}

/// Makes the program compile the plugin of a location.
fn compile(folder: &str, at: impl Fn(&Path) -> OsString) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let place = test.parent().unwrap().with_file_name(folder);
    let location = at(&place);
    // Fails, since nothing is there and no key is given, but has to load the plugin to find that out.
    let _ = Command::new(obnam())
        .env("XDG_CACHE_HOME", &place)
        .env("HOME", &place)
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("OBNAM_SERVER_TOKEN")
        .args(["--repo".as_ref(), location.as_os_str(), "chunks".as_ref()])
        .output();
    place.join("obnam/plugins")
}

/// Makes the program compile a component, unless it has done so before.
fn compile_file(file: &Path) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let name = file.file_stem().unwrap().to_str().unwrap();
    let place =
        std::env::current_exe().unwrap().parent().unwrap().with_file_name(format!("obnam-tests-compiled-{name}"));
    let inspected =
        Command::new(obnam()).env("XDG_CACHE_HOME", &place).args(["plugin", "inspect"]).arg(file).output().unwrap();
    assert!(inspected.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&inspected.stderr));
    place.join("obnam/plugins")
}

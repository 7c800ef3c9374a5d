//! The program under test.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use crate::s3::fake::{FakeS3, Faults};

/// The program. It lies beside the directory `deps` of the running test. `cargo test` for the workspace builds it;
/// where it is missing or older than its sources, it is built here. `OBNAM_TEST_PROGRAM` names another one to test.
pub fn obnam() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(program) = std::env::var_os("OBNAM_TEST_PROGRAM") {
            return program.into();
        }
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().unwrap().parent().unwrap();
        let program = profile.join("obnam");
        if fs::metadata(&program).is_ok_and(|there| there.modified().unwrap() >= newest_source()) {
            return program;
        }
        let name = match profile.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            name => name,
        };
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--package", "obnam", "--bin", "obnam", "--profile", name, "--target-dir"])
            .arg(profile.parent().unwrap())
            .current_dir(workspace())
            .status();
        assert!(built.is_ok_and(|status| status.success()), "cannot build {}", program.display());
        program
    })
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// When a source of the program was last changed.
fn newest_source() -> SystemTime {
    let mut newest = SystemTime::UNIX_EPOCH;
    let mut waiting: Vec<PathBuf> = [
        "host/src",
        "host/Cargo.toml",
        "host/build.rs",
        "plugins/local/src",
        "plugins/s3-direct/src",
        "wit",
        "Cargo.lock",
    ]
    .map(|name| workspace().join(name))
    .to_vec();
    while let Some(path) = waiting.pop() {
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            newest = newest.max(metadata.modified().unwrap());
        }
    }
    newest
}

/// Copies compiled plugins into a cache directory of the program. They are compiled once per test process, the one for
/// S3 where it is needed.
pub fn provide_compiled_plugins(cache: &Path, s3: bool) {
    static LOCAL: OnceLock<PathBuf> = OnceLock::new();
    static S3: OnceLock<PathBuf> = OnceLock::new();
    let compiled = if s3 { S3.get_or_init(compile_s3) } else { LOCAL.get_or_init(compile_local) };
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

fn compile_local() -> PathBuf {
    compile("obnam-tests-compiled", |place| (place.join("nowhere").into(), Vec::new()))
}

fn compile_s3() -> PathBuf {
    let fake = FakeS3::start(Faults::default());
    compile("obnam-tests-compiled-s3", |_| (fake.location().into(), fake.environment()))
}

/// Makes the program compile the plugin of a location.
fn compile(folder: &str, at: impl Fn(&Path) -> (OsString, Vec<(&'static str, String)>)) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let place = test.parent().unwrap().with_file_name(folder);
    let (location, variables) = at(&place);
    // Fails, since there is no repository, but has to load the plugin to find that out.
    let _ = Command::new(obnam())
        .env("XDG_CACHE_HOME", &place)
        .env("HOME", &place)
        .envs(variables)
        .args(["--repo".as_ref(), location.as_os_str(), "chunks".as_ref()])
        .output();
    place.join("obnam/plugins")
}

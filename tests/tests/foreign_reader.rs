//! `docs/format.md` suffices: the Python reader, which was written from that page alone, restores what obnam backed up.
//!
//! Needs `python3` with `venv`, and PyPI the first time: the reader's packages are kept below `OBNAM_TEST_CACHE`.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File, FileTimes};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

const PASSPHRASE: &str = "correct horse battery staple";

#[test]
fn python_reader_restores_with_a_passphrase() {
    let world = World::new();
    world.obnam(&["init"]);
    world.back_up_twice();
    world.assert_restored_by_reader(&[]);
    // The packs' own directories say the same as the index.
    world.assert_restored_by_reader(&["--no-index"]);
}

#[test]
fn python_reader_restores_with_an_identity_file() {
    let mut world = World::new();
    let identity = world.folder.path().join("identity");
    let made = run(Command::new(&world.python)
        .args(["-c", "import pyrage; print('# a comment'); print(pyrage.x25519.Identity.generate())"]));
    fs::write(&identity, made.stdout).unwrap();
    fs::set_permissions(&identity, PermissionsExt::from_mode(0o600)).unwrap();
    world.identity = Some(identity);
    world.obnam(&["init"]);
    world.back_up_twice();
    world.assert_restored_by_reader(&[]);
}

#[test]
fn python_reader_restores_with_an_ssh_key() {
    let mut world = World::new();
    let identity = world.folder.path().join("identity");
    fs::write(&identity, SSH_KEY).unwrap();
    fs::set_permissions(&identity, PermissionsExt::from_mode(0o600)).unwrap();
    world.identity = Some(identity);
    world.obnam(&["init"]);
    world.back_up_twice();
    world.assert_restored_by_reader(&[]);
}

/// A key that opens nothing but the repository of this test.
const SSH_KEY: &str = "\
-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACAQoK8y0suqHT+fiXgcQQMkup7gfcm/46Y9UXoOtRhXywAAAIjrWgUJ61oF
CQAAAAtzc2gtZWQyNTUxOQAAACAQoK8y0suqHT+fiXgcQQMkup7gfcm/46Y9UXoOtRhXyw
AAAEA3F5qitA9CciiMID3a8iwtRHPbAXtLlORvFjXs+6PERRCgrzLSy6odP5+JeBxBAyS6
nuB9yb/jpj1Reg61GFfLAAAABHRlc3QB
-----END OPENSSH PRIVATE KEY-----
";

#[test]
fn python_reader_passes_over_garbage() {
    let world = World::new();
    world.obnam(&["init"]);
    world.back_up_twice();
    let labels =
        ["repository", "credential", "client", "roster", "index.0123456789abcdef", "snapshot.0123456789abcdef"];
    for label in labels {
        // SHA-256 of "garbage".
        let id = "795b6904e54f82411df4b0e27a373a55eea3f9d66dac5a9bce1dd92f7b401da5";
        let folder = world.repository().join(label).join(&id[..2]);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(id), "garbage").unwrap();
    }
    let target = world.folder.path().join("target");
    let output = world.restore(&[], &target);
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{report}");
    // Credentials and client chunks of others are none of its business; the rest is named.
    let named: BTreeSet<&str> = report.lines().filter_map(|line| line.split('/').next()).collect();
    assert_eq!(named, BTreeSet::from(["index.0123456789abcdef", "repository", "roster", "snapshot.0123456789abcdef"]));
    assert_same_trees(&world.source(), &below(&target, &world.source()));
}

/// A folder with a source tree, a repository in the making, and everything that obnam keeps locally.
struct World {
    folder: TempDir,
    python: PathBuf,
    identity: Option<PathBuf>,
}

impl World {
    fn new() -> Self {
        let world = World { folder: TempDir::new().unwrap(), python: reader_python(), identity: None };
        make_tree(&world.source());
        world
    }

    fn source(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("source")
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    fn obnam(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(obnam());
        command.arg("-r").arg(self.repository());
        if let Some(identity) = &self.identity {
            command.arg("--identity").arg(identity);
        }
        run(self.isolate(&mut command).args(arguments))
    }

    /// No configuration, no cache and no variable of whoever runs the tests.
    fn isolate<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_bytes().starts_with(b"OBNAM_")) {
            command.env_remove(name);
        }
        for name in ["XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"] {
            command.env(name, self.folder.path().join(name));
        }
        if self.identity.is_none() {
            command.env("OBNAM_PASSPHRASE", PASSPHRASE);
        }
        command
    }

    /// Two snapshots, so that the reader has to find the newest and to put two indexes together.
    fn back_up_twice(&self) {
        let source = self.source();
        self.obnam(&["backup", source.to_str().unwrap()]);
        fs::write(source.join("new in the second"), "second").unwrap();
        fs::remove_file(source.join("only in the first")).unwrap();
        self.obnam(&["backup", source.to_str().unwrap()]);
    }

    /// Runs the reader.
    fn restore(&self, options: &[&str], target: &Path) -> Output {
        let mut command = Command::new(&self.python);
        command.arg(reader_folder().join("obnam_reader.py")).args(options);
        if let Some(identity) = &self.identity {
            command.arg("--identity").arg(identity);
        }
        self.isolate(&mut command).arg("restore").arg(self.repository()).arg(target).output().unwrap()
    }

    fn assert_restored_by_reader(&self, options: &[&str]) {
        let target = TempDir::new_in(self.folder.path()).unwrap();
        let output = self.restore(options, target.path());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_same_trees(&self.source(), &below(target.path(), &self.source()));
    }
}

/// Where the absolute path `source` is restored to.
fn below(target: &Path, source: &Path) -> PathBuf {
    target.join(source.strip_prefix("/").unwrap())
}

fn make_tree(source: &Path) {
    for folder in ["documents/letters/2026", "empty folder", "pictures"] {
        fs::create_dir_all(source.join(folder)).unwrap();
    }
    fs::write(source.join("documents/empty"), "").unwrap();
    fs::write(source.join("documents/letters/2026/first.txt"), "Dear reader,\n".repeat(1000)).unwrap();
    fs::write(source.join("pictures/noise"), noise(5_000_000)).unwrap();
    fs::write(source.join("only in the first"), "first").unwrap();
    fs::write(source.join(OsStr::from_bytes(b"not \xff\xfe UTF-8")), "bytes").unwrap();
    for number in 0..500 {
        fs::write(source.join(format!("pictures/{number:04}")), format!("picture {number}")).unwrap();
    }
    symlink("letters/2026/first.txt", source.join("documents/newest")).unwrap();
    symlink("/nowhere/at/all", source.join("dangling")).unwrap();
    fs::hard_link(source.join("pictures/0001"), source.join("documents/also 0001")).unwrap();
    fs::set_permissions(source.join("documents/empty"), PermissionsExt::from_mode(0o4751)).unwrap();
    fs::set_permissions(source.join("documents/letters"), PermissionsExt::from_mode(0o750)).unwrap();
    let mut moment = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    for path in ["documents/letters/2026/first.txt", "documents/empty", "empty folder"] {
        File::open(source.join(path)).unwrap().set_times(FileTimes::new().set_modified(moment)).unwrap();
        moment -= Duration::from_secs(2_000_000_000); // the others are from before 1970
    }
}

/// Bytes that do not compress, the same ones in each run (xorshift64, Marsaglia 2003).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&words.next().unwrap());
    }
    bytes.truncate(length);
    bytes
}

fn assert_same_trees(expected: &Path, actual: &Path) {
    let (expected, actual) = (describe(expected), describe(actual));
    for (path, description) in &expected {
        assert_eq!(Some(description), actual.get(path), "{}", path.display());
    }
    assert_eq!(expected.len(), actual.len(), "files that were not in the source");
}

/// What is compared of a file: type and mode, modification time, target or contents.
type Description = (u32, i64, i64, Vec<u8>);

fn describe(root: &Path) -> BTreeMap<PathBuf, Description> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let contents = if metadata.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else if metadata.is_symlink() {
            fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
        } else {
            fs::read(&path).unwrap()
        };
        let name = path.strip_prefix(root).unwrap().to_owned();
        found.insert(name, (metadata.mode(), metadata.mtime(), metadata.mtime_nsec(), contents));
    }
    found
}

/// The program under test: it lies beside the folder `deps` of this test.
fn obnam() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().with_file_name("obnam")
}

fn reader_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("reader")
}

/// A Python that has the reader's packages; made when it is not in the cache yet.
fn reader_python() -> PathBuf {
    let requirements = reader_folder().join("requirements.txt");
    let mut hasher = DefaultHasher::new();
    fs::read(&requirements).unwrap().hash(&mut hasher);
    let environment = cache_folder().join(format!("reader-venv-{:016x}", hasher.finish()));
    if !environment.exists() {
        // Tests run at the same time: each makes one of its own, and the first that is complete stays.
        fs::create_dir_all(cache_folder()).unwrap();
        let making = TempDir::new_in(cache_folder()).unwrap();
        run(Command::new("python3").args(["-m", "venv"]).arg(making.path()));
        run(Command::new(making.path().join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "-r"])
            .arg(&requirements));
        if fs::rename(making.path(), &environment).is_ok() {
            let _ = making.keep();
        }
    }
    environment.join("bin/python")
}

fn cache_folder() -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("OBNAM_TEST_CACHE").unwrap_or_else(|| {
        let home = variable("HOME").unwrap_or_else(std::env::temp_dir);
        variable("XDG_CACHE_HOME").unwrap_or_else(|| home.join(".cache")).join("obnam-tests")
    })
}

/// Runs a command that must succeed.
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{stdout}\n{stderr}");
    output
}

//! What the format was, it stays: vectors that were computed once, chunks that were sealed once, and a whole repository
//! that was made once, all by `cargo run -p obnam --example make_golden`.
#![allow(clippy::unwrap_used)]

#[path = "support/golden.rs"]
mod golden;
mod support;

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use obnam::credential::{Secret, identity};
use obnam::local::Dirs;
use obnam::plugin::{self, StoreSpec};
use obnam::repository::open::open;
use obnam::repository::{Place, Repository};
use serde_json::Value;
use sha2::{Digest, Sha256};
use support::*;

fn golden_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(golden_dir().join(name)).unwrap()).unwrap()
}

#[test]
fn vectors_stay() {
    let stored = json("vectors.json");
    let computed = golden::computed();
    let stored = stored["computed"].as_object().unwrap();
    for (name, value) in computed.as_object().unwrap() {
        assert_eq!(Some(value), stored.get(name), "{name}");
    }
    assert_eq!(stored.len(), computed.as_object().unwrap().len());
    let signed = stored.iter().find(|(name, _)| name.starts_with("signed")).unwrap().1;
    golden::check_signed_layout(signed["index"].as_str().unwrap());
}

#[test]
fn chunks_that_were_sealed_once_still_open() {
    golden::open_sealed(&json("vectors.json")["sealed"]);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).unwrap();
        }
    }
}

fn place(tmp: &Path, machine: &str) -> Place {
    let location = tmp.join("repository").to_str().unwrap().to_owned();
    let mut spec = StoreSpec::for_location(&location).unwrap();
    spec.cache_dir = Some(tmp.join("plugins"));
    let store = Arc::new(plugin::open_store(&spec).unwrap());
    Place { store, location, dirs: Dirs::below(&tmp.join(machine)) }
}

fn compare(repository: &Repository, name: &str, expected: &Value) {
    let (snapshots, index) = load(repository);
    let info = snapshots.iter().find(|info| info.id.to_string() == name).unwrap();
    let restored = restore_root(repository, &index, &info.snapshot.root);
    assert_eq!(restored.problems, []);
    let root = restored.at(Path::new(expected["source"].as_str().unwrap()));
    let expected = expected["entries"].as_array().unwrap();
    assert_eq!(tree(&root).len(), expected.len());
    for entry in expected {
        let name = hex::decode(entry["path"].as_str().unwrap()).unwrap();
        let path = root.join(std::ffi::OsStr::from_bytes(&name));
        let found = path.symlink_metadata().unwrap();
        let said = &entry["name"];
        assert_eq!(u64::from(found.mode()), entry["mode"].as_u64().unwrap(), "mode of {said}");
        assert_eq!(serde_json::json!([found.mtime(), found.mtime_nsec()]), entry["mtime"], "time of {said}");
        if let Some(sha256) = entry["sha256"].as_str() {
            let contents = std::fs::read(&path).unwrap();
            assert_eq!(contents.len() as u64, entry["size"].as_u64().unwrap(), "size of {said}");
            assert_eq!(hex::encode(Sha256::digest(&contents)), sha256, "contents of {said}");
            assert_eq!(found.nlink(), entry["links"].as_u64().unwrap(), "links of {said}");
        }
        if let Some(target) = entry["target"].as_str() {
            assert_eq!(std::fs::read_link(&path).unwrap().as_os_str().as_bytes(), target.as_bytes(), "{said}");
        }
    }
}

#[test]
fn the_repository_of_version_1_still_restores() {
    let tmp = tempfile::tempdir().unwrap();
    let expected = json("repository-v1.json");
    copy(&golden_dir().join("repository-v1"), &tmp.path().join("repository"));
    let key = tmp.path().join("identity");
    std::fs::copy(golden_dir().join("identity"), &key).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let secrets = [
        Secret::Passphrase(expected["passphrase"].as_str().unwrap().to_owned().into()),
        Secret::Identity(identity::load(&key).unwrap()),
    ];
    let id = expected["repository"].as_str().unwrap().parse().unwrap();
    for (secret, machine) in secrets.iter().zip(["one", "two"]) {
        let repository = open(place(tmp.path(), machine), secret, Some(id)).unwrap();
        let (snapshots, _) = load(&repository);
        let ids: Vec<String> = snapshots.iter().map(|info| info.id.to_string()).collect();
        let named = expected["snapshots"].as_object().unwrap();
        assert_eq!(ids.len(), 2);
        for id in &ids {
            compare(&repository, id, &named[id]);
        }
        assert_eq!(repository.warnings.all(), []);
        assert_clean(&repository);
    }
    // And it goes on.
    let repository = open(place(tmp.path(), "one"), &secrets[0], None).unwrap();
    let source = tmp.path().canonicalize().unwrap().join("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("file"), "more").unwrap();
    let before = tree(&source);
    let outcome = backup(&repository, &source);
    assert_eq!(outcome.snapshot.sequence, 3);
    assert_restores(&repository, &outcome.id, &source, &before);
    assert_clean(&repository);
}

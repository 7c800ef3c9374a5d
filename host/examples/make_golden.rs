//! Makes the golden files of the format, `host/tests/golden`: test vectors and a small repository. They are made once
//! for each version of the format and then stay, so this refuses to overwrite anything:
//!
//! ```text
//! cargo run -p obnam --example make_golden [DIRECTORY]
//! ```
#![allow(clippy::unwrap_used, dead_code)]

#[path = "../tests/support/golden.rs"]
mod golden;
#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use age::secrecy::ExposeSecret;
use obnam::chunk::ChunkId;
use obnam::credential::Secret;
use obnam::format::roster::Parameters;
use obnam::format::signed::Context;
use obnam::format::snapshot::Snapshot;
use obnam::format::to_cbor;
use obnam::local::Dirs;
use obnam::plugin::{self, StoreSpec};
use obnam::repository::init::init;
use obnam::repository::open::open;
use obnam::repository::{Place, Repository};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::{backup, label, noise};

fn write_new(path: &Path, contents: &[u8]) {
    let file = fs::OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = file.unwrap_or_else(|error| panic!("{} is not written: {error}", path.display()));
    file.write_all(contents).unwrap();
}

fn main() {
    let golden = std::env::args_os()
        .nth(1)
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"), PathBuf::from);
    fs::create_dir_all(&golden).unwrap();
    let repository = golden.join("repository-v1");
    for path in
        [&repository, &golden.join("repository-v1.json"), &golden.join("identity"), &golden.join("vectors.json")]
    {
        assert!(!path.exists(), "{} is there already; golden files are never made again", path.display());
    }
    let vectors = json!({ "computed": golden::computed(), "sealed": golden::sealed() });
    let vectors = serde_json::to_string_pretty(&vectors).unwrap();
    write_new(&golden.join("vectors.json"), vectors.as_bytes());
    make_repository(&golden, &repository);
}

fn make_repository(golden: &Path, directory: &Path) {
    let tmp = tempfile::tempdir().unwrap();
    let source = tmp.path().canonicalize().unwrap().join("tree");
    let place = |machine: &str| {
        let location = directory.to_str().unwrap().to_owned();
        let mut spec = StoreSpec::for_location(&location).unwrap();
        spec.cache_dir = Some(tmp.path().join("plugins"));
        spec.create_dir = true;
        let store = Arc::new(plugin::open_store(&spec).unwrap());
        Place { store, location, dirs: Dirs::below(&tmp.path().join(machine)) }
    };
    let identity = age::x25519::Identity::generate();
    let text = format!("# The golden repository's; a secret of nobody.\n{}\n", identity.to_string().expose_secret());
    write_new(&golden.join("identity"), text.as_bytes());
    let passphrase = Secret::Passphrase("golden".to_owned().into());
    let secrets = [passphrase.clone(), Secret::Identity(identity.into())];
    let parameters = Parameters {
        chunk_min: 128,
        chunk_average: 512,
        chunk_max: 2048,
        data_pack: 32 << 10,
        tree_pack: 32 << 10,
        small: 4 << 10,
        ..Parameters::default()
    };
    let made = init(&place("one"), &secrets, "golden", parameters).unwrap();

    make_tree(&source);
    let repository = open(place("one"), &passphrase, None).unwrap();
    let first = backup(&repository, &source);
    let first_id = move_index_out(&repository, first.id, &first.snapshot);
    let first_tree = describe(&source);

    change_tree(&source);
    // On a machine that has not seen the snapshot as it was before its index was moved out.
    let repository = open(place("two"), &passphrase, Some(made.repository)).unwrap();
    let second = backup(&repository, &source);
    let second_tree = describe(&source);
    let snapshots = json!({ first_id.to_string(): first_tree, second.id.to_string(): second_tree });
    let expected = json!({
        "repository": made.repository.to_string(),
        "passphrase": "golden",
        "snapshots": snapshots,
    });
    let expected = serde_json::to_string_pretty(&expected).unwrap();
    write_new(&golden.join("repository-v1.json"), expected.as_bytes());
}

/// Gives the index of a small snapshot a chunk of its own, as that of a larger one has.
fn move_index_out(repository: &Repository, id: ChunkId, snapshot: &Snapshot) -> ChunkId {
    let tag = repository.client.tag;
    let index = snapshot.index.clone().expect("the index of a small backup is in its snapshot");
    repository.put_signed(&label(&format!("index.{tag}")), Context::Index, index).unwrap();
    let of = label(&format!("snapshot.{tag}"));
    let without = Snapshot { index: None, ..snapshot.clone() };
    let moved = repository.put_signed(&of, Context::Snapshot, to_cbor(&without)).unwrap().id;
    repository.store.remove(&of, &id).unwrap();
    moved
}

fn set_time(path: &Path, seconds: u64, nanoseconds: u32) {
    let time = UNIX_EPOCH + Duration::new(seconds, nanoseconds);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

fn make_tree(root: &Path) {
    let bytes = |name: &[u8]| root.join(std::ffi::OsStr::from_bytes(name));
    fs::create_dir_all(root.join("directory/below")).unwrap();
    fs::create_dir(root.join("empty directory")).unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::write(root.join("words"), "words in a file\n".repeat(100)).unwrap();
    // More than 128 pieces, so that its contents are a list.
    fs::write(root.join("noise"), noise(1, 90_000)).unwrap();
    fs::write(bytes(b"caf\xe9"), "a name in Latin-1").unwrap();
    fs::write(bytes("snømann ☃".as_bytes()), "a name in UTF-8").unwrap();
    fs::write(root.join("directory/one"), "two names").unwrap();
    fs::hard_link(root.join("directory/one"), root.join("directory/two")).unwrap();
    fs::write(root.join("directory/below/script"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("directory/below/script"), fs::Permissions::from_mode(0o6751)).unwrap();
    fs::set_permissions(root.join("empty directory"), fs::Permissions::from_mode(0o1777)).unwrap();
    symlink("../words", root.join("directory/link")).unwrap();
    symlink("/nowhere/at all", root.join("dangling")).unwrap();
    for (path, seconds, nanoseconds) in [
        ("words", 1, 1),
        ("noise", 4_000_000_000, 999_999_999),
        ("directory/below/script", 1_700_000_000, 123_456_789),
        ("directory/below", 1_600_000_000, 1),
        ("directory", 1_500_000_000, 2),
    ] {
        set_time(&root.join(path), seconds, nanoseconds);
    }
}

fn change_tree(root: &Path) {
    fs::write(root.join("words"), "other words\n").unwrap();
    fs::remove_file(root.join("dangling")).unwrap();
    let mut longer = noise(1, 90_000);
    longer.splice(1000..1000, *b"inserted");
    fs::write(root.join("noise"), longer).unwrap();
    set_time(&root.join("words"), 2, 2);
}

fn describe(root: &Path) -> Value {
    fn below(root: &Path, path: &Path, entries: &mut Vec<Value>) {
        let metadata = path.symlink_metadata().unwrap();
        let name = path.strip_prefix(root).unwrap();
        let mut entry = json!({
            "path": hex::encode(name.as_os_str().as_bytes()),
            "name": name.to_string_lossy(),
            "mode": metadata.mode(),
            "mtime": [metadata.mtime(), metadata.mtime_nsec()],
        });
        if metadata.is_file() {
            entry["size"] = metadata.len().into();
            entry["links"] = metadata.nlink().into();
            entry["sha256"] = hex::encode(Sha256::digest(fs::read(path).unwrap())).into();
        }
        if metadata.is_symlink() {
            entry["target"] = fs::read_link(path).unwrap().to_str().unwrap().into();
        }
        entries.push(entry);
        if metadata.is_dir() {
            let mut children: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
            children.sort();
            children.iter().for_each(|child| below(root, child, entries));
        }
    }
    let mut entries = Vec::new();
    below(root, root, &mut entries);
    json!({ "source": root.to_str().unwrap(), "entries": entries })
}

//! Disks that are full or read-only, and directories without rights.

use std::fs;
use std::path::Path;
use std::process::Command;

use obnam::chunk::LabelFilter;
use obnam::plugin::open_store;
use obnam::store::{ChunkStore, StoreErrorKind};

use super::place;
use crate::plugin_support::{chunk, label, local, local_store, text};

/// Runs a command; its success.
fn runs(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// A small file system of its own; unmounted when dropped.
struct Mount(tempfile::TempDir);

impl Mount {
    fn new(options: &str) -> Option<Self> {
        let top = tempfile::tempdir().unwrap();
        let path = text(top.path());
        runs("mount", &["-t", "tmpfs", "-o", options, "tmpfs", &path]).then_some(Mount(top))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        runs("umount", &["-l", &text(self.path())]);
    }
}

/// Tests that mount are worth nothing where nobody may; there they say so, and fail when CI asks for all of them.
fn cannot_mount() {
    assert!(std::env::var_os("OBNAM_TEST_ALL").is_none(), "cannot mount a tmpfs, which needs root");
    eprintln!("NOT TESTED: cannot mount a tmpfs, which needs root");
}

#[test]
fn a_full_disk_is_a_quota_error() {
    let Some(mount) = Mount::new("size=1m") else { return cannot_mount() };
    let store = local_store(mount.path());
    let (id, bytes) = chunk(1, 4 << 20);
    let error = store.put(&label("data"), &id, bytes).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Quota, "{error}");
    assert!(error.message.contains("the disk is full"), "{error}");
    // Nothing of it is left, so smaller chunks still fit.
    assert!(store.list(&LabelFilter::All).unwrap().is_empty());
    let (id, bytes) = chunk(2, 1000);
    store.put(&label("data"), &id, bytes).unwrap();
}

#[test]
fn a_read_only_disk_is_denied() {
    let Some(mount) = Mount::new("size=8m") else { return cannot_mount() };
    let store = local_store(mount.path());
    let (id, bytes) = chunk(1, 1000);
    store.put(&label("data"), &id, bytes.clone()).unwrap();
    drop(store);
    assert!(runs("mount", &["-o", "remount,ro", &text(mount.path())]));
    let store = open_store(&local(mount.path())).unwrap();
    store.open().unwrap();
    assert_eq!(store.get(&label("data"), &id, None).unwrap(), bytes);
    let (other, more) = chunk(2, 1000);
    for error in [
        store.put(&label("data"), &other, more).map(drop).unwrap_err(),
        store.remove(&label("data"), &id).map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
        assert!(error.message.contains("mounted read-only"), "{error}");
    }
    assert!(store.check().unwrap().iter().any(|finding| finding.code == "read-only"));
}

#[test]
fn a_place_without_rights_is_denied() {
    if rustix_is_root() {
        // Root may write anywhere; an immutable directory stops even root, where the file system knows it.
        let (_top, place) = place();
        let store = local_store(&place);
        if !runs("chattr", &["+i", &text(&place)]) {
            return eprintln!("NOT TESTED: root may write anywhere, and chattr does not work here");
        }
        let (id, bytes) = chunk(1, 10);
        let error = store.put(&label("data"), &id, bytes).unwrap_err();
        runs("chattr", &["-i", &text(&place)]);
        assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
        return;
    }
    let (_top, place) = place();
    let store = local_store(&place);
    fs::set_permissions(&place, std::os::unix::fs::PermissionsExt::from_mode(0o500)).unwrap();
    let (id, bytes) = chunk(1, 10);
    let error = store.put(&label("data"), &id, bytes).unwrap_err();
    fs::set_permissions(&place, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
    assert!(error.message.contains("permission denied"), "{error}");
}

fn rustix_is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

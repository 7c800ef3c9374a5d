//! Ways out of the granted directory.

use crate::wasi::filesystem::types::{Descriptor, DescriptorFlags, OpenFlags, PathFlags};

/// Tries them, and tells which ones lead out. The test puts symbolic links there: `link-etc` to `/etc` and
/// `link-up` to `..`.
pub fn attempt(granted: &Descriptor) -> String {
    let _ = granted.create_directory_at("sub");
    let _ = granted.symlink_at("../..", "sub/made-relative");
    let _ = granted.symlink_at("/etc", "made-absolute");
    let paths = [
        "..",
        "../outside",
        "sub/../../outside",
        "/etc/passwd",
        "/",
        "link-etc",
        "link-etc/passwd",
        "link-up/outside",
        "sub/made-relative/etc/passwd",
        "made-absolute/passwd",
        "./../outside",
    ];
    let mut out = Vec::new();
    for path in paths {
        for flags in [PathFlags::empty(), PathFlags::SYMLINK_FOLLOW] {
            if granted.open_at(flags, path, OpenFlags::empty(), DescriptorFlags::READ).is_ok() {
                out.push(path.to_owned());
            }
        }
        if granted.stat_at(PathFlags::SYMLINK_FOLLOW, path).is_ok() {
            out.push(format!("stat {path}"));
        }
    }
    for path in ["../written", "link-up/written", "sub/made-relative/written"] {
        let create = OpenFlags::CREATE;
        if granted.open_at(PathFlags::SYMLINK_FOLLOW, path, create, DescriptorFlags::WRITE).is_ok() {
            out.push(format!("create {path}"));
        }
        if granted.create_directory_at(&format!("{path}-dir")).is_ok() {
            out.push(format!("mkdir {path}"));
        }
    }
    if granted.rename_at("sub", granted, "../moved").is_ok() {
        out.push("rename".into());
    }
    if granted.link_at(PathFlags::empty(), "../outside", granted, "linked").is_ok() {
        out.push("link".into());
    }
    for path in ["/etc/passwd", "../outside", "/proc/self/environ"] {
        if std::fs::read(path).is_ok() {
            out.push(format!("std {path}"));
        }
    }
    if out.is_empty() { "no way out".into() } else { format!("ESCAPED by {}", out.join(", ")) }
}

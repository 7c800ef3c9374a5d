//! `obnam ls`: lists the files of a snapshot.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::output::{Output, complain, printable};
use super::{Failure, Global, exit};
use crate::format::content::Content;
use crate::format::entry::{Entry, EntryType, Xattr};
use crate::format::roster::Role;
use crate::inode::flags;
use crate::repository::blobs::BlobReader;
use crate::repository::{Repository, RepositoryError};

/// List the files of a snapshot, with all that is below a path.
///
/// With --json, one object per line.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The snapshot: its id, the beginning of it, or "latest"
    snapshot: String,
    /// Only what is at and below this path
    path: Option<PathBuf>,
}

/// Finds what stands at a path; the root stands for itself.
pub fn find(reader: &BlobReader<'_>, root: &Content, path: &Path) -> Result<Option<Entry>, RepositoryError> {
    reader.find(root, path.as_os_str().as_bytes())
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let repository = global.repository()?;
    repository.require(Role::Reader, "read the trees of snapshots")?;
    let listing = repository.listing()?;
    let snapshots = repository.snapshots(&listing)?;
    let info = repository.resolve(&snapshots, &arguments.snapshot)?;
    let index = repository.load_index(&listing)?;
    let reader = BlobReader::new(&repository, &index);
    let mut lost = Vec::new();
    let root = &info.snapshot.root;
    match arguments.path.as_deref().filter(|path| *path != Path::new("/")) {
        None => list(&reader, root, Path::new("/"), output, &mut lost)?,
        Some(path) => {
            let entry = find(&reader, root, path)?
                .ok_or_else(|| Failure::Input(format!("{} is not in snapshot {}", path.display(), info.id.short())))?;
            let path = Path::new("/").join(path);
            print(&entry, &path, output)?;
            if let (EntryType::Directory, Some(content)) = (entry.kind, &entry.content) {
                list(&reader, content, &path, output, &mut lost)?;
            }
        }
    }
    for (path, why) in &lost {
        repository.warnings.general("directory-damaged", format!("{}: {why}", path.display()));
    }
    output.flush()?;
    finish(&repository, output, !lost.is_empty())
}

fn finish(repository: &Repository, output: &mut Output, damaged: bool) -> Result<u8, Failure> {
    for warning in repository.warnings.all() {
        complain(format_args!("warning: {}", warning.message));
    }
    output.flush()?;
    Ok(if damaged { exit::INCOMPLETE } else { exit::OK })
}

fn list(
    reader: &BlobReader<'_>,
    directory: &Content,
    path: &Path,
    output: &mut Output,
    lost: &mut Vec<(PathBuf, String)>,
) -> Result<(), Failure> {
    let mut failure = None;
    let mut lost_here = Vec::new();
    let walked = reader.for_each_entry(
        directory,
        |entry| {
            let path = path.join(OsStr::from_bytes(&entry.name));
            let mut one = || {
                print(&entry, &path, output)?;
                match (entry.kind, &entry.content) {
                    (EntryType::Directory, Some(content)) => list(reader, content, &path, output, lost),
                    _ => Ok(()),
                }
            };
            one().map_err(|error| {
                failure = Some(error);
                RepositoryError::Interrupted
            })
        },
        |why| {
            lost_here.push(why.to_string());
            Ok(())
        },
    );
    lost.extend(lost_here.into_iter().map(|why| (path.to_owned(), why)));
    match failure {
        Some(failure) => Err(failure),
        None => Ok(walked?),
    }
}

fn print(entry: &Entry, path: &Path, output: &mut Output) -> Result<(), Failure> {
    let size = entry.file_size();
    let text = |name: &Option<Vec<u8>>, number: u32| name.as_deref().map_or(number.to_string(), printable);
    if output.json {
        return output.object(&json!({
            "path": path.to_string_lossy(),
            "path_hex": std::str::from_utf8(path.as_os_str().as_bytes()).is_err()
                .then(|| hex::encode(path.as_os_str().as_bytes())),
            "type": entry.kind.as_str(),
            "mode": format!("{:04o}", entry.mode),
            "uid": entry.uid,
            "gid": entry.gid,
            "user": entry.user.as_deref().map(String::from_utf8_lossy),
            "group": entry.group.as_deref().map(String::from_utf8_lossy),
            "size": size,
            "mtime": entry.mtime.to_rfc3339(),
            "xattrs": entry.xattrs.iter().flatten().map(xattr_json).collect::<Vec<_>>(),
            "flags": flags::names(entry.flags.unwrap_or(0)),
            "target": entry.target.as_deref().map(String::from_utf8_lossy),
        }));
    }
    let target = entry.target.as_deref().map(|target| format!(" -> {}", printable(target))).unwrap_or_default();
    output.line(format!(
        "{}{} {:<8} {:<8} {size:>12} {} {}{target}",
        letter(entry.kind),
        permissions(entry.mode),
        text(&entry.user, entry.uid),
        text(&entry.group, entry.gid),
        entry.mtime.to_local(),
        printable(path.as_os_str().as_bytes()),
    ))
}

fn xattr_json(xattr: &Xattr) -> Value {
    json!({ "name": String::from_utf8_lossy(&xattr.name), "value": hex::encode(&xattr.value) })
}

fn letter(kind: EntryType) -> char {
    match kind {
        EntryType::File => '-',
        EntryType::Directory => 'd',
        EntryType::Symlink => 'l',
        EntryType::BlockDevice => 'b',
        EntryType::CharDevice => 'c',
        EntryType::Fifo => 'p',
        EntryType::Socket => 's',
    }
}

/// The permission bits as `ls -l` writes them.
fn permissions(mode: u32) -> String {
    let mut text = String::with_capacity(9);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permission_bits() {
        assert_eq!(
            [0o644, 0o4755, 0o2644, 0o1777].map(permissions),
            ["rw-r--r--", "rwsr-xr-x", "rw-r-Sr--", "rwxrwxrwt"]
        );
    }
}

//! Chunks in a directory: a server for one person, without an object store.
//!
//! The layout is that of the plugin `local`, so that `obnam --repo DIR/TENANT` opens it without the server:
//!
//! ```text
//! DIR/TENANT/OBNAM-CHUNK-STORE        the marker
//! DIR/TENANT/LABEL/XX/ID              a chunk; XX are the first two digits of its id
//! DIR/TENANT/LABEL/.tmp-…             a chunk that is being written
//! DIR/.obnam-server/                  what the server keeps for itself
//! ```
//!
//! A chunk is written under a temporary name, synced, hard-linked to its own name (which replaces nothing), and the
//! directories are synced, in this order: it is either absent or whole and durable. No path leaves DIR, also by way of
//! symbolic links: everything is opened below a descriptor of DIR, which is opened anew for each call, so that a disk
//! that was mounted meanwhile is seen.

use std::collections::HashSet;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, MetadataExt, OpenOptions};
use hyper::body::Bytes;
use obnam_chunk::{ChunkId, Label};

use super::{ChunkName, MARKER, Stat, StoreError, Stored};
use crate::tenant::TenantName;

/// How the names of files that are being written begin.
const TEMPORARY: &str = ".tmp-";

/// Temporary files older than this were left by somebody who is gone.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// What the server keeps for itself in the directory. Tenants have no dots in their names.
const OWN: &str = ".obnam-server";

/// A directory with a folder for each tenant. Its calls block.
pub struct Folder {
    path: PathBuf,
    /// The directories below it that are known to be there and durable.
    durable: Mutex<HashSet<String>>,
}

impl Folder {
    /// At this place. Looks at nothing yet.
    pub fn at(path: &Path) -> Self {
        Folder { path: path.to_owned(), durable: Mutex::default() }
    }

    /// Where the server keeps what is its own.
    pub fn own(path: &Path) -> PathBuf {
        path.join(OWN)
    }

    /// Makes the directory and the server's own one in it, which nobody else may read.
    pub fn create(path: &Path) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::create_dir_all(path)?;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(Folder::own(path))
    }

    /// Whether the directory can be read.
    pub fn ping(&self) -> Result<(), StoreError> {
        let doing = || format!("read the directory {}", self.path.display());
        self.root().and_then(|root| root.entries()).map_err(failed(doing))?;
        Ok(())
    }

    /// The labels of a tenant that begin with this text, in ascending order.
    pub fn labels(&self, tenant: &TenantName, beginning: &str) -> Result<Vec<Label>, StoreError> {
        let doing = || format!("list the labels of tenant {tenant}");
        let names = self.names(tenant.as_str(), |kind| kind.is_dir()).map_err(failed(doing))?;
        Ok(names.iter().filter(|name| name.starts_with(beginning)).filter_map(|name| name.parse().ok()).collect())
    }

    /// At most `limit` chunks of a label in ascending order, behind `after`; and whether there are more.
    pub fn list(
        &self,
        tenant: &TenantName,
        label: &Label,
        after: Option<&ChunkId>,
        limit: usize,
    ) -> Result<(Vec<Stat>, bool), StoreError> {
        let doing = || format!("list {label} of tenant {tenant}");
        let after = after.map(ToString::to_string).unwrap_or_default();
        let mut found = Vec::new();
        for shard in self.names(&format!("{tenant}/{label}"), |kind| kind.is_dir()).map_err(failed(doing))? {
            if shard.len() != 2 || *shard < *after.get(..2).unwrap_or_default() {
                continue;
            }
            let ids = self.names(&format!("{tenant}/{label}/{shard}"), |kind| kind.is_file()).map_err(failed(doing))?;
            for name in ids.iter().filter(|name| name.starts_with(&shard) && **name > after) {
                let Ok(id) = name.parse::<ChunkId>() else { continue };
                if found.len() == limit {
                    return Ok((found, true));
                }
                // What was removed meanwhile is left out.
                found.extend(self.stat(tenant, &ChunkName { label: label.clone(), id })?);
            }
        }
        Ok((found, false))
    }

    /// What is known of a chunk; none when there is none.
    pub fn stat(&self, tenant: &TenantName, name: &ChunkName) -> Result<Option<Stat>, StoreError> {
        let doing = || format!("look at chunk {name} of tenant {tenant}");
        let found = self.root().and_then(|root| root.symlink_metadata(path(tenant, name)));
        let Some(data) = there(found).map_err(failed(doing))? else { return Ok(None) };
        if !data.is_file() {
            return Err(StoreError::new(doing(), "something else than a file has its name; move it away"));
        }
        Ok(Some(Stat {
            label: name.label.to_string(),
            id: name.id.to_string(),
            size: data.len(),
            // A hard link changes the status of the file, so this is when the chunk got its name; no user program can
            // set it, unlike the time of modification.
            stored: u64::try_from(data.ctime()).ok(),
        }))
    }

    /// A chunk and its length; none when there is none.
    pub fn open(&self, tenant: &TenantName, name: &ChunkName) -> Result<Option<(std::fs::File, u64)>, StoreError> {
        let opened = self.root().and_then(|root| root.open(path(tenant, name))).and_then(|file| {
            let size = file.metadata()?.len();
            Ok((file.into_std(), size))
        });
        there(opened).map_err(failed(|| format!("read chunk {name} of tenant {tenant}")))
    }

    /// Stores a chunk whose bytes were seen to be right; durable when it returns. What is there stays.
    pub fn write(&self, tenant: &TenantName, name: &ChunkName, bytes: &Bytes) -> Result<Stored, StoreError> {
        let doing = || format!("store chunk {name} of tenant {tenant}");
        if self.marker(tenant)?.is_none() {
            let place = self.path.join(tenant.as_str());
            let why = format!("{} has no file {MARKER}; is the disk mounted? was the place prepared?", place.display());
            return Err(StoreError::new(doing(), why));
        }
        self.write_chunk(tenant, name, bytes).map_err(|why| {
            if why.kind() == ErrorKind::NotFound {
                // Somebody has removed a directory that was known: the next try looks again.
                self.durable.lock().unwrap_or_else(PoisonError::into_inner).clear();
            }
            failed(doing)(why)
        })
    }

    fn write_chunk(&self, tenant: &TenantName, name: &ChunkName, bytes: &[u8]) -> io::Result<Stored> {
        let root = self.root()?;
        let label = format!("{tenant}/{}", name.label);
        let shard = shard(tenant, name);
        if self.provide(&root, tenant.as_str(), &label)? {
            remove_stale(&root.open_dir(&label)?);
        }
        self.provide(&root, &label, &shard)?;
        let directory = root.open_dir(&label)?;
        let target = format!("{}/{}", &name.id.to_string()[..2], name.id);
        let stored = place(&directory, &target, bytes)?;
        // Durable too where it was there before, whoever wrote it.
        sync(&root.open_dir(&shard)?)?;
        Ok(stored)
    }

    /// Makes a directory and sees to it that it is durable, at its first use; whether this was its first use.
    fn provide(&self, root: &Dir, parent: &str, path: &str) -> io::Result<bool> {
        if self.durable.lock().unwrap_or_else(PoisonError::into_inner).contains(path) {
            return Ok(false);
        }
        present(root.create_dir(path))?;
        sync(&root.open_dir(parent)?)?;
        self.durable.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned());
        Ok(true)
    }

    /// Removes a chunk; durable when it returns. One that is not there is no error.
    pub fn delete(&self, tenant: &TenantName, name: &ChunkName) -> Result<(), StoreError> {
        let remove = || {
            let root = self.root()?;
            let Some(directory) = there(root.open_dir(shard(tenant, name)))? else { return Ok(()) };
            there(directory.remove_file(name.id.to_string()))?;
            sync(&directory)
        };
        remove().map_err(failed(|| format!("remove chunk {name} of tenant {tenant}")))
    }

    /// What the marker of a tenant says; none where there is none.
    pub fn marker(&self, tenant: &TenantName) -> Result<Option<Vec<u8>>, StoreError> {
        let read = || {
            let file = self.root()?.open(format!("{tenant}/{MARKER}"))?;
            let mut text = Vec::new();
            file.take(4096).read_to_end(&mut text)?;
            Ok(text)
        };
        there(read()).map_err(failed(|| format!("read the file {MARKER} of tenant {tenant}")))
    }

    /// Makes a tenant's directory and writes its marker, durably.
    pub fn write_marker(&self, tenant: &TenantName, text: &[u8]) -> Result<(), StoreError> {
        let write = || {
            let root = self.root()?;
            present(root.create_dir(tenant.as_str()))?;
            sync(&root.open_dir(".")?)?;
            let directory = root.open_dir(tenant.as_str())?;
            place(&directory, MARKER, text)?;
            sync(&directory)
        };
        write().map_err(failed(|| format!("write the file {MARKER} of tenant {tenant}")))
    }

    /// Writes a file in the server's own directory, links and removes it: whether the file system has hard links.
    pub fn try_links(&self) -> Result<bool, StoreError> {
        let try_it = || {
            let own = self.root()?.open_dir(OWN)?;
            let file = Temporary::create(&own)?;
            let target = format!("{}-link", file.name);
            let linked = own.hard_link(&file.name, &own, &target);
            there(own.remove_file(&target))?;
            Ok(linked.is_ok())
        };
        try_it().map_err(failed(|| format!("write to {}", Folder::own(&self.path).display())))
    }

    fn root(&self) -> io::Result<Dir> {
        Dir::open_ambient_dir(&self.path, ambient_authority())
    }

    /// The names in a directory that are of one type, sorted; none where the directory is not there.
    fn names(&self, path: &str, kind: impl Fn(&cap_std::fs::FileType) -> bool) -> io::Result<Vec<String>> {
        let Some(directory) = there(self.root()?.open_dir(path))? else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for entry in directory.entries()? {
            let entry = entry?;
            if kind(&entry.file_type()?) {
                names.extend(entry.file_name().into_string());
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// `TENANT/LABEL/XX`
fn shard(tenant: &TenantName, name: &ChunkName) -> String {
    format!("{tenant}/{}/{}", name.label, &name.id.to_string()[..2])
}

/// `TENANT/LABEL/XX/ID`
fn path(tenant: &TenantName, name: &ChunkName) -> String {
    format!("{}/{}", shard(tenant, name), name.id)
}

/// Gives bytes a name, unless something has it.
fn place(directory: &Dir, target: &str, bytes: &[u8]) -> io::Result<Stored> {
    let mut file = Temporary::create(directory)?;
    file.file.write_all(bytes)?;
    file.file.sync_data()?;
    match directory.hard_link(&file.name, directory, target) {
        Ok(()) => Ok(Stored::Now),
        Err(why) if why.kind() == ErrorKind::AlreadyExists => Ok(Stored::Before),
        // FAT and some network file systems know no hard links. Renaming would replace a chunk that somebody else
        // stores at the very same moment, with the same bytes.
        Err(why)
            if matches!(why.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported | ErrorKind::TooManyLinks) =>
        {
            if there(directory.symlink_metadata(target))?.is_some() {
                return Ok(Stored::Before);
            }
            directory.rename(&file.name, directory, target)?;
            Ok(Stored::Now)
        }
        Err(why) => Err(why),
    }
}

/// A file under a temporary name; the name goes away when this is dropped.
struct Temporary<'a> {
    directory: &'a Dir,
    name: String,
    file: File,
}

impl<'a> Temporary<'a> {
    fn create(directory: &'a Dir) -> io::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let name = format!("{TEMPORARY}{}", hex::encode(random));
        let file = directory.open_with(&name, OpenOptions::new().write(true).create_new(true))?;
        Ok(Temporary { directory, name, file })
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        let _ = self.directory.remove_file(&self.name);
    }
}

/// Removes temporary files that nobody can be writing any more. Best effort: they do no harm.
fn remove_stale(directory: &Dir) {
    let now = SystemTime::now();
    for entry in directory.entries().into_iter().flatten().flatten() {
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        let written = entry.metadata().and_then(|data| data.modified()).map(|time| time.into_std());
        let age = written.ok().and_then(|written| now.duration_since(written).ok()).unwrap_or_default();
        if name.starts_with(TEMPORARY) && age > STALE && directory.remove_file(&name).is_ok() {
            tracing::info!("removed {name}, left by an interrupted upload");
        }
    }
}

/// Waits until the disk has the entries of a directory.
fn sync(directory: &Dir) -> io::Result<()> {
    // The descriptor at hand names the directory only; another one, to read it, can be synced.
    match directory.open(".")?.sync_all() {
        // Some network file systems cannot sync a directory; they have what they answered.
        Err(why) if matches!(why.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        result => result,
    }
}

/// None for what is not there.
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(why) if why.kind() == ErrorKind::NotFound => Ok(None),
        Err(why) => Err(why),
    }
}

/// What is there already need not be made.
fn present(made: io::Result<()>) -> io::Result<()> {
    match made {
        Err(why) if why.kind() == ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

fn failed(doing: impl Fn() -> String) -> impl Fn(io::Error) -> StoreError {
    move |why| StoreError {
        full: matches!(why.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded),
        ..StoreError::new(doing(), why.to_string())
    }
}

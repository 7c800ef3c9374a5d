//! What `check` finds: files that are not Obnam's, leftovers, and what the file system cannot do.

use crate::chunks::{LocalStore, TemporaryFile};
use crate::directory::{self, Entry};
use crate::errors::explain;
use crate::names::{self, LOST_AND_FOUND, MARKER, TEMPORARY};
use crate::{Error, Finding, marker};
use obnam_plugin::wasi::filesystem::types::{Descriptor, DescriptorType, ErrorCode};

/// How many foreign files are named.
const NAMED: usize = 20;

/// Looks at every directory of the store.
pub fn check(store: &LocalStore) -> Result<Vec<Finding>, Error> {
    marker::require(store)?;
    let mut survey = Survey::default();
    survey.directory(&store.root, ".", |entry| {
        entry.name == MARKER || entry.name == LOST_AND_FOUND || (is_directory(entry) && names::is_label(&entry.name))
    })?;
    for label in directory::names(&store.root, ".", DescriptorType::Directory, names::is_label)? {
        survey.directory(&store.root, &label, |entry| is_directory(entry) && names::is_shard(&entry.name))?;
        for shard in directory::names(&store.root, &label, DescriptorType::Directory, names::is_shard)? {
            survey.directory(&store.root, &format!("{label}/{shard}"), |entry| {
                entry.kind == DescriptorType::RegularFile && names::is_id(&entry.name) && entry.name.starts_with(&shard)
            })?;
        }
    }
    let mut findings = survey.findings(&store.path);
    findings.extend(probe(store));
    if !store.fsync {
        findings
            .push(Finding::warning("no-fsync", "with the option fsync=no a power failure can lose or damage chunks"));
    }
    Ok(findings)
}

fn is_directory(entry: &Entry) -> bool {
    entry.kind == DescriptorType::Directory
}

#[derive(Default)]
struct Survey {
    foreign: Vec<String>,
    foreign_count: usize,
    temporary_count: usize,
}

impl Survey {
    /// Counts what is in the directory `path` and passes no test for being Obnam's.
    fn directory(&mut self, root: &Descriptor, path: &str, ours: impl Fn(&Entry) -> bool) -> Result<(), Error> {
        let doing = format!("list {path}");
        let Some(opened) = directory::open(root, path).map_err(|code| explain(code, &doing))? else { return Ok(()) };
        for entry in directory::entries(&opened, &doing)? {
            if entry.name.starts_with(TEMPORARY) {
                self.temporary_count += 1;
            } else if !ours(&entry) {
                self.foreign_count += 1;
                if self.foreign.len() < NAMED {
                    self.foreign.push(format!("{path}/{}", entry.name));
                }
            }
        }
        Ok(())
    }

    fn findings(self, path: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        for name in &self.foreign {
            let name = name.strip_prefix("./").unwrap_or(name);
            let message = format!("{path}/{name} is not Obnam's; it is ignored");
            findings.push(Finding::warning("foreign-file", message));
        }
        if self.foreign_count > self.foreign.len() {
            let more = self.foreign_count - self.foreign.len();
            let message = format!("{more} more files below {path} are not Obnam's; they are ignored");
            findings.push(Finding::warning("foreign-files", message));
        }
        if self.temporary_count > 0 {
            let message = format!(
                "{} unfinished files below {path} belong to backups that are running or were interrupted; those older \
                 than a day are removed by later backups",
                self.temporary_count
            );
            findings.push(Finding::info("unfinished-files", message));
        }
        findings
    }
}

/// Writes, links and removes a file, to see what the file system can do.
fn probe(store: &LocalStore) -> Option<Finding> {
    let path = &store.path;
    let doing = format!("write to {path}");
    let file = match TemporaryFile::create(&store.root, "", &doing) {
        Ok(file) => file,
        Err(Error::Denied(message)) => return Some(Finding::warning("read-only", message)),
        Err(Error::Quota(message)) => return Some(Finding::warning("full", message)),
        Err(error) => return Some(Finding::error("not-writable", format!("{error}"))),
    };
    let target = format!("{}-link", file.name);
    let linked = file.link_only(&target);
    let _ = store.root.unlink_file_at(&target);
    match linked {
        Ok(()) | Err(ErrorCode::Exist) => None,
        Err(_) => Some(Finding::warning(
            "no-hard-links",
            format!(
                "the file system of {path} has no hard links, so two computers that store one chunk at the same moment \
                 replace each other's copy"
            ),
        )),
    }
}

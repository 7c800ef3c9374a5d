//! Pages of chunks, read one directory of chunks at a time.

use crate::chunks::{LocalStore, info};
use crate::directory;
use crate::errors::explain;
use crate::names;
use crate::{Error, Page};
use obnam_plugin::listing::Listing;
use obnam_plugin::wasi::filesystem::types::DescriptorType;

/// One page, see the contract.
pub fn page(store: &LocalStore, filter: &str, after: Option<&str>, limit: u32) -> Result<Page, Error> {
    let mut page = Listing::new(filter, after, limit)?;
    let labels = directory::names(&store.root, ".", DescriptorType::Directory, |name| page.wants_label(name))?;
    for label in labels {
        let floor = page.floor(&label);
        let shards = directory::names(&store.root, &label, DescriptorType::Directory, |name| {
            names::is_shard(name) && name >= names::shard(floor)
        })?;
        for shard in shards {
            let path = format!("{label}/{shard}");
            let ids = directory::names(&store.root, &path, DescriptorType::RegularFile, |name| {
                name.starts_with(&shard) && page.wants(&label, name)
            })?;
            for id in ids {
                if page.room() == 0 {
                    return Ok(page.to_be_continued());
                }
                let stat = directory::stat(&store.root, &format!("{path}/{id}"))
                    .map_err(|code| explain(code, &format!("look at chunk {label}/{id} in {}", store.path)))?;
                // What was removed meanwhile is left out.
                if let Some(stat) = stat {
                    page.push(info(&label, &id, &stat));
                }
            }
        }
    }
    Ok(page.last())
}

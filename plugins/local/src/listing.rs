//! Pages of chunks, read one directory of chunks at a time.

use crate::chunks::{LocalStore, info};
use crate::directory;
use crate::errors::explain;
use crate::names;
use crate::{Error, Page};
use obnam_plugin::wasi::filesystem::types::DescriptorType;

/// One page; `after` is the `label/id` of the last chunk on the page before.
pub fn page(store: &LocalStore, filter: &str, after: Option<&str>, limit: usize) -> Result<Page, Error> {
    let (after_label, after_id) = match after {
        None => ("", ""),
        Some(cursor) => cursor
            .split_once('/')
            .filter(|(label, id)| names::is_label(label) && names::is_id(id))
            .ok_or_else(|| Error::Invalid(format!("{cursor:?} is not where a page of this listing ended")))?,
    };
    let mut page = Page { chunks: Vec::new(), next: None };
    let labels = directory::names(&store.root, ".", DescriptorType::Directory, |name| {
        names::is_label(name) && names::passes(filter, name) && name >= after_label
    })?;
    for label in labels {
        let floor = if label == after_label { after_id } else { "" };
        let shards = directory::names(&store.root, &label, DescriptorType::Directory, |name| {
            names::is_shard(name) && name >= names::shard(floor)
        })?;
        for shard in shards {
            let path = format!("{label}/{shard}");
            let ids = directory::names(&store.root, &path, DescriptorType::RegularFile, |name| {
                names::is_id(name) && name.starts_with(&shard) && name > floor
            })?;
            for id in ids {
                if page.chunks.len() == limit {
                    page.next = page.chunks.last().map(|chunk| format!("{}/{}", chunk.label, chunk.id));
                    return Ok(page);
                }
                let stat = directory::stat(&store.root, &format!("{path}/{id}"))
                    .map_err(|code| explain(code, &format!("look at chunk {label}/{id} in {}", store.path)))?;
                // What was removed meanwhile is left out.
                if let Some(stat) = stat {
                    page.chunks.push(info(&label, &id, &stat));
                }
            }
        }
    }
    Ok(page)
}

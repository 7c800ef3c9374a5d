//! Pages of chunks, read one folder of chunks at a time, so that memory stays bounded.

use obnam_plugin::listing::Listing;
use obnam_plugin::{ChunkInfo, Error, Page};

use crate::chunks::DavStore;
use crate::dav::{self, Entry};
use crate::names;
use crate::settings::Settings;

/// One page, see the contract.
pub fn page(store: &DavStore, filter: &str, after: Option<&str>, limit: u32) -> Result<Page, Error> {
    let mut page = Listing::new(filter, after, limit)?;
    for label in
        labels(&store.settings, filter)?.into_iter().filter(|label| page.wants_label(label)).collect::<Vec<_>>()
    {
        let floor = page.floor(&label);
        for shard in shards(&store.settings, &label)?.into_iter().filter(|shard| shard.as_str() >= names::shard(floor))
        {
            for entry in
                chunks(&store.settings, &label, &shard)?.into_iter().filter(|entry| entry.name.as_str() > floor)
            {
                if page.room() == 0 {
                    return Ok(page.to_be_continued());
                }
                if let Some(info) = info(store, &label, entry)? {
                    page.push(info);
                }
            }
        }
    }
    Ok(page.last())
}

/// What a page says of a chunk; `None` when it was removed meanwhile.
fn info(store: &DavStore, label: &str, entry: Entry) -> Result<Option<ChunkInfo>, Error> {
    let Entry { name: id, properties } = entry;
    match properties.size {
        Some(size) => Ok(Some(ChunkInfo { label: label.into(), id, size, stored: properties.modified })),
        None => match store.stat_chunk(label, &id) {
            Err(Error::NotFound(_)) => Ok(None),
            result => result.map(Some),
        },
    }
}

/// The labels that pass a filter, in ascending order.
pub fn labels(settings: &Settings, filter: &str) -> Result<Vec<String>, Error> {
    if names::is_exact(filter) {
        return Ok(vec![filter.to_owned()]);
    }
    let doing = format!("list {}", settings.place);
    let Some(all) = dav::entries(settings, "", &doing)? else {
        return Err(Error::NotInitialised(format!("could not {doing}: the folder is not there any more")));
    };
    Ok(folders(all, |name| names::is_label(name) && names::passes(filter, name)))
}

/// The folders of chunks of a label, in ascending order.
pub fn shards(settings: &Settings, label: &str) -> Result<Vec<String>, Error> {
    let folder = names::label_folder(label);
    let all = dav::entries(settings, &folder, &format!("list {folder} in {}", settings.place))?;
    Ok(folders(all.unwrap_or_default(), names::is_shard))
}

fn folders(entries: Vec<Entry>, is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let wanted = entries.into_iter().filter(|entry| entry.properties.is_folder && is_wanted(&entry.name));
    let mut names: Vec<String> = wanted.map(|entry| entry.name).collect();
    names.sort_unstable();
    names
}

/// The chunks in a folder of them, in ascending order.
pub fn chunks(settings: &Settings, label: &str, shard: &str) -> Result<Vec<Entry>, Error> {
    let folder = names::shard_folder(label, shard);
    let all = dav::entries(settings, &folder, &format!("list {folder} in {}", settings.place))?;
    let mut chunks = all.unwrap_or_default();
    chunks
        .retain(|entry| !entry.properties.is_folder && names::is_id(&entry.name) && names::shard(&entry.name) == shard);
    chunks.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(chunks)
}

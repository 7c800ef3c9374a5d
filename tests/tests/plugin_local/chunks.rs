//! Storing, reading, listing and removing chunks.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Barrier;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use obnam::chunk::{LabelFilter, MAX_CHUNK_SIZE};
use obnam::plugin::{StoreSpec, bundled_for, inspect, open_store};
use obnam::store::{ChunkStore, PutOutcome, RemoveOutcome, StoreErrorKind};

use super::{file_of, place};
use crate::plugin_support::{chunk, label, local, local_store, text};

#[test]
fn describes_itself() {
    let spec = StoreSpec::for_location("/srv/backup").unwrap();
    let info = inspect(&spec.source, None, &spec.limits).unwrap();
    assert_eq!((info.name.as_str(), info.schemes.as_slice()), ("local", &["file".to_owned()][..]));
    assert_eq!(info.options.iter().map(|option| option.name.as_str()).collect::<Vec<_>>(), ["fsync"]);
    assert!(info.put_streams);
    assert!(info.imports.iter().all(|import| import.starts_with("wasi:")), "{:?}", info.imports);
    assert_eq!(bundled_for("/srv"), Some("local"));
}

#[test]
fn chunks_of_all_sizes_survive() {
    let (_top, place) = place();
    let store = local_store(&place);
    for (seed, size) in [0, 1, 4095, 4096, 65_536, 65_537, 1 << 20, MAX_CHUNK_SIZE as usize].into_iter().enumerate() {
        let (id, bytes) = chunk(seed as u64, size);
        assert_eq!(store.put(&label("data"), &id, bytes.clone()).unwrap(), PutOutcome::Stored, "{size}");
        assert_eq!(fs::read(file_of(&place, "data", &id)).unwrap(), bytes, "{size}");
        assert_eq!(store.get(&label("data"), &id, None).unwrap(), bytes, "{size}");
        let info = store.stat(&label("data"), &id).unwrap();
        assert_eq!((info.size, info.id), (size as u64, id));
        let age = SystemTime::now().duration_since(info.stored.unwrap()).unwrap_or_default();
        assert!(age < Duration::from_secs(120), "{age:?}");
    }
    let (id, bytes) = chunk(99, MAX_CHUNK_SIZE as usize + 1);
    let error = store.put(&label("data"), &id, bytes).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Invalid);
}

#[test]
fn works_with_fsync() {
    let (_top, place) = place();
    let store = open_store(&StoreSpec { options: Vec::new(), ..local(&place) }).unwrap();
    store.init().unwrap();
    let (id, bytes) = chunk(1, 100_000);
    assert_eq!(store.put(&label("data"), &id, bytes.clone()).unwrap(), PutOutcome::Stored);
    assert_eq!(store.put(&label("data"), &id, bytes.clone()).unwrap(), PutOutcome::AlreadyPresent);
    assert_eq!(store.remove(&label("data"), &id).unwrap(), RemoveOutcome::Removed);
    assert!(store.check().unwrap().is_empty());
}

#[test]
fn put_is_idempotent_and_never_replaces() {
    let (_top, place) = place();
    let store = local_store(&place);
    let (id, bytes) = chunk(1, 1000);
    assert_eq!(store.put(&label("data"), &id, bytes.clone()).unwrap(), PutOutcome::Stored);
    assert_eq!(store.put(&label("data"), &id, bytes.clone()).unwrap(), PutOutcome::AlreadyPresent);
    // The same id under another label is another chunk.
    assert_eq!(store.put(&label("tree"), &id, bytes.clone()).unwrap(), PutOutcome::Stored);

    fs::write(file_of(&place, "data", &id), b"something else").unwrap();
    let error = store.put(&label("data"), &id, bytes).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Corrupt);
    assert!(error.message.contains("14 bytes instead of 1000"), "{error}");
    assert_eq!(fs::read(file_of(&place, "data", &id)).unwrap(), b"something else");
}

#[test]
fn many_threads_store_one_chunk() {
    let (_top, place) = place();
    let store = local_store(&place);
    // As another computer would: with instances of its own.
    let other = open_store(&local(&place)).unwrap();
    let barrier = Barrier::new(16);
    for seed in 0..20 {
        let (id, bytes) = chunk(seed, 200_000);
        let stored: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16)
                .map(|n| {
                    let (store, bytes, barrier) = (if n % 2 == 0 { &store } else { &other }, bytes.clone(), &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        store.put(&label("data"), &id, bytes).unwrap()
                    })
                })
                .collect();
            threads.into_iter().filter(|_| true).map(|t| t.join().unwrap()).filter(|o| *o == PutOutcome::Stored).count()
        });
        assert_eq!(stored, 1);
        assert_eq!(store.get(&label("data"), &id, None).unwrap(), bytes);
    }
    let leftovers = fs::read_dir(place.join("data"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".tmp"));
    assert_eq!(leftovers.count(), 0);
}

#[test]
fn listing_goes_page_by_page() {
    let (_top, place) = place();
    let store = local_store(&place);
    let mut expected = BTreeSet::new();
    for (name, count) in
        [("data", 2500), ("data.x", 3), ("data-x", 3), ("snapshot.0a", 5), ("snapshot.0b", 5), ("snapshots", 1)]
    {
        for n in 0..count {
            let (id, bytes) = chunk(n + 1, (n % 40) as usize);
            // As put would, but much faster.
            let file = file_of(&place, name, &id);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, &bytes).unwrap();
            expected.insert((label(name), id, bytes.len() as u64));
        }
    }
    let mut pages = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.list_page(&LabelFilter::All, after.as_deref()).unwrap();
        pages.push(page.chunks.len());
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let total: usize = pages.iter().sum();
    assert_eq!((total, pages.len()), (expected.len(), expected.len().div_ceil(1000)), "{pages:?}");

    let all = store.list(&LabelFilter::All).unwrap();
    let keys: Vec<_> = all.iter().map(|info| (info.label.clone(), info.id, info.size)).collect();
    assert!(keys.is_sorted());
    assert_eq!(keys.into_iter().collect::<BTreeSet<_>>(), expected);

    let count = |filter: LabelFilter| store.list(&filter).unwrap().len();
    let data = expected.iter().filter(|(name, ..)| name.as_str() == "data").count();
    assert_eq!(count(LabelFilter::Exactly(label("data"))), data);
    assert_eq!(count(LabelFilter::Family(label("snapshot"))), 10);
    assert_eq!(count(LabelFilter::Family(label("data"))), 3);
    assert_eq!(count(LabelFilter::Exactly(label("absent"))), 0);

    // Exactly 1,000 chunks make one page, without a second one.
    let error = store.list_page(&LabelFilter::All, Some("nonsense")).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Invalid);
}

#[test]
fn a_full_page_may_be_the_last() {
    let (_top, place) = place();
    let store = local_store(&place);
    let mut ids = BTreeSet::new();
    for n in 0.. {
        let (id, bytes) = chunk(n, 8);
        let file = file_of(&place, "data", &id);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, &bytes).unwrap();
        ids.insert(id);
        if ids.len() == 1000 {
            break;
        }
    }
    let page = store.list_page(&LabelFilter::All, None).unwrap();
    assert_eq!((page.chunks.len(), page.next), (1000, None));
}

#[test]
fn ranges_and_their_edges() {
    let (_top, place) = place();
    let store = local_store(&place);
    let data = label("data");
    for size in [0_u64, 1, 1000, 700_000] {
        let (id, bytes) = chunk(size, size as usize);
        store.put(&data, &id, bytes.clone()).unwrap();
        let ranges =
            [0..0, 0..size, size..size, 0..size / 2, size / 2..size, size.saturating_sub(1)..size, 0..size.min(1)];
        for range in ranges {
            let wanted: Bytes = bytes.slice(range.start as usize..range.end as usize);
            assert_eq!(store.get(&data, &id, Some(range.clone())).unwrap(), wanted, "{range:?} of {size}");
        }
        for range in [0..size + 1, size..size + 1, size + 1..size + 1, size + 1..size + 2, u64::MAX - 1..u64::MAX] {
            let error = store.get(&data, &id, Some(range.clone())).unwrap_err();
            assert_eq!(error.kind, StoreErrorKind::Invalid, "{range:?} of {size}");
            assert!(error.message.contains(&format!("it has {size} bytes")), "{error}");
        }
    }
    let (id, _) = chunk(1000, 1000);
    #[allow(clippy::reversed_empty_ranges)]
    let backwards = store.get(&data, &id, Some(5..3)).unwrap_err();
    assert_eq!(backwards.kind, StoreErrorKind::Invalid);
}

#[test]
fn absent_and_removed_chunks() {
    let (_top, place) = place();
    let store = local_store(&place);
    let data = label("data");
    let (id, bytes) = chunk(1, 10);
    for attempt in 0..2 {
        let error = store.get(&data, &id, None).unwrap_err();
        assert!(error.is_not_found(), "{error}");
        assert!(error.message.contains(&id.to_string()) && error.message.contains(&text(&place)), "{error}");
        assert!(store.get(&data, &id, Some(0..1)).unwrap_err().is_not_found());
        assert!(store.stat(&data, &id).unwrap_err().is_not_found());
        assert_eq!(store.remove(&data, &id).unwrap(), RemoveOutcome::Removed);
        if attempt == 0 {
            store.put(&data, &id, bytes.clone()).unwrap();
            assert_eq!(store.remove(&data, &id).unwrap(), RemoveOutcome::Removed);
        }
    }
}

#[test]
fn directories_may_vanish() {
    let (_top, place) = place();
    let store = open_store(&StoreSpec { workers: 1, ..local(&place) }).unwrap();
    store.init().unwrap();
    let (id, bytes) = chunk(1, 1000);
    let data = label("data");
    store.put(&data, &id, bytes.clone()).unwrap();
    fs::remove_dir_all(file_of(&place, "data", &id).parent().unwrap()).unwrap();
    assert_eq!(store.put(&data, &id, bytes.clone()).unwrap(), PutOutcome::Stored);
    fs::remove_dir_all(place.join("data")).unwrap();
    assert_eq!(store.put(&data, &id, bytes.clone()).unwrap(), PutOutcome::Stored);
    assert_eq!(store.get(&data, &id, None).unwrap(), bytes);
}

#[test]
fn damage_is_found_by_reading() {
    let (_top, place) = place();
    let store = local_store(&place);
    let (id, bytes) = chunk(1, 1000);
    store.put(&label("data"), &id, bytes.clone()).unwrap();
    let mut damaged = bytes.to_vec();
    damaged[500] ^= 1;
    fs::write(file_of(&place, "data", &id), &damaged).unwrap();
    let error = store.get(&label("data"), &id, None).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Corrupt);
    assert!(error.message.contains("plugin local") && error.message.contains(&format!("data/{id}")), "{error}");
}

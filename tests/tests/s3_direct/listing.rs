//! Listings: the order of labels is not the order of keys.

use std::collections::BTreeSet;

use obnam::chunk::{ChunkId, LabelFilter};
use obnam::store::ChunkStore;
use obnam_tests::s3::fake::{FakeS3, Faults, Object};

use super::{PREFIX, key, prepared};

/// Labels of which some begin with others.
const LABELS: [&str; 7] = ["data", "data-x", "data.x", "data.y", "data0", "snapshot.a", "snapshot.a-b"];

/// Puts chunks there: (label, id) of all of them.
fn fill(fake: &FakeS3, each: u64) -> BTreeSet<(String, String)> {
    let mut all = BTreeSet::new();
    for label in LABELS {
        for number in 0..each {
            let bytes = format!("{label} {number}");
            let id = ChunkId::of(bytes.as_bytes());
            fake.set_object(&key(label, &id), Object::new(bytes));
            all.insert((label.to_owned(), id.to_string()));
        }
    }
    for foreign in ["data/README", "data/0a/b", "Data/x", "snapshot.a/", "zzz", "lost+found/x", "data.x/Thumbs.db"] {
        fake.set_object(&format!("{PREFIX}/{foreign}"), Object::new("foreign"));
    }
    fake.set_object(&format!("{PREFIX}2/data/{}", ChunkId::of(b"")), Object::new(""));
    all
}

fn listed(store: &impl ChunkStore, filter: &LabelFilter) -> Vec<(String, String)> {
    let all = store.list(filter).unwrap();
    assert!(all.iter().all(|info| info.stored.is_some() && info.size > 0));
    all.into_iter().map(|info| (info.label.to_string(), info.id.to_string())).collect()
}

fn check(fake: &FakeS3, store: &impl ChunkStore, all: &BTreeSet<(String, String)>) {
    let expected = |passes: &dyn Fn(&str) -> bool| -> Vec<(String, String)> {
        all.iter().filter(|(label, _)| passes(label)).cloned().collect()
    };
    fake.forget_requests();
    assert_eq!(listed(store, &LabelFilter::All), expected(&|_| true));
    for label in LABELS {
        assert_eq!(listed(store, &LabelFilter::Exactly(label.parse().unwrap())), expected(&|known| known == label));
    }
    for family in ["data", "snapshot", "absent"] {
        let front = format!("{family}.");
        let filter = LabelFilter::Family(family.parse().unwrap());
        assert_eq!(listed(store, &filter), expected(&|known| known.starts_with(&front)), "{family}");
    }
}

#[test]
fn what_fits_on_a_page_takes_one_request() {
    let (fake, store) = prepared(Faults::default());
    let all = fill(&fake, 20);
    check(&fake, &store, &all);
    assert_eq!(fake.requests().len(), 1 + LABELS.len() + 3);
}

#[test]
fn many_chunks_take_many_pages() {
    let (fake, store) = prepared(Faults::default());
    let all = fill(&fake, 1050);
    check(&fake, &store, &all);
}

#[test]
fn stores_may_give_fewer_than_they_are_asked_for() {
    let (fake, store) = prepared(Faults { page_size: 3, ..Faults::default() });
    let all = fill(&fake, 10);
    check(&fake, &store, &all);
}

#[test]
fn an_empty_place_has_no_chunks() {
    let (_fake, store) = prepared(Faults::default());
    assert_eq!(store.list(&LabelFilter::All).unwrap(), []);
}

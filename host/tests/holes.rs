//! Sparse files whose runs of data do not fit their content: whoever wrote them, they cost themselves only.
#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::fs::MetadataExt;

use obnam::check::Severity;
use obnam::format::blob::BlobKind;
use obnam::format::content::{Content, Item};
use obnam::format::entry::{Entry, EntryType, Pair};
use obnam::format::to_cbor;
use support::*;

type Case<'a> = (&'a str, Option<u64>, Option<&'a [(u64, u64)]>);

#[test]
fn runs_that_do_not_fit_are_reported_and_the_rest_is_restored() {
    let world = World::new();
    let repository = world.open();
    let forger = Forger::new(&repository);
    let pieces = [noise(1, 70_000), noise(2, 30_000)];
    let content = {
        let items =
            pieces.iter().map(|piece| Item { id: forger.hasher.id(BlobKind::Data, piece), size: piece.len() as u64 });
        Content::new(0, &items.collect::<Vec<_>>())
    };
    let good: [Case<'_>; 3] = [
        ("a dense", None, None),
        ("b sparse", Some(50_000_000), Some(&[(1_000_000, 1), (1_100_000, 69_998), (40_000_000, 30_001)])),
        ("c no hole", Some(100_000), Some(&[(0, 100_000)])),
    ];
    let bad: [Case<'_>; 6] = [
        ("d no runs", Some(100_000), None),
        ("e no size", None, Some(&[(0, 100_000)])),
        ("f too short", Some(1_000_000), Some(&[(0, 99_999)])),
        ("g too long", Some(1_000_000), Some(&[(0, 100_001)])),
        ("h outside", Some(1_000_000), Some(&[(999_999, 100_000)])),
        ("i beyond all numbers", Some(u64::MAX), Some(&[(u64::MAX - 5, 100_000)])),
    ];
    let stream: Vec<u8> = good
        .iter()
        .chain(&bad)
        .flat_map(|(name, size, runs)| {
            to_cbor(&Entry {
                content: Some(content.clone()),
                size: *size,
                extents: runs.map(|runs| runs.iter().map(|&(offset, length)| Pair(offset, length)).collect()),
                ..entry(name.as_bytes(), EntryType::File)
            })
        })
        .collect();
    let pack =
        forger.pack("data", &[(BlobKind::Data, &pieces[0]), (BlobKind::Data, &pieces[1]), (BlobKind::Tree, &stream)]);
    let root = Content::new(0, &[Item { id: forger.hasher.id(BlobKind::Tree, &stream), size: stream.len() as u64 }]);
    let snapshot = forger.snapshot(1, root, Some(&forger.index_of(&[&pack])));
    let id = forger.put_snapshot(&snapshot);

    let restored = restore(&repository, &id);
    let dense = pieces.concat();
    assert_eq!(std::fs::read(restored.root().join("a dense")).unwrap(), dense);
    assert_eq!(std::fs::read(restored.root().join("c no hole")).unwrap(), dense);
    let mut sparse = vec![0; 50_000_000];
    let mut content = dense.as_slice();
    for &(offset, length) in good[1].2.unwrap() {
        let (run, rest) = content.split_at(length as usize);
        sparse[offset as usize..][..run.len()].copy_from_slice(run);
        content = rest;
    }
    let path = restored.root().join("b sparse");
    assert!(std::fs::read(&path).unwrap() == sparse);
    assert!(std::fs::metadata(&path).unwrap().blocks() * 512 < 10_000_000);
    assert_eq!(restored.problems.len(), bad.len(), "{:?}", restored.problems);
    for (name, ..) in bad {
        assert!(!restored.root().join(name).exists(), "{name}");
        assert!(restored.problems.iter().any(|problem| problem.path.ends_with(name)), "{name}");
    }
    let found = findings(&check(&repository, false));
    let errors = found.iter().filter(|(severity, code, _)| (*severity, *code) == (Severity::Error, "file-damaged"));
    assert_eq!(errors.count(), bad.len(), "{found:?}");
}

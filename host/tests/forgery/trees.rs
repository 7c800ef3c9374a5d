//! Hostile members: trees and contents.

use std::path::{Path, PathBuf};

use obnam::chunk::ChunkId;
use obnam::format::blob::BlobKind;
use obnam::format::content::{Content, Item, encode_items};
use obnam::format::entry::{Entry, EntryType, Pair};
use obnam::format::to_cbor;

use super::Scene;
use crate::support::*;

/// Stores a directory of these entries and returns its content, with the index that finds it.
fn directory(forger: &Forger<'_>, entries: &[Entry]) -> Content {
    let stream: Vec<u8> = entries.iter().flat_map(to_cbor).collect();
    let pack = forger.pack("tree", &[(BlobKind::Tree, &stream)]);
    forger.index(&forger.index_of(&[&pack]));
    Content::new(0, &[Item { id: pack.blobs[0].id, size: stream.len() as u64 }])
}

pub(super) fn snapshot_of(forger: &Forger<'_>, sequence: u64, entries: &[Entry]) -> ChunkId {
    let root = directory(forger, entries);
    forger.put_snapshot(&forger.snapshot(sequence, root, None))
}

/// Stores contents and gives a file entry of them.
fn file(forger: &Forger<'_>, name: &[u8], contents: &[u8]) -> Entry {
    let pack = forger.pack("data", &[(BlobKind::Data, contents)]);
    forger.index(&forger.index_of(&[&pack]));
    let item = Item { id: pack.blobs[0].id, size: contents.len() as u64 };
    Entry { content: Some(Content::new(0, &[item])), ..entry(name, EntryType::File) }
}

#[test]
fn content_lists_that_make_no_sense_are_named() {
    let scene = Scene::new();
    let hostile = scene.hostile();
    let repository = scene.world.open_as(&hostile);
    let forger = Forger::new(&repository);
    let good = file(&forger, b"zz good", b"good");
    let leaf = good.content.as_ref().unwrap().items().unwrap().next().unwrap();
    let list = |items: &[Item], size: u64| {
        let bytes = encode_items(items);
        let pack = forger.pack("tree", &[(BlobKind::List, &bytes)]);
        forger.index(&forger.index_of(&[&pack]));
        Item { id: pack.blobs[0].id, size }
    };
    let with =
        |name: &str, content: Content| Entry { content: Some(content), ..entry(name.as_bytes(), EntryType::File) };
    // Eight deep is the limit.
    let mut deep = leaf;
    for _ in 0..8 {
        deep = list(&[deep], 4);
    }
    let eight = with("a eight", Content::new(8, &[deep]));
    let nine = with("b nine", Content::new(9, &[list(&[deep], 4)]));
    let too_much = with("c too much", Content::new(1, &[list(&[leaf, leaf], 4)]));
    let overflow =
        with("d overflow", Content::new(1, &[list(&[Item { size: u64::MAX, ..leaf }, Item { size: 5, ..leaf }], 4)]));
    let bad_leaf = with("e wrong length", Content::new(0, &[Item { size: 1000, ..leaf }]));
    // A list of empty things would have no end: 400 to the power of 8 leaves, in no bytes.
    let mut bomb = Item { size: 0, ..leaf };
    for _ in 0..8 {
        bomb = list(&vec![bomb; 400], 0);
    }
    let endless = with("f endless", Content::new(8, &[bomb]));
    let mut lies = Content::new(0, &[leaf]);
    lies.size = 77;
    let lies = with("g lies", lies);
    let tree_blob = directory(&forger, std::slice::from_ref(&good)).items().unwrap().next().unwrap();
    let kind = with("h kind", Content::new(0, &[tree_blob]));
    let snapshot = snapshot_of(&forger, 1, &[eight, nine, too_much, overflow, bad_leaf, endless, lies, kind, good]);
    let restored = restore(&scene.world.open(), &snapshot);
    let root = restored.root();
    assert_eq!(std::fs::read(root.join("a eight")).unwrap(), b"good");
    assert_eq!(std::fs::read(root.join("zz good")).unwrap(), b"good");
    let problems: Vec<_> = restored.problems.iter().map(|p| p.path.file_name().unwrap().to_str().unwrap()).collect();
    let mut expected =
        ["b nine", "c too much", "d overflow", "e wrong length", "f endless", "g lies", "h kind"].to_vec();
    let mut found = problems.clone();
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "{:#?}", restored.problems);
    let report = check(&scene.world.open(), false);
    for name in expected {
        let end = format!(":/{name}");
        let named = |path: &Option<String>| path.as_ref().is_some_and(|path| path.ends_with(&end));
        assert!(
            report.findings.iter().any(|found| found.code == "file-damaged" && named(&found.path)),
            "{name}: {:#?}",
            report.findings
        );
    }
    scene.assert_unharmed();
}

#[test]
fn hostile_names_in_a_tree_stay_below_the_target() {
    let scene = Scene::new();
    let hostile = scene.hostile();
    let repository = scene.world.open_as(&hostile);
    let forger = Forger::new(&repository);
    let names: [&[u8]; 9] = [b"..", b".", b"", b"a/b", b"/evil", b"../evil", b"nul\0", b"..\0", b"x/../../evil"];
    for (name, sequence) in names.iter().zip(1..) {
        for kind in [EntryType::File, EntryType::Directory, EntryType::Symlink, EntryType::Fifo] {
            let mut bad = file(&forger, name, b"evil");
            bad.kind = kind;
            bad.target = Some(b"/".to_vec());
            let snapshot = snapshot_of(&forger, sequence, &[file(&forger, b"a good", b"good"), bad]);
            let restored = restore(&scene.world.open(), &snapshot);
            assert_eq!(restored.problems.len(), 1, "{name:?}: {:?}", restored.problems);
            assert!(restored.problems[0].message.contains("a name that no file can have"), "{:?}", restored.problems);
            assert_eq!(restored.outside(), Vec::<PathBuf>::new());
            let found: Vec<_> = tree(&restored.root()).into_keys().collect();
            assert_eq!(found, [Path::new(""), Path::new("a good")]);
        }
    }
    let report = check(&scene.world.open(), false);
    assert!(report.findings.iter().any(|found| found.code == "file-damaged"), "{:#?}", report.findings);
    scene.assert_unharmed();
}

#[test]
fn restore_does_not_write_through_symlinks() {
    let scene = Scene::new();
    let hostile = scene.hostile();
    let repository = scene.world.open_as(&hostile);
    let forger = Forger::new(&repository);
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("precious"), "precious").unwrap();
    let before = tree(outside.path());
    let target = outside.path().as_os_str().as_encoded_bytes().to_vec();
    let link = |name: &[u8], target: &[u8]| Entry {
        target: Some(target.to_vec()),
        mode: 0o777,
        ..entry(name, EntryType::Symlink)
    };
    let inner = directory(&forger, &[file(&forger, b"planted", b"evil"), file(&forger, b"precious", b"evil")]);
    let precious = [target.as_slice(), b"/precious"].concat();
    let pair = Some(Pair(1, 2));
    let entries = vec![
        link(b"a", &target),
        Entry { content: Some(inner.clone()), ..entry(b"a", EntryType::Directory) },
        link(b"b", &precious),
        file(&forger, b"b", b"evil"),
        // A directory, then a link of the same name, then the directory again.
        Entry { content: Some(inner.clone()), ..entry(b"c", EntryType::Directory) },
        link(b"c", &target),
        Entry { content: Some(inner), ..entry(b"c", EntryType::Directory) },
        // A hard link whose first name is a symbolic link that points outside.
        link(b"d", &precious),
        Entry { hard_link: pair, ..file(&forger, b"d", b"evil") },
        Entry { hard_link: pair, mode: 0o777, ..file(&forger, b"e", b"evil") },
        // One that is its own first name.
        Entry { hard_link: Some(Pair(3, 4)), ..file(&forger, b"b", b"evil") },
        entry(b"b", EntryType::Fifo),
    ];
    let snapshot = snapshot_of(&forger, 1, &entries);
    let restored = restore(&scene.world.open(), &snapshot);
    assert_eq!(tree(outside.path()), before, "nothing outside was touched");
    assert_eq!(restored.outside(), Vec::<PathBuf>::new());
    let root = restored.root();
    // Links are made as they are.
    assert_eq!(std::fs::read_link(root.join("a")).unwrap(), outside.path());
    assert_eq!(std::fs::read_link(root.join("b")).unwrap().as_os_str().as_encoded_bytes(), precious);
    assert_eq!(std::fs::read(root.join("c/planted")).unwrap(), b"evil");
    assert!(!root.join("c").is_symlink());
    let twice = restored.problems.iter().filter(|problem| problem.message.contains("there twice")).count();
    assert_eq!(twice, 7, "{:#?}", restored.problems);
    scene.assert_unharmed();
}

/// The same, below the check for names that are there twice.
#[test]
fn the_target_follows_no_symlink() {
    use obnam::restore::Options;
    use obnam::restore::folder::{Folder, OpenFolders};
    use obnam::restore::metadata::Known;
    use obnam::restore::target::Target;
    let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(outside.path().join("precious"), "precious").unwrap();
    let before = tree(outside.path());
    let target = Target::open(&Options::new(inside.path().to_owned())).unwrap();
    let root = target.root().unwrap().unwrap();
    let top = Folder::root(true);
    let link = |name: &str, to: &Path| {
        let to = Some(to.as_os_str().as_encoded_bytes().to_vec());
        let entry = Entry { target: to, ..entry(name.as_bytes(), EntryType::Symlink) };
        target.make_other(&root, name.as_ref(), &entry).unwrap();
    };
    link("dir", outside.path());
    link("file", &outside.path().join("precious"));
    link("dangling", &outside.path().join("new"));
    assert!(target.make_directory(&root, "dir".as_ref()).is_err());
    let evil = entry(b"evil", EntryType::File);
    for name in ["file", "dangling", "dir"] {
        assert!(target.make_file((&top, &root, name.as_ref()), &evil, true).is_err(), "{name}");
        assert!(target.reopen_file(&root, name.as_ref()).is_err(), "{name}");
    }
    for path in ["dir", "dir/new", "dir/precious", "file", "..", "../evil", "/tmp", "dir/../evil"] {
        let flags = rustix::fs::OFlags::RDONLY;
        assert!(target.open_below(Path::new(path), flags).is_err(), "{path}");
        assert!(target.open_directory(Path::new(path)).is_err(), "{path}");
    }
    let mut folders = OpenFolders::default();
    assert!(folders.get(&target, &Folder::below(&top, "dir".as_ref(), true)).is_err());
    let directory = entry(b"dir", EntryType::Directory);
    assert!(target.finish_directory(Path::new("dir"), &directory, Known::default()).is_err());
    target.link((&root, "file".as_ref()), (&root, "second".as_ref()), false).unwrap();
    assert!(inside.path().join("second").is_symlink(), "the link itself is linked, not what it points to");
    // A second name is not written to.
    std::fs::hard_link(outside.path().join("precious"), inside.path().join("same")).unwrap();
    assert!(target.reopen_file(&root, "same".as_ref()).is_err());
    std::fs::remove_file(inside.path().join("same")).unwrap();
    assert_eq!(tree(outside.path()), before);
}

#[test]
fn entries_out_of_order_or_of_strange_kinds_break_nothing() {
    let scene = Scene::new();
    let hostile = scene.hostile();
    let repository = scene.world.open_as(&hostile);
    let forger = Forger::new(&repository);
    let device = |name: &[u8], pair| Entry { device: Some(pair), ..entry(name, EntryType::BlockDevice) };
    let mut entries = vec![
        file(&forger, b"a", b"a"),
        device(b"device", Pair(u64::MAX, 1)),
        Entry { mode: u32::MAX, ..file(&forger, b"mode", b"m") },
        entry(b"no contents", EntryType::File),
        entry(b"no directory", EntryType::Directory),
        entry(b"no target", EntryType::Symlink),
        Entry { user: Some(vec![0, 255]), group: Some(vec![]), uid: u32::MAX, ..file(&forger, b"owner", b"o") },
        Entry {
            mtime: obnam::format::Time { seconds: i64::MIN, nanoseconds: u32::MAX },
            ..file(&forger, b"time", b"t")
        },
        file(&forger, b"z", b"z"),
    ];
    // Out of order and twice: left out, and said.
    entries.push(file(&forger, b"y", b"y"));
    entries.push(file(&forger, b"z", b"other"));
    let snapshot = snapshot_of(&forger, 1, &entries);
    let restored = restore(&scene.world.open(), &snapshot);
    assert_eq!(std::fs::read(restored.root().join("a")).unwrap(), b"a");
    assert_eq!(std::fs::read(restored.root().join("z")).unwrap(), b"z");
    assert!(!restored.root().join("y").exists());
    let said = restored.problems.iter().filter(|problem| problem.message.contains("out of order or there twice"));
    assert_eq!(said.count(), 2, "{:#?}", restored.problems);
    check(&scene.world.open(), true);
    scene.assert_unharmed();
}

#[test]
fn a_huge_directory_restores() {
    let scene = Scene::new();
    let hostile = scene.hostile();
    let repository = scene.world.open_as(&hostile);
    let forger = Forger::new(&repository);
    let content = file(&forger, b"x", b"same").content;
    let name = |n: u32| format!("{n:06}").into_bytes();
    let entries: Vec<_> =
        (0..20_000).map(|n| Entry { content: content.clone(), ..entry(&name(n), EntryType::File) }).collect();
    let snapshot = snapshot_of(&forger, 1, &entries);
    let restored = restore(&scene.world.open(), &snapshot);
    assert_eq!(restored.problems, []);
    assert_eq!(std::fs::read_dir(restored.root()).unwrap().count(), 20_000);
}

#[test]
fn directories_deeper_than_any_stack_are_named() {
    let scene = Scene::new();
    let hostile = scene.hostile();
    let repository = scene.world.open_as(&hostile);
    let forger = Forger::new(&repository);
    let mut blobs: Vec<Vec<u8>> = Vec::new();
    let mut content = Content::default();
    for _ in 0..30_000 {
        let stream = to_cbor(&Entry { content: Some(content), ..entry(b"d", EntryType::Directory) });
        content = Content::new(0, &[Item { id: forger.hasher.id(BlobKind::Tree, &stream), size: stream.len() as u64 }]);
        blobs.push(stream);
    }
    let named: Vec<_> = blobs.iter().map(|blob| (BlobKind::Tree, blob.as_slice())).collect();
    let pack = forger.pack("tree", &named);
    forger.index(&forger.index_of(&[&pack]));
    let snapshot = forger.put_snapshot(&forger.snapshot(1, content, None));
    let report = check(&scene.world.open(), false);
    let found: Vec<_> = report.findings.iter().filter(|found| found.message.contains("too deep")).collect();
    assert_eq!(found.len(), 1, "{:.1000?}", report.findings);
    assert_eq!(found[0].code, "file-damaged");
    let restored = restore(&scene.world.open(), &snapshot);
    assert!(
        restored.problems.iter().any(|problem| problem.message.contains("too deep")),
        "{:.1000?}",
        restored.problems
    );
    scene.assert_unharmed();
}

//! Restores from a repository whose client turned hostile: whatever valid keys can sign, nothing outside the target is
//! written to, and the good rest is restored. The same with traps that stand in the target beforehand.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use obnam::format::blob::BlobKind;
use obnam::format::content::{Content, Item};
use obnam::format::entry::{Entry, EntryType, Pair};
use obnam::format::snapshot::Statistics;
use obnam::format::to_cbor;
use obnam::repository::Repository;
use obnam::restore::{self, Options, Overwrite, Watch};
use obnam::select::Patterns;
use support::*;

const MODES: [Option<Overwrite>; 4] =
    [None, Some(Overwrite::Always), Some(Overwrite::IfChanged), Some(Overwrite::Never)];

/// A target with a directory beside it that must stay as it is.
struct Scene {
    folder: tempfile::TempDir,
    before: Tree,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        fs::create_dir_all(outside.join("dir")).unwrap();
        for name in ["precious", "dir/precious"] {
            fs::write(outside.join(name), "precious").unwrap();
        }
        fs::create_dir(folder.path().join("target")).unwrap();
        let before = tree(&outside);
        Scene { folder, before }
    }

    fn outside(&self) -> PathBuf {
        self.folder.path().join("outside")
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("target")
    }

    /// Restores, and fails if anything beside the target has changed. Returns the problems.
    fn restore_with(&self, repository: &Repository, root: &Content, tweak: impl FnOnce(&mut Options)) -> Vec<String> {
        let (_, index) = load(repository);
        let mut options = Options::new(self.target());
        options.verify = true;
        tweak(&mut options);
        let watch = Watch::default();
        restore::run(repository, &index, &source_of(root), &options, &watch).unwrap();
        self.assert_untouched();
        watch
            .problems
            .all()
            .into_iter()
            .map(|problem| format!("{}: {}", problem.path.display(), problem.message))
            .collect()
    }

    fn restore(&self, repository: &Repository, root: &Content, overwrite: Option<Overwrite>) -> Vec<String> {
        self.restore_with(repository, root, |options| options.overwrite = overwrite)
    }

    #[track_caller]
    fn assert_untouched(&self) {
        assert_eq!(tree(&self.outside()), self.before, "something outside was touched");
        let beside: Vec<_> =
            fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(beside.len(), 2, "{beside:?}");
    }

    #[track_caller]
    fn assert_good(&self, name: &str) {
        assert_eq!(fs::read(self.target().join(name)).unwrap(), b"good", "{name}");
    }

    /// No file that is not whole is left.
    fn assert_tidy(&self) {
        let left: Vec<_> =
            tree(&self.target()).into_keys().filter(|path| path.to_string_lossy().contains(".obnam")).collect();
        assert_eq!(left, Vec::<PathBuf>::new());
    }
}

fn directory(forger: &Forger<'_>, entries: &[Entry]) -> Content {
    let stream: Vec<u8> = entries.iter().flat_map(to_cbor).collect();
    let pack = forger.pack("tree", &[(BlobKind::Tree, &stream)]);
    forger.index(&forger.index_of(&[&pack]));
    Content::new(0, &[Item { id: pack.blobs[0].id, size: stream.len() as u64 }])
}

fn file(forger: &Forger<'_>, name: &[u8], contents: &[u8]) -> Entry {
    let pack = forger.pack("data", &[(BlobKind::Data, contents)]);
    forger.index(&forger.index_of(&[&pack]));
    let item = Item { id: pack.blobs[0].id, size: contents.len() as u64 };
    Entry { content: Some(Content::new(0, &[item])), ..entry(name, EntryType::File) }
}

fn link(name: &[u8], to: &Path) -> Entry {
    let target = Some(to.as_os_str().as_encoded_bytes().to_vec());
    Entry { target, mode: 0o777, ..entry(name, EntryType::Symlink) }
}

fn folder(forger: &Forger<'_>, name: &[u8], entries: &[Entry]) -> Entry {
    Entry { content: Some(directory(forger, entries)), ..entry(name, EntryType::Directory) }
}

#[test]
fn names_that_lead_out_write_nothing() {
    let world = World::new();
    let repository = world.open();
    let forger = Forger::new(&repository);
    let names: [&[u8]; 10] = [
        b"..",
        b".",
        b"",
        b"a/b",
        b"/evil",
        b"../outside",
        b"nul\0",
        b"..\0",
        b"x/../../outside",
        b"../outside/precious",
    ];
    for mode in MODES {
        for name in names {
            for kind in [EntryType::File, EntryType::Directory, EntryType::Symlink, EntryType::Fifo] {
                let scene = Scene::new();
                let mut bad = file(&forger, name, b"evil");
                (bad.kind, bad.target) = (kind, Some(b"/".to_vec()));
                let inner = folder(&forger, b"m inner", std::slice::from_ref(&bad));
                let root =
                    directory(&forger, &[file(&forger, b"a", b"good"), bad, inner, file(&forger, b"z", b"good")]);
                let problems = scene.restore(&repository, &root, mode);
                assert!(problems.iter().all(|problem| problem.contains("name that no file can have")), "{problems:?}");
                assert!(!problems.is_empty());
                scene.assert_good("a");
                scene.assert_good("z");
            }
        }
    }
}

#[test]
fn a_link_and_a_directory_of_one_name_write_nothing_outside() {
    let world = World::new();
    let repository = world.open();
    let forger = Forger::new(&repository);
    for mode in MODES {
        let scene = Scene::new();
        let evil = [file(&forger, b"new", b"evil"), file(&forger, b"precious", b"evil")];
        let (dir, outside) = (folder(&forger, b"x", &evil), scene.outside());
        let entries =
            [link(b"x", &outside), dir.clone(), link(b"y", &outside.join("precious")), file(&forger, b"y", b"evil")];
        let root = directory(&forger, &[entries.as_slice(), &[file(&forger, b"z", b"good")]].concat());
        let problems = scene.restore(&repository, &root, mode);
        assert_eq!(problems.iter().filter(|problem| problem.contains("there twice")).count(), 2, "{problems:?}");
        scene.assert_good("z");
        assert!(scene.target().join("x").is_symlink());
    }
}

#[test]
fn a_link_of_one_snapshot_is_not_followed_by_the_next() {
    let world = World::new();
    let repository = world.open();
    let forger = Forger::new(&repository);
    for mode in &MODES[1..] {
        let scene = Scene::new();
        let outside = scene.outside();
        let good = file(&forger, b"z", b"good");
        let links =
            [link(b"dir", &outside), link(b"file", &outside.join("precious")), link(b"new", &outside.join("new"))];
        let first = directory(&forger, &[links.as_slice(), std::slice::from_ref(&good)].concat());
        assert_eq!(scene.restore(&repository, &first, None), Vec::<String>::new());
        let inner = [file(&forger, b"planted", b"evil"), file(&forger, b"precious", b"evil")];
        let dir = folder(&forger, b"dir", &inner);
        let entries = [dir, file(&forger, b"file", b"evil"), file(&forger, b"new", b"evil"), good];
        let second = directory(&forger, &entries);
        let problems = scene.restore(&repository, &second, *mode);
        scene.assert_good("z");
        scene.assert_tidy();
        if *mode == Some(Overwrite::Never) {
            assert_eq!(problems.len(), 3, "{problems:?}");
            assert!(scene.target().join("dir").is_symlink());
        } else {
            assert_eq!(problems, Vec::<String>::new());
            assert!(!scene.target().join("dir").is_symlink());
            assert_eq!(fs::read(scene.target().join("file")).unwrap(), b"evil");
        }
    }
}

#[test]
fn links_planted_in_the_target_are_not_followed() {
    let world = World::new();
    let repository = world.open();
    let forger = Forger::new(&repository);
    let evil = [file(&forger, b"new", b"evil"), file(&forger, b"precious", b"evil")];
    let mut entries = vec![folder(&forger, b"dir", &evil), file(&forger, b"hard", b"evil")];
    entries.extend([
        file(&forger, b"sym", b"evil"),
        link(b"sym2", Path::new("/nowhere")),
        file(&forger, b"z", b"good"),
    ]);
    let root = directory(&forger, &entries);
    for mode in &MODES[1..] {
        for delete in [false, true] {
            let scene = Scene::new();
            let (target, outside) = (scene.target(), scene.outside());
            symlink(outside.join("dir"), target.join("dir")).unwrap();
            symlink(outside.join("precious"), target.join("sym")).unwrap();
            symlink(outside.join("precious"), target.join("sym2")).unwrap();
            symlink(&outside, target.join("stranger")).unwrap();
            fs::hard_link(outside.join("precious"), target.join("hard")).unwrap();
            scene.restore_with(&repository, &root, |options| {
                (options.overwrite, options.delete) = (*mode, delete);
            });
            scene.assert_good("z");
            scene.assert_tidy();
            assert_eq!(target.join("stranger").is_symlink(), !delete);
            let is_kept = *mode == Some(Overwrite::Never);
            assert_eq!(target.join("dir").is_symlink(), is_kept);
            let same = fs::metadata(target.join("hard")).unwrap().ino()
                == fs::metadata(outside.join("precious")).unwrap().ino();
            assert_eq!(same, is_kept);
        }
    }
}

/// A file outside has a second name in the target, and just the size and time that the snapshot says.
#[test]
fn a_hard_link_to_a_file_outside_gets_no_new_metadata() {
    let world = World::new();
    let repository = world.open();
    let forger = Forger::new(&repository);
    let mut scene = Scene::new();
    let precious = scene.outside().join("precious");
    let mut same = file(&forger, b"hard", b"PRECIOUS");
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 5);
    fs::File::open(&precious).unwrap().set_modified(time).unwrap();
    same.mode = 0o4777;
    scene.before = tree(&scene.outside());
    let root = directory(&forger, &[same]);
    fs::hard_link(&precious, scene.target().join("hard")).unwrap();
    assert_eq!(scene.restore(&repository, &root, Some(Overwrite::IfChanged)), Vec::<String>::new());
    assert_eq!(fs::read(scene.target().join("hard")).unwrap(), b"PRECIOUS");
}

#[test]
fn hard_link_pairs_that_lie_link_nothing_outside() {
    let world = World::new();
    let repository = world.open();
    let forger = Forger::new(&repository);
    for mode in MODES {
        let scene = Scene::new();
        let pair = |n| Some(Pair(1, n));
        let metadata = fs::metadata(scene.outside().join("precious")).unwrap();
        let entries = [
            // To a symbolic link that points outside, as if it were a file.
            Entry { hard_link: pair(1), ..link(b"a", &scene.outside().join("precious")) },
            Entry { hard_link: pair(1), ..file(&forger, b"b", b"good") },
            // To something that is not restored.
            Entry { hard_link: pair(2), ..entry(b"c", EntryType::File) },
            Entry { hard_link: pair(2), ..file(&forger, b"d", b"good") },
            Entry { hard_link: pair(3), ..file(&forger, b"excluded", b"evil") },
            Entry { hard_link: pair(3), ..file(&forger, b"f", b"good") },
            // Device and inode of a real file outside.
            Entry { hard_link: Some(Pair(metadata.dev(), metadata.ino())), ..file(&forger, b"g", b"good") },
            // A directory.
            Entry { hard_link: pair(4), content: Some(Content::default()), ..entry(b"h", EntryType::Directory) },
            Entry { hard_link: pair(4), ..file(&forger, b"i", b"good") },
            file(&forger, b"z", b"good"),
        ];
        let root = directory(&forger, &entries);
        let problems = scene.restore_with(&repository, &root, |options| {
            options.overwrite = mode;
            options.exclude = Some(Patterns::parse(["excluded"]).unwrap());
        });
        for name in ["b", "d", "f", "g", "i", "z"] {
            scene.assert_good(name);
        }
        assert!(!scene.target().join("excluded").exists());
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("no contents"));
    }
}

#[test]
fn names_that_differ_by_case_are_two_files() {
    let world = World::new();
    let repository = world.open();
    let forger = Forger::new(&repository);
    let root = directory(&forger, &[file(&forger, b"NAME", b"one"), file(&forger, b"name", b"two")]);
    for mode in MODES {
        let scene = Scene::new();
        let problems = scene.restore(&repository, &root, mode);
        // Where the file system cannot tell them apart, the second is reported.
        if problems.is_empty() {
            assert_eq!(fs::read(scene.target().join("NAME")).unwrap(), b"one");
            assert_eq!(fs::read(scene.target().join("name")).unwrap(), b"two");
        }
    }
}

#[test]
fn a_directory_that_stands_in_itself_many_times_ends() {
    let world = World::new();
    let repository = world.open();
    let forger = Forger::new(&repository);
    let name = |n: u32| format!("{n:03}").into_bytes();
    let mut content = directory(&forger, &[file(&forger, b"leaf", b"evil")]);
    for _ in 0..12 {
        let one = |n| Entry { content: Some(content.clone()), ..entry(&name(n), EntryType::Directory) };
        content = directory(&forger, &(0..200).map(one).collect::<Vec<_>>());
    }
    let scene = Scene::new();
    let (_, index) = load(&repository);
    let mut source = source_of(&content);
    // What a hostile client says of its own snapshot does not help it.
    source.statistics = Statistics { files: u64::MAX, directories: u64::MAX, ..Statistics::default() };
    let watch = Watch::default();
    let options = Options { dry_run: true, ..Options::new(scene.target()) };
    restore::run(&repository, &index, &source, &options, &watch).unwrap();
    let problems = watch.problems.all();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].message.contains("far more entries"), "{problems:?}");
    scene.assert_untouched();
}

#[test]
fn sizes_and_extents_that_lie_cost_one_file() {
    let world = World::new();
    let repository = world.open();
    let forger = Forger::new(&repository);
    for mode in MODES {
        let scene = Scene::new();
        let lying = |name: &[u8], size, extents: &[(u64, u64)]| Entry {
            size: Some(size),
            extents: Some(extents.iter().map(|(start, length)| Pair(*start, *length)).collect()),
            ..file(&forger, name, b"some contents")
        };
        let mut longer = file(&forger, b"g", b"evil");
        longer.content.as_mut().unwrap().size = u64::MAX;
        let entries = [
            file(&forger, b"a", b"good"),
            lying(b"b", 100, &[(0, 10), (5, 3)]),
            lying(b"c", 5, &[(0, 13)]),
            lying(b"d", 100, &[(u64::MAX - 3, 13)]),
            lying(b"e", 100, &[(50, 6), (0, 7)]),
            lying(b"f", u64::MAX, &[(0, 13)]),
            longer,
            Entry { device: Some(Pair(u64::MAX, 0)), ..entry(b"h", EntryType::CharDevice) },
            Entry { mode: u32::MAX, ..file(&forger, b"i", b"good") },
            file(&forger, b"z", b"good"),
        ];
        let root = directory(&forger, &entries);
        scene.restore(&repository, &root, mode);
        for name in ["a", "i", "z"] {
            scene.assert_good(name);
        }
        scene.assert_tidy();
        // None of them has filled the disk.
        for found in fs::read_dir(scene.target()).unwrap() {
            assert!(found.unwrap().metadata().unwrap().blocks() < 1000);
        }
    }
}

/// Somebody with rights in the target swaps a directory for a link to the outside, again and again, while it is restored.
#[test]
fn a_link_planted_during_the_restore_is_not_followed() {
    let world = World::new();
    let repository = world.open();
    let forger = Forger::new(&repository);
    let files: Vec<_> = (0..400).map(|n| file(&forger, format!("{n:03}").as_bytes(), b"evil")).collect();
    let root = directory(&forger, &[folder(&forger, b"dir", &files), file(&forger, b"z", b"good")]);
    let (_, index) = load(&repository);
    for mode in [Some(Overwrite::Always), Some(Overwrite::IfChanged)] {
        let scene = Scene::new();
        let (dir, away, outside) = (scene.target().join("dir"), scene.target().join("away"), scene.outside());
        fs::create_dir(&dir).unwrap();
        let over = AtomicBool::new(false);
        let swap = || {
            while !over.load(Ordering::Relaxed) {
                let _ = fs::rename(&dir, &away);
                let _ = symlink(&outside, &dir);
                let _ = fs::remove_file(&dir);
                let _ = fs::rename(&away, &dir);
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(swap);
            for _ in 0..5 {
                let options = Options { overwrite: mode, delete: true, ..Options::new(scene.target()) };
                let _ = restore::run(&repository, &index, &source_of(&root), &options, &Watch::default());
                scene.assert_untouched();
            }
            over.store(true, Ordering::Relaxed);
        });
        scene.assert_untouched();
        scene.assert_good("z");
    }
}

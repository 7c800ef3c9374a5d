//! Random trees: made, backed up, changed at random, backed up again; both come back as they were.
//!
//! `PROPTEST_CASES` sets the number of cases, `PROPTEST_RNG_SEED` their seed.

#![allow(clippy::unwrap_used)]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use obnam::inode::{Inode, xattrs};
use obnam_tests::tree::{self, Random};
use obnam_tests::{Sandbox, chmod};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, mknodat, utimensat};

/// One thing to be done to a tree.
#[derive(Debug, Clone)]
enum Step {
    File { parent: Index, name: Vec<u8>, pieces: Vec<Piece>, seed: u64 },
    Directory { parent: Index, name: Vec<u8> },
    Symlink { parent: Index, name: Vec<u8>, target: Vec<u8> },
    Fifo { parent: Index, name: Vec<u8> },
    HardLink { parent: Index, name: Vec<u8>, old: Index },
    Rename { parent: Index, name: Vec<u8>, old: Index },
    Remove { which: Index },
    Overwrite { which: Index, at: u32, length: usize, seed: u64 },
    Truncate { which: Index, size: u32 },
    Xattr { which: Index, name: u8, value: Option<Vec<u8>> },
    Mode { which: Index, mode: u32 },
    Times { which: Index, seconds: i64, nanoseconds: i64 },
}

/// Data behind a hole.
#[derive(Debug, Clone)]
struct Piece {
    hole: u64,
    length: usize,
    is_zero: bool,
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_map(|byte| if byte == 0 || byte == b'/' { b'n' } else { byte });
    // Often the same names, so that types change and files are replaced; sometimes any bytes.
    prop_oneof![
        3 => (b'a'..=b'h').prop_map(|letter| vec![letter]),
        1 => vec(byte, 1..=255).prop_filter("a name", |name| name != b"." && name != b".."),
    ]
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    const MIN: usize = 256 << 10;
    const AVERAGE: usize = 1 << 20;
    let around = |size: usize| size - 1..=size + 1;
    let length = prop_oneof![
        4 => 0..5_000usize,
        2 => around(4_096),
        2 => around(65_536),
        1 => around(MIN),
        1 => around(AVERAGE),
        1 => 0..3 * AVERAGE,
    ];
    let hole = prop_oneof![
        3 => Just(0u64),
        1 => 1..100_000u64,
        1 => 65_000..66_000u64,
        1 => (1..1_000u64).prop_map(|blocks| blocks * 4_096),
        1 => 0..1u64 << 32,
    ];
    let piece = (hole, length, prop::bool::weighted(0.1));
    vec(piece.prop_map(|(hole, length, is_zero)| Piece { hole, length, is_zero }), 0..6)
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    let target = vec(1..=255u8, 1..100);
    prop_oneof![
        6 => (index(), name(), pieces(), any::<u64>())
            .prop_map(|(parent, name, pieces, seed)| Step::File { parent, name, pieces, seed }),
        3 => (index(), name()).prop_map(|(parent, name)| Step::Directory { parent, name }),
        1 => (index(), name(), target).prop_map(|(parent, name, target)| Step::Symlink { parent, name, target }),
        1 => (index(), name()).prop_map(|(parent, name)| Step::Fifo { parent, name }),
        2 => (index(), name(), index()).prop_map(|(parent, name, old)| Step::HardLink { parent, name, old }),
        1 => (index(), name(), index()).prop_map(|(parent, name, old)| Step::Rename { parent, name, old }),
        1 => index().prop_map(|which| Step::Remove { which }),
        2 => (index(), any::<u32>(), 0..100_000usize, any::<u64>())
            .prop_map(|(which, at, length, seed)| Step::Overwrite { which, at, length, seed }),
        1 => (index(), any::<u32>()).prop_map(|(which, size)| Step::Truncate { which, size }),
        3 => (index(), 0..4u8, prop::option::weighted(0.8, vec(any::<u8>(), 0..300)))
            .prop_map(|(which, name, value)| Step::Xattr { which, name, value }),
        2 => (index(), 0..0o10000u32).prop_map(|(which, mode)| Step::Mode { which, mode }),
        2 => (index(), select(vec![-2_000_000_000, -1, 0, 1, 1_700_000_000, 2_147_483_648, 10_000_000_000]), 0..1_000_000_000i64)
            .prop_map(|(which, seconds, nanoseconds)| Step::Times { which, seconds, nanoseconds }),
    ]
}

/// All paths, the root first, that are of interest.
fn paths(root: &Path, wanted: impl Fn(&fs::Metadata) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        if wanted(&metadata) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn write(path: &Path, pieces: &[Piece], seed: u64) -> std::io::Result<()> {
    let file = File::create_new(path)?;
    let mut end = 0;
    for (number, piece) in pieces.iter().enumerate() {
        end += piece.hole;
        let bytes = Random(seed.wrapping_add(number as u64)).bytes(piece.length);
        file.write_all_at(&if piece.is_zero { vec![0; piece.length] } else { bytes }, end)?;
        end += piece.length as u64;
    }
    // The last hole may be at the end.
    file.set_len(end)
}

impl Step {
    /// Does it, as far as it is possible.
    fn take(&self, root: &Path) {
        let pick = |index: &Index, wanted: &dyn Fn(&fs::Metadata) -> bool| {
            let found = paths(root, wanted);
            (!found.is_empty()).then(|| index.get(&found).clone())
        };
        let new = |parent: &Index, name: &[u8]| {
            let path = pick(parent, &fs::Metadata::is_dir)?.join(OsStr::from_bytes(name));
            // Below the restored directory the path is longer; the system takes 4,096 bytes.
            Some(path).filter(|path| path.as_os_str().len() < 1_000)
        };
        let any = |index: &Index| pick(index, &|_| true).filter(|path| path != root);
        let file = |index: &Index| pick(index, &fs::Metadata::is_file);
        // What is refused (because something is there already, say) is not done.
        let _ = || -> Option<()> {
            match self {
                Step::File { parent, name, pieces, seed } => write(&new(parent, name)?, pieces, *seed).ok()?,
                Step::Directory { parent, name } => fs::create_dir(new(parent, name)?).ok()?,
                Step::Symlink { parent, name, target } => {
                    symlink(OsStr::from_bytes(target), new(parent, name)?).ok()?;
                }
                Step::Fifo { parent, name } => {
                    mknodat(CWD, new(parent, name)?, FileType::Fifo, Mode::RUSR, 0).ok()?;
                }
                Step::HardLink { parent, name, old } => fs::hard_link(any(old)?, new(parent, name)?).ok()?,
                Step::Rename { parent, name, old } => fs::rename(any(old)?, new(parent, name)?).ok()?,
                Step::Remove { which } => {
                    let path = any(which)?;
                    let is_directory = fs::symlink_metadata(&path).ok()?.is_dir();
                    if is_directory { fs::remove_dir_all(path).ok()? } else { fs::remove_file(path).ok()? }
                }
                Step::Overwrite { which, at, length, seed } => {
                    let path = file(which)?;
                    let at = u64::from(*at) % (fs::metadata(&path).ok()?.len() + 100_000);
                    let file = File::options().write(true).open(path).ok()?;
                    file.write_all_at(&Random(*seed).bytes(*length), at).ok()?;
                }
                Step::Truncate { which, size } => {
                    File::options().write(true).open(file(which)?).ok()?.set_len((*size).into()).ok()?;
                }
                Step::Xattr { which, name, value } => {
                    let inode = Inode::Named(pick(which, &|metadata| metadata.is_file() || metadata.is_dir())?);
                    let name = format!("user.name {name}");
                    match value {
                        Some(value) => xattrs::set(&inode, name.as_bytes(), value).ok()?,
                        None => xattrs::remove(&inode, name.as_bytes()).ok()?,
                    }
                }
                Step::Mode { which, mode } => {
                    let path = pick(which, &|metadata| !metadata.is_symlink())?;
                    // So that also others than root can read and change it.
                    chmod(&path, mode | if path.is_dir() { 0o700 } else { 0o600 });
                }
                Step::Times { which, seconds, nanoseconds } => {
                    let time = Timespec { tv_sec: *seconds, tv_nsec: *nanoseconds };
                    let times = Timestamps { last_access: time, last_modification: time };
                    utimensat(CWD, &any(which)?, &times, AtFlags::SYMLINK_NOFOLLOW).ok()?;
                }
            }
            Some(())
        }();
    }
}

fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    ProptestConfig { cases, max_shrink_iters: 100, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn trees_come_back(first in vec(step(), 0..60), second in vec(step(), 0..20), is_calm in any::<bool>()) {
        let sandbox = Sandbox::with_repository();
        let source = sandbox.source();
        first.iter().for_each(|step| step.take(&source));
        if is_calm {
            // Long enough for the second backup to believe that files are unchanged.
            std::thread::sleep(Duration::from_millis(2_100));
        }
        sandbox.back_up();
        let before = tree::describe(&source);
        second.iter().for_each(|step| step.take(&source));
        let made = sandbox.back_up();
        let after = tree::describe(&source);
        let ids = sandbox.snapshots();
        tree::assert_is(&before, &sandbox.restore(&ids[0]));
        tree::assert_is(&after, &sandbox.restore(&ids[1]));
        prop_assert!(sandbox.check(0).is_empty());
        let files = paths(&source, fs::Metadata::is_file);
        prop_assert_eq!(made["statistics"]["files"].as_u64(), Some(files.len() as u64));
        // A machine without any memory sees the same.
        sandbox.next_machine();
        sandbox.back_up();
        tree::assert_is(&after, &sandbox.restore("latest"));
    }
}

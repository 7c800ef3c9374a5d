//! Source trees, and whether two trees are the same.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, FileTimes};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use obnam::format::entry::Pair;
use obnam::inode::{Inode, flags, runs, xattrs};
use rustix::fs::{CWD, FileType, Mode, SeekFrom, mknodat, seek};

/// Random numbers that are the same ones in each run (SplitMix64; Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// Bytes that do not compress.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.number().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    /// Writes a file of such bytes, of any length, in little memory.
    pub fn write_file(&mut self, path: &Path, length: u64) {
        let mut file = File::create(path).unwrap();
        let mut rest = length;
        while rest > 0 {
            let piece = rest.min(1 << 20) as usize;
            file.write_all(&self.bytes(piece)).unwrap();
            rest -= piece as u64;
        }
    }
}

/// Sets the time of modification of a file or directory.
pub fn set_mtime(path: &Path, time: SystemTime) {
    File::open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

/// Many small files, all different, in directories of 100.
pub fn small_files(folder: &Path, count: usize, seed: u64) {
    let mut random = Random(seed);
    for number in 0..count {
        let folder = folder.join(format!("{:03}", number / 100));
        if number % 100 == 0 {
            fs::create_dir_all(&folder).unwrap();
        }
        let length = 20 + random.below(200) as usize;
        fs::write(folder.join(format!("file {number}")), random.bytes(length)).unwrap();
    }
}

/// A tree with everything that this version keeps, in some variety.
pub fn varied(root: &Path, seed: u64) {
    let mut random = Random(seed);
    fs::create_dir_all(root.join("names")).unwrap();
    let names: [&[u8]; 12] = [
        b"plain",
        b" leading and trailing ",
        b"new\nline",
        b"tab\t and \x1b[31mescape",
        b"not \xff\xfe UTF-8",
        b"\xe4\xbd\xa0\xe5\xa5\xbd",
        b"-r",
        b"...",
        b"quote'\"`$(date)",
        b"back\\slash",
        &[b'x'; 255],
        b"*",
    ];
    for name in names {
        let length = random.below(5_000) as usize;
        fs::write(root.join("names").join(OsStr::from_bytes(name)), random.bytes(length)).unwrap();
    }
    let hostile = root.join(OsStr::from_bytes(b"dir \xc3\x28\n"));
    fs::create_dir(&hostile).unwrap();
    fs::write(hostile.join("inside"), "inside").unwrap();

    let sizes = root.join("sizes");
    fs::create_dir(&sizes).unwrap();
    for size in [0, 1, 2, 4_095, 4_096, 4_097, 65_536, 300_000, 1 << 20, (1 << 20) + 1, 5_000_000] {
        fs::write(sizes.join(size.to_string()), random.bytes(size)).unwrap();
    }
    fs::write(sizes.join("zeros"), vec![0; 3_000_000]).unwrap();
    fs::write(sizes.join("text"), "All work and no play makes Jack a dull boy.\n".repeat(40_000)).unwrap();
    // Twice the same contents, under two names.
    for name in ["twin 1", "twin 2"] {
        fs::write(sizes.join(name), Random(seed + 1).bytes(700_000)).unwrap();
    }

    let mut deep = root.join("deep");
    for level in 0..60 {
        deep.push(format!("level {level}"));
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), "bottom").unwrap();
    fs::create_dir(root.join("empty folder")).unwrap();

    let links = root.join("links");
    fs::create_dir(&links).unwrap();
    symlink("../sizes/1", links.join("relative")).unwrap();
    symlink("/nowhere/at/all", links.join("dangling")).unwrap();
    symlink(OsStr::from_bytes(b"\xff\n"), links.join("odd target")).unwrap();
    symlink("..", links.join("to a folder")).unwrap();
    symlink("loop", links.join("loop")).unwrap();
    fs::write(links.join("first"), random.bytes(100_000)).unwrap();
    fs::hard_link(links.join("first"), links.join("second")).unwrap();
    fs::hard_link(links.join("first"), root.join("third")).unwrap();
    fs::write(links.join("empty 1"), "").unwrap();
    fs::hard_link(links.join("empty 1"), links.join("empty 2")).unwrap();
    fs::hard_link(links.join("dangling"), links.join("dangling too")).unwrap();

    let modes = root.join("modes");
    fs::create_dir(&modes).unwrap();
    for mode in [0o000, 0o400, 0o444, 0o600, 0o644, 0o755, 0o777, 0o1644, 0o2755, 0o4755, 0o6711, 0o7777] {
        if mode & 0o400 == 0 && !crate::is_root() {
            continue; // only root can read it, now and after the restore
        }
        let (file, folder) = (modes.join(format!("file {mode:04o}")), modes.join(format!("folder {mode:04o}")));
        fs::write(&file, format!("{mode}")).unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        if mode & 0o700 == 0o700 || crate::is_root() {
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("inside"), format!("{mode}")).unwrap();
            fs::set_permissions(&folder, PermissionsExt::from_mode(mode)).unwrap();
        }
    }

    let special = root.join("special");
    fs::create_dir(&special).unwrap();
    let node = |name: &str, kind| mknodat(CWD, special.join(name), kind, Mode::from_raw_mode(0o640), 0).unwrap();
    node("fifo", FileType::Fifo);
    node("socket", FileType::Socket);
    if crate::is_root() {
        let owned = root.join("owned");
        fs::create_dir(&owned).unwrap();
        for (name, uid, gid) in [("no such user", 123_456, 654_321), ("daemon", 1, 1), ("other group", 0, 12_345)] {
            fs::write(owned.join(name), name).unwrap();
            std::os::unix::fs::chown(owned.join(name), Some(uid), Some(gid)).unwrap();
        }
        // A change of owner clears setuid, unless the mode is set after it.
        std::os::unix::fs::chown(owned.join("daemon"), Some(1), Some(1)).unwrap();
        fs::set_permissions(owned.join("daemon"), PermissionsExt::from_mode(0o6755)).unwrap();
        std::os::unix::fs::lchown(links.join("relative"), Some(1), Some(12_345)).unwrap();
    }

    let times = root.join("times");
    fs::create_dir(&times).unwrap();
    let epoch = SystemTime::UNIX_EPOCH;
    let moments = [
        ("exact", epoch + Duration::new(1_000_000_000, 123_456_789)),
        ("last nanosecond", epoch + Duration::new(1_234_567_890, 999_999_999)),
        ("epoch", epoch),
        ("before the epoch", epoch - Duration::new(1_000_000_000, 250_000_000)),
        ("after 2038", epoch + Duration::new(5_000_000_000, 1)),
    ];
    for (name, moment) in moments {
        fs::write(times.join(name), name).unwrap();
        set_mtime(&times.join(name), moment);
    }
    for (name, (_, moment)) in ["links", "empty folder", "times", "names"].iter().zip(moments) {
        set_mtime(&root.join(name), moment);
    }
}

/// All that is compared of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// Length of a file.
    pub size: u64,
    /// BLAKE3 of a file's contents, as far as they are not zeros, and where they stand.
    pub contents: Option<String>,
    /// The runs of data of a file with holes.
    pub runs: Option<Vec<Pair>>,
    /// Extended attributes, ACLs among them.
    pub xattrs: Vec<(String, String)>,
    /// Flags of a file or directory, such as immutable.
    pub flags: Vec<&'static str>,
    /// Number of a device.
    pub device: u64,
    /// Target of a symbolic link.
    pub target: Option<PathBuf>,
    /// The first path, in order of names, that is the same inode.
    pub same_as: Option<PathBuf>,
}

/// Describes everything at and below `root`, whose own path is empty.
pub fn describe(root: &Path) -> BTreeMap<PathBuf, Description> {
    let mut found = BTreeMap::new();
    let mut inodes: BTreeMap<(u64, u64), Vec<PathBuf>> = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let kind = metadata.file_type();
        if kind.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let name = path.strip_prefix(root).unwrap().to_owned();
        if !kind.is_dir() && metadata.nlink() > 1 {
            inodes.entry((metadata.dev(), metadata.ino())).or_default().push(name.clone());
        }
        let special = kind.is_fifo() || kind.is_socket() || kind.is_block_device() || kind.is_char_device();
        assert!(special || kind.is_dir() || kind.is_file() || kind.is_symlink());
        let sparse = kind.is_file() && metadata.blocks() * 512 < metadata.len();
        let flags =
            (kind.is_file() || kind.is_dir()).then(|| flags::read(File::open(&path).unwrap()).unwrap()).flatten();
        found.insert(
            name,
            Description {
                mode: metadata.mode(),
                uid: metadata.uid(),
                gid: metadata.gid(),
                mtime: (metadata.mtime(), metadata.mtime_nsec()),
                size: if kind.is_file() { metadata.len() } else { 0 },
                contents: kind.is_file().then(|| hash(&path)),
                runs: sparse.then(|| runs::find(&File::open(&path).unwrap(), metadata.len()).unwrap()).flatten(),
                xattrs: xattrs(&path),
                flags: flags::names(flags.unwrap_or(0)),
                device: if kind.is_block_device() || kind.is_char_device() { metadata.rdev() } else { 0 },
                target: kind.is_symlink().then(|| fs::read_link(&path).unwrap()),
                same_as: None,
            },
        );
    }
    for mut group in inodes.into_values() {
        group.sort();
        for path in &group {
            found.get_mut(path).unwrap().same_as = Some(group[0].clone());
        }
    }
    found
}

fn xattrs(path: &Path) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    let found = xattrs::read(&Inode::Named(path.to_owned()), &mut problems);
    assert!(problems.is_empty(), "{}: {problems:?}", path.display());
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    found.iter().map(|xattr| (text(&xattr.name), text(&xattr.value))).collect()
}

/// Reads no holes, so that a huge file takes no longer than its data.
fn hash(path: &Path) -> String {
    const BLOCK: u64 = 64 << 10;
    let mut file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut hasher = blake3::Hasher::new();
    let mut block = Vec::new();
    let mut position = 0;
    while let Ok(data) = seek(&file, SeekFrom::Data(position)) {
        position = data / BLOCK * BLOCK;
        seek(&file, SeekFrom::Start(position)).unwrap();
        block.clear();
        let length = (&mut file).take(BLOCK).read_to_end(&mut block).unwrap();
        if block.iter().any(|&byte| byte != 0) {
            hasher.update(&position.to_le_bytes()).update(&block);
        }
        if length == 0 {
            break;
        }
        position += length as u64;
    }
    hasher.finalize().to_hex().to_string()
}

/// The paths that differ, and how.
pub fn differences(
    expected: &BTreeMap<PathBuf, Description>,
    actual: &BTreeMap<PathBuf, Description>,
) -> BTreeMap<PathBuf, String> {
    let mut differences = BTreeMap::new();
    for (path, description) in expected {
        match actual.get(path) {
            None => {
                differences.insert(path.clone(), "it is missing".into());
            }
            Some(other) if other != description => {
                differences.insert(path.clone(), format!("expected {description:?}\n     got {other:?}"));
            }
            Some(_) => {}
        }
    }
    for path in actual.keys().filter(|path| !expected.contains_key(*path)) {
        differences.insert(path.clone(), "it was not there before".into());
    }
    differences
}

/// Fails unless both trees are the same.
#[track_caller]
pub fn assert_same(expected: &Path, actual: &Path) {
    assert_is(&describe(expected), actual);
}

/// Fails unless the tree is as described.
#[track_caller]
pub fn assert_is(expected: &BTreeMap<PathBuf, Description>, actual: &Path) {
    let differences = differences(expected, &describe(actual));
    let text: Vec<String> = differences.iter().take(10).map(|(path, how)| format!("{path:?}: {how}")).collect();
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), text.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A comparison that sees nothing would make every other test pass.
    #[test]
    fn differences_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let root = folder.path().join(name);
            varied(&root, 7);
            for name in ["special", "sizes", "modes", "deep", "", "owned"] {
                if root.join(name).exists() {
                    set_mtime(&root.join(name), SystemTime::UNIX_EPOCH);
                }
            }
            root
        };
        let (a, b) = (make("a"), make("b"));
        let differ = || -> Vec<PathBuf> {
            let differences = differences(&describe(&a), &describe(&b)).into_iter();
            // Files and links that were just made have the time of now.
            differences.filter(|(_, how)| how.starts_with("it ")).map(|(path, _)| path).collect()
        };
        assert!(differ().is_empty());
        let exact = "times/exact";
        let changed = |change: &dyn Fn(&Path)| {
            change(&b.join(exact));
            let found = differences(&describe(&a), &describe(&b)).contains_key(Path::new(exact));
            fs::remove_file(b.join(exact)).unwrap();
            fs::write(b.join(exact), "exact").unwrap();
            set_mtime(&b.join(exact), SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789));
            found
        };
        let moment = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
        assert!(!changed(&|_| {}));
        assert!(changed(&|path| set_mtime(path, moment + Duration::from_nanos(1))));
        assert!(changed(&|path| crate::chmod(path, 0o4711)));
        if xattrs::set(&Inode::Named(b.join(exact)), b"user.a", b"1").is_ok() {
            assert!(changed(&|_| {}), "an attribute is seen");
            assert!(!changed(&|_| {}));
        }
        assert!(changed(&|path| {
            File::options().write(true).open(path).unwrap().set_len(1 << 20).unwrap();
            set_mtime(path, moment);
        }));
        assert!(changed(&|path| {
            fs::write(path, "exacT").unwrap();
            set_mtime(path, moment);
        }));
        assert!(changed(&|path| fs::hard_link(path, b.join("another name")).unwrap()));
        assert_eq!(differ(), [PathBuf::from("another name")]);
    }
}

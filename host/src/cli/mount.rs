//! `obnam mount`: shows snapshots as a file system.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::output::{Output, complain, count};
use super::select::parse_size;
use super::{Failure, Global, exit, interrupt};
use crate::format::roster::Role;
use crate::mount::{Complaints, Ended, Options, mount};

/// The least that --cache-size can be, in bytes: a few blobs have to fit.
const LEAST_CACHE: u64 = 64 << 20;

/// Show snapshots as a read-only file system, until it is unmounted or interrupted.
///
/// In MOUNTPOINT there is by-id with all snapshots, by-time, by-tag and by-host with links to them, and the link latest. A
/// backup that ends later is seen by the next mount. Files are read when somebody reads them; what is damaged gives an
/// input/output error and a line here.
///
/// The program stays in the foreground, so that it can be interrupted, logs to where you see it, and is at home in a
/// systemd unit; put it into the background with &.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    obnam mount /mnt\n  \
    cp /mnt/latest/home/me/letter.txt .\n  \
    rsync -anc --delete /mnt/latest/home/me/ /home/me/     what has changed since\n  \
    umount /mnt                                            or fusermount -u /mnt, where you are not root")]
pub struct Arguments {
    /// A directory
    mountpoint: PathBuf,
    /// How many bytes of files are kept in memory
    #[arg(long, value_name = "SIZE", default_value = "256M")]
    cache_size: String,
    /// Show everything as owned by root
    #[arg(long)]
    owner_root: bool,
    /// Let other users in, as far as modes and ACLs in the snapshot let them; without it nobody but you gets in, and you
    /// can read everything. Who is not root needs user_allow_other in /etc/fuse.conf
    #[arg(long)]
    allow_other: bool,
}

pub fn run(global: &Global, arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let cache = parse_size(&arguments.cache_size)
        .map_err(|error| Failure::Input(format!("--cache-size: {error}")))?
        .max(LEAST_CACHE);
    let mountpoint = &arguments.mountpoint;
    if std::fs::metadata(mountpoint).is_err_and(|error| error.kind() == std::io::ErrorKind::NotConnected) {
        let message = format!(
            "cannot mount on {0}: what was mounted there has ended without being unmounted; first: fusermount3 -u {0}",
            mountpoint.display()
        );
        return Err(Failure::Input(message));
    }
    if !mountpoint.is_dir() {
        let message = format!("cannot mount on {}: it is no directory; make it with mkdir", mountpoint.display());
        return Err(Failure::Input(message));
    }
    let options = Options { cache, owner_root: arguments.owner_root, allow_other: arguments.allow_other };
    let repository = global.repository()?;
    repository.require(Role::Reader, "read the trees of snapshots")?;
    let listing = repository.listing()?;
    let snapshots = repository.snapshots(&listing)?;
    let index = repository.load_index(&listing)?;
    let warnings = repository.warnings.all();
    let stop = interrupt::flag();
    let complaints = Complaints::new(|line| complain(format_args!("warning: {line}")));
    let mounted = mount(repository, index, &snapshots, mountpoint, &options, complaints)
        .map_err(|error| Failure::Mount { mountpoint: mountpoint.clone(), why: explain(&error) })?;
    let shown = snapshots.iter().filter(|info| !info.forgotten && !info.replaced).count() as u64;
    if output.json {
        let result = json!({ "mountpoint": mountpoint.to_string_lossy(), "snapshots": shown });
        output.document("ok", &warnings, result)?;
    } else {
        output.warnings(&warnings);
        let shown = count(shown, "snapshot is", "snapshots are");
        let how = "unmount with umount, or interrupt this program";
        output.summary(format!("{shown} shown in {}; {how}", mountpoint.display()))?;
        output.flush()?;
    }
    let is_stopped = || stop.load(std::sync::atomic::Ordering::Relaxed);
    let ended = mounted.wait(is_stopped).map_err(|error| Failure::Mount {
        mountpoint: mountpoint.clone(),
        why: format!("{error}; unmount it with: umount --lazy {}", mountpoint.display()),
    })?;
    if ended == Ended::Busy {
        detach(mountpoint);
    }
    Ok(exit::OK)
}

/// Takes a mount out of the tree although files in it are open, and waits until they are closed, or the user has enough of that.
fn detach(mountpoint: &Path) {
    let done = |command: &mut Command| command.arg(mountpoint).output().is_ok_and(|output| output.status.success());
    let is_out = done(Command::new("umount").arg("--lazy")) || done(Command::new("fusermount3").arg("-uz"));
    let state = if is_out { "it is unmounted, but they" } else { "it stays mounted, and they" };
    complain(format_args!(
        "obnam: files in {} are open; {state} can be read until they are closed, or you interrupt again",
        mountpoint.display()
    ));
    while is_serving() {
        thread::sleep(Duration::from_secs(1));
    }
}

/// Whether the kernel may still ask for something: it lets go of its end when the last file is closed.
fn is_serving() -> bool {
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return true };
    open.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|path| path == Path::new("/dev/fuse")))
}

/// What is wrong and what to do about it.
fn explain(error: &std::io::Error) -> String {
    let step = match error.kind() {
        std::io::ErrorKind::NotFound => {
            "; is there /dev/fuse (modprobe fuse), and fusermount3 (Debian package fuse3)? Only root can do without the \
            latter"
        }
        std::io::ErrorKind::PermissionDenied => {
            "; who is not root needs fusermount3 (Debian package fuse3), a directory of his own, and for --allow-other \
            the line user_allow_other in /etc/fuse.conf"
        }
        _ => "",
    };
    format!("{error}{step}")
}

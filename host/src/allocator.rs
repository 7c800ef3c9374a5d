//! The system's allocator, told to give back what packs leave behind.
//!
//! glibc maps blocks above a threshold one by one and gives them back when they are freed; but each such block that is
//! freed raises the threshold, up to 32 MiB. After the first packs it would keep packs in a heap of each thread, and this
//! program would need half as much memory again (mallopt(3), "M_MMAP_THRESHOLD"; 189 MiB instead of 133 in `check
//! --read-data` of the Rust toolchain's folder). Setting the threshold keeps it where it is.

/// Blocks from this size on are mapped one by one, in bytes: packs, not ranges of packs and pieces of files.
#[cfg(target_env = "gnu")]
const MAPPED_FROM: libc::c_int = 4 << 20;
/// So much may lie unused at the end of a heap before it is given back, in bytes: a range of a pack, which is followed by
/// the next one. Pages that were given back are zeroed by the system before they come again.
#[cfg(target_env = "gnu")]
const KEPT: libc::c_int = 5 << 20;

/// To be called once, at the start. Other allocators are left alone.
#[allow(unsafe_code)]
pub fn set_up() {
    // SAFETY: the calls only change numbers in the allocator; the arguments are documented ones.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
}

//! Where the pieces of a directory end.

use crate::crypto::Key;
use crate::repository::Repository;

/// A piece of a directory is cut at latest at this size, in bytes.
const MAX_PIECE: usize = 512 << 10;
/// And not before this.
const MIN_PIECE: usize = 32 << 10;
/// A name whose hash begins with a byte below this ends a piece.
const CUT_BELOW: u8 = 4;

/// Decides about cuts, with a secret of the repository.
pub struct Cuts(Key);

impl Cuts {
    /// For directories of this repository.
    pub fn new(repository: &Repository) -> Self {
        Cuts(repository.sealing_keys().chunker.derive("obnam v1 tree cut"))
    }

    /// Whether a piece with so many bytes ends behind this name.
    pub fn ends_piece(&self, length: usize, name: &[u8]) -> bool {
        length >= MAX_PIECE || (length >= MIN_PIECE && self.0.keyed_hash(name)[0] < CUT_BELOW)
    }
}

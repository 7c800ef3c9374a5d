//! Content-defined chunking: cutting files where their contents say, so that an insertion moves few cuts.
//!
//! The chunker of format version 1 is FastCDC with a secret gear table ([`KeyedGear`]). The trait is there so that a
//! chunker with stronger secrecy can come later, under another name in the roster's parameters.

use fastcdc::v2020::{Normalization, cut_gear, select_masks};

use crate::crypto::Key;
use crate::format::FormatError;
use crate::format::roster::Parameters;

/// Cuts a byte stream into pieces.
pub trait Chunker: Send + Sync {
    /// Length of the first piece of `data`; 0 only if `data` is empty. A result below the length of `data` does not
    /// depend on what follows; if all of `data` is one piece, shorter than [`Chunker::max`], and the stream goes on, ask
    /// again with more.
    fn cut(&self, data: &[u8]) -> usize;

    /// The longest piece, in bytes.
    fn max(&self) -> usize;
}

/// "gear-fastcdc-2020": FastCDC with a gear table that is derived from the group's chunker key.
pub struct KeyedGear {
    gear: Box<[u64; 256]>,
    gear_shifted: Box<[u64; 256]>,
    min: usize,
    average: usize,
    max: usize,
    mask_small: u64,
    mask_large: u64,
}

impl KeyedGear {
    /// The chunker that a repository's parameters ask for.
    pub fn new(key: &Key, parameters: &Parameters) -> Result<Self, FormatError> {
        parameters.check()?;
        let mut bytes = [0; 2048];
        blake3::Hasher::new_keyed(key.derive("obnam v1 gear").as_bytes()).finalize_xof().fill(&mut bytes);
        let mut gear = Box::new([0; 256]);
        for (number, bytes) in gear.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *number = u64::from_le_bytes(*bytes);
        }
        let gear_shifted = Box::new(gear.map(|number| number << 1));
        let average = parameters.chunk_average as usize;
        let (mask_small, mask_large) = select_masks(average, Normalization::Level1);
        Ok(KeyedGear {
            gear,
            gear_shifted,
            min: parameters.chunk_min as usize,
            average,
            max: parameters.chunk_max as usize,
            mask_small,
            mask_large,
        })
    }
}

impl Chunker for KeyedGear {
    fn cut(&self, data: &[u8]) -> usize {
        let (_, length) = cut_gear(
            data,
            self.min,
            self.average,
            self.max,
            self.mask_small,
            self.mask_large,
            self.mask_small << 1,
            self.mask_large << 1,
            &*self.gear,
            &*self.gear_shifted,
        );
        length
    }

    fn max(&self) -> usize {
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunker(key: u8) -> KeyedGear {
        let parameters = Parameters { chunk_min: 256, chunk_average: 1024, chunk_max: 4096, ..Parameters::default() };
        KeyedGear::new(&Key::from_bytes([key; 32]), &parameters).expect("good parameters")
    }

    fn pieces(chunker: &KeyedGear, mut data: &[u8]) -> Vec<usize> {
        let mut lengths = Vec::new();
        while !data.is_empty() {
            let length = chunker.cut(data);
            lengths.push(length);
            data = &data[length..];
        }
        lengths
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn lengths_are_in_range_and_add_up(data in proptest::collection::vec(any::<u8>(), 0..20_000)) {
            let lengths = pieces(&chunker(1), &data);
            prop_assert_eq!(lengths.iter().sum::<usize>(), data.len());
            for (place, length) in lengths.iter().enumerate() {
                prop_assert!(*length <= 4096 && (*length >= 256 || place + 1 == lengths.len()));
            }
        }

        #[test]
        fn more_data_behind_does_not_move_a_cut(seed: u64, length in 1usize..5000) {
            let mut data = vec![0; 10_000];
            blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut data);
            let cut = chunker(1).cut(&data[..length]);
            prop_assert!(cut == length || cut == chunker(1).cut(&data));
        }
    }

    #[test]
    fn an_insertion_moves_few_cuts_and_keys_cut_differently() {
        let data = noise(1 << 20);
        let lengths = pieces(&chunker(1), &data);
        assert!((600..1800).contains(&lengths.len()), "{} pieces of about 1 KiB", lengths.len());
        let mut changed = data.clone();
        changed.insert(500_000, 7);
        let after = pieces(&chunker(1), &changed);
        let back = lengths.iter().rev().zip(after.iter().rev()).take_while(|(a, b)| a == b).count();
        let front = lengths.iter().zip(&after).take_while(|(a, b)| a == b).count();
        assert!(front + back + 8 >= lengths.len(), "{front} + {back} of {} pieces stay", lengths.len());
        assert_ne!(lengths, pieces(&chunker(2), &data));
    }

    #[test]
    fn the_cuts_of_version_1_stay() {
        // A golden value: cuts are not needed for reading, but moving them would store everything again.
        let lengths = pieces(&chunker(7), &noise(16 << 10));
        assert_eq!(lengths.iter().sum::<usize>(), 16 << 10);
        assert_eq!(hex::encode(&blake3::hash(format!("{lengths:?}").as_bytes()).as_bytes()[..8]), "e87b484f2573bf13");
    }
}

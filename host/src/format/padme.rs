//! Padmé (Nikitin et al., PoPETs 2019): lengths rounded up so that little of them shows, at a cost of at most 12 %.

/// The smallest Padmé length that is not below `length`.
pub fn padme(length: u64) -> u64 {
    if length < 2 {
        return length;
    }
    let exponent = length.ilog2();
    let kept = exponent.max(1).ilog2() + 1;
    let step = 1u64 << exponent.saturating_sub(kept);
    length.next_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_lengths() {
        // Worked by hand from the definition in the paper.
        for (length, padded) in [(0, 0), (1, 1), (2, 2), (7, 7), (9, 10), (100, 104), (1000, 1024), (1 << 20, 1 << 20)]
        {
            assert_eq!(padme(length), padded, "{length}");
        }
        assert_eq!(padme((1 << 24) + 1), (1 << 24) + (1 << 19));
    }

    proptest! {
        #[test]
        fn little_is_added_and_little_shows(length in 1u64..1 << 40) {
            let padded = padme(length);
            prop_assert!(padded >= length);
            prop_assert!(padded as f64 <= length as f64 * 1.12 + 1.0);
            prop_assert_eq!(padme(padded), padded);
        }
    }
}

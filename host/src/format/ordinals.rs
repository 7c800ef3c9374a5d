//! Some of the blobs of a pack, by their places in the order of the pack.

/// A set of numbers below a count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordinals {
    count: u32,
    /// Bit n % 8 of byte n / 8, least significant first; bits behind the count are 0.
    bits: Vec<u8>,
}

impl Ordinals {
    /// None of so many.
    pub fn none(count: u32) -> Self {
        Ordinals { count, bits: vec![0; (count as usize).div_ceil(8)] }
    }

    /// All of so many.
    pub fn all(count: u32) -> Self {
        (0..count).fold(Ordinals::none(count), |mut all, number| {
            all.insert(number);
            all
        })
    }

    /// From the wire form, if it is one.
    pub fn from_bytes(count: u32, bits: &[u8]) -> Option<Self> {
        let stray = |last: &u8| !count.is_multiple_of(8) && last >> (count % 8) != 0;
        let fits = bits.len() == (count as usize).div_ceil(8) && !bits.last().is_some_and(stray);
        fits.then(|| Ordinals { count, bits: bits.to_vec() })
    }

    /// The wire form, without the count.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bits
    }

    /// How many blobs the pack has.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// How many are in the set.
    pub fn len(&self) -> u32 {
        self.bits.iter().map(|byte| byte.count_ones()).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.bits.iter().all(|byte| *byte == 0)
    }

    /// Whether all are.
    pub fn is_all(&self) -> bool {
        self.len() == self.count
    }

    /// Adds one. Those behind the count are left out.
    pub fn insert(&mut self, number: u32) {
        if number < self.count {
            self.bits[number as usize / 8] |= 1 << (number % 8);
        }
    }

    /// Whether it is in the set.
    pub fn contains(&self, number: u32) -> bool {
        self.bits.get(number as usize / 8).is_some_and(|byte| byte >> (number % 8) & 1 == 1)
    }

    /// Those in the set, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        (0..self.count).filter(|number| self.contains(*number))
    }

    /// Adds those of another set of the same pack.
    pub fn add(&mut self, other: &Ordinals) {
        self.bits.iter_mut().zip(&other.bits).for_each(|(bits, other)| *bits |= other);
    }

    /// Takes away those of another set of the same pack.
    pub fn take_away(&mut self, other: &Ordinals) {
        self.bits.iter_mut().zip(&other.bits).for_each(|(bits, other)| *bits &= !other);
    }

    /// How many of another set are in this one too.
    pub fn common(&self, other: &Ordinals) -> u32 {
        self.bits.iter().zip(&other.bits).map(|(bits, other)| (bits & other).count_ones()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn of(count: u32, numbers: &BTreeSet<u32>) -> Ordinals {
        let mut set = Ordinals::none(count);
        numbers.iter().for_each(|number| set.insert(*number));
        set
    }

    proptest! {
        #[test]
        fn they_are_sets(
            count in 0u32..70,
            a in proptest::collection::btree_set(0u32..80, 0..60),
            b in proptest::collection::btree_set(0u32..80, 0..60),
        ) {
            let below = |set: &BTreeSet<u32>| set.iter().copied().filter(|n| *n < count).collect::<BTreeSet<_>>();
            let (x, y) = (of(count, &a), of(count, &b));
            let (a, b) = (below(&a), below(&b));
            prop_assert_eq!(x.iter().collect::<BTreeSet<_>>(), a.clone());
            prop_assert_eq!(Ordinals::from_bytes(count, x.as_bytes()), Some(x.clone()));
            prop_assert_eq!(x.len() as usize, a.len());
            prop_assert_eq!(x.is_empty(), a.is_empty());
            prop_assert_eq!(x.is_all(), a.len() == count as usize);
            prop_assert_eq!(x.common(&y) as usize, a.intersection(&b).count());
            let (mut sum, mut rest) = (x.clone(), x);
            sum.add(&y);
            rest.take_away(&y);
            prop_assert_eq!(sum.iter().collect::<BTreeSet<_>>(), a.union(&b).copied().collect::<BTreeSet<_>>());
            prop_assert_eq!(rest.iter().collect::<BTreeSet<_>>(), a.difference(&b).copied().collect::<BTreeSet<_>>());
            prop_assert!(Ordinals::all(count).is_all());
        }
    }

    #[test]
    fn stray_bits_are_refused() {
        assert!(Ordinals::from_bytes(3, &[0b111]).is_some());
        assert!(Ordinals::from_bytes(3, &[0b1000]).is_none());
        assert!(Ordinals::from_bytes(8, &[0xff]).is_some());
        for (count, bits) in [(8, &[0xff, 0][..]), (9, &[0xff]), (0, &[0])] {
            assert!(Ordinals::from_bytes(count, bits).is_none(), "{count} {bits:?}");
        }
    }
}

//! What snapshots need of packs: all of one, or some of its blobs; in the pack that a reference list names, or in those into which a
//! maintainer has moved the blobs since.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::chunk::ChunkId;
use crate::format::index::Moved;
use crate::format::ordinals::Ordinals;
use crate::format::references::Reference;

/// What all snapshots together need of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The blobs; none: all of them.
    pub used: Option<Ordinals>,
    /// The most bytes that a single snapshot needs.
    pub most: u64,
}

/// What is needed of each pack.
#[derive(Debug, Default)]
pub struct Needs(pub HashMap<ChunkId, Need>);

/// A move that a member has signed.
#[derive(Debug, Clone)]
pub struct KnownMove {
    /// From where to where.
    pub moved: Moved,
    /// Which blobs of the old pack.
    pub ordinals: Ordinals,
    /// Whether it is the word of a maintainer who has not been removed.
    pub counts: bool,
}

impl Needs {
    /// Adds what a snapshot needs.
    pub fn add(&mut self, reference: Reference) {
        let Reference { pack, live, used } = reference;
        self.need(pack, used, live);
    }

    fn need(&mut self, pack: ChunkId, used: Option<Ordinals>, most: u64) {
        let Some(need) = self.0.get_mut(&pack) else {
            self.0.insert(pack, Need { used: used.filter(|used| !used.is_all()), most });
            return;
        };
        need.most = need.most.max(most);
        need.used = match (need.used.take(), used) {
            (Some(mut some), Some(more)) if some.count() == more.count() => {
                some.add(&more);
                (!some.is_all()).then_some(some)
            }
            // Where two do not agree on how many blobs there are, it is all of them.
            _ => None,
        };
    }

    /// Needs the blobs where they stand now. A pack that is there is let go of only if everything that is needed of it stands in
    /// packs that are there too, by the word of maintainers that counts. Of one that is not there anything is needed that anybody has
    /// moved: that cannot do harm.
    pub fn follow(&mut self, moves: &[KnownMove], is_there: impl Fn(&ChunkId) -> bool) {
        let mut from: HashMap<ChunkId, Vec<&KnownMove>> = HashMap::new();
        for known in moves.iter().filter(|known| is_there(&known.moved.to)) {
            from.entry(known.moved.from).or_default().push(known);
        }
        for pack in in_order(&from) {
            let Some(need) = self.0.get(&pack) else { continue };
            let there = is_there(&pack);
            let usable = from[&pack].iter().copied().filter(|known| known.counts || !there);
            let Some(cover) = cover(need, usable.collect(), there) else { continue };
            self.0.remove(&pack);
            for (known, needed) in cover {
                self.need(known.moved.to, Some(known.places_of(&needed)), 0);
            }
        }
    }
}

impl KnownMove {
    /// A move, if it makes sense.
    pub fn new(moved: Moved, counts: bool) -> Option<Self> {
        let ordinals = moved.ordinals()?;
        Some(KnownMove { moved, ordinals, counts })
    }

    /// Where these blobs of the old pack stand in the new one.
    fn places_of(&self, needed: &Ordinals) -> Ordinals {
        let mut places = Ordinals::none(self.moved.to_count);
        for (place, _) in (self.moved.first..).zip(self.ordinals.iter()).filter(|(_, old)| needed.contains(*old)) {
            places.insert(place);
        }
        places
    }

    /// What becomes of this move when some blobs of the pack that it leads to are moved on: from the old pack straight to where they
    /// stand then. `first` is the place of the first of `on` there, `to` that pack, which has `to_count` blobs.
    pub fn then(&self, on: &Ordinals, (to, to_count, first): (ChunkId, u32, u32)) -> Option<Moved> {
        let mut ordinals = Ordinals::none(self.moved.from_count);
        for (_, old) in (self.moved.first..).zip(self.ordinals.iter()).filter(|(place, _)| on.contains(*place)) {
            ordinals.insert(old);
        }
        let before = on.iter().take_while(|place| *place < self.moved.first).count() as u32;
        (!ordinals.is_empty() && self.moved.from != to).then(|| Moved {
            from: self.moved.from,
            from_count: self.moved.from_count,
            bits: ordinals.as_bytes().to_vec(),
            to,
            to_count,
            first: first + before,
        })
    }
}

/// The moves that have everything that is needed, and what each has of it; always the same ones for the same moves, so that several
/// maintainers agree. If `all` is not asked for, those that have something of it.
fn cover<'m>(need: &Need, mut usable: Vec<&'m KnownMove>, all: bool) -> Option<Vec<(&'m KnownMove, Ordinals)>> {
    usable.sort_by_key(|known| (std::cmp::Reverse(known.ordinals.len()), known.moved.to, known.moved.first));
    let count =
        need.used.as_ref().map_or_else(|| usable.first().map_or(0, |known| known.moved.from_count), Ordinals::count);
    let mut missing = need.used.clone().unwrap_or_else(|| Ordinals::all(count));
    let mut cover = Vec::new();
    for known in usable.into_iter().filter(|known| known.moved.from_count == count) {
        if missing.common(&known.ordinals) > 0 {
            let mut rest = missing.clone();
            rest.take_away(&known.ordinals);
            let mut needed = missing;
            needed.take_away(&rest);
            cover.push((known, needed));
            missing = rest;
        }
    }
    let is_covered = !cover.is_empty() && (missing.is_empty() || !all);
    is_covered.then_some(cover)
}

/// The packs from which something was moved, each before those that it was moved to. Packs that were moved in a circle, which no
/// maintainer does, are left out, and so is what they lead to.
fn in_order(from: &HashMap<ChunkId, Vec<&KnownMove>>) -> Vec<ChunkId> {
    let mut into: HashMap<ChunkId, usize> = HashMap::new();
    let targets = |pack: &ChunkId| -> HashSet<ChunkId> { from[pack].iter().map(|known| known.moved.to).collect() };
    for target in from.keys().flat_map(targets) {
        *into.entry(target).or_default() += 1;
    }
    let mut ready: VecDeque<ChunkId> = from.keys().filter(|pack| !into.contains_key(*pack)).copied().collect();
    let mut order = Vec::new();
    while let Some(pack) = ready.pop_front() {
        order.push(pack);
        for target in targets(&pack) {
            let waiting = into.get_mut(&target).expect("every target was counted");
            *waiting -= 1;
            if *waiting == 0 && from.contains_key(&target) {
                ready.push_back(target);
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> ChunkId {
        ChunkId::from_bytes([number; 32])
    }

    fn some(count: u32, numbers: &[u32]) -> Ordinals {
        let mut set = Ordinals::none(count);
        numbers.iter().for_each(|number| set.insert(*number));
        set
    }

    fn moved((from, from_count): (u8, u32), numbers: &[u32], (to, to_count): (u8, u32), first: u32) -> KnownMove {
        let bits = some(from_count, numbers).as_bytes().to_vec();
        let moved = Moved { from: id(from), from_count, bits, to: id(to), to_count, first };
        KnownMove::new(moved, true).expect("makes sense")
    }

    fn needs(all: &[(u8, Option<Ordinals>)]) -> Needs {
        let mut needs = Needs::default();
        for (pack, used) in all {
            needs.add(Reference { pack: id(*pack), live: 1, used: used.clone() });
        }
        needs
    }

    fn used(needs: &Needs, pack: u8) -> Option<Option<Vec<u32>>> {
        needs.0.get(&id(pack)).map(|need| need.used.as_ref().map(|used| used.iter().collect()))
    }

    #[test]
    fn needs_add_up() {
        let needs = needs(&[
            (1, Some(some(4, &[0]))),
            (1, Some(some(4, &[2]))),
            (2, Some(some(4, &[0]))),
            (2, None),
            (3, Some(some(2, &[0]))),
            (3, Some(some(2, &[1]))),
            (4, Some(some(2, &[0]))),
            (4, Some(some(3, &[0]))),
        ]);
        assert_eq!(used(&needs, 1), Some(Some(vec![0, 2])));
        for pack in 2..=4 {
            assert_eq!(used(&needs, pack), Some(None), "{pack}");
        }
    }

    #[test]
    fn moved_blobs_are_needed_where_they_are() {
        // 1 has five blobs; 1 and 3 of them stand in pack 9 from place 2 on.
        let moves = [moved((1, 5), &[1, 3], (9, 4), 2)];
        let mut few = needs(&[(1, Some(some(5, &[3])))]);
        few.follow(&moves, |_| true);
        assert_eq!((used(&few, 1), used(&few, 9)), (None, Some(Some(vec![3]))));
        // Something else is needed too: the pack stays, and nothing of the other one is needed.
        for need in [Some(some(5, &[3, 4])), None, Some(some(6, &[3]))] {
            let mut more = needs(&[(1, need.clone())]);
            more.follow(&moves, |_| true);
            assert_eq!((used(&more, 1).is_some(), used(&more, 9)), (true, None));
            // If it is gone, what is left of it is needed.
            let mut gone = needs(&[(1, need.clone())]);
            gone.follow(&moves, |pack| *pack != id(1));
            let is_known = need.is_none_or(|need| need.count() == 5);
            assert_eq!(used(&gone, 9).is_some(), is_known);
        }
        // Nowhere to go.
        let mut few = needs(&[(1, Some(some(5, &[3])))]);
        few.follow(&moves, |pack| *pack != id(9));
        assert_eq!(used(&few, 1), Some(Some(vec![3])));
    }

    #[test]
    fn words_that_do_not_count_only_keep() {
        let mut moves = [moved((1, 5), &[3], (9, 1), 0)];
        moves[0].counts = false;
        let mut there = needs(&[(1, Some(some(5, &[3])))]);
        there.follow(&moves, |_| true);
        assert_eq!((used(&there, 1).is_some(), used(&there, 9)), (true, None));
        let mut gone = needs(&[(1, Some(some(5, &[3])))]);
        gone.follow(&moves, |pack| *pack != id(1));
        assert_eq!(used(&gone, 9), Some(None), "all of the one blob");
    }

    #[test]
    fn blobs_are_followed_through_many_moves() {
        let moves =
            [moved((1, 4), &[0, 2], (2, 4), 1), moved((2, 4), &[1, 2], (3, 8), 6), moved((2, 4), &[0, 3], (4, 2), 0)];
        let mut all = needs(&[(1, Some(some(4, &[2]))), (2, Some(some(4, &[0])))]);
        all.follow(&moves, |_| true);
        assert_eq!((used(&all, 1), used(&all, 2)), (None, None));
        assert_eq!(used(&all, 3), Some(Some(vec![7])));
        assert_eq!(used(&all, 4), Some(Some(vec![0])));
        // The same in one step, once the pack in the middle is gone and forgotten.
        let straight =
            [KnownMove::new(moves[0].then(&some(4, &[1, 2]), (id(3), 8, 6)).expect("moves on"), true)
                .expect("is good")];
        let mut all = needs(&[(1, Some(some(4, &[2])))]);
        all.follow(&straight, |pack| *pack != id(2));
        assert_eq!(used(&all, 3), Some(Some(vec![7])));
        assert!(moves[0].then(&some(4, &[0, 3]), (id(4), 2, 0)).is_none());
    }

    #[test]
    fn circles_lead_nowhere() {
        let moves = [moved((1, 1), &[0], (2, 1), 0), moved((2, 1), &[0], (1, 1), 0), moved((3, 1), &[0], (1, 1), 0)];
        let mut all = needs(&[(1, None), (2, None), (3, None)]);
        all.follow(&moves, |_| true);
        assert_eq!((used(&all, 1), used(&all, 2), used(&all, 3)), (Some(None), Some(None), None));
    }

    #[test]
    fn several_moves_cover_together() {
        let moves =
            [moved((1, 3), &[0, 1], (2, 2), 0), moved((1, 3), &[1, 2], (3, 2), 0), moved((1, 3), &[2], (4, 1), 0)];
        let mut all = needs(&[(1, None)]);
        all.follow(&moves, |_| true);
        assert_eq!(used(&all, 1), None);
        assert_eq!((used(&all, 2), used(&all, 3), used(&all, 4)), (Some(None), Some(Some(vec![1])), None));
    }
}

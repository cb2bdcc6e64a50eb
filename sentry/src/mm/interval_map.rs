//! A map from ranges of addresses to values: the areas of an address space, and the pages that are in place.
//!
//! Segments never overlap and are never empty; neighbours that touch and are equal are one segment. A value that
//! depends on its place (an offset into a file) is stored as the difference to the address, so that splitting and
//! merging change no value.

use std::collections::BTreeMap;
use std::ops::Range;

use smallvec::SmallVec;

/// A map from ranges to values.
#[derive(Debug, Clone)]
pub(super) struct IntervalMap<V> {
    segments: BTreeMap<u64, Segment<V>>,
}

#[derive(Debug, Clone)]
struct Segment<V> {
    end: u64,
    value: V,
}

/// Segments that were taken out, in ascending order.
pub(super) type Removed<V> = SmallVec<[(Range<u64>, V); 2]>;

impl<V> Default for IntervalMap<V> {
    fn default() -> Self {
        Self { segments: BTreeMap::new() }
    }
}

impl<V> IntervalMap<V> {
    /// How many segments there are.
    pub(super) fn len(&self) -> usize {
        self.segments.len()
    }

    /// The segment that `at` lies in.
    #[inline]
    pub(super) fn get(&self, at: u64) -> Option<(Range<u64>, &V)> {
        let (&start, segment) = self.segments.range(..=at).next_back()?;
        (at < segment.end).then_some((start..segment.end, &segment.value))
    }

    /// All segments, ascending.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (Range<u64>, &V)> {
        self.segments.iter().map(|(&start, segment)| (start..segment.end, &segment.value))
    }

    /// The segments that share an address with `range`, whole, ascending.
    pub(super) fn overlapping(&self, range: Range<u64>) -> impl DoubleEndedIterator<Item = (Range<u64>, &V)> {
        let first = match self.get(range.start) {
            Some((segment, _)) => segment.start,
            None => range.start,
        };
        self.segments
            .range(first..range.end.max(first))
            .map(|(&start, segment)| (start..segment.end, &segment.value))
    }

    /// The parts of segments that lie in `range`, ascending.
    pub(super) fn clipped(&self, range: Range<u64>) -> impl DoubleEndedIterator<Item = (Range<u64>, &V)> {
        let bounds = range.clone();
        self.overlapping(range).map(move |(segment, value)| {
            (segment.start.max(bounds.start)..segment.end.min(bounds.end), value)
        })
    }

    /// The first segment that starts at or above `at`.
    pub(super) fn first_from(&self, at: u64) -> Option<(Range<u64>, &V)> {
        self.segments.range(at..).next().map(|(&start, segment)| (start..segment.end, &segment.value))
    }

    /// The last segment that starts below `at`.
    pub(super) fn last_below(&self, at: u64) -> Option<(Range<u64>, &V)> {
        self.segments.range(..at).next_back().map(|(&start, segment)| (start..segment.end, &segment.value))
    }

    /// Whether no segment shares an address with `range`.
    pub(super) fn is_vacant(&self, range: Range<u64>) -> bool {
        self.overlapping(range).next().is_none()
    }

    /// Whether each address of `range` lies in a segment.
    pub(super) fn is_covered(&self, range: Range<u64>) -> bool {
        let mut reached = range.start;
        for (segment, _) in self.overlapping(range.clone()) {
            if segment.start > reached {
                return false;
            }
            reached = segment.end;
        }
        reached >= range.end
    }

    /// The vacant addresses around `at` within `bounds`; empty if `at` lies in a segment.
    pub(super) fn vacancy(&self, at: u64, bounds: Range<u64>) -> Range<u64> {
        let start = match self.last_below(at.saturating_add(1)) {
            Some((below, _)) if below.end > at => return at..at,
            Some((below, _)) => below.end.max(bounds.start),
            None => bounds.start,
        };
        let end = self.first_from(at).map_or(bounds.end, |(above, _)| above.start.min(bounds.end));
        start..end
    }

    /// The end of the highest vacancy of `length` in `bounds`. `guard` tells how many addresses below a segment
    /// must stay vacant.
    pub(super) fn highest_vacancy(
        &self,
        length: u64,
        bounds: Range<u64>,
        guard: impl Fn(&V) -> u64,
    ) -> Option<u64> {
        let mut ceiling = bounds.end;
        if let Some((above, value)) = self.first_from(bounds.end) {
            ceiling = ceiling.min(above.start.saturating_sub(guard(value)));
        }
        for (&start, segment) in self.segments.range(..bounds.end).rev() {
            let floor = segment.end.max(bounds.start);
            if ceiling.checked_sub(floor).is_some_and(|room| room >= length) {
                return Some(ceiling);
            }
            ceiling = ceiling.min(start.saturating_sub(guard(&segment.value)));
            if ceiling.checked_sub(bounds.start).is_none_or(|room| room < length) {
                return None;
            }
        }
        ceiling.checked_sub(bounds.start).is_some_and(|room| room >= length).then_some(ceiling)
    }

    /// The start of the lowest vacancy of `length` in `bounds`; `guard` as for
    /// [`highest_vacancy`](Self::highest_vacancy).
    pub(super) fn lowest_vacancy(
        &self,
        length: u64,
        bounds: Range<u64>,
        guard: impl Fn(&V) -> u64,
    ) -> Option<u64> {
        let mut floor = bounds.start;
        for (segment, value) in self.overlapping(bounds.start..u64::MAX) {
            let ceiling = segment.start.saturating_sub(guard(value)).min(bounds.end);
            if ceiling.checked_sub(floor).is_some_and(|room| room >= length) {
                return Some(floor);
            }
            floor = floor.max(segment.end);
            if floor >= bounds.end {
                return None;
            }
        }
        bounds.end.checked_sub(floor).is_some_and(|room| room >= length).then_some(floor)
    }
}

impl<V: Clone + PartialEq> IntervalMap<V> {
    /// Sets `range` to `value`, and gives back what was there.
    pub(super) fn insert(&mut self, range: Range<u64>, value: V) -> Removed<V> {
        let removed = self.remove(range.clone());
        if !range.is_empty() {
            self.segments.insert(range.start, Segment { end: range.end, value });
            self.merge(range.end);
            self.merge(range.start);
        }
        removed
    }

    /// Makes `range` vacant, and gives back what was there.
    pub(super) fn remove(&mut self, range: Range<u64>) -> Removed<V> {
        if range.is_empty() || self.is_vacant(range.clone()) {
            return Removed::new();
        }
        self.split(range.start);
        self.split(range.end);
        self.segments
            .extract_if(range, |_, _| true)
            .map(|(start, segment)| (start..segment.end, segment.value))
            .collect()
    }

    /// Changes the values in `range`: `change` gets each part of a segment that lies in it.
    pub(super) fn update(&mut self, range: Range<u64>, mut change: impl FnMut(Range<u64>, &mut V)) {
        if range.is_empty() {
            return;
        }
        self.split(range.start);
        self.split(range.end);
        let mut starts: SmallVec<[u64; 8]> = SmallVec::new();
        for (&start, segment) in self.segments.range_mut(range.clone()) {
            change(start..segment.end, &mut segment.value);
            starts.push(start);
        }
        for start in starts {
            self.merge(start);
        }
        self.merge(range.end);
    }

    /// Makes `at` a border, if a segment reaches over it.
    fn split(&mut self, at: u64) {
        let Some((&start, segment)) = self.segments.range_mut(..at).next_back() else { return };
        debug_assert!(start < at, "the range ends below `at`");
        if segment.end > at {
            let upper = Segment { end: segment.end, value: segment.value.clone() };
            segment.end = at;
            self.segments.insert(at, upper);
        }
    }

    /// Joins the segment that starts at `at` to the one that ends there, if they are equal.
    fn merge(&mut self, at: u64) {
        let Some(upper) = self.segments.get(&at) else { return };
        let end = upper.end;
        let Some((&start, lower)) = self.segments.range(..at).next_back() else { return };
        if lower.end == at && lower.value == upper.value {
            self.segments.remove(&at);
            if let Some(lower) = self.segments.get_mut(&start) {
                lower.end = end;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    const SPACE: u64 = 64;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u64, u64, u8),
        Remove(u64, u64),
        Add(u64, u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..SPACE, 0..12_u64, 0..3_u8)
                .prop_map(|(start, length, value)| Step::Insert(start, length, value)),
            (0..SPACE, 0..20_u64).prop_map(|(start, length)| Step::Remove(start, length)),
            (0..SPACE, 0..20_u64).prop_map(|(start, length)| Step::Add(start, length)),
        ]
    }

    fn naive(map: &IntervalMap<u8>) -> Vec<Option<u8>> {
        (0..SPACE + 32).map(|at| map.get(at).map(|(_, &value)| value)).collect()
    }

    fn well_formed(map: &IntervalMap<u8>) -> bool {
        let segments: Vec<_> = map.iter().collect();
        segments.iter().all(|(range, _)| !range.is_empty())
            && segments.windows(2).all(|pair| {
                pair[0].0.end < pair[1].0.start
                    || (pair[0].0.end == pair[1].0.start && pair[0].1 != pair[1].1)
            })
    }

    /// The highest vacancy, address by address.
    fn naive_highest(model: &[Option<u8>], length: u64, bounds: Range<u64>) -> Option<u64> {
        (bounds.start..bounds.end).rev().map(|last| last + 1).find(|&end| {
            end >= bounds.start + length && (end - length..end).all(|at| model[at as usize].is_none())
        })
    }

    fn naive_lowest(model: &[Option<u8>], length: u64, bounds: Range<u64>) -> Option<u64> {
        bounds.clone().find(|&start| {
            start + length <= bounds.end && (start..start + length).all(|at| model[at as usize].is_none())
        })
    }

    proptest! {
        #[test]
        fn behaves_as_an_array_of_values(steps in proptest::collection::vec(step(), 1..60)) {
            let mut map = IntervalMap::default();
            let mut model = vec![None; (SPACE + 32) as usize];
            for step in steps {
                match step {
                    Step::Insert(start, length, value) => {
                        map.insert(start..start + length, value);
                        model[start as usize..(start + length) as usize].fill(Some(value));
                    }
                    Step::Remove(start, length) => {
                        let removed = map.remove(start..start + length);
                        let expected = model[start as usize..(start + length) as usize].iter().flatten().count();
                        prop_assert_eq!(removed.iter().map(|(range, _)| range.end - range.start).sum::<u64>(), expected as u64);
                        model[start as usize..(start + length) as usize].fill(None);
                    }
                    Step::Add(start, length) => {
                        map.update(start..start + length, |_, value| *value = value.wrapping_add(1));
                        for value in model[start as usize..(start + length) as usize].iter_mut().flatten() {
                            *value = value.wrapping_add(1);
                        }
                    }
                }
                prop_assert_eq!(&naive(&map), &model);
                assert!(well_formed(&map), "{map:?}");
            }
        }

        #[test]
        fn finds_the_vacancies_that_a_search_by_address_finds(
            segments in proptest::collection::vec((0..SPACE, 1..6_u64, any::<u8>()), 0..16),
            length in 1..10_u64,
            start in 0..SPACE,
            room in 0..SPACE,
        ) {
            let mut map = IntervalMap::default();
            for (at, size, value) in segments {
                map.insert(at..at + size, value);
            }
            let model = naive(&map);
            let bounds = start..(start + room).min(SPACE);
            prop_assert_eq!(map.highest_vacancy(length, bounds.clone(), |_| 0), naive_highest(&model, length, bounds.clone()));
            prop_assert_eq!(map.lowest_vacancy(length, bounds.clone(), |_| 0), naive_lowest(&model, length, bounds));
        }
    }

    #[test]
    fn guard_keeps_addresses_below_a_segment_vacant() {
        let mut map = IntervalMap::default();
        map.insert(50..60, 1);
        assert_eq!(map.highest_vacancy(5, 0..60, |_| 8), Some(42));
        assert_eq!(map.lowest_vacancy(45, 0..100, |_| 8), None);
        assert_eq!(map.lowest_vacancy(40, 0..100, |_| 8), Some(0));
    }

    #[test]
    fn vacancy_is_bounded_by_neighbours_and_bounds() {
        let mut map = IntervalMap::default();
        map.insert(10..20, 1);
        map.insert(30..40, 1);
        assert_eq!(map.vacancy(25, 0..100), 20..30);
        assert_eq!(map.vacancy(25, 22..28), 22..28);
        assert_eq!(map.vacancy(50, 0..100), 40..100);
        assert!(map.vacancy(15, 0..100).is_empty());
    }
}

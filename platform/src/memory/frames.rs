//! Which pages of a memory file are free: a page allocator without any input or output.
//!
//! Pages are numbered from zero. A page has never been used (it lies behind the frontier), or is *clean* (a hole of the file, so
//! zero), or is *dirty* (free with old contents), or is in use. Runs of free pages are kept by start, so that neighbours merge,
//! and by length, so that the best fit is found in logarithmic time; no work is done and nothing is allocated for each page.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// A set of free pages.
#[derive(Debug, Default)]
pub(super) struct Runs {
    by_start: BTreeMap<u64, u64>,
    by_length: BTreeSet<(u64, u64)>,
    pages: u64,
}

impl Runs {
    /// How many pages are in the set.
    pub(super) fn pages(&self) -> u64 {
        self.pages
    }

    /// Adds `run`, of which no page is in the set.
    pub(super) fn insert(&mut self, run: Range<u64>) {
        if run.is_empty() {
            return;
        }
        self.pages += run.end - run.start;
        let mut merged = run;
        if let Some((&start, &end)) = self.by_start.range(..merged.start).next_back()
            && end == merged.start
        {
            self.forget(start..end);
            merged.start = start;
        }
        if let Some(&end) = self.by_start.get(&merged.end) {
            self.forget(merged.end..end);
            merged.end = end;
        }
        self.by_length.insert((merged.end - merged.start, merged.start));
        self.by_start.insert(merged.start, merged.end);
    }

    fn forget(&mut self, run: Range<u64>) {
        self.by_start.remove(&run.start);
        self.by_length.remove(&(run.end - run.start, run.start));
    }

    /// Takes the first `count` pages of the shortest run that is long enough.
    pub(super) fn take(&mut self, count: u64) -> Option<Range<u64>> {
        let &(length, start) = self.by_length.range((count, 0)..).next()?;
        let run = start..start + length;
        self.forget(run.clone());
        self.pages -= length;
        self.insert(start + count..run.end);
        Some(start..start + count)
    }

    /// Takes the longest run whole.
    pub(super) fn take_longest(&mut self) -> Option<Range<u64>> {
        let &(length, _) = self.by_length.last()?;
        self.take(length)
    }

    /// The length of the longest run.
    pub(super) fn longest(&self) -> u64 {
        self.by_length.last().map_or(0, |&(length, _)| length)
    }
}

/// Pages handed out, and whether they have to be zeroed first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// Which pages.
    pub(super) pages: Range<u64>,
    /// Whether they hold old contents.
    pub(super) dirty: bool,
}

/// All free pages of a file.
#[derive(Debug)]
pub(super) struct FreePages {
    total: u64,
    frontier: u64,
    clean: Runs,
    dirty: Runs,
}

impl FreePages {
    /// `total` pages, none of them ever used.
    pub(super) fn new(total: u64) -> Self {
        Self { total, frontier: 0, clean: Runs::default(), dirty: Runs::default() }
    }

    /// Takes `count` contiguous pages: those with old contents first (their memory is there already), then holes, then the
    /// next pages that were never used.
    pub(super) fn take(&mut self, count: u64) -> Option<Taken> {
        if let Some(pages) = self.dirty.take(count) {
            return Some(Taken { pages, dirty: true });
        }
        if let Some(pages) = self.clean.take(count) {
            return Some(Taken { pages, dirty: false });
        }
        if count > self.total - self.frontier {
            return None;
        }
        let start = self.frontier;
        self.frontier += count;
        Some(Taken { pages: start..start + count, dirty: false })
    }

    /// The most pages that [`take`](Self::take) can give at once.
    pub(super) fn longest(&self) -> u64 {
        self.dirty.longest().max(self.clean.longest()).max(self.total - self.frontier)
    }

    /// Gives pages with old contents back.
    pub(super) fn give_dirty(&mut self, pages: Range<u64>) {
        self.dirty.insert(pages);
    }

    /// Gives pages back that have become holes.
    pub(super) fn give_clean(&mut self, pages: Range<u64>) {
        if pages.end == self.frontier {
            self.frontier = pages.start;
            // Runs touch the frontier only if it moved down to them just now.
            while let Some((&start, &end)) = self.clean.by_start.last_key_value()
                && end == self.frontier
            {
                self.clean.forget(start..end);
                self.clean.pages -= end - start;
                self.frontier = start;
            }
        } else {
            self.clean.insert(pages);
        }
    }

    /// How many free pages hold old contents, and so memory of the host.
    pub(super) fn dirty_pages(&self) -> u64 {
        self.dirty.pages()
    }

    /// Takes the longest run of pages with old contents, to be made a hole.
    pub(super) fn take_longest_dirty(&mut self) -> Option<Range<u64>> {
        self.dirty.take_longest()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fresh_pages_come_in_ascending_order() {
        let mut free = FreePages::new(10);
        assert_eq!(free.take(4), Some(Taken { pages: 0..4, dirty: false }));
        assert_eq!(free.take(4), Some(Taken { pages: 4..8, dirty: false }));
        assert_eq!(free.take(4), None);
        assert_eq!(free.longest(), 2);
        assert_eq!(free.take(2), Some(Taken { pages: 8..10, dirty: false }));
    }

    #[test]
    fn neighbours_merge_and_the_frontier_comes_back() {
        let mut free = FreePages::new(10);
        assert!(free.take(9).is_some());
        free.give_clean(0..2);
        free.give_clean(4..6);
        free.give_clean(2..4);
        assert_eq!(free.longest(), 6);
        free.give_clean(6..9);
        assert_eq!(free.longest(), 10);
        assert_eq!(free.frontier, 0);
    }

    proptest! {
        #[test]
        fn no_page_is_given_twice(steps in prop::collection::vec((0u8..3, 1u64..20), 1..200)) {
            let mut free = FreePages::new(200);
            let mut held: Vec<Range<u64>> = Vec::new();
            let mut used: HashSet<u64> = HashSet::new();
            for (action, count) in steps {
                match action {
                    0 => if let Some(taken) = free.take(count) {
                        prop_assert_eq!(taken.pages.end - taken.pages.start, count);
                        for page in taken.pages.clone() {
                            prop_assert!(page < 200);
                            prop_assert!(used.insert(page));
                        }
                        held.push(taken.pages);
                    } else {
                        prop_assert!(free.longest() < count);
                    },
                    1 => if !held.is_empty() {
                        let pages = held.swap_remove(usize::try_from(count).unwrap() % held.len());
                        for page in pages.clone() {
                            used.remove(&page);
                        }
                        if count % 2 == 0 { free.give_dirty(pages) } else { free.give_clean(pages) }
                    },
                    _ => if let Some(pages) = free.take_longest_dirty() {
                        free.give_clean(pages);
                    },
                }
            }
            let free_pages = free.dirty.pages() + free.clean.pages() + (free.total - free.frontier);
            prop_assert_eq!(free_pages, 200 - used.len() as u64);
        }
    }
}

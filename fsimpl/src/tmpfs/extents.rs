//! Which pages of a file have frames of the memory file, as runs.
//!
//! Runs never overlap; neighbours that continue each other in the file and in memory are one run, so that a file
//! written in order is a handful of runs, whatever its size.

use std::collections::BTreeMap;
use std::ops::Range;

use bartizan_platform::memory::PAGE_SIZE;

/// A map from page numbers of a file to byte offsets in the memory file.
#[derive(Debug, Default)]
pub struct Extents {
    /// By first page.
    runs: BTreeMap<u64, Run>,
    pages: u64,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    /// Where the first page is in the memory file, bytes.
    frame: u64,
    /// How many pages there are, at least one.
    pages: u64,
}

/// What is at a page of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Frames: the first is at byte `frame` of the memory file, and `pages` follow each other in both.
    Data {
        /// Where the page is, bytes.
        frame: u64,
        /// How many pages from there.
        pages: u64,
    },
    /// Nothing for so many pages; `u64::MAX` stands for all that follow.
    Hole {
        /// How many pages up to the next data.
        pages: u64,
    },
}

impl Extents {
    /// How many pages have frames.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// What is at `page`.
    pub fn find(&self, page: u64) -> Found {
        if let Some((&first, run)) = self.runs.range(..=page).next_back() {
            let inside = page - first;
            if inside < run.pages {
                return Found::Data { frame: run.frame + inside * PAGE_SIZE, pages: run.pages - inside };
            }
        }
        let pages = self.next_run(page).map_or(u64::MAX, |next| next - page);
        Found::Hole { pages }
    }

    /// The first page at or after `page` that has a frame.
    pub fn next_data(&self, page: u64) -> Option<u64> {
        match self.find(page) {
            Found::Data { .. } => Some(page),
            Found::Hole { .. } => self.next_run(page),
        }
    }

    /// The first page at or after `page` that has none.
    pub fn next_hole(&self, mut page: u64) -> u64 {
        while let Found::Data { pages, .. } = self.find(page) {
            page += pages;
        }
        page
    }

    /// The frame behind that of the page before `page`, if that page has one: where a run would go on.
    pub fn frame_before(&self, page: u64) -> Option<u64> {
        match self.find(page.checked_sub(1)?) {
            Found::Data { frame, .. } => Some(frame + PAGE_SIZE),
            Found::Hole { .. } => None,
        }
    }

    /// Puts `pages` frames from byte `frame` on at `page`, where there was a hole of that size.
    pub fn insert(&mut self, page: u64, frame: u64, pages: u64) {
        if pages == 0 {
            return;
        }
        self.pages += pages;
        let mut start = page;
        let mut run = Run { frame, pages };
        if let Some((&first, before)) = self.runs.range(..page).next_back()
            && first + before.pages == page
            && before.frame + before.pages * PAGE_SIZE == frame
        {
            start = first;
            run = Run { frame: before.frame, pages: before.pages + pages };
        }
        if let Some(&after) = self.runs.get(&(page + pages))
            && frame + pages * PAGE_SIZE == after.frame
        {
            self.runs.remove(&(page + pages));
            run.pages += after.pages;
        }
        self.runs.insert(start, run);
    }

    /// Makes `pages` a hole, and gives the frames that were there to `free`, as ranges of bytes of the memory file.
    pub fn remove(&mut self, pages: Range<u64>, mut free: impl FnMut(Range<u64>)) {
        let mut from = match self.runs.range(..pages.start).next_back() {
            Some((&first, run)) if first + run.pages > pages.start => first,
            _ => pages.start,
        };
        while let Some((&first, &run)) = self.runs.range(from..pages.end).next() {
            self.runs.remove(&first);
            let end = first + run.pages;
            let (cut_start, cut_end) = (first.max(pages.start), end.min(pages.end));
            if first < cut_start {
                self.runs.insert(first, Run { frame: run.frame, pages: cut_start - first });
            }
            if cut_end < end {
                let frame = run.frame + (cut_end - first) * PAGE_SIZE;
                self.runs.insert(cut_end, Run { frame, pages: end - cut_end });
            }
            self.pages -= cut_end - cut_start;
            let start = run.frame + (cut_start - first) * PAGE_SIZE;
            free(start..start + (cut_end - cut_start) * PAGE_SIZE);
            from = cut_end;
        }
    }

    fn next_run(&self, page: u64) -> Option<u64> {
        self.runs.range(page..).next().map(|(&first, _)| first)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn runs_that_continue_each_other_become_one() {
        let mut extents = Extents::default();
        extents.insert(2, 2 * PAGE_SIZE, 2);
        extents.insert(6, 6 * PAGE_SIZE, 1);
        extents.insert(4, 4 * PAGE_SIZE, 2);
        assert_eq!(extents.runs.len(), 1);
        assert_eq!(extents.find(2), Found::Data { frame: 2 * PAGE_SIZE, pages: 5 });
        assert_eq!(extents.find(0), Found::Hole { pages: 2 });
        assert_eq!(extents.find(7), Found::Hole { pages: u64::MAX });
    }

    #[derive(Debug, Clone)]
    enum Step {
        Fill { page: u64, pages: u64, gap: bool },
        Remove { page: u64, pages: u64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..64u64, 1..9u64, any::<bool>()).prop_map(|(page, pages, gap)| Step::Fill { page, pages, gap }),
            (0..64u64, 0..20u64).prop_map(|(page, pages)| Step::Remove { page, pages }),
        ]
    }

    proptest! {
        #[test]
        fn behaves_as_a_map_of_single_pages(steps in prop::collection::vec(step(), 0..60)) {
            let mut extents = Extents::default();
            let mut model: BTreeMap<u64, u64> = BTreeMap::new();
            let mut next_frame = 0;
            for step in steps {
                match step {
                    Step::Fill { page, pages, gap } => {
                        if gap {
                            next_frame += PAGE_SIZE;
                        }
                        if let Found::Hole { pages: hole } = extents.find(page) {
                            let pages = pages.min(hole);
                            extents.insert(page, next_frame, pages);
                            for index in 0..pages {
                                model.insert(page + index, next_frame);
                                next_frame += PAGE_SIZE;
                            }
                        }
                    }
                    Step::Remove { page, pages } => {
                        let mut freed = Vec::new();
                        extents.remove(page..page + pages, |range| {
                            freed.extend(range.step_by(PAGE_SIZE as usize));
                        });
                        let mut expected: Vec<u64> =
                            (page..page + pages).filter_map(|page| model.remove(&page)).collect();
                        freed.sort_unstable();
                        expected.sort_unstable();
                        prop_assert_eq!(freed, expected);
                    }
                }
                prop_assert_eq!(extents.pages(), model.len() as u64);
                for page in 0..80 {
                    match (extents.find(page), model.get(&page)) {
                        (Found::Data { frame, .. }, Some(&expected)) => prop_assert_eq!(frame, expected),
                        (Found::Hole { .. }, None) => {}
                        (found, expected) => prop_assert!(false, "{page}: {found:?} {expected:?}"),
                    }
                    prop_assert_eq!(extents.next_data(page), model.range(page..).next().map(|(&page, _)| page));
                    prop_assert_eq!(extents.next_hole(page), (page..).find(|page| !model.contains_key(page)).unwrap());
                }
            }
        }
    }
}

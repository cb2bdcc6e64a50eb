//! The reference counts of a memory file's pages.
//!
//! They lie in chunks, each made when a page of it is first used: a file has millions of pages, of which most are never touched.
//! One allocation for all would be given out of the host's heap once an earlier one has been freed, and cleared by hand there.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;

/// Pages of a chunk: 32 KiB of counts for 32 MiB of memory.
const CHUNK_PAGES: u64 = 8192;

/// A count for each page, zero at first.
#[derive(Debug)]
pub(super) struct Counts {
    chunks: Box<[OnceLock<Box<[AtomicU32]>>]>,
    pages: u64,
}

impl Counts {
    /// Counts of `pages` pages.
    pub(super) fn new(pages: u64) -> Self {
        let chunks = (0..pages.div_ceil(CHUNK_PAGES)).map(|_| OnceLock::new()).collect();
        Self { chunks, pages }
    }

    /// The count of one page, if any page near it was ever used.
    pub(super) fn get(&self, page: u64) -> Option<&AtomicU32> {
        let chunk = self.chunks.get(usize::try_from(page / CHUNK_PAGES).ok()?)?.get()?;
        chunk.get((page % CHUNK_PAGES) as usize)
    }

    /// The counts of those of `pages` that there are, in order.
    pub(super) fn of(&self, pages: &Range<u64>) -> impl Iterator<Item = &AtomicU32> {
        let pages = pages.start.min(self.pages)..pages.end.min(self.pages);
        (pages.start / CHUNK_PAGES..pages.end.div_ceil(CHUNK_PAGES)).flat_map(move |chunk| {
            let first = chunk * CHUNK_PAGES;
            let start = pages.start.saturating_sub(first).min(CHUNK_PAGES);
            let end = pages.end.saturating_sub(first).min(CHUNK_PAGES);
            self.chunk(chunk).get(start as usize..end as usize).unwrap_or_default()
        })
    }

    fn chunk(&self, number: u64) -> &[AtomicU32] {
        let cell = usize::try_from(number).ok().and_then(|number| self.chunks.get(number));
        cell.map_or(&[], |cell| cell.get_or_init(|| (0..CHUNK_PAGES).map(|_| AtomicU32::new(0)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::{CHUNK_PAGES, Counts};

    #[test]
    fn a_range_over_chunks_is_seen_whole_and_in_order() {
        let counts = Counts::new(3 * CHUNK_PAGES);
        let pages = CHUNK_PAGES - 2..2 * CHUNK_PAGES + 3;
        for (count, value) in counts.of(&pages).zip(1..) {
            count.store(value, Ordering::Relaxed);
        }
        assert_eq!(counts.of(&pages).count() as u64, pages.end - pages.start);
        let value = |page| counts.get(page).map(|count| count.load(Ordering::Relaxed));
        assert_eq!(value(CHUNK_PAGES - 3), Some(0));
        assert_eq!(value(CHUNK_PAGES - 2), Some(1));
        assert_eq!(value(CHUNK_PAGES), Some(3));
        assert_eq!(value(2 * CHUNK_PAGES + 3), Some(0));
    }

    #[test]
    fn pages_behind_the_end_and_in_unused_chunks_have_no_count() {
        let counts = Counts::new(10);
        assert!(counts.get(0).is_none());
        assert_eq!(counts.of(&(8..100)).count(), 2);
        assert_eq!(counts.of(&(100..200)).count(), 0);
        assert!(counts.get(u64::MAX).is_none());
        assert_eq!(counts.of(&(5..5)).count(), 0);
    }
}

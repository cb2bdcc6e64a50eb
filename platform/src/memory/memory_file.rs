//! The physical memory of a sandbox: one sparse memfd, mapped once into the sentry.
//!
//! Pages are counted by reference and zero when they are given out. Free pages keep their memory for reuse up to a bound, beyond
//! which they are given back to the host in long runs. The size of the file is sealed, so that no access inside it meets
//! its end.
//!
//! Lock: `free`, a leaf. Reference counts change only under it, but are read without it: whoever holds the only reference of a page
//! is the only one who can add another.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};
use rustix::fs::{FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags};

use super::counts::Counts;
use super::frames::FreePages;
use super::mapping::{Protection, SharedMapping};
use super::{BackingFile, PAGE_SIZE, VolatileSlice};

/// Free pages that may keep their memory: 32 MiB, but no more than a quarter of the file. To zero them costs a sixth of what the
/// host takes for a new page.
const MOST_DIRTY_PAGES: u64 = 8192;

/// From how many pages on it pays to fill the page tables in one go before zeroing.
const POPULATE_FROM_PAGES: u64 = 4;

/// What is shown in one piece: no more than this, so that what others keep for it grows with the memory in use.
const WINDOW: u64 = 256 << 20;

/// A reference count that is never given back, because it overflowed.
const STUCK: u32 = u32::MAX;

/// The sandbox's memory limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the memory of the sandbox is used up")]
pub struct OutOfMemory;

/// The physical memory of a sandbox. Ranges are in bytes of the file and page-aligned.
#[derive(Debug)]
pub struct MemoryFile {
    file: OwnedFd,
    /// Whether the host is asked for the space of pages before they are given out: to run out of it later would be a fault.
    reserves: bool,
    mapping: SharedMapping,
    limit: u64,
    used_pages: AtomicU64,
    counts: Counts,
    free: Mutex<Free>,
    punched: Condvar,
}

#[derive(Debug)]
struct Free {
    pages: FreePages,
    /// Runs that are being made holes, and so are in no list.
    punching: u32,
}

impl MemoryFile {
    /// A memory of `limit` bytes (rounded up to whole pages), of which none is used yet.
    ///
    /// # Errors
    /// What `memfd_create`, `ftruncate` and `mmap` return; `InvalidInput` for a limit of zero or beyond the address space.
    pub fn new(limit: u64) -> io::Result<Arc<Self>> {
        let limit = whole_pages(limit)?;
        Self::of(create(limit)?, limit, false)
    }

    /// A memory of `limit` bytes (rounded up to whole pages) in a new file without name in `directory`, so that large contents go to a disk
    /// instead of the host's memory. The file is gone with the memory.
    ///
    /// # Errors
    /// What `open` with `O_TMPFILE`, `ftruncate` and `mmap` return; `InvalidInput` for a limit of zero or beyond the address space.
    pub fn on_disk(directory: &std::path::Path, limit: u64) -> io::Result<Arc<Self>> {
        let limit = whole_pages(limit)?;
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR)?;
        rustix::fs::ftruncate(&file, limit)?;
        Self::of(file, limit, true)
    }

    fn of(file: OwnedFd, limit: u64, reserves: bool) -> io::Result<Arc<Self>> {
        let length = usize::try_from(limit).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mapping = SharedMapping::new(file.as_fd(), 0, length, Protection::ReadWrite)?;
        let counts = Counts::new(limit / PAGE_SIZE);
        let free = Free { pages: FreePages::new(limit / PAGE_SIZE), punching: 0 };
        Ok(Arc::new(Self {
            file,
            reserves,
            mapping,
            limit,
            used_pages: AtomicU64::new(0),
            counts,
            free: Mutex::new(free),
            punched: Condvar::new(),
        }))
    }

    /// `length` bytes (rounded up to whole pages) of zeroes in one piece, with one reference to each page.
    ///
    /// # Errors
    /// [`OutOfMemory`] if there is no such piece.
    pub fn allocate(&self, length: u64) -> Result<Range<u64>, OutOfMemory> {
        self.allocate_between(length, length)
    }

    /// As [`allocate`](Self::allocate), but gives less than `length`, though at least one page, if free pages are few or scattered.
    ///
    /// # Errors
    /// [`OutOfMemory`] if no page is free.
    pub fn allocate_at_most(&self, length: u64) -> Result<Range<u64>, OutOfMemory> {
        self.allocate_between(PAGE_SIZE.min(length), length)
    }

    fn allocate_between(&self, least: u64, most: u64) -> Result<Range<u64>, OutOfMemory> {
        let least = least.div_ceil(PAGE_SIZE);
        let most = most.div_ceil(PAGE_SIZE);
        if most == 0 {
            return Ok(0..0);
        }
        let taken = {
            let mut free = self.free.lock();
            loop {
                let count = most.min(free.pages.longest());
                // A shorter piece is taken only when no longer one can be made.
                if (count == most || (count >= least && !self.can_defragment(&free)))
                    && let Some(taken) = free.pages.take(count)
                {
                    self.set_counts(&taken.pages, 1);
                    break taken;
                }
                if free.punching > 0 {
                    self.punched.wait(&mut free);
                } else if free.pages.dirty_pages() > 0 {
                    // Only holes merge with holes.
                    self.punch_down_to(&mut free, 0);
                } else {
                    return Err(OutOfMemory);
                }
            }
        };
        let count = taken.pages.end - taken.pages.start;
        self.used_pages.fetch_add(count, Ordering::Relaxed);
        let range = taken.pages.start * PAGE_SIZE..taken.pages.end * PAGE_SIZE;
        if self.reserves && !self.reserve(&range) {
            self.release(range);
            return Err(OutOfMemory);
        }
        if taken.dirty {
            self.clear(&range);
        }
        Ok(range)
    }

    /// Has the host find space for all of `range`; whether there was enough. A host file system that cannot promise that gives what it has.
    fn reserve(&self, range: &Range<u64>) -> bool {
        let length = range.end - range.start;
        let result = rustix::io::retry_on_intr(|| {
            rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, range.start, length)
        });
        matches!(result, Ok(()) | Err(rustix::io::Errno::OPNOTSUPP))
    }

    fn can_defragment(&self, free: &Free) -> bool {
        free.punching > 0 || free.pages.dirty_pages() > 0
    }

    /// How many references the page at byte `offset` has; zero means that it is free or not of this file. One means that
    /// whoever holds that reference has the page for itself.
    pub fn reference_count(&self, offset: u64) -> u32 {
        self.counts.get(offset / PAGE_SIZE).map_or(0, |count| count.load(Ordering::Acquire))
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.used_pages.load(Ordering::Relaxed) * PAGE_SIZE
    }

    /// Bytes that can be in use at once.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Has the host find memory for all of `range` at once, which costs a fraction of finding it at the first access of each page. Best
    /// effort.
    pub fn prefault(&self, range: &Range<u64>) {
        let range = self.clamp(range);
        if !range.is_empty() {
            let length = range.end - range.start;
            let _best_effort =
                rustix::fs::fallocate(&self.file, FallocateFlags::empty(), range.start, length);
        }
    }

    fn clamp(&self, range: &Range<u64>) -> Range<u64> {
        range.start.min(self.limit)..range.end.min(self.limit)
    }

    /// Zeroes pages that were used before.
    fn clear(&self, range: &Range<u64>) {
        let (offset, length) = (range.start as usize, (range.end - range.start) as usize);
        if range.end - range.start >= POPULATE_FROM_PAGES * PAGE_SIZE {
            self.mapping.populate(offset, length);
        }
        let zeroed = super::zero(&self.mapping.view(offset, length));
        debug_assert_eq!(zeroed, length, "pages of the memory file are always accessible");
    }

    fn set_counts(&self, pages: &Range<u64>, value: u32) {
        for count in self.counts.of(pages) {
            count.store(value, Ordering::Release);
        }
    }

    /// Makes free pages holes, longest runs first, until at most `most` keep their memory. Waits for the host without the lock.
    fn punch_down_to(&self, free: &mut parking_lot::MutexGuard<'_, Free>, most: u64) {
        while free.pages.dirty_pages() > most
            && let Some(pages) = free.pages.take_longest_dirty()
        {
            free.punching += 1;
            let result = parking_lot::MutexGuard::unlocked(free, || {
                let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                let length = (pages.end - pages.start) * PAGE_SIZE;
                rustix::fs::fallocate(&self.file, mode, pages.start * PAGE_SIZE, length)
            });
            free.punching -= 1;
            self.punched.notify_all();
            if result.is_err() {
                free.pages.give_dirty(pages);
                return;
            }
            free.pages.give_clean(pages);
        }
    }
}

impl BackingFile for MemoryFile {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn window(&self, offset: u64) -> Range<u64> {
        let start = offset.min(self.limit - 1) / WINDOW * WINDOW;
        start..start.saturating_add(WINDOW).min(self.limit)
    }

    fn view(&self, offset: u64, length: usize) -> io::Result<VolatileSlice<'_>> {
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        if offset >= self.mapping.length() && length > 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(self.mapping.view(offset, length))
    }

    fn retain(&self, range: Range<u64>) {
        let _free = self.free.lock();
        for count in self.counts.of(&(range.start / PAGE_SIZE..range.end.div_ceil(PAGE_SIZE))) {
            let old = count.load(Ordering::Relaxed);
            debug_assert_ne!(old, 0, "a page that is retained has a reference already");
            count.store(old.saturating_add(1), Ordering::Release);
        }
    }

    fn release(&self, range: Range<u64>) {
        let first = range.start / PAGE_SIZE;
        let mut free = self.free.lock();
        let mut freed = 0;
        let mut run = first..first;
        for (count, page) in self.counts.of(&(first..range.end.div_ceil(PAGE_SIZE))).zip(first..) {
            let old = count.load(Ordering::Relaxed);
            debug_assert_ne!(old, 0, "a page that is released has a reference");
            if old == 0 || old == STUCK {
                continue;
            }
            count.store(old - 1, Ordering::Release);
            if old > 1 {
                continue;
            }
            freed += 1;
            if run.end == page {
                run.end += 1;
            } else {
                free.pages.give_dirty(std::mem::replace(&mut run, page..page + 1));
            }
        }
        free.pages.give_dirty(run);
        self.used_pages.fetch_sub(freed, Ordering::Relaxed);
        let most_dirty = MOST_DIRTY_PAGES.min(self.limit / PAGE_SIZE / 4);
        if free.pages.dirty_pages() > most_dirty {
            self.punch_down_to(&mut free, most_dirty / 2);
        }
    }
}

/// `limit` rounded up to whole pages.
fn whole_pages(limit: u64) -> io::Result<u64> {
    let limit = limit.checked_next_multiple_of(PAGE_SIZE).filter(|limit| *limit > 0);
    Ok(limit.ok_or(io::ErrorKind::InvalidInput)?)
}

/// A memfd of `limit` bytes whose size is sealed.
fn create(limit: u64) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know NOEXEC_SEAL; it forbids executing the file, not mapping it.
    let file = rustix::fs::memfd_create("bartizan-memory", flags | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_| rustix::fs::memfd_create("bartizan-memory", flags))?;
    rustix::fs::ftruncate(&file, limit)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = PAGE_SIZE;

    fn bytes(memory: &MemoryFile, range: &Range<u64>) -> Vec<u8> {
        let length = usize::try_from(range.end - range.start).unwrap();
        let mut data = vec![0xff; length];
        assert_eq!(super::super::read(&memory.view(range.start, length).unwrap(), &mut data), length);
        data
    }

    fn fill(memory: &MemoryFile, range: &Range<u64>) {
        let length = usize::try_from(range.end - range.start).unwrap();
        assert_eq!(super::super::write(&vec![7; length], &memory.view(range.start, length).unwrap()), length);
    }

    #[test]
    fn pages_are_zero_when_reused() {
        let memory = MemoryFile::new(64 * PAGE).unwrap();
        for length in [PAGE, 8 * PAGE, 40 * PAGE] {
            let range = memory.allocate(length).unwrap();
            fill(&memory, &range);
            memory.release(range.clone());
            let again = memory.allocate(length).unwrap();
            assert_eq!(again, range, "pages that were used are preferred");
            assert!(bytes(&memory, &again).iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn the_limit_holds_and_comes_back() {
        let memory = MemoryFile::new(8 * PAGE).unwrap();
        let all = memory.allocate(8 * PAGE).unwrap();
        assert_eq!(memory.allocate(PAGE), Err(OutOfMemory));
        assert_eq!(memory.used(), 8 * PAGE);
        memory.release(PAGE..2 * PAGE);
        memory.release(3 * PAGE..4 * PAGE);
        assert_eq!(memory.allocate(2 * PAGE), Err(OutOfMemory));
        assert_eq!(memory.allocate_at_most(2 * PAGE), Ok(PAGE..2 * PAGE));
        memory.release(PAGE..2 * PAGE);
        memory.release(all.start..PAGE);
        memory.release(2 * PAGE..3 * PAGE);
        assert_eq!(memory.allocate(4 * PAGE), Ok(0..4 * PAGE));
    }

    #[test]
    fn shared_pages_stay_until_the_last_reference() {
        let memory = MemoryFile::new(8 * PAGE).unwrap();
        let range = memory.allocate(4 * PAGE).unwrap();
        memory.retain(PAGE..3 * PAGE);
        assert_eq!(memory.reference_count(0), 1);
        assert_eq!(memory.reference_count(PAGE + 5), 2);
        memory.release(range);
        assert_eq!(memory.used(), 2 * PAGE);
        assert_eq!(memory.reference_count(PAGE), 1);
        memory.release(PAGE..3 * PAGE);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn much_free_memory_goes_back_to_the_host() {
        let pages = 3 * MOST_DIRTY_PAGES;
        let memory = MemoryFile::new(pages * PAGE).unwrap();
        let range = memory.allocate(pages * PAGE).unwrap();
        fill(&memory, &range);
        memory.release(range);
        let blocks = rustix::fs::fstat(&memory.file).unwrap().st_blocks;
        assert!(u64::try_from(blocks).unwrap() * 512 <= MOST_DIRTY_PAGES * PAGE);
        let again = memory.allocate(pages * PAGE).unwrap();
        assert!(bytes(&memory, &again).iter().all(|byte| *byte == 0));
    }

    #[test]
    fn views_end_with_the_file() {
        let memory = MemoryFile::new(2 * PAGE).unwrap();
        assert_eq!(memory.view(PAGE, 3 * 4096).unwrap().len(), 4096);
        assert!(memory.view(2 * PAGE, 1).is_err());
        assert!(memory.view(u64::MAX, 1).is_err());
        assert_eq!(memory.view(2 * PAGE, 0).unwrap().len(), 0);
    }

    #[test]
    fn memory_on_disk_is_a_file_without_name() {
        let directory = tempfile::tempdir().unwrap();
        let memory = MemoryFile::on_disk(directory.path(), 16 * PAGE).unwrap();
        let range = memory.allocate(3 * PAGE).unwrap();
        assert_eq!(bytes(&memory, &range), vec![0; 3 * PAGE as usize]);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        let blocks = |memory: &MemoryFile| rustix::fs::fstat(&memory.file).unwrap().st_blocks;
        assert!(blocks(&memory) >= 3 * 8);
        memory.release(range);
        assert!(memory.allocate(17 * PAGE).is_err());
        let missing = MemoryFile::on_disk(&directory.path().join("missing"), PAGE);
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}

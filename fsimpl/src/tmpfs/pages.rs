//! The pages of a regular file: frames of the memory file, which `read`, `write` and mappings share.
//!
//! Frames appear by writes and faults; they vanish only by truncation and punching, which hold the file's data lock
//! exclusively. So whoever holds that lock in any way may use a frame that it found without the lock of the index.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bartizan_abi::{Errno, SealFlags};
use bartizan_platform::Access;
use bartizan_platform::memory::{self, BackingFile, PAGE_SIZE};
use bartizan_sentry::mm::{MappingSet, PageError, PageRun, PageSource, PrivateCopies};
use bartizan_sentry::sync::{LockClass, Mutex};

use super::extents::{Extents, Found};
use super::filesystem::Tmpfs;

/// Most pages that one step of a read or write looks up or makes: 2 MiB.
const MAX_RUN: u64 = 512;

/// The largest size of a file, bytes.
pub const MAX_SIZE: u64 = i64::MAX as u64;

/// The pages of one file.
#[derive(Debug)]
pub struct Pages {
    tmpfs: Arc<Tmpfs>,
    identity: (u64, u64),
    index: Mutex<Index>,
    /// Bytes; changed only with the index locked.
    size: AtomicU64,
    /// Pages that have frames; changed only with the index locked.
    count: AtomicU64,
    /// [`SealFlags`]; changed only with the data lock held exclusively.
    seals: AtomicU32,
    mappings: MappingSet,
}

#[derive(Debug, Default)]
struct Index {
    extents: Extents,
    /// Frames in store, so that small writes in order get frames in order.
    reserve: Reserve,
}

/// Frames that are allocated but in no file page yet.
#[derive(Debug, Default)]
struct Reserve {
    /// The page that they are meant for.
    page: u64,
    /// Where they are in the memory file, bytes.
    frames: Range<u64>,
}

/// What a read finds at a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readable {
    /// Bytes of the memory file.
    Data(Range<u64>),
    /// So many zeros.
    Zeros(u64),
}

impl Pages {
    /// An empty file, known as `identity` (device and inode number) to those who map it.
    pub fn new(tmpfs: &Arc<Tmpfs>, identity: (u64, u64), seals: SealFlags) -> Self {
        Self {
            tmpfs: Arc::clone(tmpfs),
            identity,
            index: Mutex::new(LockClass::PageIndex, Index::default()),
            size: AtomicU64::new(0),
            count: AtomicU64::new(0),
            seals: AtomicU32::new(seals.bits()),
            mappings: MappingSet::default(),
        }
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// How many pages have frames.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// What must not be done with the file any more.
    pub fn seals(&self) -> SealFlags {
        SealFlags::from_bits_truncate(self.seals.load(Ordering::Acquire))
    }

    /// Adds seals.
    ///
    /// # Errors
    /// `EPERM` if it is sealed against seals, `EBUSY` if it is to be sealed against writes and is mapped writable.
    pub fn add_seals(&self, seals: SealFlags) -> Result<(), Errno> {
        if self.seals().contains(SealFlags::F_SEAL_SEAL) {
            return Err(Errno::EPERM);
        }
        // New mappings see the seal before it is known whether there are old ones.
        let old = self.seals.fetch_or(seals.bits(), Ordering::SeqCst);
        let writes = seals.contains(SealFlags::F_SEAL_WRITE) && old & SealFlags::F_SEAL_WRITE.bits() == 0;
        if writes && self.mappings.has_writable() {
            self.seals.store(old, Ordering::SeqCst);
            return Err(Errno::EBUSY);
        }
        Ok(())
    }

    /// What is at `position`, at most `length` bytes of it; the data lock is held.
    pub fn to_read(&self, position: u64, length: u64) -> Readable {
        let (page, inside) = (position / PAGE_SIZE, position % PAGE_SIZE);
        match self.index.lock().extents.find(page) {
            Found::Data { frame, pages } => {
                let start = frame + inside;
                Readable::Data(start..start + length.min(pages.min(MAX_RUN) * PAGE_SIZE - inside))
            }
            Found::Hole { pages } => Readable::Zeros(length.min(pages.min(MAX_RUN) * PAGE_SIZE - inside)),
        }
    }

    /// Bytes of the memory file for what is written at `position`: at least one, at most `length`; the data lock is held
    /// exclusively.
    ///
    /// # Errors
    /// `ENOSPC` beyond the limit of the file system, `ENOMEM` beyond that of the sandbox.
    pub fn to_write(&self, position: u64, length: u64) -> Result<Range<u64>, Errno> {
        let (page, inside) = (position / PAGE_SIZE, position % PAGE_SIZE);
        let mut index = self.index.lock();
        let (frame, pages) = match index.extents.find(page) {
            Found::Data { frame, pages } => (frame, pages.min(MAX_RUN)),
            Found::Hole { pages } => {
                let wanted = inside.saturating_add(length).div_ceil(PAGE_SIZE).min(pages).min(MAX_RUN);
                self.fill(&mut index, page, wanted)?
            }
        };
        let start = frame + inside;
        Ok(start..start + length.min(pages * PAGE_SIZE - inside))
    }

    /// Makes frames at `page`, which is in a hole of at least `wanted` pages; returns the first and how many.
    fn fill(&self, index: &mut Index, page: u64, wanted: u64) -> Result<(u64, u64), Errno> {
        let allowed = self.tmpfs.take_pages(wanted);
        if allowed == 0 {
            return Err(Errno::ENOSPC);
        }
        let frames = match self.take_frames(index, page, allowed) {
            Ok(frames) => frames,
            Err(error) => {
                self.tmpfs.give_pages_back(allowed);
                return Err(error);
            }
        };
        let pages = (frames.end - frames.start) / PAGE_SIZE;
        self.tmpfs.give_pages_back(allowed - pages);
        index.extents.insert(page, frames.start, pages);
        self.count.store(index.extents.pages(), Ordering::Relaxed);
        Ok((frames.start, pages))
    }

    /// Between one and `wanted` frames for `page`: those in store for it, or else new ones. A file that grows in order gets
    /// some in store.
    fn take_frames(&self, index: &mut Index, page: u64, wanted: u64) -> Result<Range<u64>, Errno> {
        let in_order = page > 0 && index.extents.frame_before(page).is_some();
        if index.reserve.page != page || index.reserve.frames.is_empty() {
            self.drop_reserve(index);
            let extra = if in_order { index.extents.pages().min(MAX_RUN / 2) } else { 0 };
            let frames = self.tmpfs.memory().allocate_at_most((wanted + extra) * PAGE_SIZE);
            let frames = frames.map_err(|_| self.tmpfs.exhausted())?;
            index.reserve = Reserve { page, frames };
        }
        let reserve = &mut index.reserve;
        let start = reserve.frames.start;
        let end = reserve.frames.end.min(start + wanted * PAGE_SIZE);
        reserve.frames.start = end;
        reserve.page = page + (end - start) / PAGE_SIZE;
        Ok(start..end)
    }

    fn drop_reserve(&self, index: &mut Index) {
        let frames = std::mem::take(&mut index.reserve.frames);
        if !frames.is_empty() {
            self.tmpfs.memory().release(frames);
        }
    }

    /// Gives frames in store back: nobody is likely to go on writing.
    pub fn trim(&self) {
        self.drop_reserve(&mut self.index.lock());
    }

    /// The file is at least `size` bytes long now.
    pub fn grow(&self, size: u64) {
        if size > self.size() {
            let _index = self.index.lock();
            self.size.fetch_max(size, Ordering::Release);
        }
    }

    /// Makes the file `size` bytes long; the data lock is held exclusively.
    pub fn set_size(&self, size: u64) {
        let old = {
            let _index = self.index.lock();
            self.size.swap(size, Ordering::AcqRel)
        };
        if size < old {
            // From here on faults beyond the end fail. Frames that are mapped live until they are taken away from everybody.
            let first = size.div_ceil(PAGE_SIZE);
            self.remove_frames(first..u64::MAX);
            self.mappings.invalidate(first * PAGE_SIZE..!(PAGE_SIZE - 1), PrivateCopies::Discard);
            self.zero_partial(size, first * PAGE_SIZE);
        }
    }

    /// Makes a hole of `range` (bytes), zeros at its ragged ends; the data lock is held exclusively.
    pub fn punch(&self, range: Range<u64>) {
        let (first, last) = (range.start.div_ceil(PAGE_SIZE), range.end / PAGE_SIZE);
        if first < last {
            self.remove_frames(first..last);
            self.mappings.invalidate(first * PAGE_SIZE..last * PAGE_SIZE, PrivateCopies::Keep);
        }
        self.zero_partial(range.start, range.end.min(first * PAGE_SIZE));
        self.zero_partial(range.start.max(last * PAGE_SIZE), range.end);
    }

    /// Makes frames for all of `range` (bytes); the data lock is held exclusively.
    ///
    /// # Errors
    /// `ENOSPC` or `ENOMEM` if not all could be had; what was made goes again.
    pub fn reserve(&self, range: Range<u64>) -> Result<(), Errno> {
        let (mut page, end) = (range.start / PAGE_SIZE, range.end.div_ceil(PAGE_SIZE));
        let mut made: Vec<Range<u64>> = Vec::new();
        while page < end {
            let mut index = self.index.lock();
            match index.extents.find(page) {
                Found::Data { pages, .. } => page += pages,
                Found::Hole { pages } => {
                    match self.fill(&mut index, page, pages.min(end - page).min(MAX_RUN)) {
                        Ok((_, pages)) => {
                            match made.last_mut() {
                                Some(last) if last.end == page => last.end += pages,
                                _ => made.push(page..page + pages),
                            }
                            page += pages;
                        }
                        Err(error) => {
                            drop(index);
                            for pages in made {
                                let range = pages.start * PAGE_SIZE..pages.end * PAGE_SIZE;
                                self.remove_frames(pages);
                                self.mappings.invalidate(range, PrivateCopies::Keep);
                            }
                            return Err(error);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The first byte at or after `position` that has a frame.
    pub fn next_data(&self, position: u64) -> Option<u64> {
        let page = self.index.lock().extents.next_data(position / PAGE_SIZE)?;
        Some(position.max(page * PAGE_SIZE))
    }

    /// The first byte at or after `position` that has none.
    pub fn next_hole(&self, position: u64) -> u64 {
        let page = self.index.lock().extents.next_hole(position / PAGE_SIZE);
        position.max(page * PAGE_SIZE)
    }

    /// Gives the frames of `pages` back.
    fn remove_frames(&self, pages: Range<u64>) {
        let mut index = self.index.lock();
        self.drop_reserve(&mut index);
        let before = index.extents.pages();
        index.extents.remove(pages, |frames| self.tmpfs.memory().release(frames));
        let after = index.extents.pages();
        self.count.store(after, Ordering::Relaxed);
        self.tmpfs.give_pages_back(before - after);
    }

    /// Writes zeros from `start` to `end`, which are in one page.
    fn zero_partial(&self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        if let Readable::Data(range) = self.to_read(start, end - start)
            && let Ok(view) = self.tmpfs.memory().view(range.start, (end - start) as usize)
        {
            memory::zero(&view);
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.remove_frames(0..u64::MAX);
    }
}

impl PageSource for Pages {
    /// Faults make pages also for reading, as Linux has it: so a page that is mapped anywhere is the page of the file.
    fn pages(&self, offset: u64, length: u64, _access: Access) -> Result<PageRun, PageError> {
        let mut index = self.index.lock();
        let size = self.size();
        if offset >= size {
            return Err(PageError::BeyondEnd);
        }
        let page = offset / PAGE_SIZE;
        let wanted = (length / PAGE_SIZE).min((size - offset).div_ceil(PAGE_SIZE)).clamp(1, MAX_RUN);
        let (frame, pages) = match index.extents.find(page) {
            Found::Data { frame, pages } => (frame, pages.min(wanted)),
            Found::Hole { pages } => {
                self.fill(&mut index, page, wanted.min(pages)).map_err(|error| match error {
                    Errno::ENOMEM => PageError::OutOfMemory,
                    _ => PageError::Io,
                })?
            }
        };
        let range = frame..frame + pages * PAGE_SIZE;
        let file = Arc::clone(self.tmpfs.memory());
        file.retain(range.clone());
        Ok(PageRun { file, range, access: Access::all() })
    }

    fn mappings(&self) -> &MappingSet {
        &self.mappings
    }

    fn writable(&self) -> bool {
        !self.seals().intersects(SealFlags::F_SEAL_WRITE | SealFlags::F_SEAL_FUTURE_WRITE)
    }

    fn identity(&self) -> (u64, u64) {
        self.identity
    }
}

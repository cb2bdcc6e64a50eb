//! Memory that several address spaces share without a file: `MAP_SHARED | MAP_ANONYMOUS`, System V shared memory, the
//! vDSO.

use std::ops::Range;
use std::sync::Arc;

use bartizan_abi::Errno;
use bartizan_platform::memory::{self, MemoryFile, PAGE_SIZE};
use bartizan_platform::{Access, BackingFile};

use super::interval_map::IntervalMap;
use super::{MappingSet, PageError, PageRun, PageSource, PrivateCopies};
use crate::sync::{LockClass, Mutex};

/// Zeros that are shared by everybody who maps them, and written by all. Pages are made at their first use and live as long
/// as this does.
#[derive(Debug)]
pub struct SharedMemory {
    memory: Arc<MemoryFile>,
    frames: Arc<dyn BackingFile>,
    length: u64,
    identity: (u64, u64),
    /// Offset in the memory file minus offset here, modulo 2^64.
    index: Mutex<IntervalMap<u64>>,
    mappings: MappingSet,
}

impl SharedMemory {
    /// `length` bytes (rounded up to pages) of zeros. `identity` is what `/proc/[pid]/maps` shows as device and inode.
    pub fn new(memory: &Arc<MemoryFile>, length: u64, identity: (u64, u64)) -> Arc<Self> {
        Arc::new(Self {
            memory: Arc::clone(memory),
            frames: Arc::clone(memory) as Arc<dyn BackingFile>,
            length: length.checked_next_multiple_of(PAGE_SIZE).unwrap_or(!(PAGE_SIZE - 1)),
            identity,
            index: Mutex::new(LockClass::PageIndex, IntervalMap::default()),
            mappings: MappingSet::new(),
        })
    }

    /// Its size in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes for which there are pages.
    pub fn resident(&self) -> u64 {
        self.index.lock().iter().map(|(range, _)| range.end - range.start).sum()
    }

    /// Writes `data` at `offset`.
    ///
    /// # Errors
    /// [`PageError`] when it does not fit or memory is short.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<(), PageError> {
        let mut done = 0;
        while done < data.len() {
            let at = offset.checked_add(done as u64).ok_or(PageError::BeyondEnd)?;
            let page = at & !(PAGE_SIZE - 1);
            let rest = (data.len() - done) as u64;
            let wanted = (at - page + rest).next_multiple_of(PAGE_SIZE);
            let frames = self.frames_at(page, wanted)?;
            let start = frames.start + (at - page);
            let room = (frames.end - start).min(rest) as usize;
            let copied = self
                .frames
                .view(start, room)
                .map_or(0, |slice| memory::write(&data[done..done + slice.len().min(room)], &slice));
            self.frames.release(frames);
            if copied == 0 {
                return Err(PageError::Io);
            }
            done += copied;
        }
        Ok(())
    }

    /// The frames behind `offset`, made if they are not there, with a reference for the caller.
    fn frames_at(&self, offset: u64, length: u64) -> Result<Range<u64>, PageError> {
        let end = offset.saturating_add(length).min(self.length);
        if offset >= end {
            return Err(PageError::BeyondEnd);
        }
        let mut index = self.index.lock();
        if let Some((run, &delta)) = index.get(offset) {
            let frames = offset.wrapping_add(delta)..run.end.min(end).wrapping_add(delta);
            self.frames.retain(frames.clone());
            return Ok(frames);
        }
        let hole = index.vacancy(offset, offset..end);
        let frames =
            self.memory.allocate_at_most(hole.end - hole.start).map_err(|_| PageError::OutOfMemory)?;
        let made = offset..offset + (frames.end - frames.start);
        let replaced = index.insert(made, frames.start.wrapping_sub(offset));
        debug_assert!(replaced.is_empty(), "the frames fill a hole");
        self.frames.retain(frames.clone());
        Ok(frames)
    }
}

impl PageSource for SharedMemory {
    fn pages(&self, offset: u64, length: u64, _access: Access) -> Result<PageRun, PageError> {
        let range = self.frames_at(offset, length)?;
        Ok(PageRun { file: Arc::clone(&self.frames), range, access: Access::all() })
    }

    fn mappings(&self) -> &MappingSet {
        &self.mappings
    }

    fn identity(&self) -> (u64, u64) {
        self.identity
    }

    fn remove(&self, range: Range<u64>) -> Result<(), Errno> {
        let removed = self.index.lock().remove(range.clone());
        self.mappings.invalidate(range, PrivateCopies::Keep);
        for (range, delta) in removed {
            self.frames.release(range.start.wrapping_add(delta)..range.end.wrapping_add(delta));
        }
        Ok(())
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        for (range, &delta) in self.index.get_mut().iter() {
            self.frames.release(range.start.wrapping_add(delta)..range.end.wrapping_add(delta));
        }
    }
}

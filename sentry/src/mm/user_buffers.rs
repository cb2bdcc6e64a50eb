//! Buffers in guest memory as the place where file data goes to and comes from.

use std::sync::Arc;

use bartizan_abi::Errno;
use bartizan_platform::Access;
use bartizan_platform::memory::{self, VolatileSlice};
use smallvec::{SmallVec, smallvec};

use super::{MemoryManager, UserAddr, UserSlice};
use crate::vfs::{DataSink, DataSource};

/// Buffers of a guest, filled or emptied from the first byte of the first to the last byte of the last.
#[derive(Debug)]
pub struct UserBuffers {
    mm: Arc<MemoryManager>,
    slices: SmallVec<[UserSlice; 8]>,
    /// Which buffer is next.
    index: usize,
    /// How much of it is done.
    offset: u64,
    /// How many bytes are left in all.
    remaining: usize,
}

impl UserBuffers {
    /// The buffers `slices` of `mm`, as far as their lengths can be counted.
    pub fn new(mm: &Arc<MemoryManager>, slices: SmallVec<[UserSlice; 8]>) -> Self {
        let remaining = slices.iter().fold(0_usize, |sum, slice| {
            sum.saturating_add(usize::try_from(slice.length).unwrap_or(usize::MAX))
        });
        Self { mm: Arc::clone(mm), slices, index: 0, offset: 0, remaining }
    }

    /// The one buffer of `length` bytes at `address`.
    pub fn single(mm: &Arc<MemoryManager>, address: UserAddr, length: usize) -> Self {
        Self::new(mm, smallvec![UserSlice::new(address, length as u64)])
    }

    /// Shortens them to `length` bytes in all.
    pub fn truncate(&mut self, length: usize) {
        self.remaining = self.remaining.min(length);
    }

    /// Moves up to `wanted` bytes; `step` as for [`MemoryManager::walk`].
    fn transfer(
        &mut self,
        wanted: usize,
        access: Access,
        mut step: impl FnMut(&VolatileSlice<'_>, usize) -> usize,
    ) -> Result<usize, Errno> {
        let wanted = wanted.min(self.remaining);
        let mut done = 0;
        while done < wanted {
            let Some(slice) = self.slices.get(self.index) else { break };
            let rest = slice.skip(self.offset);
            if rest.length == 0 {
                self.index += 1;
                self.offset = 0;
                continue;
            }
            let length = (wanted - done).min(usize::try_from(rest.length).unwrap_or(usize::MAX));
            let moved = self.mm.walk(rest.address, length, access, |memory, at| step(memory, done + at));
            self.offset += moved as u64;
            self.remaining -= moved;
            done += moved;
            if moved < length {
                return if done == 0 { Err(Errno::EFAULT) } else { Ok(done) };
            }
        }
        Ok(done)
    }
}

/// The part of `whole` from `from` on, as long as `like`; empty if there is none.
fn part<'a>(whole: &VolatileSlice<'a>, from: usize, like: &VolatileSlice<'_>) -> Option<VolatileSlice<'a>> {
    whole.subslice(from, like.len()).ok()
}

impl DataSink for UserBuffers {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn put(&mut self, data: &[u8]) -> Result<usize, Errno> {
        self.transfer(data.len(), Access::WRITE, |memory, done| {
            memory::write(&data[done..done + memory.len()], memory)
        })
    }

    fn put_volatile(&mut self, data: &VolatileSlice<'_>) -> Result<usize, Errno> {
        self.transfer(data.len(), Access::WRITE, |memory, done| {
            part(data, done, memory).map_or(0, |from| memory::copy(&from, memory))
        })
    }

    fn put_zeros(&mut self, length: usize) -> Result<usize, Errno> {
        self.transfer(length, Access::WRITE, |memory, _| memory::zero(memory))
    }
}

impl DataSource for UserBuffers {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.transfer(buffer.len(), Access::READ, |memory, done| {
            memory::read(memory, &mut buffer[done..done + memory.len()])
        })
    }

    fn take_volatile(&mut self, buffer: &VolatileSlice<'_>) -> Result<usize, Errno> {
        self.transfer(buffer.len(), Access::READ, |memory, done| {
            part(buffer, done, memory).map_or(0, |to| memory::copy(memory, &to))
        })
    }

    fn put_back(&mut self, count: usize) {
        let mut left = count as u64;
        while left > 0 {
            let step = left.min(self.offset);
            self.offset -= step;
            left -= step;
            if left == 0 || self.index == 0 {
                break;
            }
            self.index -= 1;
            self.offset = self.slices.get(self.index).map_or(0, |slice| slice.length);
        }
        self.remaining += count - left as usize;
    }
}

//! How the sentry reads and writes guest memory: through the pages that are in place, without a host call; what is not
//! in place is brought in as for a fault of the guest. Whatever goes wrong is `EFAULT`; copies report how far they came.
//!
//! The lock `Pages` is held (shared) while bytes are copied, so that the pages cannot be given to anybody else meanwhile.

use std::ops::Range;

use bartizan_abi::Errno;
use bartizan_platform::memory::{self, AccessError, PAGE_SIZE, VolatileSlice};
use bartizan_platform::{Access, BackingFile};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{MemoryManager, UserAddr, UserPtr};
use crate::kernel::CurrentTask;
use crate::vfs::FsString;

/// Most bytes that are copied under one hold of the lock.
const COPIED_AT_ONCE: u64 = 1 << 20;

/// How often in a row a page may vanish between being brought in and being used.
const ATTEMPTS: u32 = 64;

impl MemoryManager {
    /// Calls `step` with the guest memory from `address` on, piece by piece, each with the number of bytes before it. `step` says how
    /// many bytes it has moved; a short count ends the walk. Gives the number of bytes moved.
    #[inline]
    pub(super) fn walk(
        &self,
        address: UserAddr,
        length: usize,
        access: Access,
        mut step: impl FnMut(&VolatileSlice<'_>, usize) -> usize,
    ) -> usize {
        let mut done = 0;
        let mut attempts = 0;
        while done < length {
            let Some(at) = address.0.checked_add(done as u64) else { break };
            match self.step_in_place(at, length - done, access, |slice| step(slice, done)) {
                Step::Moved(moved) => {
                    done += moved;
                    attempts = 0;
                }
                Step::Stopped(moved) => return done + moved,
                Step::Missing => {
                    attempts += 1;
                    if attempts > ATTEMPTS || self.bring_in(at, (length - done) as u64, access).is_err() {
                        break;
                    }
                }
            }
        }
        done
    }

    #[inline]
    fn step_in_place(
        &self,
        at: u64,
        length: usize,
        access: Access,
        step: impl FnOnce(&VolatileSlice<'_>) -> usize,
    ) -> Step {
        let pages = self.pages.read();
        let Some((run, placement)) = pages.get(at) else { return Step::Missing };
        if !placement.usable().contains(access) {
            return Step::Missing;
        }
        let room = (run.end - at).min(length as u64).min(COPIED_AT_ONCE);
        let Ok(slice) = placement.file.view(placement.offset(at), room as usize) else {
            return Step::Stopped(0);
        };
        let moved = step(&slice);
        if moved < slice.len() || moved == 0 { Step::Stopped(moved) } else { Step::Moved(moved) }
    }

    /// Copies from the guest; gives the number of bytes that could be read.
    #[inline]
    pub fn copy_in(&self, address: UserAddr, buffer: &mut [u8]) -> usize {
        self.walk(address, buffer.len(), Access::READ, |slice, done| {
            memory::read(slice, &mut buffer[done..done + slice.len()])
        })
    }

    /// Copies to the guest; gives the number of bytes that could be written.
    #[inline]
    pub fn copy_out(&self, address: UserAddr, data: &[u8]) -> usize {
        self.walk(address, data.len(), Access::WRITE, |slice, done| {
            memory::write(&data[done..done + slice.len()], slice)
        })
    }

    /// Writes zeros to the guest; gives the number of bytes that could be written.
    pub fn zero_out(&self, address: UserAddr, length: usize) -> usize {
        self.walk(address, length, Access::WRITE, |slice, _| memory::zero(slice))
    }

    /// Copies all of `buffer` from the guest.
    ///
    /// # Errors
    /// `EFAULT`.
    #[inline]
    pub fn read_bytes(&self, address: UserAddr, buffer: &mut [u8]) -> Result<(), Errno> {
        let wanted = buffer.len();
        if self.copy_in(address, buffer) == wanted { Ok(()) } else { Err(Errno::EFAULT) }
    }

    /// Copies all of `data` to the guest.
    ///
    /// # Errors
    /// `EFAULT`; part of the data may have been written.
    #[inline]
    pub fn write_bytes(&self, address: UserAddr, data: &[u8]) -> Result<(), Errno> {
        if self.copy_out(address, data) == data.len() { Ok(()) } else { Err(Errno::EFAULT) }
    }

    /// Writes `length` zeros to the guest.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn zero_bytes(&self, address: UserAddr, length: usize) -> Result<(), Errno> {
        if self.zero_out(address, length) == length { Ok(()) } else { Err(Errno::EFAULT) }
    }

    /// Copies a value from the guest, once.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn read_value<T: FromBytes + IntoBytes>(&self, pointer: UserPtr<T>) -> Result<T, Errno> {
        let mut value = T::new_zeroed();
        self.read_bytes(pointer.address(), value.as_mut_bytes())?;
        Ok(value)
    }

    /// Copies a value to the guest.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn write_value<T: IntoBytes + Immutable>(&self, pointer: UserPtr<T>, value: &T) -> Result<(), Errno> {
        self.write_bytes(pointer.address(), value.as_bytes())
    }

    /// Copies `count` values from the guest; the caller has checked that this is not too many.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn read_slice<T: FromBytes + IntoBytes>(
        &self,
        pointer: UserPtr<T>,
        count: usize,
    ) -> Result<Vec<T>, Errno> {
        let mut values: Vec<T> = std::iter::repeat_with(T::new_zeroed).take(count).collect();
        self.read_bytes(pointer.address(), values.as_mut_slice().as_mut_bytes())?;
        Ok(values)
    }

    /// Copies values to the guest.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn write_slice<T: IntoBytes + Immutable>(
        &self,
        pointer: UserPtr<T>,
        values: &[T],
    ) -> Result<(), Errno> {
        self.write_bytes(pointer.address(), values.as_bytes())
    }

    /// Copies a string that ends with a NUL, without it; `max` bytes are read at most.
    ///
    /// # Errors
    /// `EFAULT`; `ENAMETOOLONG` when there is no NUL among the first `max` bytes.
    pub fn read_c_string(&self, address: UserAddr, max: usize) -> Result<FsString, Errno> {
        let mut string = FsString::new();
        let mut chunk = [0; 256];
        while string.len() < max {
            let at = address.checked_add(string.len() as u64)?;
            // Never beyond the page: what follows the NUL need not be there.
            let to_page_end = (PAGE_SIZE - at.0 % PAGE_SIZE) as usize;
            let length = chunk.len().min(to_page_end).min(max - string.len());
            let chunk = &mut chunk[..length];
            self.read_bytes(at, chunk)?;
            if let Some(end) = chunk.iter().position(|&byte| byte == 0) {
                string.extend_from_slice(&chunk[..end]);
                return Ok(string);
            }
            string.extend_from_slice(chunk);
        }
        Err(Errno::ENAMETOOLONG)
    }

    /// Copies a structure that grows with the kernel's version, of which the guest knows `size` bytes (`copy_struct_from_user`):
    /// what it does not know is zero.
    ///
    /// # Errors
    /// `EFAULT`; `E2BIG` when the guest knows more and uses it, or claims more than a page.
    pub fn read_versioned<T: FromBytes + IntoBytes>(
        &self,
        address: UserAddr,
        size: usize,
    ) -> Result<T, Errno> {
        if size as u64 > PAGE_SIZE {
            return Err(Errno::E2BIG);
        }
        let mut value = T::new_zeroed();
        let known = size.min(size_of::<T>());
        let mut surplus = vec![0; size - known];
        self.read_bytes(address, &mut value.as_mut_bytes()[..known])?;
        self.read_bytes(address.checked_add(known as u64)?, &mut surplus)?;
        if surplus.iter().any(|&byte| byte != 0) { Err(Errno::E2BIG) } else { Ok(value) }
    }

    /// Loads an aligned 32-bit value atomically.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn load_u32(&self, address: UserAddr) -> Result<u32, Errno> {
        self.atomically(address, Access::READ, memory::load_u32)
    }

    /// Replaces `expected` by `new` at an aligned address, if it is there; gives what was there.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn compare_exchange_u32(&self, address: UserAddr, expected: u32, new: u32) -> Result<u32, Errno> {
        self.atomically(address, Access::WRITE, |slice| memory::compare_exchange_u32(slice, expected, new))
    }

    /// Changes an aligned 32-bit value as `change` says, atomically; gives what was there before. `change` may be called several
    /// times.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn fetch_update_u32(
        &self,
        address: UserAddr,
        mut change: impl FnMut(u32) -> u32,
    ) -> Result<u32, Errno> {
        self.atomically(address, Access::WRITE, |slice| memory::fetch_update_u32(slice, &mut change))
    }

    /// As [`load_u32`](Self::load_u32), without bringing anything in: `None` if the page is not in place. For callers that hold a
    /// lock; takes the lock `Pages`.
    pub fn load_u32_in_place(&self, address: UserAddr) -> Option<u32> {
        self.in_place(address, Access::READ, memory::load_u32)
    }

    /// As [`compare_exchange_u32`](Self::compare_exchange_u32), without bringing anything in.
    pub fn compare_exchange_u32_in_place(&self, address: UserAddr, expected: u32, new: u32) -> Option<u32> {
        self.in_place(address, Access::WRITE, |slice| memory::compare_exchange_u32(slice, expected, new))
    }

    /// As [`fetch_update_u32`](Self::fetch_update_u32), without bringing anything in.
    pub fn fetch_update_u32_in_place(
        &self,
        address: UserAddr,
        mut change: impl FnMut(u32) -> u32,
    ) -> Option<u32> {
        self.in_place(address, Access::WRITE, |slice| memory::fetch_update_u32(slice, &mut change))
    }

    fn in_place(
        &self,
        address: UserAddr,
        access: Access,
        operation: impl FnOnce(&VolatileSlice<'_>) -> Result<u32, AccessError>,
    ) -> Option<u32> {
        let mut result = None;
        let _moved = self.step_in_place(address.0, size_of::<u32>(), access, |slice| {
            result = operation(slice).ok();
            slice.len()
        });
        result
    }

    fn atomically(
        &self,
        address: UserAddr,
        access: Access,
        mut operation: impl FnMut(&VolatileSlice<'_>) -> Result<u32, AccessError>,
    ) -> Result<u32, Errno> {
        let mut result = Err(Errno::EFAULT);
        self.walk(address, size_of::<u32>(), access, |slice, done| {
            if done == 0 {
                result = operation(slice).map_err(|_| Errno::EFAULT);
            }
            slice.len()
        });
        result
    }
}

/// What became of one piece of a walk.
enum Step {
    /// So many bytes were moved; the walk goes on.
    Moved(usize),
    /// So many bytes were moved, and no more can be.
    Stopped(usize),
    /// The page is not in place, or not for this access.
    Missing,
}

/// Copies `range` of one file to another from `to_offset` on; whether all of it could be copied.
pub(super) fn copy_between(
    from: &dyn BackingFile,
    range: Range<u64>,
    to: &dyn BackingFile,
    to_offset: u64,
) -> bool {
    let mut done = 0;
    let length = range.end - range.start;
    while done < length {
        let rest = (length - done).min(COPIED_AT_ONCE) as usize;
        let (Ok(source), Ok(target)) = (from.view(range.start + done, rest), to.view(to_offset + done, rest))
        else {
            return false;
        };
        let wanted = source.len().min(target.len());
        let copied = memory::copy(&source, &target);
        if copied < wanted || copied == 0 {
            return false;
        }
        done += copied as u64;
    }
    true
}

/// Access to the memory of the running task; see the methods of [`MemoryManager`] with the same names.
impl CurrentTask {
    /// Copies all of `buffer` from the guest, or `EFAULT`.
    pub fn read_bytes(&self, address: UserAddr, buffer: &mut [u8]) -> Result<(), Errno> {
        self.mm().read_bytes(address, buffer)
    }

    /// Copies all of `data` to the guest, or `EFAULT`.
    pub fn write_bytes(&self, address: UserAddr, data: &[u8]) -> Result<(), Errno> {
        self.mm().write_bytes(address, data)
    }

    /// Writes `length` zeros to the guest, or `EFAULT`.
    pub fn zero_bytes(&self, address: UserAddr, length: usize) -> Result<(), Errno> {
        self.mm().zero_bytes(address, length)
    }

    /// Copies a value from the guest, once, or `EFAULT`.
    pub fn read_value<T: FromBytes + IntoBytes>(&self, pointer: UserPtr<T>) -> Result<T, Errno> {
        self.mm().read_value(pointer)
    }

    /// Copies a value to the guest, or `EFAULT`.
    pub fn write_value<T: IntoBytes + Immutable>(&self, pointer: UserPtr<T>, value: &T) -> Result<(), Errno> {
        self.mm().write_value(pointer, value)
    }

    /// Copies `count` values from the guest, or `EFAULT`; the caller has checked that this is not too many.
    pub fn read_slice<T: FromBytes + IntoBytes>(
        &self,
        pointer: UserPtr<T>,
        count: usize,
    ) -> Result<Vec<T>, Errno> {
        self.mm().read_slice(pointer, count)
    }

    /// Copies values to the guest, or `EFAULT`.
    pub fn write_slice<T: IntoBytes + Immutable>(
        &self,
        pointer: UserPtr<T>,
        values: &[T],
    ) -> Result<(), Errno> {
        self.mm().write_slice(pointer, values)
    }

    /// Copies a string that ends with a NUL, without it: `EFAULT`, or `ENAMETOOLONG` when there is none among the first `max` bytes.
    pub fn read_c_string(&self, address: UserAddr, max: usize) -> Result<FsString, Errno> {
        self.mm().read_c_string(address, max)
    }

    /// Copies a structure that grows with the kernel's version: `EFAULT`, or `E2BIG`.
    pub fn read_versioned<T: FromBytes + IntoBytes>(
        &self,
        address: UserAddr,
        size: usize,
    ) -> Result<T, Errno> {
        self.mm().read_versioned(address, size)
    }
}

//! Reading and writing memory that guests change and that can fault: the only way in which the sentry touches it.
//!
//! The copy functions return how many bytes they copied before an access faulted (a host file that became shorter, a
//! view that is read-only); all of them stop at the shorter end.

#![expect(unsafe_code, reason = "calls the assembly routines")]

use super::VolatileSlice;
use super::copy::{self as routines, AtomicResult};
use super::fault_handler;

/// Why an atomic access was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The page is not there, or not writable.
    #[error("the memory cannot be accessed")]
    Fault,
    /// The address is not a multiple of the size, or the slice is shorter than it.
    #[error("the access is not aligned or reaches beyond the slice")]
    Misaligned,
}

/// Copies from guest memory; returns the bytes copied.
pub fn read(from: &VolatileSlice<'_>, to: &mut [u8]) -> usize {
    fault_handler::install();
    let length = from.len().min(to.len());
    let source = from.ptr_guard();
    // SAFETY: `source` is valid for `length` bytes by VolatileSlice's contract, `to` by being a reference.
    length - unsafe { routines::bartizan_copy(to.as_mut_ptr(), source.as_ptr(), length) }
}

/// Copies to guest memory; returns the bytes copied.
pub fn write(from: &[u8], to: &VolatileSlice<'_>) -> usize {
    fault_handler::install();
    let length = from.len().min(to.len());
    let target = to.ptr_guard_mut();
    // SAFETY: `target` is valid for `length` bytes by VolatileSlice's contract, `from` by being a reference.
    length - unsafe { routines::bartizan_copy(target.as_ptr(), from.as_ptr(), length) }
}

/// Copies from guest memory to guest memory, forwards (like `memcpy`: where the two overlap, the result is any mix);
/// returns the bytes copied.
pub fn copy(from: &VolatileSlice<'_>, to: &VolatileSlice<'_>) -> usize {
    fault_handler::install();
    let length = from.len().min(to.len());
    let source = from.ptr_guard();
    let target = to.ptr_guard_mut();
    // SAFETY: both pointers are valid for `length` bytes by VolatileSlice's contract.
    length - unsafe { routines::bartizan_copy(target.as_ptr(), source.as_ptr(), length) }
}

/// Zeroes guest memory; returns the bytes zeroed.
pub fn zero(to: &VolatileSlice<'_>) -> usize {
    fault_handler::install();
    let target = to.ptr_guard_mut();
    // SAFETY: `target` is valid for its length by VolatileSlice's contract.
    to.len() - unsafe { routines::bartizan_zero(target.as_ptr(), to.len()) }
}

/// Loads an aligned 32-bit value (sequentially consistent).
pub fn load_u32(from: &VolatileSlice<'_>) -> Result<u32, AccessError> {
    let address = aligned::<u32>(from)?;
    // SAFETY: `aligned` checked that four bytes belong to the slice.
    narrow(unsafe { routines::bartizan_load_u32(address) })
}

/// Loads an aligned 64-bit value (sequentially consistent).
pub fn load_u64(from: &VolatileSlice<'_>) -> Result<u64, AccessError> {
    let address = aligned::<u64>(from)?;
    // SAFETY: `aligned` checked that eight bytes belong to the slice.
    wide(unsafe { routines::bartizan_load_u64(address) })
}

/// Stores an aligned 32-bit value (sequentially consistent); returns the value that it replaced.
pub fn store_u32(to: &VolatileSlice<'_>, new: u32) -> Result<u32, AccessError> {
    let address = aligned::<u32>(to)?;
    // SAFETY: `aligned` checked that four bytes belong to the slice.
    narrow(unsafe { routines::bartizan_exchange_u32(address, new) })
}

/// Stores an aligned 64-bit value (sequentially consistent); returns the value that it replaced.
pub fn store_u64(to: &VolatileSlice<'_>, new: u64) -> Result<u64, AccessError> {
    let address = aligned::<u64>(to)?;
    // SAFETY: `aligned` checked that eight bytes belong to the slice.
    wide(unsafe { routines::bartizan_exchange_u64(address, new) })
}

/// Replaces `expected` by `new`, if it is there; returns what was there.
pub fn compare_exchange_u32(at: &VolatileSlice<'_>, expected: u32, new: u32) -> Result<u32, AccessError> {
    let address = aligned::<u32>(at)?;
    // SAFETY: `aligned` checked that four bytes belong to the slice.
    narrow(unsafe { routines::bartizan_compare_exchange_u32(address, expected, new) })
}

/// Replaces `expected` by `new`, if it is there; returns what was there.
pub fn compare_exchange_u64(at: &VolatileSlice<'_>, expected: u64, new: u64) -> Result<u64, AccessError> {
    let address = aligned::<u64>(at)?;
    // SAFETY: `aligned` checked that eight bytes belong to the slice.
    wide(unsafe { routines::bartizan_compare_exchange_u64(address, expected, new) })
}

/// Changes a 32-bit value as `change` says, atomically; returns what was there before. `change` may be called several times, but a
/// guest that writes all the time can only delay this for `ATTEMPTS` rounds, after which the value is stored regardless.
pub fn fetch_update_u32(
    at: &VolatileSlice<'_>,
    mut change: impl FnMut(u32) -> u32,
) -> Result<u32, AccessError> {
    const ATTEMPTS: u32 = 10_000;
    let mut seen = load_u32(at)?;
    for _ in 0..ATTEMPTS {
        let found = compare_exchange_u32(at, seen, change(seen))?;
        if found == seen {
            return Ok(seen);
        }
        seen = found;
    }
    store_u32(at, change(seen))
}

fn aligned<T>(slice: &VolatileSlice<'_>) -> Result<*mut T, AccessError> {
    fault_handler::install();
    let address = slice.ptr_guard_mut().as_ptr().cast::<T>();
    if slice.len() < size_of::<T>() || !address.is_aligned() {
        return Err(AccessError::Misaligned);
    }
    Ok(address)
}

fn wide(result: AtomicResult) -> Result<u64, AccessError> {
    if result.faulted == 0 { Ok(result.value) } else { Err(AccessError::Fault) }
}

#[expect(clippy::cast_possible_truncation, reason = "the routine loaded 32 bits")]
fn narrow(result: AtomicResult) -> Result<u32, AccessError> {
    wide(result).map(|value| value as u32)
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, OwnedFd};

    use super::super::mapping::{Protection, SharedMapping};
    use super::*;

    const PAGE: usize = 4096;

    /// A mapping of two pages of which the file backs only the first.
    fn half_backed(protection: Protection) -> SharedMapping {
        let file: OwnedFd = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, PAGE as u64).unwrap();
        SharedMapping::new(file.as_fd(), 0, 2 * PAGE, protection).unwrap()
    }

    #[test]
    fn copies_stop_exactly_at_the_end_of_the_file() {
        let mapping = half_backed(Protection::ReadWrite);
        for before in [0, 1, 5, 8, 13, 63, 64, 65, 300, PAGE] {
            for behind in [1, 7, 8, 64, 100, PAGE] {
                let view = mapping.view(PAGE - before, before + behind);
                let data = vec![0xa5; before + behind];
                assert_eq!(write(&data, &view), before, "write {before}+{behind}");
                let mut back = vec![0; before + behind];
                assert_eq!(read(&view, &mut back), before, "read {before}+{behind}");
                assert_eq!(back[..before], data[..before]);
                assert!(back[before..].iter().all(|byte| *byte == 0));
                assert_eq!(zero(&view), before, "zero {before}+{behind}");
                assert_eq!(copy(&view, &mapping.view(0, PAGE)), before, "copy {before}+{behind}");
            }
        }
    }

    #[test]
    fn a_read_only_view_takes_no_writes() {
        let mapping = half_backed(Protection::ReadOnly);
        let view = mapping.view(0, PAGE);
        assert_eq!(write(b"hello", &view), 0);
        assert_eq!(store_u32(&view, 1), Err(AccessError::Fault));
        assert_eq!(compare_exchange_u64(&view, 0, 1), Err(AccessError::Fault));
        assert_eq!(load_u64(&view), Ok(0));
    }

    #[test]
    fn atomics_see_and_change_values() {
        let mapping = half_backed(Protection::ReadWrite);
        let view = mapping.view(8, 8);
        assert_eq!(store_u32(&view, 7), Ok(0));
        assert_eq!(load_u32(&view), Ok(7));
        assert_eq!(compare_exchange_u32(&view, 8, 9), Ok(7));
        assert_eq!(compare_exchange_u32(&view, 7, u32::MAX), Ok(7));
        assert_eq!(fetch_update_u32(&view, |old| old - 1), Ok(u32::MAX));
        assert_eq!(load_u64(&view), Ok(u64::from(u32::MAX - 1)));
        assert_eq!(store_u64(&view, 1 << 40), Ok(u64::from(u32::MAX - 1)));
        assert_eq!(compare_exchange_u64(&view, 1 << 40, 5), Ok(1 << 40));
        assert_eq!(load_u32(&mapping.view(2, 8)), Err(AccessError::Misaligned));
        assert_eq!(load_u32(&mapping.view(4, 3)), Err(AccessError::Misaligned));
        assert_eq!(load_u32(&mapping.view(PAGE, 8)), Err(AccessError::Fault));
        assert_eq!(load_u64(&mapping.view(PAGE, 8)), Err(AccessError::Fault));
        assert_eq!(store_u64(&mapping.view(PAGE, 8), 3), Err(AccessError::Fault));
        assert_eq!(compare_exchange_u32(&mapping.view(PAGE, 8), 3, 4), Err(AccessError::Fault));
    }

    #[test]
    fn copies_of_every_small_size_are_complete() {
        let mut buffer = vec![0_u8; 300];
        for length in 0..200 {
            let data: Vec<u8> = (0..length).map(|index| index as u8 ^ 0x5a).collect();
            let view = VolatileSlice::from(&mut buffer[50..50 + length]);
            assert_eq!(write(&data, &view), length);
            let mut back = vec![0; length];
            assert_eq!(read(&view, &mut back), length);
            assert_eq!(back, data);
        }
        assert!(buffer[..50].iter().chain(&buffer[250..]).all(|byte| *byte == 0));
    }
}

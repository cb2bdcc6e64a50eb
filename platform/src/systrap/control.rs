//! The memory that the sentry shares with one stub process: orders and areas.
//!
//! # Safety
//! The stub's threads, guest code among them, change this memory at any time. It is accessed only by volatile reads and
//! writes of whole words through checked offsets; no reference to it is ever made, and what is read is believed only
//! after it has been checked.

#![expect(unsafe_code, reason = "maps the shared memory and accesses it by volatile words")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::layout::{self, AREA_COUNT, AREA_SIZE, AREAS, CONTROL_SIZE, PAGE};

/// The file of orders and areas of one stub process, mapped into the sentry.
#[derive(Debug)]
pub struct ControlMemory {
    file: OwnedFd,
    start: *mut u8,
}

// SAFETY: the mapping belongs to this value until it is dropped, and all access to it is by volatile words, which any thread may make.
unsafe impl Send for ControlMemory {}
// SAFETY: as above.
unsafe impl Sync for ControlMemory {}

impl ControlMemory {
    /// A new file, all zeros.
    pub fn new() -> io::Result<Self> {
        // SAFETY: the name is a constant C string.
        let file = unsafe { libc::memfd_create(c"bartizan-stub".as_ptr(), libc::MFD_CLOEXEC) };
        if file < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above returned a new descriptor.
        let file = unsafe { OwnedFd::from_raw_fd(file) };
        // SAFETY: ftruncate takes integers.
        if unsafe { libc::ftruncate(file.as_raw_fd(), CONTROL_SIZE as libc::off_t) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                CONTROL_SIZE as usize,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the range is the mapping made above. The advice keeps it out of children of the host; that it may
        // fail is harmless.
        unsafe { libc::madvise(start, CONTROL_SIZE as usize, libc::MADV_DONTFORK) };
        Ok(Self { file, start: start.cast() })
    }

    /// The file.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The position of the file, by which the spawner reports a number.
    pub fn position(&self) -> io::Result<i64> {
        // SAFETY: lseek takes integers.
        let position = unsafe { libc::lseek(self.file.as_raw_fd(), 0, libc::SEEK_CUR) };
        if position < 0 { Err(io::Error::last_os_error()) } else { Ok(position) }
    }

    /// Writes a word of the page of orders.
    pub fn write_order(&self, offset: u64, value: u64) {
        assert!(offset + 8 <= PAGE, "orders end at {PAGE}");
        self.write(offset, value);
    }

    /// Reads the word at `address`, an address in the stub, if that is in area `index`.
    pub fn read_area(&self, index: u64, address: u64) -> Option<u64> {
        Some(self.read(offset_in_area(index, address, 8)?))
    }

    /// Writes the word at `address`, an address in the stub, if that is in area `index`.
    pub fn write_area(&self, index: u64, address: u64, value: u64) -> Option<()> {
        self.write(offset_in_area(index, address, 8)?, value);
        Some(())
    }

    /// Copies `buffer.len()` bytes (a multiple of eight) from `address` in area `index`.
    pub fn copy_from_area(&self, index: u64, address: u64, buffer: &mut [u8]) -> Option<()> {
        let offset = offset_in_area(index, address, buffer.len() as u64)?;
        for (at, word) in (offset..).step_by(8).zip(buffer.chunks_exact_mut(8)) {
            word.copy_from_slice(&self.read(at).to_ne_bytes());
        }
        Some(())
    }

    /// Copies `buffer` (a multiple of eight bytes) to `address` in area `index`.
    pub fn copy_to_area(&self, index: u64, address: u64, buffer: &[u8]) -> Option<()> {
        let offset = offset_in_area(index, address, buffer.len() as u64)?;
        for (at, word) in (offset..).step_by(8).zip(buffer.chunks_exact(8)) {
            self.write(at, word.try_into().map_or(0, u64::from_ne_bytes));
        }
        Some(())
    }

    fn read(&self, offset: u64) -> u64 {
        assert!(offset + 8 <= CONTROL_SIZE && offset.is_multiple_of(8), "callers check offsets");
        // SAFETY: the offset is inside the mapping.
        let word = unsafe { self.start.add(offset as usize) }.cast::<u64>();
        // SAFETY: the word is mapped, aligned, and valid whatever its bits; volatile since others change it.
        unsafe { word.read_volatile() }
    }

    fn write(&self, offset: u64, value: u64) {
        assert!(offset + 8 <= CONTROL_SIZE && offset.is_multiple_of(8), "callers check offsets");
        // SAFETY: the offset is inside the mapping.
        let word = unsafe { self.start.add(offset as usize) }.cast::<u64>();
        // SAFETY: the word is mapped and aligned, and nobody holds a reference to it.
        unsafe { word.write_volatile(value) };
    }
}

impl Drop for ControlMemory {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `new` made, and with the value goes the last access to it.
        unsafe { libc::munmap(self.start.cast(), CONTROL_SIZE as usize) };
    }
}

/// The address of area `index` in the stub.
pub fn area_address(index: u64) -> u64 {
    AREAS + index * AREA_SIZE
}

/// The offset in the file of `length` bytes at `address`, if they are aligned and all in area `index`.
fn offset_in_area(index: u64, address: u64, length: u64) -> Option<u64> {
    let start = area_address(index);
    let within = address.checked_sub(start)?;
    let fits = index < AREA_COUNT && within.checked_add(length)? <= AREA_SIZE && address.is_multiple_of(8);
    fits.then(|| layout::PAGE + index * AREA_SIZE + within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_outside_of_their_area_are_refused() {
        let memory = ControlMemory::new().expect("a memfd can be made");
        let area = area_address(3);
        assert_eq!(memory.write_area(3, area + 8, 42), Some(()));
        assert_eq!(memory.read_area(3, area + 8), Some(42));
        assert_eq!(memory.read_area(4, area + 8), None);
        assert_eq!(memory.read_area(3, area + AREA_SIZE - 7), None);
        assert_eq!(memory.read_area(3, area + 4), None);
        assert_eq!(memory.read_area(3, u64::MAX - 7), None);
        assert_eq!(memory.read_area(AREA_COUNT, area_address(AREA_COUNT)), None);
    }
}

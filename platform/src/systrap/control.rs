//! The memory that the sentry shares with one stub process: orders and areas.
//!
//! # Safety
//! The stub's threads, guest code among them, change this memory at any time. It is accessed only by volatile reads and
//! writes of whole words through checked offsets, and by atomic words; no other reference to it is ever made, and what is read is believed
//! only after it has been checked.

#![expect(unsafe_code, reason = "maps the shared memory and accesses it by volatile words")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::layout::{AREA_COUNT, AREA_SIZE, AREAS, BASES, CONTROL_SIZE, ORDERS, PAGE, READ_ONLY_SIZE};

/// The file of orders and areas of one stub process, mapped into the sentry.
#[derive(Debug)]
pub struct ControlMemory {
    file: OwnedFd,
    start: *mut u8,
    /// Bytes in the file, which only grows.
    size: AtomicU64,
}

// SAFETY: the mapping belongs to this value until it is dropped, and all access to it is by volatile words, which any thread may make.
unsafe impl Send for ControlMemory {}
// SAFETY: as above.
unsafe impl Sync for ControlMemory {}

impl ControlMemory {
    /// A new file with room for the orders, all zeros. Areas can be used after [`grow`](Self::grow).
    pub fn new() -> io::Result<Self> {
        // SAFETY: the name is a constant C string.
        let file = unsafe { libc::memfd_create(c"bartizan-stub".as_ptr(), libc::MFD_CLOEXEC) };
        if file < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above returned a new descriptor.
        let file = unsafe { OwnedFd::from_raw_fd(file) };
        resize(&file, READ_ONLY_SIZE)?;
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
        Ok(Self { file, start: start.cast(), size: AtomicU64::new(READ_ONLY_SIZE) })
    }

    /// Makes room for `areas` areas; callers take turns. Guests can use no more memory of the file than it has.
    pub fn grow(&self, areas: u64) -> io::Result<()> {
        if areas > AREA_COUNT {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        let size = READ_ONLY_SIZE + areas * AREA_SIZE;
        if size > self.size.load(Ordering::Acquire) {
            resize(&self.file, size)?;
            self.size.store(size, Ordering::Release);
        }
        Ok(())
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

    /// Writes the word at `address`, an address in the stub's pages of bases and answers.
    pub fn write_base(&self, address: u64, value: u64) {
        assert!(
            (BASES..BASES + 2 * PAGE).contains(&address),
            "bases and answers end at {:#x}",
            BASES + 2 * PAGE
        );
        self.write(address - ORDERS, value);
    }

    /// The 32-bit word at `offset` in area `index`, for hand-overs with the thread. Anything may be in it at any time.
    pub fn shared_word(&self, index: u64, offset: u64) -> Option<&AtomicU32> {
        let offset = self.offset_in_area(index, area_address(index) + offset, 8)?;
        // SAFETY: the offset is inside the mapping, which lives as long as `self`.
        let word = unsafe { self.start.add(offset as usize) }.cast::<u32>();
        // SAFETY: the word is mapped and aligned, and is accessed by atomic operations alone; any bits are a value.
        Some(unsafe { AtomicU32::from_ptr(word) })
    }

    /// Reads the word at `address`, an address in the stub, if that is in area `index`.
    pub fn read_area(&self, index: u64, address: u64) -> Option<u64> {
        Some(self.read(self.offset_in_area(index, address, 8)?))
    }

    /// Writes the word at `address`, an address in the stub, if that is in area `index`.
    pub fn write_area(&self, index: u64, address: u64, value: u64) -> Option<()> {
        self.write(self.offset_in_area(index, address, 8)?, value);
        Some(())
    }

    /// Copies `buffer.len()` bytes (a multiple of eight) from `address` in area `index`.
    pub fn copy_from_area(&self, index: u64, address: u64, buffer: &mut [u8]) -> Option<()> {
        let offset = self.offset_in_area(index, address, buffer.len() as u64)?;
        for (at, word) in (offset..).step_by(8).zip(buffer.chunks_exact_mut(8)) {
            word.copy_from_slice(&self.read(at).to_ne_bytes());
        }
        Some(())
    }

    /// Copies `buffer` (a multiple of eight bytes) to `address` in area `index`.
    pub fn copy_to_area(&self, index: u64, address: u64, buffer: &[u8]) -> Option<()> {
        let offset = self.offset_in_area(index, address, buffer.len() as u64)?;
        for (at, word) in (offset..).step_by(8).zip(buffer.chunks_exact(8)) {
            self.write(at, word.try_into().map_or(0, u64::from_ne_bytes));
        }
        Some(())
    }

    /// The offset in the file of `length` bytes at `address`, if they are aligned and all in area `index`, for which there is room.
    fn offset_in_area(&self, index: u64, address: u64, length: u64) -> Option<u64> {
        let within = address.checked_sub(area_address(index))?;
        let fits = within.checked_add(length)? <= AREA_SIZE && address.is_multiple_of(8);
        let offset = READ_ONLY_SIZE + index * AREA_SIZE + within;
        (index < AREA_COUNT && fits && offset + length <= self.size.load(Ordering::Acquire)).then_some(offset)
    }

    fn read(&self, offset: u64) -> u64 {
        assert!(
            offset + 8 <= self.size.load(Ordering::Acquire) && offset.is_multiple_of(8),
            "callers check offsets"
        );
        // SAFETY: the offset is inside the mapping.
        let word = unsafe { self.start.add(offset as usize) }.cast::<u64>();
        // SAFETY: the word is mapped, aligned, and valid whatever its bits; volatile since others change it.
        unsafe { word.read_volatile() }
    }

    fn write(&self, offset: u64, value: u64) {
        assert!(
            offset + 8 <= self.size.load(Ordering::Acquire) && offset.is_multiple_of(8),
            "callers check offsets"
        );
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

fn resize(file: &OwnedFd, size: u64) -> io::Result<()> {
    // SAFETY: ftruncate takes integers.
    if unsafe { libc::ftruncate(file.as_raw_fd(), size as libc::off_t) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The address of area `index` in the stub.
pub fn area_address(index: u64) -> u64 {
    AREAS + index * AREA_SIZE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_outside_of_their_area_are_refused() {
        let memory = ControlMemory::new().expect("a memfd can be made");
        memory.grow(4).expect("a memfd can grow");
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

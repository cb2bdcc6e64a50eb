//! Input and output of the host straight from and to guest memory.
//!
//! # Safety
//! The host kernel accesses the memory of [`VolatileSlice`]s, which are valid for as long as they are borrowed; that guests change
//! it meanwhile is no concern of Rust's.

#![expect(unsafe_code, reason = "calls with vectors of guest memory")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use smallvec::SmallVec;

use super::VolatileSlice;

/// The host takes no more pieces at once; the rest is left out, as a short count.
const MOST_PIECES: usize = 1024;

type Pieces = SmallVec<[libc::iovec; 16]>;

/// `readv` or, with an `offset`, `preadv`. Returns the bytes read, zero at the end of the file; fewer than asked for are no error.
///
/// # Errors
/// What the host call returns; `EFAULT` only if memory is backed by a host file that became shorter, or is read-only.
pub fn read_from_descriptor(
    descriptor: BorrowedFd<'_>,
    offset: Option<u64>,
    slices: &[VolatileSlice<'_>],
) -> io::Result<usize> {
    let (pieces, count) = pieces(slices);
    let fd = descriptor.as_raw_fd();
    let result = match offset {
        // SAFETY: each piece is memory that its slice borrows for the whole call.
        None => unsafe { libc::readv(fd, pieces.as_ptr(), count) },
        // SAFETY: as above.
        Some(offset) => unsafe { libc::preadv(fd, pieces.as_ptr(), count, file_offset(offset)?) },
    };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// `writev` or, with an `offset`, `pwritev`. Returns the bytes written; fewer than asked for are no error.
///
/// # Errors
/// What the host call returns; `EFAULT` only if memory is backed by a host file that became shorter.
pub fn write_to_descriptor(
    descriptor: BorrowedFd<'_>,
    offset: Option<u64>,
    slices: &[VolatileSlice<'_>],
) -> io::Result<usize> {
    let (pieces, count) = pieces(slices);
    let fd = descriptor.as_raw_fd();
    let result = match offset {
        // SAFETY: each piece is memory that its slice borrows for the whole call.
        None => unsafe { libc::writev(fd, pieces.as_ptr(), count) },
        // SAFETY: as above.
        Some(offset) => unsafe { libc::pwritev(fd, pieces.as_ptr(), count, file_offset(offset)?) },
    };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn pieces(slices: &[VolatileSlice<'_>]) -> (Pieces, libc::c_int) {
    let pieces: Pieces = slices
        .iter()
        .filter(|slice| !slice.is_empty())
        .take(MOST_PIECES)
        .map(|slice| libc::iovec { iov_base: slice.ptr_guard_mut().as_ptr().cast(), iov_len: slice.len() })
        .collect();
    let count = pieces.len() as libc::c_int;
    (pieces, count)
}

fn file_offset(offset: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn data_goes_through_a_file_in_pieces() {
        let file = tempfile::tempfile().unwrap();
        let mut data = *b"one two three";
        let (left, right) = data.split_at_mut(4);
        let slices = [VolatileSlice::from(left), VolatileSlice::from(right)];
        assert_eq!(write_to_descriptor(file.as_fd(), Some(3), &slices).unwrap(), 13);
        let mut back = [0; 6];
        let slices = [VolatileSlice::from(&mut back[..])];
        assert_eq!(read_from_descriptor(file.as_fd(), Some(7), &slices).unwrap(), 6);
        assert_eq!(read_from_descriptor(file.as_fd(), Some(100), &slices).unwrap(), 0);
        assert_eq!(read_from_descriptor(file.as_fd(), None, &[]).unwrap(), 0);
        assert!(read_from_descriptor(file.as_fd(), Some(u64::MAX), &slices).is_err());
        assert_eq!(&back, b"two th");
    }
}

//! A regular file of the host as memory.
//!
//! The sentry sees it through *windows*: large aligned mappings that are made when they are first needed and stay until the file is
//! dropped, so that a view never dangles. Windows may reach beyond the end of the file, which may move at any time; access there
//! faults, which the copy functions report.
//!
//! Lock: `windows`, a leaf; the host's `mmap` is called under it.

#![expect(unsafe_code, reason = "views outlive the guard of the lock that they were found under")]

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use parking_lot::RwLock;
use rustix::fs::OFlags;

use super::mapping::{Protection, SharedMapping};
use super::{BackingFile, VolatileSlice};

/// The first window is small, because most files are.
const FIRST_WINDOW: u64 = 2 << 20;
/// All others.
const WINDOW: u64 = 64 << 20;
/// The host limits the mappings of a process; 4096 windows are 256 GiB of one file.
const MOST_WINDOWS: usize = 4096;

/// A regular file of the host whose pages are mapped into guests.
#[derive(Debug)]
pub struct HostFile {
    file: OwnedFd,
    protection: Protection,
    /// By their offset; only ever added to.
    windows: RwLock<BTreeMap<u64, SharedMapping>>,
}

impl HostFile {
    /// Takes a regular file that was opened for reading, or for reading and writing.
    ///
    /// # Errors
    /// What `fcntl` returns; `InvalidInput` for a file that cannot be read through its descriptor.
    pub fn new(file: OwnedFd) -> io::Result<Self> {
        let mode = rustix::fs::fcntl_getfl(&file)?;
        let protection = if mode.contains(OFlags::PATH) || mode & OFlags::ACCMODE == OFlags::WRONLY {
            return Err(io::ErrorKind::InvalidInput.into());
        } else if mode & OFlags::ACCMODE == OFlags::RDWR {
            Protection::ReadWrite
        } else {
            Protection::ReadOnly
        };
        Ok(Self { file, protection, windows: RwLock::new(BTreeMap::new()) })
    }

    /// `length` bytes from `offset`, which lie in `window`.
    fn look(&self, window: &SharedMapping, offset: u64, length: usize) -> VolatileSlice<'_> {
        let slice = window.view(offset as usize, length);
        let start = slice.ptr_guard_mut().as_ptr();
        // SAFETY: windows are removed only when `self` is dropped, and the slice borrows `self`; the map may move the
        // SharedMapping value, but never the memory that it maps.
        unsafe { VolatileSlice::new(start, slice.len()) }
    }
}

/// The window that the byte at `offset` is in.
fn window_of(offset: u64) -> Range<u64> {
    if offset < FIRST_WINDOW {
        return 0..FIRST_WINDOW;
    }
    let start = offset - offset % WINDOW;
    start.max(FIRST_WINDOW)..start.saturating_add(WINDOW)
}

impl BackingFile for HostFile {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn window(&self, offset: u64) -> Range<u64> {
        window_of(offset)
    }

    fn view(&self, offset: u64, length: usize) -> io::Result<VolatileSlice<'_>> {
        if length > 0 && i64::try_from(offset).is_err() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let range = window_of(offset);
        let inside = offset - range.start;
        if let Some(window) = self.windows.read().get(&range.start) {
            return Ok(self.look(window, inside, length));
        }
        let mut windows = self.windows.write();
        if let Some(window) = windows.get(&range.start) {
            return Ok(self.look(window, inside, length));
        }
        if windows.len() >= MOST_WINDOWS {
            return Err(io::Error::from_raw_os_error(libc::ENOMEM));
        }
        let size = (range.end - range.start) as usize;
        let window = SharedMapping::new(self.file.as_fd(), range.start, size, self.protection)?;
        let slice = self.look(&window, inside, length);
        windows.insert(range.start, window);
        Ok(slice)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::super::{load_u32, read, write};
    use super::*;

    #[test]
    fn windows_tile_the_file() {
        let mut offset = 0;
        while offset < 4 * WINDOW {
            let window = window_of(offset);
            assert_eq!(window.start, offset);
            assert_eq!(window_of(window.end - 1), window);
            offset = window.end;
        }
    }

    #[test]
    fn contents_are_the_file_s() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"hello").unwrap();
        file.set_len(FIRST_WINDOW + 10).unwrap();
        let host = HostFile::new(file.try_clone().unwrap().into()).unwrap();
        let mut data = [0; 5];
        assert_eq!(read(&host.view(0, 5).unwrap(), &mut data), 5);
        assert_eq!(&data, b"hello");
        let edge = host.view(FIRST_WINDOW - 2, 8).unwrap();
        assert_eq!(edge.len(), 2, "cut at the end of the window");
        let behind = host.view(FIRST_WINDOW, 8).unwrap();
        assert_eq!(write(b"abc", &behind), 3);
        assert_eq!(read(&host.view(FIRST_WINDOW, 3).unwrap(), &mut data[..3]), 3);
        assert_eq!(&data[..3], b"abc");
    }

    #[test]
    fn truncation_is_a_fault_and_no_crash() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8192).unwrap();
        let host = HostFile::new(file.try_clone().unwrap().into()).unwrap();
        let view = host.view(4096, 4).unwrap();
        assert_eq!(load_u32(&view), Ok(0));
        file.set_len(100).unwrap();
        assert!(load_u32(&view).is_err());
        assert_eq!(read(&view, &mut [0; 4]), 0);
    }

    #[test]
    fn read_only_files_take_no_writes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(10).unwrap();
        let host = HostFile::new(File::open(file.path()).unwrap().into()).unwrap();
        assert_eq!(write(b"x", &host.view(0, 1).unwrap()), 0);
        assert!(host.view(u64::MAX, 1).is_err());
    }
}

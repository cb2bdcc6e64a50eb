//! A regular file that was opened in a lower layer, for reading.
//!
//! If it is copied up while it is open, what is read from then on is the copy; what is mapped stays the original. Both are as Linux has
//! them.

use std::sync::{Arc, OnceLock};

use bartizan_abi::{Errno, FallocateFlags, PollEvents};
use bartizan_sentry::SysResult;
use bartizan_sentry::kernel::{Credentials, CurrentTask, WaitQueue};
use bartizan_sentry::mm::{PageSource, UserAddr};
use bartizan_sentry::vfs::{DataSink, DataSource, File, FileOps, Inode, OpenRequest, SeekSpecial, Written};

use super::inode::of;

/// An open file of a lower layer.
#[derive(Debug)]
pub struct OverlayFile {
    inode: Arc<Inode>,
    lower: Box<dyn FileOps>,
    upper: OnceLock<Box<dyn FileOps>>,
}

impl OverlayFile {
    /// The file `inode` of the overlay, which is open as `lower` in a lower layer.
    pub fn new(inode: &Arc<Inode>, lower: Box<dyn FileOps>) -> Self {
        Self { inode: Arc::clone(inode), lower, upper: OnceLock::new() }
    }

    /// What is to be read now.
    fn now(&self, file: &File) -> Result<&dyn FileOps, Errno> {
        if let Some(upper) = self.upper.get() {
            return Ok(&**upper);
        }
        let overlay = of(&self.inode)?;
        let Some(upper) = overlay.upper() else { return Ok(&*self.lower) };
        let credentials = Credentials::root();
        let request =
            OpenRequest { flags: file.flags(), credentials: &credentials, task: None, path: file.path() };
        let opened = upper.ops().open(upper, &request)?;
        Ok(&**self.upper.get_or_init(|| opened))
    }
}

impl FileOps for OverlayFile {
    fn read(&self, file: &File, sink: &mut dyn DataSink, offset: u64) -> Result<usize, Errno> {
        self.now(file)?.read(file, sink, offset)
    }

    fn write(&self, file: &File, source: &mut dyn DataSource, offset: u64) -> Result<Written, Errno> {
        self.now(file)?.write(file, source, offset)
    }

    fn seek_special(&self, file: &File, whence: SeekSpecial, offset: i64) -> Result<u64, Errno> {
        self.now(file)?.seek_special(file, whence, offset)
    }

    fn poll(&self, file: &File) -> PollEvents {
        self.now(file).map_or(PollEvents::POLLERR, |now| now.poll(file))
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        self.lower.wait_queue()
    }

    fn ioctl(&self, file: &File, task: &CurrentTask, request: u32, argument: UserAddr) -> SysResult<u64> {
        self.now(file)?.ioctl(file, task, request, argument)
    }

    /// Mappings stay with what was opened.
    fn page_source(&self, file: &File) -> Result<Arc<dyn PageSource>, Errno> {
        self.lower.page_source(file)
    }

    fn sync(&self, file: &File) -> Result<(), Errno> {
        self.now(file)?.sync(file)
    }

    fn allocate(&self, file: &File, mode: FallocateFlags, offset: u64, length: u64) -> Result<(), Errno> {
        self.now(file)?.allocate(file, mode, offset, length)
    }

    fn release(&self) {
        self.lower.release();
        if let Some(upper) = self.upper.get() {
            upper.release();
        }
    }
}

//! `/dev/zero`: as many zeros as anybody wants (`null(4)`).

use std::sync::Arc;

use bartizan_abi::Errno;
use bartizan_platform::memory::MemoryFile;
use bartizan_sentry::mm::{PageSource, SharedMemory};
use bartizan_sentry::vfs::{DataSink, DataSource, DeviceOps, File, FileOps, Inode, OpenRequest, Written};

use super::null::swallow;

/// The driver of `/dev/zero`.
#[derive(Debug)]
pub struct ZeroDriver {
    /// Where the pages of mappings come from.
    pub memory: Arc<MemoryFile>,
}

impl DeviceOps for ZeroDriver {
    fn open(&self, inode: &Arc<Inode>, _request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        let identity = (inode.filesystem().device.to_u64(), inode.number());
        Ok(Box::new(Zero { memory: Arc::clone(&self.memory), identity }))
    }
}

/// An open `/dev/zero`.
#[derive(Debug)]
struct Zero {
    memory: Arc<MemoryFile>,
    identity: (u64, u64),
}

impl FileOps for Zero {
    fn stays_at_start(&self) -> bool {
        true
    }

    fn read(&self, _file: &File, sink: &mut dyn DataSink, _offset: u64) -> Result<usize, Errno> {
        sink.put_zeros(sink.remaining())
    }

    fn write(&self, _file: &File, source: &mut dyn DataSource, offset: u64) -> Result<Written, Errno> {
        Ok(swallow(source, offset))
    }

    /// Each mapping has zeros of its own, which only forked children share with it.
    fn page_source(&self, _file: &File) -> Result<Arc<dyn PageSource>, Errno> {
        Ok(SharedMemory::new(&self.memory, u64::MAX, self.identity) as Arc<dyn PageSource>)
    }
}

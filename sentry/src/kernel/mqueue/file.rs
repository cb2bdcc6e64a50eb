//! An open queue.

use std::sync::Arc;

use bartizan_abi::{Errno, PollEvents};

use super::Queue;
use crate::kernel::WaitQueue;
use crate::vfs::{DataSink, File, FileOps, Inode};

/// What a descriptor of `mq_open(2)` refers to.
#[derive(Debug)]
pub struct QueueFile {
    inode: Arc<Inode>,
}

impl QueueFile {
    /// Opens the queue that `inode` is.
    pub fn new(inode: &Arc<Inode>) -> Self {
        Self { inode: Arc::clone(inode) }
    }

    /// The queue.
    ///
    /// # Errors
    /// `EBADF` if the inode is no queue, which cannot happen.
    pub fn queue(&self) -> Result<&Queue, Errno> {
        self.inode.downcast::<Queue>().ok_or(Errno::EBADF)
    }
}

impl FileOps for QueueFile {
    fn read(&self, _file: &File, sink: &mut dyn DataSink, offset: u64) -> Result<usize, Errno> {
        let text = self.queue()?.status();
        let rest = usize::try_from(offset).ok().and_then(|offset| text.as_bytes().get(offset..));
        match rest {
            Some(rest) if !rest.is_empty() => sink.put(rest),
            _ => Ok(0),
        }
    }

    fn poll(&self, _file: &File) -> PollEvents {
        self.queue().map_or(PollEvents::empty(), Queue::poll)
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        self.queue().ok().map(Queue::events)
    }
}

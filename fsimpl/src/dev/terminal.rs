//! `/dev/tty` and `/dev/console`: the terminal that the host passed in, if it did.

use std::sync::Arc;

use bartizan_abi::Errno;
use bartizan_sentry::vfs::{DeviceOps, FileOps, Inode, OpenRequest};

/// The driver of the terminal.
#[derive(Debug)]
pub struct TerminalDriver {
    /// The inode of the host's terminal.
    pub terminal: Option<Arc<Inode>>,
}

impl DeviceOps for TerminalDriver {
    fn open(&self, _inode: &Arc<Inode>, request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        let terminal = self.terminal.as_ref().ok_or(Errno::ENXIO)?;
        terminal.ops().open(terminal, request)
    }
}

//! `/dev/tty` and `/dev/console`: the controlling terminal, or the terminal that the host passed in.

use std::sync::Arc;

use bartizan_abi::{Errno, OpenFlags};
use bartizan_sentry::kernel::CurrentTask;
use bartizan_sentry::kernel::terminal::{Terminal, TerminalFile};
use bartizan_sentry::vfs::{DeviceOps, FileOps, Inode, OpenRequest};

/// The driver of the terminal.
#[derive(Debug)]
pub struct TerminalDriver {
    /// The inode of the host's terminal.
    pub terminal: Option<Arc<Inode>>,
}

impl DeviceOps for TerminalDriver {
    fn open(&self, _inode: &Arc<Inode>, request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        if let Some(task) = request.task
            && let Some(terminal) = controlling_terminal(task)
        {
            let flags = request.flags | OpenFlags::O_NOCTTY;
            return Ok(Box::new(TerminalFile::open(&terminal, flags, request.task)?));
        }
        let terminal = self.terminal.as_ref().ok_or(Errno::ENXIO)?;
        terminal.ops().open(terminal, request)
    }
}

/// The controlling terminal of the caller's process.
fn controlling_terminal(task: &CurrentTask) -> Option<Arc<Terminal>> {
    task.kernel().tree().process(task.pid())?.terminal.clone()
}

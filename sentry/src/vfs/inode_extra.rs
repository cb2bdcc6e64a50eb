//! State that the VFS keeps for the few inodes that need it.

use std::sync::{Arc, OnceLock};

use crate::kernel::pipe::Pipe;

/// Ends of a FIFO, advisory locks, a bound socket.
#[derive(Debug, Default)]
pub struct InodeExtra {
    pipe: OnceLock<Arc<Pipe>>,
}

impl InodeExtra {
    /// What is between the ends of a FIFO.
    pub fn pipe(&self) -> &Arc<Pipe> {
        self.pipe.get_or_init(Pipe::new)
    }
}

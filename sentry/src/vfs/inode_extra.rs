//! State that the VFS keeps for the few inodes that need it.

use std::sync::{Arc, OnceLock, Weak};

use crate::kernel::pipe::Pipe;
use crate::kernel::unix::UnixSocket;

/// Ends of a FIFO, advisory locks, a bound socket.
#[derive(Debug, Default)]
pub struct InodeExtra {
    pipe: OnceLock<Arc<Pipe>>,
    socket: OnceLock<Weak<UnixSocket>>,
}

impl InodeExtra {
    /// What is between the ends of a FIFO.
    pub fn pipe(&self) -> &Arc<Pipe> {
        self.pipe.get_or_init(Pipe::new)
    }

    /// The socket that is bound here, as long as it is open.
    pub fn socket(&self) -> Option<Arc<UnixSocket>> {
        self.socket.get()?.upgrade()
    }

    /// Notes the socket for which this inode was made.
    pub fn bind_socket(&self, socket: &Arc<UnixSocket>) {
        let _once = self.socket.set(Arc::downgrade(socket));
    }
}

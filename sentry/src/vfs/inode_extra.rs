//! State that the VFS keeps for the few inodes that need it.

use std::sync::{Arc, OnceLock, Weak};

use super::leases::Leases;
use super::locks::FileLocks;
use super::notify::Watches;
use crate::kernel::pipe::Pipe;
use crate::kernel::unix::UnixSocket;

/// Ends of a FIFO, advisory locks, a bound socket, watches, leases.
#[derive(Debug, Default)]
pub struct InodeExtra {
    pipe: OnceLock<Arc<Pipe>>,
    socket: OnceLock<Weak<UnixSocket>>,
    locks: OnceLock<FileLocks>,
    watches: OnceLock<Watches>,
    leases: OnceLock<Leases>,
}

impl InodeExtra {
    /// What is between the ends of a FIFO.
    pub fn pipe(&self) -> &Arc<Pipe> {
        self.pipe.get_or_init(Pipe::new)
    }

    /// The advisory locks on it.
    pub fn locks(&self) -> &FileLocks {
        self.locks.get_or_init(FileLocks::default)
    }

    /// The advisory locks on it, if there ever were any.
    pub fn existing_locks(&self) -> Option<&FileLocks> {
        self.locks.get()
    }

    /// The leases on it.
    pub fn leases(&self) -> &Leases {
        self.leases.get_or_init(Leases::default)
    }

    /// The leases on it, if there ever were any.
    pub fn existing_leases(&self) -> Option<&Leases> {
        self.leases.get()
    }

    /// Who watches it.
    pub(super) fn watches(&self) -> &Watches {
        self.watches.get_or_init(Watches::default)
    }

    /// Who watches it, if anybody ever did.
    pub(super) fn existing_watches(&self) -> Option<&Watches> {
        self.watches.get()
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

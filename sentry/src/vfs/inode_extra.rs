//! State that the VFS keeps for the few inodes that need it.

/// Ends of a FIFO, advisory locks, a bound socket.
#[derive(Debug, Default)]
pub struct InodeExtra {}

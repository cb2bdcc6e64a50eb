//! What goes through a socket.

use bartizan_abi::socket::Ucred;

use super::{Passengers, UnixAddress};

/// What accompanies data.
#[derive(Debug, Clone, Default)]
pub struct Ancillary {
    /// Open files (`SCM_RIGHTS`).
    pub files: Passengers,
    /// Who sent it.
    pub credentials: Ucred,
}

/// One message, or a piece of a stream.
#[derive(Debug)]
pub struct Message {
    /// The data.
    pub data: Vec<u8>,
    /// How much of it has been read, of a stream.
    pub(super) read: usize,
    /// What accompanies it.
    pub ancillary: Ancillary,
    /// What the sender is bound to, of a datagram.
    pub sender: Option<UnixAddress>,
}

/// What a message costs beside its data, bytes.
const OVERHEAD: usize = 256;

impl Message {
    /// A message that nobody has read of.
    pub fn new(data: Vec<u8>, ancillary: Ancillary, sender: Option<UnixAddress>) -> Self {
        Self { data, read: 0, ancillary, sender }
    }

    /// What is left to be read.
    pub(super) fn rest(&self) -> &[u8] {
        self.data.get(self.read..).unwrap_or_default()
    }

    /// What it counts for the limits of buffers.
    pub(super) fn cost(&self) -> usize {
        self.data.len() + OVERHEAD
    }
}

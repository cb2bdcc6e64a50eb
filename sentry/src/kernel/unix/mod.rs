//! UNIX domain sockets (`unix(7)`): streams, datagrams and sequenced packets.
//!
//! A socket owns an `Inbox`, into which whoever is connected to it puts messages; it knows the inbox of its peer, not the peer
//! itself. Closing a socket closes both for its side. A descriptor refers to a [`UnixFile`], which closes the socket when it goes.
//!
//! Locks: class `Socket` for one socket's own state (never two at a time), then class `InodeData` for the contents of an inbox.
//! Data is copied from and to the guest without either.

mod address;
mod connect;
mod file;
mod flight;
mod inbox;
mod message;
mod transfer;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bartizan_abi::Errno;
use bartizan_abi::socket::{AddressFamily, SocketType, Ucred};

use super::WaitQueue;
use crate::sync::{LockClass, Mutex};

pub use address::{AbstractNames, UnixAddress};
pub use connect::Pending;
pub use file::UnixFile;
pub use flight::{Flights, Passengers};
pub use message::{Ancillary, Message};
pub use transfer::{Destination, ReceiveMode, Received};

use inbox::Inbox;

/// Bytes that may be under way by default (`/proc/sys/net/core/wmem_default`).
pub const DEFAULT_BUFFER: usize = 212_992;
/// Most bytes that may be set (`/proc/sys/net/core/wmem_max`).
pub const MOST_BUFFER: usize = 212_992;
/// Fewest bytes that may be set.
const FEWEST_BUFFER: usize = 4608;

/// What kind of socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnixKind {
    /// `SOCK_STREAM`.
    Stream,
    /// `SOCK_DGRAM`.
    Datagram,
    /// `SOCK_SEQPACKET`.
    SequencedPacket,
}

impl UnixKind {
    /// The kind for the second argument of `socket(2)`; raw sockets are datagrams, as in Linux.
    ///
    /// # Errors
    /// `ESOCKTNOSUPPORT`.
    pub fn from_type(kind: SocketType) -> Result<Self, Errno> {
        match kind {
            SocketType::SOCK_STREAM => Ok(Self::Stream),
            SocketType::SOCK_DGRAM | SocketType::SOCK_RAW => Ok(Self::Datagram),
            SocketType::SOCK_SEQPACKET => Ok(Self::SequencedPacket),
            _ => Err(Errno::ESOCKTNOSUPPORT),
        }
    }

    /// What `SO_TYPE` tells.
    pub fn socket_type(self) -> SocketType {
        match self {
            Self::Stream => SocketType::SOCK_STREAM,
            Self::Datagram => SocketType::SOCK_DGRAM,
            Self::SequencedPacket => SocketType::SOCK_SEQPACKET,
        }
    }

    /// Whether it has to be connected before anything can be sent.
    pub fn is_connected(self) -> bool {
        self != Self::Datagram
    }
}

/// What `setsockopt(2)` sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnixOptions {
    /// `SO_SNDBUF`, as Linux stores it: twice what was asked for.
    pub send_buffer: usize,
    /// `SO_RCVBUF`.
    pub receive_buffer: usize,
    /// `SO_PASSCRED`.
    pub pass_credentials: bool,
    /// `SO_SNDTIMEO`; none is for ever.
    pub send_timeout: Option<Duration>,
    /// `SO_RCVTIMEO`; none is for ever.
    pub receive_timeout: Option<Duration>,
    /// Options that are remembered without effect: `SO_REUSEADDR` and the like, by number.
    pub flags: u64,
}

impl Default for UnixOptions {
    fn default() -> Self {
        Self {
            send_buffer: DEFAULT_BUFFER,
            receive_buffer: DEFAULT_BUFFER,
            pass_credentials: false,
            send_timeout: None,
            receive_timeout: None,
            flags: 0,
        }
    }
}

impl UnixOptions {
    /// What a buffer size of `asked` bytes is stored as.
    pub fn buffer_size(asked: u32) -> usize {
        (asked as usize).min(MOST_BUFFER).saturating_mul(2).max(FEWEST_BUFFER)
    }
}

/// A UNIX domain socket.
#[derive(Debug)]
pub struct UnixSocket {
    kind: UnixKind,
    state: Mutex<State>,
    inbox: Arc<Inbox>,
    /// Told of everything that polling the socket shows.
    events: Arc<WaitQueue>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    address: Option<UnixAddress>,
    peer_address: Option<UnixAddress>,
    /// Who the peer was when it connected, or listened.
    peer_credentials: Option<Ucred>,
    options: UnixOptions,
    /// Whether it has been closed.
    closed: bool,
}

/// How far a socket has come.
#[derive(Debug)]
enum Phase {
    /// Neither connected nor listening.
    Fresh,
    /// It accepts connections.
    Listening {
        backlog: usize,
        waiting: VecDeque<Arc<UnixSocket>>,
        credentials: Ucred,
        /// Told when there is room for another connection.
        room: Arc<WaitQueue>,
    },
    /// It sends there.
    Connected { outbox: Arc<Inbox> },
}

impl UnixSocket {
    /// A socket that is not connected.
    pub fn new(kind: UnixKind) -> Arc<Self> {
        let events = Arc::new(WaitQueue::new());
        Arc::new(Self {
            kind,
            inbox: Inbox::new(Arc::clone(&events)),
            events,
            state: Mutex::new(
                LockClass::Socket,
                State {
                    phase: Phase::Fresh,
                    address: None,
                    peer_address: None,
                    peer_credentials: None,
                    options: UnixOptions::default(),
                    closed: false,
                },
            ),
        })
    }

    /// Its kind.
    pub fn kind(&self) -> UnixKind {
        self.kind
    }

    /// Its family, which is `AF_UNIX`.
    pub fn family(&self) -> AddressFamily {
        AddressFamily::AF_UNIX
    }

    /// What it is bound to.
    pub fn address(&self) -> Option<UnixAddress> {
        self.state.lock().address.clone()
    }

    /// What its peer is bound to, perhaps nothing.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub fn peer_address(&self) -> Result<Option<UnixAddress>, Errno> {
        let state = self.state.lock();
        match state.phase {
            Phase::Connected { .. } => Ok(state.peer_address.clone()),
            _ => Err(Errno::ENOTCONN),
        }
    }

    /// Who the peer was when it connected; nobody if there is none.
    pub fn peer_credentials(&self) -> Option<Ucred> {
        self.state.lock().peer_credentials
    }

    /// Whether it listens.
    pub fn is_listening(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Listening { .. })
    }

    /// Its options.
    pub fn options(&self) -> UnixOptions {
        self.state.lock().options
    }

    /// Changes its options.
    pub fn change_options(&self, change: impl FnOnce(&mut UnixOptions)) {
        change(&mut self.state.lock().options);
    }

    /// Told of everything that polling it shows.
    pub fn events(&self) -> &WaitQueue {
        &self.events
    }

    /// Where it sends to.
    fn outbox(&self) -> Option<Arc<Inbox>> {
        match &self.state.lock().phase {
            Phase::Connected { outbox } => Some(Arc::clone(outbox)),
            _ => None,
        }
    }
}

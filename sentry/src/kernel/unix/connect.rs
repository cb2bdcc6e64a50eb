//! Bringing sockets together, and apart.

use std::collections::VecDeque;
use std::sync::Arc;

use bartizan_abi::socket::{SHUT_RD, SHUT_RDWR, SHUT_WR, SOMAXCONN, Ucred};
use bartizan_abi::{Errno, PollEvents};

use super::inbox::Inbox;
use super::{AbstractNames, Phase, UnixAddress, UnixKind, UnixSocket};
use crate::kernel::WaitQueue;

/// Why a connection could not be made at once.
#[derive(Debug)]
pub enum Pending {
    /// It failed.
    Failed(Errno),
    /// The queue of the listener is full; this is told when there is room.
    QueueFull(Arc<WaitQueue>),
}

impl From<Errno> for Pending {
    fn from(errno: Errno) -> Self {
        Self::Failed(errno)
    }
}

impl UnixSocket {
    /// Two sockets that are connected to each other, as process `credentials` gets them.
    pub fn pair(kind: UnixKind, credentials: Ucred) -> (Arc<Self>, Arc<Self>) {
        let (one, other) = (Self::new(kind), Self::new(kind));
        for (from, to) in [(&one, &other), (&other, &one)] {
            let mut state = from.state.lock();
            state.phase = Phase::Connected { outbox: Arc::clone(&to.inbox) };
            state.peer_credentials = Some(credentials);
            drop(state);
            to.inbox.add_writer(&from.events);
        }
        (one, other)
    }

    /// Notes what it is bound to.
    ///
    /// # Errors
    /// `EINVAL` if it is bound already.
    pub fn set_address(&self, address: UnixAddress) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if state.address.is_some() {
            return Err(Errno::EINVAL);
        }
        state.address = Some(address);
        Ok(())
    }

    /// `listen(2)`.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for datagrams, `EINVAL` if it is not bound or is connected.
    pub fn listen(&self, backlog: i32, own: Ucred) -> Result<(), Errno> {
        if self.kind == UnixKind::Datagram {
            return Err(Errno::EOPNOTSUPP);
        }
        let wanted = u32::try_from(backlog).unwrap_or(SOMAXCONN).min(SOMAXCONN) as usize;
        let mut state = self.state.lock();
        if state.address.is_none() {
            return Err(Errno::EINVAL);
        }
        match &mut state.phase {
            Phase::Fresh => {
                state.phase = Phase::Listening {
                    backlog: wanted,
                    waiting: VecDeque::new(),
                    credentials: own,
                    room: Arc::new(WaitQueue::new()),
                };
                Ok(())
            }
            Phase::Listening { backlog, credentials, .. } => {
                *backlog = wanted;
                *credentials = own;
                Ok(())
            }
            Phase::Connected { .. } => Err(Errno::EINVAL),
        }
    }

    /// Connects a stream or a socket of sequenced packets to `listener`.
    ///
    /// # Errors
    /// `EISCONN`, `EINVAL` if it listens, `EPROTOTYPE` for sockets of different kinds, `ECONNREFUSED` if `listener` does not listen.
    pub fn connect(&self, listener: &Arc<Self>, own: Ucred) -> Result<(), Pending> {
        if self.kind != listener.kind {
            return Err(Errno::EPROTOTYPE.into());
        }
        let address = {
            let state = self.state.lock();
            match state.phase {
                Phase::Fresh => state.address.clone(),
                Phase::Listening { .. } => return Err(Errno::EINVAL.into()),
                Phase::Connected { .. } => return Err(Errno::EISCONN.into()),
            }
        };
        let accepted = Self::new(self.kind);
        let (listener_address, listener_credentials) = {
            let mut state = listener.state.lock();
            let listener_address = state.address.clone();
            let Phase::Listening { backlog, waiting, credentials, room } = &mut state.phase else {
                return Err(Errno::ECONNREFUSED.into());
            };
            if listener.inbox.lock().reader_closed {
                return Err(Errno::ECONNREFUSED.into());
            }
            // As Linux, one more than asked for.
            if waiting.len() > *backlog {
                return Err(Pending::QueueFull(Arc::clone(room)));
            }
            accepted.prepare_accepted(&self.inbox, listener_address.clone(), address, own);
            accepted.inbox.add_writer(&self.events);
            waiting.push_back(Arc::clone(&accepted));
            (listener_address, *credentials)
        };
        {
            let mut state = self.state.lock();
            state.phase = Phase::Connected { outbox: Arc::clone(&accepted.inbox) };
            state.peer_address = listener_address;
            state.peer_credentials = Some(listener_credentials);
        }
        self.inbox.add_writer(&accepted.events);
        listener.events.notify(PollEvents::READABLE);
        self.events.notify(PollEvents::WRITABLE);
        Ok(())
    }

    /// Makes this the server's end of a connection. Nobody else knows it yet.
    fn prepare_accepted(
        &self,
        client: &Arc<Inbox>,
        own_address: Option<UnixAddress>,
        client_address: Option<UnixAddress>,
        client_credentials: Ucred,
    ) {
        // Nobody else can hold this lock, and the caller holds the listener's.
        if let Some(mut state) = self.state.try_lock() {
            state.phase = Phase::Connected { outbox: Arc::clone(client) };
            state.address = own_address;
            state.peer_address = client_address;
            state.peer_credentials = Some(client_credentials);
        }
    }

    /// Sets where datagrams go to; nowhere for none.
    ///
    /// # Errors
    /// `EPROTOTYPE` for a socket of another kind, `EPERM` if `peer` is connected to somebody else.
    pub fn connect_datagram(&self, peer: Option<&Arc<Self>>) -> Result<(), Errno> {
        let Some(peer) = peer else {
            self.inbox.accept_only(None);
            let mut state = self.state.lock();
            state.phase = Phase::Fresh;
            state.peer_address = None;
            return Ok(());
        };
        if peer.kind != UnixKind::Datagram {
            return Err(Errno::EPROTOTYPE);
        }
        if peer.outbox().is_some_and(|outbox| !Arc::ptr_eq(&outbox, &self.inbox)) {
            return Err(Errno::EPERM);
        }
        let peer_address = peer.address();
        peer.inbox.add_writer(&self.events);
        self.inbox.accept_only(Some(&peer.inbox));
        let mut state = self.state.lock();
        state.phase = Phase::Connected { outbox: Arc::clone(&peer.inbox) };
        state.peer_address = peer_address;
        Ok(())
    }

    /// Takes the next connection.
    ///
    /// # Errors
    /// `EAGAIN` if there is none, `EINVAL` if the socket does not listen or was shut down, `EOPNOTSUPP` if it cannot.
    pub fn accept(&self) -> Result<Arc<Self>, Errno> {
        if self.kind == UnixKind::Datagram {
            return Err(Errno::EOPNOTSUPP);
        }
        let (socket, room) = {
            let mut state = self.state.lock();
            let Phase::Listening { waiting, room, .. } = &mut state.phase else { return Err(Errno::EINVAL) };
            match waiting.pop_front() {
                Some(socket) => (socket, Arc::clone(room)),
                None if self.inbox.lock().reader_closed => return Err(Errno::EINVAL),
                None => return Err(Errno::EAGAIN),
            }
        };
        room.notify(PollEvents::WRITABLE);
        Ok(socket)
    }

    /// `shutdown(2)`.
    ///
    /// # Errors
    /// `EINVAL` for an unknown argument.
    pub fn shut_down(&self, how: i32) -> Result<(), Errno> {
        let (read, write) = match how {
            SHUT_RD => (true, false),
            SHUT_WR => (false, true),
            SHUT_RDWR => (true, true),
            _ => return Err(Errno::EINVAL),
        };
        let outbox = self.outbox();
        if read {
            self.inbox.shut_reader();
            self.inbox.close_writer(false);
        }
        if write && let Some(outbox) = outbox {
            match self.kind {
                // The peer cannot be told, as others may send to it too.
                UnixKind::Datagram => {}
                UnixKind::Stream | UnixKind::SequencedPacket => {
                    outbox.close_writer(false);
                    self.events.notify(PollEvents::WRITABLE | PollEvents::POLLHUP);
                }
            }
        }
        Ok(())
    }

    /// The last descriptor is gone. Gives back its name, refuses those who wait for a connection, tells the peer.
    pub fn close(&self, names: &AbstractNames) {
        let (phase, address) = {
            let mut state = self.state.lock();
            if std::mem::replace(&mut state.closed, true) {
                return;
            }
            (std::mem::replace(&mut state.phase, Phase::Fresh), state.address.clone())
        };
        if let Some(UnixAddress::Abstract(name)) = &address {
            names.release(name, self);
        }
        let unread = self.inbox.close_reader();
        match phase {
            Phase::Fresh => {}
            Phase::Connected { outbox } if self.kind.is_connected() => outbox.close_writer(unread),
            Phase::Connected { .. } => {}
            Phase::Listening { waiting, room, .. } => {
                for socket in waiting {
                    socket.inbox.lock().reset = true;
                    if let Some(outbox) = socket.outbox() {
                        outbox.close_writer(true);
                    }
                    socket.inbox.close_reader();
                }
                room.notify(PollEvents::WRITABLE);
            }
        }
    }
}

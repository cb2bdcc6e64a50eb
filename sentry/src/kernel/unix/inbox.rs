//! The messages that wait to be received by one socket.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use bartizan_abi::{Errno, PollEvents};

use super::Message;
use crate::kernel::WaitQueue;
use crate::sync::{LockClass, Mutex, MutexGuard};

/// Most datagrams that wait (`/proc/sys/net/unix/max_dgram_qlen`).
const MOST_DATAGRAMS: usize = 512;

/// See the module. Lock: class `InodeData`.
#[derive(Debug)]
pub(super) struct Inbox {
    state: Mutex<InboxState>,
    /// Told when there is something to receive: the queue of the socket that it belongs to.
    reader_events: Arc<WaitQueue>,
    /// Told when there is room: for senders that are not connected.
    room: WaitQueue,
}

#[derive(Debug, Default)]
pub(super) struct InboxState {
    pub(super) messages: VecDeque<Message>,
    /// The cost of all messages.
    used: usize,
    /// The socket that it belongs to receives no more: it was closed, or shut down for reading.
    pub(super) reader_closed: bool,
    /// Nothing will come any more.
    pub(super) writer_closed: bool,
    /// The peer was closed before it had read everything; told once.
    pub(super) reset: bool,
    /// Queues of the sockets that are connected to it, to be told of room.
    writers: Vec<Weak<WaitQueue>>,
    /// The only one who may send, if the socket is connected.
    only_from: Option<Weak<Inbox>>,
}

/// Whether the messages are parts of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grouping {
    /// They are.
    Stream,
    /// Each stands alone.
    Messages,
}

impl InboxState {
    /// Whether a message may be put in by a sender with `limit` bytes of buffer.
    pub(super) fn has_room(&self, limit: usize) -> bool {
        self.used < limit && self.messages.len() < MOST_DATAGRAMS.max(limit / 256)
    }

    /// Whether so much is free that it is worth while to tell a sender.
    fn is_writable(&self, limit: usize) -> bool {
        self.used.saturating_mul(4) <= limit && self.messages.len() < MOST_DATAGRAMS
    }

    /// Takes the first message out.
    pub(super) fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.used -= message.cost();
        Some(message)
    }

    /// Bytes that can be received at once.
    pub(super) fn available(&self, grouping: Grouping) -> usize {
        match grouping {
            Grouping::Stream => self.messages.iter().map(|message| message.rest().len()).sum(),
            Grouping::Messages => self.messages.front().map_or(0, |message| message.data.len()),
        }
    }
}

impl Inbox {
    pub(super) fn new(reader_events: Arc<WaitQueue>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(LockClass::InodeData, InboxState::default()),
            reader_events,
            room: WaitQueue::new(),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, InboxState> {
        self.state.lock()
    }

    /// Told when there is room.
    pub(super) fn room(&self) -> &WaitQueue {
        &self.room
    }

    /// Notes that a socket with queue `events` sends here.
    pub(super) fn add_writer(&self, events: &Arc<WaitQueue>) {
        let mut state = self.lock();
        state.writers.retain(|known| known.strong_count() > 0);
        state.writers.push(Arc::downgrade(events));
    }

    /// Nobody but the owner of `from` may send from now on; anybody for none.
    pub(super) fn accept_only(&self, from: Option<&Arc<Self>>) {
        self.lock().only_from = from.map(Arc::downgrade);
    }

    /// Puts a message in that `from` sends, whose buffer is of `limit` bytes.
    ///
    /// # Errors
    /// The message comes back with `EAGAIN` without room, `EPIPE` if nobody will receive it, `EPERM` if the owner is connected to somebody
    /// else.
    pub(super) fn put(
        &self,
        message: Message,
        from: &Arc<Self>,
        limit: usize,
    ) -> Result<(), (Errno, Message)> {
        {
            let mut state = self.lock();
            if state.reader_closed {
                return Err((Errno::EPIPE, message));
            }
            if state.only_from.as_ref().is_some_and(|only| !std::ptr::eq(only.as_ptr(), Arc::as_ptr(from))) {
                return Err((Errno::EPERM, message));
            }
            if !state.has_room(limit) {
                return Err((Errno::EAGAIN, message));
            }
            state.used += message.cost();
            state.messages.push_back(message);
        }
        self.reader_events.notify(PollEvents::READABLE);
        Ok(())
    }

    /// Whether a sender with `limit` bytes of buffer can send without waiting, or will fail at once.
    pub(super) fn is_writable(&self, limit: usize) -> bool {
        let state = self.lock();
        state.reader_closed || state.is_writable(limit)
    }

    /// Tells senders of room. Called without its lock, after something was received.
    pub(super) fn tell_writers(&self, events: PollEvents) {
        let writers: Vec<Arc<WaitQueue>> = self.lock().writers.iter().filter_map(Weak::upgrade).collect();
        for writer in writers {
            writer.notify(events);
        }
        self.room.notify(events);
    }

    /// The owner receives no more. Messages that were not read are dropped; whether there were any.
    pub(super) fn close_reader(&self) -> bool {
        let dropped = {
            let mut state = self.lock();
            state.reader_closed = true;
            state.used = 0;
            std::mem::take(&mut state.messages)
        };
        let unread = !dropped.is_empty();
        // Files in them may do a lot when they are closed.
        drop(dropped);
        self.tell_writers(PollEvents::POLLOUT | PollEvents::POLLERR | PollEvents::POLLHUP);
        unread
    }

    /// Nothing of what comes later is received; what is there still is (`shutdown(SHUT_RD)`).
    pub(super) fn shut_reader(&self) {
        self.lock().reader_closed = true;
        self.tell_writers(PollEvents::POLLOUT | PollEvents::POLLERR | PollEvents::POLLHUP);
        self.reader_events.notify(PollEvents::READABLE | PollEvents::POLLRDHUP);
    }

    /// Nothing will come any more; with `reset`, because the sender was closed before it had read everything.
    pub(super) fn close_writer(&self, reset: bool) {
        {
            let mut state = self.lock();
            state.writer_closed = true;
            state.reset |= reset;
        }
        self.reader_events.notify(PollEvents::READABLE | PollEvents::POLLRDHUP | PollEvents::POLLHUP);
    }
}

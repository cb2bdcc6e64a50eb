//! System V message queues (`msgget(2)`, `msgsnd(2)`, `msgrcv(2)`, `msgctl(2)`).
//!
//! A message goes to the first receiver that waits for one like it, or is kept. Senders wait for room and try again.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use bartizan_abi::ipc::IpcPerm;
use bartizan_abi::{Capability, Errno, PollEvents};

use super::registry::Identified;
use super::{Charge, IpcNamespace, Permissions};
use crate::kernel::{Credentials, Parker, WaitQueue, realtime};
use crate::sync::{LockClass, Mutex, MutexGuard};

/// Bytes of a message besides its text, as accounted for.
const MESSAGE_BYTES: u64 = 64;

/// A message.
#[derive(Debug)]
pub struct Message {
    /// Its type; positive.
    pub kind: i64,
    /// Its text.
    pub text: Vec<u8>,
    _charge: Charge,
}

impl Message {
    /// A message of type `kind`.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(namespace: &IpcNamespace, kind: i64, text: Vec<u8>) -> Result<Self, Errno> {
        let charge = namespace.charge(text.len() as u64 + MESSAGE_BYTES)?;
        Ok(Self { kind, text, _charge: charge })
    }
}

/// Which message a receiver wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// The first.
    Any,
    /// The first of this type.
    Equal(i64),
    /// The first of another type (`MSG_EXCEPT`).
    Other(i64),
    /// The first of the lowest type up to this one.
    UpTo(i64),
    /// A copy of the one at this place (`MSG_COPY`).
    Copy(i64),
}

impl Selection {
    fn accepts(self, kind: i64) -> bool {
        match self {
            Self::Any => true,
            Self::Equal(wanted) => kind == wanted,
            Self::Other(unwanted) => kind != unwanted,
            Self::UpTo(most) => kind <= most,
            Self::Copy(_) => false,
        }
    }

    /// The place of the message among `messages`.
    fn find(self, messages: &VecDeque<Arc<Message>>) -> Option<usize> {
        match self {
            Self::Copy(place) => usize::try_from(place).ok().filter(|&place| place < messages.len()),
            Self::UpTo(most) => {
                let fits = messages.iter().enumerate().filter(|(_, message)| message.kind <= most);
                fits.min_by_key(|(place, message)| (message.kind, *place)).map(|(place, _)| place)
            }
            other => messages.iter().position(|message| other.accepts(message.kind)),
        }
    }
}

/// A task that waits for a message, or looks for one.
#[derive(Debug)]
pub struct Receiver {
    /// Which message it wants.
    pub selection: Selection,
    /// The longest text that it takes.
    pub most: usize,
    /// Its process.
    pub pid: i32,
    /// Whom to wake.
    pub parker: Arc<Parker>,
    result: OnceLock<Result<Arc<Message>, Errno>>,
}

impl Receiver {
    /// A receiver of process `pid`, whose task sleeps at `parker`.
    pub fn new(selection: Selection, most: usize, pid: i32, parker: &Arc<Parker>) -> Arc<Self> {
        Arc::new(Self { selection, most, pid, parker: Arc::clone(parker), result: OnceLock::new() })
    }

    /// What it got: a message, `EIDRM`, `E2BIG`, or `EAGAIN` if it has to look again.
    pub fn result(&self) -> Option<Result<Arc<Message>, Errno>> {
        self.result.get().cloned()
    }

    fn finish(&self, result: Result<Arc<Message>, Errno>) {
        let _once = self.result.set(result);
        self.parker.unpark();
    }
}

/// What became of a message that was to be sent.
#[derive(Debug)]
pub enum Send {
    /// It was sent.
    Sent,
    /// There is no room for it.
    Full,
}

/// A message queue.
#[derive(Debug)]
pub struct MessageQueue {
    id: i32,
    state: Mutex<State>,
    /// Told when there is more room, and when the queue is removed.
    room: WaitQueue,
}

#[derive(Debug)]
struct State {
    permissions: Permissions,
    messages: VecDeque<Arc<Message>>,
    receivers: Vec<Arc<Receiver>>,
    bytes: u64,
    most_bytes: u64,
    sent: i64,
    received: i64,
    changed: i64,
    last_sender: i32,
    last_receiver: i32,
    removed: bool,
}

/// What `msgctl(IPC_STAT)` and `/proc/sysvipc/msg` tell; times in seconds.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names say it")]
pub struct QueueReport {
    pub id: i32,
    pub permissions: Permissions,
    pub messages: u64,
    pub bytes: u64,
    pub most_bytes: u64,
    pub sent: i64,
    pub received: i64,
    pub changed: i64,
    pub last_sender: i32,
    pub last_receiver: i32,
}

impl State {
    fn report(&self, id: i32) -> QueueReport {
        QueueReport {
            id,
            permissions: self.permissions.clone(),
            messages: self.messages.len() as u64,
            bytes: self.bytes,
            most_bytes: self.most_bytes,
            sent: self.sent,
            received: self.received,
            changed: self.changed,
            last_sender: self.last_sender,
            last_receiver: self.last_receiver,
        }
    }

    /// Gives the message to the first receiver that waits for one like it (`pipelined_send`); returns whether there was one.
    fn hand_over(&mut self, message: &Arc<Message>) -> bool {
        let mut index = 0;
        while let Some(receiver) = self.receivers.get(index) {
            if !receiver.selection.accepts(message.kind) {
                index += 1;
                continue;
            }
            let receiver = self.receivers.remove(index);
            if message.text.len() <= receiver.most {
                self.last_receiver = receiver.pid;
                self.received = realtime().tv_sec;
                receiver.finish(Ok(Arc::clone(message)));
                return true;
            }
            receiver.finish(Err(Errno::E2BIG));
        }
        false
    }
}

impl Identified for MessageQueue {
    fn id(&self) -> i32 {
        self.id
    }

    fn permissions(&self) -> Permissions {
        self.state.lock().permissions.clone()
    }
}

impl MessageQueue {
    /// An empty queue that takes `most_bytes` (`msgmnb`).
    pub fn new(id: i32, permissions: Permissions, most_bytes: u64) -> Self {
        let state = State {
            permissions,
            messages: VecDeque::new(),
            receivers: Vec::new(),
            bytes: 0,
            most_bytes,
            sent: 0,
            received: 0,
            changed: realtime().tv_sec,
            last_sender: 0,
            last_receiver: 0,
            removed: false,
        };
        Self { id, state: Mutex::new(LockClass::IpcObject, state), room: WaitQueue::new() }
    }

    /// Told when there is more room, and when the queue is removed.
    pub fn room(&self) -> &WaitQueue {
        &self.room
    }

    fn access(&self, credentials: &Credentials, wanted: u32) -> Result<MutexGuard<'_, State>, Errno> {
        let state = self.state.lock();
        state.permissions.check(credentials, wanted)?;
        if state.removed { Err(Errno::EIDRM) } else { Ok(state) }
    }

    /// Sends a message, if there is room for it.
    ///
    /// # Errors
    /// `EACCES`, `EIDRM`.
    pub fn send(&self, credentials: &Credentials, message: &Arc<Message>, pid: i32) -> Result<Send, Errno> {
        let mut state = self.access(credentials, Permissions::WRITE)?;
        let length = message.text.len() as u64;
        let fits = state.bytes.checked_add(length).is_some_and(|bytes| bytes <= state.most_bytes)
            && (state.messages.len() as u64) < state.most_bytes;
        if !fits {
            return Ok(Send::Full);
        }
        state.last_sender = pid;
        state.sent = realtime().tv_sec;
        if !state.hand_over(message) {
            state.bytes += length;
            state.messages.push_back(Arc::clone(message));
        }
        Ok(Send::Sent)
    }

    /// Takes the message that `receiver` wants; without one, notes that it waits if it does.
    ///
    /// # Errors
    /// `EACCES`, `EIDRM`, `E2BIG`; `ENOMSG` without a message for one that does not wait.
    pub fn receive(
        &self,
        credentials: &Credentials,
        receiver: &Arc<Receiver>,
        waits: bool,
    ) -> Result<Option<Arc<Message>>, Errno> {
        let mut state = self.access(credentials, Permissions::READ)?;
        let Some(place) = receiver.selection.find(&state.messages) else {
            if !waits {
                return Err(Errno::ENOMSG);
            }
            state.receivers.push(Arc::clone(receiver));
            return Ok(None);
        };
        if state.messages[place].text.len() > receiver.most {
            return Err(Errno::E2BIG);
        }
        if let Selection::Copy(_) = receiver.selection {
            return Ok(Some(Arc::clone(&state.messages[place])));
        }
        let message = state.messages.remove(place).ok_or(Errno::ENOMSG)?;
        state.bytes -= message.text.len() as u64;
        state.received = realtime().tv_sec;
        state.last_receiver = receiver.pid;
        drop(state);
        self.room.notify(PollEvents::WRITABLE);
        Ok(Some(message))
    }

    /// Stops waiting for a message; gives what the receiver has got meanwhile.
    pub fn abandon(&self, receiver: &Arc<Receiver>) -> Option<Result<Arc<Message>, Errno>> {
        self.state.lock().receivers.retain(|other| !Arc::ptr_eq(other, receiver));
        receiver.result()
    }

    /// What there is to tell, for somebody who may read it (`IPC_STAT`).
    ///
    /// # Errors
    /// `EACCES`, `EIDRM`.
    pub fn stat(&self, credentials: &Credentials) -> Result<QueueReport, Errno> {
        Ok(self.access(credentials, Permissions::READ)?.report(self.id))
    }

    /// What there is to tell, for everybody.
    pub fn report(&self) -> QueueReport {
        self.state.lock().report(self.id)
    }

    /// `IPC_SET`: those who wait look again. Without privilege it takes `limit` bytes at most (`msgmnb`).
    ///
    /// # Errors
    /// `EPERM`, `EIDRM`, `EINVAL`.
    pub fn change(
        &self,
        credentials: &Credentials,
        new: &IpcPerm,
        most_bytes: u64,
        limit: u64,
    ) -> Result<(), Errno> {
        let mut state = self.state.lock();
        state.permissions.check_owner(credentials)?;
        let owner = &state.permissions.owner;
        if most_bytes > limit && !credentials.has_capability_in(Capability::CAP_SYS_RESOURCE, owner) {
            return Err(Errno::EPERM);
        }
        if state.removed {
            return Err(Errno::EIDRM);
        }
        state.permissions.change(credentials, new)?;
        state.most_bytes = most_bytes;
        state.changed = realtime().tv_sec;
        for receiver in state.receivers.drain(..) {
            receiver.finish(Err(Errno::EAGAIN));
        }
        drop(state);
        self.room.notify(PollEvents::WRITABLE);
        Ok(())
    }

    /// `IPC_RMID`: messages are lost, and those who wait are told.
    ///
    /// # Errors
    /// `EPERM`, `EIDRM`.
    pub fn remove(&self, namespace: &IpcNamespace, credentials: &Credentials) -> Result<(), Errno> {
        self.state.lock().permissions.check_owner(credentials)?;
        if !namespace.messages.remove(self) {
            return Err(Errno::EIDRM);
        }
        let lost = {
            let mut state = self.state.lock();
            state.removed = true;
            state.bytes = 0;
            for receiver in state.receivers.drain(..) {
                receiver.finish(Err(Errno::EIDRM));
            }
            std::mem::take(&mut state.messages)
        };
        drop(lost);
        self.room.notify(PollEvents::WRITABLE | PollEvents::POLLHUP);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> MessageQueue {
        let permissions = Permissions::new(0, 0o600, 0, &Credentials::root(), &Default::default());
        MessageQueue::new(0, permissions, bartizan_abi::ipc::MSGMNB)
    }

    fn send(queue: &MessageQueue, kind: i64, text: &[u8]) -> bool {
        let namespace = IpcNamespace::new(1 << 20);
        let message = Arc::new(Message::new(&namespace, kind, text.to_vec()).unwrap());
        matches!(queue.send(&Credentials::root(), &message, 1), Ok(Send::Sent))
    }

    fn receive(queue: &MessageQueue, selection: Selection) -> Result<Vec<u8>, Errno> {
        let receiver = Receiver::new(selection, 100, 2, &Arc::new(Parker::new()));
        let message = queue.receive(&Credentials::root(), &receiver, false)?;
        Ok(message.map(|message| message.text.clone()).unwrap_or_default())
    }

    #[test]
    fn receivers_choose() {
        let queue = queue();
        for (kind, text) in [(5, b"a"), (3, b"b"), (3, b"c"), (9, b"d")] {
            assert!(send(&queue, kind, text));
        }
        assert_eq!(receive(&queue, Selection::Copy(3)), Ok(b"d".to_vec()));
        assert_eq!(receive(&queue, Selection::UpTo(8)), Ok(b"b".to_vec()));
        assert_eq!(receive(&queue, Selection::Other(5)), Ok(b"c".to_vec()));
        assert_eq!(receive(&queue, Selection::Equal(9)), Ok(b"d".to_vec()));
        assert_eq!(receive(&queue, Selection::UpTo(4)), Err(Errno::ENOMSG));
        assert_eq!(receive(&queue, Selection::Any), Ok(b"a".to_vec()));
    }

    #[test]
    fn waiting_receivers_come_first_and_too_small_ones_are_told() {
        let queue = queue();
        let parker = Arc::new(Parker::new());
        let small = Receiver::new(Selection::Any, 1, 2, &parker);
        let large = Receiver::new(Selection::UpTo(7), 10, 3, &parker);
        for receiver in [&small, &large] {
            assert!(matches!(queue.receive(&Credentials::root(), receiver, true), Ok(None)));
        }
        assert!(send(&queue, 7, b"text"));
        assert_eq!(small.result().map(Result::err), Some(Some(Errno::E2BIG)));
        assert!(matches!(large.result(), Some(Ok(message)) if message.text == b"text"));
        assert_eq!((queue.report().messages, queue.report().last_receiver), (0, 3));
    }

    #[test]
    fn queues_are_bounded() {
        let queue = queue();
        assert!(send(&queue, 1, &[0; 16_000]));
        assert!(!send(&queue, 1, &[0; 400]));
        assert!(send(&queue, 1, &[0; 384]));
        assert_eq!(queue.report().bytes, 16_384);
    }
}

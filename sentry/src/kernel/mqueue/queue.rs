//! One queue: its messages by priority, who waits at it, and who is told of messages.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock, Weak};

use bartizan_abi::ipc::MqAttr;
use bartizan_abi::signal::{SigEvent, SigEventNotify};
use bartizan_abi::{Capability, Errno, FileType, PollEvents};

use super::file::QueueFile;
use super::{Account, HARD_MSGMAX, HARD_MSGSIZEMAX, MQ_PRIO_MAX};
use crate::kernel::sysv::{IpcLimits, IpcNamespace, Message};
use crate::kernel::{Credentials, Parker, WaitQueue, realtime};
use crate::sync::{LockClass, Mutex};
use crate::vfs::{AttributeChanges, Attributes, FileOps, Inode, InodeOps, NewNode, OpenRequest};

/// Bytes that Linux counts for a message besides its text, and for each priority that may be in use.
const MESSAGE_BYTES: u64 = 48;
const PRIORITY_BYTES: u64 = 48;
/// Bytes of what reading a queue as a file gives.
const STATUS_SIZE: u64 = 80;

/// How much a queue takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Messages.
    pub messages: usize,
    /// Bytes of one.
    pub bytes: usize,
}

impl QueueLimits {
    /// Those that are `wanted`, or the default ones of `limits`.
    ///
    /// # Errors
    /// `EINVAL` beyond what the user of `credentials` may have.
    pub fn new(
        wanted: Option<&MqAttr>,
        limits: &IpcLimits,
        credentials: &Credentials,
    ) -> Result<Self, Errno> {
        let default =
            (limits.msg_default.min(limits.msg_max), limits.msgsize_default.min(limits.msgsize_max));
        let (messages, bytes) = wanted.map_or(default, |wanted| (wanted.mq_maxmsg, wanted.mq_msgsize));
        let privileged = credentials.has_capability(Capability::CAP_SYS_RESOURCE);
        let most =
            if privileged { (HARD_MSGMAX, HARD_MSGSIZEMAX) } else { (limits.msg_max, limits.msgsize_max) };
        if messages <= 0 || bytes <= 0 || messages > most.0 || bytes > most.1 {
            return Err(Errno::EINVAL);
        }
        let convert = |value: i64| usize::try_from(value).map_err(|_| Errno::EINVAL);
        Ok(Self { messages: convert(messages)?, bytes: convert(bytes)? })
    }

    /// Bytes that count against `RLIMIT_MSGQUEUE`.
    pub fn footprint(self) -> u64 {
        let messages = self.messages as u64;
        messages * MESSAGE_BYTES
            + messages.min(MQ_PRIO_MAX.into()) * PRIORITY_BYTES
            + messages * self.bytes as u64
    }
}

/// A task that waits for a message.
#[derive(Debug)]
pub struct QueueReceiver {
    parker: Arc<Parker>,
    message: OnceLock<Arc<Message>>,
}

/// A task that waits for room.
#[derive(Debug)]
pub struct QueueSender {
    parker: Arc<Parker>,
    message: Arc<Message>,
    sent: OnceLock<()>,
}

impl QueueReceiver {
    /// The message that it got.
    pub fn message(&self) -> Option<Arc<Message>> {
        self.message.get().cloned()
    }
}

impl QueueSender {
    /// Whether its message was sent.
    pub fn sent(&self) -> Option<()> {
        self.sent.get().copied()
    }
}

/// Who is told when an empty queue gets a message, once, and how (`mq_notify(3)`).
#[derive(Debug, Clone, Copy)]
pub struct Notification {
    /// The process.
    pub pid: i32,
    /// How.
    pub event: SigEvent,
}

impl Notification {
    /// The signal that it is told by, if any.
    fn signal_number(&self) -> i32 {
        let by_signal = self.event.sigev_notify == SigEventNotify::SIGEV_SIGNAL as i32;
        if by_signal { self.event.sigev_signo } else { 0 }
    }
}

/// What sending did.
#[derive(Debug)]
pub enum Posted {
    /// The message was sent; somebody may have to be told of it.
    Sent(Option<Notification>),
    /// There is no room, and nobody waits for it.
    Full,
    /// The message waits for room.
    Waits(Arc<QueueSender>),
}

/// A queue.
#[derive(Debug)]
pub struct Queue {
    limits: QueueLimits,
    namespace: Weak<IpcNamespace>,
    state: Arc<Mutex<State>>,
    events: Arc<WaitQueue>,
    _account: Account,
}

#[derive(Debug)]
struct State {
    /// By priority, highest first.
    messages: BTreeMap<Reverse<i64>, VecDeque<Arc<Message>>>,
    count: usize,
    bytes: u64,
    receivers: VecDeque<Arc<QueueReceiver>>,
    senders: VecDeque<Arc<QueueSender>>,
    notification: Option<Notification>,
    attributes: Attributes,
}

impl State {
    fn insert(&mut self, message: &Arc<Message>) {
        self.count += 1;
        self.bytes += message.text.len() as u64;
        self.messages.entry(Reverse(message.kind)).or_default().push_back(Arc::clone(message));
    }

    fn first(&mut self) -> Option<Arc<Message>> {
        let mut entry = self.messages.first_entry()?;
        let message = entry.get_mut().pop_front();
        if entry.get().is_empty() {
            entry.remove();
        }
        let message = message?;
        self.count -= 1;
        self.bytes -= message.text.len() as u64;
        Some(message)
    }

    fn touch(&mut self) {
        let now = realtime();
        self.attributes.accessed = now;
        self.attributes.modified = now;
        self.attributes.changed = now;
    }
}

/// Changes what can be changed of a file or directory of the file system; sizes stay as they are.
pub(super) fn change_attributes(attributes: &mut Attributes, changes: &AttributeChanges) {
    attributes.mode = changes.mode.unwrap_or(attributes.mode);
    attributes.uid = changes.uid.unwrap_or(attributes.uid);
    attributes.gid = changes.gid.unwrap_or(attributes.gid);
    attributes.accessed = changes.accessed.unwrap_or(attributes.accessed);
    attributes.modified = changes.modified.unwrap_or(attributes.modified);
    attributes.changed = changes.changed;
}

impl Queue {
    pub(super) fn new(
        namespace: &Arc<IpcNamespace>,
        limits: QueueLimits,
        node: &NewNode,
        account: Account,
    ) -> Self {
        let attributes = Attributes {
            uid: node.uid,
            gid: node.gid,
            size: STATUS_SIZE,
            accessed: node.now,
            modified: node.now,
            changed: node.now,
            ..Attributes::new(FileType::Regular, node.mode)
        };
        let state = State {
            messages: BTreeMap::new(),
            count: 0,
            bytes: 0,
            receivers: VecDeque::new(),
            senders: VecDeque::new(),
            notification: None,
            attributes,
        };
        Self {
            limits,
            namespace: Arc::downgrade(namespace),
            state: Arc::new(Mutex::new(LockClass::IpcObject, state)),
            events: Arc::new(WaitQueue::new()),
            _account: account,
        }
    }

    /// How much it takes.
    pub fn limits(&self) -> QueueLimits {
        self.limits
    }

    /// How many messages are in it.
    pub fn count(&self) -> usize {
        self.state.lock().count
    }

    /// Told when it becomes readable or writable.
    pub fn events(&self) -> &WaitQueue {
        &self.events
    }

    /// A message of `priority`, accounted for.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn message(&self, priority: u32, text: Vec<u8>) -> Result<Arc<Message>, Errno> {
        let namespace = self.namespace.upgrade().ok_or(Errno::ENOMEM)?;
        Message::new(&namespace, priority.into(), text).map(Arc::new)
    }

    /// Sends a message; without room, waits for it at `parker` if there is one.
    pub fn send(&self, message: &Arc<Message>, parker: Option<&Arc<Parker>>) -> Posted {
        let told = {
            let mut state = self.state.lock();
            if state.count >= self.limits.messages {
                let Some(parker) = parker else { return Posted::Full };
                let sender = Arc::new(QueueSender {
                    parker: Arc::clone(parker),
                    message: Arc::clone(message),
                    sent: OnceLock::new(),
                });
                state.senders.push_back(Arc::clone(&sender));
                return Posted::Waits(sender);
            }
            state.touch();
            if let Some(receiver) = state.receivers.pop_front() {
                let _first = receiver.message.set(Arc::clone(message));
                receiver.parker.unpark();
                return Posted::Sent(None);
            }
            state.insert(message);
            if state.count == 1 { state.notification.take() } else { None }
        };
        self.events.notify(PollEvents::READABLE);
        Posted::Sent(told)
    }

    /// Gives up waiting for room. Whether the message was sent meanwhile.
    pub fn abandon_send(&self, sender: &Arc<QueueSender>) -> bool {
        self.state.lock().senders.retain(|other| !Arc::ptr_eq(other, sender));
        sender.sent().is_some()
    }

    /// Takes the first message of the highest priority. Somebody who waits for room gets it.
    pub fn receive(&self) -> Option<Arc<Message>> {
        let message = {
            let mut state = self.state.lock();
            let message = state.first()?;
            state.touch();
            if let Some(sender) = state.senders.pop_front() {
                state.insert(&sender.message);
                let _first = sender.sent.set(());
                sender.parker.unpark();
            }
            message
        };
        self.events.notify(PollEvents::WRITABLE);
        Some(message)
    }

    /// As [`receive`](Self::receive); without a message, waits for one at `parker`.
    pub fn receive_or_wait(&self, parker: &Arc<Parker>) -> Result<Arc<Message>, Arc<QueueReceiver>> {
        loop {
            if let Some(message) = self.receive() {
                return Ok(message);
            }
            let mut state = self.state.lock();
            if state.count > 0 {
                continue;
            }
            let receiver = Arc::new(QueueReceiver { parker: Arc::clone(parker), message: OnceLock::new() });
            state.receivers.push_back(Arc::clone(&receiver));
            return Err(receiver);
        }
    }

    /// Gives up waiting for a message; the message that came meanwhile, if one did.
    pub fn abandon_receive(&self, receiver: &Arc<QueueReceiver>) -> Option<Arc<Message>> {
        self.state.lock().receivers.retain(|other| !Arc::ptr_eq(other, receiver));
        receiver.message()
    }

    /// Registers who is told of messages.
    ///
    /// # Errors
    /// `EBUSY` if somebody is.
    pub fn set_notification(&self, notification: Notification) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if state.notification.is_some() {
            return Err(Errno::EBUSY);
        }
        state.notification = Some(notification);
        Ok(())
    }

    /// Process `pid` is not told any more, if it was.
    pub fn remove_notification(&self, pid: i32) {
        let mut state = self.state.lock();
        if state.notification.is_some_and(|notification| notification.pid == pid) {
            state.notification = None;
        }
    }

    /// What can be done without waiting.
    pub(super) fn poll(&self) -> PollEvents {
        let count = self.state.lock().count;
        let mut events = PollEvents::empty();
        if count > 0 {
            events |= PollEvents::READABLE;
        }
        if count < self.limits.messages {
            events |= PollEvents::WRITABLE;
        }
        events
    }

    /// What reading it as a file gives.
    pub(super) fn status(&self) -> String {
        let state = self.state.lock();
        let (notify, signal, pid) = state.notification.map_or((0, 0, 0), |notification| {
            (notification.event.sigev_notify, notification.signal_number(), notification.pid)
        });
        format!("QSIZE:{:<10} NOTIFY:{notify:<5} SIGNO:{signal:<5} NOTIFY_PID:{pid:<6}\n", state.bytes)
    }
}

impl InodeOps for Queue {
    fn attributes(&self, _inode: &Inode) -> Result<Attributes, Errno> {
        Ok(self.state.lock().attributes)
    }

    fn set_attributes(&self, _inode: &Inode, changes: &AttributeChanges) -> Result<(), Errno> {
        change_attributes(&mut self.state.lock().attributes, changes);
        Ok(())
    }

    fn open(&self, inode: &Arc<Inode>, _request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        Ok(Box::new(QueueFile::new(inode)))
    }
}

#[cfg(test)]
mod tests {
    use bartizan_abi::{DeviceNumber, FileMode};

    use super::*;
    use crate::kernel::mqueue::Accounts;

    fn queue(messages: i64) -> (Arc<IpcNamespace>, Queue) {
        let namespace = Arc::new(IpcNamespace::new(1 << 20));
        let wanted = MqAttr { mq_maxmsg: messages, mq_msgsize: 8, ..MqAttr::default() };
        let limits = QueueLimits::new(Some(&wanted), &IpcLimits::default(), &Credentials::root()).unwrap();
        let node = NewNode {
            kind: FileType::Regular,
            mode: FileMode::new(0o600),
            uid: 0,
            gid: 0,
            device: DeviceNumber::NONE,
            now: realtime(),
        };
        let account = Accounts::new().open(0, limits.footprint(), u64::MAX, 1).unwrap();
        let queue = Queue::new(&namespace, limits, &node, account);
        (namespace, queue)
    }

    #[test]
    fn highest_priority_first_and_in_order() {
        let (_namespace, queue) = queue(4);
        for (priority, text) in [(1, "a"), (9, "b"), (1, "c"), (9, "d")] {
            let message = queue.message(priority, text.into()).unwrap();
            assert!(matches!(queue.send(&message, None), Posted::Sent(None)));
        }
        let got: Vec<u8> = (0..4).flat_map(|_| queue.receive().unwrap().text.clone()).collect();
        assert_eq!(got, b"bdac");
        assert!(queue.receive().is_none());
    }

    #[test]
    fn those_who_wait_are_served() {
        let (_namespace, queue) = queue(1);
        let parker = Arc::new(Parker::new());
        let receiver = queue.receive_or_wait(&parker).unwrap_err();
        let one = queue.message(1, b"one".to_vec()).unwrap();
        assert!(matches!(queue.send(&one, None), Posted::Sent(None)));
        assert!(receiver.message().is_some_and(|message| message.text == b"one"));
        assert!(matches!(queue.send(&one, None), Posted::Sent(None)));
        assert!(matches!(queue.send(&one, None), Posted::Full));
        let Posted::Waits(sender) = queue.send(&one, Some(&parker)) else { panic!("there is no room") };
        assert_eq!(sender.sent(), None);
        assert!(queue.receive().is_some());
        assert!(queue.abandon_send(&sender));
        assert_eq!(queue.count(), 1);
    }

    #[test]
    fn only_the_first_message_is_told_and_only_once() {
        let (_namespace, queue) = queue(3);
        let event = SigEvent { sigev_signo: 10, ..SigEvent::default() };
        let notification = Notification { pid: 7, event };
        assert_eq!(queue.set_notification(notification), Ok(()));
        assert_eq!(queue.set_notification(notification), Err(Errno::EBUSY));
        assert!(queue.status().contains("NOTIFY:0     SIGNO:10    NOTIFY_PID:7     \n"));
        let message = queue.message(1, Vec::new()).unwrap();
        assert!(matches!(queue.send(&message, None), Posted::Sent(Some(told)) if told.pid == 7));
        assert_eq!(queue.set_notification(notification), Ok(()));
        assert!(matches!(queue.send(&message, None), Posted::Sent(None)));
        queue.remove_notification(8);
        assert_eq!(queue.set_notification(notification), Err(Errno::EBUSY));
        queue.remove_notification(7);
        assert_eq!(queue.set_notification(notification), Ok(()));
    }

    #[test]
    fn unprivileged_users_get_small_queues() {
        let user = Credentials::user(5, 5, Vec::new());
        let limits = IpcLimits::default();
        let wanted = |mq_maxmsg, mq_msgsize| MqAttr { mq_maxmsg, mq_msgsize, ..MqAttr::default() };
        for (messages, bytes) in [(0, 1), (1, 0), (11, 1), (1, 8193), (-1, 5)] {
            assert_eq!(QueueLimits::new(Some(&wanted(messages, bytes)), &limits, &user), Err(Errno::EINVAL));
        }
        assert_eq!(
            QueueLimits::new(None, &limits, &user).map(QueueLimits::footprint),
            Ok(10 * (48 + 48 + 8192))
        );
    }
}

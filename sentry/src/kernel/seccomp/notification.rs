//! Calls that somebody else answers (`seccomp_unotify(2)`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bartizan_abi::seccomp::{
    SECCOMP_ADDFD_FLAG_SEND, SECCOMP_ADDFD_FLAG_SETFD, SECCOMP_IOCTL_NOTIF_ADDFD,
    SECCOMP_IOCTL_NOTIF_ID_VALID, SECCOMP_IOCTL_NOTIF_ID_VALID_WRONG_DIR, SECCOMP_IOCTL_NOTIF_RECV,
    SECCOMP_IOCTL_NOTIF_SEND, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP,
    SECCOMP_USER_NOTIF_FLAG_CONTINUE, SeccompData, SeccompNotif, SeccompNotifAddfd, SeccompNotifResp,
};
use bartizan_abi::{Errno, OpenFlags, PollEvents, Resource};
use zerocopy::IntoBytes;

use crate::kernel::{CurrentTask, Task, WaitQueue};
use crate::mm::{UserAddr, UserPtr};
use crate::sync::{LockClass, Mutex};
use crate::vfs::{FdFlags, FdNumber, File, FileOps};
use crate::{Restart, SysError, SysResult, WaitError};

/// How a task waits for an answer once its call has been received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Until a signal comes.
    Interruptible,
    /// Until it is killed (`SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`).
    Killable,
}

/// The answer to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The call is made.
    Proceed,
    /// This is its result, as the register has it.
    Result(i64),
}

/// A call that waits.
#[derive(Debug)]
struct Pending {
    id: u64,
    task: Arc<Task>,
    data: SeccompData,
    received: AtomicBool,
    answer: OnceLock<Answer>,
    answered: WaitQueue,
}

impl Pending {
    fn finish(&self, answer: Answer) {
        let _first_counts = self.answer.set(answer);
        self.answered.notify(PollEvents::POLLIN);
    }

    fn is_received(&self) -> bool {
        self.received.load(Ordering::Acquire)
    }

    /// Whether it has been received and not been answered.
    fn is_open(&self) -> bool {
        self.is_received() && self.answer.get().is_none()
    }
}

/// Where calls wait that a filter wants to be answered. It is open as long as its descriptor.
#[derive(Debug)]
pub struct Listener {
    state: Mutex<State>,
    events: WaitQueue,
    patience: Patience,
    open: AtomicBool,
    /// Whether no task has the filter any more.
    unused: AtomicBool,
}

#[derive(Debug)]
struct State {
    next_id: u64,
    pending: Vec<Arc<Pending>>,
}

impl Listener {
    /// A listener at which nobody waits.
    pub fn new(patience: Patience) -> Arc<Self> {
        let state = State { next_id: 1, pending: Vec::new() };
        Arc::new(Self {
            state: Mutex::new(LockClass::Table, state),
            events: WaitQueue::new(),
            patience,
            open: AtomicBool::new(true),
            unused: AtomicBool::new(false),
        })
    }

    /// Whether its descriptor is open.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// No task has the filter any more.
    pub(super) fn hang_up(&self) {
        self.unused.store(true, Ordering::Release);
        self.events.notify(PollEvents::POLLHUP | PollEvents::READABLE);
    }

    /// Waits for the answer to a call of `task`.
    ///
    /// # Errors
    /// [`WaitError::Interrupted`].
    pub(super) fn ask(&self, task: &CurrentTask, data: SeccompData) -> Result<Answer, WaitError> {
        let pending = {
            let mut state = self.state.lock();
            if !self.is_open() {
                return Ok(refused());
            }
            let id = state.next_id;
            state.next_id += 1;
            let pending = Arc::new(Pending {
                id,
                task: Arc::clone(task.task()),
                data,
                received: AtomicBool::new(false),
                answer: OnceLock::new(),
                answered: WaitQueue::new(),
            });
            state.pending.push(Arc::clone(&pending));
            pending
        };
        self.events.notify(PollEvents::READABLE);
        let attempt = || pending.answer.get().copied();
        let mut result = task.wait_on(&pending.answered, PollEvents::POLLIN, None, attempt);
        if result.is_err() && self.patience == Patience::Killable && pending.is_received() {
            result = task.wait_killable(&pending.answered, attempt);
        }
        self.state.lock().pending.retain(|other| !Arc::ptr_eq(other, &pending));
        // An answer that came with the signal counts.
        result.or_else(|error| attempt().ok_or(error))
    }

    fn find(&self, id: u64) -> Option<Arc<Pending>> {
        self.state.lock().pending.iter().find(|pending| pending.id == id).cloned()
    }

    /// The first call that nobody has received.
    fn receive(&self) -> Option<Arc<Pending>> {
        let state = self.state.lock();
        let first = state.pending.iter().find(|pending| !pending.is_received()).cloned()?;
        first.received.store(true, Ordering::Release);
        Some(first)
    }

    /// The descriptor is closed: all who wait are refused.
    fn close(&self) {
        let pending = {
            let mut state = self.state.lock();
            self.open.store(false, Ordering::Release);
            std::mem::take(&mut state.pending)
        };
        for pending in pending {
            pending.finish(refused());
        }
    }

    fn poll(&self) -> PollEvents {
        let state = self.state.lock();
        let mut events = PollEvents::empty();
        if state.pending.iter().any(|pending| !pending.is_received()) {
            events |= PollEvents::READABLE;
        }
        if state.pending.iter().any(|pending| pending.is_open()) {
            events |= PollEvents::WRITABLE;
        }
        if self.unused.load(Ordering::Acquire) {
            events |= PollEvents::POLLHUP;
        }
        events
    }
}

/// The answer when nobody listens.
fn refused() -> Answer {
    Answer::Result(-i64::from(Errno::ENOSYS.raw()))
}

/// The descriptor of a listener (`SECCOMP_FILTER_FLAG_NEW_LISTENER`).
#[derive(Debug)]
pub struct NotificationFile(Arc<Listener>);

impl NotificationFile {
    /// A descriptor of `listener`.
    pub fn new(listener: Arc<Listener>) -> Self {
        Self(listener)
    }

    fn receive(&self, task: &CurrentTask, pointer: UserPtr<SeccompNotif>) -> SysResult<()> {
        let before: SeccompNotif = task.read_value(pointer)?;
        if before.as_bytes().iter().any(|&byte| byte != 0) {
            return Err(Errno::EINVAL.into());
        }
        let attempt = || match self.0.receive() {
            Some(pending) => Some(Ok(pending)),
            None if self.0.unused.load(Ordering::Acquire) => Some(Err(Errno::ENOENT)),
            None => None,
        };
        let received = task.wait_on(&self.0.events, PollEvents::READABLE, None, attempt);
        let pending = received.map_err(|_| SysError::Restart(Restart::IfAsked))??;
        self.0.events.notify(PollEvents::WRITABLE);
        let pid = pending.task.tid().cast_unsigned();
        let notification = SeccompNotif { id: pending.id, pid, flags: 0, data: pending.data };
        if let Err(errno) = task.write_value(pointer, &notification) {
            pending.received.store(false, Ordering::Release);
            self.0.events.notify(PollEvents::READABLE);
            return Err(errno.into());
        }
        Ok(())
    }

    fn answer(&self, task: &CurrentTask, pointer: UserPtr<SeccompNotifResp>) -> SysResult<()> {
        let response: SeccompNotifResp = task.read_value(pointer)?;
        let proceeds = response.flags == SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        if response.flags & !SECCOMP_USER_NOTIF_FLAG_CONTINUE != 0
            || proceeds && (response.error != 0 || response.val != 0)
        {
            return Err(Errno::EINVAL.into());
        }
        let pending = self.open_call(response.id)?;
        pending.finish(match response {
            _ if proceeds => Answer::Proceed,
            SeccompNotifResp { error: 0, val, .. } => Answer::Result(val),
            SeccompNotifResp { error, .. } => Answer::Result(error.into()),
        });
        Ok(())
    }

    /// The call with this number, which has been received and not been answered.
    fn open_call(&self, id: u64) -> Result<Arc<Pending>, Errno> {
        let pending = self.0.find(id).ok_or(Errno::ENOENT)?;
        if pending.is_open() { Ok(pending) } else { Err(Errno::EINPROGRESS) }
    }

    fn is_valid(&self, task: &CurrentTask, pointer: UserPtr<u64>) -> SysResult<()> {
        let id = task.read_value(pointer)?;
        let valid = self.0.find(id).is_some_and(|pending| pending.is_open());
        if valid { Ok(()) } else { Err(Errno::ENOENT.into()) }
    }

    fn add_descriptor(&self, task: &CurrentTask, pointer: UserPtr<SeccompNotifAddfd>) -> SysResult<i32> {
        let request: SeccompNotifAddfd = task.read_value(pointer)?;
        let close_on_exec = OpenFlags::O_CLOEXEC.bits();
        let sets = request.flags & SECCOMP_ADDFD_FLAG_SETFD != 0;
        if request.newfd_flags & !close_on_exec != 0
            || request.flags & !(SECCOMP_ADDFD_FLAG_SETFD | SECCOMP_ADDFD_FLAG_SEND) != 0
            || request.newfd != 0 && !sets
        {
            return Err(Errno::EINVAL.into());
        }
        let file = task.fd_table().get(FdNumber(request.srcfd.cast_signed()))?;
        let pending = self.open_call(request.id)?;
        let files = pending.task.files().ok_or(Errno::ESRCH)?;
        let limit = pending.task.group().limits().soft(Resource::RLIMIT_NOFILE);
        let flags = if request.newfd_flags == 0 { FdFlags::empty() } else { FdFlags::CLOEXEC };
        let number = if sets {
            let number = FdNumber(request.newfd.cast_signed());
            let replaced = files.replace(number, file, flags, limit)?;
            drop(replaced);
            number
        } else {
            files.add(file, flags, limit)?
        };
        if request.flags & SECCOMP_ADDFD_FLAG_SEND != 0 {
            pending.finish(Answer::Result(number.0.into()));
        }
        Ok(number.0)
    }

    fn set_flags(flags: u64) -> SysResult<()> {
        if flags & !SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP != 0 {
            return Err(Errno::EINVAL.into());
        }
        // Who runs where is the host's business.
        Ok(())
    }
}

impl FileOps for NotificationFile {
    fn seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File) -> PollEvents {
        self.0.poll()
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.events)
    }

    fn ioctl(&self, _file: &File, task: &CurrentTask, request: u32, argument: UserAddr) -> SysResult<u64> {
        match request {
            SECCOMP_IOCTL_NOTIF_RECV => self.receive(task, UserPtr::new(argument)).map(|()| 0),
            SECCOMP_IOCTL_NOTIF_SEND => self.answer(task, UserPtr::new(argument)).map(|()| 0),
            SECCOMP_IOCTL_NOTIF_ID_VALID | SECCOMP_IOCTL_NOTIF_ID_VALID_WRONG_DIR => {
                self.is_valid(task, UserPtr::new(argument)).map(|()| 0)
            }
            SECCOMP_IOCTL_NOTIF_ADDFD => {
                self.add_descriptor(task, UserPtr::new(argument)).map(|number| number as u64)
            }
            SECCOMP_IOCTL_NOTIF_SET_FLAGS => Self::set_flags(argument.0).map(|()| 0),
            _ => Err(Errno::EINVAL.into()),
        }
    }

    fn release(&self) {
        self.0.close();
    }
}

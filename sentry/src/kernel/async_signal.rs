//! Signals about files: who gets them (`F_SETOWN`), which (`F_SETSIG`), and that they are sent when a file becomes ready (`O_ASYNC`).

use std::sync::{Arc, Weak};

use bartizan_abi::signal::{SigCode, SigInfo, Signal};
use bartizan_abi::{DirectoryNotifyFlags, Errno, FileOwnerType, PollEvents};

use super::pipe::PipeEnd;
use super::terminal::{MasterFile, TerminalFile};
use super::timer::Expire;
use super::unix::UnixFile;
use super::{CurrentTask, Kernel, Task, ThreadGroup, WaitKey, Wake};
use crate::sync::{LockClass, Mutex};
use crate::vfs::leases::LeaseHolder;
use crate::vfs::notify::{DirectoryWatch, Inotify};
use crate::vfs::{File, FileOps};

/// Who gets signals about a file.
#[derive(Debug, Clone)]
enum Owner {
    Task(Weak<Task>, i32),
    Process(Weak<ThreadGroup>, i32),
    Group(i32),
}

/// What an open file description knows of its signals.
#[derive(Debug)]
pub struct AsyncSignals {
    this: Weak<Self>,
    kernel: Weak<Kernel>,
    /// Class `WaitQueue`: taken where a wait queue has just told of an event.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    owner: Option<Owner>,
    /// Real and effective user of who has set the owner.
    set_by: (u32, u32),
    /// Which signal; 0 for `SIGIO` without details.
    signal: i32,
    /// The number that the file had when it was made asynchronous, and its place in the wait queue.
    waiting: Option<(i32, WaitKey)>,
    /// Events that a process group has yet to be told of.
    untold: Vec<SigCode>,
    /// The directory that it watches (`F_NOTIFY`).
    directory: Option<Arc<DirectoryWatch>>,
}

/// Most events that are kept for a process group.
const MOST_UNTOLD: usize = 64;

impl AsyncSignals {
    /// Of a file that nobody owns.
    pub fn new(kernel: &Arc<Kernel>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            kernel: Arc::downgrade(kernel),
            state: Mutex::new(LockClass::WaitQueue, State::default()),
        })
    }

    /// Itself, as one who hears that a lease is wanted back.
    pub fn lease_holder(&self) -> Weak<dyn LeaseHolder> {
        self.this.clone()
    }

    /// Nobody owns the file, and nothing is asked for any more.
    pub fn forget(&self) {
        let mut state = self.state.lock();
        state.owner = None;
        state.signal = 0;
    }

    /// `F_SETOWN` and `F_SETOWN_EX`; 0 is nobody.
    ///
    /// # Errors
    /// `ESRCH` if there is no such task, process or group.
    pub fn set_owner(&self, by: &CurrentTask, kind: FileOwnerType, number: i32) -> Result<(), Errno> {
        let owner = {
            let tree = by.kernel().tree();
            match kind {
                _ if number == 0 => None,
                FileOwnerType::F_OWNER_TID => {
                    tree.task(number).map(|task| Owner::Task(Arc::downgrade(task), number))
                }
                FileOwnerType::F_OWNER_PID => {
                    tree.process(number).map(|process| Owner::Process(Arc::downgrade(&process.group), number))
                }
                FileOwnerType::F_OWNER_PGRP => {
                    let exists = tree.processes().any(|(_, process)| process.process_group == number);
                    exists.then_some(Owner::Group(number))
                }
            }
        };
        if owner.is_none() && number != 0 {
            return Err(Errno::ESRCH);
        }
        let credentials = by.credentials();
        let mut state = self.state.lock();
        state.owner = owner;
        state.set_by = (credentials.uid, credentials.euid);
        Ok(())
    }

    /// Makes the caller's process the owner if nobody is.
    pub fn own_if_free(&self, task: &CurrentTask) {
        let credentials = task.credentials();
        let mut state = self.state.lock();
        if state.owner.is_none() {
            state.owner = Some(Owner::Process(Arc::downgrade(task.group()), task.pid()));
            state.set_by = (credentials.uid, credentials.euid);
        }
    }

    /// What `F_GETOWN_EX` tells; zeros for nobody.
    pub fn owner(&self) -> (FileOwnerType, i32) {
        match &self.state.lock().owner {
            None => (FileOwnerType::F_OWNER_PID, 0),
            Some(Owner::Task(task, number)) => {
                (FileOwnerType::F_OWNER_TID, if task.strong_count() > 0 { *number } else { 0 })
            }
            Some(Owner::Process(group, number)) => {
                (FileOwnerType::F_OWNER_PID, if group.strong_count() > 0 { *number } else { 0 })
            }
            Some(Owner::Group(number)) => (FileOwnerType::F_OWNER_PGRP, *number),
        }
    }

    /// Real and effective user of who has set the owner.
    pub fn set_by(&self) -> (u32, u32) {
        self.state.lock().set_by
    }

    /// `F_GETSIG`.
    pub fn signal(&self) -> i32 {
        self.state.lock().signal
    }

    /// `F_SETSIG`.
    ///
    /// # Errors
    /// `EINVAL` for what is no signal.
    pub fn set_signal(&self, signal: i32) -> Result<(), Errno> {
        if signal != 0 && Signal::from_raw(signal).is_none() {
            return Err(Errno::EINVAL);
        }
        self.state.lock().signal = signal;
        Ok(())
    }

    /// Begins or ends to signal that `file`, known by the number `fd`, is ready (`O_ASYNC`). Whether that file can.
    pub fn watch(&self, file: &File, fd: i32, on: bool) -> bool {
        let Some(queue) = file.ops().wait_queue().filter(|_| can_signal(file.ops())) else { return false };
        let old = self.state.lock().waiting.take();
        if let Some((_, key)) = old {
            queue.unregister(key);
        }
        if on && let Some(this) = self.this.upgrade() {
            let key = queue.register(this, interest(file));
            self.state.lock().waiting = Some((fd, key));
        }
        true
    }

    /// Tells the owner that `code` has happened to what it knows by the number `fd`.
    fn tell(&self, code: SigCode, fd: i32) {
        let (owner, signal, set_by) = {
            let state = self.state.lock();
            (state.owner.clone(), state.signal, state.set_by)
        };
        match owner {
            Some(Owner::Task(task, number)) => {
                let Some(task) = task.upgrade() else { return };
                send(task.group(), Some(number), set_by, signal, code, fd);
            }
            Some(Owner::Process(group, _)) => {
                let Some(group) = group.upgrade() else { return };
                send(&group, None, set_by, signal, code, fd);
            }
            Some(Owner::Group(_)) => self.defer(code),
            None => {}
        }
    }

    /// Has the timer thread tell a process group: it is found in the process tree, which may be locked here.
    fn defer(&self, code: SigCode) {
        {
            let mut state = self.state.lock();
            if state.untold.len() >= MOST_UNTOLD {
                return;
            }
            state.untold.push(code);
        }
        if let (Some(kernel), Some(this)) = (self.kernel.upgrade(), self.this.upgrade()) {
            let target = Arc::downgrade(&(this as Arc<dyn Expire>));
            // Without a thread of the host's the signal is lost, as with a full queue.
            let _lost = kernel.timers().schedule(std::time::Instant::now(), target);
        }
    }

    /// Watches the directory `file`, known by the number `fd`, for `flags` as well (`F_NOTIFY`); with none, it watches no more.
    ///
    /// # Errors
    /// `ENOTDIR`.
    pub fn watch_directory(
        &self,
        task: &CurrentTask,
        file: &File,
        fd: i32,
        flags: DirectoryNotifyFlags,
    ) -> Result<(), Errno> {
        if (flags - DirectoryNotifyFlags::DN_MULTISHOT).is_empty() {
            let ended = self.state.lock().directory.take();
            drop(ended);
            return Ok(());
        }
        let existing = self.state.lock().directory.clone();
        match existing {
            Some(watch) => watch.add(fd, flags),
            None => {
                let watch = DirectoryWatch::new(file, self.this.clone(), fd, flags)?;
                let other = self.state.lock().directory.replace(watch);
                drop(other);
            }
        }
        self.own_if_free(task);
        Ok(())
    }

    /// As [`tell`](Self::tell), for something that happens to a file whatever it is ready for: a lease, a directory.
    pub fn tell_of_message(&self, fd: i32) {
        self.tell(SigCode::POLL_MSG, fd);
    }
}

impl Wake for AsyncSignals {
    fn wake(&self, events: PollEvents) {
        let waiting = self.state.lock().waiting;
        let Some((fd, _)) = waiting else { return };
        for (kind, code) in [(PollEvents::POLLIN, SigCode::POLL_IN), (PollEvents::POLLOUT, SigCode::POLL_OUT)]
        {
            if events.intersects(kind) {
                self.tell(code, fd);
            }
        }
        if events.contains(PollEvents::POLLHUP)
            && !events.intersects(PollEvents::POLLIN | PollEvents::POLLOUT)
        {
            self.tell(SigCode::POLL_HUP, fd);
        }
    }
}

impl LeaseHolder for AsyncSignals {
    fn give_way(&self, fd: i32) {
        self.tell_of_message(fd);
    }
}

impl Expire for AsyncSignals {
    fn expire(&self) {
        let (owner, signal, set_by, untold, fd) = {
            let mut state = self.state.lock();
            let untold = std::mem::take(&mut state.untold);
            let fd = state.waiting.map_or(-1, |(fd, _)| fd);
            (state.owner.clone(), state.signal, state.set_by, untold, fd)
        };
        let (Some(Owner::Group(number)), Some(kernel)) = (owner, self.kernel.upgrade()) else { return };
        let groups: Vec<Arc<ThreadGroup>> = {
            let tree = kernel.tree();
            let members = tree.processes().filter(|(_, process)| process.process_group == number);
            members.map(|(_, process)| Arc::clone(&process.group)).collect()
        };
        for code in untold {
            for group in &groups {
                send(group, None, set_by, signal, code, fd);
            }
        }
    }
}

/// What of a file's queue its readers or writers hear of.
fn interest(file: &File) -> PollEvents {
    let mut interest = PollEvents::empty();
    interest.set(PollEvents::READABLE, file.flags().readable());
    interest.set(PollEvents::WRITABLE, file.flags().writable());
    interest
}

/// Which files have signals (`fasync` of their `file_operations`).
fn can_signal(ops: &dyn FileOps) -> bool {
    let ops: &dyn std::any::Any = ops;
    ops.is::<PipeEnd>()
        || ops.is::<UnixFile>()
        || ops.is::<MasterFile>()
        || ops.is::<TerminalFile>()
        || ops.is::<Inotify>()
}

/// Sends the signal for `code` to a process or to one of its tasks (`send_sigio_to_task`).
fn send(
    group: &Arc<ThreadGroup>,
    tid: Option<i32>,
    (uid, euid): (u32, u32),
    signal: i32,
    code: SigCode,
    fd: i32,
) {
    let Some(target) = group.task_for_signal(tid) else { return };
    let credentials = target.credentials();
    let allowed =
        euid == 0 || [uid, euid].iter().any(|&user| user == credentials.suid || user == credentials.uid);
    if !allowed {
        return;
    }
    let detailed = Signal::from_raw(signal).is_some_and(|signal| {
        let info = SigInfo::poll(signal, code_for(signal, code), band(code), fd);
        group.send_to(&target, info, tid).is_ok()
    });
    if !detailed {
        let _full = group.send_to(&target, SigInfo::kernel(Signal::SIGIO), tid);
    }
}

/// Signals that have codes of their own tell nothing but `SI_SIGIO`.
fn code_for(signal: Signal, code: SigCode) -> SigCode {
    match signal {
        Signal::SIGILL
        | Signal::SIGFPE
        | Signal::SIGSEGV
        | Signal::SIGBUS
        | Signal::SIGTRAP
        | Signal::SIGCHLD
        | Signal::SIGSYS => SigCode::SI_SIGIO,
        _ => code,
    }
}

/// `si_band`.
fn band(code: SigCode) -> i64 {
    let events = match code {
        SigCode::POLL_IN => PollEvents::READABLE,
        SigCode::POLL_OUT => PollEvents::WRITABLE | PollEvents::POLLWRBAND,
        SigCode::POLL_MSG => PollEvents::READABLE | PollEvents::POLLMSG,
        _ => PollEvents::POLLHUP | PollEvents::POLLERR,
    };
    events.bits().into()
}

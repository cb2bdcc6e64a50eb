//! The task that runs on this host thread.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use bartizan_abi::PollEvents;
use bartizan_platform::Registers;

use super::{RestartBlock, Task, WaitQueue, Wake};
use crate::WaitError;
use crate::mm::MemoryManager;
use crate::vfs::{FdTable, FsContext};

/// The task that runs on this host thread: its [`Task`], and what only its own thread touches. System call handlers get a
/// reference to it; it never leaves its thread.
#[derive(Debug)]
pub struct CurrentTask {
    task: Arc<Task>,
    /// The registers of the guest while it is in the kernel.
    registers: Cell<Registers>,
    /// The same pointers as the task's, readable without a lock.
    memory: RefCell<Arc<MemoryManager>>,
    files: RefCell<Arc<FdTable>>,
    fs: RefCell<Arc<FsContext>>,
    /// What `restart_syscall(2)` continues.
    pub(super) restart: Cell<RestartBlock>,
}

impl Deref for CurrentTask {
    type Target = Arc<Task>;
    fn deref(&self) -> &Arc<Task> {
        &self.task
    }
}

impl CurrentTask {
    /// The registers of the guest.
    pub fn registers(&self) -> Registers {
        self.registers.get()
    }

    /// Replaces the registers of the guest.
    pub fn set_registers(&self, registers: Registers) {
        self.registers.set(registers);
    }

    /// Its address space.
    pub fn mm(&self) -> Arc<MemoryManager> {
        self.memory.borrow().clone()
    }

    /// Its descriptors.
    pub fn fd_table(&self) -> Arc<FdTable> {
        self.files.borrow().clone()
    }

    /// Its working directory, root and umask.
    pub fn fs_context(&self) -> Arc<FsContext> {
        self.fs.borrow().clone()
    }

    /// Whether a signal has to be handled, or the task has to die, before it may sleep.
    pub fn signal_pending(&self) -> bool {
        false
    }

    /// Waits on `queue` until `attempt` gives a value.
    ///
    /// `attempt` is called once at first, and again after each notification of `interest`. No lock may be held by the caller, and
    /// `attempt` must give back what it takes.
    ///
    /// # Errors
    /// [`WaitError::Interrupted`] when a signal has to be handled, [`WaitError::TimedOut`] when `deadline` has passed.
    pub fn wait_on<T>(
        &self,
        queue: &WaitQueue,
        interest: PollEvents,
        deadline: Option<Instant>,
        mut attempt: impl FnMut() -> Option<T>,
    ) -> Result<T, WaitError> {
        if let Some(value) = attempt() {
            return Ok(value);
        }
        let key = queue.register(Arc::clone(self.parker()) as Arc<dyn Wake>, interest);
        let result = self.wait_until(deadline, attempt);
        queue.unregister(key);
        result
    }

    /// As [`wait_on`](Self::wait_on), for a caller that has registered the task's parker wherever it wants to be woken from.
    pub fn wait_until<T>(
        &self,
        deadline: Option<Instant>,
        mut attempt: impl FnMut() -> Option<T>,
    ) -> Result<T, WaitError> {
        loop {
            if let Some(value) = attempt() {
                return Ok(value);
            }
            if self.signal_pending() {
                return Err(WaitError::Interrupted);
            }
            if !self.parker().park(deadline) {
                return attempt().ok_or(WaitError::TimedOut);
            }
        }
    }
}

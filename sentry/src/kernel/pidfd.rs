//! Descriptors of processes (`pidfd_open(2)`).

use std::sync::{Arc, Weak};

use bartizan_abi::{Errno, PollEvents};

use super::{Kernel, Task, ThreadGroup, WaitQueue};
use crate::vfs::{File, FileOps};

/// What a descriptor of `pidfd_open(2)` refers to. It stays with its process, whoever gets its number later.
#[derive(Debug)]
pub struct Pidfd {
    kernel: Weak<Kernel>,
    group: Arc<ThreadGroup>,
}

impl Pidfd {
    /// A descriptor of the process `group`.
    pub fn new(kernel: &Arc<Kernel>, group: Arc<ThreadGroup>) -> Self {
        Self { kernel: Arc::downgrade(kernel), group }
    }

    /// The number of the process.
    pub fn pid(&self) -> i32 {
        self.group.pid()
    }

    /// A task of the process.
    ///
    /// # Errors
    /// `ESRCH` if it has been waited for.
    pub fn task(&self) -> Result<Option<Arc<Task>>, Errno> {
        let kernel = self.kernel.upgrade().ok_or(Errno::ESRCH)?;
        let tree = kernel.tree();
        let process = tree.process(self.pid()).filter(|process| Arc::ptr_eq(&process.group, &self.group));
        Ok(process.ok_or(Errno::ESRCH)?.tasks.first().cloned())
    }
}

impl FileOps for Pidfd {
    fn seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File) -> PollEvents {
        match self.task() {
            Ok(Some(_)) => PollEvents::empty(),
            Ok(None) => PollEvents::READABLE,
            Err(_) => PollEvents::READABLE | PollEvents::POLLHUP,
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(self.group.end_events())
    }

    fn describe(&self) -> String {
        let pid = if self.task().is_ok() { self.pid() } else { -1 };
        format!("Pid:\t{pid}\nNSpid:\t{pid}\n")
    }
}

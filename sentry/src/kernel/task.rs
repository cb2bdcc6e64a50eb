//! Tasks: the threads of guest processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use arc_swap::ArcSwap;

use super::{Credentials, Kernel, Parker};
use crate::mm::MemoryManager;
use crate::sync::Mutex;
use crate::vfs::{FdTable, FsContext};

/// A thread of a guest process, as all may see it (`struct task_struct`).
#[derive(Debug)]
pub struct Task {
    tid: AtomicI32,
    kernel: Arc<Kernel>,
    credentials: ArcSwap<Credentials>,
    /// What `clone` flags share; `None` after the task has given it up by exiting.
    shared: Mutex<TaskShared>,
    parker: Arc<Parker>,
}

/// What a task has in common with others, by pointer.
#[derive(Debug, Default)]
struct TaskShared {
    memory: Option<Arc<MemoryManager>>,
    files: Option<Arc<FdTable>>,
    fs: Option<Arc<FsContext>>,
}

impl Task {
    /// Its number; `execve` of a thread that does not lead its group changes it.
    pub fn tid(&self) -> i32 {
        self.tid.load(Ordering::Relaxed)
    }

    /// The kernel that it belongs to.
    pub fn kernel(&self) -> &Arc<Kernel> {
        &self.kernel
    }

    /// Who it is.
    pub fn credentials(&self) -> Arc<Credentials> {
        self.credentials.load_full()
    }

    /// Its address space; `None` once it has exited.
    pub fn memory(&self) -> Option<Arc<MemoryManager>> {
        self.shared.lock().memory.clone()
    }

    /// Its descriptors; `None` once it has exited.
    pub fn files(&self) -> Option<Arc<FdTable>> {
        self.shared.lock().files.clone()
    }

    /// Its working directory, root and umask; `None` once it has exited.
    pub fn fs(&self) -> Option<Arc<FsContext>> {
        self.shared.lock().fs.clone()
    }

    /// Where its thread sleeps.
    pub fn parker(&self) -> &Arc<Parker> {
        &self.parker
    }
}

//! What the kernel has one of: futexes, timers, names of the machine, and so on.

use std::sync::{Arc, OnceLock};

use super::cgroup::Cgroups;
use super::epoll::EpollNesting;
use super::futex::Futexes;
use super::load::Load;
use super::nsfs::NamespaceFiles;
use super::sysv::IpcNamespace;
use super::timer::Timers;
use super::unix::{AbstractNames, Flights};
use super::{AioContexts, AnonymousFiles, Kernel, Settings};
use crate::vfs::lock_waits::LockWaits;
use crate::vfs::{FilesystemRoot, FilesystemTypes, Mount};

/// The services of one kernel. Nothing here costs a thread or a system call before it is used.
#[derive(Debug, Default)]
pub(super) struct Services {
    futexes: Futexes,
    timers: Timers,
    epoll_nesting: EpollNesting,
    anonymous_files: AnonymousFiles,
    memory_files: OnceLock<Arc<Mount>>,
    abstract_names: AbstractNames,
    flights: Arc<Flights>,
    aio_contexts: AioContexts,
    ipc: OnceLock<Arc<IpcNamespace>>,
    lock_waits: LockWaits,
    filesystem_types: FilesystemTypes,
    cgroups: Cgroups,
    settings: Settings,
    load: Load,
    pub(super) namespace_files: NamespaceFiles,
}

impl Services {
    /// How busy it has been.
    pub(super) fn load(&self) -> &Load {
        &self.load
    }
}

impl Kernel {
    /// Who waits at which futex.
    pub fn futexes(&self) -> &Futexes {
        &self.services.futexes
    }

    /// The names of sockets that are not in the file system.
    pub fn abstract_names(&self) -> &AbstractNames {
        &self.services.abstract_names
    }

    /// What `mount(2)` knows by name.
    pub fn filesystem_types(&self) -> &FilesystemTypes {
        &self.services.filesystem_types
    }

    /// What its administrator may change.
    pub fn settings(&self) -> &Settings {
        &self.services.settings
    }

    /// Control groups.
    pub fn cgroups(&self) -> &Cgroups {
        &self.services.cgroups
    }

    /// Who waits for which record lock.
    pub fn lock_waits(&self) -> &LockWaits {
        &self.services.lock_waits
    }

    /// Contexts of asynchronous I/O.
    pub fn aio_contexts(&self) -> &AioContexts {
        &self.services.aio_contexts
    }

    /// Files that are under way in messages.
    pub fn flights(&self) -> &Arc<Flights> {
        &self.services.flights
    }

    /// Makes files without names.
    pub fn anonymous_files(&self) -> &AnonymousFiles {
        &self.services.anonymous_files
    }

    /// Where files of `memfd_create(2)` are made; the call is missing before it is [set](Self::set_memory_files).
    pub fn memory_files(&self) -> Option<&Arc<Mount>> {
        self.services.memory_files.get()
    }

    /// Says where files of `memfd_create(2)` are made: in a file system that has [sealable](crate::vfs::InodeOps::create_sealable) ones.
    /// The first one counts.
    pub fn set_memory_files(&self, root: FilesystemRoot) {
        let _first_counts = self.services.memory_files.set(Mount::detached(root));
    }

    /// Whether task `tid` lives.
    pub fn task_exists(&self, tid: i32) -> bool {
        self.tree().task(tid).is_some()
    }

    /// User and system time of process `pid` so far, nanoseconds; `None` if there is no such process.
    pub fn process_time(&self, pid: i32) -> Option<(u64, u64)> {
        let group = self.tree().process(pid).map(|process| Arc::clone(&process.group))?;
        Some(group.used_time())
    }

    /// The initial namespace of System V IPC.
    pub fn ipc(&self) -> &Arc<IpcNamespace> {
        self.services.ipc.get_or_init(|| Arc::new(IpcNamespace::new(self.memory().limit())))
    }

    /// What happens later.
    pub fn timers(&self) -> &Timers {
        &self.services.timers
    }

    /// Which epoll instance may watch which other.
    pub fn epoll_nesting(&self) -> &EpollNesting {
        &self.services.epoll_nesting
    }
}

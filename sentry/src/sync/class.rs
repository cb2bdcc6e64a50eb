//! The one order of all locks.

/// What a lock guards. The variants stand in the order in which locks may be taken: a holder of one may take only
/// those below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum LockClass {
    /// Life and death of the sandbox: its state, its host-side waiters.
    Sandbox,
    /// `execve` of a thread group: held by the thread that execs while the others die.
    Exec,
    /// One rename at a time in a file system that has directories (`s_vfs_rename_mutex`).
    Rename,
    /// The offset of an open file description; held over reads and writes that move it.
    FileOffset,
    /// Entries of one directory of a file system that is made of others; parents before children.
    LayeredDirectory,
    /// A file goes from one layer of such a file system to another, or its name does.
    CopyUp,
    /// Entries of one directory; parents before children (`i_rwsem`).
    Directory,
    /// The mount tree of a namespace.
    Mounts,
    /// One change at a time of which epoll instance watches which other (`epnested_mutex`).
    EpollNesting,
    /// The files that an epoll instance watches.
    Epoll,
    /// State of a socket: its name, its peer, its queue of connections.
    Socket,
    /// The contents of an inode: data of a regular file, ring of a pipe.
    InodeData,
    /// Terminal state.
    Terminal,
    /// A file system's own state (names, numbers, counters), below the directory locks.
    Filesystem,
    /// Where a mount is.
    MountPlace,
    /// The children of a dentry.
    DentryChildren,
    /// Where a dentry is: its parent, its name.
    Dentry,
    /// Dentries that are kept for a while.
    DentryCache,
    /// The process tree: parents, children, groups, sessions (`tasklist_lock`).
    TaskTree,
    /// The stop of a traced task, and what its tracer has asked for.
    Ptrace,
    /// Signal state of one thread group (`siglock`).
    Signal,
    /// What a process does with signals.
    SignalActions,
    /// What a task shares with `clone` flags: its descriptor table, file system context, credentials pointers.
    TaskShared,
    /// A descriptor table.
    FdTable,
    /// The working directory, root and umask of a group of tasks.
    FsContext,
    /// A futex bucket; held while a futex word that is in place is loaded or changed.
    Futex,
    /// Who owns priority-inheritance futexes, and who waits for that.
    FutexOwners,
    /// The areas of an address space (`mmap_lock`).
    Mappings,
    /// The pages that are in place in an address space.
    Pages,
    /// Who maps a file (`i_mmap_rwsem`).
    MappingSet,
    /// A page source's own index of pages.
    PageIndex,
    /// Names of System V IPC objects of one kind.
    IpcNames,
    /// State of a System V IPC object, of a POSIX message queue.
    IpcObject,
    /// Attributes of an inode: mode, owner, times, size.
    Attributes,
    /// One timer.
    Alarm,
    /// The queue of all timers of the kernel.
    Timers,
    /// Who waits for which record lock.
    LockWaits,
    /// A small table of the kernel: uts names, limits, keys, statistics.
    Table,
    /// Who watches a file, and what there is to tell them (`inotify(7)`).
    Notify,
    /// Which entries of an epoll instance may be ready.
    EpollReady,
    /// Who waits for something; nothing is taken below but the state of one sleeping thread.
    WaitQueue,
    /// State of one sleeping thread.
    Parker,
}

//! Inodes, and what a file system has to implement for them.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bartizan_abi::{Errno, FileMode, FileType, RenameFlags, SealFlags};

use super::acl::{Acl, AclKind};
use super::permission::May;
use super::write_count::WriteCount;
use super::{
    AccessRule, AttributeChanges, Attributes, FileOps, Filesystem, FsStr, FsString, NewNode, OpenRequest,
    Path,
};
use crate::kernel::{CurrentTask, Namespace, ThreadGroup};
use crate::sync::{LockClass, Mutex, MutexGuard};

/// A file, directory, link or device of a file system.
#[derive(Debug)]
pub struct Inode {
    number: u64,
    kind: FileType,
    filesystem: Arc<Filesystem>,
    ops: Box<dyn InodeOps>,
    /// Entries of a directory change one at a time (`i_rwsem`).
    entries: Mutex<()>,
    /// Who writes it, or forbids that.
    writers: WriteCount,
    /// Open file descriptions of it.
    opens: AtomicUsize,
    /// State that the VFS keeps for the few inodes that need it: FIFO ends, advisory locks, bound sockets.
    extra: std::sync::OnceLock<Box<super::InodeExtra>>,
}

impl Inode {
    /// A new inode with `number`, unique in `filesystem`.
    pub fn new(
        number: u64,
        kind: FileType,
        filesystem: Arc<Filesystem>,
        ops: Box<dyn InodeOps>,
    ) -> Arc<Self> {
        Self::with_entries_class(LockClass::Directory, number, kind, filesystem, ops)
    }

    /// As [`new`](Self::new), for a file system that is made of others: its directories are locked before theirs.
    pub fn layered(
        number: u64,
        kind: FileType,
        filesystem: Arc<Filesystem>,
        ops: Box<dyn InodeOps>,
    ) -> Arc<Self> {
        Self::with_entries_class(LockClass::LayeredDirectory, number, kind, filesystem, ops)
    }

    fn with_entries_class(
        entries: LockClass,
        number: u64,
        kind: FileType,
        filesystem: Arc<Filesystem>,
        ops: Box<dyn InodeOps>,
    ) -> Arc<Self> {
        Arc::new(Self {
            number,
            kind,
            filesystem,
            ops,
            entries: Mutex::new(entries, ()),
            writers: WriteCount::default(),
            opens: AtomicUsize::new(0),
            extra: std::sync::OnceLock::new(),
        })
    }

    /// The inode number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The type of file; it never changes.
    pub fn kind(&self) -> FileType {
        self.kind
    }

    /// Where it belongs.
    pub fn filesystem(&self) -> &Arc<Filesystem> {
        &self.filesystem
    }

    /// What it implements.
    pub fn ops(&self) -> &dyn InodeOps {
        &*self.ops
    }

    /// Its implementation as the type `T` of the file system that made it.
    pub fn downcast<T: InodeOps>(&self) -> Option<&T> {
        let ops: &dyn Any = &*self.ops;
        ops.downcast_ref()
    }

    /// Locks the entries of a directory, class `Directory` (or `LayeredDirectory`).
    pub fn lock_directory(&self) -> MutexGuard<'_, ()> {
        self.entries.lock()
    }

    /// As [`lock_directory`](Self::lock_directory), for a directory whose parent is locked by the caller and that nobody can enter or leave
    /// the tree by meanwhile; not waited for, since others never hold it while they wait for the parent's.
    pub(super) fn lock_directory_below(&self) -> Option<MutexGuard<'_, ()>> {
        self.entries.try_lock()
    }

    /// Whether somebody has it open.
    pub(super) fn is_open(&self) -> bool {
        self.opens.load(Ordering::Acquire) != 0
    }

    /// How many open file descriptions it has.
    pub(super) fn open_count(&self) -> usize {
        self.opens.load(Ordering::Acquire)
    }

    /// Whether somebody has it open for writing.
    pub(super) fn is_being_written(&self) -> bool {
        self.write_count().has_writers()
    }

    /// One open file description more.
    pub(super) fn count_open(&self) {
        self.opens.fetch_add(1, Ordering::Relaxed);
    }

    /// One open file description less; whether that was the last.
    pub(super) fn count_close(&self) -> bool {
        self.opens.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Who writes it, or forbids that.
    pub(super) fn write_count(&self) -> &WriteCount {
        &self.writers
    }

    /// The state that the VFS keeps for it, made at first use.
    pub fn extra(&self) -> &super::InodeExtra {
        self.extra.get_or_init(Box::default)
    }

    /// The state that the VFS keeps for it, if there is any.
    pub fn existing_extra(&self) -> Option<&super::InodeExtra> {
        self.extra.get().map(|extra| &**extra)
    }

    /// Whether `task` gets to see it at all; `None` is the host, which does.
    ///
    /// # Errors
    /// What the file system answers.
    #[inline]
    pub fn admit(&self, task: Option<&CurrentTask>, admission: Admission) -> Result<(), Errno> {
        match task {
            Some(task) if self.filesystem.is_guarded() => self.ops.admit(task, admission),
            _ => Ok(()),
        }
    }

    /// What `stat` tells.
    pub fn attributes(&self) -> Result<Attributes, Errno> {
        self.ops.attributes(self)
    }
}

/// What an inode does. The VFS has checked permissions, types and read-only mounts before it calls any of these; names are not
/// empty, not `.` or `..`, at most [`NAME_MAX`](super::NAME_MAX) bytes, without `/`. Methods that change a directory are called with that directory's lock
/// (class `Directory`) held by the VFS.
pub trait InodeOps: Send + Sync + Debug + Any {
    /// What `stat` tells.
    fn attributes(&self, inode: &Inode) -> Result<Attributes, Errno>;

    /// Whether `task` gets to see it at all, whatever its mode says (`hidepid` of proc). Asked of inodes of
    /// [guarded](super::FilesystemOps::is_guarded) file systems.
    fn admit(&self, _task: &CurrentTask, _admission: Admission) -> Result<(), Errno> {
        Ok(())
    }

    /// `chmod`, `chown`, `truncate`, `utimensat`. `EPERM` by default.
    fn set_attributes(&self, _inode: &Inode, _changes: &AttributeChanges) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    /// It has been read: the time of last access changes as `rule` says. Nothing by default: who keeps such times elsewhere changes them
    /// there.
    fn touch_accessed(&self, _rule: AccessRule) {}

    /// Whether [`open`](Self::open) opens FIFOs and devices too: they are not the VFS's own objects (a pipe of the host).
    fn opens_everything(&self) -> bool {
        false
    }

    /// Opens a regular file or directory. FIFOs, sockets and device numbers are handled by the VFS, unless the inode
    /// [opens everything](Self::opens_everything).
    fn open(&self, inode: &Arc<Inode>, request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno>;

    /// The entry `name`; `ENOENT` if there is none.
    fn lookup(&self, _directory: &Arc<Inode>, _name: &FsStr) -> Result<Arc<Inode>, Errno> {
        Err(Errno::ENOTDIR)
    }

    /// Whether a cached entry is still right; `child` is `None` for a cached absence. Asked under [`CachePolicy::Revalidate`](super::CachePolicy::Revalidate).
    fn revalidate(&self, _directory: &Arc<Inode>, _name: &FsStr, _child: Option<&Arc<Inode>>) -> bool {
        true
    }

    /// Makes a regular file, FIFO, socket or device node.
    fn create(&self, _directory: &Arc<Inode>, _name: &FsStr, _node: &NewNode) -> Result<Arc<Inode>, Errno> {
        Err(Errno::EPERM)
    }

    /// Makes a regular file without a name (`O_TMPFILE`).
    fn create_unnamed(&self, _directory: &Arc<Inode>, _node: &NewNode) -> Result<Arc<Inode>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Makes a regular file without a name that may be sealed (`memfd_create(2)`); `seals` are its first ones.
    fn create_sealable(
        &self,
        _directory: &Arc<Inode>,
        _node: &NewNode,
        _seals: SealFlags,
    ) -> Result<Arc<Inode>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// What must not be done with a regular file any more (`F_GET_SEALS`); `EINVAL` if it cannot be sealed.
    fn seals(&self, _inode: &Inode) -> Result<SealFlags, Errno> {
        Err(Errno::EINVAL)
    }

    /// Adds seals (`F_ADD_SEALS`); `EPERM` if it is sealed against that, `EBUSY` if a writable mapping is in the way.
    fn add_seals(&self, _inode: &Inode, _seals: SealFlags) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    /// Makes a directory.
    fn make_directory(
        &self,
        _directory: &Arc<Inode>,
        _name: &FsStr,
        _node: &NewNode,
    ) -> Result<Arc<Inode>, Errno> {
        Err(Errno::EPERM)
    }

    /// Makes a symbolic link to `target`.
    fn make_symlink(
        &self,
        _directory: &Arc<Inode>,
        _name: &FsStr,
        _target: &FsStr,
        _node: &NewNode,
    ) -> Result<Arc<Inode>, Errno> {
        Err(Errno::EPERM)
    }

    /// Makes `name` another name of `target`, an inode of this file system that is no directory.
    fn link(&self, _directory: &Arc<Inode>, _name: &FsStr, _target: &Arc<Inode>) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    /// Removes `name`, which is `target` and no directory.
    fn unlink(&self, _directory: &Arc<Inode>, _name: &FsStr, _target: &Arc<Inode>) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    /// Removes the directory `name`, which is `target`; `ENOTEMPTY` if it has entries.
    fn remove_directory(
        &self,
        _directory: &Arc<Inode>,
        _name: &FsStr,
        _target: &Arc<Inode>,
    ) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    /// Moves `source` from `self` to `rename.new_directory`.
    fn rename(&self, _rename: &Rename<'_>) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    /// Where a symbolic link leads. `task` is the reader, for `/proc/self`.
    fn read_link(&self, _inode: &Inode, _task: Option<&CurrentTask>) -> Result<LinkTarget, Errno> {
        Err(Errno::EINVAL)
    }

    /// The namespace that a file of `/proc/[pid]/ns` stands for.
    fn namespace(&self) -> Option<&Namespace> {
        None
    }

    /// The process that a directory of `/proc` is about: such a directory is a descriptor of the process too
    /// (`pidfd_send_signal(2)`).
    fn process(&self) -> Option<Arc<ThreadGroup>> {
        None
    }

    /// The access control list of a kind, if there is one.
    fn acl(&self, _inode: &Inode, _kind: AclKind) -> Result<Option<Arc<Acl>>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Replaces a list, and with it the mode if one is given. From then on a change of the mode changes the
    /// [access list](Acl::apply_mode) too.
    fn set_acl(
        &self,
        _inode: &Inode,
        _kind: AclKind,
        _list: Option<Arc<Acl>>,
        _mode: Option<FileMode>,
    ) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// The value of the extended attribute `name`; `ENODATA` if there is none.
    fn get_xattr(&self, _inode: &Inode, _name: &FsStr) -> Result<Vec<u8>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Sets the extended attribute `name`.
    fn set_xattr(
        &self,
        _inode: &Inode,
        _name: &FsStr,
        _value: &[u8],
        _flags: bartizan_abi::XattrFlags,
    ) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// The names of all extended attributes.
    fn list_xattr(&self, _inode: &Inode) -> Result<Vec<FsString>, Errno> {
        Ok(Vec::new())
    }

    /// Removes the extended attribute `name`; `ENODATA` if there is none.
    fn remove_xattr(&self, _inode: &Inode, _name: &FsStr) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }
}

/// What somebody wants of an inode who may not even get to see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Its attributes.
    Tell,
    /// To open it, to go through it, or to know whether that is possible.
    Use(May),
}

/// One rename, checked by the VFS.
#[derive(Debug)]
pub struct Rename<'a> {
    /// The directory that holds the source.
    pub old_directory: &'a Arc<Inode>,
    /// Its name there.
    pub old_name: &'a FsStr,
    /// What is moved.
    pub source: &'a Arc<Inode>,
    /// Where it goes.
    pub new_directory: &'a Arc<Inode>,
    /// Its name there.
    pub new_name: &'a FsStr,
    /// What has that name now, if anything.
    pub target: Option<&'a Arc<Inode>>,
    /// `RENAME_NOREPLACE` (already checked), `RENAME_EXCHANGE` and `RENAME_WHITEOUT`.
    pub flags: RenameFlags,
    /// Who owns the whiteout that is left where the source was, user and group.
    pub owner: (u32, u32),
}

/// Where a symbolic link leads.
#[derive(Debug, Clone)]
pub enum LinkTarget {
    /// To a path, to be walked from the link's directory.
    Text(FsString),
    /// To an object itself (`/proc/self/fd/3`), whatever its name; `text` is what `readlink` shows.
    Object {
        /// Where the walk goes on.
        path: Path,
        /// What `readlink(2)` returns.
        text: FsString,
    },
}

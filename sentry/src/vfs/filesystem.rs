//! File systems: the super block, and what one has to implement.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bartizan_abi::{DeviceNumber, Errno};

use super::notify::Watches;
use super::{FilesystemStatistics, FsStr, Inode};
use crate::kernel::{CurrentTask, UserNamespace};

/// What a file system as a whole does.
pub trait FilesystemOps: Send + Sync + Debug {
    /// The type as `/proc/filesystems` and `mount(2)` name it.
    fn type_name(&self) -> &'static str;

    /// For how long the dentry cache may believe what it knows of this file system.
    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Always
    }

    /// Whether device nodes in it are of its own making, so that they can be opened whoever mounted it.
    fn makes_devices(&self) -> bool {
        false
    }

    /// Its size and use.
    fn statistics(&self) -> Result<FilesystemStatistics, Errno>;

    /// Its options as `/proc/mounts` shows them, without leading comma: `size=1024k,mode=755`.
    fn options(&self) -> String {
        String::new()
    }

    /// Changes its options (`MS_REMOUNT`); what is not named in `options` stays. Without options of its own it takes none.
    fn reconfigure(&self, options: &FsStr) -> Result<(), Errno> {
        if options.is_empty() { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// From now on it is a layer of another file system, by which names change in it without the dentry cache: that has to ask.
    fn become_layer(&self) {}

    /// Whether [`InodeOps::admit`](super::InodeOps::admit) is to be asked; never changes.
    fn is_guarded(&self) -> bool {
        false
    }

    /// Whether access control lists are kept ([`InodeOps::acl`](super::InodeOps::acl)); never changes.
    fn keeps_acls(&self) -> bool {
        false
    }

    /// Writes everything back.
    fn sync(&self) -> Result<(), Errno> {
        Ok(())
    }
}

/// Whether a cached dentry (also a negative one) is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachePolicy {
    /// All changes go through this kernel.
    Always,
    /// Each use asks [`InodeOps::revalidate`](super::InodeOps::revalidate).
    Revalidate,
    /// Nothing is cached; each look-up asks the file system.
    Never,
}

/// A mounted instance of a file system (`struct super_block`).
#[derive(Debug)]
pub struct Filesystem {
    /// Number of this instance as `st_dev` shows it.
    pub device: DeviceNumber,
    /// Whether it can only be read, for good.
    fixed: bool,
    read_only: AtomicBool,
    guarded: bool,
    keeps_acls: bool,
    ops: Box<dyn FilesystemOps>,
    /// The user namespace in which it was made, if not in the initial one.
    owner: OnceLock<UserNamespace>,
    /// Who watches inodes of it.
    watches: Watches,
}

impl Filesystem {
    /// A new instance; one that is made read-only stays so. `device` comes from [`Kernel::allocate_device`](crate::kernel::Kernel::allocate_device).
    pub fn new(device: DeviceNumber, read_only: bool, ops: Box<dyn FilesystemOps>) -> Arc<Self> {
        Arc::new(Self {
            device,
            fixed: read_only,
            read_only: AtomicBool::new(read_only),
            guarded: ops.is_guarded(),
            keeps_acls: ops.keeps_acls(),
            ops,
            owner: OnceLock::new(),
            watches: Watches::default(),
        })
    }

    /// Whether nothing in it may be changed, by whatever mount.
    pub fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }

    /// Forbids or allows changes (`MS_RDONLY`).
    ///
    /// # Errors
    /// `EROFS` for changes to what can only be read.
    pub fn set_read_only(&self, read_only: bool) -> Result<(), Errno> {
        if self.fixed && !read_only {
            return Err(Errno::EROFS);
        }
        self.read_only.store(read_only, Ordering::Relaxed);
        Ok(())
    }

    /// Whether its inodes may have access control lists.
    #[inline]
    pub fn keeps_acls(&self) -> bool {
        self.keeps_acls
    }

    /// Whether its inodes say themselves who gets to see them.
    #[inline]
    pub(super) fn is_guarded(&self) -> bool {
        self.guarded
    }

    /// The user namespace whose administrators may change it as a whole.
    pub fn owner(&self) -> &UserNamespace {
        self.owner.get_or_init(UserNamespace::default)
    }

    /// It was made in `namespace`. The first one counts.
    pub(crate) fn set_owner(&self, namespace: UserNamespace) {
        let _first_counts = self.owner.set(namespace);
    }

    /// Who watches inodes of it.
    pub(super) fn watches(&self) -> &Watches {
        &self.watches
    }

    /// What it implements.
    pub fn ops(&self) -> &dyn FilesystemOps {
        &*self.ops
    }
}

/// Receives the entries of a directory, one after the other.
pub trait DirectorySink {
    /// The task that reads; `None` when the host does.
    fn reader(&self) -> Option<&CurrentTask> {
        None
    }

    /// Takes one entry. `next_offset` is the position from which a later call goes on behind it.
    /// Returns whether there was room; if not, the entry must be given again at the next call.
    fn entry(&mut self, name: &FsStr, inode: u64, kind: bartizan_abi::FileType, next_offset: u64) -> bool;
}

/// A root inode with its file system, ready to be mounted.
#[derive(Debug, Clone)]
pub struct FilesystemRoot {
    /// The instance.
    pub filesystem: Arc<Filesystem>,
    /// Its root directory (or single file).
    pub inode: Arc<Inode>,
}

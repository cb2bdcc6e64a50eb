//! Mounts and mount namespaces.
//!
//! All trees of mounts of a kernel, those of namespaces and those that only a descriptor holds, are one [`forest`] under one lock
//! (class `Mounts`), which is held over each change as a whole, because mounts propagate between trees. Where a mount is (class
//! `MountPlace`) changes only under it. Two references of a mount are the forest's; all others are uses of it. What a change takes out is let go of
//! without the lock ([`table`]).
//!
//! - [`namespace`]: the tree that a process sees, and how one is made and ends;
//! - [`copy`]: copies of trees; [`groups`]: peers and slaves; [`propagation`]: where else a change happens;
//! - [`changes`], [`unmount`], [`pivot`]: `mount(2)`, `umount2(2)`, `pivot_root(2)`; [`detached`], [`attributes`]: `open_tree(2)`,
//!   `move_mount(2)`, `mount_setattr(2)`; [`configuration`]: `fsopen(2)`; [`report`]: what `/proc` and `statmount(2)` show.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use bartizan_abi::Errno;
use bitflags::bitflags;

mod attributes;
mod changed;
mod changes;
mod configuration;
mod copy;
mod detached;
mod forest;
mod groups;
mod namespace;
mod path;
mod pivot;
mod propagation;
mod report;
mod rootfs;
mod table;
mod unmount;

pub use attributes::FlagChanges;
pub use changed::TreeChanges;
pub use configuration::{FsConfiguration, Order, ParameterValue};
pub use detached::{DetachedTree, Side};
pub use groups::Propagation;
pub use namespace::MountNamespace;
pub use path::Path;
pub use report::{ListOrder, MountReport};
pub use unmount::Unmount;

use super::{Dentry, Filesystem, FilesystemRoot, FsString};
use crate::kernel::UserNamespace;
use crate::sync::{LockClass, RwLock};

bitflags! {
    /// Restrictions of one mount (`MNT_*`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct MountFlags: u32 {
        /// Nothing can be changed through it.
        const READ_ONLY = 1 << 0;
        /// No program can be executed from it.
        const NO_EXEC = 1 << 1;
        /// Set-id bits and file capabilities mean nothing.
        const NO_SUID = 1 << 2;
        /// Device nodes cannot be opened.
        const NO_DEV = 1 << 3;
        /// Access times are not updated.
        const NO_ATIME = 1 << 4;
        /// Access times of directories are not updated.
        const NO_DIR_ATIME = 1 << 5;
        /// Access times are updated when they are older than the other times or than a day.
        const RELATIME = 1 << 6;
        /// Symbolic links are not followed.
        const NO_SYMFOLLOW = 1 << 7;
        /// The host program, or a more privileged user namespace, forbids changes: nobody here can take `READ_ONLY` away
        /// (`MNT_LOCK_READONLY`).
        const LOCK_READ_ONLY = 1 << 8;
        /// The same of `NO_SUID`.
        const LOCK_NO_SUID = 1 << 9;
        /// The same of `NO_DEV`.
        const LOCK_NO_DEV = 1 << 10;
        /// The same of `NO_EXEC`.
        const LOCK_NO_EXEC = 1 << 11;
        /// What is done with access times stays as it is.
        const LOCK_TIMES = 1 << 12;
        /// It hides what a more privileged user namespace does not want to be seen, so that it cannot be taken off alone
        /// (`MNT_LOCKED`).
        const LOCKED = 1 << 13;
    }
}

impl MountFlags {
    /// All about access times.
    pub const TIMES: Self = Self::NO_ATIME.union(Self::NO_DIR_ATIME).union(Self::RELATIME);
    /// Restrictions with what keeps them.
    const LOCKS: [(Self, Self); 4] = [
        (Self::READ_ONLY, Self::LOCK_READ_ONLY),
        (Self::NO_SUID, Self::LOCK_NO_SUID),
        (Self::NO_DEV, Self::LOCK_NO_DEV),
        (Self::NO_EXEC, Self::LOCK_NO_EXEC),
    ];
    /// What users do not change themselves.
    pub const KEPT: Self = Self::LOCK_READ_ONLY
        .union(Self::LOCK_NO_SUID)
        .union(Self::LOCK_NO_DEV)
        .union(Self::LOCK_NO_EXEC)
        .union(Self::LOCK_TIMES)
        .union(Self::LOCKED);

    /// These flags with all restrictions kept, as a less privileged user namespace gets them (`lock_mnt_tree`).
    pub(super) fn with_locks(self) -> Self {
        let kept = Self::LOCKS.iter().filter(|(flag, _)| self.contains(*flag)).map(|(_, lock)| *lock);
        kept.fold(self | Self::LOCK_TIMES, Self::union)
    }

    /// Whether these flags may become `new` (`can_change_locked_flags`).
    ///
    /// # Errors
    /// `EPERM`.
    pub fn check_change(self, new: Self) -> Result<(), Errno> {
        let loses = |(flag, lock): &(Self, Self)| self.contains(*lock) && !new.contains(*flag);
        let times = self.contains(Self::LOCK_TIMES) && (self ^ new).intersects(Self::TIMES);
        if times || Self::LOCKS.iter().any(loses) { Err(Errno::EPERM) } else { Ok(()) }
    }
}

/// A file system (or a part of one) at a place in the tree.
#[derive(Debug)]
pub struct Mount {
    id: u64,
    filesystem: Arc<Filesystem>,
    root: Arc<Dentry>,
    flags: AtomicU32,
    /// What `/proc/mounts` shows as the source.
    source: FsString,
    /// Where it is mounted; `None` for the root and for what is not in a tree.
    place: RwLock<Option<Place>>,
    /// How many descriptions of regular files in it are open for writing.
    writers: AtomicU32,
    /// Whether it was asked to go if nobody uses it (`MNT_EXPIRE`).
    expiring: AtomicBool,
}

/// The mount below, and its dentry that is hidden.
type Place = (Weak<Mount>, Arc<Dentry>);

impl Mount {
    /// Below all unique numbers (`MNT_UNIQUE_ID_OFFSET`).
    pub const UNIQUE_OFFSET: u64 = 1 << 31;

    fn new(id: u64, root: FilesystemRoot, source: FsString, flags: MountFlags) -> Arc<Self> {
        Self::of(id, root.filesystem, Dentry::root(root.inode), source, flags)
    }

    fn of(
        id: u64,
        filesystem: Arc<Filesystem>,
        root: Arc<Dentry>,
        source: FsString,
        flags: MountFlags,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            filesystem,
            root,
            flags: AtomicU32::new(flags.bits()),
            source,
            place: RwLock::new(LockClass::MountPlace, None),
            writers: AtomicU32::new(0),
            expiring: AtomicBool::new(false),
        })
    }

    /// A mount that is in no tree: pipes, sockets, anonymous files.
    pub fn detached(root: FilesystemRoot) -> Arc<Self> {
        Self::new(0, root, FsString::new(), MountFlags::empty())
    }

    /// Whether it is in no tree.
    pub fn is_detached(&self) -> bool {
        self.id == 0
    }

    /// Its number, as `mountinfo` shows it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its number, as `statmount(2)` and `listmount(2)` know it: of no other mount, nor of one that shows in `mountinfo`.
    pub fn unique_id(&self) -> u64 {
        Self::UNIQUE_OFFSET + self.id
    }

    /// What is mounted.
    pub fn filesystem(&self) -> &Arc<Filesystem> {
        &self.filesystem
    }

    /// The part of the file system that is mounted.
    pub fn root(&self) -> &Arc<Dentry> {
        &self.root
    }

    /// Its restrictions.
    pub fn flags(&self) -> MountFlags {
        MountFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    /// Whether it must stay where it is.
    pub(super) fn is_locked(&self) -> bool {
        self.flags().contains(MountFlags::LOCKED)
    }

    /// Replaces its restrictions.
    pub fn set_flags(&self, flags: MountFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
    }

    /// One more or one less file in it is open for writing.
    pub(super) fn count_writer(&self, change: i32) {
        self.writers.fetch_add(change.cast_unsigned(), Ordering::AcqRel);
    }

    /// Whether files in it are open for writing.
    pub(in crate::vfs) fn has_writers(&self) -> bool {
        self.writers.load(Ordering::Acquire) > 0
    }

    /// Replaces its restrictions as a user asks.
    ///
    /// # Errors
    /// `EBUSY` for a mount that becomes read-only while files in it are open for writing.
    pub fn change_flags(&self, flags: MountFlags) -> Result<(), Errno> {
        let old = self.flags();
        if (flags - old).contains(MountFlags::READ_ONLY) && self.has_writers() {
            return Err(Errno::EBUSY);
        }
        self.set_flags(flags);
        Ok(())
    }

    /// Notes that it shall go if nobody uses it; whether that was noted before.
    pub fn expire(&self) -> bool {
        self.expiring.swap(true, Ordering::Relaxed)
    }

    /// What it was mounted from.
    pub fn source(&self) -> &[u8] {
        &self.source
    }

    /// Whether nothing can be changed through it.
    pub fn is_read_only(&self) -> bool {
        self.filesystem.is_read_only() || self.flags().contains(MountFlags::READ_ONLY)
    }

    /// Whether set-id bits and file capabilities mean nothing to somebody in `namespace` (`mnt_may_suid`).
    pub fn forbids_set_id(&self, namespace: &UserNamespace) -> bool {
        self.flags().contains(MountFlags::NO_SUID) || !namespace.is_within(self.filesystem.owner())
    }

    /// Whether device nodes cannot be opened: not where they may have been made by somebody without privilege, either.
    pub fn forbids_devices(&self) -> bool {
        let trusted = self.filesystem.owner().is_initial() || self.filesystem.ops().makes_devices();
        self.flags().contains(MountFlags::NO_DEV) || !trusted
    }

    /// The mount and the dentry that it hides; `None` at the top.
    pub fn place(&self) -> Option<(Arc<Mount>, Arc<Dentry>)> {
        let place = self.place.read();
        let (parent, dentry) = place.as_ref()?;
        Some((parent.upgrade()?, Arc::clone(dentry)))
    }

    /// Its root as a path.
    pub fn root_path(self: &Arc<Self>) -> Option<Path> {
        Path::new(Arc::clone(self), Arc::clone(&self.root))
    }
}

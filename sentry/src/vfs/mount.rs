//! Mounts and mount namespaces.

use std::sync::Arc;

use bitflags::bitflags;

use super::{Dentry, Filesystem, Inode};

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
    }
}

/// A file system (or a part of one) at a place in the tree.
#[derive(Debug)]
pub struct Mount {
    filesystem: Arc<Filesystem>,
}

impl Mount {
    /// What is mounted.
    pub fn filesystem(&self) -> &Arc<Filesystem> {
        &self.filesystem
    }
}

/// The tree of mounts that a process sees.
#[derive(Debug)]
pub struct MountNamespace {}

/// A place in the tree: a mount, and a dentry in it whose inode exists.
#[derive(Debug, Clone)]
pub struct Path {
    /// Through which mount.
    pub mount: Arc<Mount>,
    /// Which name; never a negative one.
    pub dentry: Arc<Dentry>,
    inode: Arc<Inode>,
}

impl Path {
    /// What is there.
    pub fn inode(&self) -> &Arc<Inode> {
        &self.inode
    }
}

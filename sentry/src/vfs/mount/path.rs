//! Places in the tree of mounts.

use std::sync::Arc;

use super::Mount;
use crate::vfs::{Dentry, FsString, Inode};

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
    /// The place of `dentry` in `mount`; `None` for a negative dentry.
    pub fn new(mount: Arc<Mount>, dentry: Arc<Dentry>) -> Option<Self> {
        let inode = Arc::clone(dentry.inode()?);
        Some(Self { mount, dentry, inode })
    }

    /// The root of `mount`, which shows `inode`.
    pub(super) fn root_of(mount: Arc<Mount>, inode: Arc<Inode>) -> Self {
        let dentry = Arc::clone(mount.root());
        Self { mount, dentry, inode }
    }

    /// Goes to `dentry` of the same mount; stays where it is if that is a negative one.
    pub(in crate::vfs) fn go_to(&mut self, dentry: Arc<Dentry>) {
        if let Some(inode) = dentry.inode() {
            self.inode = Arc::clone(inode);
            self.dentry = dentry;
        }
    }

    /// What is there.
    pub fn inode(&self) -> &Arc<Inode> {
        &self.inode
    }

    /// Whether both are the same place.
    pub fn is_same(&self, other: &Path) -> bool {
        Arc::ptr_eq(&self.mount, &other.mount) && Arc::ptr_eq(&self.dentry, &other.dentry)
    }

    /// Whether this is the root of its mount.
    pub fn is_mount_root(&self) -> bool {
        Arc::ptr_eq(&self.dentry, self.mount.root())
    }

    /// The place as text, seen from `root`, with `(deleted)` behind a name that is gone (`d_path`); `None` if it is not below
    /// `root`.
    pub fn text(&self, root: &Path) -> Option<FsString> {
        let mut names: Vec<FsString> = Vec::new();
        let (mut mount, mut dentry) = (Arc::clone(&self.mount), Arc::clone(&self.dentry));
        let deleted = !self.dentry.is_linked();
        loop {
            if Arc::ptr_eq(&mount, &root.mount) && Arc::ptr_eq(&dentry, &root.dentry) {
                break;
            }
            if Arc::ptr_eq(&dentry, mount.root()) {
                let (parent, place) = mount.place()?;
                (mount, dentry) = (parent, place);
                continue;
            }
            names.push(dentry.name());
            dentry = dentry.parent()?;
        }
        let mut text: FsString =
            names.iter().rev().flat_map(|name| [b"/", name.as_slice()].concat()).collect();
        if text.is_empty() {
            text.push(b'/');
        }
        if deleted {
            text.extend_from_slice(b" (deleted)");
        }
        Some(text)
    }
}

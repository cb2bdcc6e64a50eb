//! Copies of trees of mounts (`copy_tree`).

use std::collections::HashMap;
use std::sync::Arc;

use bartizan_abi::Errno;

use super::forest::Forest;
use super::{Mount, MountFlags, Path};
use crate::kernel::Namespace;
use crate::vfs::Dentry;

/// What a copy is to the mount that it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// What the other is to others: its peer, and a slave of the same.
    Peer,
    /// Its slave if it is shared, else as a peer: for a less privileged user namespace (`CL_SHARED_TO_SLAVE`).
    Descendant,
    /// Its slave.
    Slave,
    /// Its slave, and shared with copies to come.
    SharedSlave,
}

/// How much is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// One mount.
    Single,
    /// What is mounted in it too, but for what must not be bound.
    Bindable,
    /// What is mounted in it too.
    All,
}

/// A copy: its top, and what was made of what.
#[derive(Debug)]
pub(super) struct Copied {
    /// The top, which is nowhere yet.
    pub(super) top: Arc<Mount>,
    /// By numbers of the originals.
    pub(super) copies: HashMap<u64, Arc<Mount>>,
}

impl Forest {
    /// Copies mount number `id` with `root` as what it shows.
    ///
    /// # Errors
    /// `EINVAL` for what is in no tree, must not be bound, or hides something that would be seen; `EPERM` for an inner one of both kinds.
    pub(super) fn copy(
        &mut self,
        id: u64,
        root: &Arc<Dentry>,
        relation: Relation,
        extent: Extent,
    ) -> Result<Copied, Errno> {
        let node = self.node(id).ok_or(Errno::EINVAL)?;
        if node.unbindable && extent != Extent::All {
            return Err(Errno::EINVAL);
        }
        let inner: Vec<u64> =
            node.children.iter().copied().filter(|&child| self.is_inside(child, root)).collect();
        let is_locked = |id: &u64| self.mount(*id).is_some_and(|mount| mount.is_locked());
        if extent == Extent::Single && inner.iter().any(is_locked) {
            return Err(Errno::EINVAL);
        }
        let inner = if extent == Extent::Single { Vec::new() } else { inner };
        let unbindable = |id: &u64| self.node(*id).is_some_and(|node| node.unbindable);
        let all = inner.iter().flat_map(|&child| self.subtree(child));
        if extent == Extent::Bindable && all.into_iter().any(|id| is_locked(&id) && unbindable(&id)) {
            return Err(Errno::EPERM);
        }
        let top = self.copy_one(id, root, relation).ok_or(Errno::EINVAL)?;
        top.set_flags(top.flags() - MountFlags::LOCKED);
        let mut copies = HashMap::from([(id, Arc::clone(&top))]);
        for child in inner {
            for id in self.subtree(child) {
                self.copy_inner(id, relation, extent, &mut copies);
            }
        }
        Ok(Copied { top, copies })
    }

    /// Copies mount number `id` to where it is in the copy of its parent, if there is one.
    fn copy_inner(
        &mut self,
        id: u64,
        relation: Relation,
        extent: Extent,
        copies: &mut HashMap<u64, Arc<Mount>>,
    ) {
        let Some(node) = self.node(id) else { return };
        if node.unbindable && extent != Extent::All {
            return;
        }
        let mount = Arc::clone(&node.mount);
        let kept = mount.root.inode().and_then(|inode| inode.ops().namespace());
        if extent == Extent::All && matches!(kept, Some(Namespace::Mount(_))) {
            // In another namespace it could be kept by what it keeps.
            return;
        }
        let Some((parent, dentry)) = mount.place() else { return };
        let Some(parent) = copies.get(&parent.id).cloned() else { return };
        let Some(place) = Path::new(parent, dentry) else { return };
        if let Some(copy) = self.copy_one(id, &mount.root, relation) {
            self.put_on(&place, copy.id);
            copies.insert(id, copy);
        }
    }

    /// Copies one mount; the copy is nowhere, and may be bound even if the other must not.
    fn copy_one(&mut self, id: u64, root: &Arc<Dentry>, relation: Relation) -> Option<Arc<Mount>> {
        let node = self.node(id)?;
        let (group, master) = (node.group, node.master);
        let relation = match relation {
            Relation::Descendant if group.is_some() => Relation::Slave,
            Relation::Descendant => Relation::Peer,
            relation => relation,
        };
        let old = Arc::clone(&node.mount);
        let copy = self.make(Arc::clone(&old.filesystem), Arc::clone(root), old.source.clone(), old.flags());
        let master = if relation == Relation::Peer { master } else { group };
        if let Some(master) = master {
            self.enslave(copy.id, master);
        }
        match (relation, group) {
            (Relation::Peer, Some(group)) => self.join(copy.id, group, id),
            (Relation::SharedSlave, _) => self.share(copy.id),
            _ => {}
        }
        Some(copy)
    }

    /// Keeps the restrictions of all mounts of the tree of mount number `top`, and inner ones where they are (`lock_mnt_tree`).
    pub(super) fn lock_tree(&self, top: u64) {
        for id in self.subtree(top) {
            if let Some(mount) = self.mount(id) {
                let locked = if id == top { MountFlags::empty() } else { MountFlags::LOCKED };
                mount.set_flags(mount.flags().with_locks() | locked);
            }
        }
    }

    /// Unmakes a tree that is nowhere.
    pub(super) fn discard(&mut self, top: u64) {
        for id in self.subtree(top).into_iter().rev() {
            self.remove(id);
        }
    }
}

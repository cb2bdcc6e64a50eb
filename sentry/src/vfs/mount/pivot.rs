//! `pivot_root(2)`.

use std::sync::Arc;

use bartizan_abi::Errno;

use super::forest::Forest;
use super::{MountFlags, MountNamespace, Path};

impl MountNamespace {
    /// Makes the mount whose root is `new` what `root`'s mount was, and moves `root`'s mount to `put_old`.
    ///
    /// # Errors
    /// Those of `pivot_root(2)`.
    pub fn pivot(&self, root: &Path, new: &Path, put_old: &Path) -> Result<(), Errno> {
        self.table.change(|forest| {
            let place = forest.mount_point(put_old)?;
            self.check_pivot(forest, root, new, &place)?;
            let (old_id, new_id) = (root.mount.id(), new.mount.id());
            let _new_place = forest.take_off(new_id);
            let below = forest.take_off(old_id).ok_or(Errno::EINVAL)?;
            if root.mount.is_locked() {
                // What it hides stays hidden.
                new.mount.set_flags(new.mount.flags() | MountFlags::LOCKED);
                root.mount.set_flags(root.mount.flags() - MountFlags::LOCKED);
            }
            forest.put_on(&below, new_id);
            forest.put_on(&place, old_id);
            Ok(())
        })
    }

    fn check_pivot(&self, forest: &Forest, root: &Path, new: &Path, place: &Path) -> Result<(), Errno> {
        let node = |path: &Path| forest.node(path.mount.id()).ok_or(Errno::EINVAL);
        let (old_node, new_node, place_node) = (node(root)?, node(new)?, node(place)?);
        let is_shared =
            |id: Option<u64>| id.and_then(|id| forest.node(id)).is_some_and(|node| node.group.is_some());
        if place_node.group.is_some() || is_shared(new_node.parent) || is_shared(old_node.parent) {
            return Err(Errno::EINVAL);
        }
        if old_node.tree != self.tree || new_node.tree != self.tree || new.mount.is_locked() {
            return Err(Errno::EINVAL);
        }
        if !new.dentry.is_linked() {
            return Err(Errno::ENOENT);
        }
        if Arc::ptr_eq(&new.mount, &root.mount) || Arc::ptr_eq(&place.mount, &root.mount) {
            return Err(Errno::EBUSY);
        }
        let are_roots = root.is_mount_root() && new.is_mount_root();
        let have_parents = old_node.parent.is_some() && new_node.parent.is_some();
        if !are_roots || !have_parents || !forest.is_reachable(place, new) || !forest.is_reachable(new, root)
        {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }
}

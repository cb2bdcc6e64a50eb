//! Trees of mounts that a descriptor holds and no namespace shows (`open_tree(2)`, `fsmount(2)`), and how they come into one
//! (`move_mount(2)`).

use std::sync::Arc;

use bartizan_abi::Errno;

use super::copy::{Extent, Relation};
use super::forest::{Forest, check_types};
use super::table::MountTable;
use super::{Mount, MountFlags, MountNamespace, Path};
use crate::vfs::{Dentry, File, FileOps, FilesystemRoot};

/// A tree of mounts that is in no namespace. What is still in it goes with it.
#[derive(Debug)]
pub struct DetachedTree {
    table: Arc<MountTable>,
    tree: u64,
}

/// A description of the top of such a tree does nothing but keep it.
impl FileOps for DetachedTree {
    fn seekable(&self) -> bool {
        false
    }

    fn read_directory(
        &self,
        _file: &File,
        _sink: &mut dyn crate::vfs::DirectorySink,
        _offset: u64,
    ) -> Result<u64, Errno> {
        Err(Errno::EBADF)
    }
}

impl Drop for DetachedTree {
    fn drop(&mut self) {
        self.table.end_tree(self.tree);
    }
}

/// Where a moved mount goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// On top of what is at the place.
    OnTop,
    /// Below the mount whose root the place is (`MOVE_MOUNT_BENEATH`).
    Beneath,
}

impl MountNamespace {
    /// A copy of what is at `path`, with its submounts if `recursive`, and the top of it (`OPEN_TREE_CLONE`).
    ///
    /// # Errors
    /// `EINVAL` for what this namespace has nothing to do with, and for what must not be bound.
    pub fn clone_detached(&self, path: &Path, recursive: bool) -> Result<(DetachedTree, Path), Errno> {
        let (tree, top) = self.table.change(|forest| {
            if !self.may_use(forest, &path.mount) {
                return Err(Errno::EINVAL);
            }
            let extent = if recursive { Extent::Bindable } else { Extent::Single };
            let copied = forest.copy(path.mount.id(), &path.dentry, Relation::Peer, extent)?;
            Ok((forest.plant_detached(copied.top.id(), self.tree), copied.top))
        })?;
        self.detached(tree, &top)
    }

    /// A new mount of a file system, and the top of it (`fsmount(2)`).
    ///
    /// # Errors
    /// None in practice.
    pub fn mount_detached(
        &self,
        root: FilesystemRoot,
        source: &[u8],
        flags: MountFlags,
    ) -> Result<(DetachedTree, Path), Errno> {
        let (tree, top) = self.table.change(|forest| {
            let mount = forest.make(root.filesystem, Dentry::root(root.inode), source.to_vec(), flags);
            (forest.plant_detached(mount.id(), self.tree), mount)
        });
        self.detached(tree, &top)
    }

    fn detached(&self, tree: u64, top: &Arc<Mount>) -> Result<(DetachedTree, Path), Errno> {
        let tree = DetachedTree { table: Arc::clone(&self.table), tree };
        Ok((tree, top.root_path().ok_or(Errno::ENOENT)?))
    }

    /// Whether a task of this namespace may use `mount`: it is in it, or in a detached tree that was made in it.
    fn may_use(&self, forest: &Forest, mount: &Mount) -> bool {
        let Some(tree) = forest.tree_of(mount) else { return false };
        tree == self.tree || forest.trees.get(&tree).is_some_and(|tree| tree.origin == Some(self.tree))
    }

    /// Moves the mount whose root is `from`, of this namespace or the top of a detached tree, to `path` (`move_mount(2)`).
    ///
    /// # Errors
    /// As [`move_mount`](Self::move_mount).
    pub fn attach(&self, path: &Path, from: &Path, side: Side, process_root: &Path) -> Result<(), Errno> {
        self.table.change(|forest| {
            if !from.is_mount_root() || from.mount.is_locked() {
                return Err(Errno::EINVAL);
            }
            let place = forest.mount_point(path)?;
            check_types(&place.dentry, from.mount.root()).map_err(|_| Errno::EINVAL)?;
            self.check_source(forest, &place, from)?;
            let place = match side {
                Side::OnTop => place,
                Side::Beneath => self.place_beneath(forest, &place, from, process_root)?,
            };
            forest.check_move(&place, from)?;
            forest.relocate(from.mount.id(), &place)
        })
    }

    fn check_source(&self, forest: &Forest, place: &Path, from: &Path) -> Result<(), Errno> {
        let node = forest.node(from.mount.id()).ok_or(Errno::EINVAL)?;
        let target = forest.tree_of(&place.mount);
        let movable = if node.tree == self.tree {
            node.parent.is_some_and(|parent| !forest.is_shared(parent)) && target == Some(self.tree)
        } else {
            forest.is_detached_top(from.mount.id())
                && target != Some(node.tree)
                && self.may_use(forest, &place.mount)
        };
        if movable { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// Where a mount goes that comes below the one at `over` (`can_move_mount_beneath`).
    fn place_beneath(
        &self,
        forest: &Forest,
        over: &Path,
        from: &Path,
        process_root: &Path,
    ) -> Result<Path, Errno> {
        if !over.is_mount_root() || Arc::ptr_eq(&over.mount, &process_root.mount) {
            return Err(Errno::EINVAL);
        }
        let (parent, dentry) = over.mount.place().ok_or(Errno::EINVAL)?;
        let (id, over_id) = (from.mount.id(), over.mount.id());
        let is_top = forest.trees.get(&self.tree).is_some_and(|tree| tree.root == parent.id());
        let is_covered = forest.on_top(id, from.mount.root()).is_some();
        if is_top || is_covered || forest.subtree(over_id).contains(&id) {
            return Err(Errno::EINVAL);
        }
        // What is mounted there must not come on top of what it goes below, nor of itself.
        let covers = |mount: &Mount| {
            Arc::ptr_eq(mount.root(), &dentry)
                && forest.all_receivers(parent.id(), &dentry).contains(&mount.id())
        };
        if covers(&over.mount) || forest.tree_of(&from.mount) == Some(self.tree) && covers(&from.mount) {
            return Err(Errno::EINVAL);
        }
        Path::new(parent, dentry).ok_or(Errno::EINVAL)
    }

    /// Puts the mount of `to` into the groups of the mount of `from` (`MOVE_MOUNT_SET_GROUP`).
    ///
    /// # Errors
    /// `EINVAL` for what is not the root of a mount of this namespace, of two file systems, or of which `from` shows less, for a `to` that
    /// is in groups already and for a `from` that is in none.
    pub fn copy_groups(&self, from: &Path, to: &Path) -> Result<(), Errno> {
        self.table.change(|forest| {
            let own = |path: &Path| path.is_mount_root() && forest.tree_of(&path.mount) == Some(self.tree);
            let same = Arc::ptr_eq(from.mount.filesystem(), to.mount.filesystem());
            if !own(from) || !own(to) || !same || !to.mount.root().is_below(from.mount.root()) {
                return Err(Errno::EINVAL);
            }
            let node = |path: &Path| forest.node(path.mount.id()).ok_or(Errno::EINVAL);
            let (source, target) = (node(from)?, node(to)?);
            let (group, master) = (source.group, source.master);
            if target.group.or(target.master).is_some() || group.or(master).is_none() {
                return Err(Errno::EINVAL);
            }
            let id = to.mount.id();
            if let Some(master) = master {
                forest.enslave(id, master);
            }
            if let Some(group) = group {
                forest.join(id, group, from.mount.id());
            }
            Ok(())
        })
    }
}

impl Forest {
    /// Makes a tree that only a descriptor holds, of a namespace whose tree is `origin`.
    fn plant_detached(&mut self, root: u64, origin: u64) -> u64 {
        let tree = self.plant(root);
        if let Some(tree) = self.trees.get_mut(&tree) {
            tree.origin = Some(origin);
        }
        tree
    }

    /// Whether mount number `id` is the top of a detached tree.
    pub(super) fn is_detached_top(&self, id: u64) -> bool {
        let tree = self.node(id).and_then(|node| self.trees.get(&node.tree));
        tree.is_some_and(|tree| tree.origin.is_some() && tree.root == id)
    }
}

//! What is done to the mounts of a namespace: `mount(2)`. Who may do that is the caller's concern.

use std::sync::Arc;

use bartizan_abi::Errno;

use super::copy::{Extent, Relation};
use super::forest::{Forest, NO_TREE, check_types};
use super::{Mount, MountFlags, MountNamespace, Path, Propagation};
use crate::kernel::Namespace;
use crate::vfs::{Dentry, Filesystem, FilesystemRoot};

impl MountNamespace {
    /// Mounts a file system on `path`.
    ///
    /// # Errors
    /// `ENOTDIR` unless both or neither are directories, `ENOENT` for a removed directory, `EINVAL` for a place that is not in
    /// this namespace, `ENOSPC` for too many mounts, `EBUSY` for what is mounted right there already.
    pub fn mount(
        &self,
        path: &Path,
        root: FilesystemRoot,
        source: &[u8],
        flags: MountFlags,
    ) -> Result<Arc<Mount>, Errno> {
        self.table.change(|forest| {
            let place = self.mount_point(forest, path)?;
            if place.is_mount_root() && Arc::ptr_eq(place.mount.filesystem(), &root.filesystem) {
                return Err(Errno::EBUSY);
            }
            let top = Dentry::root(root.inode);
            check_types(&place.dentry, &top)?;
            let mount = forest.make(root.filesystem, top, source.to_vec(), flags);
            forest.attach_new(mount, &place)
        })
    }

    /// Mounts what is at `from` also on `path` (`MS_BIND`); with its submounts if `recursive`.
    ///
    /// # Errors
    /// As [`mount`](Self::mount); `EINVAL` too for a source that is not in this namespace or must not be bound.
    pub fn bind(&self, path: &Path, from: &Path, recursive: bool) -> Result<Arc<Mount>, Errno> {
        self.table.change(|forest| {
            let place = self.mount_point(forest, path)?;
            let top = if self.may_keep(from) {
                let (filesystem, root) = (Arc::clone(from.mount.filesystem()), Arc::clone(&from.dentry));
                forest.make(filesystem, root, b"nsfs".to_vec(), MountFlags::empty())
            } else if forest.tree_of(&from.mount) == Some(self.tree) {
                let extent = if recursive { Extent::Bindable } else { Extent::Single };
                forest.copy(from.mount.id(), &from.dentry, Relation::Peer, extent)?.top
            } else {
                return Err(Errno::EINVAL);
            };
            let checked = check_types(&place.dentry, &from.dentry);
            checked.inspect_err(|_| forest.discard(top.id()))?;
            forest.attach_new(top, &place)
        })
    }

    /// Whether `from` is a namespace as a file, which a mount of this namespace may keep: not one of mounts that could keep this one in turn
    /// (`mnt_ns_loop`).
    fn may_keep(&self, from: &Path) -> bool {
        match from.inode().ops().namespace() {
            Some(Namespace::Mount(mounts)) => from.mount.is_detached() && mounts.identity() > self.identity(),
            Some(_) => from.mount.is_detached(),
            None => false,
        }
    }

    /// Moves the mount whose root is `from` onto `path` (`MS_MOVE`).
    ///
    /// # Errors
    /// `EINVAL` for what is not the root of a mount, for what is in a shared mount, for a directory and a file, and for a place that would propagate
    /// what must not be bound; `ELOOP` for a place below the mount itself; `ENOENT` for a removed directory.
    pub fn move_mount(&self, path: &Path, from: &Path) -> Result<(), Errno> {
        self.table.change(|forest| {
            let place = self.mount_point(forest, path)?;
            let node = forest.node(from.mount.id()).ok_or(Errno::EINVAL)?;
            if node.tree != self.tree || !from.is_mount_root() || from.mount.is_locked() {
                return Err(Errno::EINVAL);
            }
            let Some(parent) = node.parent else { return Err(Errno::EINVAL) };
            if forest.is_shared(parent) {
                return Err(Errno::EINVAL);
            }
            forest.check_move(&place, from)?;
            forest.relocate(from.mount.id(), &place)
        })
    }

    /// Changes how the mount whose root is `path` propagates, and all that is mounted in it if `recursive`.
    ///
    /// # Errors
    /// `EINVAL` for what is not the root of a mount of this namespace.
    pub fn set_propagation(
        &self,
        path: &Path,
        propagation: Propagation,
        recursive: bool,
    ) -> Result<(), Errno> {
        self.table.change(|forest| {
            if !path.is_mount_root() || forest.tree_of(&path.mount) != Some(self.tree) {
                return Err(Errno::EINVAL);
            }
            let id = path.mount.id();
            let all = if recursive { forest.subtree(id) } else { vec![id] };
            all.into_iter().for_each(|id| forest.set_propagation(id, propagation));
            Ok(())
        })
    }

    /// Forbids or allows changes to a file system, by whatever mount.
    ///
    /// # Errors
    /// `EROFS` for changes to what can only be read, `EBUSY` if files are open for writing that must not be any more.
    pub fn set_read_only(&self, filesystem: &Arc<Filesystem>, read_only: bool) -> Result<(), Errno> {
        let forest = self.table.forest.read();
        let mut shown = forest.nodes.values().filter(|node| Arc::ptr_eq(&node.mount.filesystem, filesystem));
        if read_only && !filesystem.is_read_only() && shown.any(|node| node.mount.has_writers()) {
            return Err(Errno::EBUSY);
        }
        filesystem.set_read_only(read_only)
    }

    /// The flags that a new mount of a type gets that wants `flags`, if all of another one is to be seen in this namespace and is no more
    /// restricted; `None` if not.
    pub fn flags_where_visible(&self, type_name: &str, flags: MountFlags) -> Option<MountFlags> {
        let forest = self.table.forest.read();
        let tree = forest.trees.get(&self.tree)?;
        let locks = MountFlags::LOCK_READ_ONLY | MountFlags::LOCK_TIMES;
        let visible = |id: &u64| {
            let node = forest.node(*id)?;
            let mount = &node.mount;
            let whole = mount.filesystem().ops().type_name() == type_name && mount.root().parent().is_none();
            let hidden =
                node.children.iter().filter_map(|&child| forest.mount(child)).any(|child| child.is_locked());
            let held = mount.flags() & locks;
            let wanted = (flags, mount.flags());
            let fits = (!held.contains(MountFlags::LOCK_READ_ONLY) || flags.contains(MountFlags::READ_ONLY))
                && (!held.contains(MountFlags::LOCK_TIMES)
                    || wanted.0 & MountFlags::TIMES == wanted.1 & MountFlags::TIMES);
            (whole && !hidden && fits).then_some(flags | held)
        };
        tree.mounts.iter().find_map(visible)
    }

    /// Whether `mount` is in this namespace.
    pub fn contains(&self, mount: &Mount) -> bool {
        self.table.forest.read().tree_of(mount) == Some(self.tree)
    }

    /// Where a mount on `path` goes, in this namespace.
    fn mount_point(&self, forest: &Forest, path: &Path) -> Result<Path, Errno> {
        let place = forest.mount_point(path)?;
        if forest.tree_of(&place.mount) == Some(self.tree) { Ok(place) } else { Err(Errno::EINVAL) }
    }
}

impl Forest {
    /// Where a mount on `path` goes: on top of what is mounted there.
    pub(super) fn mount_point(&self, path: &Path) -> Result<Path, Errno> {
        let place = self.topmost(path);
        if place.dentry.is_linked() { Ok(place) } else { Err(Errno::ENOENT) }
    }

    /// Puts a tree that was just made on `place`, or unmakes it.
    fn attach_new(&mut self, mount: Arc<Mount>, place: &Path) -> Result<Arc<Mount>, Errno> {
        let attached = self.attach(mount.id(), place);
        attached.inspect_err(|_| self.discard(mount.id()))?;
        Ok(mount)
    }

    pub(super) fn is_shared(&self, id: u64) -> bool {
        self.node(id).is_some_and(|node| node.group.is_some())
    }

    /// Whether the mount of `from` may be moved to `place`.
    pub(super) fn check_move(&self, place: &Path, from: &Path) -> Result<(), Errno> {
        let id = from.mount.id();
        let must_stay = |id: &u64| self.node(*id).is_some_and(|node| node.unbindable);
        if self.is_shared(place.mount.id()) && self.subtree(id).iter().any(must_stay) {
            return Err(Errno::EINVAL);
        }
        check_types(&place.dentry, from.mount.root()).map_err(|_| Errno::EINVAL)?;
        // All of the tree is below its top.
        if self.is_reachable(place, from) { Err(Errno::ELOOP) } else { Ok(()) }
    }

    /// Moves mount number `id` to `place`, or leaves it where it is.
    pub(super) fn relocate(&mut self, id: u64, place: &Path) -> Result<(), Errno> {
        let tree = self.node(id).map_or(NO_TREE, |node| node.tree);
        let old = self.take_off(id);
        if old.is_none() {
            // Nothing propagates to the tree that is just emptied.
            self.set_tree(id, NO_TREE);
        }
        let attached = self.attach(id, place);
        match (&attached, &old) {
            (Err(_), Some(old)) => self.put_on(old, id),
            (Err(_), None) => self.set_tree(id, tree),
            (Ok(()), _) => {}
        }
        attached
    }
}

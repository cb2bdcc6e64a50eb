//! Mount namespaces (`mount_namespaces(7)`).

use std::sync::Arc;

use bartizan_abi::Errno;

use super::copy::{Extent, Relation};
use super::forest::Forest;
use super::table::MountTable;
use super::{Mount, MountFlags, Path, TreeChanges, rootfs};
use crate::kernel::UserNamespace;
use crate::sync::{LockClass, RwLock};
use crate::vfs::{DentryCache, DeviceRegistry, FilesystemRoot};

/// The tree of mounts that a process sees, with the dentry cache of all that is below it. Its mounts go with it.
#[derive(Debug)]
pub struct MountNamespace {
    pub(super) table: Arc<MountTable>,
    /// The number of its tree.
    pub(super) tree: u64,
    /// What `/proc/[pid]/ns/mnt` shows.
    identity: u32,
    /// The user namespace whose administrators may change it.
    owner: UserNamespace,
}

impl MountNamespace {
    /// The number of the first namespace (`/proc/[pid]/ns/mnt`).
    const INITIAL: u32 = 0xf000_0001;

    /// A first namespace with `root` at its top, in which device nodes stand for `devices`.
    pub fn new(
        root: FilesystemRoot,
        source: &[u8],
        flags: MountFlags,
        devices: Arc<DeviceRegistry>,
    ) -> Arc<Self> {
        let (namespace, place) = Self::with_devices(devices);
        namespace.table.change(|forest| {
            let top = crate::vfs::Dentry::root(root.inode);
            let top = forest.make(root.filesystem, top, source.to_vec(), flags);
            forest.put_on(&place, top.id());
        });
        namespace
    }

    /// A namespace in which nothing is, and its root.
    pub(in crate::vfs) fn empty() -> (Arc<Self>, Path) {
        Self::with_devices(Arc::default())
    }

    fn with_devices(devices: Arc<DeviceRegistry>) -> (Arc<Self>, Path) {
        const ROOTFS_ID: u64 = 1;
        const BEFORE_ROOT: u64 = 19;
        let root = rootfs::root();
        let inode = Arc::clone(&root.inode);
        let hidden = Mount::new(ROOTFS_ID, root, b"none".to_vec(), MountFlags::empty());
        let mut forest = Forest::new(BEFORE_ROOT);
        forest.insert(&hidden);
        let tree = forest.plant(ROOTFS_ID);
        let table = Arc::new(MountTable::new(RwLock::new(LockClass::Mounts, forest), devices));
        (
            Arc::new(Self { table, tree, identity: Self::INITIAL, owner: UserNamespace::default() }),
            Path::root_of(hidden, inode),
        )
    }

    /// A copy with the number `identity` in `owner` (`CLONE_NEWNS`); in another user namespace than that of this one, its mounts receive from those
    /// here alone, and stay as they are. Of `places`, those that are in this namespace are in the copy then.
    ///
    /// # Errors
    /// None in practice.
    pub fn duplicate(
        &self,
        identity: u32,
        owner: UserNamespace,
        places: &mut [&mut Path],
    ) -> Result<Arc<Self>, Errno> {
        let (tree, copies) = self.table.change(|forest| {
            let root = forest.trees.get(&self.tree).map(|tree| tree.root).ok_or(Errno::EINVAL)?;
            let shown = Arc::clone(forest.mount(root).ok_or(Errno::EINVAL)?.root());
            let foreign = owner != self.owner;
            let relation = if foreign { Relation::Descendant } else { Relation::Peer };
            let copied = forest.copy(root, &shown, relation, Extent::All)?;
            if foreign {
                forest.lock_tree(copied.top.id());
            }
            let tree = forest.plant(copied.top.id());
            forest.set_owner(tree, owner.clone());
            Ok::<_, Errno>((tree, copied.copies))
        })?;
        for place in places {
            let copy = copies.get(&place.mount.id()).map(Arc::clone);
            if let Some(new) = copy.and_then(|copy| Path::new(copy, Arc::clone(&place.dentry))) {
                **place = new;
            }
        }
        Ok(Arc::new(Self { table: Arc::clone(&self.table), tree, identity, owner }))
    }

    /// The number that `/proc/[pid]/ns/mnt` shows.
    pub fn identity(&self) -> u32 {
        self.identity
    }

    /// The user namespace whose administrators may change it.
    pub fn owner(&self) -> &UserNamespace {
        &self.owner
    }

    /// Its changes.
    pub fn changes(&self) -> Arc<TreeChanges> {
        let forest = self.table.forest.read();
        forest.trees.get(&self.tree).map(|tree| Arc::clone(&tree.changes)).unwrap_or_default()
    }

    /// Flags of its mounts have changed.
    pub fn touch(&self) {
        self.changes().tell();
    }

    /// What device nodes stand for.
    pub fn devices(&self) -> &DeviceRegistry {
        &self.table.devices
    }

    /// What ties the two halves of the next rename together; never zero.
    pub(in crate::vfs) fn new_cookie(&self) -> u32 {
        self.table.new_cookie()
    }

    /// The dentry cache, which all namespaces share.
    pub fn cache(&self) -> &DentryCache {
        &self.table.cache
    }

    /// The top of the tree: the root of the mount that hides all others there.
    pub fn root(&self) -> Option<Path> {
        let forest = self.table.forest.read();
        let root = forest.trees.get(&self.tree)?.root;
        Some(forest.topmost(&forest.mount(root)?.root_path()?))
    }

    /// What is seen at `path`: the root of whatever is mounted on it, or itself.
    #[inline]
    pub fn topmost(&self, mut path: Path) -> Path {
        while path.dentry.is_mount_point() {
            let above = self.table.forest.read().on_top(path.mount.id(), &path.dentry).cloned();
            match above.and_then(|mount| mount.root_path()) {
                Some(root) => path = root,
                None => break,
            }
        }
        path
    }

    /// All mounts, in the order of their making.
    pub fn mounts(&self) -> Vec<Arc<Mount>> {
        let forest = self.table.forest.read();
        let Some(tree) = forest.trees.get(&self.tree) else { return Vec::new() };
        tree.mounts.iter().filter_map(|&id| forest.mount(id).cloned()).collect()
    }
}

impl Drop for MountNamespace {
    fn drop(&mut self) {
        self.table.end_tree(self.tree);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::{Propagation, Unmount};

    /// A namespace with a file system mounted on its root.
    fn mounted() -> (Arc<MountNamespace>, Path) {
        let (namespace, root) = MountNamespace::empty();
        namespace.mount(&root, rootfs::root(), b"top", MountFlags::empty()).unwrap();
        let top = namespace.root().unwrap();
        (namespace, top)
    }

    fn sources(namespace: &MountNamespace) -> Vec<Vec<u8>> {
        namespace.mounts().iter().map(|mount| mount.source().to_vec()).collect()
    }

    #[test]
    fn a_copy_has_its_own_mounts_and_goes_with_them() {
        let (namespace, top) = mounted();
        let mut place = top.clone();
        let copy = namespace.duplicate(5, UserNamespace::default(), &mut [&mut place]).unwrap();
        assert!(copy.contains(&place.mount) && !namespace.contains(&place.mount));
        assert!(Arc::ptr_eq(&place.dentry, &top.dentry));
        copy.mount(&place, rootfs::root(), b"inner", MountFlags::empty()).unwrap();
        assert_eq!((sources(&namespace).len(), sources(&copy).len()), (2, 3));
        let mount = Arc::clone(&place.mount);
        drop(copy);
        assert!(mount.place().is_none());
        assert_eq!(sources(&namespace), [b"none", &b"top"[..]]);
        assert_eq!(namespace.unmount(top, Unmount::IfIdle), Ok(()));
    }

    #[test]
    fn shared_mounts_reach_copies_until_they_are_private() {
        let (namespace, top) = mounted();
        namespace.set_propagation(&top, Propagation::Shared, false).unwrap();
        let mut place = top.clone();
        let copy = namespace.duplicate(5, UserNamespace::default(), &mut [&mut place]).unwrap();
        namespace.mount(&top, rootfs::root(), b"seen", MountFlags::empty()).unwrap();
        assert_eq!(sources(&copy).last().unwrap(), b"seen");
        copy.unmount(copy.root().unwrap(), Unmount::IfIdle).unwrap();
        assert_eq!(sources(&namespace).len(), 2);
        copy.set_propagation(&place, Propagation::Slave, false).unwrap();
        copy.mount(&place, rootfs::root(), b"own", MountFlags::empty()).unwrap();
        assert_eq!(sources(&namespace).len(), 2);
        let group = |namespace: &MountNamespace, path: &Path| {
            let (report, reached) = namespace.report(path.mount.id(), path).unwrap();
            assert!(reached);
            (report.group, report.master)
        };
        assert_eq!((group(&namespace, &top), group(&copy, &place)), ((Some(1), None), (None, Some(1))));
        namespace.set_propagation(&top, Propagation::Private, false).unwrap();
        assert_eq!(group(&copy, &place), (None, None));
    }

    #[test]
    fn detached_trees_end_unless_they_are_attached() {
        let (namespace, top) = mounted();
        let (tree, path) = namespace.clone_detached(&top, true).unwrap();
        assert!(!namespace.contains(&path.mount));
        drop(tree);
        assert_eq!(namespace.clone_detached(&path, false).unwrap_err(), Errno::EINVAL);
        let (tree, path) = namespace.mount_detached(rootfs::root(), b"new", MountFlags::empty()).unwrap();
        namespace.attach(&top, &path, crate::vfs::Side::OnTop, &top).unwrap();
        drop(tree);
        assert!(namespace.contains(&path.mount));
    }
}

//! What all namespaces of a kernel have in common: the forest, the dentry cache, the devices.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::TreeChanges;
use super::forest::{Forest, Gone};
use super::unmount::Spread;
use crate::sync::RwLock;
use crate::vfs::{DentryCache, DeviceRegistry, Filesystem, notify};

/// Shared by all namespaces.
#[derive(Debug)]
pub(super) struct MountTable {
    pub(super) forest: RwLock<Forest>,
    /// The last cookie of a rename (`inotify(7)`).
    last_cookie: AtomicU32,
    pub(super) cache: DentryCache,
    pub(super) devices: Arc<DeviceRegistry>,
}

impl MountTable {
    pub(super) fn new(forest: RwLock<Forest>, devices: Arc<DeviceRegistry>) -> Self {
        Self { forest, last_cookie: AtomicU32::new(0), cache: DentryCache::default(), devices }
    }

    /// What ties the two halves of the next rename together; never zero.
    pub(super) fn new_cookie(&self) -> u32 {
        let last = self.last_cookie.fetch_add(1, Ordering::Relaxed);
        last.wrapping_add(1).max(1)
    }

    /// Changes the forest. What it lets go of is dropped without the lock.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Forest) -> T) -> T {
        let (result, gone, unused, changed) = {
            let mut forest = self.forest.write();
            let result = change(&mut forest);
            let gone = std::mem::take(&mut forest.gone);
            let unused = forest.unused(&gone);
            let touched = std::mem::take(&mut forest.touched);
            let trees = touched.iter().filter_map(|tree| forest.trees.get(tree));
            let changed: Vec<Arc<TreeChanges>> = trees.map(|tree| Arc::clone(&tree.changes)).collect();
            (result, gone, unused, changed)
        };
        drop(gone);
        changed.iter().for_each(|changes| changes.tell());
        notify::on_unmount(&unused);
        self.cache.forget_filesystems(&unused);
        result
    }

    /// Takes out all mounts of `tree`, whose end nobody else sees.
    pub(super) fn end_tree(&self, tree: u64) {
        self.change(|forest| {
            let Some(root) = forest.trees.get(&tree).map(|tree| tree.root) else { return };
            // What was its top may be in another tree by now.
            if forest.node(root).is_some_and(|node| node.tree == tree) {
                forest.unmount(root, Spread::Here);
            }
            forest.trees.remove(&tree);
        });
    }
}

impl Forest {
    /// The file systems of mounts that have gone, if nothing else shows them.
    fn unused(&self, gone: &[Gone]) -> Vec<Arc<Filesystem>> {
        let is_gone = |gone: &&Gone| !self.nodes.contains_key(&gone.mount.id);
        let mut suspects: Vec<&Arc<Filesystem>> =
            gone.iter().filter(is_gone).map(|gone| &gone.mount.filesystem).collect();
        if suspects.is_empty() {
            return Vec::new();
        }
        let address = |filesystem: &Arc<Filesystem>| Arc::as_ptr(filesystem).addr();
        suspects.sort_by_key(|filesystem| address(filesystem));
        suspects.dedup_by_key(|filesystem| address(filesystem));
        let shown: HashSet<usize> = self.nodes.values().map(|node| address(&node.mount.filesystem)).collect();
        suspects.into_iter().filter(|filesystem| !shown.contains(&address(filesystem))).cloned().collect()
    }
}

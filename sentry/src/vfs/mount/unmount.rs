//! Taking mounts out: `umount2(2)`, the end of a tree, the removal of a mount point.

use std::collections::HashSet;
use std::sync::Arc;

use bartizan_abi::Errno;

use super::forest::Forest;
use super::{MountNamespace, Path};
use crate::vfs::Dentry;

/// The references to a mount that is not used: the two of the forest.
const IDLE_REFERENCES: usize = 2;

/// Whether a mount may be in use when it is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmount {
    /// It may not, and nothing may be mounted below it.
    IfIdle,
    /// It goes with all that is below, and lives on for those who use it (`MNT_DETACH`).
    Lazily,
}

/// Whether other trees see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    /// What has propagated goes, too.
    Everywhere,
    /// It stays.
    Here,
}

impl MountNamespace {
    /// Takes the mount of `path` out of the tree, and what propagated from it.
    ///
    /// # Errors
    /// `EBUSY` when it is used or something is mounted below it, `EINVAL` when `path` is not its root, or it is the top of the tree, locked, or not in
    /// this tree.
    pub fn unmount(&self, path: Path, how: Unmount) -> Result<(), Errno> {
        if !path.is_mount_root() {
            return Err(Errno::EINVAL);
        }
        let id = path.mount.id();
        drop(path);
        self.table.change(|forest| {
            let node = forest.node(id).ok_or(Errno::EINVAL)?;
            if node.tree != self.tree || node.parent.is_none() || node.mount.is_locked() {
                return Err(Errno::EINVAL);
            }
            if how == Unmount::IfIdle && forest.is_busy(id, 0) {
                return Err(Errno::EBUSY);
            }
            forest.unmount(id, Spread::Everywhere);
            Ok(())
        })
    }

    /// Whether nothing uses the mount of `path` but the caller with this one path, and nothing is mounted below it.
    pub fn is_idle(&self, path: &Path) -> bool {
        !self.table.forest.read().is_busy(path.mount.id(), 1)
    }

    /// Takes out all mounts, in whatever namespace, that are on `dentry`, whose name is gone (`detach_mounts`).
    pub fn detach_from(&self, dentry: &Arc<Dentry>) {
        while dentry.is_mount_point() {
            let one = self.table.change(|forest| {
                let one = forest.mounts_on(dentry).next();
                one.inspect(|&id| forest.unmount(id, Spread::Here))
            });
            if one.is_none() {
                break;
            }
        }
    }

    /// Whether something is mounted on `dentry` in this namespace.
    pub fn is_mount_point(&self, dentry: &Arc<Dentry>) -> bool {
        if !dentry.is_mount_point() {
            return false;
        }
        let forest = self.table.forest.read();
        forest.mounts_on(dentry).any(|id| forest.node(id).is_some_and(|node| node.tree == self.tree))
    }
}

impl Forest {
    /// The mounts on `dentry`, of whatever mount.
    fn mounts_on(&self, dentry: &Arc<Dentry>) -> impl Iterator<Item = u64> {
        let is_on = |place: &Arc<Dentry>| Arc::ptr_eq(place, dentry);
        let on = self
            .nodes
            .values()
            .filter(move |node| node.mount.place().is_some_and(|(_, place)| is_on(&place)));
        on.map(|node| node.mount.id())
    }

    /// Whether mount number `id`, or what propagated from it, is used by others than `own` references (`propagate_mount_busy`).
    fn is_busy(&self, id: u64, own: usize) -> bool {
        let Some(node) = self.node(id) else { return false };
        if !node.children.is_empty() || Arc::strong_count(&node.mount) > IDLE_REFERENCES + own {
            return true;
        }
        self.counterparts(id).into_iter().any(|id| {
            let Some(node) = self.node(id) else { return false };
            // What is mounted on something that has mounts of its own stays.
            let alone = node.children.is_empty() || self.topper(id).is_some();
            alone && Arc::strong_count(&node.mount) > IDLE_REFERENCES
        })
    }

    /// Takes mount number `id` out, with all that is on it.
    pub(super) fn unmount(&mut self, id: u64, spread: Spread) {
        let mut going = self.subtree(id);
        if spread == Spread::Everywhere {
            going.extend(self.also_going(&going));
        }
        let all: HashSet<u64> = going.iter().copied().collect();
        for &id in &going {
            self.keep_covering(id, &all);
        }
        // Inner ones first.
        for &id in going.iter().rev() {
            self.remove(id);
        }
    }

    /// What goes with `going` because it propagated from there (`propagate_umount`): not what something else is mounted in, unless that
    /// covers all of it and can take its place without being seen elsewhere.
    fn also_going(&self, going: &[u64]) -> Vec<u64> {
        let mut all: HashSet<u64> = going.iter().copied().collect();
        let mut also: Vec<u64> = Vec::new();
        for &id in going {
            also.extend(self.counterparts(id).into_iter().filter(|&other| all.insert(other)));
        }
        loop {
            let kept = self.with_survivors(&also, &all);
            let stays = |&id: &u64| {
                let Some(node) = self.node(id) else { return true };
                let covers = self.on_top(id, node.mount.root()).map(|mount| mount.id());
                let survives = |child: &u64| !all.contains(child) || kept.contains(child);
                node.children.iter().any(|child| survives(child) && Some(*child) != covers)
            };
            let staying: Vec<u64> = also.iter().copied().filter(stays).collect();
            if staying.is_empty() {
                return also;
            }
            also.retain(|id| !staying.contains(id));
            staying.iter().for_each(|id| {
                all.remove(id);
            });
        }
    }

    /// Those of `candidates` below which, over others of `all`, something is that does not go.
    fn with_survivors(&self, candidates: &[u64], all: &HashSet<u64>) -> HashSet<u64> {
        let mut found = HashSet::new();
        for &id in candidates {
            let Some(node) = self.node(id) else { continue };
            if node.children.iter().all(|child| all.contains(child)) {
                continue;
            }
            let mut next = Some(id);
            while let Some(id) = next.filter(|id| all.contains(id) && found.insert(*id)) {
                next = self.node(id).and_then(|node| node.parent);
            }
        }
        found
    }

    /// Puts what covers mount number `id`, and does not go with it, where that is.
    fn keep_covering(&mut self, id: u64, going: &HashSet<u64>) {
        let Some(node) = self.node(id) else { return };
        let covering = self.on_top(id, node.mount.root()).map(|mount| mount.id());
        let Some(covering) = covering.filter(|covering| !going.contains(covering)) else { return };
        let mut place = node.mount.place();
        while let Some((parent, _)) = &place
            && going.contains(&parent.id())
        {
            place = parent.place();
        }
        let Some(place) = place.and_then(|(parent, dentry)| Path::new(parent, dentry)) else { return };
        let _from = self.take_off(covering);
        // Below the one that goes, if that is there.
        self.put_on(&place, covering);
    }
}

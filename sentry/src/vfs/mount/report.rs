//! What is told of mounts: `/proc/[pid]/mountinfo`, `statmount(2)`.

use std::collections::HashSet;
use std::sync::Arc;

use super::forest::Forest;
use super::{Mount, MountNamespace, Path};

/// A mount with its relations to others.
#[derive(Debug, Clone)]
pub struct MountReport {
    /// The mount.
    pub mount: Arc<Mount>,
    /// The number of the mount that it is on; its own at the top.
    pub parent: u64,
    /// The group of its peers.
    pub group: Option<u32>,
    /// The group from which it receives mounts.
    pub master: Option<u32>,
    /// The nearest group above its master that has a peer which can be seen, if it is not the master itself.
    pub propagates_from: Option<u32>,
    /// Whether it must not be bound.
    pub unbindable: bool,
}

impl MountNamespace {
    /// What there is to tell of all mounts, in the order of their making, for somebody whose root is `root`.
    pub fn reports(&self, root: &Path) -> Vec<MountReport> {
        let forest = self.table.forest.read();
        let Some(tree) = forest.trees.get(&self.tree) else { return Vec::new() };
        tree.mounts.iter().filter_map(|&id| forest.report(id, root)).collect()
    }
}

impl Forest {
    pub(super) fn report(&self, id: u64, root: &Path) -> Option<MountReport> {
        let node = self.node(id)?;
        let seen = node.master.and_then(|master| self.seen_master(node.tree, master, root));
        Some(MountReport {
            mount: Arc::clone(&node.mount),
            parent: node.parent.unwrap_or(id),
            group: node.group,
            master: node.master,
            propagates_from: seen.filter(|&seen| Some(seen) != node.master),
            unbindable: node.unbindable,
        })
    }

    /// The nearest of `group` and its masters that has a peer in `tree` below `root` (`get_dominating_id`).
    fn seen_master(&self, tree: u64, group: u32, root: &Path) -> Option<u32> {
        let mut seen = HashSet::new();
        let mut next = Some(group);
        while let Some(number) = next.filter(|&number| seen.insert(number)) {
            let peers = &self.groups.get(&number)?.peers;
            let is_seen = |&id: &u64| {
                let node = self.node(id).filter(|node| node.tree == tree);
                let place = node.and_then(|node| node.mount.root_path());
                place.is_some_and(|place| self.is_reachable(&place, root))
            };
            if peers.iter().any(is_seen) {
                return Some(number);
            }
            next = peers.first().and_then(|&peer| self.node(peer)).and_then(|node| node.master);
        }
        None
    }
}

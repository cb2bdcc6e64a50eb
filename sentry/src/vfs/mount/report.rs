//! What is told of mounts: `/proc/[pid]/mountinfo`, `statmount(2)`.

use std::collections::HashSet;
use std::sync::Arc;

use super::forest::Forest;
use super::{Mount, MountNamespace, Path};
use crate::vfs::FsString;

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
    /// The nearest of its master and the groups above that has a peer which can be seen.
    pub seen_master: Option<u32>,
    /// Whether it must not be bound.
    pub unbindable: bool,
}

impl MountReport {
    /// The place in its file system of what it shows.
    pub fn shown(&self) -> FsString {
        let mut names = Vec::new();
        let mut dentry = Arc::clone(self.mount.root());
        while let Some(parent) = dentry.parent() {
            names.push(dentry.name());
            dentry = parent;
        }
        let mut text: FsString =
            names.iter().rev().flat_map(|name| [b"/", name.as_slice()].concat()).collect();
        if text.is_empty() {
            text.push(b'/');
        }
        text
    }
}

/// In which order mounts are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListOrder {
    /// That of their making.
    Forward,
    /// The latest first (`LISTMOUNT_REVERSE`).
    Backward,
}

impl MountNamespace {
    /// What there is to tell of mount number `id`, for somebody whose root is `root`, and whether it can be reached from there.
    pub fn report(&self, id: u64, root: &Path) -> Option<(MountReport, bool)> {
        let forest = self.table.forest.read();
        forest.node(id).filter(|node| node.tree == self.tree)?;
        let report = forest.report(id, root)?;
        let reached = report.mount.root_path().is_some_and(|place| forest.is_reachable(&place, root));
        Some((report, reached))
    }

    /// The numbers of at most `most` mounts below `place`, but for `except`, behind number `last` in that order.
    pub fn list(
        &self,
        place: &Path,
        except: Option<u64>,
        last: Option<u64>,
        most: usize,
        order: ListOrder,
    ) -> Vec<u64> {
        let forest = self.table.forest.read();
        let Some(tree) = forest.trees.get(&self.tree) else { return Vec::new() };
        let listed = |id: &u64| {
            let root = forest.mount(*id).and_then(|mount| mount.root_path());
            Some(*id) != except && root.is_some_and(|root| forest.is_reachable(&root, place))
        };
        let behind = |id: &u64| match order {
            ListOrder::Forward => last.is_none_or(|last| *id > last),
            ListOrder::Backward => last.is_none_or(|last| *id < last),
        };
        let all = tree.mounts.iter().copied();
        match order {
            ListOrder::Forward => all.filter(behind).filter(listed).take(most).collect(),
            ListOrder::Backward => all.rev().filter(behind).filter(listed).take(most).collect(),
        }
    }

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
        let seen_master = node.master.and_then(|master| self.seen_master(node.tree, master, root));
        Some(MountReport {
            mount: Arc::clone(&node.mount),
            parent: node.parent.unwrap_or(id),
            group: node.group,
            master: node.master,
            seen_master,
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

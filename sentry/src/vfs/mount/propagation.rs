//! Where else a change happens: mounts and unmounts reach the peers and slaves of the mount that they are made in.

use std::collections::HashSet;
use std::sync::Arc;

use bartizan_abi::Errno;

use super::copy::{Extent, Relation};
use super::forest::{Forest, NO_TREE};
use super::{Mount, Path};
use crate::vfs::Dentry;

/// A copy with the place that it is for.
type Planned = (Path, u64);

impl Forest {
    /// Puts the tree of mount number `id`, which is nowhere, on `place`, and copies of it where that propagates to
    /// (`attach_recursive_mnt`). What is mounted in a shared mount is shared.
    ///
    /// # Errors
    /// `ENOSPC`; nothing has changed then.
    pub(super) fn attach(&mut self, id: u64, place: &Path) -> Result<(), Errno> {
        let target = self.node(place.mount.id).ok_or(Errno::EINVAL)?;
        let (tree, group) = (target.tree, target.group);
        let new = self.subtree(id);
        self.check_room(tree, new.len())?;
        if let Some(group) = group {
            // A mount of the tree itself may receive it, as what it was before.
            let fresh: HashSet<u64> = new.iter().copied().filter(|&id| !self.is_shared(id)).collect();
            new.iter().for_each(|&id| self.share(id));
            let planned = self.plan(group, place, id, &fresh)?;
            let owner = self.owner_of(&place.mount).cloned();
            for (receiver, copy) in planned {
                if self.owner_of(&receiver.mount) != owner.as_ref() {
                    self.lock_tree(copy);
                }
                self.put_on(&receiver, copy);
            }
        }
        self.put_on(place, id);
        Ok(())
    }

    /// Makes the copies of the tree of mount number `source` for all places that see what is mounted on `place`, of a mount in `group`.
    /// Those of `fresh` are shared for this alone.
    fn plan(
        &mut self,
        group: u32,
        place: &Path,
        source: u64,
        fresh: &HashSet<u64>,
    ) -> Result<Vec<Planned>, Errno> {
        let mut planned: Vec<Planned> = Vec::new();
        let mut rest = vec![(group, source)];
        let mut begun = HashSet::from([group]);
        let mut done = HashSet::from([place.mount.id]);
        while let Some((group, source)) = rest.pop() {
            let (peers, slaves) = self.receivers(group, &place.dentry);
            for peer in peers {
                if done.insert(peer.id) {
                    self.plan_one(&peer, &place.dentry, source, Relation::Peer, &mut planned)?;
                }
            }
            for slave in slaves {
                let Some(own) = self.node(slave).map(|node| node.group) else { continue };
                match own.filter(|_| !fresh.contains(&slave)) {
                    None => {
                        if let Some(mount) = self.reached(slave, &place.dentry)
                            && done.insert(slave)
                        {
                            self.plan_one(&mount, &place.dentry, source, Relation::Slave, &mut planned)?;
                        }
                    }
                    Some(own) if begun.insert(own) => {
                        let (peers, _) = self.receivers(own, &place.dentry);
                        let first = peers.into_iter().find(|peer| !done.contains(&peer.id));
                        let source = match first {
                            Some(first) => {
                                done.insert(first.id);
                                let relation = Relation::SharedSlave;
                                self.plan_one(&first, &place.dentry, source, relation, &mut planned)?
                            }
                            None => source,
                        };
                        rest.push((own, source));
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(planned)
    }

    /// Copies the tree of mount number `source` for `dentry` in `target`. If there is no room for it, all that was planned is unmade.
    fn plan_one(
        &mut self,
        target: &Arc<Mount>,
        dentry: &Arc<Dentry>,
        source: u64,
        relation: Relation,
        planned: &mut Vec<Planned>,
    ) -> Result<u64, Errno> {
        let made = self.copy_for(target, source, relation);
        match (made, Path::new(Arc::clone(target), Arc::clone(dentry))) {
            (Ok(copy), Some(place)) => {
                planned.push((place, copy));
                Ok(copy)
            }
            (made, _) => {
                planned.drain(..).for_each(|(_, copy)| self.discard(copy));
                Err(made.err().unwrap_or(Errno::ENOENT))
            }
        }
    }

    fn copy_for(&mut self, target: &Arc<Mount>, source: u64, relation: Relation) -> Result<u64, Errno> {
        let tree = self.tree_of(target).ok_or(Errno::EINVAL)?;
        self.check_room(tree, self.subtree(source).len())?;
        let root = Arc::clone(self.mount(source).ok_or(Errno::EINVAL)?.root());
        Ok(self.copy(source, &root, relation, Extent::Bindable)?.top.id)
    }

    /// The peers of `group` that show `dentry`, and all its slaves.
    fn receivers(&self, group: u32, dentry: &Arc<Dentry>) -> (Vec<Arc<Mount>>, Vec<u64>) {
        let Some(group) = self.groups.get(&group) else { return Default::default() };
        let peers = group.peers.iter().filter_map(|&peer| self.reached(peer, dentry)).collect();
        (peers, group.slaves.clone())
    }

    /// Mount number `id`, if it is in a tree and shows `dentry`.
    fn reached(&self, id: u64, dentry: &Arc<Dentry>) -> Option<Arc<Mount>> {
        let node = self.node(id)?;
        let reached = node.tree != NO_TREE && dentry.is_below(node.mount.root());
        reached.then(|| Arc::clone(&node.mount))
    }

    /// The mounts that see what is mounted on `dentry` of mount number `id`, but for itself.
    pub(super) fn all_receivers(&self, id: u64, dentry: &Arc<Dentry>) -> Vec<u64> {
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        let mut rest: Vec<u32> = self.node(id).and_then(|node| node.group).into_iter().collect();
        while let Some(group) = rest.pop() {
            if !seen.insert(group) {
                continue;
            }
            let (peers, slaves) = self.receivers(group, dentry);
            found.extend(peers.iter().map(|peer| peer.id));
            for slave in slaves {
                match self.node(slave).and_then(|node| node.group) {
                    Some(group) => rest.push(group),
                    None => found.extend(self.reached(slave, dentry).map(|mount| mount.id)),
                }
            }
        }
        found.retain(|&found| found != id);
        found
    }

    /// The mounts that came where the place of mount number `id` propagates to, as it did.
    pub(super) fn counterparts(&self, id: u64) -> Vec<u64> {
        let Some((parent, dentry)) = self.mount(id).and_then(|mount| mount.place()) else {
            return Vec::new();
        };
        let receivers = self.all_receivers(parent.id, &dentry);
        let there = receivers.into_iter().filter_map(|receiver| self.on_top(receiver, &dentry));
        there.map(|mount| mount.id).collect()
    }

    /// The mount that covers all of mount number `id`, if that is the only one on it.
    pub(super) fn topper(&self, id: u64) -> Option<u64> {
        let node = self.node(id)?;
        let [only] = node.children[..] else { return None };
        self.on_top(id, node.mount.root()).map(|mount| mount.id).filter(|&top| top == only)
    }
}

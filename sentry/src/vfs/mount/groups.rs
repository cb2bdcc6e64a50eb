//! Peers and slaves: who shares mounts with whom (`mount_namespaces(7)`, "Shared subtrees").
//!
//! A mount may be in a group of peers, and a slave of a group. A group lives as long as it has peers; its slaves are its master's then.

use super::forest::Forest;

/// How a mount propagates what is mounted in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Among its peers.
    Shared,
    /// Not at all.
    Private,
    /// From its master to itself alone.
    Slave,
    /// Not at all, and it cannot be bound elsewhere.
    Unbindable,
}

/// Mounts that share what is mounted in them.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Never empty.
    pub(super) peers: Vec<u64>,
    /// Those that receive what is mounted in the peers.
    pub(super) slaves: Vec<u64>,
}

impl Forest {
    /// Makes mount number `id` a peer in a new group, if it is in none.
    pub(super) fn share(&mut self, id: u64) {
        let free = (1..).zip(self.groups.keys()).find(|(number, used)| number != *used);
        let free = free.map_or_else(|| self.groups.len() as u32 + 1, |(number, _)| number);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.unbindable = false;
        if node.group.is_none() {
            node.group = Some(free);
            self.groups.insert(free, Group { peers: vec![id], slaves: Vec::new() });
        }
    }

    /// Makes mount number `id`, which is in no group, a peer in group `group`, behind peer `after`.
    pub(super) fn join(&mut self, id: u64, group: u32, after: u64) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.group = Some(group);
        if let Some(group) = self.groups.get_mut(&group) {
            let index =
                group.peers.iter().position(|&peer| peer == after).map_or(group.peers.len(), |at| at + 1);
            group.peers.insert(index, id);
        }
    }

    /// Makes mount number `id`, which is nobody's slave, a slave of group `group`; the latest one is the first to receive.
    pub(super) fn enslave(&mut self, id: u64, group: u32) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.master = Some(group);
        if let Some(group) = self.groups.get_mut(&group) {
            group.slaves.insert(0, id);
        }
    }

    /// Sets how mount number `id` propagates (`change_mnt_propagation`).
    pub(super) fn set_propagation(&mut self, id: u64, propagation: Propagation) {
        match propagation {
            Propagation::Shared => self.share(id),
            Propagation::Slave => {
                let left = self.leave_peers(id);
                if let Some(group) = left {
                    self.leave_master(id);
                    self.enslave(id, group);
                }
            }
            Propagation::Private | Propagation::Unbindable => {
                self.leave_groups(id);
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.unbindable = propagation == Propagation::Unbindable;
                }
            }
        }
    }

    /// Takes mount number `id` out of all groups.
    pub(super) fn leave_groups(&mut self, id: u64) {
        let _group = self.leave_peers(id);
        self.leave_master(id);
    }

    /// Takes mount number `id` from its peers; their group, if there are any left.
    fn leave_peers(&mut self, id: u64) -> Option<u32> {
        let node = self.nodes.get_mut(&id)?;
        let number = node.group.take()?;
        let master = node.master;
        let group = self.groups.get_mut(&number)?;
        group.peers.retain(|&peer| peer != id);
        if !group.peers.is_empty() {
            return Some(number);
        }
        let orphans = self.groups.remove(&number)?.slaves;
        for slave in orphans {
            if let Some(node) = self.nodes.get_mut(&slave) {
                node.master = None;
            }
            if let Some(master) = master {
                self.enslave(slave, master);
            }
        }
        None
    }

    fn leave_master(&mut self, id: u64) {
        let Some(master) = self.nodes.get_mut(&id).and_then(|node| node.master.take()) else { return };
        if let Some(group) = self.groups.get_mut(&master) {
            group.slaves.retain(|&slave| slave != id);
        }
    }
}

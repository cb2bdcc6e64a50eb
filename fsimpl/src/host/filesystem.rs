//! One tree of the host.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bartizan_abi::{DeviceNumber, Errno};
use bartizan_sentry::sync::{LockClass, Mutex};
use bartizan_sentry::vfs::{
    CachePolicy, Filesystem, FilesystemOps, FilesystemRoot, FilesystemStatistics, Inode,
};

use super::buffers::Buffers;
use super::descriptors::Descriptors;
use super::inode::HostInode;
use super::node::{Found, Identity, Node, Place};
use super::{Coherence, Options, errno};

/// What all nodes of a tree share.
#[derive(Debug)]
pub struct Host {
    options: Options,
    /// The number that the guest sees as `st_dev`.
    device: DeviceNumber,
    descriptors: Descriptors,
    buffers: Buffers,
    next_id: AtomicU64,
    /// All inodes that live, by what they are on the host: so hard links are one inode.
    inodes: Mutex<HashMap<Identity, Weak<Inode>>>,
    /// The devices of the host that the tree lies on, in the order in which they were met.
    devices: Mutex<Vec<u64>>,
}

impl Host {
    /// How fresh it is to be.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The number that the guest sees as `st_dev`.
    pub fn device(&self) -> DeviceNumber {
        self.device
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> &Descriptors {
        &self.descriptors
    }

    /// Memory for data on its way.
    pub fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// An id for a new node.
    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// The inode number that the guest sees for number `inode` of host device `device`. The device that the root is on keeps its
    /// numbers; those of further devices, which are small numbers in practice, get different upper bits.
    pub fn inode_number(&self, device: u64, inode: u64) -> u64 {
        let mut devices = self.devices.lock();
        let index = devices.iter().position(|&known| known == device).unwrap_or_else(|| {
            devices.push(device);
            devices.len() - 1
        });
        inode.wrapping_add((index as u64) << 48)
    }

    /// The inode of `found` at `place`: the one that lives, or a new one.
    pub fn inode(self: &Arc<Self>, filesystem: &Arc<Filesystem>, place: Place, found: &Found) -> Arc<Inode> {
        let number = self.inode_number(found.identity.device, found.identity.inode);
        if let Some(inode) = self.living(found) {
            if let Some(known) = inode.downcast::<HostInode>() {
                known.node().seen_at(place, found);
            }
            return inode;
        }
        let node = Node::new(self, place, found, number);
        let ops = Box::new(HostInode::new(node));
        let inode = Inode::new(number, found.attributes.kind, Arc::clone(filesystem), ops);
        let mut inodes = self.inodes.lock();
        // Somebody may have been faster.
        if let Some(other) = inodes.get(&found.identity).and_then(Weak::upgrade)
            && other.kind() == found.attributes.kind
        {
            drop(inodes);
            return other;
        }
        inodes.insert(found.identity, Arc::downgrade(&inode));
        inode
    }

    /// The inode that lives for `found`.
    fn living(&self, found: &Found) -> Option<Arc<Inode>> {
        let inode = self.inodes.lock().get(&found.identity).and_then(Weak::upgrade)?;
        (inode.kind() == found.attributes.kind).then_some(inode)
    }

    /// The inode of `identity` is being dropped.
    pub fn forget(&self, identity: &Identity) {
        let mut inodes = self.inodes.lock();
        if inodes.get(identity).is_some_and(|inode| inode.strong_count() == 0) {
            inodes.remove(identity);
        }
    }

    /// How many inodes are remembered.
    #[cfg(test)]
    pub fn living_count(&self) -> usize {
        self.inodes.lock().len()
    }
}

/// A tree whose root is `root`, an `O_PATH` descriptor.
pub fn make_root(root: OwnedFd, device: DeviceNumber, options: &Options) -> Result<FilesystemRoot, Errno> {
    let found = Found::of_descriptor(&root)?;
    let root = Arc::new(root);
    let host = Arc::new(Host {
        options: *options,
        device,
        descriptors: Descriptors::new(options.descriptors),
        buffers: Buffers::default(),
        next_id: AtomicU64::new(0),
        inodes: Mutex::new(LockClass::Table, HashMap::new()),
        devices: Mutex::new(LockClass::Table, Vec::new()),
    });
    let ops = HostFilesystem { host: Arc::clone(&host), root: Arc::clone(&root) };
    let filesystem = Filesystem::new(device, !options.writable, Box::new(ops));
    let inode = host.inode(&filesystem, Place::Root(root), &found);
    Ok(FilesystemRoot { filesystem, inode })
}

/// The tree as the VFS sees it.
#[derive(Debug)]
struct HostFilesystem {
    host: Arc<Host>,
    root: Arc<OwnedFd>,
}

impl FilesystemOps for HostFilesystem {
    fn type_name(&self) -> &'static str {
        "host"
    }

    fn cache_policy(&self) -> CachePolicy {
        match self.host.options.coherence {
            Coherence::Stable => CachePolicy::Always,
            Coherence::Within(_) => CachePolicy::Revalidate,
        }
    }

    fn statistics(&self) -> Result<FilesystemStatistics, Errno> {
        let statistics = rustix::fs::fstatfs(&self.root).map_err(errno)?;
        Ok(FilesystemStatistics {
            magic: u64::try_from(statistics.f_type).unwrap_or(0),
            block_size: u64::try_from(statistics.f_bsize).unwrap_or(4096),
            blocks: statistics.f_blocks,
            blocks_free: statistics.f_bfree,
            files: statistics.f_files,
            files_free: statistics.f_ffree,
        })
    }
}

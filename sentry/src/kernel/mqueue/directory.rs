//! The directory of all queues of a namespace.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bartizan_abi::ipc::MqAttr;
use bartizan_abi::{Capability, Errno, FileType};

use super::queue::QueueLimits;
use super::{Accounts, DIRECTORY_MODE, Queue};
use crate::kernel::sysv::IpcNamespace;
use crate::kernel::{Credentials, realtime};
use crate::sync::{LockClass, Mutex};
use crate::vfs::{
    AttributeChanges, Attributes, DirectorySink, File, FileOps, FsStr, FsString, Inode, InodeOps, NewNode,
    OpenRequest,
};

/// What `/proc/sys/fs/mqueue` and the limits give to queues that are made through a mount.
const DEFAULT_MSGQUEUE_LIMIT: u64 = 819_200;

/// The directory.
#[derive(Debug)]
pub struct QueueDirectory {
    namespace: Weak<IpcNamespace>,
    entries: Arc<Mutex<BTreeMap<FsString, Arc<Inode>>>>,
    attributes: Mutex<Attributes>,
    accounts: Arc<Accounts>,
    last_number: AtomicU64,
}

impl QueueDirectory {
    pub(super) fn new(namespace: &Arc<IpcNamespace>) -> Self {
        let now = realtime();
        let attributes = Attributes {
            links: 2,
            accessed: now,
            modified: now,
            changed: now,
            ..Attributes::new(FileType::Directory, DIRECTORY_MODE)
        };
        Self {
            namespace: Arc::downgrade(namespace),
            entries: Arc::new(Mutex::new(LockClass::IpcNames, BTreeMap::new())),
            attributes: Mutex::new(LockClass::Attributes, attributes),
            accounts: Accounts::new(),
            last_number: AtomicU64::new(1),
        }
    }

    /// The queue `name`.
    pub fn find(&self, name: &FsStr) -> Option<Arc<Inode>> {
        self.entries.lock().get(name).cloned()
    }

    /// Makes queue `name`, of the sizes that are `wanted`, for somebody who may use up `limit` bytes.
    ///
    /// # Errors
    /// As `mq_open(3)`: `EEXIST`, `EINVAL`, `ENOSPC`, `EMFILE`.
    pub fn make(
        &self,
        directory: &Arc<Inode>,
        name: &FsStr,
        node: &NewNode,
        wanted: Option<&MqAttr>,
        (credentials, limit): (&Credentials, u64),
    ) -> Result<Arc<Inode>, Errno> {
        let mut entries = self.entries.lock();
        if entries.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let namespace = self.namespace.upgrade().ok_or(Errno::ENODEV)?;
        let settings = namespace.limits();
        let limits = QueueLimits::new(wanted, &settings, credentials)?;
        let privileged = credentials.has_capability(Capability::CAP_SYS_RESOURCE);
        let queues = if privileged { u64::MAX } else { settings.queues_max };
        let account = self.accounts.open(credentials.uid, limits.footprint(), limit, queues)?;
        let number = self.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        let queue = Queue::new(&namespace, limits, node, account);
        let filesystem = Arc::clone(directory.filesystem());
        let inode = Inode::new(number, FileType::Regular, filesystem, Box::new(queue));
        entries.insert(name.to_vec(), Arc::clone(&inode));
        drop(entries);
        self.touch();
        Ok(inode)
    }

    /// Removes the name of a queue; the queue lives as long as it is open.
    ///
    /// # Errors
    /// `ENOENT`.
    pub fn take(&self, name: &FsStr) -> Result<Arc<Inode>, Errno> {
        let removed = self.entries.lock().remove(name).ok_or(Errno::ENOENT)?;
        self.touch();
        Ok(removed)
    }

    fn touch(&self) {
        let now = realtime();
        let mut attributes = self.attributes.lock();
        attributes.modified = now;
        attributes.changed = now;
    }
}

impl InodeOps for QueueDirectory {
    fn attributes(&self, _inode: &Inode) -> Result<Attributes, Errno> {
        let size = self.entries.lock().len() as u64 * 20;
        Ok(Attributes { size, ..*self.attributes.lock() })
    }

    fn set_attributes(&self, _inode: &Inode, changes: &AttributeChanges) -> Result<(), Errno> {
        super::queue::change_attributes(&mut self.attributes.lock(), changes);
        Ok(())
    }

    fn open(&self, _inode: &Arc<Inode>, _request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        Ok(Box::new(Listing(Arc::clone(&self.entries))))
    }

    fn lookup(&self, _directory: &Arc<Inode>, name: &FsStr) -> Result<Arc<Inode>, Errno> {
        self.find(name).ok_or(Errno::ENOENT)
    }

    fn create(&self, directory: &Arc<Inode>, name: &FsStr, node: &NewNode) -> Result<Arc<Inode>, Errno> {
        if node.kind != FileType::Regular {
            return Err(Errno::EPERM);
        }
        let credentials = Credentials::user(node.uid, node.gid, Vec::new());
        self.make(directory, name, node, None, (&credentials, DEFAULT_MSGQUEUE_LIMIT))
    }

    fn unlink(&self, _directory: &Arc<Inode>, name: &FsStr, _target: &Arc<Inode>) -> Result<(), Errno> {
        self.take(name).map(drop)
    }
}

/// The directory as it is read.
#[derive(Debug)]
struct Listing(Arc<Mutex<BTreeMap<FsString, Arc<Inode>>>>);

impl FileOps for Listing {
    fn read_directory(&self, file: &File, sink: &mut dyn DirectorySink, offset: u64) -> Result<u64, Errno> {
        let own = file.inode().number();
        let mut entries: Vec<(FsString, u64, FileType)> =
            vec![(b".".to_vec(), own, FileType::Directory), (b"..".to_vec(), own, FileType::Directory)];
        {
            let names = self.0.lock();
            entries.extend(names.iter().map(|(name, inode)| (name.clone(), inode.number(), inode.kind())));
        }
        let mut behind = offset;
        for ((name, number, kind), next) in entries.iter().zip(1_u64..) {
            if next <= offset {
                continue;
            }
            if !sink.entry(name, *number, *kind, next) {
                break;
            }
            behind = next;
        }
        Ok(behind)
    }
}

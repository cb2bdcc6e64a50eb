//! Mounts and mount namespaces; [`changes`] is what is done to them.
//!
//! The tree of a namespace is guarded by one lock (class `Mounts`), which is held over each change as a whole; where a mount is
//! (class `MountPlace`) changes only under it. Two references of a mount are the tree's; all others are uses of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bitflags::bitflags;

mod changes;

pub use changes::Unmount;

use super::{Dentry, DentryCache, DeviceRegistry, Filesystem, FilesystemRoot, FsString, Inode};
use crate::sync::{LockClass, RwLock};

bitflags! {
    /// Restrictions of one mount (`MNT_*`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct MountFlags: u32 {
        /// Nothing can be changed through it.
        const READ_ONLY = 1 << 0;
        /// No program can be executed from it.
        const NO_EXEC = 1 << 1;
        /// Set-id bits and file capabilities mean nothing.
        const NO_SUID = 1 << 2;
        /// Device nodes cannot be opened.
        const NO_DEV = 1 << 3;
        /// Access times are not updated.
        const NO_ATIME = 1 << 4;
        /// Access times of directories are not updated.
        const NO_DIR_ATIME = 1 << 5;
        /// Access times are updated when they are older than the other times or than a day.
        const RELATIME = 1 << 6;
        /// Symbolic links are not followed.
        const NO_SYMFOLLOW = 1 << 7;
        /// The host program forbids changes: nobody inside can take `READ_ONLY` away (`MNT_LOCK_READONLY`).
        const LOCK_READ_ONLY = 1 << 8;
    }
}

/// A file system (or a part of one) at a place in the tree.
#[derive(Debug)]
pub struct Mount {
    id: u64,
    filesystem: Arc<Filesystem>,
    root: Arc<Dentry>,
    flags: AtomicU32,
    /// What `/proc/mounts` shows as the source.
    source: FsString,
    /// Where it is mounted; `None` for the root and for what is not in a tree.
    place: RwLock<Option<Place>>,
    /// Whether it was asked to go if nobody uses it (`MNT_EXPIRE`).
    expiring: AtomicBool,
}

/// The mount below, and its dentry that is hidden.
type Place = (Weak<Mount>, Arc<Dentry>);

impl Mount {
    fn new(id: u64, root: FilesystemRoot, source: FsString, flags: MountFlags) -> Arc<Self> {
        Self::of(id, root.filesystem, Dentry::root(root.inode), source, flags)
    }

    fn of(
        id: u64,
        filesystem: Arc<Filesystem>,
        root: Arc<Dentry>,
        source: FsString,
        flags: MountFlags,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            filesystem,
            root,
            flags: AtomicU32::new(flags.bits()),
            source,
            place: RwLock::new(LockClass::MountPlace, None),
            expiring: AtomicBool::new(false),
        })
    }

    /// A mount that is in no tree: pipes, sockets, anonymous files.
    pub fn detached(root: FilesystemRoot) -> Arc<Self> {
        Self::new(0, root, FsString::new(), MountFlags::empty())
    }

    /// Whether it is in no tree.
    pub fn is_detached(&self) -> bool {
        self.id == 0
    }

    /// Its number, as `mountinfo` shows it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What is mounted.
    pub fn filesystem(&self) -> &Arc<Filesystem> {
        &self.filesystem
    }

    /// The part of the file system that is mounted.
    pub fn root(&self) -> &Arc<Dentry> {
        &self.root
    }

    /// Its restrictions.
    pub fn flags(&self) -> MountFlags {
        MountFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    /// Replaces its restrictions.
    pub fn set_flags(&self, flags: MountFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
    }

    /// Notes that it shall go if nobody uses it; whether that was noted before.
    pub fn expire(&self) -> bool {
        self.expiring.swap(true, Ordering::Relaxed)
    }

    /// What it was mounted from.
    pub fn source(&self) -> &[u8] {
        &self.source
    }

    /// Whether nothing can be changed through it.
    pub fn is_read_only(&self) -> bool {
        self.filesystem.read_only || self.flags().contains(MountFlags::READ_ONLY)
    }

    /// Whether set-id bits mean nothing.
    pub fn forbids_set_id(&self) -> bool {
        self.flags().contains(MountFlags::NO_SUID)
    }

    /// The mount and the dentry that it hides; `None` at the top.
    pub fn place(&self) -> Option<(Arc<Mount>, Arc<Dentry>)> {
        let place = self.place.read();
        let (parent, dentry) = place.as_ref()?;
        Some((parent.upgrade()?, Arc::clone(dentry)))
    }

    /// Its root as a path.
    pub fn root_path(self: &Arc<Self>) -> Option<Path> {
        Path::new(Arc::clone(self), Arc::clone(&self.root))
    }
}

/// The tree of mounts that a process sees, with the dentry cache of all that is below it.
#[derive(Debug)]
pub struct MountNamespace {
    tree: RwLock<MountTree>,
    next_id: AtomicU64,
    /// The last cookie of a rename (`inotify(7)`).
    last_cookie: AtomicU32,
    cache: DentryCache,
    devices: Arc<DeviceRegistry>,
}

/// All mounts, and which is on top of which dentry.
#[derive(Debug)]
struct MountTree {
    /// At the top; hidden perhaps by others.
    root: Arc<Mount>,
    /// In the order of their making, the root among them.
    mounts: Vec<Arc<Mount>>,
    /// By number of the mount below and address of its dentry; the dentry is alive as long as the mount on it is.
    on_top: HashMap<(u64, usize), Arc<Mount>>,
}

fn key(mount: &Mount, dentry: &Arc<Dentry>) -> (u64, usize) {
    (mount.id, Arc::as_ptr(dentry).addr())
}

impl MountNamespace {
    /// A namespace with `root` at its top, in which device nodes stand for `devices`.
    pub fn new(
        root: FilesystemRoot,
        source: &[u8],
        flags: MountFlags,
        devices: Arc<DeviceRegistry>,
    ) -> Arc<Self> {
        const FIRST_ID: u64 = 20;
        let top = Mount::new(FIRST_ID, root, source.to_vec(), flags);
        let tree = MountTree { root: Arc::clone(&top), mounts: vec![top], on_top: HashMap::new() };
        Arc::new(Self {
            tree: RwLock::new(LockClass::Mounts, tree),
            next_id: AtomicU64::new(FIRST_ID + 1),
            last_cookie: AtomicU32::new(0),
            cache: DentryCache::default(),
            devices,
        })
    }

    /// What device nodes stand for.
    pub fn devices(&self) -> &DeviceRegistry {
        &self.devices
    }

    /// What ties the two halves of the next rename together; never zero.
    pub(super) fn new_cookie(&self) -> u32 {
        let last = self.last_cookie.fetch_add(1, Ordering::Relaxed);
        last.wrapping_add(1).max(1)
    }

    /// The dentry cache.
    pub fn cache(&self) -> &DentryCache {
        &self.cache
    }

    /// The top of the tree: the root of the mount that hides all others there.
    pub fn root(&self) -> Option<Path> {
        let root = self.tree.read().root.root_path()?;
        Some(self.topmost(root))
    }

    /// What is seen at `path`: the root of whatever is mounted on it, or itself.
    #[inline]
    pub fn topmost(&self, mut path: Path) -> Path {
        while path.dentry.is_mount_point() {
            let above = self.tree.read().on_top.get(&key(&path.mount, &path.dentry)).cloned();
            match above.and_then(|mount| mount.root_path()) {
                Some(root) => path = root,
                None => break,
            }
        }
        path
    }

    /// All mounts, in the order of their making.
    pub fn mounts(&self) -> Vec<Arc<Mount>> {
        self.tree.read().mounts.clone()
    }
}

/// A place in the tree: a mount, and a dentry in it whose inode exists.
#[derive(Debug, Clone)]
pub struct Path {
    /// Through which mount.
    pub mount: Arc<Mount>,
    /// Which name; never a negative one.
    pub dentry: Arc<Dentry>,
    inode: Arc<Inode>,
}

impl Path {
    /// The place of `dentry` in `mount`; `None` for a negative dentry.
    pub fn new(mount: Arc<Mount>, dentry: Arc<Dentry>) -> Option<Self> {
        let inode = Arc::clone(dentry.inode()?);
        Some(Self { mount, dentry, inode })
    }

    /// What is there.
    pub fn inode(&self) -> &Arc<Inode> {
        &self.inode
    }

    /// Whether both are the same place.
    pub fn is_same(&self, other: &Path) -> bool {
        Arc::ptr_eq(&self.mount, &other.mount) && Arc::ptr_eq(&self.dentry, &other.dentry)
    }

    /// Whether this is the root of its mount.
    pub fn is_mount_root(&self) -> bool {
        Arc::ptr_eq(&self.dentry, self.mount.root())
    }

    /// The place as text, seen from `root`, with `(deleted)` behind a name that is gone (`d_path`); `None` if it is not below
    /// `root`.
    pub fn text(&self, root: &Path) -> Option<FsString> {
        let mut names: Vec<FsString> = Vec::new();
        let (mut mount, mut dentry) = (Arc::clone(&self.mount), Arc::clone(&self.dentry));
        let deleted = !self.dentry.is_linked();
        loop {
            if Arc::ptr_eq(&mount, &root.mount) && Arc::ptr_eq(&dentry, &root.dentry) {
                break;
            }
            if Arc::ptr_eq(&dentry, mount.root()) {
                let (parent, place) = mount.place()?;
                (mount, dentry) = (parent, place);
                continue;
            }
            names.push(dentry.name());
            dentry = dentry.parent()?;
        }
        let mut text: FsString =
            names.iter().rev().flat_map(|name| [b"/", name.as_slice()].concat()).collect();
        if text.is_empty() {
            text.push(b'/');
        }
        if deleted {
            text.extend_from_slice(b" (deleted)");
        }
        Some(text)
    }
}

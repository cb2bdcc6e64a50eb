//! Mounts and mount namespaces.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bartizan_abi::Errno;
use bitflags::bitflags;

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
    place: RwLock<Option<(Weak<Mount>, Arc<Dentry>)>>,
}

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
    cache: DentryCache,
    devices: Arc<DeviceRegistry>,
}

/// All mounts, and which is on top of which dentry.
#[derive(Debug, Default)]
struct MountTree {
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
        let tree = MountTree { mounts: vec![top], on_top: HashMap::new() };
        Arc::new(Self {
            tree: RwLock::new(LockClass::Mounts, tree),
            next_id: AtomicU64::new(FIRST_ID + 1),
            cache: DentryCache::default(),
            devices,
        })
    }

    /// What device nodes stand for.
    pub fn devices(&self) -> &DeviceRegistry {
        &self.devices
    }

    /// The dentry cache.
    pub fn cache(&self) -> &DentryCache {
        &self.cache
    }

    /// The top of the tree: the root of the mount that hides all others there.
    pub fn root(&self) -> Option<Path> {
        let top = self.tree.read().mounts.first()?.root_path()?;
        Some(self.topmost(top))
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

    /// Mounts a file system on `path`.
    pub fn mount(
        &self,
        path: &Path,
        root: FilesystemRoot,
        source: &[u8],
        flags: MountFlags,
    ) -> Result<Arc<Mount>, Errno> {
        let mount = Mount::new(self.new_id(), root, source.to_vec(), flags);
        self.attach(path, mount)
    }

    /// Mounts what is at `from` also on `path` (`MS_BIND`); with its submounts if `recursive`.
    pub fn bind(&self, path: &Path, from: &Path, recursive: bool) -> Result<Arc<Mount>, Errno> {
        let submounts = if recursive { self.below(from) } else { Vec::new() };
        let copy = self.copy_of(&from.mount, &from.dentry);
        let top = self.attach(path, Arc::clone(&copy))?;
        let mut copies = HashMap::from([(from.mount.id, copy)]);
        for mount in submounts {
            let Some((parent, dentry)) = mount.place() else { continue };
            let Some(parent) = copies.get(&parent.id).cloned() else { continue };
            let copy = self.copy_of(&mount, &mount.root);
            if let Some(place) = Path::new(parent, dentry) {
                self.attach(&place, Arc::clone(&copy))?;
            }
            copies.insert(mount.id, copy);
        }
        Ok(top)
    }

    fn copy_of(&self, mount: &Mount, root: &Arc<Dentry>) -> Arc<Mount> {
        let filesystem = Arc::clone(&mount.filesystem);
        Mount::of(self.new_id(), filesystem, Arc::clone(root), mount.source.clone(), mount.flags())
    }

    fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Puts `mount` on top of `path`.
    fn attach(&self, path: &Path, mount: Arc<Mount>) -> Result<Arc<Mount>, Errno> {
        let directories = [&path.dentry, &mount.root].map(|dentry| {
            dentry.inode().is_some_and(|inode| inode.kind() == bartizan_abi::FileType::Directory)
        });
        if directories[0] != directories[1] {
            return Err(Errno::ENOTDIR);
        }
        let path = self.topmost(path.clone());
        *mount.place.write() = Some((Arc::downgrade(&path.mount), Arc::clone(&path.dentry)));
        let mut tree = self.tree.write();
        path.dentry.count_mount(1);
        tree.on_top.insert(key(&path.mount, &path.dentry), Arc::clone(&mount));
        tree.mounts.push(Arc::clone(&mount));
        Ok(mount)
    }

    /// Takes `mount` out of the tree, with all that is mounted below it if `lazily` (`MNT_DETACH`).
    ///
    /// # Errors
    /// `EBUSY` when something is mounted below it, `EINVAL` when it is the top or not in this tree.
    pub fn unmount(&self, mount: &Arc<Mount>, lazily: bool) -> Result<(), Errno> {
        let below = mount.root_path().map(|root| self.below(&root)).unwrap_or_default();
        if !below.is_empty() && !lazily {
            return Err(Errno::EBUSY);
        }
        let mut gone = below;
        gone.push(Arc::clone(mount));
        let mut removed = Vec::new();
        {
            let mut tree = self.tree.write();
            if !tree.mounts.iter().skip(1).any(|other| Arc::ptr_eq(other, mount)) {
                return Err(Errno::EINVAL);
            }
            for mount in gone {
                if let Some((parent, dentry)) = mount.place() {
                    dentry.count_mount(-1);
                    removed.extend(tree.on_top.remove(&key(&parent, &dentry)));
                }
                tree.mounts.retain(|other| !Arc::ptr_eq(other, &mount));
                *mount.place.write() = None;
                removed.push(mount);
            }
        }
        drop(removed);
        Ok(())
    }

    /// The mounts below `path`, outer ones first.
    fn below(&self, path: &Path) -> Vec<Arc<Mount>> {
        let mounts = self.tree.read().mounts.clone();
        let mut found: Vec<Arc<Mount>> = Vec::new();
        for mount in mounts {
            let Some((parent, dentry)) = mount.place() else { continue };
            let inside = Arc::ptr_eq(&parent, &path.mount) && dentry.is_below(&path.dentry)
                || found.iter().any(|other| Arc::ptr_eq(other, &parent));
            if inside {
                found.push(mount);
            }
        }
        found
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

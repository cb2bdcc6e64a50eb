//! The dentry cache.
//!
//! A dentry knows its parent; a parent knows its children weakly. What keeps recently used dentries alive is the
//! [`DentryCache`], which holds a bounded number of them, so that a walk over a large tree does not fill the memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use super::{Filesystem, FsStr, FsString, Inode};
use crate::sync::{LockClass, Mutex, MutexGuard, RwLock};

/// How many dentries are kept though nobody uses them.
const KEPT: usize = 65_536;

/// A name in the tree of one file system, with the inode that it leads to, or none.
#[derive(Debug)]
pub struct Dentry {
    inode: Option<Arc<Inode>>,
    place: RwLock<Place>,
    children: RwLock<HashMap<FsString, Weak<Dentry>>>,
    /// How many mounts, in all namespaces, hide what is here.
    mounts: AtomicU32,
    /// As what the cache keeps it; zero if it does not. Changes under the cache's lock.
    kept_as: AtomicU64,
}

/// Where a dentry is in its tree.
#[derive(Debug)]
struct Place {
    parent: Option<Arc<Dentry>>,
    name: FsString,
    /// Whether the name still leads here.
    linked: bool,
}

impl Dentry {
    fn new(
        parent: Option<Arc<Dentry>>,
        name: FsString,
        inode: Option<Arc<Inode>>,
        linked: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            inode,
            place: RwLock::new(LockClass::Dentry, Place { parent, name, linked }),
            children: RwLock::new(LockClass::DentryChildren, HashMap::new()),
            mounts: AtomicU32::new(0),
            kept_as: AtomicU64::new(0),
        })
    }

    /// The root of a file system.
    pub fn root(inode: Arc<Inode>) -> Arc<Self> {
        Self::new(None, FsString::new(), Some(inode), true)
    }

    /// A dentry for a file that has no name (`O_TMPFILE`, pipes); `name` is what `/proc/[pid]/fd` shows.
    pub fn unnamed(parent: Option<Arc<Dentry>>, name: FsString, inode: Arc<Inode>) -> Arc<Self> {
        Self::new(parent, name, Some(inode), false)
    }

    /// A dentry below `parent` that is not in the cache.
    pub fn uncached(parent: &Arc<Dentry>, name: &FsStr, inode: Option<Arc<Inode>>) -> Arc<Self> {
        Self::new(Some(Arc::clone(parent)), name.to_vec(), inode, true)
    }

    /// What the name leads to; `None` when it is known not to exist.
    pub fn inode(&self) -> Option<&Arc<Inode>> {
        self.inode.as_ref()
    }

    /// The directory that it is in; `None` for a root.
    pub fn parent(&self) -> Option<Arc<Dentry>> {
        self.place.read().parent.clone()
    }

    /// Its name; empty for a root.
    pub fn name(&self) -> FsString {
        self.place.read().name.clone()
    }

    /// Whether its name still leads to it.
    pub fn is_linked(&self) -> bool {
        self.place.read().linked
    }

    /// Whether a mount hides what is here, in some namespace.
    #[inline]
    pub fn is_mount_point(&self) -> bool {
        self.mounts.load(Ordering::Acquire) != 0
    }

    /// One more or one less mount hides what is here.
    pub(super) fn count_mount(&self, change: i32) {
        self.mounts.fetch_add(change.cast_unsigned(), Ordering::AcqRel);
    }

    /// The cached child `name`, negative ones among them.
    pub fn cached_child(&self, name: &FsStr) -> Option<Arc<Dentry>> {
        self.children.read().get(name)?.upgrade()
    }

    /// Forgets the cached child `name`, and returns it.
    fn forget_child(&self, name: &FsStr) -> Option<Arc<Self>> {
        let forgotten = self.children.write().remove(name);
        let child = forgotten.and_then(|child| child.upgrade())?;
        child.place.write().linked = false;
        Some(child)
    }

    /// Puts `child` below this dentry under its name.
    fn adopt(&self, name: FsString, child: &Arc<Dentry>) {
        let mut children = self.children.write();
        if children.len() == children.capacity() {
            children.retain(|_, child| child.strong_count() > 0);
        }
        children.insert(name, Arc::downgrade(child));
    }

    /// Whether this is a name in `filesystem`.
    fn is_of(&self, filesystem: &Arc<Filesystem>) -> bool {
        let is_of = |inode: &Arc<Inode>| Arc::ptr_eq(inode.filesystem(), filesystem);
        match &self.inode {
            Some(inode) => is_of(inode),
            // What does not exist is where its directory is.
            None => self.parent().is_some_and(|parent| parent.inode.as_ref().is_some_and(is_of)),
        }
    }

    /// Whether this dentry is `ancestor` or below it.
    pub fn is_below(self: &Arc<Self>, ancestor: &Arc<Dentry>) -> bool {
        let mut dentry = Arc::clone(self);
        loop {
            if Arc::ptr_eq(&dentry, ancestor) {
                return true;
            }
            match dentry.parent() {
                Some(parent) => dentry = parent,
                None => return false,
            }
        }
    }
}

/// A tree may be as deep as a guest likes, so a chain of parents is let go of one by one rather than by recursion.
impl Drop for Dentry {
    fn drop(&mut self) {
        let mut above = self.place.get_mut().parent.take();
        while let Some(mut dentry) = above.and_then(Arc::into_inner) {
            above = dentry.place.get_mut().parent.take();
        }
    }
}

/// Keeps recently made dentries, and orders renames.
#[derive(Debug)]
pub struct DentryCache {
    recent: Mutex<Recent>,
    renames: Mutex<()>,
}

/// The dentries that are kept, in the order in which they came.
#[derive(Debug, Default)]
struct Recent {
    last: u64,
    kept: BTreeMap<u64, Arc<Dentry>>,
}

impl Default for DentryCache {
    fn default() -> Self {
        Self {
            recent: Mutex::new(LockClass::DentryCache, Recent::default()),
            renames: Mutex::new(LockClass::Rename, ()),
        }
    }
}

impl DentryCache {
    /// Makes a child of `parent` and keeps it for a while. The caller holds the lock of the directory.
    pub fn add(&self, parent: &Arc<Dentry>, name: &FsStr, inode: Option<Arc<Inode>>) -> Arc<Dentry> {
        let child = Dentry::new(Some(Arc::clone(parent)), name.to_vec(), inode, true);
        parent.adopt(name.to_vec(), &child);
        self.keep(Arc::clone(&child));
        child
    }

    fn keep(&self, dentry: Arc<Dentry>) {
        let evicted = {
            let mut recent = self.recent.lock();
            recent.last += 1;
            let number = recent.last;
            dentry.kept_as.store(number, Ordering::Relaxed);
            recent.kept.insert(number, dentry);
            if recent.kept.len() > KEPT { recent.kept.pop_first() } else { None }
        };
        // Outside of the lock: it may be the last reference to a long chain.
        drop(evicted);
    }

    /// Forgets the child `name` of `parent`: the name leads elsewhere now, or nowhere. What it led to is not kept any more, so that a file that
    /// was removed gives its memory back. The caller holds the lock of the directory.
    pub fn forget(&self, parent: &Dentry, name: &FsStr) {
        let Some(child) = parent.forget_child(name) else { return };
        let kept = {
            let mut recent = self.recent.lock();
            recent.kept.remove(&child.kept_as.swap(0, Ordering::Relaxed))
        };
        drop(kept);
    }

    /// One rename between directories at a time.
    pub fn lock_renames(&self) -> MutexGuard<'_, ()> {
        self.renames.lock()
    }

    /// Moves `dentry` to `name` below `parent`; what was there is forgotten. The caller holds the locks of both directories.
    pub fn rename(&self, dentry: &Arc<Dentry>, parent: &Arc<Dentry>, name: &FsStr) {
        self.forget(parent, name);
        let old = {
            let mut place = dentry.place.write();
            let old_name = std::mem::replace(&mut place.name, name.to_vec());
            let old_parent = place.parent.replace(Arc::clone(parent));
            old_parent.map(|old_parent| (old_parent, old_name))
        };
        if let Some((old_parent, old_name)) = old {
            old_parent.children.write().remove(&old_name);
        }
        parent.adopt(name.to_vec(), dentry);
    }

    /// Exchanges the places of two dentries. The caller holds the locks of both directories.
    pub fn exchange(&self, first: &Arc<Dentry>, second: &Arc<Dentry>) {
        let (Some(first_parent), Some(second_parent)) = (first.parent(), second.parent()) else { return };
        let (first_name, second_name) = (first.name(), second.name());
        self.rename(first, &second_parent, &second_name);
        {
            let mut place = second.place.write();
            place.parent = Some(Arc::clone(&first_parent));
            place.name.clone_from(&first_name);
            place.linked = true;
        }
        first_parent.adopt(first_name, second);
        self.keep(Arc::clone(second));
    }

    /// Drops what is kept of file systems that are not mounted any more, so that their memory is given back.
    pub fn forget_filesystems(&self, filesystems: &[Arc<Filesystem>]) {
        if filesystems.is_empty() {
            return;
        }
        // Looked at without the lock, which comes after those of dentries.
        let all: Vec<Arc<Dentry>> = self.recent.lock().kept.values().cloned().collect();
        for dentry in all {
            if filesystems.iter().any(|filesystem| dentry.is_of(filesystem)) {
                let kept = {
                    let mut recent = self.recent.lock();
                    recent.kept.remove(&dentry.kept_as.swap(0, Ordering::Relaxed))
                };
                drop(kept);
            }
        }
    }

    /// Drops everything that is kept only by the cache.
    pub fn clear(&self) {
        let all = std::mem::take(&mut self.recent.lock().kept);
        drop(all);
    }
}

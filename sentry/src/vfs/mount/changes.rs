//! Changes of a mount tree: `mount(2)`, `umount2(2)`, `pivot_root(2)`. Who may do that is the caller's concern.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bartizan_abi::{Errno, FileType};

use super::{Mount, MountFlags, MountNamespace, MountTree, Path, Place, key};
use crate::vfs::{Dentry, Filesystem, FilesystemRoot, notify};

/// The most mounts in one namespace (`/proc/sys/fs/mount-max`).
const MOST_MOUNTS: usize = 100_000;

/// The references to a mount that is not used: the two of its tree, and that of whoever asks.
const IDLE_REFERENCES: usize = 3;

/// Whether a mount may be in use when it is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmount {
    /// It may not, and nothing may be mounted below it.
    IfIdle,
    /// It goes with all that is below, and lives on for those who use it (`MNT_DETACH`).
    Lazily,
}

impl MountNamespace {
    /// Mounts a file system on `path`.
    ///
    /// # Errors
    /// `ENOTDIR` unless both or neither are directories, `ENOENT` for a removed directory, `EINVAL` for a place that is not in
    /// this namespace, `ENOSPC` for too many mounts.
    pub fn mount(
        &self,
        path: &Path,
        root: FilesystemRoot,
        source: &[u8],
        flags: MountFlags,
    ) -> Result<Arc<Mount>, Errno> {
        let mount = Mount::new(self.new_id(), root, source.to_vec(), flags);
        let mut tree = self.tree.write();
        let place = tree.mount_point(path)?;
        tree.check_room(1)?;
        check_types(&place.dentry, &mount.root)?;
        tree.add(&place, &mount);
        Ok(mount)
    }

    /// Mounts what is at `from` also on `path` (`MS_BIND`); with its submounts if `recursive`.
    ///
    /// # Errors
    /// As [`mount`](Self::mount); `EINVAL` too for a source that is not in this namespace.
    pub fn bind(&self, path: &Path, from: &Path, recursive: bool) -> Result<Arc<Mount>, Errno> {
        let mut tree = self.tree.write();
        let place = tree.mount_point(path)?;
        if !tree.contains(&from.mount) {
            return Err(Errno::EINVAL);
        }
        let submounts = if recursive { tree.below(from) } else { Vec::new() };
        tree.check_room(submounts.len() + 1)?;
        check_types(&place.dentry, &from.dentry)?;
        let top = self.copy_of(&from.mount, &from.dentry);
        tree.add(&place, &top);
        let mut copies = HashMap::from([(from.mount.id, Arc::clone(&top))]);
        for mount in submounts {
            let Some((parent, dentry)) = mount.place() else { continue };
            let Some(parent) = copies.get(&parent.id).cloned() else { continue };
            let copy = self.copy_of(&mount, &mount.root);
            if let Some(place) = Path::new(parent, dentry) {
                tree.add(&place, &copy);
                copies.insert(mount.id, copy);
            }
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

    /// Moves the mount whose root is `from` onto `path` (`MS_MOVE`).
    ///
    /// # Errors
    /// `EINVAL` for what is not the root of a mount, and for a directory and a file; `ELOOP` for a place below the mount itself; `ENOENT`
    /// for a removed directory.
    pub fn move_mount(&self, path: &Path, from: &Path) -> Result<(), Errno> {
        let mut tree = self.tree.write();
        let place = tree.mount_point(path)?;
        let mount = &from.mount;
        if !tree.contains(mount) || !from.is_mount_root() {
            return Err(Errno::EINVAL);
        }
        check_types(&place.dentry, &mount.root).map_err(|_| Errno::EINVAL)?;
        // All of the tree is below its top.
        if is_reachable(&place, from) {
            return Err(Errno::ELOOP);
        }
        let old = tree.take_off(mount);
        tree.put_on(&place, mount);
        drop(tree);
        drop(old);
        Ok(())
    }

    /// Takes the mount of `path` out of the tree.
    ///
    /// # Errors
    /// `EBUSY` when it is used or something is mounted below it, `EINVAL` when `path` is not its root, or it is the top of the tree, or not in
    /// this tree.
    pub fn unmount(&self, path: Path, how: Unmount) -> Result<(), Errno> {
        if !path.is_mount_root() {
            return Err(Errno::EINVAL);
        }
        let root = path.clone();
        let Path { mount, .. } = path;
        let mut tree = self.tree.write();
        if !tree.contains(&mount) || Arc::ptr_eq(&tree.root, &mount) {
            return Err(Errno::EINVAL);
        }
        let mut gone = tree.below(&root);
        drop(root);
        if how == Unmount::IfIdle && (!gone.is_empty() || Arc::strong_count(&mount) > IDLE_REFERENCES) {
            return Err(Errno::EBUSY);
        }
        gone.push(mount);
        let ids: HashSet<u64> = gone.iter().map(|mount| mount.id).collect();
        let places: Vec<Option<Place>> = gone.iter().map(|mount| tree.take_off(mount)).collect();
        tree.mounts.retain(|mount| !ids.contains(&mount.id));
        let unused: Vec<Arc<Filesystem>> = gone
            .iter()
            .map(|mount| &mount.filesystem)
            .filter(|filesystem| !tree.mounts.iter().any(|other| Arc::ptr_eq(&other.filesystem, filesystem)))
            .cloned()
            .collect();
        drop(tree);
        drop((gone, places));
        notify::on_unmount(&unused);
        self.cache.forget_filesystems(&unused);
        Ok(())
    }

    /// Makes the mount whose root is `new` the top, or what `root`'s mount was, and moves `root`'s mount to `put_old`.
    ///
    /// # Errors
    /// Those of `pivot_root(2)`.
    pub fn pivot(&self, root: &Path, new: &Path, put_old: &Path) -> Result<(), Errno> {
        let mut tree = self.tree.write();
        let place = tree.mount_point(put_old)?;
        let (old_mount, new_mount) = (&root.mount, &new.mount);
        if !tree.contains(old_mount) || !tree.contains(new_mount) {
            return Err(Errno::EINVAL);
        }
        if !new.dentry.is_linked() {
            return Err(Errno::ENOENT);
        }
        if Arc::ptr_eq(new_mount, old_mount) || Arc::ptr_eq(&place.mount, old_mount) {
            return Err(Errno::EBUSY);
        }
        let roots = root.is_mount_root() && new.is_mount_root() && new_mount.place().is_some();
        if !roots || !is_reachable(&place, new) || !is_reachable(new, root) {
            return Err(Errno::EINVAL);
        }
        let new_place = tree.take_off(new_mount);
        match tree.take_off(old_mount) {
            Some((parent, dentry)) => {
                let below = parent.upgrade().and_then(|parent| Path::new(parent, dentry));
                below.iter().for_each(|below| tree.put_on(below, new_mount));
            }
            None => tree.root = Arc::clone(new_mount),
        }
        tree.put_on(&place, old_mount);
        drop(tree);
        drop(new_place);
        Ok(())
    }

    /// Whether nothing uses the mount of `path` but the caller with this one path, and nothing is mounted below it.
    pub fn is_idle(&self, path: &Path) -> bool {
        let tree = self.tree.read();
        tree.below(path).is_empty() && Arc::strong_count(&path.mount) <= IDLE_REFERENCES
    }

    /// Whether `mount` is in this namespace.
    pub fn contains(&self, mount: &Mount) -> bool {
        self.tree.read().contains(mount)
    }
}

impl MountTree {
    fn contains(&self, mount: &Mount) -> bool {
        self.mounts.iter().any(|other| std::ptr::eq(Arc::as_ptr(other), mount))
    }

    /// Where a mount on `path` goes: on top of what is mounted there.
    fn mount_point(&self, path: &Path) -> Result<Path, Errno> {
        let mut place = path.clone();
        while let Some(root) =
            self.on_top.get(&key(&place.mount, &place.dentry)).and_then(|mount| mount.root_path())
        {
            place = root;
        }
        if !place.dentry.is_linked() {
            return Err(Errno::ENOENT);
        }
        if self.contains(&place.mount) { Ok(place) } else { Err(Errno::EINVAL) }
    }

    fn check_room(&self, more: usize) -> Result<(), Errno> {
        if self.mounts.len() + more > MOST_MOUNTS { Err(Errno::ENOSPC) } else { Ok(()) }
    }

    /// Adds a new mount, on `place`.
    fn add(&mut self, place: &Path, mount: &Arc<Mount>) {
        self.put_on(place, mount);
        self.mounts.push(Arc::clone(mount));
    }

    /// Puts `mount`, which is nowhere, on `place`, on which nothing is.
    fn put_on(&mut self, place: &Path, mount: &Arc<Mount>) {
        place.dentry.count_mount(1);
        *mount.place.write() = Some((Arc::downgrade(&place.mount), Arc::clone(&place.dentry)));
        self.on_top.insert(key(&place.mount, &place.dentry), Arc::clone(mount));
    }

    /// Takes `mount` from where it is, which is returned, to be let go of without the lock.
    fn take_off(&mut self, mount: &Mount) -> Option<Place> {
        let place = mount.place.write().take()?;
        place.1.count_mount(-1);
        if let Some(parent) = place.0.upgrade() {
            self.on_top.remove(&key(&parent, &place.1));
        }
        Some(place)
    }

    /// The mounts below `path`, outer ones first.
    fn below(&self, path: &Path) -> Vec<Arc<Mount>> {
        let mut on: HashMap<u64, Vec<&Arc<Mount>>> = HashMap::new();
        for mount in &self.mounts {
            if let Some((parent, _)) = mount.place() {
                on.entry(parent.id).or_default().push(mount);
            }
        }
        let direct = on.remove(&path.mount.id).unwrap_or_default();
        let inside =
            |mount: &&Arc<Mount>| mount.place().is_some_and(|(_, dentry)| dentry.is_below(&path.dentry));
        let mut found: Vec<Arc<Mount>> = direct.into_iter().filter(inside).cloned().collect();
        let mut next = 0;
        while let Some(mount) = found.get(next) {
            let above = on.remove(&mount.id).unwrap_or_default();
            found.extend(above.into_iter().cloned());
            next += 1;
        }
        found
    }
}

/// A directory goes on a directory, anything else on anything else.
fn check_types(place: &Dentry, root: &Dentry) -> Result<(), Errno> {
    let is_directory =
        |dentry: &Dentry| dentry.inode().is_some_and(|inode| inode.kind() == FileType::Directory);
    if is_directory(place) == is_directory(root) { Ok(()) } else { Err(Errno::ENOTDIR) }
}

/// Whether `path` is `from` or below it, over mounts (`is_path_reachable`).
fn is_reachable(path: &Path, from: &Path) -> bool {
    let (mut mount, mut dentry) = (Arc::clone(&path.mount), Arc::clone(&path.dentry));
    while !Arc::ptr_eq(&mount, &from.mount) {
        match mount.place() {
            Some((parent, place)) => (mount, dentry) = (parent, place),
            None => return false,
        }
    }
    dentry.is_below(&from.dentry)
}

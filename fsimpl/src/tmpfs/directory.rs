//! Directories.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bartizan_abi::{DeviceNumber, Errno, FileMode, FileType, RenameFlags, SealFlags, XattrFlags};
use bartizan_sentry::kernel::realtime;
use bartizan_sentry::sync::{LockClass, Mutex, MutexGuard};
use bartizan_sentry::vfs::acl::{Acl, AclKind};
use bartizan_sentry::vfs::{
    AccessRule, AttributeChanges, Attributes, DirectorySink, File, FileOps, Filesystem, FsStr, FsString,
    Inode, InodeOps, NewNode, OpenRequest, Rename,
};

use super::Options;
use super::entries::Entries;
use super::filesystem::Tmpfs;
use super::node::Node;
use super::regular::Regular;
use super::special::{Special, node_of, xattr_operations};

/// What Linux counts for an entry in the size of a directory, bytes.
const ENTRY_SIZE: u64 = 20;
/// How many entries of a listing are collected under the lock at a time.
const LISTING_BATCH: usize = 64;

/// A directory.
#[derive(Debug)]
pub struct Directory {
    node: Node,
    /// The inode number of the directory above.
    parent: AtomicU64,
    /// How many entries there are, for `stat`, which takes no lock for it.
    count: AtomicU64,
    contents: Mutex<Contents>,
}

#[derive(Debug, Default)]
struct Contents {
    entries: Entries<Arc<Inode>>,
    /// It was removed; nothing can be made in it any more.
    removed: bool,
}

impl Contents {
    /// Fails with `ENOENT` in a directory that was removed.
    fn check_alive(&self) -> Result<(), Errno> {
        if self.removed { Err(Errno::ENOENT) } else { Ok(()) }
    }
}

impl Directory {
    /// The root directory of an instance.
    pub fn root(
        filesystem: &Arc<Filesystem>,
        tmpfs: &Arc<Tmpfs>,
        options: &Options,
    ) -> Result<Arc<Inode>, Errno> {
        let node = NewNode {
            kind: FileType::Directory,
            mode: options.mode,
            uid: options.uid,
            gid: options.gid,
            device: DeviceNumber::NONE,
            now: realtime(),
        };
        let directory = Self::new(tmpfs, &node)?;
        directory.parent.store(directory.node.number(), Ordering::Relaxed);
        let number = directory.node.number();
        Ok(Inode::new(number, FileType::Directory, Arc::clone(filesystem), Box::new(directory)))
    }

    fn new(tmpfs: &Arc<Tmpfs>, node: &NewNode) -> Result<Self, Errno> {
        Ok(Self {
            node: Node::new(tmpfs, FileType::Directory, node, 2)?,
            parent: AtomicU64::new(0),
            count: AtomicU64::new(0),
            contents: Mutex::new(LockClass::Filesystem, Contents::default()),
        })
    }

    /// Its attributes.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Puts a new inode of `kind` and `ops` at `name`.
    fn add(
        &self,
        directory: &Arc<Inode>,
        name: &FsStr,
        kind: FileType,
        number: u64,
        ops: Box<dyn InodeOps>,
    ) -> Result<Arc<Inode>, Errno> {
        let inode = Inode::new(number, kind, Arc::clone(directory.filesystem()), ops);
        self.insert(name, &inode)?;
        Ok(inode)
    }

    /// Makes `name`, which does not exist, lead to `inode`.
    fn insert(&self, name: &FsStr, inode: &Arc<Inode>) -> Result<(), Errno> {
        let mut contents = self.contents.lock();
        contents.check_alive()?;
        if contents.entries.get(name).is_some() {
            return Err(Errno::EEXIST);
        }
        contents.entries.set(name, Arc::clone(inode));
        self.note_count(&contents);
        drop(contents);
        self.node.touch_modified();
        Ok(())
    }

    /// Takes `name` out.
    fn remove(&self, name: &FsStr) -> Result<Arc<Inode>, Errno> {
        let mut contents = self.contents.lock();
        let removed = contents.entries.remove(name).ok_or(Errno::ENOENT)?;
        self.note_count(&contents);
        drop(contents);
        self.node.touch_modified();
        Ok(removed)
    }

    /// To be called when the number of entries may have changed.
    fn note_count(&self, contents: &Contents) {
        self.count.store(contents.entries.len() as u64, Ordering::Relaxed);
    }

    /// Marks it removed if it is empty.
    fn remove_if_empty(&self) -> Result<(), Errno> {
        let mut contents = self.contents.lock();
        if !contents.entries.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        contents.removed = true;
        Ok(())
    }

    /// Takes all entries out, if nobody else is looking at them.
    fn take_entries(&self) -> Vec<Arc<Inode>> {
        self.contents.try_lock().map(|mut contents| contents.entries.take_all().collect()).unwrap_or_default()
    }
}

/// A tree may be as deep as the guest likes, so it is taken down level by level rather than by recursion.
impl Drop for Directory {
    fn drop(&mut self) {
        let mut rest: Vec<Arc<Inode>> = self.contents.get_mut().entries.take_all().collect();
        while let Some(inode) = rest.pop() {
            if let Some(inode) = Arc::into_inner(inode)
                && let Some(directory) = inode.downcast::<Self>()
            {
                rest.extend(directory.take_entries());
            }
        }
    }
}

impl InodeOps for Directory {
    fn attributes(&self, _inode: &Inode) -> Result<Attributes, Errno> {
        let entries = self.count.load(Ordering::Relaxed);
        Ok(self.node.attributes((entries + 2) * ENTRY_SIZE, 0))
    }

    fn touch_accessed(&self, rule: AccessRule) {
        self.node.touch_accessed(rule);
    }

    fn set_attributes(&self, _inode: &Inode, changes: &AttributeChanges) -> Result<(), Errno> {
        if changes.size.is_some() {
            return Err(Errno::EISDIR);
        }
        self.node.set_attributes(changes);
        Ok(())
    }

    fn open(&self, inode: &Arc<Inode>, _request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        Ok(Box::new(OpenDirectory { inode: Arc::clone(inode) }))
    }

    fn lookup(&self, _directory: &Arc<Inode>, name: &FsStr) -> Result<Arc<Inode>, Errno> {
        self.contents.lock().entries.get(name).cloned().ok_or(Errno::ENOENT)
    }

    fn revalidate(&self, _directory: &Arc<Inode>, name: &FsStr, child: Option<&Arc<Inode>>) -> bool {
        self.contents.lock().entries.get(name).map(Arc::as_ptr) == child.map(Arc::as_ptr)
    }

    fn create(&self, directory: &Arc<Inode>, name: &FsStr, node: &NewNode) -> Result<Arc<Inode>, Errno> {
        let tmpfs = self.node.tmpfs();
        if node.kind == FileType::Regular {
            let device = directory.filesystem().device;
            let regular = Regular::new(tmpfs, device, node, 1, SealFlags::F_SEAL_SEAL)?;
            let number = regular.node().number();
            return self.add(directory, name, node.kind, number, Box::new(regular));
        }
        let special = Special::new(tmpfs, node)?;
        let number = special.number();
        self.add(directory, name, node.kind, number, Box::new(special))
    }

    fn create_unnamed(&self, directory: &Arc<Inode>, node: &NewNode) -> Result<Arc<Inode>, Errno> {
        self.create_sealable(directory, node, SealFlags::F_SEAL_SEAL)
    }

    fn create_sealable(
        &self,
        directory: &Arc<Inode>,
        node: &NewNode,
        seals: SealFlags,
    ) -> Result<Arc<Inode>, Errno> {
        let filesystem = directory.filesystem();
        let regular = Regular::new(self.node.tmpfs(), filesystem.device, node, 0, seals)?;
        let number = regular.node().number();
        Ok(Inode::new(number, FileType::Regular, Arc::clone(filesystem), Box::new(regular)))
    }

    fn make_directory(
        &self,
        directory: &Arc<Inode>,
        name: &FsStr,
        node: &NewNode,
    ) -> Result<Arc<Inode>, Errno> {
        let made = Self::new(self.node.tmpfs(), node)?;
        made.parent.store(self.node.number(), Ordering::Relaxed);
        let number = made.node.number();
        let inode = self.add(directory, name, FileType::Directory, number, Box::new(made))?;
        self.node.add_link()?;
        Ok(inode)
    }

    fn make_symlink(
        &self,
        directory: &Arc<Inode>,
        name: &FsStr,
        target: &FsStr,
        node: &NewNode,
    ) -> Result<Arc<Inode>, Errno> {
        let symlink = Special::symlink(self.node.tmpfs(), target, node)?;
        let number = symlink.number();
        self.add(directory, name, FileType::Symlink, number, Box::new(symlink))
    }

    fn link(&self, _directory: &Arc<Inode>, name: &FsStr, target: &Arc<Inode>) -> Result<(), Errno> {
        let node = node_of(target).ok_or(Errno::EXDEV)?;
        node.add_link()?;
        self.insert(name, target).inspect_err(|_| node.remove_links(1))
    }

    fn unlink(&self, _directory: &Arc<Inode>, name: &FsStr, target: &Arc<Inode>) -> Result<(), Errno> {
        let removed = self.remove(name)?;
        if let Some(node) = node_of(target) {
            node.remove_links(1);
        }
        drop(removed);
        Ok(())
    }

    fn remove_directory(
        &self,
        _directory: &Arc<Inode>,
        name: &FsStr,
        target: &Arc<Inode>,
    ) -> Result<(), Errno> {
        let victim = target.downcast::<Self>().ok_or(Errno::ENOTDIR)?;
        victim.remove_if_empty()?;
        let removed = self.remove(name)?;
        self.node.remove_links(1);
        victim.node.remove_links(2);
        drop(removed);
        Ok(())
    }

    fn rename(&self, rename: &Rename<'_>) -> Result<(), Errno> {
        let new = rename.new_directory.downcast::<Self>().ok_or(Errno::EXDEV)?;
        if rename.flags.contains(RenameFlags::RENAME_EXCHANGE) {
            exchange(self, new, rename)
        } else {
            replace(self, new, rename)
        }
    }

    xattr_operations!();
}

/// The contents of the two directories of a rename; the second is `None` where they are one.
fn lock_two<'a>(
    old: &'a Directory,
    new: &'a Directory,
) -> (MutexGuard<'a, Contents>, Option<MutexGuard<'a, Contents>>) {
    if std::ptr::eq(old, new) {
        (old.contents.lock(), None)
    } else if std::ptr::from_ref(old) < std::ptr::from_ref(new) {
        let first = old.contents.lock();
        (first, Some(new.contents.lock()))
    } else {
        let second = new.contents.lock();
        (old.contents.lock(), Some(second))
    }
}

/// What is left where the source of a rename was (`RENAME_WHITEOUT`), if anything.
fn whiteout(directory: &Directory, rename: &Rename<'_>) -> Result<Option<Arc<Inode>>, Errno> {
    if !rename.flags.contains(RenameFlags::RENAME_WHITEOUT) {
        return Ok(None);
    }
    let node = NewNode {
        kind: FileType::CharacterDevice,
        mode: FileMode::empty(),
        uid: rename.owner.0,
        gid: rename.owner.1,
        device: DeviceNumber::NONE,
        now: realtime(),
    };
    let special = Special::new(directory.node.tmpfs(), &node)?;
    let filesystem = Arc::clone(rename.old_directory.filesystem());
    Ok(Some(Inode::new(special.number(), node.kind, filesystem, Box::new(special))))
}

/// Moves the source onto the target, which may exist.
fn replace(old: &Directory, new: &Directory, rename: &Rename<'_>) -> Result<(), Errno> {
    let whiteout = whiteout(old, rename)?;
    let target_directory = rename.target.and_then(|target| target.downcast::<Directory>());
    if let Some(target) = target_directory {
        target.remove_if_empty()?;
    }
    let (mut from, mut to) = lock_two(old, new);
    to.as_deref().unwrap_or(&from).check_alive()?;
    let source = from.entries.remove(rename.old_name).ok_or(Errno::ENOENT)?;
    let replaced = to.as_deref_mut().unwrap_or(&mut from).entries.set(rename.new_name, source);
    if let Some(whiteout) = whiteout {
        from.entries.set(rename.old_name, whiteout);
    }
    old.note_count(&from);
    if let Some(to) = &to {
        new.note_count(to);
    }
    drop((from, to));
    if let Some(target) = replaced.as_deref().and_then(node_of) {
        target.remove_links(if target_directory.is_some() { 2 } else { 1 });
    }
    if target_directory.is_some() {
        new.node.remove_links(1);
    }
    moved_directory(rename.source, old, new);
    touch_both(old, new, &[rename.source]);
    Ok(())
}

/// Exchanges source and target (`RENAME_EXCHANGE`).
fn exchange(old: &Directory, new: &Directory, rename: &Rename<'_>) -> Result<(), Errno> {
    let target = rename.target.ok_or(Errno::ENOENT)?;
    let (mut from, mut to) = lock_two(old, new);
    let other = to.as_deref_mut().unwrap_or(&mut from);
    if other.entries.get(rename.new_name).is_none() {
        return Err(Errno::ENOENT);
    }
    other.entries.set(rename.new_name, Arc::clone(rename.source));
    from.entries.set(rename.old_name, Arc::clone(target));
    drop((from, to));
    moved_directory(rename.source, old, new);
    moved_directory(target, new, old);
    touch_both(old, new, &[rename.source, target]);
    Ok(())
}

/// After the move of `inode` from `old` to `new`: `..` of a directory leads elsewhere.
fn moved_directory(inode: &Inode, old: &Directory, new: &Directory) {
    if let Some(moved) = inode.downcast::<Directory>()
        && !std::ptr::eq(old, new)
    {
        moved.parent.store(new.node.number(), Ordering::Relaxed);
        old.node.remove_links(1);
        new.node.state().links += 1;
    }
}

/// Both directories changed, and so did the attributes of what was moved.
fn touch_both(old: &Directory, new: &Directory, moved: &[&Arc<Inode>]) {
    old.node.touch_modified();
    if !std::ptr::eq(old, new) {
        new.node.touch_modified();
    }
    for node in moved.iter().filter_map(|inode| node_of(inode)) {
        node.touch_changed();
    }
}

/// An open directory.
#[derive(Debug)]
struct OpenDirectory {
    inode: Arc<Inode>,
}

impl OpenDirectory {
    fn directory(&self) -> Result<&Directory, Errno> {
        self.inode.downcast().ok_or(Errno::ENOTDIR)
    }
}

impl Directory {
    /// Gives the entries from position `offset` on to `sink`.
    pub fn list(&self, sink: &mut dyn DirectorySink, offset: u64) -> u64 {
        let mut position = offset;
        let dots = [(&b"."[..], self.node.number()), (b"..", self.parent.load(Ordering::Relaxed))];
        for (index, (name, number)) in (0..).zip(dots).filter(|&(index, _)| index >= offset) {
            if !sink.entry(name, number, FileType::Directory, index + 1) {
                return position;
            }
            position = index + 1;
        }
        let mut batch = Vec::with_capacity(LISTING_BATCH);
        loop {
            let contents = self.contents.lock();
            batch.extend(contents.entries.from(position).take(LISTING_BATCH).map(|(cookie, entry)| {
                (cookie, Arc::clone(&entry.name), entry.value.number(), entry.value.kind())
            }));
            drop(contents);
            if batch.is_empty() {
                return position;
            }
            for (cookie, name, number, kind) in batch.drain(..) {
                if !sink.entry(&name, number, kind, cookie + 1) {
                    return position;
                }
                position = cookie + 1;
            }
        }
    }
}

impl FileOps for OpenDirectory {
    fn read_directory(&self, _file: &File, sink: &mut dyn DirectorySink, offset: u64) -> Result<u64, Errno> {
        Ok(self.directory()?.list(sink, offset))
    }
}

//! Making, linking, removing and renaming entries of directories.

use std::sync::Arc;

use bartizan_abi::process::Capability;
use bartizan_abi::{DeviceNumber, Errno, FileMode, FileType, InotifyMask, RenameFlags};

use super::acl::Inherited;
use super::notify::{self, Move};
use super::permission::{May, is_sticky_for};
use super::walk::{LastKind, Parent, Walker};
use super::{Attributes, Dentry, FsStr, Inode, NewNode, Path, Rename};
use crate::kernel::realtime;

/// What a new entry is.
#[derive(Debug, Clone, Copy)]
pub enum NewEntry<'a> {
    /// A regular file, FIFO, socket or device.
    Node(FileType, DeviceNumber),
    /// A directory.
    Directory,
    /// A symbolic link with this target.
    Symlink(&'a FsStr),
}

impl NewEntry<'_> {
    fn kind(&self) -> FileType {
        match self {
            Self::Node(kind, _) => *kind,
            Self::Directory => FileType::Directory,
            Self::Symlink(_) => FileType::Symlink,
        }
    }
}

/// Makes a regular file; `EEXIST` if somebody was faster.
pub(super) fn create_regular(walker: &Walker<'_>, parent: &Parent, mode: FileMode) -> Result<Path, Errno> {
    create(walker, parent, NewEntry::Node(FileType::Regular, DeviceNumber::default()), mode)
}

/// Makes an entry; `mode` is before the umask.
///
/// # Errors
/// Those of `mknod(2)`, `mkdir(2)` and `symlink(2)`.
pub fn create(
    walker: &Walker<'_>,
    parent: &Parent,
    entry: NewEntry<'_>,
    mode: FileMode,
) -> Result<Path, Errno> {
    if parent.kind != LastKind::Name {
        return Err(Errno::EEXIST);
    }
    let directory = parent.directory.inode();
    let locked = directory.lock_directory();
    let existing = walker.child_locked(&parent.directory, &parent.name)?;
    if existing.inode().is_some() {
        return Err(Errno::EEXIST);
    }
    if parent.slash && !matches!(entry, NewEntry::Directory) {
        return Err(Errno::ENOENT);
    }
    check_alive(&parent.directory.dentry)?;
    if parent.directory.mount.is_read_only() {
        return Err(Errno::EROFS);
    }
    directory.check(walker.credentials, May::WRITE | May::EXECUTE)?;
    let attributes = directory.attributes()?;
    let inherits = attributes.mode.contains(FileMode::S_ISGID);
    let gid = if inherits { attributes.gid } else { walker.credentials.fsgid };
    let (mode, lists) = Inherited::from(directory, entry.kind(), mode, walker.umask)?;
    let mut node = NewNode {
        kind: FileType::Regular,
        mode,
        uid: walker.credentials.fsuid,
        gid,
        device: DeviceNumber::default(),
        now: realtime(),
    };
    let ops = directory.ops();
    let inode = match entry {
        NewEntry::Node(kind, device) => {
            (node.kind, node.device) = (kind, device);
            if inherits && !may_set_group_id(walker, &attributes) {
                node.mode -= FileMode::S_ISGID;
            }
            ops.create(directory, &parent.name, &node)?
        }
        NewEntry::Directory => {
            node.kind = FileType::Directory;
            node.mode.set(FileMode::S_ISGID, inherits || node.mode.contains(FileMode::S_ISGID));
            ops.make_directory(directory, &parent.name, &node)?
        }
        NewEntry::Symlink(target) => {
            node.kind = FileType::Symlink;
            ops.make_symlink(directory, &parent.name, target, &node)?
        }
    };
    lists.give_to(&inode)?;
    let dentry = add_entry(walker, &parent.directory, &parent.name, Arc::clone(&inode));
    notify::on_entry(directory, &parent.name, &inode, InotifyMask::IN_CREATE);
    drop(locked);
    Path::new(Arc::clone(&parent.directory.mount), dentry).ok_or(Errno::ENOENT)
}

fn may_set_group_id(walker: &Walker<'_>, directory: &Attributes) -> bool {
    let Attributes { uid, gid, .. } = *directory;
    walker.credentials.in_group(gid)
        || walker.credentials.has_capability_over(Capability::CAP_FSETID, uid, gid)
}

/// Puts a new entry into the cache in place of its absence. The directory is locked.
fn add_entry(walker: &Walker<'_>, directory: &Path, name: &FsStr, inode: Arc<Inode>) -> Arc<Dentry> {
    walker.namespace.cache().forget(&directory.dentry, name);
    walker.namespace.cache().add(&directory.dentry, name, Some(inode))
}

/// A directory that has been removed takes no entries.
fn check_alive(directory: &Dentry) -> Result<(), Errno> {
    if directory.is_linked() || directory.parent().is_none() { Ok(()) } else { Err(Errno::ENOENT) }
}

/// Makes `parent`'s name another name of `target`.
///
/// # Errors
/// Those of `link(2)`.
pub fn link(walker: &Walker<'_>, parent: &Parent, target: &Path) -> Result<(), Errno> {
    if parent.kind != LastKind::Name {
        return Err(Errno::EEXIST);
    }
    let directory = parent.directory.inode();
    let _locked = directory.lock_directory();
    if walker.child_locked(&parent.directory, &parent.name)?.inode().is_some() {
        return Err(Errno::EEXIST);
    }
    if parent.slash {
        return Err(Errno::ENOENT);
    }
    if !Arc::ptr_eq(&parent.directory.mount, &target.mount) {
        return Err(Errno::EXDEV);
    }
    check_alive(&parent.directory.dentry)?;
    if parent.directory.mount.is_read_only() {
        return Err(Errno::EROFS);
    }
    directory.check(walker.credentials, May::WRITE | May::EXECUTE)?;
    if target.inode().kind() == FileType::Directory {
        return Err(Errno::EPERM);
    }
    directory.ops().link(directory, &parent.name, target.inode())?;
    add_entry(walker, &parent.directory, &parent.name, Arc::clone(target.inode()));
    notify::on_inode(target.inode(), InotifyMask::IN_ATTRIB);
    notify::on_entry(directory, &parent.name, target.inode(), InotifyMask::IN_CREATE);
    Ok(())
}

/// What is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Anything but a directory: `unlink(2)`.
    File,
    /// A directory: `rmdir(2)`.
    Directory,
}

/// Removes the entry that `parent` names.
///
/// # Errors
/// Those of `unlink(2)` and `rmdir(2)`.
pub fn remove(walker: &Walker<'_>, parent: &Parent, removal: Removal) -> Result<(), Errno> {
    match (parent.kind, removal) {
        (LastKind::Name, _) => {}
        (_, Removal::File) => return Err(Errno::EISDIR),
        (LastKind::Dot, _) => return Err(Errno::EINVAL),
        (LastKind::DotDot, _) => return Err(Errno::ENOTEMPTY),
        (LastKind::Root, _) => return Err(Errno::EBUSY),
    }
    let directory = parent.directory.inode();
    let locked = directory.lock_directory();
    let dentry = walker.child_locked(&parent.directory, &parent.name)?;
    let target = dentry.inode().ok_or(Errno::ENOENT)?;
    let is_directory = target.kind() == FileType::Directory;
    if removal == Removal::File && parent.slash {
        return Err(if is_directory { Errno::EISDIR } else { Errno::ENOTDIR });
    }
    check_removable(walker, &parent.directory, target)?;
    match removal {
        Removal::File if is_directory => return Err(Errno::EISDIR),
        Removal::Directory if !is_directory => return Err(Errno::ENOTDIR),
        _ => {}
    }
    if walker.namespace.is_mount_point(&dentry) {
        return Err(Errno::EBUSY);
    }
    match removal {
        Removal::File => {
            directory.ops().unlink(directory, &parent.name, target)?;
            notify::on_inode(target, InotifyMask::IN_ATTRIB);
        }
        Removal::Directory => {
            let _inner = target.lock_directory_below();
            directory.ops().remove_directory(directory, &parent.name, target)?;
        }
    }
    walker.namespace.cache().forget(&parent.directory.dentry, &parent.name);
    notify::on_name_gone(target);
    notify::on_entry(directory, &parent.name, target, InotifyMask::IN_DELETE);
    drop(locked);
    walker.namespace.detach_from(&dentry);
    Ok(())
}

/// Whether an entry of `directory` that is `target` may be removed or moved (`may_delete`).
fn check_removable(walker: &Walker<'_>, directory: &Path, target: &Inode) -> Result<(), Errno> {
    if directory.mount.is_read_only() {
        return Err(Errno::EROFS);
    }
    let attributes = directory.inode().attributes()?;
    directory.inode().check(walker.credentials, May::WRITE | May::EXECUTE)?;
    if attributes.mode.contains(FileMode::S_ISVTX)
        && is_sticky_for(&attributes, &target.attributes()?, walker.credentials)
    {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// Renames what `old` names to what `new` names.
///
/// # Errors
/// Those of `rename(2)`.
pub fn rename(walker: &Walker<'_>, old: &Parent, new: &Parent, flags: RenameFlags) -> Result<(), Errno> {
    if !Arc::ptr_eq(&old.directory.mount, &new.directory.mount) {
        return Err(Errno::EXDEV);
    }
    if old.kind != LastKind::Name {
        return Err(Errno::EBUSY);
    }
    if new.kind != LastKind::Name {
        let no_replace = flags.contains(RenameFlags::RENAME_NOREPLACE);
        return Err(if no_replace { Errno::EEXIST } else { Errno::EBUSY });
    }
    let (old_directory, new_directory) = (old.directory.inode(), new.directory.inode());
    let same = Arc::ptr_eq(old_directory, new_directory);
    let _renames = (!same).then(|| walker.namespace.cache().lock_renames());
    let _locked = lock_two(old_directory, new_directory);
    let source = walker.child_locked(&old.directory, &old.name)?;
    let source_inode = source.inode().ok_or(Errno::ENOENT)?;
    let target = walker.child_locked(&new.directory, &new.name)?;
    let exchange = flags.contains(RenameFlags::RENAME_EXCHANGE);
    if flags.contains(RenameFlags::RENAME_NOREPLACE) && target.inode().is_some() {
        return Err(Errno::EEXIST);
    }
    if exchange && target.inode().is_none() {
        return Err(Errno::ENOENT);
    }
    check_rename(walker, [old, new], [&source, &target], exchange)?;
    if target.inode().is_some_and(|target| Arc::ptr_eq(target, source_inode)) {
        return Ok(());
    }
    let rename = Rename {
        old_directory,
        old_name: &old.name,
        source: source_inode,
        new_directory,
        new_name: &new.name,
        target: target.inode(),
        flags,
        owner: (walker.credentials.fsuid, walker.credentials.fsgid),
    };
    old_directory.ops().rename(&rename)?;
    let cache = walker.namespace.cache();
    if exchange {
        cache.exchange(&source, &target);
    } else {
        cache.rename(&source, &new.directory.dentry, &new.name);
    }
    tell_of_rename(walker, &rename, exchange);
    if !exchange {
        walker.namespace.detach_from(&target);
    }
    Ok(())
}

/// Tells those who watch files of a rename.
fn tell_of_rename(walker: &Walker<'_>, rename: &Rename<'_>, exchange: bool) {
    let (old, new) = ((&**rename.old_directory, rename.old_name), (&**rename.new_directory, rename.new_name));
    let target = rename.target.map(|target| &**target);
    let replaced = if exchange { None } else { target };
    let cookie = || walker.namespace.new_cookie();
    notify::on_move(&Move { from: old, to: new, source: rename.source, replaced }, cookie);
    match target {
        Some(source) if exchange => {
            notify::on_move(&Move { from: new, to: old, source, replaced: None }, cookie);
        }
        Some(gone) => notify::on_name_gone(gone),
        None => {}
    }
}

/// Whether a rename is allowed and possible.
fn check_rename(
    walker: &Walker<'_>,
    [old, new]: [&Parent; 2],
    [source, target]: [&Arc<Dentry>; 2],
    exchange: bool,
) -> Result<(), Errno> {
    let Some(source_inode) = source.inode() else { return Err(Errno::ENOENT) };
    let is_directory =
        |dentry: &Dentry| dentry.inode().is_some_and(|inode| inode.kind() == FileType::Directory);
    if !is_directory(source) && (old.slash || !exchange && new.slash) {
        return Err(Errno::ENOTDIR);
    }
    // A directory cannot go below itself, nor take the place of one that it is in.
    if new.directory.dentry.is_below(source) {
        return Err(Errno::EINVAL);
    }
    if target.inode().is_some() && old.directory.dentry.is_below(target) {
        return Err(if exchange { Errno::EINVAL } else { Errno::ENOTEMPTY });
    }
    check_alive(&new.directory.dentry)?;
    check_removable(walker, &old.directory, source_inode)?;
    match target.inode() {
        None => new.directory.inode().check(walker.credentials, May::WRITE | May::EXECUTE)?,
        Some(inode) => {
            check_removable(walker, &new.directory, inode)?;
            match (is_directory(source), is_directory(target)) {
                _ if exchange => {}
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                _ => {}
            }
        }
    }
    if [source, target].into_iter().any(|dentry| walker.namespace.is_mount_point(dentry)) {
        return Err(Errno::EBUSY);
    }
    Ok(())
}

/// Locks one directory, or two in the order of their addresses, for a rename.
pub fn lock_two<'a>(
    first: &'a Arc<Inode>,
    second: &'a Arc<Inode>,
) -> (crate::sync::MutexGuard<'a, ()>, Option<crate::sync::MutexGuard<'a, ()>>) {
    if Arc::ptr_eq(first, second) {
        return (first.lock_directory(), None);
    }
    let (low, high) = if Arc::as_ptr(first).addr() < Arc::as_ptr(second).addr() {
        (first, second)
    } else {
        (second, first)
    };
    let low = low.lock_directory();
    (low, Some(high.lock_directory()))
}

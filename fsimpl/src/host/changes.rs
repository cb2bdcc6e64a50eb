//! Changing a host tree that is writable: the host is asked relative to the descriptor of the directory, one name at a time, and
//! never to follow a link.
//!
//! New files get exactly the mode that the VFS worked out, whatever the umask of the host program. They get the owner too where
//! the host program has the privilege; where it has not, they belong to whom it runs as.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use bartizan_abi::{DeviceNumber, Errno, FileType, Timespec};
use bartizan_sentry::vfs::{AttributeChanges, FsStr, Inode, NewNode, Rename};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, RenameFlags, Timestamps, UTIME_OMIT, Uid};

use super::errno;
use super::inode::HostInode;
use super::node::{Found, Node, Place, open_beneath, open_beneath_with_mode};
use super::regular::HostRegular;

/// The mode as the host takes it.
fn mode(node: &NewNode) -> Mode {
    Mode::from_raw_mode(node.mode.bits())
}

/// Gives a new file its mode and owner.
fn dress(descriptor: &OwnedFd, node: &NewNode) -> Result<(), Errno> {
    own(descriptor, node)?;
    rustix::fs::fchmod(descriptor, mode(node)).map_err(errno)
}

/// Gives a new file its owner, if the host lets us.
fn own(descriptor: &OwnedFd, node: &NewNode) -> Result<(), Errno> {
    let (uid, gid) = (Some(Uid::from_raw(node.uid)), Some(Gid::from_raw(node.gid)));
    match rustix::fs::chownat(descriptor, &b""[..], uid, gid, AtFlags::EMPTY_PATH) {
        Ok(()) | Err(rustix::io::Errno::PERM) => Ok(()),
        Err(error) => Err(errno(error)),
    }
}

impl Node {
    /// Fails with `EROFS` unless the tree may be changed.
    pub fn check_writable(&self) -> Result<(), Errno> {
        if self.host().options().writable && !self.hidden() { Ok(()) } else { Err(Errno::EROFS) }
    }

    /// The inode of what was just made at `name` in this directory.
    fn made(self: &Arc<Self>, directory: &Inode, name: &FsStr, made: &OwnedFd) -> Result<Arc<Inode>, Errno> {
        let found = Found::of_descriptor(made)?;
        self.expire();
        let place = Place::Child { parent: Arc::clone(self), name: name.into() };
        Ok(self.host().inode(directory.filesystem(), place, &found))
    }

    /// Makes a regular file, FIFO or socket. Devices of the host are not for guests: `EPERM`, but for whiteouts, which are none.
    pub fn create(
        self: &Arc<Self>,
        directory: &Inode,
        name: &FsStr,
        node: &NewNode,
    ) -> Result<Arc<Inode>, Errno> {
        self.check_writable()?;
        let parent = self.descriptor()?;
        let kind = match node.kind {
            FileType::Regular => return self.create_regular(directory, &parent, name, node),
            FileType::Fifo => rustix::fs::FileType::Fifo,
            FileType::Socket => rustix::fs::FileType::Socket,
            FileType::CharacterDevice if node.device == DeviceNumber::NONE => {
                rustix::fs::FileType::CharacterDevice
            }
            _ => return Err(Errno::EPERM),
        };
        rustix::fs::mknodat(&*parent, name, kind, mode(node), 0).map_err(errno)?;
        let made = open_beneath(&parent, name, OFlags::PATH)?;
        own(&made, node)?;
        self.made(directory, name, &made)
    }

    /// Makes a regular file; its descriptor serves whoever opens it first, whatever the mode allows later.
    fn create_regular(
        self: &Arc<Self>,
        directory: &Inode,
        parent: &OwnedFd,
        name: &FsStr,
        node: &NewNode,
    ) -> Result<Arc<Inode>, Errno> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOCTTY;
        let made = open_beneath_with_mode(parent, name, flags, Mode::RUSR | Mode::WUSR)?;
        dress(&made, node)?;
        let inode = self.made(directory, name, &made)?;
        if let Some(host) = inode.downcast::<HostInode>() {
            host.node().keep_fresh(Arc::new(HostRegular::new(host.node(), made, true)?));
        }
        Ok(inode)
    }

    /// Makes a directory.
    pub fn make_directory(
        self: &Arc<Self>,
        directory: &Inode,
        name: &FsStr,
        node: &NewNode,
    ) -> Result<Arc<Inode>, Errno> {
        self.check_writable()?;
        let parent = self.descriptor()?;
        rustix::fs::mkdirat(&*parent, name, Mode::RWXU).map_err(errno)?;
        let made = open_beneath(&parent, name, OFlags::RDONLY | OFlags::DIRECTORY)?;
        dress(&made, node)?;
        self.made(directory, name, &made)
    }

    /// Makes a symbolic link.
    pub fn make_symlink(
        self: &Arc<Self>,
        directory: &Inode,
        name: &FsStr,
        target: &FsStr,
        node: &NewNode,
    ) -> Result<Arc<Inode>, Errno> {
        self.check_writable()?;
        let parent = self.descriptor()?;
        rustix::fs::symlinkat(target, &*parent, name).map_err(errno)?;
        let made = open_beneath(&parent, name, OFlags::PATH)?;
        own(&made, node)?;
        self.made(directory, name, &made)
    }

    /// Makes `name` another name of `target`.
    pub fn link(self: &Arc<Self>, name: &FsStr, target: &Self) -> Result<(), Errno> {
        self.check_writable()?;
        let Place::Child { parent, name: known } = target.place() else { return Err(Errno::EXDEV) };
        let (from, to) = (parent.descriptor()?, self.descriptor()?);
        if Found::at(&*from, &known)?.identity != *target.identity() {
            return Err(Errno::ESTALE);
        }
        rustix::fs::linkat(&*from, &*known, &*to, name, AtFlags::empty()).map_err(errno)?;
        self.expire();
        target.expire();
        Ok(())
    }

    /// Removes `name`, which is `target`: a directory with `flags` set so.
    pub fn remove(&self, name: &FsStr, target: &Self, flags: AtFlags) -> Result<(), Errno> {
        self.check_writable()?;
        rustix::fs::unlinkat(&*self.descriptor()?, name, flags).map_err(errno)?;
        self.expire();
        target.expire();
        Ok(())
    }

    /// `chmod`, `chown`, `truncate` and `utimensat`.
    pub fn set_attributes(self: &Arc<Self>, changes: &AttributeChanges) -> Result<(), Errno> {
        self.check_writable()?;
        let result = self.change_attributes(changes);
        self.expire();
        result
    }

    fn change_attributes(self: &Arc<Self>, changes: &AttributeChanges) -> Result<(), Errno> {
        if let Some(size) = changes.size {
            self.contents()?.set_size(size)?;
        }
        if changes.uid.is_some() || changes.gid.is_some() {
            let (uid, gid) = (changes.uid.map(Uid::from_raw), changes.gid.map(Gid::from_raw));
            let own = |descriptor: &dyn AsFd| {
                rustix::fs::chownat(descriptor.as_fd(), &b""[..], uid, gid, AtFlags::EMPTY_PATH)
            };
            self.with_descriptor(own)?;
        }
        if let Some(mode) = changes.mode {
            let mode = Mode::from_raw_mode(mode.bits());
            match self.opened() {
                Some(contents) => rustix::fs::fchmod(contents.descriptor(), mode).map_err(errno)?,
                // Without an open descriptor the host changes modes by name alone, and would follow a link there.
                None => rustix::fs::fchmod(self.open(OFlags::RDONLY)?, mode).map_err(errno)?,
            }
        }
        if changes.accessed.is_some() || changes.modified.is_some() {
            let times =
                Timestamps { last_access: time(changes.accessed), last_modification: time(changes.modified) };
            let set = |descriptor: &dyn AsFd| {
                rustix::fs::utimensat(descriptor.as_fd(), &b""[..], &times, AtFlags::EMPTY_PATH)
            };
            self.with_descriptor(set)?;
        }
        Ok(())
    }

    /// Calls `change` with a descriptor of the file: that of its contents, so that it works for a file without a name, or one that
    /// names it.
    fn with_descriptor(&self, change: impl Fn(&dyn AsFd) -> rustix::io::Result<()>) -> Result<(), Errno> {
        match self.opened() {
            Some(contents) => change(&contents.descriptor()).map_err(errno),
            None => change(&*self.descriptor()?).map_err(errno),
        }
    }
}

/// A time for the host, or that it stays.
fn time(time: Option<Timespec>) -> rustix::fs::Timespec {
    match time {
        Some(time) => rustix::fs::Timespec { tv_sec: time.tv_sec, tv_nsec: time.tv_nsec },
        None => rustix::fs::Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
    }
}

/// `renameat2(2)` on the host.
pub fn rename(rename: &Rename<'_>) -> Result<(), Errno> {
    let node =
        |inode: &Inode| inode.downcast::<HostInode>().map(|host| Arc::clone(host.node())).ok_or(Errno::EXDEV);
    let (old, new) = (node(rename.old_directory)?, node(rename.new_directory)?);
    old.check_writable()?;
    new.check_writable()?;
    let flags = RenameFlags::from_bits_retain(rename.flags.bits());
    let (from, to) = (old.descriptor()?, new.descriptor()?);
    rustix::fs::renameat_with(&*from, rename.old_name, &*to, rename.new_name, flags).map_err(errno)?;
    let source = node(rename.source)?;
    source.move_to(&new, rename.new_name);
    let target = rename.target.map(|target| node(target)).transpose()?;
    if let Some(target) = &target {
        if rename.flags.contains(bartizan_abi::RenameFlags::RENAME_EXCHANGE) {
            target.move_to(&old, rename.old_name);
        }
        target.expire();
    }
    for changed in [&old, &new, &source] {
        changed.expire();
    }
    Ok(())
}

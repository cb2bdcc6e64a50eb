//! Inodes of a host tree as the VFS sees them.

use std::sync::Arc;

use bartizan_abi::{Errno, FileType, XATTR_LIST_MAX, XATTR_SIZE_MAX, XattrFlags};
use bartizan_sentry::kernel::CurrentTask;
use bartizan_sentry::vfs::{
    AttributeChanges, Attributes, FileOps, FsStr, FsString, Inode, InodeOps, LinkTarget, NewNode,
    OpenRequest, Rename,
};
use rustix::fs::{AtFlags, OFlags};

use super::directory::OpenDirectory;
use super::node::{Found, Node, Place};
use super::regular::OpenRegular;
use super::{Coherence, changes, errno};

/// A file of a host tree.
#[derive(Debug)]
pub struct HostInode {
    node: Arc<Node>,
}

impl HostInode {
    /// The inode of `node`.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// Where it is and what is known of it.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Whether `name` in this directory still leads to `child`.
    fn still_leads_to(&self, name: &FsStr, child: &Arc<Node>) -> bool {
        let Ok(found) = self.find(name) else { return false };
        if found.identity != *child.identity() {
            return false;
        }
        child.seen_at(self.place(name), &found);
        true
    }

    fn find(&self, name: &FsStr) -> Result<Found, Errno> {
        if self.node.hidden() {
            return Err(Errno::ENOENT);
        }
        Found::at(&*self.node.descriptor()?, name)
    }

    /// Only the users' own attributes can be changed: the others would mean something to the host. A layer of an overlay keeps what the
    /// overlay needs too.
    fn check_xattr_change(&self, inode: &Inode, name: &FsStr) -> Result<(), Errno> {
        self.node.check_writable()?;
        let layered = self.is_layer() && (is_mark(name) || name == b"security.capability");
        let changeable = name.starts_with(b"user.") || layered;
        if changeable && has_xattrs(inode) { Ok(()) } else { Err(Errno::EPERM) }
    }

    fn is_layer(&self) -> bool {
        self.node.host().options().layer
    }

    /// Lets the attributes through that mean the same inside; those of the host's security modules are not there.
    fn check_xattr_name(&self, name: &FsStr) -> Result<(), Errno> {
        if name.starts_with(b"user.") || name == b"security.capability" || self.is_layer() && is_mark(name) {
            Ok(())
        } else if name.starts_with(b"security.") || name.starts_with(b"trusted.") {
            Err(Errno::ENODATA)
        } else {
            Err(Errno::EOPNOTSUPP)
        }
    }

    fn place(&self, name: &FsStr) -> Place {
        Place::Child { parent: Arc::clone(&self.node), name: name.into() }
    }
}

impl Drop for HostInode {
    fn drop(&mut self) {
        self.node.host().forget(self.node.identity());
    }
}

impl InodeOps for HostInode {
    fn attributes(&self, _inode: &Inode) -> Result<Attributes, Errno> {
        self.node.attributes()
    }

    fn open(&self, inode: &Arc<Inode>, request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        match inode.kind() {
            FileType::Directory => Ok(Box::new(OpenDirectory::new(&self.node)?)),
            FileType::Regular => Ok(Box::new(OpenRegular::new(&self.node, request.flags)?)),
            FileType::Symlink => Err(Errno::ELOOP),
            _ => Err(Errno::ENXIO),
        }
    }

    fn lookup(&self, directory: &Arc<Inode>, name: &FsStr) -> Result<Arc<Inode>, Errno> {
        let found = self.find(name)?;
        Ok(self.node.host().inode(directory.filesystem(), self.place(name), &found))
    }

    fn set_attributes(&self, _inode: &Inode, changes: &AttributeChanges) -> Result<(), Errno> {
        self.node.set_attributes(changes)
    }

    fn create(&self, directory: &Arc<Inode>, name: &FsStr, node: &NewNode) -> Result<Arc<Inode>, Errno> {
        self.node.create(directory, name, node)
    }

    fn make_directory(
        &self,
        directory: &Arc<Inode>,
        name: &FsStr,
        node: &NewNode,
    ) -> Result<Arc<Inode>, Errno> {
        self.node.make_directory(directory, name, node)
    }

    fn make_symlink(
        &self,
        directory: &Arc<Inode>,
        name: &FsStr,
        target: &FsStr,
        node: &NewNode,
    ) -> Result<Arc<Inode>, Errno> {
        self.node.make_symlink(directory, name, target, node)
    }

    fn link(&self, _directory: &Arc<Inode>, name: &FsStr, target: &Arc<Inode>) -> Result<(), Errno> {
        self.node.link(name, node_of(target)?)
    }

    fn unlink(&self, _directory: &Arc<Inode>, name: &FsStr, target: &Arc<Inode>) -> Result<(), Errno> {
        self.node.remove(name, node_of(target)?, AtFlags::empty())
    }

    fn remove_directory(
        &self,
        _directory: &Arc<Inode>,
        name: &FsStr,
        target: &Arc<Inode>,
    ) -> Result<(), Errno> {
        self.node.remove(name, node_of(target)?, AtFlags::REMOVEDIR)
    }

    fn rename(&self, rename: &Rename<'_>) -> Result<(), Errno> {
        changes::rename(rename)
    }

    fn revalidate(&self, _directory: &Arc<Inode>, name: &FsStr, child: Option<&Arc<Inode>>) -> bool {
        let Coherence::Within(time) = self.node.host().options().coherence else { return true };
        let Some(child) = child else {
            return matches!(self.find(name), Err(Errno::ENOENT));
        };
        let Some(child) = child.downcast::<Self>() else { return false };
        child.node.last_seen_as(&self.node, name).is_some_and(|seen| seen.elapsed() < time)
            || self.still_leads_to(name, &child.node)
    }

    fn read_link(&self, inode: &Inode, _task: Option<&CurrentTask>) -> Result<LinkTarget, Errno> {
        if inode.kind() != FileType::Symlink {
            return Err(Errno::EINVAL);
        }
        self.node.target().map(LinkTarget::Text)
    }

    /// Attributes that mean something in the sandbox: the users' own and the capabilities of programs.
    fn get_xattr(&self, inode: &Inode, name: &FsStr) -> Result<Vec<u8>, Errno> {
        self.check_xattr_name(name)?;
        if !has_xattrs(inode) {
            return Err(Errno::ENODATA);
        }
        let file = self.node.open(OFlags::RDONLY)?;
        let mut value = Vec::with_capacity(256);
        loop {
            let room = rustix::buffer::spare_capacity(&mut value);
            match rustix::fs::fgetxattr(&file, name, room) {
                Err(rustix::io::Errno::RANGE) if value.capacity() < XATTR_SIZE_MAX => {
                    value.reserve_exact(XATTR_SIZE_MAX);
                }
                Err(error) => return Err(errno(error)),
                Ok(_) => return Ok(value),
            }
        }
    }

    fn set_xattr(&self, inode: &Inode, name: &FsStr, value: &[u8], flags: XattrFlags) -> Result<(), Errno> {
        self.check_xattr_change(inode, name)?;
        let file = self.node.open(OFlags::RDONLY)?;
        let flags = rustix::fs::XattrFlags::from_bits_retain(flags.bits());
        rustix::fs::fsetxattr(&file, name, value, flags).map_err(errno)
    }

    fn remove_xattr(&self, inode: &Inode, name: &FsStr) -> Result<(), Errno> {
        self.check_xattr_change(inode, name)?;
        rustix::fs::fremovexattr(self.node.open(OFlags::RDONLY)?, name).map_err(errno)
    }

    fn list_xattr(&self, inode: &Inode) -> Result<Vec<FsString>, Errno> {
        if !has_xattrs(inode) {
            return Ok(Vec::new());
        }
        let file = self.node.open(OFlags::RDONLY)?;
        let mut list = Vec::with_capacity(XATTR_LIST_MAX);
        match rustix::fs::flistxattr(&file, rustix::buffer::spare_capacity(&mut list)) {
            Err(rustix::io::Errno::OPNOTSUPP) => return Ok(Vec::new()),
            result => result.map_err(errno)?,
        };
        let names = list.split(|&byte| byte == 0).filter(|name| !name.is_empty());
        Ok(names.filter(|name| self.check_xattr_name(name).is_ok()).map(<[u8]>::to_vec).collect())
    }
}

/// The node of an inode of a host tree.
fn node_of(inode: &Inode) -> Result<&Arc<Node>, Errno> {
    inode.downcast::<HostInode>().map(HostInode::node).ok_or(Errno::EXDEV)
}

/// Whether attributes of the file can be read: the host reads them through a descriptor that is open for reading.
fn has_xattrs(inode: &Inode) -> bool {
    matches!(inode.kind(), FileType::Regular | FileType::Directory)
}

/// Whether an attribute is one by which overlays mark files of their layers.
fn is_mark(name: &FsStr) -> bool {
    name.starts_with(b"trusted.overlay.")
}

//! Symbolic links, device nodes, FIFOs and sockets.

use std::any::Any;
use std::sync::Arc;

use bartizan_abi::{Errno, FileMode, FileType, XattrFlags};
use bartizan_sentry::kernel::CurrentTask;
use bartizan_sentry::vfs::acl::{Acl, AclKind};
use bartizan_sentry::vfs::{
    AccessRule, AttributeChanges, Attributes, FileOps, FsStr, FsString, Inode, InodeOps, LinkTarget, NewNode,
    OpenRequest,
};

use super::filesystem::Tmpfs;
use super::node::Node;

/// An inode without data of its own; the VFS knows what to do with devices, FIFOs and sockets.
#[derive(Debug)]
pub struct Special {
    node: Node,
    /// Where a symbolic link leads.
    target: Option<FsString>,
}

impl Special {
    /// A device node, FIFO or socket.
    pub fn new(tmpfs: &Arc<Tmpfs>, node: &NewNode) -> Result<Self, Errno> {
        Ok(Self { node: Node::new(tmpfs, node.kind, node, 1)?, target: None })
    }

    /// A symbolic link to `target`.
    pub fn symlink(tmpfs: &Arc<Tmpfs>, target: &FsStr, node: &NewNode) -> Result<Self, Errno> {
        Ok(Self { node: Node::new(tmpfs, FileType::Symlink, node, 1)?, target: Some(target.to_vec()) })
    }

    /// The inode number.
    pub fn number(&self) -> u64 {
        self.node.number()
    }
}

/// The [`Node`] of an inode of any tmpfs.
pub fn node_of(inode: &Inode) -> Option<&Node> {
    let ops: &dyn Any = inode.ops();
    if let Some(regular) = ops.downcast_ref::<super::regular::Regular>() {
        Some(regular.node())
    } else if let Some(directory) = ops.downcast_ref::<super::directory::Directory>() {
        Some(directory.node())
    } else {
        ops.downcast_ref::<Special>().map(|special| &special.node)
    }
}

/// The methods of [`InodeOps`] about extended attributes and access control lists, for a type with a field `node`.
macro_rules! xattr_operations {
    () => {
        fn get_xattr(&self, _inode: &Inode, name: &FsStr) -> Result<Vec<u8>, Errno> {
            self.node.get_xattr(name)
        }

        fn set_xattr(
            &self,
            _inode: &Inode,
            name: &FsStr,
            value: &[u8],
            flags: XattrFlags,
        ) -> Result<(), Errno> {
            self.node.set_xattr(name, value, flags)
        }

        fn list_xattr(&self, _inode: &Inode) -> Result<Vec<FsString>, Errno> {
            Ok(self.node.list_xattr())
        }

        fn remove_xattr(&self, _inode: &Inode, name: &FsStr) -> Result<(), Errno> {
            self.node.remove_xattr(name)
        }

        fn acl(&self, _inode: &Inode, kind: AclKind) -> Result<Option<Arc<Acl>>, Errno> {
            Ok(self.node.acl(kind))
        }

        fn set_acl(
            &self,
            _inode: &Inode,
            kind: AclKind,
            list: Option<Arc<Acl>>,
            mode: Option<FileMode>,
        ) -> Result<(), Errno> {
            self.node.set_acl(kind, list, mode);
            Ok(())
        }
    };
}
pub(super) use xattr_operations;

impl InodeOps for Special {
    fn attributes(&self, _inode: &Inode) -> Result<Attributes, Errno> {
        let size = self.target.as_ref().map_or(0, |target| target.len() as u64);
        Ok(self.node.attributes(size, 0))
    }

    fn touch_accessed(&self, rule: AccessRule) {
        self.node.touch_accessed(rule);
    }

    fn set_attributes(&self, _inode: &Inode, changes: &AttributeChanges) -> Result<(), Errno> {
        if changes.size.is_some() {
            return Err(Errno::EINVAL);
        }
        self.node.set_attributes(changes);
        Ok(())
    }

    fn open(&self, inode: &Arc<Inode>, _request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        Err(if inode.kind() == FileType::Symlink { Errno::ELOOP } else { Errno::ENXIO })
    }

    fn read_link(&self, _inode: &Inode, _task: Option<&CurrentTask>) -> Result<LinkTarget, Errno> {
        self.target.clone().map(LinkTarget::Text).ok_or(Errno::EINVAL)
    }

    xattr_operations!();
}

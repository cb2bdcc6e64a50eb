//! The dentry cache.

use std::sync::Arc;

use super::Inode;

/// A name in the tree of one file system, with the inode that it leads to, or none.
#[derive(Debug)]
pub struct Dentry {
    inode: Option<Arc<Inode>>,
}

impl Dentry {
    /// What the name leads to; `None` when it is known not to exist.
    pub fn inode(&self) -> Option<&Arc<Inode>> {
        self.inode.as_ref()
    }
}

//! The types of file systems that `mount(2)` knows by name. The host program registers them.

use std::fmt;
use std::sync::Arc;

use bartizan_abi::Errno;

use super::{FilesystemRoot, FsStr, Path};
use crate::kernel::Kernel;
use crate::sync::{LockClass, RwLock};

/// What a new instance of a file system is to be like.
pub struct NewFilesystem<'a> {
    /// The kernel that it is made for.
    pub kernel: &'a Arc<Kernel>,
    /// The last argument of `mount(2)`: `size=1m,mode=755`.
    pub options: &'a FsStr,
    /// The place that a path in the options leads to, for the task that mounts.
    pub resolve: &'a dyn Fn(&FsStr) -> Result<Path, Errno>,
}

impl fmt::Debug for NewFilesystem<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = String::from_utf8_lossy(self.options);
        formatter.debug_struct("NewFilesystem").field("options", &options).finish_non_exhaustive()
    }
}

/// Makes a new instance.
pub type MakeFilesystem = dyn Fn(&NewFilesystem<'_>) -> Result<FilesystemRoot, Errno> + Send + Sync;

/// What can be mounted by name.
pub struct FilesystemTypes {
    types: RwLock<Vec<(&'static str, Arc<MakeFilesystem>)>>,
}

impl Default for FilesystemTypes {
    fn default() -> Self {
        Self { types: RwLock::new(LockClass::Table, Vec::new()) }
    }
}

impl fmt::Debug for FilesystemTypes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.names()).finish()
    }
}

impl FilesystemTypes {
    /// Makes the type `name` known, in place of an earlier one of that name.
    pub fn register(
        &self,
        name: &'static str,
        make: impl Fn(&NewFilesystem<'_>) -> Result<FilesystemRoot, Errno> + Send + Sync + 'static,
    ) {
        let mut types = self.types.write();
        types.retain(|(other, _)| *other != name);
        types.push((name, Arc::new(make)));
    }

    /// What makes instances of the type `name`; `None` if it is not known.
    pub fn find(&self, name: &FsStr) -> Option<Arc<MakeFilesystem>> {
        let types = self.types.read();
        types.iter().find(|(other, _)| other.as_bytes() == name).map(|(_, make)| Arc::clone(make))
    }

    /// The names, in the order in which they were registered.
    pub fn names(&self) -> Vec<&'static str> {
        self.types.read().iter().map(|(name, _)| *name).collect()
    }
}

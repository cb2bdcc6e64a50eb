//! The types of file systems that `mount(2)` knows by name. The host program registers them.

use std::fmt;
use std::sync::Arc;

use bartizan_abi::Errno;

use super::{FilesystemRoot, FsStr, Path};
use crate::kernel::{CurrentTask, Kernel};
use crate::sync::{LockClass, RwLock};

/// What a new instance of a file system is to be like.
pub struct NewFilesystem<'a> {
    /// The kernel that it is made for.
    pub kernel: &'a Arc<Kernel>,
    /// The task that mounts.
    pub task: &'a CurrentTask,
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

/// The options of a type, for who sets them one by one (`fsconfig(2)`).
pub struct Parameters {
    values: &'static [&'static str],
    flags: &'static [&'static str],
    check: Box<CheckOption>,
}

/// Whether the type takes one option: `size=1m`.
type CheckOption = dyn Fn(&FsStr) -> Result<(), Errno> + Send + Sync;

impl fmt::Debug for Parameters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.values).entries(self.flags).finish()
    }
}

impl Parameters {
    /// Options with values, and options without; `check` says whether the type takes one option as a whole.
    pub fn new(
        values: &'static [&'static str],
        flags: &'static [&'static str],
        check: impl Fn(&FsStr) -> Result<(), Errno> + Send + Sync + 'static,
    ) -> Self {
        Self { values, flags, check: Box::new(check) }
    }

    pub(super) fn knows(&self, name: &FsStr) -> bool {
        self.values.iter().chain(self.flags).any(|known| known.as_bytes() == name)
    }

    pub(super) fn is_flag(&self, name: &FsStr) -> bool {
        self.flags.iter().any(|known| known.as_bytes() == name)
    }

    pub(super) fn check(&self, option: &FsStr) -> Result<(), Errno> {
        (self.check)(option)
    }
}

/// What is known of a type.
struct Known {
    name: &'static str,
    make: Arc<MakeFilesystem>,
    parameters: Option<Arc<Parameters>>,
    openness: Openness,
}

/// Who may mount a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Openness {
    /// The administrator of the initial user namespace alone.
    Administrator,
    /// The administrators of all user namespaces (`FS_USERNS_MOUNT`).
    Everybody,
    /// They, too, but only where all of it is to be seen already: it shows the state of the kernel (`SB_I_USERNS_VISIBLE`).
    WhereVisible,
}

/// What can be mounted by name.
pub struct FilesystemTypes {
    types: RwLock<Vec<Known>>,
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
        types.retain(|other| other.name != name);
        types.push(Known { name, make: Arc::new(make), parameters: None, openness: Openness::Administrator });
    }

    /// Says which options the type `name`, which is known, takes: a wrong one is told when it is set (`fsconfig(2)`), and not only when
    /// an instance is made.
    pub fn describe(&self, name: &str, parameters: Parameters) {
        if let Some(known) = self.types.write().iter_mut().find(|known| known.name == name) {
            known.parameters = Some(Arc::new(parameters));
        }
    }

    /// Says who may mount the type `name`, which is known: the administrator alone if nothing is said.
    pub fn open(&self, name: &str, openness: Openness) {
        if let Some(known) = self.types.write().iter_mut().find(|known| known.name == name) {
            known.openness = openness;
        }
    }

    /// Who may mount the type `name`.
    pub fn openness(&self, name: &FsStr) -> Openness {
        let types = self.types.read();
        let known = types.iter().find(|known| known.name.as_bytes() == name);
        known.map_or(Openness::Administrator, |known| known.openness)
    }

    /// The options that the type `name` takes, if that was said.
    pub fn parameters(&self, name: &FsStr) -> Option<Arc<Parameters>> {
        self.types.read().iter().find(|known| known.name.as_bytes() == name)?.parameters.clone()
    }

    /// What makes instances of the type `name`; `None` if it is not known.
    pub fn find(&self, name: &FsStr) -> Option<Arc<MakeFilesystem>> {
        let types = self.types.read();
        types.iter().find(|known| known.name.as_bytes() == name).map(|known| Arc::clone(&known.make))
    }

    /// The names, in the order in which they were registered.
    pub fn names(&self) -> Vec<&'static str> {
        self.types.read().iter().map(|known| known.name).collect()
    }
}

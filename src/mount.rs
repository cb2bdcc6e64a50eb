//! What can be mounted in a sandbox.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bartizan_abi::Errno;
use bartizan_fsimpl::{host, tmpfs};
use bartizan_sentry::kernel::Kernel;
use bartizan_sentry::vfs::{FilesystemRoot, MountFlags};

use crate::builder::mount_flags;
use crate::{Error, Result};

/// The least memory that a sandbox is made with, bytes.
pub(crate) const SMALLEST_MEMORY: u64 = 1 << 20;

/// For how long names in a writable host directory are believed.
const FRESHNESS: Duration = Duration::from_secs(1);

/// A file system to be mounted by [`SandboxBuilder`](crate::SandboxBuilder).
pub struct Mount {
    kind: Kind,
    options: String,
    read_only: bool,
}

enum Kind {
    HostDirectory(PathBuf),
    Tmpfs,
    Custom(Box<MakeFilesystem>),
}

/// Makes the root of an embedder's file system for a kernel.
type MakeFilesystem = dyn FnOnce(&Arc<Kernel>) -> std::result::Result<FilesystemRoot, Errno> + Send;

impl fmt::Debug for Mount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Mount")
            .field("source", &String::from_utf8_lossy(&self.source()))
            .field("options", &self.options)
            .field("read_only", &self.read_only)
            .finish()
    }
}

impl Mount {
    /// A directory or a regular file of the host, read-only. No symbolic link in it leads out of it.
    pub fn host_directory(path: impl AsRef<Path>) -> Self {
        Self::new(Kind::HostDirectory(path.as_ref().to_owned()), true)
    }

    /// An empty file system in the sandbox's memory.
    pub fn tmpfs() -> Self {
        Self::new(Kind::Tmpfs, false)
    }

    /// A file system of the embedder's own; see `examples/custom_fs.rs`.
    pub fn custom(
        make: impl FnOnce(&Arc<Kernel>) -> std::result::Result<FilesystemRoot, Errno> + Send + 'static,
    ) -> Self {
        Self::new(Kind::Custom(Box::new(make)), false)
    }

    fn new(kind: Kind, read_only: bool) -> Self {
        Self { kind, options: String::new(), read_only }
    }

    /// Sets options as `mount(8)` has them after `-o`, such as `size=64m,mode=1777` for a tmpfs.
    #[must_use]
    pub fn with_options(mut self, options: &str) -> Self {
        options.clone_into(&mut self.options);
        self
    }

    /// Lets the sandbox change what is mounted.
    #[must_use]
    pub fn writable(mut self) -> Self {
        self.read_only = false;
        self
    }

    /// Forbids the sandbox to change what is mounted.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// What `/proc/mounts` shows as the source.
    pub(crate) fn source(&self) -> Vec<u8> {
        match &self.kind {
            Kind::HostDirectory(_) => b"host".to_vec(),
            Kind::Tmpfs => b"tmpfs".to_vec(),
            // The type of the file system is shown instead.
            Kind::Custom(_) => Vec::new(),
        }
    }

    /// Its restrictions.
    pub(crate) fn flags(&self) -> MountFlags {
        mount_flags(self.read_only)
    }

    /// Makes the file system; `target` is for messages.
    pub(crate) fn make(self, kernel: &Arc<Kernel>, target: &[u8]) -> Result<FilesystemRoot> {
        let refused = |errno| Error::Mount { target: String::from_utf8_lossy(target).into_owned(), errno };
        match self.kind {
            Kind::HostDirectory(path) => {
                let writable = !self.read_only;
                // What is shared with the host for writing is likely to be changed there too.
                let coherence =
                    if writable { host::Coherence::Within(FRESHNESS) } else { host::Coherence::Stable };
                let options = host::Options { writable, coherence, ..host::Options::default() };
                host::new(kernel, &path, &options)
                    .map_err(|errno| Error::HostDirectory { path, source: errno.into() })
            }
            Kind::Tmpfs => {
                let options = tmpfs::Options::parse(self.options.as_bytes(), kernel.memory().limit());
                tmpfs::new(kernel, &options.map_err(refused)?).map_err(refused)
            }
            Kind::Custom(make) => make(kernel).map_err(refused),
        }
    }
}

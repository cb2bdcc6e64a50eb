//! What can be mounted in a sandbox.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bartizan_abi::{DeviceNumber, Errno, FileMode, FileType};
use bartizan_fsimpl::{host, overlay, tmpfs};
use bartizan_platform::memory::MemoryFile;
use bartizan_sentry::kernel::{Kernel, realtime};
use bartizan_sentry::vfs::{FilesystemRoot, Inode, MountFlags, NewNode};

use crate::builder::mount_flags;
use crate::{Error, Result};

/// The least memory that a sandbox is made with, bytes.
pub(crate) const SMALLEST_MEMORY: u64 = 1 << 20;

/// The most that a filestore takes, bytes: that much of the address space is set aside.
const MOST_STORED: u64 = 1 << 40;

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
    /// With the data of files in a file of this directory, if one is given.
    Tmpfs(Option<PathBuf>),
    Overlay(Vec<Mount>, Changes),
    Custom(Box<MakeFilesystem>),
}

/// Where what the sandbox changes in an [overlay](Mount::overlay) is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// In the sandbox's memory: gone with the sandbox.
    Memory,
    /// In a file without name in this directory of the host, so that much data goes to the disk: gone with the sandbox too.
    Filestore(PathBuf),
    /// In this directory of the host, in its sub-directories `upper` and `work`, which are made if they are not there. The format is that of
    /// Linux's overlayfs, and another sandbox that is given the same directory goes on from there. One at a time may use it.
    Directory(PathBuf),
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
        Self::new(Kind::Tmpfs(None), false)
    }

    /// An empty file system like [`tmpfs`](Self::tmpfs) with the data of its files in a *filestore*: a file without name in `directory` of the host, which is gone with
    /// the sandbox. What is written there does not count as the sandbox's memory; its size is limited by `size=`, else by the free space of the disk.
    pub fn filestore(directory: impl AsRef<Path>) -> Self {
        Self::new(Kind::Tmpfs(Some(directory.as_ref().to_owned())), false)
    }

    /// Several trees as one, the first on top of the others: what a layer has hides what those below have under the same name, and
    /// directories show what all layers have. The sandbox sees a tree that it can write; what it changes is kept as `changes` says, and the
    /// layers stay as they are. All are directories, or a single regular file.
    pub fn overlay(layers: impl IntoIterator<Item = Mount>, changes: Changes) -> Self {
        Self::new(Kind::Overlay(layers.into_iter().collect(), changes), false)
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
            Kind::Tmpfs(_) => b"tmpfs".to_vec(),
            Kind::Overlay(..) => b"overlay".to_vec(),
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
                host_tree(kernel, path, &host::Options { writable, coherence, ..host::Options::default() })
            }
            Kind::Tmpfs(store) => {
                let options = tmpfs::Options::parse(self.options.as_bytes(), kernel.memory().limit());
                new_tmpfs(kernel, store, &options.map_err(refused)?, &refused)
            }
            Kind::Overlay(layers, changes) => {
                let lower = layers.into_iter().map(|layer| Ok(layer.make_layer(kernel, target)?.inode));
                let lower = lower.collect::<Result<Vec<_>>>()?;
                let top = lower.first().ok_or_else(|| refused(Errno::EINVAL))?;
                let upper = if self.read_only { None } else { Some(changes.make(kernel, target, top)?) };
                let shown = "lowerdir=lower,upperdir=upper,workdir=work".to_owned();
                overlay::new(kernel, overlay::Layers { lower, upper, shown }).map_err(refused)
            }
            Kind::Custom(make) => make(kernel).map_err(refused),
        }
    }

    /// As [`make`](Self::make), for a layer that is not changed.
    fn make_layer(self, kernel: &Arc<Kernel>, target: &[u8]) -> Result<FilesystemRoot> {
        match self.kind {
            Kind::HostDirectory(path) => {
                host_tree(kernel, path, &host::Options { layer: true, ..host::Options::default() })
            }
            kind => Self { kind, ..self }.make(kernel, target),
        }
    }
}

impl Changes {
    /// The upper layer of an overlay over `top`, the mode and owner of which it has at first.
    fn make(self, kernel: &Arc<Kernel>, target: &[u8], top: &Inode) -> Result<overlay::Upper> {
        let refused = |errno| Error::Mount { target: String::from_utf8_lossy(target).into_owned(), errno };
        let root = match self {
            Self::Memory => new_tmpfs(kernel, None, &tmpfs::Options::default(), &refused)?,
            Self::Filestore(directory) => {
                new_tmpfs(kernel, Some(directory), &tmpfs::Options::default(), &refused)?
            }
            Self::Directory(path) => {
                // Nobody else changes it meanwhile.
                let options = host::Options { writable: true, layer: true, ..host::Options::default() };
                host_tree(kernel, path, &options)?
            }
        };
        let node = new_directory(top).map_err(refused)?;
        let directory = |name: &[u8]| match root.inode.ops().lookup(&root.inode, name) {
            Err(Errno::ENOENT) => root.inode.ops().make_directory(&root.inode, name, &node),
            found => found,
        };
        let (upper, work) = (directory(b"upper").map_err(refused)?, directory(b"work").map_err(refused)?);
        Ok(overlay::Upper { directory: upper, work, user_marks: false })
    }
}

/// What the directories of an upper layer over `top` are made as.
fn new_directory(top: &Inode) -> std::result::Result<NewNode, Errno> {
    let attributes = top.attributes()?;
    let mode = if attributes.kind == FileType::Directory { attributes.mode } else { FileMode::new(0o755) };
    Ok(NewNode {
        kind: FileType::Directory,
        mode,
        uid: attributes.uid,
        gid: attributes.gid,
        device: DeviceNumber::NONE,
        now: realtime(),
    })
}

/// A tmpfs, with the data of its files in `store`, a directory of the host, if one is given.
fn new_tmpfs(
    kernel: &Arc<Kernel>,
    store: Option<PathBuf>,
    options: &tmpfs::Options,
    refused: &dyn Fn(Errno) -> Error,
) -> Result<FilesystemRoot> {
    let Some(path) = store else { return tmpfs::new(kernel, options).map_err(refused) };
    match make_store(&path, options.size) {
        Ok(store) => tmpfs::new_stored(kernel, store, options).map_err(refused),
        Err(source) => Err(Error::HostDirectory { path, source }),
    }
}

/// A filestore of `size` bytes in `directory`, or of as many as there is space for.
fn make_store(directory: &Path, size: Option<u64>) -> std::io::Result<Arc<MemoryFile>> {
    let space = rustix::fs::statvfs(directory)?;
    let free = space.f_bavail.saturating_mul(space.f_frsize).min(MOST_STORED);
    MemoryFile::on_disk(
        directory,
        size.filter(|&size| size > 0).unwrap_or(free).clamp(SMALLEST_MEMORY, MOST_STORED),
    )
}

/// The tree at `path` of the host.
fn host_tree(kernel: &Arc<Kernel>, path: PathBuf, options: &host::Options) -> Result<FilesystemRoot> {
    host::new(kernel, &path, options).map_err(|errno| Error::HostDirectory { path, source: errno.into() })
}

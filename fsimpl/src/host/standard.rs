//! Importing descriptors of the host program: standard input, output and error.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use bartizan_abi::{DeviceNumber, Errno, FileType, FsMagic, OpenFlags};
use bartizan_sentry::kernel::Kernel;
use bartizan_sentry::vfs::{
    AttributeChanges, Attributes, Dentry, File, FileOps, Filesystem, FilesystemOps, FilesystemRoot,
    FilesystemStatistics, Inode, InodeOps, Mount, OpenRequest, Path,
};

use super::descriptor::{HostDescriptor, flags_of};
use super::node::Found;
use super::reactor::Reactor;
use super::terminal::JobControl;

impl Imported {
    /// The open file description.
    ///
    /// # Errors
    /// Never in practice: `ENOENT` if the inode were no inode.
    pub fn into_file(self) -> Result<Arc<File>, Errno> {
        let filesystem = Arc::clone(self.inode.filesystem());
        let mount = Mount::detached(FilesystemRoot { filesystem, inode: Arc::clone(&self.inode) });
        let dentry = Dentry::unnamed(None, self.name.into_bytes(), self.inode);
        let path = Path::new(mount, dentry).ok_or(Errno::ENOENT)?;
        let file = File::new(self.ops, path, self.flags);
        *file.offset() = self.position;
        Ok(file)
    }
}

/// The file system of imported descriptors; it is never mounted.
#[derive(Debug)]
pub struct ImportedDescriptors {
    filesystem: Arc<Filesystem>,
    reactor: Arc<Reactor>,
    /// All terminals that are imported are taken for one.
    jobs: Arc<JobControl>,
}

/// A descriptor that was imported: what an open file description is made of.
#[derive(Debug)]
pub struct Imported {
    /// Its inode: type and mode as on the host.
    pub inode: Arc<Inode>,
    /// What it does.
    pub ops: Box<dyn FileOps>,
    /// How it is open on the host.
    pub flags: OpenFlags,
    /// The position to start from.
    pub position: u64,
    /// What it is called in `/proc/[pid]/fd`.
    pub name: String,
    /// Whether it is a terminal.
    pub is_terminal: bool,
}

impl ImportedDescriptors {
    /// A file system without inodes. It ends its thread, if it ever had one, when the last of its files is gone.
    ///
    /// # Errors
    /// `ENFILE` when the host has no descriptors left.
    pub fn new(kernel: &Arc<Kernel>) -> Result<Self, Errno> {
        Ok(Self {
            filesystem: Filesystem::new(kernel.allocate_device(), false, Box::new(ImportedFilesystem)),
            reactor: Reactor::new()?,
            jobs: Arc::default(),
        })
    }

    /// The process group that is in the foreground of the terminal, if one was set: who gets the signals of its keys.
    pub fn foreground(&self) -> Option<i32> {
        self.jobs.foreground()
    }

    /// Takes `descriptor` in. Its file description stays shared with whoever else has it, and its flags are not touched.
    ///
    /// # Errors
    /// What `fstat` and `fcntl` of the host give; `EINVAL` for a directory, which would lead out of the sandbox.
    pub fn import(&self, descriptor: OwnedFd) -> Result<Imported, Errno> {
        let found = Found::of_descriptor(&descriptor)?;
        let kind = found.attributes.kind;
        if matches!(kind, FileType::Directory | FileType::Symlink) {
            return Err(Errno::EINVAL);
        }
        let flags = flags_of(&descriptor)?;
        let descriptor = Arc::new(descriptor);
        let is_terminal = kind == FileType::CharacterDevice && rustix::termios::isatty(&*descriptor);
        let name = match kind {
            FileType::Fifo => format!("pipe:[{}]", found.identity.inode),
            FileType::Socket => format!("socket:[{}]", found.identity.inode),
            FileType::CharacterDevice if is_terminal => "/dev/tty".into(),
            FileType::CharacterDevice if found.attributes.device == DeviceNumber::new(1, 3) => {
                "/dev/null".into()
            }
            _ => "host:[file]".into(),
        };
        let node = ImportedInode {
            descriptor: Arc::clone(&descriptor),
            reactor: Arc::clone(&self.reactor),
            jobs: Arc::clone(&self.jobs),
        };
        let filesystem = Arc::clone(&self.filesystem);
        let inode = Inode::new(found.identity.inode, kind, filesystem, Box::new(node));
        let ops = HostDescriptor::new(descriptor, kind, &self.reactor, &self.jobs);
        let position = ops.start_position();
        Ok(Imported { inode, ops: Box::new(ops), flags, position, name, is_terminal })
    }
}

#[derive(Debug)]
struct ImportedFilesystem;

impl FilesystemOps for ImportedFilesystem {
    fn type_name(&self) -> &'static str {
        "host"
    }

    fn statistics(&self) -> Result<FilesystemStatistics, Errno> {
        let magic = u64::from(FsMagic::PIPEFS.0);
        Ok(FilesystemStatistics { magic, block_size: 4096, ..FilesystemStatistics::default() })
    }
}

/// The object behind an imported descriptor.
#[derive(Debug)]
struct ImportedInode {
    descriptor: Arc<OwnedFd>,
    reactor: Arc<Reactor>,
    jobs: Arc<JobControl>,
}

impl InodeOps for ImportedInode {
    fn attributes(&self, _inode: &Inode) -> Result<Attributes, Errno> {
        Ok(Found::of_descriptor(&*self.descriptor)?.attributes)
    }

    /// The size of a regular file that is open for writing can be changed (`> /dev/stdout`), and nothing else.
    fn set_attributes(&self, inode: &Inode, changes: &AttributeChanges) -> Result<(), Errno> {
        let others = AttributeChanges { size: None, changed: changes.changed, ..*changes };
        let only_size = others.mode.is_none() && others.uid.is_none() && others.gid.is_none();
        match changes.size {
            Some(size) if only_size && inode.kind() == FileType::Regular => {
                Ok(rustix::fs::ftruncate(&*self.descriptor, size).map_err(std::io::Error::from)?)
            }
            _ => Err(Errno::EPERM),
        }
    }

    fn opens_everything(&self) -> bool {
        true
    }

    /// Opening it once more (`/dev/stdin`, `/proc/self/fd/0`) gives another description in the sandbox, but the same on the host.
    fn open(&self, inode: &Arc<Inode>, request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        let host = flags_of(&self.descriptor)?;
        if (request.flags.readable() && !host.readable()) || (request.flags.writable() && !host.writable()) {
            return Err(Errno::EACCES);
        }
        let descriptor = Arc::clone(&self.descriptor);
        Ok(Box::new(HostDescriptor::new(descriptor, inode.kind(), &self.reactor, &self.jobs)))
    }
}

//! Files without a name: pipes, sockets, event counters and the like.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bartizan_abi::{Errno, FileMode, FileType, OpenFlags};

use super::{Credentials, Kernel, realtime};
use crate::sync::{LockClass, Mutex};
use crate::vfs::{
    AttributeChanges, Attributes, Dentry, File, FileOps, Filesystem, FilesystemOps, FilesystemRoot,
    FilesystemStatistics, Inode, InodeOps, Mount, OpenRequest, Path,
};

/// What kind of file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnonymousKind {
    /// `pipe(2)`.
    Pipe,
    /// `socket(2)`.
    Socket,
    /// `epoll_create(2)`.
    Eventpoll,
    /// `eventfd(2)`.
    Eventfd,
    /// `timerfd_create(2)`.
    Timerfd,
    /// `signalfd(2)`.
    Signalfd,
    /// `pidfd_open(2)`.
    Pidfd,
    /// `seccomp(2)`: who answers calls.
    Seccomp,
    /// `inotify_init(2)`.
    Inotify,
    /// `fsopen(2)`.
    FsContext,
}

impl AnonymousKind {
    fn file_type(self) -> FileType {
        match self {
            Self::Pipe => FileType::Fifo,
            Self::Socket => FileType::Socket,
            _ => FileType::Regular,
        }
    }

    /// What `readlink` of `/proc/[pid]/fd/N` gives for inode `number`.
    fn name(self, number: u64) -> String {
        match self {
            Self::Pipe => format!("pipe:[{number}]"),
            Self::Socket => format!("socket:[{number}]"),
            Self::Eventpoll => "anon_inode:[eventpoll]".to_owned(),
            Self::Eventfd => "anon_inode:[eventfd]".to_owned(),
            Self::Timerfd => "anon_inode:[timerfd]".to_owned(),
            Self::Signalfd => "anon_inode:[signalfd]".to_owned(),
            Self::Pidfd => "anon_inode:[pidfd]".to_owned(),
            Self::Seccomp => "anon_inode:seccomp notify".to_owned(),
            Self::Inotify => "anon_inode:inotify".to_owned(),
            Self::FsContext => "anon_inode:[fscontext]".to_owned(),
        }
    }

    fn family(self) -> Family {
        match self {
            Self::Pipe => Family::Pipes,
            Self::Socket => Family::Sockets,
            _ => Family::Others,
        }
    }
}

/// The file systems that such files are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Pipes,
    Sockets,
    Others,
}

impl Family {
    const fn type_name(self) -> &'static str {
        match self {
            Self::Pipes => "pipefs",
            Self::Sockets => "sockfs",
            Self::Others => "anon_inodefs",
        }
    }

    /// `<linux/magic.h>`.
    const fn magic(self) -> u64 {
        match self {
            Self::Pipes => 0x5049_5045,
            Self::Sockets => 0x534f_434b,
            Self::Others => 0x0904_1934,
        }
    }
}

/// Makes files without names. Their file systems are made when they are first needed.
#[derive(Debug, Default)]
pub struct AnonymousFiles {
    mounts: [OnceLock<Arc<Mount>>; 3],
    last_number: AtomicU64,
}

impl AnonymousFiles {
    /// Opens `ops` as a new file of this kind with access mode and status `flags`, owned by the user of `credentials`.
    ///
    /// # Errors
    /// None in practice.
    pub fn open(
        &self,
        kernel: &Kernel,
        credentials: &Credentials,
        kind: AnonymousKind,
        ops: Box<dyn FileOps>,
        flags: OpenFlags,
    ) -> Result<Arc<File>, Errno> {
        Ok(File::new(ops, self.path(kernel, credentials, kind)?, flags))
    }

    /// A new place for files of this kind: both ends of a pipe are at the same.
    ///
    /// # Errors
    /// None in practice.
    pub fn path(
        &self,
        kernel: &Kernel,
        credentials: &Credentials,
        kind: AnonymousKind,
    ) -> Result<Path, Errno> {
        let mount = self.mount(kernel, kind.family());
        let number = self.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        let mode = match kind {
            AnonymousKind::Socket => FileMode::from_bits_truncate(0o777),
            _ => FileMode::from_bits_truncate(0o600),
        };
        let node = AnonymousInode::new(kind.file_type(), mode, credentials);
        let filesystem = Arc::clone(mount.filesystem());
        let inode = Inode::new(number, kind.file_type(), filesystem, Box::new(node));
        let dentry = Dentry::unnamed(None, kind.name(number).into_bytes(), inode);
        Path::new(Arc::clone(mount), dentry).ok_or(Errno::ENOENT)
    }

    fn mount(&self, kernel: &Kernel, family: Family) -> &Arc<Mount> {
        self.mounts[family as usize].get_or_init(|| {
            let ops = Box::new(AnonymousFilesystem(family));
            let filesystem = Filesystem::new(kernel.allocate_device(), false, ops);
            let root = AnonymousInode::new(
                FileType::Directory,
                FileMode::from_bits_truncate(0o555),
                &Credentials::root(),
            );
            let inode = Inode::new(1, FileType::Directory, Arc::clone(&filesystem), Box::new(root));
            Mount::detached(FilesystemRoot { filesystem, inode })
        })
    }
}

#[derive(Debug)]
struct AnonymousFilesystem(Family);

impl FilesystemOps for AnonymousFilesystem {
    fn type_name(&self) -> &'static str {
        self.0.type_name()
    }

    fn statistics(&self) -> Result<FilesystemStatistics, Errno> {
        let block_size = bartizan_platform::memory::PAGE_SIZE;
        Ok(FilesystemStatistics { magic: self.0.magic(), block_size, ..FilesystemStatistics::default() })
    }
}

#[derive(Debug)]
struct AnonymousInode(Mutex<Attributes>);

impl AnonymousInode {
    fn new(kind: FileType, mode: FileMode, credentials: &Credentials) -> Self {
        let now = realtime();
        let attributes = Attributes {
            uid: credentials.fsuid,
            gid: credentials.fsgid,
            accessed: now,
            modified: now,
            changed: now,
            ..Attributes::new(kind, mode)
        };
        Self(Mutex::new(LockClass::Attributes, attributes))
    }
}

impl InodeOps for AnonymousInode {
    fn attributes(&self, _inode: &Inode) -> Result<Attributes, Errno> {
        Ok(*self.0.lock())
    }

    fn set_attributes(&self, _inode: &Inode, changes: &AttributeChanges) -> Result<(), Errno> {
        if changes.size.is_some() {
            return Err(Errno::EINVAL);
        }
        let mut attributes = self.0.lock();
        attributes.mode = changes.mode.unwrap_or(attributes.mode);
        attributes.uid = changes.uid.unwrap_or(attributes.uid);
        attributes.gid = changes.gid.unwrap_or(attributes.gid);
        attributes.accessed = changes.accessed.unwrap_or(attributes.accessed);
        attributes.modified = changes.modified.unwrap_or(attributes.modified);
        attributes.changed = changes.changed;
        Ok(())
    }

    /// Only what the VFS cannot open again comes here: FIFOs are opened by it.
    fn open(&self, _inode: &Arc<Inode>, _request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        Err(Errno::ENXIO)
    }
}

//! Namespaces as files (`namespaces(7)`, `ioctl_nsfs(2)`): what `/proc/[pid]/ns` leads to, `setns(2)` takes and a bind mount keeps.

use std::sync::{Arc, OnceLock};

use bartizan_abi::namespace::{NS_GET_NSTYPE, NS_GET_OWNER_UID, NS_GET_PARENT, NS_GET_USERNS};
use bartizan_abi::process::CloneFlags;
use bartizan_abi::{Errno, FileMode, FileType, OpenFlags};

use super::sysv::IpcNamespace;
use super::{CurrentTask, Kernel, Task, UserNamespace, UtsNames, realtime};
use crate::SysResult;
use crate::mm::{UserAddr, UserPtr};
use crate::syscalls::install;
use crate::vfs::{
    Attributes, Dentry, File, FileOps, Filesystem, FilesystemOps, FilesystemRoot, FilesystemStatistics,
    FsContext, Inode, InodeOps, Mount, MountNamespace, OpenRequest, Path,
};

/// A namespace of whatever kind.
#[derive(Debug, Clone)]
pub enum Namespace {
    /// Of host name and domain name.
    Uts(Arc<UtsNames>),
    /// Of System V IPC and POSIX message queues.
    Ipc(Arc<IpcNamespace>),
    /// Of mounts.
    Mount(Arc<MountNamespace>),
    /// Of users.
    User(UserNamespace),
    /// The only one of a kind of which no others can be made.
    Only(CloneFlags),
}

impl Namespace {
    /// The flag of `clone(2)` that makes one.
    pub fn kind(&self) -> CloneFlags {
        match self {
            Self::Uts(_) => CloneFlags::CLONE_NEWUTS,
            Self::Ipc(_) => CloneFlags::CLONE_NEWIPC,
            Self::Mount(_) => CloneFlags::CLONE_NEWNS,
            Self::User(_) => CloneFlags::CLONE_NEWUSER,
            Self::Only(kind) => *kind,
        }
    }

    /// What the kind is called in `/proc/[pid]/ns`.
    pub fn name(&self) -> &'static str {
        match self.kind() {
            CloneFlags::CLONE_NEWUTS => "uts",
            CloneFlags::CLONE_NEWIPC => "ipc",
            CloneFlags::CLONE_NEWNS => "mnt",
            CloneFlags::CLONE_NEWUSER => "user",
            CloneFlags::CLONE_NEWPID => "pid",
            CloneFlags::CLONE_NEWTIME => "time",
            CloneFlags::CLONE_NEWCGROUP => "cgroup",
            _ => "net",
        }
    }

    /// Its number, also of its inode.
    pub fn identity(&self) -> u32 {
        match self {
            Self::Uts(names) => names.identity(),
            Self::Ipc(ipc) => ipc.identity(),
            Self::Mount(mounts) => mounts.identity(),
            Self::User(users) => users.identity(),
            // `PROC_*_INIT_INO`.
            Self::Only(CloneFlags::CLONE_NEWPID) => 0xefff_fffc,
            Self::Only(CloneFlags::CLONE_NEWCGROUP) => 0xefff_fffb,
            Self::Only(CloneFlags::CLONE_NEWTIME) => 0xefff_fffa,
            Self::Only(_) => 0xf000_0000,
        }
    }

    /// The user namespace to which it belongs, for one of users the one above it; `None` for the first of those.
    pub fn owner(&self) -> Option<UserNamespace> {
        match self {
            Self::Uts(names) => Some(names.owner().clone()),
            Self::Ipc(ipc) => Some(ipc.owner().clone()),
            Self::Mount(mounts) => Some(mounts.owner().clone()),
            Self::User(users) => users.parent().cloned(),
            Self::Only(_) => Some(UserNamespace::default()),
        }
    }

    /// What `readlink` shows: `uts:[4026531838]`.
    pub fn text(&self) -> String {
        format!("{}:[{}]", self.name(), self.identity())
    }
}

impl Task {
    /// The namespace of `kind` that it is in; `None` for one of mounts once it has exited.
    pub fn namespace(&self, kind: CloneFlags) -> Option<Namespace> {
        Some(match kind {
            CloneFlags::CLONE_NEWUTS => Namespace::Uts(self.uts()),
            CloneFlags::CLONE_NEWIPC => Namespace::Ipc(self.ipc()),
            CloneFlags::CLONE_NEWNS => Namespace::Mount(Arc::clone(self.fs()?.namespace())),
            CloneFlags::CLONE_NEWUSER => Namespace::User(self.user_namespace()),
            kind => Namespace::Only(kind),
        })
    }
}

/// The file system of namespaces; made when it is first needed.
#[derive(Debug, Default)]
pub(super) struct NamespaceFiles {
    mount: OnceLock<Arc<Mount>>,
}

impl Kernel {
    /// The place of `namespace` in the file system of namespaces.
    pub fn namespace_path(&self, namespace: Namespace) -> Option<Path> {
        let mount = self.services.namespace_files.mount.get_or_init(|| {
            let filesystem = Filesystem::new(self.allocate_device(), false, Box::new(NamespaceFilesystem));
            let root = NamespaceInode(None);
            let inode = Inode::new(1, FileType::Directory, Arc::clone(&filesystem), Box::new(root));
            Mount::detached(FilesystemRoot { filesystem, inode })
        });
        let (number, text) = (u64::from(namespace.identity()), namespace.text());
        let filesystem = Arc::clone(mount.filesystem());
        let node = Box::new(NamespaceInode(Some(namespace)));
        let inode = Inode::new(number, FileType::Regular, filesystem, node);
        Path::new(Arc::clone(mount), Dentry::unnamed(None, text.into_bytes(), inode))
    }
}

#[derive(Debug)]
struct NamespaceFilesystem;

impl FilesystemOps for NamespaceFilesystem {
    fn type_name(&self) -> &'static str {
        "nsfs"
    }

    fn statistics(&self) -> Result<FilesystemStatistics, Errno> {
        const NSFS_MAGIC: u64 = 0x6e73_6673;
        let block_size = bartizan_platform::memory::PAGE_SIZE;
        Ok(FilesystemStatistics { magic: NSFS_MAGIC, block_size, ..FilesystemStatistics::default() })
    }
}

/// The inode of a namespace; without one, the root of the file system, which nobody sees.
#[derive(Debug)]
struct NamespaceInode(Option<Namespace>);

impl InodeOps for NamespaceInode {
    fn attributes(&self, inode: &Inode) -> Result<Attributes, Errno> {
        let now = realtime();
        let attributes = Attributes::new(inode.kind(), FileMode::new(0o444));
        Ok(Attributes { accessed: now, modified: now, changed: now, ..attributes })
    }

    fn namespace(&self) -> Option<&Namespace> {
        self.0.as_ref()
    }

    fn open(&self, _inode: &Arc<Inode>, _request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        Ok(Box::new(NamespaceFile(self.0.clone().ok_or(Errno::EACCES)?)))
    }
}

/// An open namespace.
#[derive(Debug)]
pub struct NamespaceFile(Namespace);

impl NamespaceFile {
    /// Which one.
    pub fn namespace(&self) -> &Namespace {
        &self.0
    }

    /// The owner, or the parent, if the caller may see it.
    fn related(&self, task: &CurrentTask, parent: bool) -> Result<Namespace, Errno> {
        if parent && !matches!(self.0.kind(), CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID) {
            return Err(Errno::EINVAL);
        }
        let owner = self.0.owner().filter(|owner| owner.is_within(&task.user_namespace()));
        owner.map(Namespace::User).ok_or(Errno::EPERM)
    }
}

impl FileOps for NamespaceFile {
    fn ioctl(&self, _file: &File, task: &CurrentTask, request: u32, argument: UserAddr) -> SysResult<u64> {
        match request {
            NS_GET_USERNS | NS_GET_PARENT => {
                let related = self.related(task, request == NS_GET_PARENT)?;
                let path = task.kernel().namespace_path(related.clone()).ok_or(Errno::ENOENT)?;
                let file = File::new(Box::new(Self(related)), path, OpenFlags::empty());
                let fd = install(task, file, OpenFlags::O_CLOEXEC)?;
                Ok(u64::from(fd.0.unsigned_abs()))
            }
            NS_GET_NSTYPE => Ok(self.0.kind().bits()),
            NS_GET_OWNER_UID => {
                let Namespace::User(users) = &self.0 else { return Err(Errno::EINVAL.into()) };
                task.write_value(UserPtr::new(argument), &task.user_namespace().uid(users.owner()))?;
                Ok(0)
            }
            _ => Err(Errno::ENOTTY.into()),
        }
    }
}

/// Where a task is that joins a mount namespace.
pub(super) fn fs_in(task: &CurrentTask, mounts: &Arc<MountNamespace>) -> Result<Arc<FsContext>, Errno> {
    task.fs_context().in_namespace(mounts).ok_or(Errno::EINVAL)
}

//! POSIX message queues (`mq_overview(7)`): a file system of one directory whose files are queues.
//!
//! Each IPC namespace has one. `mq_open(2)` works on its directory; it can be mounted as well (type `mqueue`). Locks: the
//! directory's entries are class `IpcNames`, a queue's state is `IpcObject`; signals are sent without either.

mod directory;
mod file;
mod queue;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use bartizan_abi::{Errno, FileMode, FileType, FsMagic, NAME_MAX};

pub use directory::QueueDirectory;
pub use file::QueueFile;
pub use queue::{Notification, Posted, Queue, QueueLimits, QueueReceiver, QueueSender};

use super::Kernel;
use super::sysv::IpcNamespace;
use crate::sync::{LockClass, Mutex};
use crate::vfs::{
    CachePolicy, Dentry, Filesystem, FilesystemOps, FilesystemRoot, FilesystemStatistics, FsStr, Inode,
    Mount, Path,
};

/// Most queues of a namespace without privilege (`/proc/sys/fs/mqueue/queues_max`).
pub const QUEUES_MAX: u64 = 256;
/// Most messages of a queue without privilege, and as many as it has if nobody says otherwise (`msg_max`, `msg_default`).
pub const MSG_MAX: i64 = 10;
/// Longest messages without privilege, and by default (`msgsize_max`, `msgsize_default`).
pub const MSGSIZE_MAX: i64 = 8192;
/// Most messages in any case.
pub const HARD_MSGMAX: i64 = 65_536;
/// Longest messages in any case.
pub const HARD_MSGSIZEMAX: i64 = 16 << 20;
/// Priorities are below this one.
pub const MQ_PRIO_MAX: u32 = 32_768;

/// The queues of one namespace.
#[derive(Debug, Default)]
pub struct MessageFiles {
    mount: OnceLock<Arc<Mount>>,
}

impl MessageFiles {
    /// The file system, for mounts of it; `owner` is the namespace whose queues these are, here and below.
    pub fn root(&self, kernel: &Kernel, owner: &Arc<IpcNamespace>) -> Option<FilesystemRoot> {
        let mount = self.mount(kernel, owner);
        let inode = mount.root().inode()?;
        Some(FilesystemRoot { filesystem: Arc::clone(mount.filesystem()), inode: Arc::clone(inode) })
    }

    /// The directory of all queues.
    ///
    /// # Errors
    /// None in practice.
    pub fn directory(&self, kernel: &Kernel, owner: &Arc<IpcNamespace>) -> Result<Arc<Inode>, Errno> {
        self.mount(kernel, owner).root().inode().cloned().ok_or(Errno::ENOENT)
    }

    /// Where queue `name` is, as an open file has it.
    ///
    /// # Errors
    /// None in practice.
    pub fn path(
        &self,
        kernel: &Kernel,
        owner: &Arc<IpcNamespace>,
        name: &FsStr,
        inode: Arc<Inode>,
    ) -> Result<Path, Errno> {
        let shown = [b"/", name].concat();
        Path::new(Arc::clone(self.mount(kernel, owner)), Dentry::unnamed(None, shown, inode))
            .ok_or(Errno::ENOENT)
    }

    fn mount(&self, kernel: &Kernel, owner: &Arc<IpcNamespace>) -> &Arc<Mount> {
        self.mount.get_or_init(|| {
            let filesystem = Filesystem::new(kernel.allocate_device(), false, Box::new(QueueFilesystem));
            filesystem.set_owner(owner.owner().clone());
            let directory = QueueDirectory::new(owner);
            let inode = Inode::new(1, FileType::Directory, Arc::clone(&filesystem), Box::new(directory));
            Mount::detached(FilesystemRoot { filesystem, inode })
        })
    }
}

/// Whether a queue can have this name.
///
/// # Errors
/// `ENOENT`, `EACCES`, `ENAMETOOLONG`.
pub fn check_name(name: &FsStr) -> Result<(), Errno> {
    match name {
        b"" => Err(Errno::ENOENT),
        b"." | b".." => Err(Errno::EACCES),
        name if name.contains(&b'/') => Err(Errno::EACCES),
        name if name.len() > NAME_MAX => Err(Errno::ENAMETOOLONG),
        _ => Ok(()),
    }
}

#[derive(Debug)]
struct QueueFilesystem;

impl FilesystemOps for QueueFilesystem {
    fn type_name(&self) -> &'static str {
        "mqueue"
    }

    /// Names come and go by `mq_open` and `mq_unlink` too.
    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Never
    }

    fn statistics(&self) -> Result<FilesystemStatistics, Errno> {
        let block_size = bartizan_platform::memory::PAGE_SIZE;
        Ok(FilesystemStatistics {
            magic: FsMagic::MQUEUE.0.into(),
            block_size,
            ..FilesystemStatistics::default()
        })
    }
}

/// How many queues there are, and how much of `RLIMIT_MSGQUEUE` each user has used up.
#[derive(Debug)]
pub(crate) struct Accounts {
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    queues: u64,
    bytes: HashMap<u32, u64>,
}

/// One queue in the [`Accounts`].
#[derive(Debug)]
pub(crate) struct Account {
    accounts: Arc<Accounts>,
    uid: u32,
    bytes: u64,
}

impl Accounts {
    fn new() -> Arc<Self> {
        Arc::new(Self { used: Mutex::new(LockClass::Table, Used::default()) })
    }

    /// Adds a queue of `bytes` for user `uid`, who may use up `limit`.
    ///
    /// # Errors
    /// `ENOSPC` for more than `queues`, `EMFILE` beyond the limit.
    fn open(self: &Arc<Self>, uid: u32, bytes: u64, limit: u64, queues: u64) -> Result<Account, Errno> {
        let mut used = self.used.lock();
        if used.queues >= queues {
            return Err(Errno::ENOSPC);
        }
        let own = used.bytes.entry(uid).or_default();
        *own = own.checked_add(bytes).filter(|&own| own <= limit).ok_or(Errno::EMFILE)?;
        used.queues += 1;
        Ok(Account { accounts: Arc::clone(self), uid, bytes })
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let mut used = self.accounts.used.lock();
        used.queues = used.queues.saturating_sub(1);
        if let Some(own) = used.bytes.get_mut(&self.uid) {
            *own = own.saturating_sub(self.bytes);
            if *own == 0 {
                used.bytes.remove(&self.uid);
            }
        }
    }
}

/// The permission bits of the directory: everybody may make queues, and remove their own.
const DIRECTORY_MODE: FileMode = FileMode::new(0o1777);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_one_directory() {
        assert_eq!(check_name(b"queue"), Ok(()));
        assert_eq!(check_name(b""), Err(Errno::ENOENT));
        assert_eq!(check_name(b".."), Err(Errno::EACCES));
        assert_eq!(check_name(b"a/b"), Err(Errno::EACCES));
        assert_eq!(check_name(&[b'x'; 256]), Err(Errno::ENAMETOOLONG));
    }

    #[test]
    fn users_have_limits() {
        let accounts = Accounts::new();
        let first = accounts.open(1, 60, 100, 2).unwrap();
        assert_eq!(accounts.open(1, 60, 100, 2).err(), Some(Errno::EMFILE));
        let second = accounts.open(2, 60, 100, 2).unwrap();
        assert_eq!(accounts.open(3, 1, 100, 2).err(), Some(Errno::ENOSPC));
        drop((first, second));
        assert!(accounts.used.lock().bytes.is_empty());
    }
}

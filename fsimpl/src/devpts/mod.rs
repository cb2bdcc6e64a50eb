//! `/dev/pts`: the names of pseudo-terminals, and `ptmx`, which makes new ones (`pts(4)`, `devpts` of Linux).
//!
//! Each mount is an instance of its own with its own numbers. Lock: `terminals` (class `Table`), a leaf.

mod nodes;
mod options;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use bartizan_abi::{Errno, FileType, FsMagic, Timespec};
use bartizan_sentry::kernel::terminal::{MasterFile, Terminal, TerminalOwner};
use bartizan_sentry::kernel::{Kernel, realtime};
use bartizan_sentry::sync::{LockClass, Mutex};
use bartizan_sentry::vfs::{
    CachePolicy, DeviceOps, FileOps, Filesystem, FilesystemOps, FilesystemRoot, FilesystemStatistics, Inode,
    OpenRequest,
};

use nodes::{Directory, Ptmx, Slave};
pub use options::Options;

/// Inode number of the directory.
const ROOT: u64 = 1;
/// Inode number of `ptmx`.
const PTMX: u64 = 2;
/// Inode number of terminal 0.
const FIRST: u64 = 3;

/// One instance of the file system.
#[derive(Debug)]
pub struct Devpts {
    kernel: Weak<Kernel>,
    options: Options,
    made: Timespec,
    this: Weak<Self>,
    /// The terminals whose master is open, with their inodes.
    terminals: Mutex<BTreeMap<u32, Arc<Inode>>>,
}

/// Makes an instance without terminals, and its driver of `/dev/ptmx`.
pub fn new(kernel: &Arc<Kernel>, options: Options) -> (FilesystemRoot, Arc<dyn DeviceOps>) {
    let device = kernel.allocate_device();
    let devpts = Arc::new_cyclic(|this| Devpts {
        kernel: Arc::downgrade(kernel),
        options,
        made: realtime(),
        this: Weak::clone(this),
        terminals: Mutex::new(LockClass::Table, BTreeMap::new()),
    });
    let filesystem = Filesystem::new(device, false, Box::new(Super { options }));
    let ptmx = Ptmx::new(&devpts, &filesystem);
    let ptmx = Inode::new(PTMX, FileType::CharacterDevice, Arc::clone(&filesystem), Box::new(ptmx));
    let directory = Directory::new(&devpts, ptmx);
    let inode = Inode::new(ROOT, FileType::Directory, Arc::clone(&filesystem), Box::new(directory));
    let driver = PtmxDriver { devpts, filesystem: Arc::clone(&filesystem) };
    (FilesystemRoot { filesystem, inode }, Arc::new(driver))
}

impl Devpts {
    /// Makes a terminal for whoever opens `ptmx` (`ptmx_open`).
    fn open_master(
        &self,
        filesystem: &Arc<Filesystem>,
        request: &OpenRequest<'_>,
    ) -> Result<Box<dyn FileOps>, Errno> {
        Ok(Box::new(MasterFile::new(self.make_terminal(filesystem, request.credentials.fsuid)?)))
    }

    /// Makes a terminal that belongs to user `uid`.
    fn make_terminal(&self, filesystem: &Arc<Filesystem>, uid: u32) -> Result<Arc<Terminal>, Errno> {
        let kernel = self.kernel.upgrade().ok_or(Errno::EIO)?;
        let owner: Weak<dyn TerminalOwner> = Weak::clone(&self.this) as Weak<dyn TerminalOwner>;
        let mut terminals = self.terminals.lock();
        let index =
            (0..self.options.most).find(|index| !terminals.contains_key(index)).ok_or(Errno::ENOSPC)?;
        let terminal = Terminal::new(&kernel, index, owner);
        let slave = Slave::new(&terminal, uid, &self.options);
        let number = FIRST + u64::from(index);
        let inode = Inode::new(number, FileType::CharacterDevice, Arc::clone(filesystem), Box::new(slave));
        terminals.insert(index, inode);
        Ok(terminal)
    }

    /// The inode of terminal `index`.
    fn find(&self, index: u32) -> Option<Arc<Inode>> {
        self.terminals.lock().get(&index).cloned()
    }

    /// Terminal numbers from `first` on.
    fn list(&self, first: u32) -> Vec<(u32, u64)> {
        let terminals = self.terminals.lock();
        terminals.range(first..).map(|(&index, inode)| (index, inode.number())).collect()
    }
}

impl TerminalOwner for Devpts {
    fn master_closed(&self, index: u32) {
        let gone = self.terminals.lock().remove(&index);
        drop(gone);
    }
}

/// The driver of device 5:2 where it is not in a mount of this file system: it makes terminals of this instance.
#[derive(Debug)]
struct PtmxDriver {
    devpts: Arc<Devpts>,
    filesystem: Arc<Filesystem>,
}

impl DeviceOps for PtmxDriver {
    fn open(&self, _inode: &Arc<Inode>, request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        self.devpts.open_master(&self.filesystem, request)
    }
}

#[derive(Debug)]
struct Super {
    options: Options,
}

impl FilesystemOps for Super {
    fn type_name(&self) -> &'static str {
        "devpts"
    }

    fn makes_devices(&self) -> bool {
        true
    }

    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Revalidate
    }

    fn statistics(&self) -> Result<FilesystemStatistics, Errno> {
        let magic = u64::from(FsMagic::DEVPTS.0);
        Ok(FilesystemStatistics { magic, block_size: 1024, ..FilesystemStatistics::default() })
    }

    fn options(&self) -> String {
        self.options.show()
    }
}

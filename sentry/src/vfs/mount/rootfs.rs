//! What lies below the root of all: an empty directory that nobody sees until the root is unmounted (`rootfs`).

use std::sync::Arc;

use bartizan_abi::{DeviceNumber, Errno, FileMode, FileType};

use crate::vfs::{
    Attributes, FileOps, Filesystem, FilesystemOps, FilesystemRoot, FilesystemStatistics, FsStr, Inode,
    InodeOps, OpenRequest,
};

/// `RAMFS_MAGIC` of `<linux/magic.h>`.
const RAMFS: u64 = 0x8584_58f6;

/// `st_dev` of the file system; those that file systems ask for come later.
const DEVICE: DeviceNumber = DeviceNumber::new(0, 2);

#[derive(Debug)]
struct Rootfs;

impl FilesystemOps for Rootfs {
    fn type_name(&self) -> &'static str {
        "rootfs"
    }

    fn statistics(&self) -> Result<FilesystemStatistics, Errno> {
        let block_size = bartizan_platform::memory::PAGE_SIZE;
        Ok(FilesystemStatistics { magic: RAMFS, block_size, ..FilesystemStatistics::default() })
    }
}

impl InodeOps for Rootfs {
    fn attributes(&self, _inode: &Inode) -> Result<Attributes, Errno> {
        Ok(Attributes::new(FileType::Directory, FileMode::new(0o755)))
    }

    fn lookup(&self, _directory: &Arc<Inode>, _name: &FsStr) -> Result<Arc<Inode>, Errno> {
        Err(Errno::ENOENT)
    }

    fn open(&self, _inode: &Arc<Inode>, _request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        Ok(Box::new(Empty))
    }
}

/// The open directory, in which nothing is.
#[derive(Debug)]
struct Empty;

impl FileOps for Empty {}

/// The directory, to be mounted at the top of the first namespace.
pub(super) fn root() -> FilesystemRoot {
    let filesystem = Filesystem::new(DEVICE, true, Box::new(Rootfs));
    let inode = Inode::new(1, FileType::Directory, Arc::clone(&filesystem), Box::new(Rootfs));
    FilesystemRoot { filesystem, inode }
}

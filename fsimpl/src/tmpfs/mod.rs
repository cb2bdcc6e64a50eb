//! tmpfs: files in the memory of the sandbox (`tmpfs(5)`).
//!
//! - [`filesystem`] counts what an instance holds against its limits;
//! - [`node`] is what all its inodes have: attributes, extended attributes;
//! - [`directory`] has entries with lasting positions ([`entries`]);
//! - [`regular`] reads and writes file data, whose pages ([`pages`], [`extents`]) are frames of the sandbox's memory
//!   file, the same ones for `read`, `write` and `mmap`;
//!   Files without a name that can be sealed (`memfd_create(2)`) come from any of its directories.
//!
//! Locks, in the order in which they are taken: the data of a file (`InodeData`) over reads (shared), writes and truncation
//! (exclusive), so that frames do not vanish meanwhile; entries of a directory (`Filesystem`), two of them by address in
//! a rename; the page index (`PageIndex`), all that a fault takes; attributes (`Attributes`).

mod directory;
mod entries;
mod extents;
mod filesystem;
mod node;
mod options;
mod pages;
mod regular;
mod special;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bartizan_abi::Errno;
use bartizan_platform::memory::MemoryFile;
use bartizan_sentry::kernel::Kernel;
use bartizan_sentry::vfs::{Filesystem, FilesystemRoot};

use filesystem::Tmpfs;
pub use options::Options;

/// A new, empty tmpfs.
///
/// # Errors
/// `ENOMEM` when no inode is allowed.
pub fn new(kernel: &Arc<Kernel>, options: &Options) -> Result<FilesystemRoot, Errno> {
    new_named(kernel, "tmpfs", options)
}

/// A new, empty tmpfs that calls itself `type_name`: `devtmpfs`.
///
/// # Errors
/// `ENOMEM` when no inode is allowed.
pub fn new_named(
    kernel: &Arc<Kernel>,
    type_name: &'static str,
    options: &Options,
) -> Result<FilesystemRoot, Errno> {
    let shared = Tmpfs::new(Arc::clone(kernel.memory()), options);
    make_root(&shared, kernel.allocate_device(), type_name, options)
}

/// As [`new`], with the data of files in `store` instead of the sandbox's memory.
///
/// # Errors
/// `ENOMEM` when no inode is allowed.
pub fn new_stored(
    kernel: &Arc<Kernel>,
    store: Arc<MemoryFile>,
    options: &Options,
) -> Result<FilesystemRoot, Errno> {
    make_root(&Tmpfs::with_store(store, options), kernel.allocate_device(), "tmpfs", options)
}

fn make_root(
    shared: &Arc<Tmpfs>,
    device: bartizan_abi::DeviceNumber,
    type_name: &'static str,
    options: &Options,
) -> Result<FilesystemRoot, Errno> {
    let ops = filesystem::TmpfsOps::new(Arc::clone(shared), type_name, options);
    let filesystem = Filesystem::new(device, false, Box::new(ops));
    let inode = directory::Directory::root(&filesystem, shared, options)?;
    Ok(FilesystemRoot { filesystem, inode })
}

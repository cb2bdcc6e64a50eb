//! A directory tree of the host, read-only unless the host program says otherwise.
//!
//! - [`filesystem`] is the tree as a whole: its root, its inodes by host identity;
//! - [`node`] is one file of it: where it is, what is known of it;
//! - [`descriptors`] bounds how many host descriptors the tree holds;
//! - [`inode`], [`directory`], [`regular`] are what the VFS sees, [`changes`] what it may change;
//! - [`standard`] imports descriptors of the host program as files ([`descriptor`]), with [`reactor`] and [`terminal`].
//!
//! # How it is kept inside
//! The host is only ever asked for one component at a time, relative to a descriptor of the directory that it is in, with
//! `openat2(2)` and `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS`; `..` and symbolic links are walked by the
//! VFS. So no link of the tree leads out of it. Device nodes, FIFOs and sockets of the host are never opened: their inodes stand for
//! the sandbox's own objects. Directories where the host mounted one of its pseudo file systems (`/proc`, `/sys` …) look empty.
//!
//! # How fresh it is
//! [`Coherence::Stable`], meant for roots that nobody changes meanwhile, believes names for ever: what is added on
//! the host under a name that was looked up before does not show up, and what was renamed gives `ESTALE`. With
//! [`Coherence::Within`] names are asked for again when they are older. In both cases attributes are asked for again after
//! [`Options::attributes`], and always when a file is opened; contents are always the host's: sizes may change at any time.

mod buffers;
mod changes;
mod descriptor;
mod descriptors;
mod directory;
mod filesystem;
mod inode;
mod node;
mod reactor;
mod regular;
mod standard;
mod terminal;
#[cfg(test)]
mod tests;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bartizan_abi::{Errno, FileType};
use bartizan_sentry::kernel::Kernel;
use bartizan_sentry::vfs::FilesystemRoot;
use rustix::fs::{Mode, OFlags};

pub use standard::{Imported, ImportedDescriptors};

/// How names and attributes are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether guests may change the tree.
    pub writable: bool,
    /// Whether it is a layer of an overlay: its marks are read and written, and so are the capabilities of programs.
    pub layer: bool,
    /// For how long names are.
    pub coherence: Coherence,
    /// For how long attributes are.
    pub attributes: Duration,
    /// How many descriptors of directories are kept; more are opened and closed as needed.
    pub descriptors: usize,
}

/// For how long a name that was looked up is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coherence {
    /// For ever: nobody changes the tree meanwhile.
    Stable,
    /// For so long.
    Within(Duration),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            writable: false,
            layer: false,
            coherence: Coherence::Stable,
            attributes: Duration::from_secs(1),
            descriptors: 256,
        }
    }
}

/// The tree (or single file) at `path` of the host, which is opened by the rules of the host: links in `path` itself are followed.
///
/// # Errors
/// What opening `path` gives.
pub fn new(kernel: &Arc<Kernel>, path: &Path, options: &Options) -> Result<FilesystemRoot, Errno> {
    filesystem::make_root(open_root(path, options)?, kernel.allocate_device(), options)
}

/// A descriptor of `path`: for reading (and writing) if it is a regular file, else one that names it.
fn open_root(path: &Path, options: &Options) -> Result<OwnedFd, Errno> {
    let open = |flags| rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).map_err(errno);
    let root = open(OFlags::PATH)?;
    let found = node::Found::of_descriptor(&root)?;
    if found.attributes.kind != FileType::Regular {
        return Ok(root);
    }
    let access = if options.writable { OFlags::RDWR } else { OFlags::RDONLY };
    let file = open(access | OFlags::NONBLOCK | OFlags::NOCTTY)?;
    if node::Found::of_descriptor(&file)?.identity != found.identity {
        return Err(Errno::ESTALE);
    }
    Ok(file)
}

/// The guest's number for an error of the host. Running out of the host's descriptors is not the guest's fault, nor its table's.
fn errno(error: rustix::io::Errno) -> Errno {
    match Errno::from_raw(error.raw_os_error()) {
        Some(Errno::EMFILE) => Errno::ENFILE,
        Some(errno) => errno,
        None => Errno::EIO,
    }
}

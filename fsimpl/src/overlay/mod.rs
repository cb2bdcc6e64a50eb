//! overlay: one tree made of several, of which only the uppermost is changed (`mount(8)`; the kernel's
//! `Documentation/filesystems/overlayfs.rst`).
//!
//! - [`layers`] is the whole: its layers, the marks that it leaves in them, which inode of which layer is which of ours;
//! - [`inode`] is one file or directory of it; [`lookup`] finds them, [`changes`] makes, removes and renames them;
//! - [`copy_up`] brings what is to be changed from a lower layer into the upper one;
//! - [`file`](mod@file) reads what is open, [`listing`] the entries of directories, [`options`] what `mount(2)` is given.
//!
//! # What is on a layer
//! The format is Linux's, so that layers can be exchanged with it. A character device with number 0:0 is a *whiteout*: the name does not exist,
//! whatever layers below say. A directory with the attribute `trusted.overlay.opaque` (`user.overlay.opaque` where the
//! host program lacks the privilege) of value `y` hides the directories of that name below. What is changed is first
//! copied into the upper layer. What takes more than one step is done in the work directory, from where one rename puts it in
//! place: so a fault half-way leaves the tree as it was. Names are not redirected: directories of lower layers cannot be
//! renamed (`EXDEV`).
//!
//! # Numbers
//! An inode keeps its number when it is copied up. Numbers of the first lower layer are shown as they are, those of the
//! others with the layer in their upper bits.
//!
//! # Locks
//! The directories of the overlay (`LayeredDirectory`), then the one file that is being copied up or loses its name
//! (`CopyUp`), then the directories of the upper layer (`Directory`), then what the layers take. Two locks of class
//! `CopyUp` are never held at once: parents are copied up before.

mod changes;
mod copy_up;
mod file;
mod inode;
mod layers;
mod listing;
mod lookup;
mod options;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bartizan_abi::{Errno, FileType};
use bartizan_sentry::kernel::Kernel;
use bartizan_sentry::vfs::{FilesystemRoot, FsString, Inode, NewFilesystem};

pub use options::Options;

/// What an overlay is made of.
#[derive(Debug)]
pub struct Layers {
    /// From the topmost to the lowest; at least one. All are directories, or all are regular files, of which only the first is seen.
    pub lower: Vec<Arc<Inode>>,
    /// Where changes go; without, nothing can be changed.
    pub upper: Option<Upper>,
    /// What `/proc/mounts` shows as options.
    pub shown: String,
}

/// Where the changes of an overlay go.
#[derive(Debug)]
pub struct Upper {
    /// The directory that holds what was changed.
    pub directory: Arc<Inode>,
    /// A directory of the same file system for what is being made; everything in its `work` is removed.
    pub work: Arc<Inode>,
    /// Marks are attributes of users, which need no privilege (`userxattr`).
    pub user_marks: bool,
}

/// An overlay of `layers`.
///
/// # Errors
/// `EINVAL` without a lower layer or if the layers do not fit together; what making the work directory gives.
pub fn new(kernel: &Arc<Kernel>, layers: Layers) -> Result<FilesystemRoot, Errno> {
    layers::make_root(kernel.allocate_device(), layers)
}

/// The overlay that `mount(2)` asks for.
///
/// # Errors
/// `EINVAL` for options that Linux does not know, and what the paths in them give.
pub fn mount(new: &NewFilesystem<'_>) -> Result<FilesystemRoot, Errno> {
    let options = Options::parse(new.options)?;
    let directory = |path: &FsString| {
        let inode = Arc::clone((new.resolve)(path)?.inode());
        inode.filesystem().ops().become_layer();
        if inode.kind() == FileType::Directory { Ok(inode) } else { Err(Errno::EINVAL) }
    };
    let lower = options.lower.iter().map(directory).collect::<Result<_, _>>()?;
    let upper = match &options.upper {
        None => None,
        Some((upper, work)) => Some(Upper {
            directory: directory(upper)?,
            work: directory(work)?,
            user_marks: options.user_marks,
        }),
    };
    self::new(new.kernel, Layers { lower, upper, shown: options.show() })
}

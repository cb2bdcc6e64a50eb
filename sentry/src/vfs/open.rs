//! Opening files (`open(2)`).

use std::sync::Arc;

use bartizan_abi::{Errno, FileMode, FileType, InotifyMask, OpenFlags};

use super::acl::Inherited;
use super::create::create_regular;
use super::leases::break_leases;
use super::permission::{May, owns};
use super::walk::{FollowLast, Walker};
use super::write_count::writing;
use super::{
    Admission, AttributeChanges, Dentry, DirectorySink, File, FileOps, FsStr, NewNode, OpenRequest, Path,
    notify,
};
use crate::kernel::pipe::PipeAccess;
use crate::kernel::{Credentials, CurrentTask, realtime};
use crate::{SysError, SysResult};

/// How a file is opened.
#[derive(Debug, Clone, Copy)]
pub struct OpenHow {
    /// Access mode, creation and status flags.
    pub flags: OpenFlags,
    /// The mode of a new file, before the umask.
    pub mode: FileMode,
}

impl OpenHow {
    /// Opening what is there, with `flags`.
    pub fn existing(flags: OpenFlags) -> Self {
        Self { flags, mode: FileMode::empty() }
    }
}

/// Flags that an open file description keeps.
const KEPT: OpenFlags = OpenFlags::O_ACCMODE
    .union(OpenFlags::O_APPEND)
    .union(OpenFlags::O_NONBLOCK)
    .union(OpenFlags::O_SYNC)
    .union(OpenFlags::O_DSYNC)
    .union(OpenFlags::O_DIRECT)
    .union(OpenFlags::O_LARGEFILE)
    .union(OpenFlags::O_DIRECTORY)
    .union(OpenFlags::O_NOFOLLOW)
    .union(OpenFlags::O_NOATIME)
    .union(OpenFlags::O_PATH);

impl Walker<'_> {
    /// Opens `path`.
    ///
    /// # Errors
    /// Those of `open(2)`; an interruption while a FIFO waits for its other side.
    pub fn open(&self, path: &FsStr, how: OpenHow) -> SysResult<Arc<File>> {
        let flags = how.flags;
        if flags.contains(OpenFlags::O_PATH) {
            return Ok(self.open_as_path(path, flags)?);
        }
        let follow = if flags.contains(OpenFlags::O_NOFOLLOW) { FollowLast::No } else { FollowLast::Yes };
        if flags.contains(OpenFlags::O_TMPFILE) {
            return self.open_unnamed(&self.resolve(path, follow)?, how);
        }
        if !flags.contains(OpenFlags::O_CREAT) {
            return open_found(&self.resolve(path, follow)?, flags, self);
        }
        if flags.contains(OpenFlags::O_DIRECTORY) {
            return Err(Errno::EINVAL.into());
        }
        let exclusive = flags.contains(OpenFlags::O_EXCL);
        let follow = if exclusive { FollowLast::No } else { follow };
        loop {
            let (parent, found) = self.resolve_or_parent(path, follow)?;
            if let Some(found) = found {
                if exclusive {
                    return Err(Errno::EEXIST.into());
                }
                let directory = found.inode().kind() == FileType::Directory;
                if directory || parent.slash {
                    return Err(if directory { Errno::EISDIR } else { Errno::ENOTDIR }.into());
                }
                return open_found(&found, flags, self);
            }
            if parent.slash {
                return Err(Errno::EISDIR.into());
            }
            match create_regular(self, &parent, how.mode) {
                Ok(created) => return open_checked(&created, flags - OpenFlags::O_TRUNC, self),
                // Somebody else was faster.
                Err(Errno::EEXIST) if !exclusive => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// `O_PATH`: a description that only names a place.
    fn open_as_path(&self, path: &FsStr, flags: OpenFlags) -> Result<Arc<File>, Errno> {
        let follow = if flags.contains(OpenFlags::O_NOFOLLOW) { FollowLast::No } else { FollowLast::Yes };
        let found = self.resolve(path, follow)?;
        if flags.contains(OpenFlags::O_DIRECTORY) && found.inode().kind() != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        let kept = OpenFlags::O_PATH | OpenFlags::O_DIRECTORY | OpenFlags::O_NOFOLLOW;
        Ok(File::new(Box::new(PathOnly), found, flags & kept))
    }

    /// `O_TMPFILE`: a regular file without a name.
    fn open_unnamed(&self, directory: &Path, how: OpenHow) -> SysResult<Arc<File>> {
        if directory.inode().kind() != FileType::Directory {
            return Err(Errno::ENOTDIR.into());
        }
        if !how.flags.writable() {
            return Err(Errno::EINVAL.into());
        }
        directory.check(self.credentials, May::WRITE | May::EXECUTE)?;
        let (mode, lists) = Inherited::from(directory.inode(), FileType::Regular, how.mode, self.umask)?;
        let node = NewNode {
            kind: FileType::Regular,
            mode,
            uid: self.credentials.fsuid,
            gid: self.credentials.fsgid,
            device: Default::default(),
            now: realtime(),
        };
        let inode = directory.inode().ops().create_unnamed(directory.inode(), &node)?;
        lists.give_to(&inode)?;
        let name = format!("#{}", inode.number()).into_bytes();
        let dentry = Dentry::unnamed(Some(Arc::clone(&directory.dentry)), name, inode);
        let path = Path::new(Arc::clone(&directory.mount), dentry).ok_or(Errno::ENOENT)?;
        open_checked(&path, how.flags, self)
    }
}

/// Opens what a walk has found.
fn open_found(path: &Path, flags: OpenFlags, walker: &Walker<'_>) -> SysResult<Arc<File>> {
    let kind = path.inode().kind();
    if flags.contains(OpenFlags::O_DIRECTORY) && kind != FileType::Directory {
        return Err(Errno::ENOTDIR.into());
    }
    if kind == FileType::Symlink {
        return Err(Errno::ELOOP.into());
    }
    let truncates = flags.contains(OpenFlags::O_TRUNC);
    if kind == FileType::Directory && (flags.writable() || truncates) {
        return Err(Errno::EISDIR.into());
    }
    let mut may = May::empty();
    may.set(May::READ, flags.readable());
    may.set(May::WRITE, flags.writable() || truncates);
    let device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
    if device && path.mount.forbids_devices() {
        return Err(Errno::EACCES.into());
    }
    path.inode().admit(walker.task, Admission::Use(may))?;
    path.check(walker.credentials, may)?;
    if flags.contains(OpenFlags::O_NOATIME) && !owns(&path.inode().attributes()?, walker.credentials) {
        return Err(Errno::EPERM.into());
    }
    let file = open_checked(path, flags, walker)?;
    if truncates && kind == FileType::Regular {
        let changes = AttributeChanges { size: Some(0), changed: realtime(), ..AttributeChanges::default() };
        writing(path.inode(), || path.inode().ops().set_attributes(path.inode(), &changes))?;
        notify::on_change(path, &changes);
    }
    Ok(file)
}

/// Opens `path`, to which access has been checked.
fn open_checked(path: &Path, flags: OpenFlags, walker: &Walker<'_>) -> SysResult<Arc<File>> {
    let inode = path.inode();
    break_leases(inode, flags, walker.task)?;
    let asked = flags & (KEPT | OpenFlags::O_TRUNC);
    let flags = flags & KEPT;
    let request = OpenRequest { flags: asked, credentials: walker.credentials, task: walker.task, path };
    let ops = match inode.kind() {
        FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice
            if inode.ops().opens_everything() =>
        {
            inode.ops().open(inode, &request)?
        }
        FileType::Fifo => open_fifo(path, flags, walker)?,
        FileType::Socket => return Err(Errno::ENXIO.into()),
        FileType::CharacterDevice | FileType::BlockDevice => {
            let number = inode.attributes()?.device;
            walker.namespace.devices().open(number, inode, &request)?
        }
        FileType::Symlink => return Err(Errno::ELOOP.into()),
        FileType::Regular if flags.writable() => return open_for_writing(&request),
        FileType::Regular | FileType::Directory => inode.ops().open(inode, &request)?,
    };
    let file = File::new(ops, path.clone(), flags);
    notify::on_file(path, InotifyMask::IN_OPEN);
    Ok(file)
}

/// Opens a regular file for writing: `ETXTBSY` while a program runs from it.
fn open_for_writing(request: &OpenRequest<'_>) -> SysResult<Arc<File>> {
    let inode = request.path.inode();
    writing(inode, || {
        let flags = request.flags & KEPT;
        let file = File::new(inode.ops().open(inode, request)?, request.path.clone(), flags);
        file.count_as_writer()?;
        notify::on_file(request.path, InotifyMask::IN_OPEN);
        Ok(file)
    })
}

/// Opens a FIFO, or once more a pipe, which does not wait for its other side.
fn open_fifo(path: &Path, flags: OpenFlags, walker: &Walker<'_>) -> SysResult<Box<dyn FileOps>> {
    let pipe = path.inode().extra().pipe();
    if path.mount.is_detached() {
        let access = match (flags.readable(), flags.writable()) {
            (true, true) => PipeAccess::Both,
            (true, false) => PipeAccess::Read,
            (false, true) => PipeAccess::Write,
            (false, false) => return Err(Errno::EINVAL.into()),
        };
        return Ok(pipe.end(access));
    }
    match walker.task {
        Some(task) => pipe.open(task, flags),
        None => Err(Errno::ENXIO.into()),
    }
}

/// Opens `path` for reading by the kernel, access to which has been checked: a program to be executed, which nobody may write meanwhile.
///
/// # Errors
/// What the file system answers; `ETXTBSY` while somebody writes.
pub(super) fn open_path(
    path: &Path,
    flags: OpenFlags,
    credentials: &Credentials,
    task: Option<&CurrentTask>,
) -> Result<Arc<File>, Errno> {
    break_leases(path.inode(), flags, task).map_err(uninterrupted)?;
    let request = OpenRequest { flags, credentials, task, path };
    let ops = path.inode().ops().open(path.inode(), &request)?;
    let file = File::new(ops, path.clone(), flags);
    notify::on_file(path, InotifyMask::IN_OPEN);
    file.forbid_writes()?;
    Ok(file)
}

/// The error of an operation that cannot be interrupted.
pub(super) fn uninterrupted(error: SysError) -> Errno {
    match error {
        SysError::Errno(errno) => errno,
        SysError::Restart(_) => Errno::EINTR,
    }
}

/// A description of `path` with `O_PATH`.
pub fn open_place(path: Path) -> Arc<File> {
    File::new(Box::new(PathOnly), path, OpenFlags::O_PATH)
}

/// What a description with `O_PATH` does: nothing.
#[derive(Debug)]
struct PathOnly;

impl FileOps for PathOnly {
    fn seekable(&self) -> bool {
        false
    }

    fn read_directory(
        &self,
        _file: &File,
        _sink: &mut dyn DirectorySink,
        _offset: u64,
    ) -> Result<u64, Errno> {
        Err(Errno::EBADF)
    }
}

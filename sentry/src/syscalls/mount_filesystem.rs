//! File systems by descriptor: `fsopen(2)`, `fspick(2)`, `fsconfig(2)`, `fsmount(2)`.

use std::sync::Arc;

use bartizan_abi::process::Capability;
use bartizan_abi::{
    AT_FDCWD, AtFlags, Errno, FsConfigCommand, FsMountFlags, FsOpenFlags, FsPickFlags, MountAttributes,
    OpenFlags,
};
use bartizan_platform::memory::PAGE_SIZE;

use super::UserPath;
use super::anonymous::{AnonymousKind, install, open_descriptor};
use super::mount::{check_privilege, check_type, resolve, visible_flags};
use super::mount_tree::{flags_of, times_of};
use crate::SysResult;
use crate::kernel::CurrentTask;
use crate::mm::UserAddr;
use crate::vfs::{
    FdNumber, File, FollowLast, FsConfiguration, FsStr, FsString, NewFilesystem, ParameterValue,
};

/// The longest name or value of a parameter, bytes with the terminator.
const MOST_TEXT: usize = 256;

/// The longest binary value, bytes.
const MOST_BINARY: i32 = 1 << 20;

/// `fsopen(2)`.
pub fn fsopen(task: &CurrentTask, name: UserAddr, flags: u32) -> SysResult<FdNumber> {
    check_privilege(task)?;
    let flags = FsOpenFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    let name = read_text(task, name, PAGE_SIZE as usize)?;
    let types = task.kernel().filesystem_types();
    let make = types.find(&name).ok_or(Errno::ENODEV)?;
    let configuration = FsConfiguration::new(&name, make, types.parameters(&name));
    open(task, configuration, flags.contains(FsOpenFlags::FSOPEN_CLOEXEC))
}

fn open(task: &CurrentTask, configuration: FsConfiguration, close_on_exec: bool) -> SysResult<FdNumber> {
    let mut flags = OpenFlags::O_RDWR;
    flags.set(OpenFlags::O_CLOEXEC, close_on_exec);
    open_descriptor(task, AnonymousKind::FsContext, Box::new(configuration), flags)
}

/// `fspick(2)`.
pub fn fspick(task: &CurrentTask, fd: FdNumber, path: UserPath, flags: u32) -> SysResult<FdNumber> {
    check_privilege(task)?;
    let flags = FsPickFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    let mut at = AtFlags::empty();
    at.set(AtFlags::AT_SYMLINK_NOFOLLOW, flags.contains(FsPickFlags::FSPICK_SYMLINK_NOFOLLOW));
    at.set(AtFlags::AT_EMPTY_PATH, flags.contains(FsPickFlags::FSPICK_EMPTY_PATH));
    let found = task.resolve_at(fd, &path.read(task)?, at, FollowLast::Yes)?;
    if !found.is_mount_root() {
        return Err(Errno::EINVAL.into());
    }
    let filesystem = found.mount.filesystem();
    let name = filesystem.ops().type_name().as_bytes();
    let configuration = FsConfiguration::of(filesystem, task.kernel().filesystem_types().parameters(name));
    open(task, configuration, flags.contains(FsPickFlags::FSPICK_CLOEXEC))
}

/// `fsconfig(2)`.
pub fn fsconfig(
    task: &CurrentTask,
    fd: FdNumber,
    command: u32,
    name: UserAddr,
    value: UserAddr,
    extra: i32,
) -> SysResult<()> {
    if fd.0 < 0 {
        return Err(Errno::EINVAL.into());
    }
    let command = FsConfigCommand::from_raw(command).ok_or(Errno::EOPNOTSUPP)?;
    check_arguments(command, name, value, extra)?;
    let file = task.fd_table().get(fd)?;
    let configuration = file.downcast::<FsConfiguration>().ok_or(Errno::EINVAL)?;
    let name = if name.is_null() { Vec::new() } else { read_text(task, name, MOST_TEXT)? };
    let set = |value| Ok(configuration.set(&name, value)?);
    match command {
        FsConfigCommand::FSCONFIG_SET_FLAG => set(ParameterValue::Flag),
        FsConfigCommand::FSCONFIG_SET_STRING => {
            set(ParameterValue::Text(&read_text(task, value, MOST_TEXT)?))
        }
        FsConfigCommand::FSCONFIG_SET_BINARY => {
            let mut bytes = vec![0; usize::try_from(extra).map_err(|_| Errno::EINVAL)?];
            task.read_bytes(value, &mut bytes)?;
            set(ParameterValue::Other)
        }
        FsConfigCommand::FSCONFIG_SET_PATH | FsConfigCommand::FSCONFIG_SET_PATH_EMPTY => {
            let path = UserPath(value).read(task)?;
            if path.is_empty() && command == FsConfigCommand::FSCONFIG_SET_PATH {
                return Err(Errno::ENOENT.into());
            }
            set(ParameterValue::Other)
        }
        FsConfigCommand::FSCONFIG_SET_FD => {
            let _file = task.fd_table().get_any(FdNumber(extra))?;
            set(ParameterValue::Other)
        }
        FsConfigCommand::FSCONFIG_CMD_CREATE | FsConfigCommand::FSCONFIG_CMD_CREATE_EXCL => {
            Ok(create(task, configuration)?)
        }
        FsConfigCommand::FSCONFIG_CMD_RECONFIGURE => Ok(reconfigure(task, configuration)?),
    }
}

/// Refuses arguments that a command has no use for, or lacks.
fn check_arguments(
    command: FsConfigCommand,
    name: UserAddr,
    value: UserAddr,
    extra: i32,
) -> Result<(), Errno> {
    let (named, valued) = (!name.is_null(), !value.is_null());
    let right = match command {
        FsConfigCommand::FSCONFIG_SET_FLAG => named && !valued && extra == 0,
        FsConfigCommand::FSCONFIG_SET_STRING => named && valued && extra == 0,
        FsConfigCommand::FSCONFIG_SET_BINARY => named && valued && (1..=MOST_BINARY).contains(&extra),
        FsConfigCommand::FSCONFIG_SET_PATH | FsConfigCommand::FSCONFIG_SET_PATH_EMPTY => {
            named && valued && (extra == AT_FDCWD || extra >= 0)
        }
        FsConfigCommand::FSCONFIG_SET_FD => named && !valued && extra >= 0,
        FsConfigCommand::FSCONFIG_CMD_CREATE
        | FsConfigCommand::FSCONFIG_CMD_CREATE_EXCL
        | FsConfigCommand::FSCONFIG_CMD_RECONFIGURE => !named && !valued && extra == 0,
    };
    if right { Ok(()) } else { Err(Errno::EINVAL) }
}

/// A string of at most `most` bytes with its terminator.
fn read_text(task: &CurrentTask, text: UserAddr, most: usize) -> Result<FsString, Errno> {
    match task.read_c_string(text, most) {
        Err(Errno::ENAMETOOLONG) => Err(Errno::EINVAL),
        result => result,
    }
}

fn create(task: &CurrentTask, configuration: &FsConfiguration) -> Result<(), Errno> {
    configuration.create(|make, order| {
        check_privilege(task)?;
        let resolve = |path: &FsStr| resolve(task, path, FollowLast::Yes);
        let root =
            make(&NewFilesystem { kernel: task.kernel(), task, options: &order.options, resolve: &resolve })?;
        check_type(task, root.filesystem.ops().type_name().as_bytes())?;
        root.filesystem.set_owner(task.user_namespace());
        if order.read_only == Some(true) {
            root.filesystem.set_read_only(true)?;
        }
        Ok(root)
    })
}

fn reconfigure(task: &CurrentTask, configuration: &FsConfiguration) -> Result<(), Errno> {
    configuration.reconfigure(|filesystem, order| {
        if !task.credentials().has_capability_in(Capability::CAP_SYS_ADMIN, filesystem.owner()) {
            return Err(Errno::EPERM);
        }
        let was = filesystem.is_read_only();
        if let Some(read_only) = order.read_only {
            task.fs_context().namespace().set_read_only(filesystem, read_only)?;
        }
        let changed = filesystem.ops().reconfigure(&order.options);
        changed.or_else(|errno| filesystem.set_read_only(was).and(Err(errno)))
    })
}

/// `fsmount(2)`.
pub fn fsmount(task: &CurrentTask, fd: FdNumber, flags: u32, attributes: u32) -> SysResult<FdNumber> {
    check_privilege(task)?;
    let flags = FsMountFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    let attributes = MountAttributes::from_bits(u64::from(attributes)).ok_or(Errno::EINVAL)?;
    if attributes.contains(MountAttributes::MOUNT_ATTR_IDMAP) {
        return Err(Errno::EINVAL.into());
    }
    let mount_flags = flags_of(attributes) | times_of(attributes)?;
    let file = task.fd_table().get(fd)?;
    let configuration = file.downcast::<FsConfiguration>().ok_or(Errno::EINVAL)?;
    let (root, source) = configuration.take()?;
    let kind = root.filesystem.ops().type_name().as_bytes();
    let mount_flags = visible_flags(task, kind, &root, mount_flags)?;
    let (tree, top) = task.fs_context().namespace().mount_detached(root, &source, mount_flags)?;
    let mount: Arc<File> = File::new(Box::new(tree), top, OpenFlags::O_PATH);
    let close = flags.contains(FsMountFlags::FSMOUNT_CLOEXEC);
    install(task, mount, if close { OpenFlags::O_CLOEXEC } else { OpenFlags::empty() })
}

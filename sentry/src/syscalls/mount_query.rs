//! What there is to tell of mounts: `statmount(2)`, `listmount(2)`.

use bartizan_abi::process::Capability;
use bartizan_abi::{Errno, MntIdReq, MountAttributes, MountFlags as Request, StatMount, StatMountMask};
use bartizan_platform::memory::PAGE_SIZE;
use zerocopy::IntoBytes;

use crate::SysResult;
use crate::kernel::CurrentTask;
use crate::mm::{UserAddr, UserPtr};
use crate::vfs::{FdNumber, FsString, ListOrder, Mount, MountFlags, MountNamespace, MountReport, Path};

/// The mount at the root of the caller (`LSMT_ROOT`).
const ROOT: u64 = u64::MAX;

/// The size of `struct mnt_id_req` when it was new.
const REQUEST_SIZE_VER0: u32 = 24;

/// The most mounts that are listed at once.
const MOST_LISTED: usize = 1_000_000;

/// `LISTMOUNT_REVERSE`.
const REVERSE: u32 = 1;

/// What needs room for strings.
const STRINGS: StatMountMask = StatMountMask::STATMOUNT_MNT_ROOT
    .union(StatMountMask::STATMOUNT_MNT_POINT)
    .union(StatMountMask::STATMOUNT_FS_TYPE)
    .union(StatMountMask::STATMOUNT_MNT_OPTS)
    .union(StatMountMask::STATMOUNT_FS_SUBTYPE)
    .union(StatMountMask::STATMOUNT_SB_SOURCE)
    .union(StatMountMask::STATMOUNT_OPT_ARRAY)
    .union(StatMountMask::STATMOUNT_OPT_SEC_ARRAY)
    .union(StatMountMask::STATMOUNT_MNT_UIDMAP)
    .union(StatMountMask::STATMOUNT_MNT_GIDMAP);

/// Reads what is asked for, of this namespace.
fn read_request(task: &CurrentTask, request: UserPtr<MntIdReq>) -> Result<MntIdReq, Errno> {
    let size: u32 = task.read_value(UserPtr::new(request.address()))?;
    if u64::from(size) > PAGE_SIZE {
        return Err(Errno::E2BIG);
    }
    if size < REQUEST_SIZE_VER0 {
        return Err(Errno::EINVAL);
    }
    let asked: MntIdReq = task.read_versioned(request.address(), size as usize)?;
    if asked.mnt_ns_fd != 0 && asked.mnt_ns_id != 0 || asked.mnt_id <= Mount::UNIQUE_OFFSET {
        return Err(Errno::EINVAL);
    }
    Ok(asked)
}

/// `ENOENT` for a request about another namespace.
fn check_namespace(task: &CurrentTask, asked: &MntIdReq) -> Result<(), Errno> {
    if asked.mnt_ns_fd != 0 {
        let fd = i32::try_from(asked.mnt_ns_fd).map_err(|_| Errno::EBADF)?;
        let _file = task.fd_table().get_any(FdNumber(fd))?;
        return Err(Errno::EINVAL);
    }
    let own = u64::from(task.fs_context().namespace().identity());
    if asked.mnt_ns_id == 0 || asked.mnt_ns_id == own { Ok(()) } else { Err(Errno::ENOENT) }
}

/// What there is to tell of the mount with this unique number: `ENOENT`; `EPERM` for what cannot be reached from the caller's root.
fn find(task: &CurrentTask, unique: u64, root: &Path) -> Result<MountReport, Errno> {
    let id = unique.checked_sub(Mount::UNIQUE_OFFSET).ok_or(Errno::ENOENT)?;
    let fs = task.fs_context();
    let (report, reached) = fs.namespace().report(id, root).ok_or(Errno::ENOENT)?;
    if reached || task.credentials().has_capability_in(Capability::CAP_SYS_ADMIN, fs.namespace().owner()) {
        Ok(report)
    } else {
        Err(Errno::EPERM)
    }
}

/// `listmount(2)`.
pub fn listmount(
    task: &CurrentTask,
    request: UserPtr<MntIdReq>,
    numbers: UserPtr<u64>,
    count: usize,
    flags: u32,
) -> SysResult<usize> {
    if flags & !REVERSE != 0 {
        return Err(Errno::EINVAL.into());
    }
    if count > MOST_LISTED {
        return Err(Errno::EOVERFLOW.into());
    }
    let asked = read_request(task, request)?;
    let last = match asked.param {
        0 => None,
        last => Some(last.checked_sub(Mount::UNIQUE_OFFSET).filter(|&last| last > 0).ok_or(Errno::EINVAL)?),
    };
    check_namespace(task, &asked)?;
    let fs = task.fs_context();
    let root = fs.root();
    let (place, except) = match asked.mnt_id {
        ROOT => (root, None),
        unique => {
            let mount = find(task, unique, &root)?.mount;
            (mount.root_path().ok_or(Errno::ENOENT)?, Some(mount.id()))
        }
    };
    let order = if flags == REVERSE { ListOrder::Backward } else { ListOrder::Forward };
    let found = fs.namespace().list(&place, except, last, count, order);
    let unique: Vec<u64> = found.iter().map(|id| Mount::UNIQUE_OFFSET + id).collect();
    task.write_slice(numbers, &unique)?;
    Ok(unique.len())
}

/// `statmount(2)`.
pub fn statmount(
    task: &CurrentTask,
    request: UserPtr<MntIdReq>,
    buffer: UserAddr,
    size: usize,
    flags: u32,
) -> SysResult<()> {
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let asked = read_request(task, request)?;
    check_namespace(task, &asked)?;
    let wanted = StatMountMask::from_bits_truncate(asked.param);
    if wanted.intersects(STRINGS) && size <= size_of::<StatMount>() {
        return Err(Errno::EOVERFLOW.into());
    }
    let fs = task.fs_context();
    let root = fs.root();
    let report = find(task, asked.mnt_id, &root)?;
    let mut answer = Answer { wanted, ..Answer::default() };
    answer.numbers(&report, fs.namespace());
    if wanted.intersects(STRINGS) {
        answer.texts(&report, &root);
    }
    let copied = size.min(size_of::<StatMount>());
    let total = copied.checked_add(answer.strings.len()).ok_or(Errno::EOVERFLOW)?;
    if total > size {
        return Err(Errno::EOVERFLOW.into());
    }
    answer.status.size = u32::try_from(total).map_err(|_| Errno::EOVERFLOW)?;
    task.write_bytes(buffer.checked_add(copied as u64)?, &answer.strings)?;
    let status = answer.status.as_bytes().get(..copied).ok_or(Errno::EOVERFLOW)?;
    Ok(task.write_bytes(buffer, status)?)
}

/// An answer in the making.
#[derive(Default)]
struct Answer {
    wanted: StatMountMask,
    status: StatMount,
    strings: FsString,
}

impl Answer {
    /// Whether that is wanted; it is told then.
    fn tell(&mut self, what: StatMountMask) -> bool {
        let wanted = self.wanted.contains(what);
        if wanted {
            self.status.mask |= what.bits();
        }
        wanted
    }

    fn numbers(&mut self, report: &MountReport, namespace: &MountNamespace) {
        let mount = &report.mount;
        if self.tell(StatMountMask::STATMOUNT_SB_BASIC) {
            let filesystem = mount.filesystem();
            self.status.sb_dev_major = filesystem.device.major();
            self.status.sb_dev_minor = filesystem.device.minor();
            self.status.sb_magic = filesystem.ops().statistics().map_or(0, |statistics| statistics.magic);
            let read_only = if filesystem.is_read_only() { Request::MS_RDONLY } else { Request::empty() };
            self.status.sb_flags = u32::try_from(read_only.bits()).unwrap_or_default();
        }
        if self.tell(StatMountMask::STATMOUNT_MNT_BASIC) {
            self.status.mnt_id = mount.unique_id();
            self.status.mnt_parent_id = Mount::UNIQUE_OFFSET + report.parent;
            self.status.mnt_id_old = u32::try_from(mount.id()).unwrap_or(u32::MAX);
            self.status.mnt_parent_id_old = u32::try_from(report.parent).unwrap_or(u32::MAX);
            self.status.mnt_attr = attributes_of(mount.flags()).bits();
            self.status.mnt_propagation = propagation_of(report).bits();
            self.status.mnt_peer_group = report.group.map_or(0, u64::from);
            self.status.mnt_master = report.master.map_or(0, u64::from);
        }
        if self.tell(StatMountMask::STATMOUNT_PROPAGATE_FROM) {
            self.status.propagate_from = report.seen_master.map_or(0, u64::from);
        }
        if self.tell(StatMountMask::STATMOUNT_MNT_NS_ID) {
            self.status.mnt_ns_id = u64::from(namespace.identity());
        }
        if self.tell(StatMountMask::STATMOUNT_SUPPORTED_MASK) {
            self.status.supported_mask = StatMountMask::all().bits();
        }
    }

    fn texts(&mut self, report: &MountReport, root: &Path) {
        // Fields of what is not told lead to an empty string.
        self.strings.push(0);
        let mount = &report.mount;
        let ops = mount.filesystem().ops();
        self.status.fs_type = self.text(StatMountMask::STATMOUNT_FS_TYPE, ops.type_name().as_bytes());
        self.status.mnt_root = self.text(StatMountMask::STATMOUNT_MNT_ROOT, &report.shown());
        let point = mount.root_path().and_then(|place| place.text(root)).unwrap_or_default();
        self.status.mnt_point = self.text(StatMountMask::STATMOUNT_MNT_POINT, &point);
        let options = ops.options();
        self.status.mnt_opts = self.text(StatMountMask::STATMOUNT_MNT_OPTS, options.as_bytes());
        let list = options.replace(',', "\0");
        self.status.opt_array = self.text(StatMountMask::STATMOUNT_OPT_ARRAY, list.as_bytes());
        if self.status.opt_array != 0 {
            self.status.opt_num = u32::try_from(options.split(',').count()).unwrap_or_default();
        }
        self.status.sb_source = self.text(StatMountMask::STATMOUNT_SB_SOURCE, mount.source());
    }

    /// Adds a string, if that is wanted and not empty; where it starts.
    fn text(&mut self, what: StatMountMask, text: &[u8]) -> u32 {
        if text.is_empty() || !self.tell(what) {
            return 0;
        }
        let start = u32::try_from(self.strings.len()).unwrap_or_default();
        self.strings.extend_from_slice(text);
        self.strings.push(0);
        start
    }
}

/// How a mount propagates, as flags of `mount(2)`.
fn propagation_of(report: &MountReport) -> Request {
    let mut flags = Request::empty();
    flags.set(Request::MS_SHARED, report.group.is_some());
    flags.set(Request::MS_SLAVE, report.master.is_some());
    flags.set(Request::MS_UNBINDABLE, report.unbindable);
    if flags.is_empty() { Request::MS_PRIVATE } else { flags }
}

/// The flags of a mount as attributes.
fn attributes_of(flags: MountFlags) -> MountAttributes {
    let pairs = [
        (MountAttributes::MOUNT_ATTR_RDONLY, MountFlags::READ_ONLY),
        (MountAttributes::MOUNT_ATTR_NOSUID, MountFlags::NO_SUID),
        (MountAttributes::MOUNT_ATTR_NODEV, MountFlags::NO_DEV),
        (MountAttributes::MOUNT_ATTR_NOEXEC, MountFlags::NO_EXEC),
        (MountAttributes::MOUNT_ATTR_NODIRATIME, MountFlags::NO_DIR_ATIME),
        (MountAttributes::MOUNT_ATTR_NOSYMFOLLOW, MountFlags::NO_SYMFOLLOW),
        (MountAttributes::MOUNT_ATTR_NOATIME, MountFlags::NO_ATIME),
    ];
    let named = pairs.into_iter().filter(|(_, ours)| flags.contains(*ours));
    let mut attributes: MountAttributes = named.map(|(theirs, _)| theirs).collect();
    if !flags.intersects(MountFlags::RELATIME | MountFlags::NO_ATIME) {
        attributes |= MountAttributes::MOUNT_ATTR_STRICTATIME;
    }
    attributes
}

//! System V shared memory: `shmget`, `shmat`, `shmdt`, `shmctl`.

use std::sync::Arc;

use bartizan_abi::ipc::{
    IPC_INFO, IPC_RMID, IPC_SET, IPC_STAT, IpcFlags, SHM_INFO, SHM_LOCK, SHM_STAT, SHM_STAT_ANY, SHM_UNLOCK,
    SHMMIN, ShmAttachFlags, ShmInfo, ShmInfoLimits, ShmidDs,
};
use bartizan_abi::{Capability, Errno, Resource};
use bartizan_platform::Access;
use bartizan_platform::memory::PAGE_SIZE;

use crate::SysResult;
use crate::kernel::sysv::{GetRequest, Permissions, Segment, SegmentReport};
use crate::kernel::{CurrentTask, UserNamespace};
use crate::mm::{AreaFlags, MapBacking, MapPlacement, MapRequest, PageSource, UserAddr, UserPtr};

/// Permission to execute, for any of user, group and others.
const EXECUTE: u32 = 0o111;

/// `shmget(2)`.
pub fn shmget(task: &CurrentTask, key: i32, size: u64, flags: IpcFlags) -> SysResult<i32> {
    let limits = task.ipc().limits();
    let credentials = task.credentials();
    let request = GetRequest { key, flags, credentials: &credentials, limit: limits.shmmni };
    let check = |segment: &Segment| if size > segment.size() { Err(Errno::EINVAL) } else { Ok(()) };
    let id = task.ipc().segments.get(&request, check, |id, permissions| {
        if size < SHMMIN || size > limits.shmmax {
            return Err(Errno::EINVAL);
        }
        let impossible = size > task.kernel().memory().limit() && !flags.contains(IpcFlags::SHM_NORESERVE);
        // No huge pages are reserved.
        if impossible || flags.contains(IpcFlags::SHM_HUGETLB) {
            return Err(Errno::ENOMEM);
        }
        Segment::new(&task.ipc(), task.kernel().memory(), (id, permissions), size, task.pid())
    })?;
    Ok(id)
}

/// `shmat(2)`.
pub fn shmat(task: &CurrentTask, id: i32, address: UserAddr, flags: ShmAttachFlags) -> SysResult<UserAddr> {
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    let placement = placement(address, flags)?;
    let mut access = Access::READ;
    let mut wanted = Permissions::READ;
    if !flags.contains(ShmAttachFlags::SHM_RDONLY) {
        access |= Access::WRITE;
        wanted |= Permissions::WRITE;
    }
    if flags.contains(ShmAttachFlags::SHM_EXEC) {
        access |= Access::EXECUTE;
        wanted |= EXECUTE;
    }
    let segment = task.ipc().segments.find(id)?;
    let _hold = segment.prepare_attach(&task.credentials(), wanted, task.pid())?;
    let may = if access.contains(Access::WRITE) { Access::all() } else { Access::READ | Access::EXECUTE };
    let length = segment.size();
    let request = MapRequest {
        may,
        flags: AreaFlags::SHARED,
        backing: MapBacking::Source { source: segment as Arc<dyn PageSource>, file: None, offset: 0 },
        ..MapRequest::anonymous(placement, length, access)
    };
    let attached = task.mm().map(&request).map_err(|errno| match errno {
        // The address does not suit.
        Errno::EEXIST => Errno::EINVAL,
        errno => errno,
    })?;
    Ok(attached)
}

/// Where it is attached.
fn placement(address: UserAddr, flags: ShmAttachFlags) -> Result<MapPlacement, Errno> {
    let remap = flags.contains(ShmAttachFlags::SHM_REMAP);
    if address.0 == 0 {
        return if remap { Err(Errno::EINVAL) } else { Ok(MapPlacement::Anywhere(0)) };
    }
    let mut start = address.0;
    if !start.is_multiple_of(PAGE_SIZE) {
        if !flags.contains(ShmAttachFlags::SHM_RND) {
            return Err(Errno::EINVAL);
        }
        start &= !(PAGE_SIZE - 1);
        if start == 0 && remap {
            return Err(Errno::EINVAL);
        }
    }
    Ok(if remap { MapPlacement::Fixed(start) } else { MapPlacement::FixedNoReplace(start) })
}

/// `shmdt(2)`.
pub fn shmdt(task: &CurrentTask, address: UserAddr) -> SysResult<()> {
    Ok(task.mm().detach(address, task.pid())?)
}

/// `shmctl(2)`.
pub fn shmctl(task: &CurrentTask, id: i32, command: i32, pointer: UserAddr) -> SysResult<i32> {
    if id < 0 || command < 0 {
        return Err(Errno::EINVAL.into());
    }
    let ipc = task.ipc();
    let segments = &ipc.segments;
    let credentials = task.credentials();
    match command {
        IPC_INFO => {
            task.write_value(UserPtr::new(pointer), &limits(task))?;
            Ok(segments.highest_index())
        }
        SHM_INFO => {
            task.write_value(UserPtr::new(pointer), &info(task))?;
            Ok(segments.highest_index())
        }
        IPC_STAT => {
            let report = segments.find(id)?.stat(&credentials)?;
            task.write_value(UserPtr::new(pointer), &description(&task.user_namespace(), &report))?;
            Ok(0)
        }
        SHM_STAT | SHM_STAT_ANY => {
            let segment = segments.at_index(id)?;
            let report = if command == SHM_STAT { segment.stat(&credentials)? } else { segment.report() };
            task.write_value(UserPtr::new(pointer), &description(&task.user_namespace(), &report))?;
            Ok(report.id)
        }
        IPC_SET => {
            let new: ShmidDs = task.read_value(UserPtr::new(pointer))?;
            segments.find(id)?.change(&credentials, &new.shm_perm)?;
            Ok(0)
        }
        IPC_RMID => {
            segments.find(id)?.remove(&task.ipc(), &credentials)?;
            Ok(0)
        }
        SHM_LOCK | SHM_UNLOCK => {
            let segment = segments.find(id)?;
            check_lock(task, &segment, command)?;
            segment.set_locked((command == SHM_LOCK).then(|| task.credentials().uid));
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// Whether the caller may lock or unlock a segment.
fn check_lock(task: &CurrentTask, segment: &Segment, command: i32) -> Result<(), Errno> {
    let credentials = task.credentials();
    if credentials.has_capability(Capability::CAP_IPC_LOCK) {
        return Ok(());
    }
    let permissions = segment.report().permissions;
    let owner = [permissions.uid, permissions.cuid].contains(&credentials.euid);
    let limit = task.group().limits().soft(Resource::RLIMIT_MEMLOCK);
    if !owner || command == SHM_LOCK && limit == 0 {
        return Err(Errno::EPERM);
    }
    if command == SHM_UNLOCK || segment.locked_by(credentials.uid) != 0 {
        return Ok(());
    }
    // The user may lock so much, by whichever processes.
    let segments = task.ipc().segments.all();
    let locked: u64 = segments.iter().map(|segment| segment.locked_by(credentials.uid)).sum();
    let pages = |bytes: u64| bytes.div_ceil(PAGE_SIZE);
    if pages(locked) + pages(segment.size()) > limit / PAGE_SIZE { Err(Errno::ENOMEM) } else { Ok(()) }
}

fn limits(task: &CurrentTask) -> ShmInfoLimits {
    let limits = task.ipc().limits();
    ShmInfoLimits {
        shmmax: limits.shmmax,
        shmmin: SHMMIN,
        shmmni: limits.shmmni,
        shmseg: limits.shmmni,
        shmall: limits.shmall,
        ..ShmInfoLimits::default()
    }
}

fn info(task: &CurrentTask) -> ShmInfo {
    let reports: Vec<SegmentReport> =
        task.ipc().segments.all().iter().map(|segment| segment.report()).collect();
    ShmInfo {
        used_ids: super::sysv_semaphore::limit(reports.len() as u64),
        shm_tot: reports.iter().map(|report| report.size.div_ceil(PAGE_SIZE)).sum(),
        shm_rss: reports.iter().map(|report| report.resident / PAGE_SIZE).sum(),
        ..ShmInfo::default()
    }
}

fn description(ids: &UserNamespace, report: &SegmentReport) -> ShmidDs {
    ShmidDs {
        shm_perm: report.permissions.told(ids),
        shm_segsz: report.size,
        shm_atime: report.attached,
        shm_dtime: report.detached,
        shm_ctime: report.changed,
        shm_cpid: report.creator,
        shm_lpid: report.last,
        shm_nattch: report.attachments,
        ..ShmidDs::default()
    }
}

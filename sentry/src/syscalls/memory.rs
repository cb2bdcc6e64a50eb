//! Memory: `mmap`, `munmap`, `mprotect`, `mremap`, `brk`, `madvise`, `mincore`, `msync`, `mlock` and their kin.

use std::sync::Arc;

use bartizan_abi::{
    Capability, Errno, MadviseAdvice, MapFlags, MapType, MlockFlags, MlockallFlags, MremapFlags, MsyncFlags,
    ProtFlags,
};
use bartizan_platform::Access;
use bartizan_platform::memory::PAGE_SIZE;

use crate::SysResult;
use crate::kernel::CurrentTask;
use crate::mm::{
    AreaFlags, LockAll, LockMode, LockPrivilege, MapBacking, MapPlacement, MapPopulate, MapRequest,
    PageSource, ProtectFrom, RemapPlacement, SharedMemory, SyncMode, UserAddr, access_of,
};
use crate::vfs::{FdNumber, File, touch_accessed};

/// How many pages `mincore` reports in one go.
const MINCORE_PAGES: u64 = 4096;

/// Device and inode number that `/proc/[pid]/maps` shows for shared anonymous memory.
const SHARED_ANONYMOUS_IDENTITY: (u64, u64) = (1, 0);

/// `mmap(2)`.
pub fn mmap(
    task: &CurrentTask,
    address: UserAddr,
    length: u64,
    protection: ProtFlags,
    flags: MapFlags,
    fd: FdNumber,
    offset: u64,
) -> SysResult<UserAddr> {
    if !offset.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL.into());
    }
    // As Linux, the descriptor is looked at before everything else.
    let file = match flags.contains(MapFlags::MAP_ANONYMOUS) {
        true => None,
        false => Some(task.fd_table().get(fd)?),
    };
    if flags.contains(MapFlags::MAP_HUGETLB) {
        // No huge pages are reserved.
        return Err(if file.is_some() { Errno::EINVAL } else { Errno::ENOMEM }.into());
    }
    if length == 0 {
        return Err(Errno::EINVAL.into());
    }
    if file.is_some() && offset.checked_add(length).is_none_or(|end| i64::try_from(end).is_err()) {
        return Err(Errno::EOVERFLOW.into());
    }
    let kind = flags.map_type().ok_or(Errno::EINVAL)?;
    let populate = flags.contains(MapFlags::MAP_POPULATE) && !flags.contains(MapFlags::MAP_NONBLOCK);
    let plain = MapRequest {
        populate: if populate { MapPopulate::Now } else { MapPopulate::Later },
        flags: area_flags(flags),
        privilege: lock_privilege(task),
        ..MapRequest::anonymous(placement(address, flags), length, access_of(protection))
    };
    if flags.contains(MapFlags::MAP_LOCKED)
        && plain.privilege == LockPrivilege::Limited
        && task.mm().limits().locked == 0
    {
        return Err(Errno::EPERM.into());
    }
    let request = match file {
        None => anonymous_request(task, plain, kind, flags)?,
        Some(file) => file_request(&plain, kind, flags, file, offset)?,
    };
    Ok(task.mm().map(&request)?)
}

fn placement(address: UserAddr, flags: MapFlags) -> MapPlacement {
    if flags.contains(MapFlags::MAP_FIXED_NOREPLACE) {
        MapPlacement::FixedNoReplace(address.0)
    } else if flags.contains(MapFlags::MAP_FIXED) {
        MapPlacement::Fixed(address.0)
    } else if flags.contains(MapFlags::MAP_32BIT) {
        MapPlacement::Low(address.0)
    } else {
        MapPlacement::Anywhere(address.0)
    }
}

fn area_flags(flags: MapFlags) -> AreaFlags {
    let mut area = AreaFlags::empty();
    area.set(AreaFlags::LOCKED, flags.contains(MapFlags::MAP_LOCKED));
    area.set(AreaFlags::NO_RESERVE, flags.contains(MapFlags::MAP_NORESERVE));
    area
}

/// A mapping without a file.
fn anonymous_request(
    task: &CurrentTask,
    plain: MapRequest,
    kind: MapType,
    flags: MapFlags,
) -> Result<MapRequest, Errno> {
    let grows = flags.contains(MapFlags::MAP_GROWSDOWN);
    match kind {
        MapType::Private => {
            let mut area = plain.flags;
            area.set(AreaFlags::GROWS_DOWN, grows);
            Ok(MapRequest { flags: area, ..plain })
        }
        MapType::Droppable if grows || flags.contains(MapFlags::MAP_LOCKED) => Err(Errno::EINVAL),
        MapType::Droppable => {
            let droppable = AreaFlags::NO_RESERVE | AreaFlags::WIPE_ON_FORK | AreaFlags::DONT_DUMP;
            Ok(MapRequest { flags: plain.flags | droppable, ..plain })
        }
        MapType::SharedValidate => Err(Errno::EINVAL),
        MapType::Shared if grows => Err(Errno::EINVAL),
        MapType::Shared => {
            let source = SharedMemory::new(task.kernel().memory(), plain.length, SHARED_ANONYMOUS_IDENTITY);
            Ok(MapRequest {
                flags: plain.flags | AreaFlags::SHARED,
                backing: MapBacking::Source { source, file: None, offset: 0 },
                ..plain
            })
        }
    }
}

/// A mapping of a file, as far as the way in which it was opened allows it.
fn file_request(
    plain: &MapRequest,
    kind: MapType,
    flags: MapFlags,
    file: Arc<File>,
    offset: u64,
) -> Result<MapRequest, Errno> {
    let opened = file.flags();
    let shared = match kind {
        MapType::Shared => true,
        MapType::SharedValidate if MapFlags::LEGACY.contains(flags) => true,
        MapType::SharedValidate => return Err(Errno::EOPNOTSUPP),
        MapType::Private => false,
        MapType::Droppable => return Err(Errno::EINVAL),
    };
    let mut may = Access::all();
    let mut area = plain.flags;
    if shared {
        area |= AreaFlags::SHARED;
        if !opened.writable() {
            if plain.access.contains(Access::WRITE) {
                return Err(Errno::EACCES);
            }
            may.remove(Access::WRITE);
        }
    }
    if !opened.readable() {
        return Err(Errno::EACCES);
    }
    let source: Arc<dyn PageSource> = file.ops().page_source(&file)?;
    touch_accessed(file.path(), opened);
    if flags.contains(MapFlags::MAP_GROWSDOWN) {
        return Err(Errno::EINVAL);
    }
    if shared && !source.writable() {
        if plain.access.contains(Access::WRITE) {
            return Err(Errno::EACCES);
        }
        may.remove(Access::WRITE);
    }
    Ok(MapRequest {
        flags: area,
        may,
        backing: MapBacking::Source { source, file: Some(file), offset },
        ..plain.clone()
    })
}

fn lock_privilege(task: &CurrentTask) -> LockPrivilege {
    if task.credentials().effective.has(Capability::CAP_IPC_LOCK) {
        LockPrivilege::Unlimited
    } else {
        LockPrivilege::Limited
    }
}

/// `munmap(2)`.
pub fn munmap(task: &CurrentTask, address: UserAddr, length: u64) -> SysResult<()> {
    Ok(task.mm().unmap(address, length)?)
}

/// `mprotect(2)`.
pub fn mprotect(task: &CurrentTask, address: UserAddr, length: u64, protection: ProtFlags) -> SysResult<()> {
    let grows = protection & (ProtFlags::PROT_GROWSDOWN | ProtFlags::PROT_GROWSUP);
    if grows == (ProtFlags::PROT_GROWSDOWN | ProtFlags::PROT_GROWSUP) || !address.0.is_multiple_of(PAGE_SIZE)
    {
        return Err(Errno::EINVAL.into());
    }
    if length == 0 {
        return Ok(());
    }
    let rest = protection.difference(grows | ProtFlags::ACCESS | ProtFlags::PROT_SEM);
    // No area of this processor grows upwards.
    if !rest.is_empty() || grows == ProtFlags::PROT_GROWSUP {
        return Err(Errno::EINVAL.into());
    }
    let from = if grows.is_empty() { ProtectFrom::Address } else { ProtectFrom::StackStart };
    Ok(task.mm().protect(address, length, access_of(protection), from)?)
}

/// `pkey_mprotect(2)`, on a processor without protection keys.
pub fn pkey_mprotect(
    task: &CurrentTask,
    address: UserAddr,
    length: u64,
    protection: ProtFlags,
    key: i32,
) -> SysResult<()> {
    if key == -1 { mprotect(task, address, length, protection) } else { Err(Errno::EINVAL.into()) }
}

/// `pkey_alloc(2)`, on a processor without protection keys.
pub fn pkey_alloc(_task: &CurrentTask, flags: u64, rights: u64) -> SysResult<i32> {
    const PKEY_ACCESS_MASK: u64 = 3;
    if flags != 0 || rights & !PKEY_ACCESS_MASK != 0 {
        return Err(Errno::EINVAL.into());
    }
    Err(Errno::ENOSPC.into())
}

/// `pkey_free(2)`, on a processor without protection keys.
pub fn pkey_free(_task: &CurrentTask, _key: i32) -> SysResult<()> {
    Err(Errno::EINVAL.into())
}

/// `mremap(2)`.
pub fn mremap(
    task: &CurrentTask,
    address: UserAddr,
    old_length: u64,
    new_length: u64,
    flags: MremapFlags,
    target: UserAddr,
) -> SysResult<UserAddr> {
    let may_move = flags.contains(MremapFlags::MREMAP_MAYMOVE);
    let fixed = flags.contains(MremapFlags::MREMAP_FIXED);
    let keep = flags.contains(MremapFlags::MREMAP_DONTUNMAP);
    if !MremapFlags::all().contains(flags) || (!may_move && (fixed || keep)) {
        return Err(Errno::EINVAL.into());
    }
    let placement = match (keep, fixed, may_move) {
        (true, ..) => RemapPlacement::KeepOld(fixed.then_some(target)),
        (false, true, _) => RemapPlacement::Fixed(target),
        (false, false, true) => RemapPlacement::MayMove,
        (false, false, false) => RemapPlacement::InPlace,
    };
    Ok(task.mm().remap(address, old_length, new_length, placement, lock_privilege(task))?)
}

/// `brk(2)`: always the end of the heap as it is afterwards.
pub fn brk(task: &CurrentTask, address: UserAddr) -> SysResult<UserAddr> {
    Ok(UserAddr(task.mm().set_brk(address.0, lock_privilege(task))))
}

/// `madvise(2)`.
pub fn madvise(task: &CurrentTask, address: UserAddr, length: u64, advice: i32) -> SysResult<()> {
    let advice = MadviseAdvice::try_from(advice)?;
    Ok(task.mm().advise(address, length, advice)?)
}

/// `mincore(2)`.
pub fn mincore(task: &CurrentTask, address: UserAddr, length: u64, vector: UserAddr) -> SysResult<()> {
    if !address.0.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL.into());
    }
    let length = length.checked_next_multiple_of(PAGE_SIZE).ok_or(Errno::ENOMEM)?;
    address.0.checked_add(length).ok_or(Errno::ENOMEM)?;
    let mm = task.mm();
    for start in (0..length / PAGE_SIZE).step_by(MINCORE_PAGES as usize) {
        let pages = (length / PAGE_SIZE - start).min(MINCORE_PAGES);
        let resident = mm.resident_pages(UserAddr(address.0 + start * PAGE_SIZE), pages * PAGE_SIZE)?;
        mm.write_bytes(vector.checked_add(start)?, &resident)?;
    }
    Ok(())
}

/// `msync(2)`.
pub fn msync(task: &CurrentTask, address: UserAddr, length: u64, flags: MsyncFlags) -> SysResult<()> {
    let both = MsyncFlags::MS_ASYNC | MsyncFlags::MS_SYNC;
    if !MsyncFlags::all().contains(flags) || flags.contains(both) || !address.0.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL.into());
    }
    let mm = task.mm();
    if flags.contains(MsyncFlags::MS_INVALIDATE) && mm.any_locked(address, length) {
        return Err(Errno::EBUSY.into());
    }
    let mode = if flags.contains(MsyncFlags::MS_SYNC) { SyncMode::Now } else { SyncMode::Later };
    Ok(mm.sync(address, length, mode)?)
}

/// `mlock(2)`.
pub fn mlock(task: &CurrentTask, address: UserAddr, length: u64) -> SysResult<()> {
    Ok(task.mm().lock(address, length, LockMode::Now, lock_privilege(task))?)
}

/// `mlock2(2)`.
pub fn mlock2(task: &CurrentTask, address: UserAddr, length: u64, flags: MlockFlags) -> SysResult<()> {
    if !MlockFlags::all().contains(flags) {
        return Err(Errno::EINVAL.into());
    }
    let on_fault = flags.contains(MlockFlags::MLOCK_ONFAULT);
    let mode = if on_fault { LockMode::OnFault } else { LockMode::Now };
    Ok(task.mm().lock(address, length, mode, lock_privilege(task))?)
}

/// `munlock(2)`.
pub fn munlock(task: &CurrentTask, address: UserAddr, length: u64) -> SysResult<()> {
    Ok(task.mm().unlock(address, length)?)
}

/// `mlockall(2)`.
pub fn mlockall(task: &CurrentTask, flags: MlockallFlags) -> SysResult<()> {
    let current = flags.contains(MlockallFlags::MCL_CURRENT);
    let future = flags.contains(MlockallFlags::MCL_FUTURE);
    let which = match (MlockallFlags::all().contains(flags), current, future) {
        (true, true, true) => LockAll::CurrentAndFuture,
        (true, true, false) => LockAll::Current,
        (true, false, true) => LockAll::Future,
        _ => return Err(Errno::EINVAL.into()),
    };
    let on_fault = flags.contains(MlockallFlags::MCL_ONFAULT);
    let mode = if on_fault { LockMode::OnFault } else { LockMode::Now };
    Ok(task.mm().lock_all(which, mode, lock_privilege(task))?)
}

/// `munlockall(2)`.
pub fn munlockall(task: &CurrentTask) -> SysResult<()> {
    task.mm().unlock_all();
    Ok(())
}

/// `remap_file_pages(2)`, which Linux itself makes of `mmap` since 4.0.
pub fn remap_file_pages(
    task: &CurrentTask,
    address: UserAddr,
    length: u64,
    protection: u64,
    page_offset: u64,
    _flags: u64,
) -> SysResult<()> {
    if protection != 0 {
        return Err(Errno::EINVAL.into());
    }
    Ok(task.mm().remap_file_pages(address.page(), length & !(PAGE_SIZE - 1), page_offset)?)
}

/// `mbind(2)`, `set_mempolicy(2)`, `get_mempolicy(2)`, `migrate_pages(2)`, `move_pages(2)`, `set_mempolicy_home_node(2)` on a
/// kernel without NUMA.
pub fn without_numa(_task: &CurrentTask) -> SysResult<()> {
    Err(Errno::ENOSYS.into())
}

//! `prctl(PR_SET_MM)`: where a process says that its parts are.

use std::sync::Arc;

use bartizan_abi::prctl::{
    PR_SET_MM_ARG_END, PR_SET_MM_ARG_START, PR_SET_MM_AUXV, PR_SET_MM_BRK, PR_SET_MM_END_CODE,
    PR_SET_MM_END_DATA, PR_SET_MM_ENV_END, PR_SET_MM_ENV_START, PR_SET_MM_EXE_FILE, PR_SET_MM_MAP,
    PR_SET_MM_MAP_SIZE, PR_SET_MM_START_BRK, PR_SET_MM_START_CODE, PR_SET_MM_START_DATA,
    PR_SET_MM_START_STACK, PrctlMmMap,
};
use bartizan_abi::{Capability, Errno};

use crate::SysResult;
use crate::kernel::CurrentTask;
use crate::mm::{Layout, MMAP_MIN_ADDR, UserAddr, UserPtr};
use crate::vfs::FdNumber;

/// Bytes of the longest auxiliary vector that a process may have (`AT_VECTOR_SIZE`, of 8 bytes each).
const MOST_AUXILIARY: usize = 8 * 52;
/// Bytes of the two words that end it.
const END: usize = 16;

/// `prctl(PR_SET_MM)`.
pub(super) fn set_mm(task: &CurrentTask, option: u64, value: u64, size: u64, fifth: u64) -> SysResult<u64> {
    let takes_size = [PR_SET_MM_AUXV, PR_SET_MM_MAP, PR_SET_MM_MAP_SIZE].contains(&option);
    if fifth != 0 || size != 0 && !takes_size {
        return Err(Errno::EINVAL.into());
    }
    match option {
        PR_SET_MM_MAP_SIZE => {
            let size = size_of::<PrctlMmMap>() as u32;
            task.write_value(UserPtr::new(UserAddr(value)), &size)?;
            return Ok(0);
        }
        PR_SET_MM_MAP => return set_all(task, UserAddr(value), size),
        _ => {}
    }
    if !task.credentials().has_capability(Capability::CAP_SYS_RESOURCE) {
        return Err(Errno::EPERM.into());
    }
    match option {
        PR_SET_MM_EXE_FILE => set_executable(task, value),
        PR_SET_MM_AUXV => set_auxiliary_vector(task, UserAddr(value), size),
        _ => set_one(task, option, value),
    }
}

fn set_one(task: &CurrentTask, option: u64, value: u64) -> SysResult<u64> {
    let mm = task.mm();
    check_address(task, value)?;
    let mut new = mm.layout();
    let (field, needs_area) = match option {
        PR_SET_MM_START_CODE => (&mut new.start_code, false),
        PR_SET_MM_END_CODE => (&mut new.end_code, false),
        PR_SET_MM_START_DATA => (&mut new.start_data, false),
        PR_SET_MM_END_DATA => (&mut new.end_data, false),
        PR_SET_MM_START_BRK => (&mut new.start_brk, false),
        PR_SET_MM_BRK => (&mut new.brk, false),
        PR_SET_MM_START_STACK => (&mut new.start_stack, true),
        PR_SET_MM_ARG_START => (&mut new.arg_start, true),
        PR_SET_MM_ARG_END => (&mut new.arg_end, true),
        PR_SET_MM_ENV_START => (&mut new.env_start, true),
        PR_SET_MM_ENV_END => (&mut new.env_end, true),
        _ => return Err(Errno::EINVAL.into()),
    };
    *field = value;
    check_layout(task, &new)?;
    // As Linux: some area has to end above it.
    if needs_area && mm.areas().last().is_none_or(|last| last.range.end <= value) {
        return Err(Errno::EFAULT.into());
    }
    mm.update_layout(|layout| *layout = new);
    Ok(0)
}

fn check_address(task: &CurrentTask, value: u64) -> Result<(), Errno> {
    let end = task.kernel().platform().user_addresses().end;
    if (MMAP_MIN_ADDR..end).contains(&value) { Ok(()) } else { Err(Errno::EINVAL) }
}

/// `validate_prctl_map_addr`.
fn check_layout(task: &CurrentTask, layout: &Layout) -> Result<(), Errno> {
    let all = [
        layout.start_code,
        layout.end_code,
        layout.start_data,
        layout.end_data,
        layout.start_brk,
        layout.brk,
        layout.start_stack,
        layout.arg_start,
        layout.arg_end,
        layout.env_start,
        layout.env_end,
    ];
    all.iter().try_for_each(|&address| check_address(task, address))?;
    let ordered = layout.start_code < layout.end_code
        && layout.start_data <= layout.end_data
        && layout.start_brk <= layout.brk
        && layout.arg_start <= layout.arg_end
        && layout.env_start <= layout.env_end;
    if !ordered {
        return Err(Errno::EINVAL);
    }
    let data = (layout.brk - layout.start_brk).checked_add(layout.end_data - layout.start_data);
    if data.is_none_or(|data| data > task.mm().limits().data) { Err(Errno::EINVAL) } else { Ok(()) }
}

fn set_all(task: &CurrentTask, address: UserAddr, size: u64) -> SysResult<u64> {
    if size != size_of::<PrctlMmMap>() as u64 {
        return Err(Errno::EINVAL.into());
    }
    let map: PrctlMmMap = task.read_value(UserPtr::new(address))?;
    let mm = task.mm();
    let new = Layout {
        start_code: map.start_code,
        end_code: map.end_code,
        start_data: map.start_data,
        end_data: map.end_data,
        start_brk: map.start_brk,
        brk: map.brk,
        start_stack: map.start_stack,
        arg_start: map.arg_start,
        arg_end: map.arg_end,
        env_start: map.env_start,
        env_end: map.env_end,
        mmap_base: mm.layout().mmap_base,
    };
    check_layout(task, &new)?;
    let auxiliary = match map.auxv_size as usize {
        0 => None,
        size if map.auxv == 0 || size > MOST_AUXILIARY => return Err(Errno::EINVAL.into()),
        size => Some(read_auxiliary_vector(task, UserAddr(map.auxv), size)?),
    };
    if map.exe_fd != u32::MAX {
        let credentials = task.credentials();
        if !credentials.has_own_capability(Capability::CAP_CHECKPOINT_RESTORE)
            && !credentials.has_own_capability(Capability::CAP_SYS_ADMIN)
        {
            return Err(Errno::EPERM.into());
        }
        set_executable(task, map.exe_fd.into())?;
    }
    mm.update_layout(|layout| *layout = new);
    if let Some(bytes) = auxiliary {
        mm.set_auxiliary_vector(&bytes);
    }
    Ok(0)
}

/// The vector at `address`, with an end whatever it says there.
fn read_auxiliary_vector(task: &CurrentTask, address: UserAddr, size: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; MOST_AUXILIARY];
    task.read_bytes(address, &mut bytes[..size])?;
    bytes[MOST_AUXILIARY - END..].fill(0);
    Ok(bytes)
}

fn set_auxiliary_vector(task: &CurrentTask, address: UserAddr, size: u64) -> SysResult<u64> {
    let size = usize::try_from(size).ok().filter(|&size| size <= MOST_AUXILIARY).ok_or(Errno::EINVAL)?;
    let bytes = read_auxiliary_vector(task, address, size)?;
    task.mm().set_auxiliary_vector(&bytes);
    Ok(0)
}

/// Makes an open file what `/proc/[pid]/exe` shows; nothing of the one before may be mapped any more.
fn set_executable(task: &CurrentTask, fd: u64) -> SysResult<u64> {
    let fd = i32::try_from(fd & u64::from(u32::MAX)).map_err(|_| Errno::EBADF)?;
    let file = task.fd_table().get(FdNumber(fd))?;
    let opened = crate::vfs::open_program(file.path(), &task.credentials())?;
    let mm = task.mm();
    if let Some(old) = mm.executable() {
        let mapped = mm.areas().iter().any(|area| match &area.name {
            crate::mm::AreaName::File(shown) => Arc::ptr_eq(shown.inode(), old.inode()),
            _ => false,
        });
        if mapped {
            return Err(Errno::EBUSY.into());
        }
    }
    mm.set_executable(Some(opened));
    Ok(0)
}

//! `kcmp(2)`: whether two processes share something.

use std::cmp::Ordering;
use std::sync::Arc;

use bartizan_abi::Errno;
use bartizan_abi::process::{KcmpEpollSlot, KcmpType};

use crate::SysResult;
use crate::kernel::epoll::Epoll;
use crate::kernel::ptrace::AccessMode;
use crate::kernel::{CurrentTask, Task};
use crate::mm::{UserAddr, UserPtr};
use crate::vfs::{FdNumber, File};

/// `kcmp(2)`: 0 for the same, 1 and 2 for an order that holds as long as both are there.
pub fn kcmp(
    task: &CurrentTask,
    first: i32,
    second: i32,
    kind: i32,
    first_index: u64,
    second_index: u64,
) -> SysResult<u32> {
    let [first, second] = [first, second].map(|pid| task.kernel().tree().task(pid).cloned());
    let (first, second) = first.zip(second).ok_or(Errno::ESRCH)?;
    if [&first, &second].iter().any(|other| !task.may_trace(other, AccessMode::Real)) {
        return Err(Errno::EPERM.into());
    }
    let compare = |address: fn(&Task) -> Option<usize>| order(address(&first), address(&second));
    Ok(match KcmpType::try_from(kind)? {
        KcmpType::KCMP_FILE => {
            let files = (file(&first, number(first_index)?), file(&second, number(second_index)?));
            order_of_files(files.0, files.1)?
        }
        KcmpType::KCMP_VM => compare(|task| task.memory().map(|memory| Arc::as_ptr(&memory).addr())),
        KcmpType::KCMP_FILES => compare(|task| task.files().map(|files| Arc::as_ptr(&files).addr())),
        KcmpType::KCMP_FS => compare(|task| task.fs().map(|fs| Arc::as_ptr(&fs).addr())),
        KcmpType::KCMP_SIGHAND => compare(|task| Some(Arc::as_ptr(&task.actions()).addr())),
        KcmpType::KCMP_SYSVSEM => compare(Task::undo_identity),
        // Nobody has a context of input and output.
        KcmpType::KCMP_IO => 0,
        KcmpType::KCMP_EPOLL_TFD => {
            let slot = task.read_value(UserPtr::<KcmpEpollSlot>::new(UserAddr(second_index)))?;
            let own = file(&first, number(first_index)?).ok_or(Errno::EBADF)?;
            order_of_files(Some(own), Some(watched(&second, &slot)?))?
        }
    })
}

/// What a comparison of two addresses is told as.
fn order(first: Option<usize>, second: Option<usize>) -> u32 {
    match first.cmp(&second) {
        Ordering::Equal => 0,
        Ordering::Less => 1,
        Ordering::Greater => 2,
    }
}

fn order_of_files(first: Option<Arc<File>>, second: Option<Arc<File>>) -> Result<u32, Errno> {
    let (first, second) = first.zip(second).ok_or(Errno::EBADF)?;
    Ok(order(Some(Arc::as_ptr(&first).addr()), Some(Arc::as_ptr(&second).addr())))
}

/// A descriptor that was given as an unsigned long.
fn number(index: u64) -> Result<FdNumber, Errno> {
    Ok(FdNumber(i32::try_from(index & u64::from(u32::MAX)).map_err(|_| Errno::EBADF)?))
}

fn file(task: &Task, fd: FdNumber) -> Option<Arc<File>> {
    task.files()?.get_any(fd).ok()
}

/// The file that an epoll instance of `task` watches as the slot says.
fn watched(task: &Task, slot: &KcmpEpollSlot) -> Result<Arc<File>, Errno> {
    let instance = file(task, number(slot.efd.into())?).ok_or(Errno::EBADF)?;
    let epoll = instance.downcast::<Epoll>().ok_or(Errno::EINVAL)?;
    epoll.watched(slot.tfd.cast_signed(), slot.toff as usize).ok_or(Errno::ENOENT)
}

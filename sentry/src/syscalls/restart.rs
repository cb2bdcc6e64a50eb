//! `restart_syscall`: goes on with a call that a signal without a handler interrupted.

use bartizan_abi::Errno;

use super::{futex, poll, time};
use crate::SysResult;
use crate::kernel::{CurrentTask, RestartBlock};

/// `restart_syscall(2)`.
pub fn restart_syscall(task: &CurrentTask) -> SysResult<usize> {
    match task.take_restart() {
        RestartBlock::None => Err(Errno::EINTR.into()),
        RestartBlock::Sleep { clock, deadline, remaining } => {
            time::continue_sleep(task, clock, deadline, remaining).map(|()| 0)
        }
        RestartBlock::Futex { address, scope, expected, bitset, deadline } => {
            futex::continue_wait(task, address, scope, expected, bitset, deadline)
        }
        RestartBlock::Poll { entries, count, deadline } => {
            poll::continue_poll(task, entries, count, deadline)
        }
    }
}

//! `membarrier(2)`.

use bartizan_abi::Errno;
use bartizan_abi::process::MembarrierCommand;

use crate::SysResult;
use crate::kernel::{BarrierScope, CurrentTask};

/// The commands that there are: without those for restartable sequences and for changed code.
const SUPPORTED: [MembarrierCommand; 6] = [
    MembarrierCommand::MEMBARRIER_CMD_GLOBAL,
    MembarrierCommand::MEMBARRIER_CMD_GLOBAL_EXPEDITED,
    MembarrierCommand::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED,
    MembarrierCommand::MEMBARRIER_CMD_PRIVATE_EXPEDITED,
    MembarrierCommand::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED,
    MembarrierCommand::MEMBARRIER_CMD_GET_REGISTRATIONS,
];

/// `membarrier(2)`.
pub fn membarrier(task: &CurrentTask, command: u32, flags: u32, _cpu: i32) -> SysResult<u32> {
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let registered_global = MembarrierCommand::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED;
    let registered_private = MembarrierCommand::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED;
    let command = MembarrierCommand::try_from(command)?;
    match command {
        MembarrierCommand::MEMBARRIER_CMD_QUERY => {
            return Ok(SUPPORTED.iter().fold(0, |mask, command| mask | command.raw()));
        }
        MembarrierCommand::MEMBARRIER_CMD_GET_REGISTRATIONS => return Ok(task.group().barriers()),
        MembarrierCommand::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED
        | MembarrierCommand::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED => {
            task.group().register_barriers(command.raw());
        }
        MembarrierCommand::MEMBARRIER_CMD_GLOBAL => task.memory_barrier(BarrierScope::All, 0),
        MembarrierCommand::MEMBARRIER_CMD_GLOBAL_EXPEDITED => {
            task.memory_barrier(BarrierScope::Registered, registered_global.raw());
        }
        MembarrierCommand::MEMBARRIER_CMD_PRIVATE_EXPEDITED => {
            if task.group().barriers() & registered_private.raw() == 0 {
                return Err(Errno::EPERM.into());
            }
            task.memory_barrier(BarrierScope::Memory, 0);
        }
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

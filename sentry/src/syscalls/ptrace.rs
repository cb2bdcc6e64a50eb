//! `ptrace(2)`.

use bartizan_abi::elf::{NT_PRFPREG, NT_PRSTATUS, NT_X86_XSTATE};
use bartizan_abi::process::Capability;
use bartizan_abi::process::ptrace::{
    PTRACE_PEEKSIGINFO_SHARED, PtraceOptions, PtracePeeksiginfoArgs, PtraceRequest,
};
use bartizan_abi::signal::{SigInfo, SigSet};
use bartizan_abi::{Errno, Iovec};
use zerocopy::IntoBytes;

use super::argument::Argument;
use crate::SysResult;
use crate::kernel::CurrentTask;
use crate::kernel::ptrace::{Resumption, SeizeMode, StoppedTask, USER_REGISTERS_SIZE};
use crate::mm::{UserAddr, UserPtr};

/// The most signals that one `PTRACE_PEEKSIGINFO` gives.
const MOST_SIGNALS: usize = 1024;
/// What a register set can have at most, bytes.
const MOST_REGISTERS: u64 = 64 << 10;

impl Argument for PtraceRequest {
    fn decode(raw: u64) -> Result<Self, Errno> {
        Ok(Self(raw))
    }

    fn show(raw: u64, _task: &CurrentTask, out: &mut String) {
        match Self(raw).name() {
            Some(name) => out.push_str(name),
            None => out.push_str(&format!("{raw:#x}")),
        }
    }
}

/// `ptrace(2)`, the system call: what is peeked goes to memory.
pub fn ptrace(
    task: &CurrentTask,
    request: PtraceRequest,
    pid: i32,
    address: u64,
    data: u64,
) -> SysResult<u64> {
    let done = match request {
        PtraceRequest::PTRACE_TRACEME => task.trace_me(),
        PtraceRequest::PTRACE_ATTACH => task.attach_to(pid, SeizeMode::Attach),
        PtraceRequest::PTRACE_SEIZE => seize(task, pid, address, data),
        PtraceRequest::PTRACE_KILL => task.kill_tracee(pid),
        PtraceRequest::PTRACE_INTERRUPT => task.interrupt_tracee(pid),
        request => return with_stopped(task, &task.stopped_tracee(pid)?, request, address, data),
    };
    Ok(done.map(|()| 0)?)
}

fn seize(task: &CurrentTask, pid: i32, address: u64, options: u64) -> Result<(), Errno> {
    if address != 0 || PtraceOptions::from_bits(options).is_none() {
        return Err(Errno::EIO);
    }
    task.attach_to(pid, SeizeMode::Seize(options_of(task, options)?))
}

/// The options, those that Linux has. Suspending filters of calls is refused, as without `CONFIG_CHECKPOINT_RESTORE`.
fn options_of(task: &CurrentTask, raw: u64) -> Result<PtraceOptions, Errno> {
    let options = PtraceOptions::from_bits(raw).ok_or(Errno::EINVAL)?;
    if !options.contains(PtraceOptions::PTRACE_O_SUSPEND_SECCOMP) {
        return Ok(options);
    }
    match task.credentials().has_capability(Capability::CAP_SYS_ADMIN) {
        true => Err(Errno::EINVAL),
        false => Err(Errno::EPERM),
    }
}

/// Requests about a tracee that stands still.
fn with_stopped(
    task: &CurrentTask,
    tracee: &StoppedTask<'_>,
    request: PtraceRequest,
    address: u64,
    data: u64,
) -> SysResult<u64> {
    let at = UserAddr(data);
    match request {
        PtraceRequest::PTRACE_PEEKTEXT | PtraceRequest::PTRACE_PEEKDATA => {
            task.write_value(UserPtr::new(at), &peek(tracee, address)?)?;
        }
        PtraceRequest::PTRACE_PEEKUSER => {
            task.write_value(UserPtr::new(at), &tracee.user_word(address)?)?;
        }
        PtraceRequest::PTRACE_POKETEXT | PtraceRequest::PTRACE_POKEDATA => {
            let written = tracee.memory()?.write_forced(UserAddr(address), data.as_bytes());
            if written < size_of::<u64>() {
                return Err(Errno::EIO.into());
            }
        }
        PtraceRequest::PTRACE_POKEUSER => tracee.set_user_word(address, data)?,
        PtraceRequest::PTRACE_CONT => tracee.resume(Resumption::Freely, data)?,
        PtraceRequest::PTRACE_SYSCALL => tracee.resume(Resumption::ToCall, data)?,
        PtraceRequest::PTRACE_SINGLESTEP => tracee.resume(Resumption::OneInstruction, data)?,
        PtraceRequest::PTRACE_SYSEMU => tracee.resume(Resumption::EmulatingCalls, data)?,
        PtraceRequest::PTRACE_SYSEMU_SINGLESTEP => {
            tracee.resume(Resumption::OneInstructionEmulatingCalls, data)?;
        }
        PtraceRequest::PTRACE_DETACH => tracee.detach(data)?,
        PtraceRequest::PTRACE_LISTEN => tracee.listen()?,
        PtraceRequest::PTRACE_SETOPTIONS => tracee.set_options(options_of(task, data)?),
        PtraceRequest::PTRACE_GETEVENTMSG => task.write_value(UserPtr::new(at), &tracee.event_message())?,
        _ => return with_registers(task, tracee, request, address, at),
    }
    Ok(0)
}

fn peek(tracee: &StoppedTask<'_>, address: u64) -> Result<u64, Errno> {
    let mut word = 0u64;
    let read = tracee.memory()?.read_forced(UserAddr(address), word.as_mut_bytes());
    if read == size_of::<u64>() { Ok(word) } else { Err(Errno::EIO) }
}

/// Requests about registers and signals, whose data is at `at`.
fn with_registers(
    task: &CurrentTask,
    tracee: &StoppedTask<'_>,
    request: PtraceRequest,
    address: u64,
    at: UserAddr,
) -> SysResult<u64> {
    match request {
        PtraceRequest::PTRACE_GETREGS => task.write_bytes(at, tracee.registers()?.as_bytes())?,
        PtraceRequest::PTRACE_SETREGS => {
            let mut values = [0u64; USER_REGISTERS_SIZE / size_of::<u64>()];
            task.read_bytes(at, values.as_mut_bytes())?;
            tracee.set_registers(&values)?;
        }
        PtraceRequest::PTRACE_GETFPREGS => task.write_bytes(at, &tracee.legacy_state()?)?,
        PtraceRequest::PTRACE_SETFPREGS => {
            let mut area = tracee.legacy_state()?;
            task.read_bytes(at, &mut area)?;
            tracee.set_legacy_state(&area)?;
        }
        PtraceRequest::PTRACE_GETREGSET => get_register_set(task, tracee, address, at)?,
        PtraceRequest::PTRACE_SETREGSET => set_register_set(task, tracee, address, at)?,
        PtraceRequest::PTRACE_GETSIGINFO => task.write_value(UserPtr::new(at), &tracee.signal_info()?)?,
        PtraceRequest::PTRACE_SETSIGINFO => {
            tracee.set_signal_info(task.read_value::<SigInfo>(UserPtr::new(at))?)?;
        }
        PtraceRequest::PTRACE_PEEKSIGINFO => return peek_signals(task, tracee, address, at),
        PtraceRequest::PTRACE_GETSIGMASK | PtraceRequest::PTRACE_SETSIGMASK if address != SigSet::SIZE => {
            return Err(Errno::EINVAL.into());
        }
        PtraceRequest::PTRACE_GETSIGMASK => task.write_value(UserPtr::new(at), &tracee.signal_mask())?,
        PtraceRequest::PTRACE_SETSIGMASK => {
            tracee.set_signal_mask(task.read_value::<SigSet>(UserPtr::new(at))?);
        }
        PtraceRequest::PTRACE_GET_SYSCALL_INFO => {
            let (info, size) = tracee.call_info()?;
            let wanted = usize::try_from(address).unwrap_or(usize::MAX).min(size);
            task.write_bytes(at, &info.as_bytes()[..wanted])?;
            return Ok(size as u64);
        }
        _ => return Err(Errno::EIO.into()),
    }
    Ok(0)
}

/// The vector of `PTRACE_GETREGSET`, cut to `size` bytes.
///
/// # Errors
/// `EFAULT`; `EINVAL` if it does not hold whole words.
fn register_vector(task: &CurrentTask, at: UserAddr, size: u64) -> SysResult<(UserPtr<Iovec>, Iovec)> {
    let pointer = UserPtr::<Iovec>::new(at);
    let vector = task.read_value(pointer)?;
    if !vector.iov_len.is_multiple_of(size_of::<u64>() as u64) {
        return Err(Errno::EINVAL.into());
    }
    Ok((pointer, Iovec { iov_len: vector.iov_len.min(size), ..vector }))
}

fn get_register_set(task: &CurrentTask, tracee: &StoppedTask<'_>, kind: u64, at: UserAddr) -> SysResult<()> {
    let bytes = match u32::try_from(kind).map_err(|_| Errno::EINVAL)? {
        NT_PRSTATUS => tracee.registers()?.as_bytes().to_vec(),
        NT_PRFPREG => tracee.legacy_state()?,
        NT_X86_XSTATE => tracee.extended_state()?,
        _ => return Err(Errno::EINVAL.into()),
    };
    let (pointer, vector) = register_vector(task, at, bytes.len() as u64)?;
    let length = usize::try_from(vector.iov_len).unwrap_or(0);
    task.write_bytes(UserAddr(vector.iov_base), &bytes[..length])?;
    Ok(task.write_value(pointer, &vector)?)
}

fn set_register_set(task: &CurrentTask, tracee: &StoppedTask<'_>, kind: u64, at: UserAddr) -> SysResult<()> {
    let kind = u32::try_from(kind).map_err(|_| Errno::EINVAL)?;
    let size = match kind {
        NT_PRSTATUS => USER_REGISTERS_SIZE as u64,
        NT_PRFPREG => tracee.legacy_state()?.len() as u64,
        NT_X86_XSTATE => MOST_REGISTERS,
        _ => return Err(Errno::EINVAL.into()),
    };
    let (pointer, vector) = register_vector(task, at, size)?;
    let mut bytes = vec![0; usize::try_from(vector.iov_len).unwrap_or(0)];
    task.read_bytes(UserAddr(vector.iov_base), &mut bytes)?;
    match kind {
        NT_PRSTATUS => {
            let words = bytes.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_ne_bytes));
            tracee.set_registers(&words.collect::<Vec<u64>>())?;
        }
        NT_PRFPREG => tracee.set_legacy_state(&bytes)?,
        _ => tracee.set_extended_state(&bytes)?,
    }
    Ok(task.write_value(pointer, &vector)?)
}

/// `PTRACE_PEEKSIGINFO`: how many were copied.
fn peek_signals(
    task: &CurrentTask,
    tracee: &StoppedTask<'_>,
    arguments: u64,
    at: UserAddr,
) -> SysResult<u64> {
    let asked: PtracePeeksiginfoArgs = task.read_value(UserPtr::new(UserAddr(arguments)))?;
    if asked.flags & !PTRACE_PEEKSIGINFO_SHARED != 0 {
        return Err(Errno::EINVAL.into());
    }
    let count = usize::try_from(asked.nr).map_err(|_| Errno::EINVAL)?.min(MOST_SIGNALS);
    let found = tracee.queued_signals(asked.flags & PTRACE_PEEKSIGINFO_SHARED != 0, asked.off, count);
    task.write_slice(UserPtr::new(at), &found)?;
    Ok(found.len() as u64)
}

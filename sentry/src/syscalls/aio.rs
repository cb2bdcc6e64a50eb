//! Asynchronous I/O: `io_setup`, `io_destroy`, `io_submit`, `io_getevents`, `io_pgetevents`, `io_cancel`.

use std::sync::Arc;
use std::time::Instant;

use bartizan_abi::aio::{
    AioSigset, IOCB_CMD_FDSYNC, IOCB_CMD_FSYNC, IOCB_CMD_POLL, IOCB_CMD_PREAD, IOCB_CMD_PREADV,
    IOCB_CMD_PWRITE, IOCB_CMD_PWRITEV, IOCB_FLAG_IOPRIO, IOCB_FLAG_RESFD, IoEvent, Iocb,
};
use bartizan_abi::{Errno, Iovec, PollEvents, SigSet, Timespec};
use bartizan_platform::Access;
use bartizan_platform::memory::PAGE_SIZE;

use super::read_write::vector;
use crate::kernel::{AioContext, CurrentTask, Eventfd, deadline_after};
use crate::mm::{AreaFlags, MapPlacement, MapRequest, UserAddr, UserBuffers, UserPtr};
use crate::vfs::{FdNumber, File, Position};
use crate::{SysError, SysResult, WaitError};

/// Bytes before the events in the ring that a program sees.
const RING_HEADER: u64 = 32;

/// More events than any context could have.
const MOST_EVENTS: u64 = 0x1000_0000 / size_of::<IoEvent>() as u64;

/// `io_setup(2)`. A context is known by the address of its ring, which programs may look at; it says that it cannot be used, so
/// that they ask the kernel for events.
pub fn io_setup(task: &CurrentTask, size: u32, pointer: UserPtr<u64>) -> SysResult<()> {
    if task.read_value(pointer)? != 0 || size == 0 || u64::from(size) > MOST_EVENTS {
        return Err(Errno::EINVAL.into());
    }
    let most = task.kernel().settings().aio_requests.get();
    if u64::from(size) > most {
        return Err(Errno::EAGAIN.into());
    }
    let bytes = RING_HEADER + u64::from(size) * size_of::<IoEvent>() as u64;
    let request = MapRequest {
        flags: AreaFlags::DONT_FORK | AreaFlags::DONT_EXPAND,
        ..MapRequest::anonymous(
            MapPlacement::Anywhere(0),
            bytes.next_multiple_of(PAGE_SIZE),
            Access::READ | Access::WRITE,
        )
    };
    let memory = task.mm();
    let ring = memory.map(&request)?;
    let result = task
        .kernel()
        .aio_contexts()
        .add(&memory, ring.0, size as usize, most)
        .and_then(|()| task.write_value(pointer, &ring.0));
    if let Err(errno) = result {
        let _never_added = task.kernel().aio_contexts().remove(&memory, ring.0);
        memory.unmap(ring, request.length)?;
        return Err(errno.into());
    }
    Ok(())
}

/// `io_destroy(2)`.
pub fn io_destroy(task: &CurrentTask, context: u64) -> SysResult<()> {
    let memory = task.mm();
    let size = task.kernel().aio_contexts().find(&memory, context)?.size() as u64;
    task.kernel().aio_contexts().remove(&memory, context)?;
    let bytes = (RING_HEADER + size * size_of::<IoEvent>() as u64).next_multiple_of(PAGE_SIZE);
    // The program may have unmapped or replaced it.
    let _gone = memory.unmap(UserAddr(context), bytes);
    Ok(())
}

/// `io_submit(2)`.
pub fn io_submit(task: &CurrentTask, context: u64, count: i64, requests: UserPtr<u64>) -> SysResult<u64> {
    let count = u64::try_from(count).map_err(|_| Errno::EINVAL)?;
    let context = task.kernel().aio_contexts().find(&task.mm(), context)?;
    let mut done = 0;
    while done < count.min(context.size() as u64) {
        let address = task.read_value(requests.element(done)?);
        let result = address.map_err(SysError::from).and_then(|address| submit(task, &context, address));
        match result {
            Ok(()) => done += 1,
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

fn submit(task: &CurrentTask, context: &Arc<AioContext>, address: u64) -> SysResult<()> {
    let pointer = UserPtr::<Iocb>::new(UserAddr(address));
    let request = task.read_value(pointer)?;
    let known = IOCB_FLAG_RESFD | IOCB_FLAG_IOPRIO;
    if request.aio_reserved2 != 0
        || request.aio_flags & !known != 0
        || i64::try_from(request.aio_nbytes).is_err()
    {
        return Err(Errno::EINVAL.into());
    }
    if !context.has_room() {
        return Err(Errno::EAGAIN.into());
    }
    let file = task.fd_table().get(FdNumber(request.aio_fildes.cast_signed()))?;
    let told = match request.aio_flags & IOCB_FLAG_RESFD {
        0 => None,
        _ => {
            let counter = task.fd_table().get(FdNumber(request.aio_resfd.cast_signed()))?;
            counter.downcast::<Eventfd>().ok_or(Errno::EINVAL)?;
            Some(counter)
        }
    };
    // `aio_key`, by which Linux knows its own requests.
    task.write_value(UserPtr::<u32>::new(UserAddr(address).checked_add(8)?), &0)?;
    let event = IoEvent { data: request.aio_data, obj: address, res: 0, res2: 0 };
    if request.aio_lio_opcode == IOCB_CMD_POLL {
        let events = u32::try_from(request.aio_buf).map_err(|_| Errno::EINVAL)?;
        if request.aio_offset != 0 || request.aio_nbytes != 0 || request.aio_rw_flags != 0 || events > 0xffff
        {
            return Err(Errno::EINVAL.into());
        }
        return Ok(context.poll(&file, PollEvents::from_bits_retain(events), event, told)?);
    }
    let res = perform(task, &file, &request)?;
    context.complete(IoEvent { res, ..event }, told.as_ref());
    Ok(())
}

/// Does what is asked for at once; its result, or the error that submitting it gives.
fn perform(task: &CurrentTask, file: &Arc<File>, request: &Iocb) -> SysResult<i64> {
    let (reads, writes) = match request.aio_lio_opcode {
        IOCB_CMD_PREAD | IOCB_CMD_PREADV => (true, false),
        IOCB_CMD_PWRITE | IOCB_CMD_PWRITEV => (false, true),
        IOCB_CMD_FSYNC | IOCB_CMD_FDSYNC => {
            let plain = request.aio_buf == 0 && request.aio_offset == 0 && request.aio_nbytes == 0;
            if !plain || request.aio_rw_flags != 0 {
                return Err(Errno::EINVAL.into());
            }
            return Ok(result(file.ops().sync(file).map(|()| 0).map_err(SysError::from)));
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    if reads && !file.flags().readable() || writes && !file.flags().writable() {
        return Err(Errno::EBADF.into());
    }
    let vectored = matches!(request.aio_lio_opcode, IOCB_CMD_PREADV | IOCB_CMD_PWRITEV);
    let mut buffers = if vectored {
        let count = usize::try_from(request.aio_nbytes).map_err(|_| Errno::EINVAL)?;
        vector(task, UserPtr::<Iovec>::new(UserAddr(request.aio_buf)), count)?
    } else {
        let count = usize::try_from(request.aio_nbytes).map_err(|_| Errno::EINVAL)?;
        UserBuffers::single(&task.mm(), UserAddr(request.aio_buf), count.min(bartizan_abi::MAX_RW_COUNT))
    };
    let position = if file.ops().seekable() {
        Position::At(u64::try_from(request.aio_offset).map_err(|_| Errno::EINVAL)?)
    } else {
        Position::Current
    };
    Ok(result(if reads {
        file.read(task, &mut buffers, position)
    } else {
        file.write(task, &mut buffers, position)
    }))
}

/// The result as an event has it; nothing is restarted.
fn result(result: SysResult<usize>) -> i64 {
    match result {
        Ok(count) => i64::try_from(count).unwrap_or(i64::MAX),
        Err(SysError::Errno(errno)) => -i64::from(errno.raw()),
        Err(SysError::Restart(_)) => -i64::from(Errno::EINTR.raw()),
    }
}

/// `io_getevents(2)`.
pub fn io_getevents(
    task: &CurrentTask,
    context: u64,
    least: i64,
    most: i64,
    events: UserPtr<IoEvent>,
    timeout: UserPtr<Timespec>,
) -> SysResult<usize> {
    let deadline = match timeout.optional() {
        None => None,
        Some(timeout) => {
            let timeout = task.read_value(timeout)?.to_duration().ok_or(Errno::EINVAL)?;
            Some(deadline_after(timeout))
        }
    };
    get_events(task, context, (least, most), events, deadline)
}

/// `io_pgetevents(2)`.
pub fn io_pgetevents(
    task: &CurrentTask,
    context: u64,
    least: i64,
    most: i64,
    events: UserPtr<IoEvent>,
    timeout: UserPtr<Timespec>,
    mask: UserPtr<AioSigset>,
) -> SysResult<usize> {
    let mask = match mask.optional() {
        None => None,
        Some(mask) => {
            let mask = task.read_value(mask)?;
            match UserPtr::<SigSet>::new(UserAddr(mask.sigmask)).optional() {
                Some(_) if mask.sigsetsize != SigSet::SIZE => return Err(Errno::EINVAL.into()),
                Some(pointer) => Some(task.read_value(pointer)?),
                None => None,
            }
        }
    };
    task.with_temporary_mask(mask, || io_getevents(task, context, least, most, events, timeout))
}

/// Takes events; waits for `least`, without a deadline for ever.
fn get_events(
    task: &CurrentTask,
    context: u64,
    (least, most): (i64, i64),
    events: UserPtr<IoEvent>,
    deadline: Option<Option<Instant>>,
) -> SysResult<usize> {
    let context = task.kernel().aio_contexts().find(&task.mm(), context)?;
    if least < 0 || least > most {
        return Err(Errno::EINVAL.into());
    }
    let (least, most) = (least.unsigned_abs() as usize, most.unsigned_abs() as usize);
    let enough = || (context.available() >= least.min(context.size()) || context.is_ended()).then_some(());
    let waited = task.wait_on(context.completions(), PollEvents::POLLIN, deadline.flatten(), enough);
    let taken = context.take(most);
    if taken.is_empty() && waited == Err(WaitError::Interrupted) {
        return Err(Errno::EINTR.into());
    }
    task.write_slice(events, &taken)?;
    Ok(taken.len())
}

/// `io_cancel(2)`: its event tells of the end of a request.
pub fn io_cancel(
    task: &CurrentTask,
    context: u64,
    request: UserPtr<Iocb>,
    _event: UserPtr<IoEvent>,
) -> SysResult<()> {
    let key = task.read_value(request)?.aio_key;
    if key != 0 {
        return Err(Errno::EINVAL.into());
    }
    let context = task.kernel().aio_contexts().find(&task.mm(), context)?;
    let found = context.cancel(request.address().0);
    Err(if found { Errno::EINPROGRESS } else { Errno::EINVAL }.into())
}

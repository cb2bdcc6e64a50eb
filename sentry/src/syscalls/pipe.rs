//! Pipes and moving data through them: `pipe`, `pipe2`, `splice`, `tee`, `vmsplice`.

use std::sync::Arc;

use bartizan_abi::{Errno, Iovec, OpenFlags, PipeFlags, PollEvents, SpliceFlags};

use super::anonymous::{self, AnonymousKind};
use super::read_write::vector;
use crate::kernel::CurrentTask;
use crate::kernel::pipe::{Duplication, Pipe, PipeAccess, PipeEnd};
use crate::mm::UserPtr;
use crate::vfs::{DataSink, DataSource, FdNumber, File, Position, SliceSink, SliceSource};
use crate::{Restart, SysError, SysResult};

/// Bytes that are moved in one step between a pipe and another file.
const STEP: usize = 65_536;

/// `pipe(2)`.
pub fn pipe(task: &CurrentTask, descriptors: UserPtr<[i32; 2]>) -> SysResult<()> {
    pipe2(task, descriptors, PipeFlags::empty())
}

/// `pipe2(2)`.
pub fn pipe2(task: &CurrentTask, descriptors: UserPtr<[i32; 2]>, flags: PipeFlags) -> SysResult<()> {
    if flags.contains(PipeFlags::O_NOTIFICATION_PIPE) {
        // As a kernel without `CONFIG_WATCH_QUEUE`.
        return Err(Errno::ENOPKG.into());
    }
    let flags = OpenFlags::from_bits_truncate(flags.bits());
    let status = flags - OpenFlags::O_CLOEXEC;
    let files = task.kernel().anonymous_files();
    let path = files.path(task.kernel(), &task.credentials(), AnonymousKind::Pipe)?;
    // Its inode knows the pipe, so that it can be opened once more through `/proc/self/fd`.
    let pipe = Arc::clone(path.inode().extra().pipe());
    let reader = File::new(pipe.reader(), path.clone(), status);
    let writer = File::new(pipe.writer(), path, status | OpenFlags::O_WRONLY);
    anonymous::install_pair(task, (reader, writer), flags, descriptors)
}

/// What a descriptor of `splice` is.
enum Side {
    /// A pipe.
    Pipe(Arc<Pipe>),
    /// Anything else, with the position if one was given.
    Other(Option<u64>),
}

fn side(task: &CurrentTask, file: &File, position: UserPtr<i64>) -> SysResult<Side> {
    if let Some(end) = file.downcast::<PipeEnd>() {
        return match position.is_null() {
            true => Ok(Side::Pipe(Arc::clone(end.pipe()))),
            false => Err(Errno::ESPIPE.into()),
        };
    }
    let Some(position) = position.optional() else { return Ok(Side::Other(None)) };
    if !file.ops().seekable() {
        return Err(Errno::ESPIPE.into());
    }
    let position = task.read_value(position)?;
    Ok(Side::Other(Some(u64::try_from(position).map_err(|_| Errno::EINVAL)?)))
}

/// `splice(2)`.
pub fn splice(
    task: &CurrentTask,
    from: FdNumber,
    from_position: UserPtr<i64>,
    to: FdNumber,
    to_position: UserPtr<i64>,
    length: usize,
    flags: SpliceFlags,
) -> SysResult<usize> {
    if length == 0 {
        return Ok(0);
    }
    let (from, to) = (task.fd_table().get(from)?, task.fd_table().get(to)?);
    if !from.flags().readable() || !to.flags().writable() {
        return Err(Errno::EBADF.into());
    }
    let source = side(task, &from, from_position)?;
    let target = side(task, &to, to_position)?;
    let nonblocking = flags.contains(SpliceFlags::SPLICE_F_NONBLOCK);
    let length = length.min(i32::MAX as usize);
    match (source, target) {
        (Side::Pipe(source), Side::Pipe(target)) => {
            if Arc::ptr_eq(&source, &target) {
                return Err(Errno::EINVAL.into());
            }
            let nonblocking = nonblocking || is_nonblocking(&from) || is_nonblocking(&to);
            between_pipes(task, &source, &target, length, Duplication::Move, nonblocking)
        }
        (Side::Other(position), Side::Pipe(target)) => {
            let (count, end) = into_pipe(task, (&from, position), &target, length, nonblocking)?;
            store_position(task, from_position, end)?;
            Ok(count)
        }
        (Side::Pipe(source), Side::Other(position)) => {
            if to.flags().contains(OpenFlags::O_APPEND) {
                return Err(Errno::EINVAL.into());
            }
            let (count, end) = out_of_pipe(task, &source, (&to, position), length, nonblocking)?;
            store_position(task, to_position, end)?;
            Ok(count)
        }
        (Side::Other(_), Side::Other(_)) => Err(Errno::EINVAL.into()),
    }
}

fn is_nonblocking(file: &File) -> bool {
    file.flags().contains(OpenFlags::O_NONBLOCK)
}

fn store_position(task: &CurrentTask, pointer: UserPtr<i64>, end: Option<u64>) -> SysResult<()> {
    if let (Some(pointer), Some(end)) = (pointer.optional(), end) {
        task.write_value(pointer, &end.cast_signed())?;
    }
    Ok(())
}

/// Waits on `queue` of a pipe until `attempt` gives anything but `EAGAIN`.
fn retry<T>(
    task: &CurrentTask,
    pipe: &Pipe,
    interest: PollEvents,
    nonblocking: bool,
    mut attempt: impl FnMut() -> Result<T, Errno>,
) -> SysResult<T> {
    if nonblocking {
        return Ok(attempt()?);
    }
    let waited = task.wait_on(pipe.events(), interest, None, || match attempt() {
        Err(Errno::EAGAIN) => None,
        result => Some(result),
    });
    match waited {
        Ok(result) => Ok(result?),
        Err(_) => Err(SysError::Restart(Restart::IfAsked)),
    }
}

/// A broken pipe comes with a signal.
fn signal_broken_pipe<T>(task: &CurrentTask, result: SysResult<T>) -> SysResult<T> {
    if matches!(result, Err(SysError::Errno(Errno::EPIPE))) {
        task.send_self(bartizan_abi::Signal::SIGPIPE);
    }
    result
}

fn between_pipes(
    task: &CurrentTask,
    source: &Arc<Pipe>,
    target: &Arc<Pipe>,
    length: usize,
    duplication: Duplication,
    nonblocking: bool,
) -> SysResult<usize> {
    // Two queues: first there has to be data, then room.
    let result = (|| {
        loop {
            let data = retry(task, source, PollEvents::READABLE, nonblocking, || source.wait_for_data())?;
            if data == 0 {
                return Ok(0);
            }
            let room = || match source.copy_to(target, length, duplication) {
                Err(Errno::EAGAIN) if source.available() == 0 => Ok(None),
                result => result.map(Some),
            };
            if let Some(count) = retry(task, target, PollEvents::WRITABLE, nonblocking, room)? {
                return Ok(count);
            }
        }
    })();
    signal_broken_pipe(task, result)
}

/// From a file to a pipe; how many bytes, and the position behind them if there was one.
fn into_pipe(
    task: &CurrentTask,
    (from, position): (&Arc<File>, Option<u64>),
    target: &Arc<Pipe>,
    length: usize,
    nonblocking: bool,
) -> SysResult<(usize, Option<u64>)> {
    let wanted = length.min(STEP);
    let reserved = retry(task, target, PollEvents::WRITABLE, nonblocking, || target.reserve(wanted));
    let reservation = signal_broken_pipe(task, reserved)?;
    let mut buffer = vec![0; reservation.length()];
    let mut sink = SliceSink::new(&mut buffer);
    let count = match position {
        Some(position) => from.read(task, &mut sink, Position::At(position))?,
        None => from.read(task, &mut sink, Position::Current)?,
    };
    let filled = reservation.fill(&buffer[..count]).map_err(SysError::from);
    signal_broken_pipe(task, filled)?;
    Ok((count, position.map(|position| position + count as u64)))
}

/// From a pipe to a file; how many bytes, and the position behind them if there was one.
fn out_of_pipe(
    task: &CurrentTask,
    source: &Arc<Pipe>,
    (to, position): (&Arc<File>, Option<u64>),
    length: usize,
    nonblocking: bool,
) -> SysResult<(usize, Option<u64>)> {
    let mut total = 0;
    let mut buffer = vec![0; length.min(STEP)];
    while total < length {
        let nonblocking = nonblocking || total > 0;
        let room = buffer.len().min(length - total);
        let taken = retry(task, source, PollEvents::READABLE, nonblocking, || {
            source.consume(&mut buffer[..room], |data| Ok(data.len()))
        });
        let taken = match taken {
            Ok(0) => break,
            Ok(taken) => taken,
            Err(_) if total > 0 => break,
            Err(error) => return Err(error),
        };
        let written = write_all(task, to, position.map(|position| position + total as u64), &buffer[..taken]);
        match written {
            Ok(count) => total += count,
            Err(error) if total == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok((total, position.map(|position| position + total as u64)))
}

/// Writes what was taken out of a pipe.
fn write_all(task: &CurrentTask, to: &Arc<File>, position: Option<u64>, data: &[u8]) -> SysResult<usize> {
    let mut total = 0;
    while let Some(rest) = data.get(total..).filter(|rest| !rest.is_empty()) {
        // A device that drops everything takes nothing out of the source: the count is what tells.
        let mut source = SliceSource::new(rest);
        let result = match position {
            Some(position) => to.write(task, &mut source, Position::At(position + total as u64)),
            None => to.write(task, &mut source, Position::Current),
        };
        match result {
            Ok(0) => break,
            Ok(count) => total += count,
            Err(error) if total == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(total)
}

/// `tee(2)`.
pub fn tee(
    task: &CurrentTask,
    from: FdNumber,
    to: FdNumber,
    length: usize,
    flags: SpliceFlags,
) -> SysResult<usize> {
    if length == 0 {
        return Ok(0);
    }
    let (from, to) = (task.fd_table().get(from)?, task.fd_table().get(to)?);
    if !from.flags().readable() || !to.flags().writable() {
        return Err(Errno::EBADF.into());
    }
    let (Some(source), Some(target)) = (from.downcast::<PipeEnd>(), to.downcast::<PipeEnd>()) else {
        return Err(Errno::EINVAL.into());
    };
    if Arc::ptr_eq(source.pipe(), target.pipe()) {
        return Err(Errno::EINVAL.into());
    }
    let nonblocking =
        flags.contains(SpliceFlags::SPLICE_F_NONBLOCK) || is_nonblocking(&from) || is_nonblocking(&to);
    between_pipes(task, source.pipe(), target.pipe(), length, Duplication::Keep, nonblocking)
}

/// `vmsplice(2)`: copies.
pub fn vmsplice(
    task: &CurrentTask,
    fd: FdNumber,
    vectors: UserPtr<Iovec>,
    count: usize,
    flags: SpliceFlags,
) -> SysResult<usize> {
    let file = task.fd_table().get(fd)?;
    let end = file.downcast::<PipeEnd>().ok_or(Errno::EBADF)?;
    let mut buffers = vector(task, vectors, count)?;
    if DataSink::remaining(&buffers) == 0 {
        return Ok(0);
    }
    let nonblocking = flags.contains(SpliceFlags::SPLICE_F_NONBLOCK);
    let pipe = end.pipe();
    if end.access() == PipeAccess::Read {
        return retry(task, pipe, PollEvents::READABLE, nonblocking, || pipe.read(&mut buffers));
    }
    let mut total = 0;
    while DataSource::remaining(&buffers) > 0 {
        let step = retry(task, pipe, PollEvents::WRITABLE, nonblocking, || pipe.write(&mut buffers, false));
        match step {
            Ok(count) => total += count,
            Err(error) if total == 0 => return signal_broken_pipe(task, Err(error)),
            Err(_) => break,
        }
    }
    Ok(total)
}

//! `mem`: the memory of a process (`proc_pid_mem(5)`), for those who may trace it. Offsets are addresses; what the protection forbids the process
//! is possible here.

use std::sync::{Arc, Weak};

use bartizan_abi::Errno;
use bartizan_sentry::kernel::ptrace::AccessMode;
use bartizan_sentry::mm::{MemoryManager, UserAddr};
use bartizan_sentry::vfs::{DataSink, DataSource, File, FileOps, OpenRequest, SeekSpecial, Written};

use crate::proc::process::Subject;

/// How many bytes are copied in one go.
const CHUNK: usize = 64 << 10;

/// The memory as it was opened: what an `execve` replaces is gone.
#[derive(Debug)]
struct Memory(Weak<MemoryManager>);

/// Opens the memory of `subject`.
///
/// # Errors
/// `EACCES` for who may not trace it, `ESRCH`.
pub fn open(subject: &Subject, request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
    let task = subject.task()?;
    if request.task.is_some_and(|reader| !reader.may_trace(&task, AccessMode::FileSystem)) {
        return Err(Errno::EACCES);
    }
    let memory = task.memory().map_or_else(Weak::new, |memory| Arc::downgrade(&memory));
    Ok(Box::new(Memory(memory)))
}

impl FileOps for Memory {
    fn read(&self, _file: &File, sink: &mut dyn DataSink, offset: u64) -> Result<usize, Errno> {
        let Some(memory) = self.0.upgrade() else { return Ok(0) };
        let mut buffer = vec![0; sink.remaining().min(CHUNK)];
        let mut done = 0;
        while sink.remaining() > 0 {
            let part = &mut buffer[..sink.remaining().min(CHUNK)];
            let wanted = part.len();
            let read = memory.read_forced(UserAddr(offset.wrapping_add(done as u64)), part);
            if read == 0 {
                break;
            }
            let put = sink.put(&part[..read])?;
            done += put;
            if put < wanted {
                break;
            }
        }
        if done == 0 && sink.remaining() > 0 { Err(Errno::EIO) } else { Ok(done) }
    }

    fn write(&self, _file: &File, source: &mut dyn DataSource, offset: u64) -> Result<Written, Errno> {
        let Some(memory) = self.0.upgrade() else { return Ok(Written { count: 0, end: offset }) };
        let mut buffer = vec![0; source.remaining().min(CHUNK)];
        let mut done = 0;
        while source.remaining() > 0 {
            let wanted = source.remaining().min(CHUNK);
            let taken = source.take(&mut buffer[..wanted])?;
            let written = memory.write_forced(UserAddr(offset.wrapping_add(done as u64)), &buffer[..taken]);
            source.put_back(taken - written);
            done += written;
            if written < wanted {
                break;
            }
        }
        if done == 0 && source.remaining() > 0 {
            return Err(Errno::EIO);
        }
        Ok(Written { count: done, end: offset.wrapping_add(done as u64) })
    }

    fn seek_special(&self, _file: &File, _whence: SeekSpecial, _offset: i64) -> Result<u64, Errno> {
        Err(Errno::EINVAL)
    }
}

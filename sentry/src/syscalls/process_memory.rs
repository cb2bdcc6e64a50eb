//! The memory of other processes: `process_vm_readv(2)`, `process_vm_writev(2)`.

use std::sync::Arc;

use bartizan_abi::{Errno, Iovec, UIO_MAXIOV};

use crate::SysResult;
use crate::kernel::CurrentTask;
use crate::kernel::ptrace::AccessMode;
use crate::mm::{MemoryManager, UserAddr, UserPtr};

/// How many bytes are copied in one go.
const CHUNK: usize = 64 << 10;

/// Which way is copied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    FromOther,
    ToOther,
}

/// `process_vm_readv(2)`.
pub fn process_vm_readv(
    task: &CurrentTask,
    pid: i32,
    local: UserPtr<Iovec>,
    local_count: usize,
    remote: UserPtr<Iovec>,
    remote_count: usize,
    flags: u64,
) -> SysResult<usize> {
    let vectors = (local, local_count, remote, remote_count);
    transfer(task, pid, vectors, flags, Direction::FromOther)
}

/// `process_vm_writev(2)`.
pub fn process_vm_writev(
    task: &CurrentTask,
    pid: i32,
    local: UserPtr<Iovec>,
    local_count: usize,
    remote: UserPtr<Iovec>,
    remote_count: usize,
    flags: u64,
) -> SysResult<usize> {
    let vectors = (local, local_count, remote, remote_count);
    transfer(task, pid, vectors, flags, Direction::ToOther)
}

type Vectors = (UserPtr<Iovec>, usize, UserPtr<Iovec>, usize);

fn transfer(
    task: &CurrentTask,
    pid: i32,
    (local, local_count, remote, remote_count): Vectors,
    flags: u64,
    direction: Direction,
) -> SysResult<usize> {
    if flags != 0 || local_count > UIO_MAXIOV || remote_count > UIO_MAXIOV {
        return Err(Errno::EINVAL.into());
    }
    let mut local = Ranges::new(task.read_slice(local, local_count)?)?;
    let mut remote = Ranges::new(task.read_slice(remote, remote_count)?)?;
    if local.is_empty() || remote.is_empty() {
        return Ok(0);
    }
    let other = task.kernel().tree().task(pid).cloned().ok_or(Errno::ESRCH)?;
    if !task.may_trace(&other, AccessMode::Real) {
        return Err(Errno::EPERM.into());
    }
    let theirs = other.memory().ok_or(Errno::ESRCH)?;
    let own = task.mm();
    let (source, target) = match direction {
        Direction::FromOther => (&theirs, &own),
        Direction::ToOther => (&own, &theirs),
    };
    let mut buffer = vec![0; CHUNK];
    let mut done = 0usize;
    while let (Some((here, left)), Some((there, right))) = (local.current(), remote.current()) {
        let length = left.min(right).min(CHUNK as u64) as usize;
        let (from, to) = match direction {
            Direction::FromOther => (there, here),
            Direction::ToOther => (here, there),
        };
        let moved = copy(source, from, target, to, &mut buffer[..length]);
        done += moved;
        if moved < length {
            break;
        }
        local.advance(length as u64);
        remote.advance(length as u64);
    }
    if done == 0 { Err(Errno::EFAULT.into()) } else { Ok(done) }
}

/// Copies as much as can be copied.
fn copy(
    source: &Arc<MemoryManager>,
    from: u64,
    target: &Arc<MemoryManager>,
    to: u64,
    buffer: &mut [u8],
) -> usize {
    let read = source.copy_in(UserAddr(from), buffer);
    target.copy_out(UserAddr(to), &buffer[..read])
}

/// The ranges of a vector, one after the other.
struct Ranges {
    vectors: std::vec::IntoIter<Iovec>,
    current: Option<(u64, u64)>,
}

impl Ranges {
    /// # Errors
    /// `EINVAL` if they are longer than any call can tell.
    fn new(vectors: Vec<Iovec>) -> Result<Self, Errno> {
        let total = vectors.iter().try_fold(0u64, |total, vector| total.checked_add(vector.iov_len));
        if total.is_none_or(|total| total > i64::MAX.unsigned_abs()) {
            return Err(Errno::EINVAL);
        }
        let mut ranges = Self { vectors: vectors.into_iter(), current: None };
        ranges.next();
        Ok(ranges)
    }

    fn is_empty(&self) -> bool {
        self.current.is_none()
    }

    /// Address and length of what comes next.
    fn current(&self) -> Option<(u64, u64)> {
        self.current
    }

    fn next(&mut self) {
        let next = self.vectors.by_ref().find(|vector| vector.iov_len > 0);
        self.current = next.map(|vector| (vector.iov_base, vector.iov_len));
    }

    fn advance(&mut self, bytes: u64) {
        match self.current {
            Some((address, length)) if length > bytes => {
                self.current = Some((address.wrapping_add(bytes), length - bytes));
            }
            _ => self.next(),
        }
    }
}

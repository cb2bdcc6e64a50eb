//! Reading, writing, seeking: `read(2)`, `pread(2)`, `readv(2)`, `lseek(2)` and their kin.

use bartizan_abi::{Errno, FileType, Iovec, MAX_RW_COUNT, ReadWriteFlags, UIO_MAXIOV, Whence};
use smallvec::SmallVec;

use crate::SysResult;
use crate::kernel::CurrentTask;
use crate::mm::{UserAddr, UserBuffers, UserPtr, UserSlice};
use crate::vfs::{FdNumber, File, Position, SeekSpecial};

/// One buffer of the guest, cut to what one call transfers.
fn buffer(task: &CurrentTask, address: UserAddr, count: usize) -> SysResult<UserBuffers> {
    let end = task.kernel().platform().user_addresses().end;
    // As `access_ok`: a buffer that could never be the guest's is refused before anything happens.
    if address.0.checked_add(count as u64).is_none_or(|last| last > end) {
        return Err(Errno::EFAULT.into());
    }
    Ok(UserBuffers::single(&task.mm(), address, count.min(MAX_RW_COUNT)))
}

/// The buffers of a vector.
///
/// # Errors
/// `EINVAL` for too many or too long ones, `EFAULT`.
pub fn vector(task: &CurrentTask, vector: UserPtr<Iovec>, count: usize) -> SysResult<UserBuffers> {
    if count > UIO_MAXIOV {
        return Err(Errno::EINVAL.into());
    }
    let end = task.kernel().platform().user_addresses().end;
    let mut slices: SmallVec<[UserSlice; 8]> = SmallVec::new();
    for index in 0..count as u64 {
        let entry = task.read_value(vector.element(index)?)?;
        if i64::try_from(entry.iov_len).is_err() {
            return Err(Errno::EINVAL.into());
        }
        if entry.iov_base.checked_add(entry.iov_len).is_none_or(|last| last > end) {
            return Err(Errno::EFAULT.into());
        }
        slices.push(UserSlice::new(UserAddr(entry.iov_base), entry.iov_len));
    }
    let mut buffers = UserBuffers::new(&task.mm(), slices);
    buffers.truncate(MAX_RW_COUNT);
    Ok(buffers)
}

/// The offset of a positional call on `file`.
fn position(file: &File, offset: i64) -> Result<Position, Errno> {
    let offset = u64::try_from(offset).map_err(|_| Errno::EINVAL)?;
    if file.ops().seekable() { Ok(Position::At(offset)) } else { Err(Errno::ESPIPE) }
}

/// Reads and counts that, but for a description that is not open for reading.
fn read_from(
    task: &CurrentTask,
    file: &File,
    sink: &mut UserBuffers,
    position: Position,
) -> SysResult<usize> {
    let result = file.read(task, sink, position);
    if file.flags().readable() {
        task.io().count_read(*result.as_ref().unwrap_or(&0));
    }
    result
}

/// Writes and counts that, but for a description that is not open for writing.
fn write_to(
    task: &CurrentTask,
    file: &File,
    source: &mut UserBuffers,
    position: Position,
) -> SysResult<usize> {
    let result = file.write(task, source, position);
    if file.flags().writable() {
        task.io().count_write(*result.as_ref().unwrap_or(&0));
    }
    result
}

/// `read(2)`.
pub fn read(task: &CurrentTask, fd: FdNumber, address: UserAddr, count: usize) -> SysResult<usize> {
    let file = task.fd_table().get(fd)?;
    read_from(task, &file, &mut buffer(task, address, count)?, Position::Current)
}

/// `write(2)`.
pub fn write(task: &CurrentTask, fd: FdNumber, address: UserAddr, count: usize) -> SysResult<usize> {
    let file = task.fd_table().get(fd)?;
    write_to(task, &file, &mut buffer(task, address, count)?, Position::Current)
}

/// `pread(2)`.
pub fn pread64(
    task: &CurrentTask,
    fd: FdNumber,
    address: UserAddr,
    count: usize,
    offset: i64,
) -> SysResult<usize> {
    let file = task.fd_table().get(fd)?;
    let position = position(&file, offset)?;
    read_from(task, &file, &mut buffer(task, address, count)?, position)
}

/// `pwrite(2)`.
pub fn pwrite64(
    task: &CurrentTask,
    fd: FdNumber,
    address: UserAddr,
    count: usize,
    offset: i64,
) -> SysResult<usize> {
    let file = task.fd_table().get(fd)?;
    let position = position(&file, offset)?;
    write_to(task, &file, &mut buffer(task, address, count)?, position)
}

/// `readv(2)`.
pub fn readv(task: &CurrentTask, fd: FdNumber, entries: UserPtr<Iovec>, count: usize) -> SysResult<usize> {
    let file = task.fd_table().get(fd)?;
    read_from(task, &file, &mut vector(task, entries, count)?, Position::Current)
}

/// `writev(2)`.
pub fn writev(task: &CurrentTask, fd: FdNumber, entries: UserPtr<Iovec>, count: usize) -> SysResult<usize> {
    let file = task.fd_table().get(fd)?;
    write_to(task, &file, &mut vector(task, entries, count)?, Position::Current)
}

/// `preadv(2)`; on 64-bit machines the second half of the offset means nothing.
pub fn preadv(
    task: &CurrentTask,
    fd: FdNumber,
    entries: UserPtr<Iovec>,
    count: usize,
    offset: i64,
) -> SysResult<usize> {
    let file = task.fd_table().get(fd)?;
    let position = position(&file, offset)?;
    read_from(task, &file, &mut vector(task, entries, count)?, position)
}

/// `pwritev(2)`.
pub fn pwritev(
    task: &CurrentTask,
    fd: FdNumber,
    entries: UserPtr<Iovec>,
    count: usize,
    offset: i64,
) -> SysResult<usize> {
    let file = task.fd_table().get(fd)?;
    let position = position(&file, offset)?;
    write_to(task, &file, &mut vector(task, entries, count)?, position)
}

/// The flags of `preadv2` and `pwritev2` that need nothing beyond what every call does here.
const WITHOUT_EFFECT: ReadWriteFlags =
    ReadWriteFlags::RWF_HIPRI.union(ReadWriteFlags::RWF_DSYNC).union(ReadWriteFlags::RWF_SYNC);

/// `preadv2(2)`.
pub fn preadv2(
    task: &CurrentTask,
    fd: FdNumber,
    entries: UserPtr<Iovec>,
    count: usize,
    offset: i64,
    _high: u64,
) -> SysResult<usize> {
    let flags = sixth_flags(task)?;
    if !WITHOUT_EFFECT.union(ReadWriteFlags::RWF_NOWAIT).contains(flags) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let file = task.fd_table().get(fd)?;
    if flags.contains(ReadWriteFlags::RWF_NOWAIT) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let position = if offset == -1 { Position::Current } else { position(&file, offset)? };
    read_from(task, &file, &mut vector(task, entries, count)?, position)
}

/// `pwritev2(2)`.
pub fn pwritev2(
    task: &CurrentTask,
    fd: FdNumber,
    entries: UserPtr<Iovec>,
    count: usize,
    offset: i64,
    _high: u64,
) -> SysResult<usize> {
    let flags = sixth_flags(task)?;
    if !WITHOUT_EFFECT.contains(flags) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let file = task.fd_table().get(fd)?;
    let position = if offset == -1 { Position::Current } else { position(&file, offset)? };
    let written = write_to(task, &file, &mut vector(task, entries, count)?, position)?;
    if flags.intersects(ReadWriteFlags::RWF_DSYNC | ReadWriteFlags::RWF_SYNC) {
        file.ops().sync(&file)?;
    }
    Ok(written)
}

/// The flags of `preadv2` and `pwritev2`: the sixth argument, behind the two halves of the offset.
fn sixth_flags(task: &CurrentTask) -> Result<ReadWriteFlags, Errno> {
    let (_, arguments) = task.system_call();
    let bits = (arguments[5] & 0xffff_ffff) as u32;
    ReadWriteFlags::from_bits(bits).ok_or(Errno::EOPNOTSUPP)
}

/// `lseek(2)`.
pub fn lseek(task: &CurrentTask, fd: FdNumber, offset: i64, whence: u32) -> SysResult<u64> {
    let file = task.fd_table().get(fd)?;
    let whence = Whence::try_from(whence)?;
    if !file.ops().seekable() && !file.ops().stays_at_start() {
        return Err(Errno::ESPIPE.into());
    }
    let mut position = file.offset();
    if file.ops().stays_at_start() {
        *position = 0;
        return Ok(0);
    }
    let target = match whence {
        Whence::SEEK_SET => u64::try_from(offset).map_err(|_| Errno::EINVAL)?,
        Whence::SEEK_CUR => position.checked_add_signed(offset).ok_or(Errno::EINVAL)?,
        Whence::SEEK_END => file.ops().seek_special(&file, SeekSpecial::End, offset)?,
        Whence::SEEK_DATA => file.ops().seek_special(&file, SeekSpecial::Data, offset)?,
        Whence::SEEK_HOLE => file.ops().seek_special(&file, SeekSpecial::Hole, offset)?,
    };
    if i64::try_from(target).is_err() {
        let overflows = whence == Whence::SEEK_CUR || file.inode().kind() == FileType::Regular;
        return Err(if overflows { Errno::EOVERFLOW } else { Errno::EINVAL }.into());
    }
    *position = target;
    Ok(target)
}

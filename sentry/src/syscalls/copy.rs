//! Copying between files in the kernel: `sendfile(2)`, `copy_file_range(2)`.

use std::sync::Arc;

use bartizan_abi::{Errno, FileType, InotifyMask, MAX_RW_COUNT, OpenFlags};

use crate::kernel::CurrentTask;
use crate::mm::UserPtr;
use crate::vfs::{FdNumber, File, Position, SliceSink, SliceSource, notify, touch_accessed};
use crate::{SysError, SysResult};

/// Bytes that are copied at a time.
const CHUNK: usize = 64 << 10;

/// `sendfile(2)`.
pub fn sendfile(
    task: &CurrentTask,
    target: FdNumber,
    source: FdNumber,
    offset: UserPtr<i64>,
    count: usize,
) -> SysResult<usize> {
    let (source, target) = (task.fd_table().get(source)?, task.fd_table().get(target)?);
    if !source.flags().readable() || !target.flags().writable() {
        return Err(Errno::EBADF.into());
    }
    let sized = matches!(source.inode().kind(), FileType::Regular | FileType::BlockDevice);
    if !sized || target.flags().contains(OpenFlags::O_APPEND) {
        return Err(Errno::EINVAL.into());
    }
    let mut from = Place::read(task, &source, offset)?;
    let result = copy(task, (&source, &mut from.position), (&target, None), count);
    from.store(task, &source)?;
    count_both(task, &result);
    result
}

/// `copy_file_range(2)`.
pub fn copy_file_range(
    task: &CurrentTask,
    source: FdNumber,
    source_offset: UserPtr<i64>,
    target: FdNumber,
    target_offset: UserPtr<i64>,
    count: usize,
    flags: u32,
) -> SysResult<usize> {
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (source, target) = (task.fd_table().get(source)?, task.fd_table().get(target)?);
    for file in [&source, &target] {
        match file.inode().kind() {
            FileType::Regular => {}
            FileType::Directory => return Err(Errno::EISDIR.into()),
            _ => return Err(Errno::EINVAL.into()),
        }
    }
    let append = target.flags().contains(OpenFlags::O_APPEND);
    if !source.flags().readable() || !target.flags().writable() || append {
        return Err(Errno::EBADF.into());
    }
    let mut from = Place::read(task, &source, source_offset)?;
    let mut to = Place::read(task, &target, target_offset)?;
    let count = count.min(MAX_RW_COUNT);
    let size = source.inode().attributes()?.size;
    let length = size.saturating_sub(from.position).min(count as u64);
    let apart = from.position.saturating_add(length) <= to.position
        || to.position.saturating_add(length) <= from.position;
    if Arc::ptr_eq(source.inode(), target.inode()) && !apart && length > 0 {
        return Err(Errno::EINVAL.into());
    }
    let result = copy(task, (&source, &mut from.position), (&target, Some(&mut to.position)), count);
    from.store(task, &source)?;
    to.store(task, &target)?;
    count_both(task, &result);
    result
}

/// Counts a call that has both read and written as much.
fn count_both(task: &CurrentTask, result: &SysResult<usize>) {
    let bytes = *result.as_ref().unwrap_or(&0);
    task.io().count_read(bytes);
    task.io().count_write(bytes);
}

/// From where or to where is copied: a position that the guest gives, or that of the description.
struct Place {
    given: Option<UserPtr<i64>>,
    position: u64,
}

impl Place {
    fn read(task: &CurrentTask, file: &File, offset: UserPtr<i64>) -> Result<Self, Errno> {
        let given = offset.optional();
        let position = match given {
            Some(pointer) => u64::try_from(task.read_value(pointer)?).map_err(|_| Errno::EINVAL)?,
            None => *file.offset(),
        };
        Ok(Self { given, position })
    }

    /// Puts the position behind what was copied where it came from.
    fn store(&self, task: &CurrentTask, file: &File) -> Result<(), Errno> {
        match self.given {
            Some(pointer) => task.write_value(pointer, &i64::try_from(self.position).unwrap_or(i64::MAX)),
            None => {
                *file.offset() = self.position;
                Ok(())
            }
        }
    }
}

/// Copies up to `count` bytes from a position of one file to a position of another, or to where that stands; positions move with it.
fn copy(
    task: &CurrentTask,
    (source, from): (&File, &mut u64),
    (target, mut to): (&File, Option<&mut u64>),
    count: usize,
) -> SysResult<usize> {
    let count = count.min(MAX_RW_COUNT);
    let mut buffer = vec![0; count.min(CHUNK)];
    let mut total = 0;
    while total < count {
        let room = (count - total).min(CHUNK);
        let read = source.ops().read(source, &mut SliceSink::new(&mut buffer[..room]), *from);
        let step = read.map_err(SysError::from).and_then(|length| {
            let mut data = SliceSource::new(&buffer[..length]);
            let position = to.as_deref().map_or(Position::Current, |&to| Position::At(to));
            if length == 0 {
                return Ok(0);
            }
            if total == 0 {
                notify::on_file(source.path(), InotifyMask::IN_ACCESS);
                touch_accessed(source.path(), source.flags());
            }
            target.write(task, &mut data, position)
        });
        match step {
            Ok(0) => break,
            Ok(written) => {
                total += written;
                *from += written as u64;
                if let Some(to) = to.as_deref_mut() {
                    *to += written as u64;
                }
                if written < room {
                    break;
                }
            }
            Err(_) if total > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(total)
}

//! The mapper: the thread of a stub that changes its mappings, and nothing else.
//!
//! It reads its orders from a page that nobody in the stub can write, keeps everything in registers, and reports by a call that
//! only it can make; its filter allows it three calls. So no guest can drive it or answer for it.

use std::io;
use std::os::fd::AsRawFd;

use super::control::ControlMemory;
use super::layout::orders;
use super::notify::{Listener, Sent};
use crate::{Access, Mapping, Populate};

/// One mapping call, ready to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    number: i64,
    arguments: [u64; 6],
}

impl Operation {
    /// Makes `mapping`.
    pub fn map(mapping: &Mapping) -> Self {
        let populate = match mapping.populate {
            Populate::Lazily => 0,
            Populate::Now => libc::MAP_POPULATE,
        };
        let flags = libc::MAP_SHARED | libc::MAP_FIXED | populate;
        let length = mapping.range.end - mapping.range.start;
        let descriptor = mapping.file.descriptor().as_raw_fd();
        Self {
            number: libc::SYS_mmap,
            arguments: [
                mapping.range.start,
                length,
                protection(mapping.access),
                flags as u64,
                descriptor as u64,
                mapping.offset,
            ],
        }
    }

    /// Removes all mappings in `range`.
    pub fn unmap(range: &std::ops::Range<u64>) -> Self {
        Self { number: libc::SYS_munmap, arguments: [range.start, range.end - range.start, 0, 0, 0, 0] }
    }

    /// Changes the protection of `range`.
    pub fn protect(range: &std::ops::Range<u64>, access: Access) -> Self {
        let length = range.end - range.start;
        Self { number: libc::SYS_mprotect, arguments: [range.start, length, protection(access), 0, 0, 0] }
    }

    /// Makes one operation of this and `next`, where that is the same.
    pub fn merged(&self, next: &Self) -> Option<Self> {
        let [start, length, protection, flags, descriptor, offset] = self.arguments;
        let adjacent = self.number == next.number && start + length == next.arguments[0];
        let same = match self.number {
            libc::SYS_mmap => {
                next.arguments[2..5] == [protection, flags, descriptor]
                    && offset + length == next.arguments[5]
            }
            libc::SYS_mprotect => next.arguments[2] == protection,
            _ => true,
        };
        (adjacent && same).then(|| Self {
            number: self.number,
            arguments: [start, length + next.arguments[1], protection, flags, descriptor, offset],
        })
    }
}

/// The `PROT_*` bits of `access`.
fn protection(access: Access) -> u64 {
    let bits = [
        (Access::READ, libc::PROT_READ),
        (Access::WRITE, libc::PROT_WRITE),
        (Access::EXECUTE, libc::PROT_EXEC),
    ];
    bits.into_iter().filter(|(kind, _)| access.contains(*kind)).fold(0, |all, (_, bit)| all | bit as u64)
}

/// The sentry's side of the mapper.
#[derive(Debug)]
pub struct Mapper {
    listener: Listener,
    /// The call in which it waits for orders.
    waiting: u64,
}

impl Mapper {
    /// Waits for the mapper behind `listener` to be ready.
    pub fn new(listener: Listener) -> io::Result<Self> {
        let waiting = listener.receive()?.id;
        Ok(Self { listener, waiting })
    }

    /// Makes `operations` in order and waits until all are in effect.
    ///
    /// # Errors
    /// What the last operation that failed answered; the others are made all the same.
    pub fn apply(&mut self, memory: &ControlMemory, operations: &[Operation]) -> io::Result<()> {
        operations.chunks(orders::CAPACITY).try_for_each(|batch| self.apply_batch(memory, batch))
    }

    fn apply_batch(&mut self, memory: &ControlMemory, batch: &[Operation]) -> io::Result<()> {
        let slots = (orders::OPERATIONS..).step_by(orders::OPERATION_SIZE as usize);
        for (slot, operation) in slots.zip(batch) {
            memory.write_order(slot, operation.number as u64);
            for (at, argument) in (slot + 8..).step_by(8).zip(operation.arguments) {
                memory.write_order(at, argument);
            }
        }
        match self.listener.send(self.waiting, batch.len() as u64)? {
            Sent::Delivered => {}
            Sent::Interrupted => return Err(io::Error::other("a signal reached the mapper")),
        }
        let report = self.listener.receive()?;
        self.waiting = report.id;
        match report.arguments[0] as i64 {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(i32::try_from(-error).unwrap_or(libc::EINVAL))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_operations_that_continue_each_other_merge() {
        let first = Operation::unmap(&(0x1000..0x3000));
        assert_eq!(
            first.merged(&Operation::unmap(&(0x3000..0x4000))),
            Some(Operation::unmap(&(0x1000..0x4000)))
        );
        assert_eq!(first.merged(&Operation::unmap(&(0x4000..0x5000))), None);
        assert_eq!(first.merged(&Operation::protect(&(0x3000..0x4000), Access::READ)), None);
        let read = Operation::protect(&(0x1000..0x2000), Access::READ);
        assert_eq!(read.merged(&Operation::protect(&(0x2000..0x3000), Access::WRITE)), None);
    }
}

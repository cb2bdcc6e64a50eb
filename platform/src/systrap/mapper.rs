//! The mapper: the thread of a stub that changes its mappings, and nothing else.
//!
//! It reads its orders from a page that nobody in the stub can write, keeps everything in registers, and reports by a call that
//! only it can make; its filter allows it three calls. So no guest can drive it or answer for it.

use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

use super::control::ControlMemory;
use super::layout::orders;
use super::notify::{Listener, Sent};
use crate::operations::Operation;
use crate::{Access, Mapping, Populate};

/// Number and arguments of the call that does `operation`.
fn encode(operation: &Operation) -> [u64; 7] {
    let length = |range: &Range<u64>| range.end - range.start;
    match operation {
        Operation::Map(Mapping { range, file, offset, access, populate }) => {
            let populate = match populate {
                Populate::Lazily => 0,
                Populate::Now => libc::MAP_POPULATE,
            };
            let flags = (libc::MAP_SHARED | libc::MAP_FIXED | populate) as u64;
            let descriptor = file.descriptor().as_raw_fd() as u64;
            let number = libc::SYS_mmap as u64;
            [number, range.start, length(range), protection(*access), flags, descriptor, *offset]
        }
        Operation::Unmap(range) => [libc::SYS_munmap as u64, range.start, length(range), 0, 0, 0, 0],
        Operation::Protect(range, access) => {
            [libc::SYS_mprotect as u64, range.start, length(range), protection(*access), 0, 0, 0]
        }
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

    /// Makes `operations`, at most [`orders::CAPACITY`] of them, in order, and waits until all are in effect.
    ///
    /// # Errors
    /// What the last operation that failed answered; the others are made all the same.
    pub fn apply(&mut self, memory: &ControlMemory, operations: &[Operation]) -> Result<(), MapperError> {
        let slots = (orders::OPERATIONS..).step_by(orders::OPERATION_SIZE as usize);
        for (slot, operation) in slots.zip(operations) {
            for (at, word) in (slot..).step_by(8).zip(encode(operation)) {
                memory.write_order(at, word);
            }
        }
        let count = operations.len() as u64;
        // It blocks all signals; being stopped and continued from outside makes it call again.
        while self.listener.send(self.waiting, count).map_err(MapperError::Gone)? == Sent::Interrupted {
            self.waiting = self.listener.receive().map_err(MapperError::Gone)?.id;
        }
        let report = self.listener.receive().map_err(MapperError::Gone)?;
        self.waiting = report.id;
        match report.arguments[0] as i64 {
            0 => Ok(()),
            error => Err(MapperError::Refused(io::Error::from_raw_os_error(
                i32::try_from(-error).unwrap_or(libc::EINVAL),
            ))),
        }
    }
}

/// Why operations are not in effect.
#[derive(Debug)]
pub enum MapperError {
    /// The host refused one.
    Refused(io::Error),
    /// The mapper does not answer any more.
    Gone(io::Error),
}

//! Pipes and FIFOs (`pipe(7)`).
//!
//! A [`Pipe`] is the bytes between the two sides; [`PipeEnd`] is an open end of it, the [`FileOps`] of a descriptor. Bytes are copied once in
//! and once out. The lock is of class `InodeData`; guest memory is touched while it is held, waiters are told after it.

mod end;
mod ring;
mod transfer;

use std::sync::Arc;

use bartizan_abi::{Errno, OpenFlags, PollEvents};

use super::{CurrentTask, WaitQueue};
use crate::sync::{LockClass, Mutex};
use crate::vfs::FileOps;
use crate::{Restart, SysError, SysResult};

pub use end::PipeEnd;
pub use ring::PIPE_BUF;
use ring::Ring;
pub use transfer::{Duplication, Reservation};

/// Bytes that a new pipe holds.
pub const DEFAULT_CAPACITY: usize = 65_536;
/// Bytes that a pipe holds at most without `CAP_SYS_RESOURCE` (`/proc/sys/fs/pipe-max-size`).
pub const PIPE_MAX_SIZE: usize = 1 << 20;
/// Bytes that a pipe holds at most.
const CAPACITY_MAX: usize = 1 << 31;

/// What an open end is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PipeAccess {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Both: a FIFO opened with `O_RDWR`.
    Both,
}

impl PipeAccess {
    fn reads(self) -> bool {
        self != Self::Write
    }

    fn writes(self) -> bool {
        self != Self::Read
    }
}

/// Whether the limit for everybody binds the caller of [`Pipe::set_capacity`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapacityPrivilege {
    /// It does.
    Limited,
    /// It does not: `CAP_SYS_RESOURCE`.
    Unlimited,
}

/// A pipe, or what a FIFO that somebody has open leads to.
#[derive(Debug)]
pub struct Pipe {
    state: Mutex<State>,
    /// Told of everything that [`FileOps::poll`] of an end shows.
    events: WaitQueue,
    /// Told when a FIFO is opened.
    openings: WaitQueue,
}

#[derive(Debug)]
struct State {
    ring: Ring,
    readers: usize,
    writers: usize,
    /// How often it was opened for reading, and for writing.
    reader_openings: u64,
    writer_openings: u64,
}

impl Default for State {
    fn default() -> Self {
        let ring = Ring::new(DEFAULT_CAPACITY);
        Self { ring, readers: 0, writers: 0, reader_openings: 0, writer_openings: 0 }
    }
}

impl Pipe {
    /// A pipe that nobody has open.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(LockClass::InodeData, State::default()),
            events: WaitQueue::new(),
            openings: WaitQueue::new(),
        })
    }

    /// Opens an end, without waiting for another.
    pub fn end(self: &Arc<Self>, access: PipeAccess) -> Box<dyn FileOps> {
        let seen_writers = self.register(access);
        self.openings.notify(PollEvents::POLLIN | PollEvents::POLLOUT);
        Box::new(PipeEnd::new(Arc::clone(self), access, seen_writers))
    }

    /// Opens an end for reading.
    pub fn reader(self: &Arc<Self>) -> Box<dyn FileOps> {
        self.end(PipeAccess::Read)
    }

    /// Opens an end for writing.
    pub fn writer(self: &Arc<Self>) -> Box<dyn FileOps> {
        self.end(PipeAccess::Write)
    }

    /// Opens a FIFO: waits for the other side (`fifo(7)`).
    ///
    /// # Errors
    /// `ENXIO` for writing without blocking while nobody reads, `EINVAL` for neither reading nor writing; an interruption.
    pub fn open(self: &Arc<Self>, task: &CurrentTask, flags: OpenFlags) -> SysResult<Box<dyn FileOps>> {
        let access = match (flags.readable(), flags.writable()) {
            (true, true) => return Ok(self.end(PipeAccess::Both)),
            (true, false) => PipeAccess::Read,
            (false, true) => PipeAccess::Write,
            (false, false) => return Err(Errno::EINVAL.into()),
        };
        let nonblocking = flags.contains(OpenFlags::O_NONBLOCK);
        if access == PipeAccess::Write && nonblocking && self.state.lock().readers == 0 {
            return Err(Errno::ENXIO.into());
        }
        // Dropped on the way out, it gives the opening back.
        let end = OpenedEnd(Some(self.end(access)));
        if !nonblocking {
            self.wait_for_other_side(task, access)?;
        }
        end.finish()
    }

    fn wait_for_other_side(&self, task: &CurrentTask, access: PipeAccess) -> SysResult<()> {
        // Whoever has come since this end was opened counts, even if it is gone again.
        let openings_before = {
            let state = self.state.lock();
            let (present, openings) = match access {
                PipeAccess::Read => (state.writers, state.writer_openings),
                _ => (state.readers, state.reader_openings),
            };
            if present > 0 {
                return Ok(());
            }
            openings
        };
        let interest = PollEvents::POLLIN | PollEvents::POLLOUT;
        let waited = task.wait_on(&self.openings, interest, None, || {
            let state = self.state.lock();
            let openings =
                if access == PipeAccess::Read { state.writer_openings } else { state.reader_openings };
            (openings != openings_before).then_some(())
        });
        waited.map_err(|_| SysError::Restart(Restart::IfAsked))
    }

    /// Counts an end; how many writers there had been before it.
    fn register(&self, access: PipeAccess) -> u64 {
        let mut state = self.state.lock();
        let seen = if state.writers > 0 { 0 } else { state.writer_openings };
        if access.reads() {
            state.readers += 1;
            state.reader_openings += 1;
        }
        if access.writes() {
            state.writers += 1;
            state.writer_openings += 1;
        }
        seen
    }

    /// An end was closed.
    fn unregister(&self, access: PipeAccess) {
        let events = {
            let mut state = self.state.lock();
            let mut events = PollEvents::empty();
            if access.reads() {
                state.readers -= 1;
                if state.readers == 0 {
                    events |= PollEvents::POLLERR | PollEvents::WRITABLE;
                }
            }
            if access.writes() {
                state.writers -= 1;
                if state.writers == 0 {
                    events |= PollEvents::POLLHUP | PollEvents::READABLE;
                }
            }
            if state.readers == 0 && state.writers == 0 {
                state.ring.clear();
            }
            events
        };
        if !events.is_empty() {
            self.events.notify(events);
        }
    }

    /// How many bytes it holds at most (`F_GETPIPE_SZ`).
    pub fn capacity(&self) -> usize {
        self.state.lock().ring.capacity()
    }

    /// Changes how many bytes it holds at most to `size`, rounded up to pages by a power of two; gives the new value (`F_SETPIPE_SZ`).
    ///
    /// # Errors
    /// `EINVAL` for more than is possible, `EPERM` for more than `limit` without privilege, `EBUSY` if more bytes are in it.
    pub fn set_capacity(
        &self,
        size: u32,
        limit: usize,
        privilege: CapacityPrivilege,
    ) -> Result<usize, Errno> {
        let capacity = (size as usize).max(PIPE_BUF).checked_next_power_of_two().ok_or(Errno::EINVAL)?;
        if capacity > CAPACITY_MAX {
            return Err(Errno::EINVAL);
        }
        let mut state = self.state.lock();
        if capacity > state.ring.capacity() {
            if capacity > limit && privilege == CapacityPrivilege::Limited {
                return Err(Errno::EPERM);
            }
            // Pipes are kernel memory, so that not even the superuser of a sandbox gets more.
            if capacity > PIPE_MAX_SIZE {
                return Err(Errno::ENOMEM);
            }
        }
        state.ring.set_capacity(capacity)?;
        drop(state);
        self.events.notify(PollEvents::WRITABLE);
        Ok(capacity)
    }
}

/// An end that is closed again unless opening succeeds.
struct OpenedEnd(Option<Box<dyn FileOps>>);

impl OpenedEnd {
    fn finish(mut self) -> SysResult<Box<dyn FileOps>> {
        self.0.take().ok_or(SysError::Errno(Errno::EIO))
    }
}

impl Drop for OpenedEnd {
    fn drop(&mut self) {
        if let Some(end) = &self.0 {
            end.release();
        }
    }
}

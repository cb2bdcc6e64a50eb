//! Moving data between pipes and other files, for `splice(2)` and its kin.

use std::sync::Arc;

use bartizan_abi::{Errno, PollEvents};

use super::{PIPE_BUF, Pipe};
use crate::kernel::WaitQueue;
use crate::vfs::SliceSource;

/// Room kept in a pipe for data that has still to be read from elsewhere. Given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    pipe: Arc<Pipe>,
    length: usize,
}

impl Reservation {
    /// How many bytes there is room for.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Puts `data`, no more than there is room for, into the pipe.
    ///
    /// # Errors
    /// `EPIPE` if nobody can read it.
    pub fn fill(mut self, data: &[u8]) -> Result<usize, Errno> {
        let length = std::mem::take(&mut self.length);
        let count = {
            let mut state = self.pipe.state.lock();
            state.ring.unreserve(length);
            if state.readers == 0 {
                return Err(Errno::EPIPE);
            }
            state.ring.fill(&mut SliceSource::new(data), data.len().min(length))?
        };
        if count > 0 {
            self.pipe.events.notify(PollEvents::READABLE);
        }
        Ok(count)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.length > 0 {
            self.pipe.state.lock().ring.unreserve(self.length);
            self.pipe.events.notify(PollEvents::WRITABLE);
        }
    }
}

/// What becomes of data that is copied from one pipe to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplication {
    /// It stays: `tee(2)`.
    Keep,
    /// It goes: `splice(2)`.
    Move,
}

impl Pipe {
    /// Told of what [`poll`](crate::vfs::FileOps::poll) of its ends shows.
    pub fn events(&self) -> &WaitQueue {
        &self.events
    }

    /// Keeps room for up to `wanted` bytes.
    ///
    /// # Errors
    /// `EAGAIN` if there is none, `EPIPE` if nobody can read.
    pub fn reserve(self: &Arc<Self>, wanted: usize) -> Result<Reservation, Errno> {
        let mut state = self.state.lock();
        if state.readers == 0 {
            return Err(Errno::EPIPE);
        }
        match state.ring.reserve(wanted) {
            0 => Err(Errno::EAGAIN),
            length => Ok(Reservation { pipe: Arc::clone(self), length }),
        }
    }

    /// Gives the first bytes, as many as fit into `buffer`, to `use_them`, which says how many of them it has used; these are removed.
    /// Nobody else reads meanwhile, so `use_them` must not wait, nor take locks of class `InodeData` or before.
    ///
    /// # Errors
    /// `EAGAIN` if there are none but somebody may still write; what `use_them` returns. `Ok(0)` if nobody can write.
    pub fn consume(
        &self,
        buffer: &mut [u8],
        use_them: impl FnOnce(&[u8]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        let (used, was_full) = {
            let mut state = self.state.lock();
            if state.ring.is_empty() {
                return if state.writers == 0 { Ok(0) } else { Err(Errno::EAGAIN) };
            }
            let was_full = state.ring.room() < PIPE_BUF;
            let length = state.ring.peek(buffer);
            let used = use_them(&buffer[..length])?.min(length);
            state.ring.remove(used);
            (used, was_full)
        };
        if was_full {
            self.events.notify(PollEvents::WRITABLE);
        }
        Ok(used)
    }

    /// Copies up to `wanted` bytes to `target`, another pipe.
    ///
    /// # Errors
    /// `EAGAIN` if one has no bytes or the other no room, `EPIPE` if nobody can read. `Ok(0)` if there will be no bytes.
    pub fn copy_to(
        self: &Arc<Self>,
        target: &Arc<Self>,
        wanted: usize,
        duplication: Duplication,
    ) -> Result<usize, Errno> {
        if self.available() == 0 {
            let state = self.state.lock();
            if state.ring.is_empty() {
                return if state.writers == 0 { Ok(0) } else { Err(Errno::EAGAIN) };
            }
        }
        let reservation = target.reserve(wanted)?;
        let mut buffer = vec![0; reservation.length().min(self.capacity())];
        let mut count = 0;
        self.consume(&mut buffer, |data| {
            count = data.len();
            Ok(if duplication == Duplication::Move { count } else { 0 })
        })?;
        reservation.fill(&buffer[..count])
    }
}

#[cfg(test)]
mod tests {
    use super::super::PipeAccess;
    use super::*;
    use crate::vfs::SliceSink;

    fn opened() -> Arc<Pipe> {
        let pipe = Pipe::new();
        pipe.register(PipeAccess::Both);
        pipe
    }

    fn write(pipe: &Pipe, data: &[u8]) -> Result<usize, Errno> {
        pipe.write(&mut SliceSource::new(data), false)
    }

    #[test]
    fn small_writes_are_all_or_nothing_and_large_ones_partial() {
        let pipe = opened();
        assert_eq!(write(&pipe, &[1; 65_000]), Ok(65_000));
        assert_eq!(write(&pipe, &[2; 4096]), Err(Errno::EAGAIN));
        assert_eq!(write(&pipe, &[2; 500]), Ok(500));
        assert_eq!(write(&pipe, &[3; 5000]), Ok(36));
        assert_eq!(write(&pipe, &[3; 5000]), Err(Errno::EAGAIN));
    }

    #[test]
    fn ends_decide_about_end_of_file_and_broken_pipe() {
        let pipe = Pipe::new();
        pipe.register(PipeAccess::Write);
        assert_eq!(write(&pipe, b"x"), Err(Errno::EPIPE));
        pipe.register(PipeAccess::Read);
        assert_eq!(write(&pipe, b"xy"), Ok(2));
        pipe.unregister(PipeAccess::Write);
        let mut buffer = [0; 8];
        assert_eq!(pipe.read(&mut SliceSink::new(&mut buffer)), Ok(2));
        assert_eq!(pipe.read(&mut SliceSink::new(&mut buffer)), Ok(0));
    }

    #[test]
    fn tee_keeps_and_splice_moves() {
        let (one, two) = (opened(), opened());
        assert_eq!(one.copy_to(&two, 10, Duplication::Keep), Err(Errno::EAGAIN));
        assert_eq!(write(&one, b"hello"), Ok(5));
        assert_eq!(one.copy_to(&two, 10, Duplication::Keep), Ok(5));
        assert_eq!((one.available(), two.available()), (5, 5));
        assert_eq!(one.copy_to(&two, 3, Duplication::Move), Ok(3));
        assert_eq!((one.available(), two.available()), (2, 8));
    }

    #[test]
    fn capacity_is_a_power_of_two_within_limits() {
        use super::super::CapacityPrivilege::{Limited, Unlimited};
        use super::super::PIPE_MAX_SIZE;
        let pipe = opened();
        assert_eq!(pipe.set_capacity(0, PIPE_MAX_SIZE, Limited), Ok(4096));
        assert_eq!(pipe.set_capacity(5000, PIPE_MAX_SIZE, Limited), Ok(8192));
        assert_eq!(pipe.set_capacity(2 << 20, PIPE_MAX_SIZE, Limited), Err(Errno::EPERM));
        assert_eq!(pipe.set_capacity(2 << 20, PIPE_MAX_SIZE, Unlimited), Err(Errno::ENOMEM));
        assert_eq!(write(&pipe, &[0; 5000]), Ok(5000));
        assert_eq!(pipe.set_capacity(4096, PIPE_MAX_SIZE, Limited), Err(Errno::EBUSY));
    }
}

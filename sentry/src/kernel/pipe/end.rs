//! An open end of a pipe.

use std::sync::Arc;

use bartizan_abi::ioctl::FIONREAD;
use bartizan_abi::{Errno, OpenFlags, PollEvents};

use super::{PIPE_BUF, Pipe, PipeAccess};
use crate::SysResult;
use crate::kernel::{CurrentTask, WaitQueue};
use crate::mm::{UserAddr, UserPtr};
use crate::vfs::{DataSink, DataSource, File, FileOps, Written};

/// What a descriptor of a pipe or FIFO refers to.
#[derive(Debug)]
pub struct PipeEnd {
    pipe: Arc<Pipe>,
    access: PipeAccess,
    /// How many writers had come and gone when it was opened: as long as no other came, there is no hang-up.
    seen_writers: u64,
}

impl PipeEnd {
    pub(super) fn new(pipe: Arc<Pipe>, access: PipeAccess, seen_writers: u64) -> Self {
        Self { pipe, access, seen_writers }
    }

    /// The pipe between the ends.
    pub fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }

    /// What it is good for.
    pub fn access(&self) -> PipeAccess {
        self.access
    }
}

impl FileOps for PipeEnd {
    fn seekable(&self) -> bool {
        false
    }

    fn read(&self, _file: &File, sink: &mut dyn DataSink, _offset: u64) -> Result<usize, Errno> {
        if !self.access.reads() {
            return Err(Errno::EBADF);
        }
        self.pipe.read(sink)
    }

    fn write(&self, file: &File, source: &mut dyn DataSource, offset: u64) -> Result<Written, Errno> {
        if !self.access.writes() {
            return Err(Errno::EBADF);
        }
        let count = self.pipe.write(source, file.flags().contains(OpenFlags::O_DIRECT))?;
        Ok(Written { count, end: offset })
    }

    fn poll(&self, _file: &File) -> PollEvents {
        self.pipe.poll(self.access, self.seen_writers)
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.pipe.events)
    }

    fn ioctl(&self, _file: &File, task: &CurrentTask, request: u32, argument: UserAddr) -> SysResult<u64> {
        match request {
            FIONREAD => {
                let count = i32::try_from(self.pipe.available()).unwrap_or(i32::MAX);
                task.write_value(UserPtr::new(argument), &count)?;
                Ok(0)
            }
            _ => Err(Errno::ENOTTY.into()),
        }
    }

    fn release(&self) {
        self.pipe.unregister(self.access);
    }
}

impl Pipe {
    /// Reads what is there: `EAGAIN` if that is nothing but somebody may still write, zero if nobody can.
    ///
    /// # Errors
    /// `EAGAIN`, `EFAULT`.
    pub fn read(&self, sink: &mut dyn DataSink) -> Result<usize, Errno> {
        if sink.remaining() == 0 {
            return Ok(0);
        }
        let (count, was_full) = {
            let mut state = self.state.lock();
            if state.ring.is_empty() {
                return if state.writers == 0 { Ok(0) } else { Err(Errno::EAGAIN) };
            }
            let was_full = state.ring.room() < PIPE_BUF;
            (state.ring.drain(sink)?, was_full)
        };
        if was_full {
            self.events.notify(PollEvents::WRITABLE);
        }
        Ok(count)
    }

    /// Writes what fits: `EAGAIN` if that is nothing, or not all of up to [`PIPE_BUF`] bytes; `EPIPE` if nobody can read.
    ///
    /// # Errors
    /// `EAGAIN`, `EPIPE`, `EFAULT`.
    pub fn write(&self, source: &mut dyn DataSource, packets: bool) -> Result<usize, Errno> {
        let wanted = source.remaining();
        if wanted == 0 {
            return Ok(0);
        }
        let mut total = 0;
        let result = {
            let mut state = self.state.lock();
            loop {
                if state.readers == 0 {
                    break Err(Errno::EPIPE);
                }
                let count = match packets {
                    true => state.ring.fill_packet(source),
                    false if wanted <= PIPE_BUF && state.ring.room() < wanted => Ok(0),
                    false => state.ring.fill(source, wanted),
                };
                match count {
                    Ok(0) => break Err(Errno::EAGAIN),
                    Ok(count) => total += count,
                    Err(errno) => break Err(errno),
                }
                // A stream takes all that fits at once, packets come one by one.
                if !packets || source.remaining() == 0 {
                    break Ok(());
                }
            }
        };
        if total > 0 {
            self.events.notify(PollEvents::READABLE);
            return Ok(total);
        }
        result.map(|()| 0)
    }

    fn poll(&self, access: PipeAccess, seen_writers: u64) -> PollEvents {
        let state = self.state.lock();
        let mut events = PollEvents::empty();
        if access.reads() {
            if !state.ring.is_empty() {
                events |= PollEvents::READABLE;
            }
            if state.writers == 0 && state.writer_openings != seen_writers {
                events |= PollEvents::POLLHUP;
            }
        }
        if access.writes() {
            if state.ring.room() >= PIPE_BUF {
                events |= PollEvents::WRITABLE;
            }
            if state.readers == 0 {
                events |= PollEvents::POLLERR;
            }
        }
        events
    }

    /// How many bytes can be read; zero if there will be none.
    ///
    /// # Errors
    /// `EAGAIN` if there are none but somebody may still write.
    pub fn wait_for_data(&self) -> Result<usize, Errno> {
        let state = self.state.lock();
        match state.ring.len() {
            0 if state.writers > 0 => Err(Errno::EAGAIN),
            length => Ok(length),
        }
    }

    /// How many bytes can be read.
    pub fn available(&self) -> usize {
        self.state.lock().ring.len()
    }
}

//! Reading and writing open files, with the waiting that file operations leave to the VFS.

use std::time::Instant;

use bartizan_abi::process::{Capability, Resource};
use bartizan_abi::signal::Signal;
use bartizan_abi::{Errno, FileMode, FileType, InotifyMask, OpenFlags, PollEvents};

use super::{AttributeChanges, DataSink, DataSource, File, Written, notify, touch_accessed};
use crate::kernel::{CurrentTask, realtime};
use crate::{Restart, SysError, SysResult, WaitError};

/// Where a read or write starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// At the description's own position, which moves.
    Current,
    /// Here.
    At(u64),
}

impl File {
    /// Reads at `position`; waits for data unless the description is non-blocking.
    ///
    /// # Errors
    /// Those of `read(2)`; an interruption.
    pub fn read(&self, task: &CurrentTask, sink: &mut dyn DataSink, position: Position) -> SysResult<usize> {
        let count = self.read_quietly(task, sink, position)?;
        touch_accessed(self.path(), self.flags());
        if count > 0 {
            notify::on_file(self.path(), InotifyMask::IN_ACCESS);
        }
        Ok(count)
    }

    fn read_quietly(
        &self,
        task: &CurrentTask,
        sink: &mut dyn DataSink,
        position: Position,
    ) -> SysResult<usize> {
        if !self.flags().readable() {
            return Err(Errno::EBADF.into());
        }
        if self.inode().kind() == FileType::Directory {
            return Err(Errno::EISDIR.into());
        }
        if !self.ops().seekable() {
            self.ops().check_access(task, PollEvents::POLLIN)?;
            return self.read_stream(task, sink);
        }
        match position {
            Position::At(offset) => {
                self.waiting(task, PollEvents::POLLIN, || self.ops().read(self, sink, offset))
            }
            Position::Current => {
                let mut offset = self.offset();
                let count = self.ops().read(self, sink, *offset)?;
                *offset += count as u64;
                Ok(count)
            }
        }
    }

    /// Writes at `position`, all of `source` if the file is a stream that blocks.
    ///
    /// # Errors
    /// Those of `write(2)`; an interruption before anything was written.
    pub fn write(
        &self,
        task: &CurrentTask,
        source: &mut dyn DataSource,
        position: Position,
    ) -> SysResult<usize> {
        let count = self.write_quietly(task, source, position)?;
        if count > 0 {
            notify::on_file(self.path(), InotifyMask::IN_MODIFY);
        }
        Ok(count)
    }

    fn write_quietly(
        &self,
        task: &CurrentTask,
        source: &mut dyn DataSource,
        position: Position,
    ) -> SysResult<usize> {
        if !self.flags().writable() {
            return Err(Errno::EBADF.into());
        }
        if !self.ops().seekable() {
            return self.write_stream(task, source);
        }
        match position {
            Position::At(offset) => self.write_at(task, source, offset).map(|written| written.count),
            Position::Current => {
                let mut offset = self.offset();
                let written = self.write_at(task, source, *offset)?;
                *offset = written.end;
                Ok(written.count)
            }
        }
    }

    fn write_at(&self, task: &CurrentTask, source: &mut dyn DataSource, offset: u64) -> SysResult<Written> {
        if self.inode().kind() != FileType::Regular {
            return Ok(self.ops().write(self, source, offset)?);
        }
        self.drop_privileges(task)?;
        let limit = task.group().limits().soft(Resource::RLIMIT_FSIZE);
        let room = limit.saturating_sub(if self.flags().contains(OpenFlags::O_APPEND) { 0 } else { offset });
        if room == 0 && source.remaining() > 0 {
            task.send_self(Signal::SIGXFSZ);
            return Err(Errno::EFBIG.into());
        }
        if room >= source.remaining() as u64 {
            return Ok(self.ops().write(self, source, offset)?);
        }
        let mut limited = Limited { source, left: usize::try_from(room).unwrap_or(usize::MAX) };
        Ok(self.ops().write(self, &mut limited, offset)?)
    }

    /// Set-id bits go when somebody without privileges writes (`file_remove_privs`).
    fn drop_privileges(&self, task: &CurrentTask) -> Result<(), Errno> {
        let credentials = task.credentials();
        if credentials.has_capability(Capability::CAP_FSETID) {
            return Ok(());
        }
        let mode = self.inode().attributes()?.mode;
        let group = FileMode::S_ISGID | FileMode::S_IXGRP;
        let mut gone = mode & FileMode::S_ISUID;
        if mode.contains(group) {
            gone |= FileMode::S_ISGID;
        }
        if gone.is_empty() {
            return Ok(());
        }
        let changes =
            AttributeChanges { mode: Some(mode - gone), changed: realtime(), ..AttributeChanges::default() };
        self.inode().ops().set_attributes(self.inode(), &changes)
    }

    /// Reads from a pipe, socket or terminal; the last may give up after a while.
    fn read_stream(&self, task: &CurrentTask, sink: &mut dyn DataSink) -> SysResult<usize> {
        let mut started = None;
        loop {
            match self.ops().read(self, sink, 0) {
                Err(Errno::EAGAIN) => {}
                result => return Ok(result?),
            }
            let started = *started.get_or_insert_with(Instant::now);
            let Some(queue) = self.ops().wait_queue() else { return Err(Errno::EAGAIN.into()) };
            if self.flags().contains(OpenFlags::O_NONBLOCK) {
                return Err(Errno::EAGAIN.into());
            }
            let deadline = self.ops().read_deadline(started);
            let waited = task.wait_on(queue, PollEvents::POLLIN, deadline, || {
                match self.ops().read(self, sink, 0) {
                    // What came is not enough, but moves the deadline.
                    Err(Errno::EAGAIN) if self.ops().read_deadline(started) == deadline => None,
                    result => Some(result),
                }
            });
            match waited {
                Ok(Err(Errno::EAGAIN)) => {}
                Ok(result) => return Ok(result?),
                Err(WaitError::TimedOut) => return Ok(self.ops().read_expired(sink)?),
                Err(WaitError::Interrupted) => return Err(SysError::Restart(Restart::IfAsked)),
            }
        }
    }

    /// Writes to a pipe, socket or terminal; what blocks goes on until all is written.
    fn write_stream(&self, task: &CurrentTask, source: &mut dyn DataSource) -> SysResult<usize> {
        self.ops().check_access(task, PollEvents::POLLOUT)?;
        let mut total = 0;
        loop {
            let step = self.waiting(task, PollEvents::POLLOUT, || {
                self.ops().write(self, source, 0).map(|written| written.count)
            });
            match step {
                Ok(count) => {
                    total += count;
                    if count == 0 || source.remaining() == 0 {
                        return Ok(total);
                    }
                }
                Err(error) => {
                    if error == SysError::Errno(Errno::EPIPE) {
                        task.send_self(Signal::SIGPIPE);
                    }
                    return if total > 0 { Ok(total) } else { Err(error) };
                }
            }
        }
    }

    /// Makes `attempt`, and again whenever the file tells of `events`, until it does something else than `EAGAIN`.
    pub fn waiting<T>(
        &self,
        task: &CurrentTask,
        events: PollEvents,
        mut attempt: impl FnMut() -> Result<T, Errno>,
    ) -> SysResult<T> {
        match attempt() {
            Err(Errno::EAGAIN) => {}
            result => return Ok(result?),
        }
        let Some(queue) = self.ops().wait_queue() else { return Err(Errno::EAGAIN.into()) };
        if self.flags().contains(OpenFlags::O_NONBLOCK) {
            return Err(Errno::EAGAIN.into());
        }
        let waited = task.wait_on(queue, events, None, || match attempt() {
            Err(Errno::EAGAIN) => None,
            result => Some(result),
        });
        match waited {
            Ok(result) => Ok(result?),
            Err(WaitError::Interrupted | WaitError::TimedOut) => Err(SysError::Restart(Restart::IfAsked)),
        }
    }
}

/// The first bytes of a source.
struct Limited<'a> {
    source: &'a mut dyn DataSource,
    left: usize,
}

impl DataSource for Limited<'_> {
    fn remaining(&self) -> usize {
        self.source.remaining().min(self.left)
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let length = buffer.len().min(self.left);
        let count = self.source.take(&mut buffer[..length])?;
        self.left -= count;
        Ok(count)
    }

    fn take_volatile(
        &mut self,
        buffer: &bartizan_platform::memory::VolatileSlice<'_>,
    ) -> Result<usize, Errno> {
        let length = buffer.len().min(self.left);
        let part = buffer.subslice(0, length).map_err(|_| Errno::EFAULT)?;
        let count = self.source.take_volatile(&part)?;
        self.left -= count;
        Ok(count)
    }

    fn put_back(&mut self, count: usize) {
        self.source.put_back(count);
        self.left += count;
    }
}

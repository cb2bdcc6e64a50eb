//! The master of a pseudo-terminal: keyboard and screen.

use std::sync::Arc;

use bartizan_abi::{Errno, PollEvents};

use super::Terminal;
use crate::SysResult;
use crate::kernel::{CurrentTask, WaitQueue};
use crate::mm::UserAddr;
use crate::vfs::{DataSink, DataSource, File, FileOps, Written};

/// Bytes that are moved at a time.
const CHUNK: usize = 4096;

/// What a descriptor of a master refers to. There is one for each terminal.
#[derive(Debug)]
pub struct MasterFile {
    terminal: Arc<Terminal>,
}

impl MasterFile {
    /// The master of `terminal`, which has none yet.
    pub fn new(terminal: Arc<Terminal>) -> Self {
        Self { terminal }
    }

    /// The terminal.
    pub fn terminal(&self) -> &Arc<Terminal> {
        &self.terminal
    }
}

impl Terminal {
    /// Gives output to `sink`.
    ///
    /// # Errors
    /// `EAGAIN` when there is none, `EIO` when there will be none before the slave is opened again.
    pub fn take_output(&self, sink: &mut dyn DataSink) -> Result<usize, Errno> {
        let mut done = 0;
        {
            let mut state = self.state.lock();
            if let Some(events) = state.packet.as_mut().map(std::mem::take) {
                if events != 0 {
                    return sink.put(&[events]);
                }
                if !state.output.is_empty() {
                    sink.put(&[0])?;
                    done += 1;
                }
            }
            if state.output.is_empty() {
                return Err(if state.slave_closed { Errno::EIO } else { Errno::EAGAIN });
            }
            while sink.remaining() > 0 && !state.output.is_empty() {
                let (front, _) = state.output.as_slices();
                match sink.put(front) {
                    Ok(0) => break,
                    Ok(count) => {
                        done += count;
                        state.output.drain(..count);
                    }
                    Err(_) if done > 0 => break,
                    Err(errno) => return Err(errno),
                }
            }
        }
        self.slave_events.notify(PollEvents::WRITABLE);
        Ok(done)
    }

    /// What the master can do without waiting.
    pub fn poll_master(&self) -> PollEvents {
        let state = self.state.lock();
        let mut events = PollEvents::empty();
        if !state.output.is_empty() || state.packet.is_some_and(|events| events != 0) {
            events |= PollEvents::READABLE;
        }
        if state.packet.is_some_and(|events| events != 0) {
            events |= PollEvents::POLLPRI;
        }
        if state.line.room(&state.termios) > 0 {
            events |= PollEvents::WRITABLE;
        }
        if state.slave_closed {
            events |= PollEvents::POLLHUP;
        }
        events
    }

    /// Where [`poll_master`](Self::poll_master) tells of changes.
    pub fn master_queue(&self) -> &WaitQueue {
        &self.master_events
    }

    /// The master is closed: programs find their terminal hung up.
    pub fn close_master(&self) {
        self.state.lock().master_open = false;
        self.hang_up_session(false);
        self.hang_up_files();
        if let Some(owner) = self.owner.upgrade() {
            owner.master_closed(self.index);
        }
    }
}

impl FileOps for MasterFile {
    fn seekable(&self) -> bool {
        false
    }

    fn read(&self, _file: &File, sink: &mut dyn DataSink, _offset: u64) -> Result<usize, Errno> {
        if sink.remaining() == 0 {
            return Ok(0);
        }
        self.terminal.take_output(sink)
    }

    fn write(&self, _file: &File, source: &mut dyn DataSource, offset: u64) -> Result<Written, Errno> {
        let mut buffer = [0; CHUNK];
        let mut total = 0;
        while source.remaining() > 0 {
            let filled = match source.take(&mut buffer) {
                Ok(0) => break,
                Ok(filled) => filled,
                Err(_) if total > 0 => break,
                Err(errno) => return Err(errno),
            };
            let taken = self.terminal.type_in(buffer.get(..filled).unwrap_or_default());
            source.put_back(filled - taken.unwrap_or(0));
            match taken {
                Ok(count) => total += count,
                Err(_) if total > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(Written { count: total, end: offset })
    }

    fn poll(&self, _file: &File) -> PollEvents {
        self.terminal.poll_master()
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(self.terminal.master_queue())
    }

    fn ioctl(&self, file: &File, task: &CurrentTask, request: u32, argument: UserAddr) -> SysResult<u64> {
        self.terminal.master_ioctl(file, task, request, argument)
    }

    fn release(&self) {
        self.terminal.close_master();
    }
}

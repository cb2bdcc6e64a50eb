//! The slave of a pseudo-terminal: what programs see as their terminal.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bartizan_abi::signal::Signal;
use bartizan_abi::termios::LocalModes;
use bartizan_abi::{Errno, OpenFlags, PollEvents};

use super::line::{is_canonical, least, tenths};
use super::{OUTPUT_SIZE, Terminal, output};
use crate::SysResult;
use crate::kernel::{CurrentTask, WaitQueue};
use crate::mm::UserAddr;
use crate::vfs::{DataSink, DataSource, File, FileOps, Written};

/// Bytes that are moved at a time.
const CHUNK: usize = 4096;

/// What a descriptor of a slave refers to.
#[derive(Debug)]
pub struct TerminalFile {
    terminal: Arc<Terminal>,
    /// How often the terminal had been hung up when it was opened.
    hangups: u32,
}

impl TerminalFile {
    /// Opens the slave; `task` may get a controlling terminal by that (`tty_open`).
    ///
    /// # Errors
    /// `EIO` when the master is closed or the terminal is locked, `EBUSY` when somebody has it for himself.
    pub fn open(
        terminal: &Arc<Terminal>,
        flags: OpenFlags,
        task: Option<&CurrentTask>,
    ) -> Result<Self, Errno> {
        {
            let mut state = terminal.state.lock();
            if !state.master_open || state.locked {
                return Err(Errno::EIO);
            }
            if state.exclusive && !task.is_none_or(super::job_control::may_administer) {
                return Err(Errno::EBUSY);
            }
            state.slaves += 1;
            state.slave_closed = false;
        }
        if let Some(task) = task
            && !flags.contains(OpenFlags::O_NOCTTY)
            && flags.readable()
        {
            terminal.adopt_session_of(task);
        }
        let hangups = terminal.hangups.load(Ordering::Acquire);
        Ok(Self { terminal: Arc::clone(terminal), hangups })
    }

    /// The terminal.
    pub fn terminal(&self) -> &Arc<Terminal> {
        &self.terminal
    }

    fn is_hung_up(&self) -> bool {
        self.terminal.hangups.load(Ordering::Acquire) != self.hangups
    }

    /// Reads what there is, even if that is less than `VMIN`.
    fn read_now(&self, sink: &mut dyn DataSink) -> Result<Option<usize>, Errno> {
        let mut state = self.terminal.state.lock();
        let termios = state.termios;
        let Some(data) = state.line.read(&termios, sink.remaining().min(super::line::INPUT_SIZE)) else {
            return Ok(None);
        };
        drop(state);
        if !data.is_empty() {
            self.terminal.master_events.notify(PollEvents::WRITABLE);
        }
        // As on Linux, what a bad buffer cannot take is lost.
        let mut done = 0;
        while let Some(rest) = data.get(done..)
            && !rest.is_empty()
        {
            match sink.put(rest) {
                Ok(count) if count > 0 => done += count,
                Ok(_) => break,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(Some(done))
    }
}

impl FileOps for TerminalFile {
    fn seekable(&self) -> bool {
        false
    }

    fn check_access(&self, task: &CurrentTask, access: PollEvents) -> SysResult<()> {
        if self.is_hung_up() {
            return Ok(());
        }
        if access == PollEvents::POLLIN {
            return self.terminal.check_background(task, Signal::SIGTTIN);
        }
        let stops = self.terminal.state.lock().termios.c_lflag & LocalModes::TOSTOP.bits() != 0;
        if stops { self.terminal.check_background(task, Signal::SIGTTOU) } else { Ok(()) }
    }

    fn read(&self, _file: &File, sink: &mut dyn DataSink, _offset: u64) -> Result<usize, Errno> {
        if self.is_hung_up() || sink.remaining() == 0 {
            return Ok(0);
        }
        {
            let state = self.terminal.state.lock();
            if !state.line.is_readable(&state.termios, sink.remaining()) {
                let polls = !is_canonical(&state.termios)
                    && least(&state.termios) == 0
                    && tenths(&state.termios) == 0;
                return if polls { Ok(0) } else { Err(Errno::EAGAIN) };
            }
        }
        self.read_now(sink)?.ok_or(Errno::EAGAIN)
    }

    fn read_deadline(&self, started: Instant) -> Option<Instant> {
        let state = self.terminal.state.lock();
        let tenths = tenths(&state.termios);
        if is_canonical(&state.termios) || tenths == 0 {
            return None;
        }
        let limit = Duration::from_millis(u64::from(tenths) * 100);
        match least(&state.termios) {
            0 => started.checked_add(limit),
            // Between bytes: it runs from the last one, once there is one.
            _ if state.line.available(&state.termios) > 0 => state.last_input.max(started).checked_add(limit),
            _ => None,
        }
    }

    fn read_expired(&self, sink: &mut dyn DataSink) -> Result<usize, Errno> {
        Ok(self.read_now(sink)?.unwrap_or(0))
    }

    fn write(&self, _file: &File, source: &mut dyn DataSource, offset: u64) -> Result<Written, Errno> {
        let mut total = 0;
        while source.remaining() > 0 {
            if self.is_hung_up() {
                return Err(Errno::EIO);
            }
            let mut buffer = [0; CHUNK];
            let filled = match source.take(&mut buffer) {
                Ok(0) => break,
                Ok(filled) => filled,
                Err(_) if total > 0 => break,
                Err(errno) => return Err(errno),
            };
            let taken = self.terminal.print(buffer.get(..filled).unwrap_or_default());
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
        if self.is_hung_up() {
            return PollEvents::READABLE | PollEvents::WRITABLE | PollEvents::POLLERR | PollEvents::POLLHUP;
        }
        let state = self.terminal.state.lock();
        let mut events = PollEvents::empty();
        let wanted = if tenths(&state.termios) == 0 { least(&state.termios).max(1) } else { 1 };
        if state.line.is_readable(&state.termios, wanted) {
            events |= PollEvents::READABLE;
        }
        if !state.stopped && state.output.len() + output::MOST_EXPANDED <= OUTPUT_SIZE {
            events |= PollEvents::WRITABLE;
        }
        if !state.master_open {
            events |= PollEvents::POLLHUP;
        }
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.terminal.slave_events)
    }

    fn ioctl(&self, file: &File, task: &CurrentTask, request: u32, argument: UserAddr) -> SysResult<u64> {
        if self.is_hung_up() {
            let errno = if request == bartizan_abi::ioctl::TIOCSPGRP { Errno::ENOTTY } else { Errno::EIO };
            return Err(errno.into());
        }
        self.terminal.slave_ioctl(file, task, request, argument)
    }

    fn release(&self) {
        if self.is_hung_up() {
            return;
        }
        {
            let mut state = self.terminal.state.lock();
            state.slaves = state.slaves.saturating_sub(1);
            if state.slaves > 0 {
                return;
            }
            state.slave_closed = true;
            state.exclusive = false;
        }
        self.terminal.master_events.notify(PollEvents::READABLE | PollEvents::POLLHUP);
    }
}

//! Terminals of the sandbox: pseudo-terminals, with a line discipline and job control (`pty(7)`, `tty_ioctl(4)`).
//!
//! A [`Terminal`] is what lies between two ends: programs have the *slave* ([`TerminalFile`]) open, which behaves as a terminal;
//! whoever draws the screen has the *master* ([`MasterFile`]). Bytes from the master go through [`line`], bytes from the slave
//! through [`output`].
//!
//! Locks: the state of a terminal has class `Terminal`. Which session it controls and which process group is in its foreground
//! belongs to the process tree and changes under its lock only; signals are sent after the terminal's own lock has been let
//! go of.

mod ioctl;
mod job_control;
mod line;
mod master;
mod output;
mod slave;

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use bartizan_abi::signal::Signal;
use bartizan_abi::termios::{LocalModes, TCIFLUSH, TCIOFLUSH, TCOFLUSH};
use bartizan_abi::{DeviceNumber, Errno, PollEvents, Termios, Winsize};

use super::{Kernel, WaitQueue};
use crate::sync::{LockClass, Mutex};

use line::{Echo, Effect, LineDiscipline};
pub use master::MasterFile;
use output::OutputProcessor;
pub use slave::TerminalFile;

/// Major number of the slaves (`UNIX98_PTY_SLAVE_MAJOR`).
pub const SLAVE_MAJOR: u32 = 136;

/// How much output waits for the master at most, bytes.
const OUTPUT_SIZE: usize = 16 << 10;

/// Whoever gave a terminal its number and its name.
pub trait TerminalOwner: Send + Sync + Debug {
    /// The master of terminal `index` is closed: its name goes, and its number is free. No lock is held.
    fn master_closed(&self, index: u32);
}

/// A pseudo-terminal.
#[derive(Debug)]
pub struct Terminal {
    index: u32,
    kernel: Weak<Kernel>,
    owner: Weak<dyn TerminalOwner>,
    state: Mutex<State>,
    /// Told of what concerns the slave: input, room for output.
    slave_events: WaitQueue,
    /// Told of what concerns the master: output, room for input.
    master_events: WaitQueue,
    /// The session that it controls; zero for none. Changes under the lock of the process tree.
    session: AtomicI32,
    /// The process group in the foreground; zero for none. Changes under the lock of the process tree.
    foreground: AtomicI32,
    /// How often it was hung up: files that were opened before are dead.
    hangups: AtomicU32,
}

#[derive(Debug)]
struct State {
    termios: Termios,
    size: Winsize,
    line: LineDiscipline,
    processor: OutputProcessor,
    /// Output that the master has not read.
    output: VecDeque<u8>,
    /// Output stands still (`VSTOP`, `TCOOFF`).
    stopped: bool,
    /// What the master is told in packet mode (`TIOCPKT`); `None` without it.
    packet: Option<u8>,
    /// The slave cannot be opened yet (`TIOCSPTLCK`).
    locked: bool,
    /// Nobody else may open the slave (`TIOCEXCL`).
    exclusive: bool,
    master_open: bool,
    slaves: usize,
    /// The last slave was closed, and none was opened since.
    slave_closed: bool,
    /// When the last input came, for `VTIME`.
    last_input: Instant,
}

impl Terminal {
    /// Terminal number `index`, locked, with the settings that Linux gives a new one.
    pub fn new(kernel: &Arc<Kernel>, index: u32, owner: Weak<dyn TerminalOwner>) -> Arc<Self> {
        let size = Winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
        let state = State {
            termios: Termios::INITIAL,
            size,
            line: LineDiscipline::default(),
            processor: OutputProcessor::default(),
            output: VecDeque::new(),
            stopped: false,
            packet: None,
            locked: true,
            exclusive: false,
            master_open: true,
            slaves: 0,
            slave_closed: false,
            last_input: Instant::now(),
        };
        Arc::new(Self {
            index,
            kernel: Arc::downgrade(kernel),
            owner,
            state: Mutex::new(LockClass::Terminal, state),
            slave_events: WaitQueue::new(),
            master_events: WaitQueue::new(),
            session: AtomicI32::new(0),
            foreground: AtomicI32::new(0),
            hangups: AtomicU32::new(0),
        })
    }

    /// Its number: the name of the slave in `/dev/pts`.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The device number of the slave.
    pub fn device(&self) -> DeviceNumber {
        DeviceNumber::new(SLAVE_MAJOR, self.index)
    }

    /// The process group in its foreground; zero for none.
    pub fn foreground(&self) -> i32 {
        self.foreground.load(Ordering::Relaxed)
    }

    /// The session that it controls; zero for none.
    pub fn session(&self) -> i32 {
        self.session.load(Ordering::Relaxed)
    }

    /// Lets the slave be opened (`unlockpt(3)`), or forbids it.
    pub fn set_locked(&self, locked: bool) {
        self.state.lock().locked = locked;
    }

    /// Sets the size of the window; the foreground hears of a change by `SIGWINCH`.
    pub fn resize(&self, size: Winsize) {
        {
            let mut state = self.state.lock();
            if state.size == size {
                return;
            }
            state.size = size;
        }
        self.signal_foreground(Signal::SIGWINCH);
    }

    /// Takes `data` as typed by the user; returns how much of it there was room for.
    ///
    /// # Errors
    /// `EAGAIN` if there is none.
    pub fn type_in(&self, data: &[u8]) -> Result<usize, Errno> {
        let mut signals = Vec::new();
        let (mut taken, mut restarted) = (0, false);
        {
            let mut state = self.state.lock();
            let state = &mut *state;
            while let Some(&byte) = data.get(taken)
                && state.line.room(&state.termios) > 0
            {
                taken += 1;
                let State { termios, line, processor, output, stopped, .. } = &mut *state;
                let effect = line.receive(byte, *stopped, &mut Echo { termios, processor, screen: output });
                match effect {
                    Effect::None => {}
                    Effect::Signal(signal) => {
                        signals.push(signal);
                        let flushes = state.termios.c_lflag & LocalModes::NOFLSH.bits() == 0;
                        if flushes {
                            state.note(packet::FLUSH_READ | packet::FLUSH_WRITE);
                        }
                        restarted |= state.start();
                    }
                    Effect::Stop => state.stop(),
                    Effect::Start => restarted |= state.start(),
                }
            }
            // Echo that nobody reads must not grow without bounds.
            state.output.truncate(2 * OUTPUT_SIZE);
            state.last_input = Instant::now();
        }
        if taken == 0 && !data.is_empty() {
            return Err(Errno::EAGAIN);
        }
        for signal in signals {
            self.signal_foreground(signal);
        }
        let writable = if restarted { PollEvents::WRITABLE } else { PollEvents::empty() };
        self.slave_events.notify(PollEvents::READABLE | writable);
        self.master_events.notify(PollEvents::READABLE);
        Ok(taken)
    }

    /// Takes `data` as written by a program; returns how much of it there was room for.
    ///
    /// # Errors
    /// `EAGAIN` if there is none, or output is stopped; `EIO` when nobody will ever read it.
    fn print(&self, data: &[u8]) -> Result<usize, Errno> {
        let mut taken = 0;
        {
            let mut state = self.state.lock();
            if !state.master_open {
                return Err(Errno::EIO);
            }
            let State { termios, processor, output, stopped, .. } = &mut *state;
            while let Some(&byte) = data.get(taken)
                && !*stopped
                && output.len() + output::MOST_EXPANDED <= OUTPUT_SIZE
            {
                processor.put(termios, byte, output);
                taken += 1;
            }
        }
        if taken == 0 && !data.is_empty() {
            return Err(Errno::EAGAIN);
        }
        self.master_events.notify(PollEvents::READABLE);
        Ok(taken)
    }

    /// Drops input, output or both (`TCFLSH`).
    fn flush(&self, what: u32) -> Result<(), Errno> {
        {
            let mut state = self.state.lock();
            if what == TCIFLUSH || what == TCIOFLUSH {
                state.line.flush();
                state.note(packet::FLUSH_READ);
            }
            // Output is in the master's hands already.
            if what == TCOFLUSH || what == TCIOFLUSH {
                state.note(packet::FLUSH_WRITE);
            }
            if what > TCIOFLUSH {
                return Err(Errno::EINVAL);
            }
        }
        self.master_events.notify(PollEvents::READABLE | PollEvents::WRITABLE);
        self.slave_events.notify(PollEvents::WRITABLE);
        Ok(())
    }

    /// Stops output or lets it go on.
    fn set_stopped(&self, stopped: bool) {
        {
            let mut state = self.state.lock();
            if stopped {
                state.stop();
            } else {
                state.start();
            }
        }
        self.slave_events.notify(PollEvents::WRITABLE);
        self.master_events.notify(PollEvents::READABLE);
    }

    /// Replaces the settings.
    fn set_termios(&self, termios: Termios) {
        {
            let mut state = self.state.lock();
            let old = std::mem::replace(&mut state.termios, termios);
            state.line.settings_changed(&old, &termios);
            state.note_flow_control(&old);
        }
        self.slave_events.notify(PollEvents::READABLE | PollEvents::WRITABLE);
        self.master_events.notify(PollEvents::READABLE);
    }

    /// Kills all files of the slave that are open: they read the end of file, and writing fails.
    pub(super) fn hang_up_files(&self) {
        self.hangups.fetch_add(1, Ordering::Release);
        {
            let mut state = self.state.lock();
            state.slaves = 0;
            state.slave_closed = true;
            state.stopped = false;
            state.line.flush();
        }
        let all = PollEvents::READABLE | PollEvents::WRITABLE | PollEvents::POLLHUP | PollEvents::POLLERR;
        self.slave_events.notify(all);
        self.master_events.notify(all);
    }
}

impl State {
    fn stop(&mut self) {
        if !std::mem::replace(&mut self.stopped, true) {
            self.note(packet::STOP);
        }
    }

    /// Lets output go on; returns whether it stood still.
    fn start(&mut self) -> bool {
        let stopped = std::mem::replace(&mut self.stopped, false);
        if stopped {
            self.note(packet::START);
        }
        stopped
    }

    /// Notes something for a master in packet mode.
    fn note(&mut self, event: u8) {
        let opposite = match event {
            packet::STOP => packet::START,
            packet::START => packet::STOP,
            packet::DO_STOP => packet::NO_STOP,
            packet::NO_STOP => packet::DO_STOP,
            _ => 0,
        };
        if let Some(events) = &mut self.packet {
            *events = *events & !opposite | event;
        }
    }

    /// Tells a master in packet mode whether `^S` and `^Q` are the terminal's own to handle.
    fn note_flow_control(&mut self, old: &Termios) {
        use bartizan_abi::termios::{InputModes, VSTART, VSTOP};
        let handles = |termios: &Termios| {
            termios.c_iflag & InputModes::IXON.bits() != 0
                && termios.c_cc[VSTOP] == 0o023
                && termios.c_cc[VSTART] == 0o021
        };
        match (handles(old), handles(&self.termios)) {
            (false, true) => self.note(packet::DO_STOP),
            (true, false) => self.note(packet::NO_STOP),
            _ => {}
        }
    }
}

/// What a master in packet mode is told before it reads data (`TIOCPKT` in `ioctl_tty(2)`).
mod packet {
    pub(super) const FLUSH_READ: u8 = 1;
    pub(super) const FLUSH_WRITE: u8 = 2;
    pub(super) const STOP: u8 = 4;
    pub(super) const START: u8 = 8;
    pub(super) const NO_STOP: u8 = 16;
    pub(super) const DO_STOP: u8 = 32;
}

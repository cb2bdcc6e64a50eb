//! A traced thread, as types: what is stopped can be looked at and resumed, what runs can only be waited for.
//!
//! A tracee belongs to the host thread that seized it; these values are used there alone (they are not `Send`). A stopped tracee that is
//! dropped is parked and let go; a running one takes its stub with it.

use std::io;
use std::marker::PhantomData;

use super::stub;
use super::sys::{self, SignalInfo, Tid};
use crate::{PlatformError, Registers};

/// What every tracee is seized with: system call stops are marked, clones attach to the same tracer, and a tracer that
/// ends unexpectedly takes its tracees with it, so that guest code never runs untraced.
pub(super) const OPTIONS: i32 =
    libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;

/// Why a tracee could not be used.
#[derive(Debug)]
pub(super) enum TraceeError {
    /// It died.
    Died {
        /// The wait status, if it was seen.
        status: Option<i32>,
    },
    /// A host call failed.
    Host {
        /// Which one.
        call: &'static str,
        /// How.
        source: io::Error,
    },
}

impl TraceeError {
    /// For the failure of `call`; a tracee that is gone is one that died.
    pub(super) fn of(call: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.raw_os_error() {
            Some(libc::ESRCH | libc::ECHILD) => Self::Died { status: None },
            _ => Self::Host { call, source },
        }
    }
}

impl From<TraceeError> for PlatformError {
    fn from(error: TraceeError) -> Self {
        match error {
            TraceeError::Died { status } => Self::Died { what: describe(status) },
            TraceeError::Host { call, source } => Self::Host { call, source },
        }
    }
}

fn describe(status: Option<i32>) -> String {
    match status {
        Some(status) if libc::WIFSIGNALED(status) => {
            format!("its stub process was killed by signal {}", libc::WTERMSIG(status))
        }
        Some(status) => format!("its stub process ended with status {}", libc::WEXITSTATUS(status)),
        None => "its stub process is gone, killed from outside".to_owned(),
    }
}

/// Why a tracee stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// At a system call, which is not executed.
    Syscall,
    /// Before a signal, which is not delivered.
    Signal(i32),
    /// A clone was made.
    Cloned,
    /// For tracing's own reasons.
    Other,
}

impl Stop {
    fn from_status(status: i32) -> Option<Self> {
        if !libc::WIFSTOPPED(status) {
            return None;
        }
        Some(match (status >> 16, libc::WSTOPSIG(status)) {
            (0, signal) if signal == libc::SIGTRAP | 0x80 => Self::Syscall,
            (0, signal) => Self::Signal(signal),
            (libc::PTRACE_EVENT_CLONE, _) => Self::Cloned,
            _ => Self::Other,
        })
    }
}

/// Waits until `tid` stops; the error is that it died instead.
fn wait_for_stop(tid: Tid) -> Result<Stop, TraceeError> {
    let status = sys::wait(tid).map_err(TraceeError::of("waitpid"))?;
    Stop::from_status(status).ok_or(TraceeError::Died { status: Some(status) })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Stopped,
    Running,
    Gone,
}

/// The thread itself; its state is that of the type around it.
#[derive(Debug)]
struct Tracee {
    tid: Tid,
    pid: Tid,
    state: State,
    /// Tracees belong to a thread.
    _thread: PhantomData<*const ()>,
}

impl Tracee {
    fn check<T>(&mut self, result: Result<T, TraceeError>) -> Result<T, TraceeError> {
        match &result {
            Err(TraceeError::Died { status: Some(_) }) => self.state = State::Gone,
            Err(TraceeError::Died { status: None }) => {
                // It is dying, and its end has not been collected yet.
                let _collected = sys::wait(self.tid);
                self.state = State::Gone;
            }
            _ => {}
        }
        result
    }

    /// Makes the thread wait in its stub, untraced.
    fn park(&mut self) -> Result<(), TraceeError> {
        let registers = Registers { rip: stub::park(), ..injected_registers() };
        sys::set_registers(self.tid, &registers).map_err(TraceeError::of("PTRACE_SETREGS"))?;
        sys::detach(self.tid).map_err(TraceeError::of("PTRACE_DETACH"))
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        if self.state == State::Stopped {
            let parked = self.park();
            if self.check(parked).is_ok() {
                return;
            }
        }
        if self.state != State::Gone {
            let _already_dead = sys::kill(self.pid);
            while let Ok(status) = sys::wait(self.tid)
                && libc::WIFSTOPPED(status)
            {
                let _dying = sys::resume(self.tid);
            }
        }
    }
}

/// A tracee that is stopped.
#[derive(Debug)]
pub(super) struct Stopped(Tracee);

/// A tracee that runs.
#[derive(Debug)]
pub(super) struct Running(Tracee);

/// Registers for stub code: a flat user-mode environment, everything else zero, and no system call to restart.
pub(super) fn injected_registers() -> Registers {
    Registers { cs: 0x33, ss: 0x2b, eflags: 0x202, orig_rax: u64::MAX, ..Registers::default() }
}

impl Stopped {
    /// Seizes and stops a thread that is parked in its stub.
    pub(super) fn seize_parked(pid: Tid, tid: Tid) -> Result<Self, TraceeError> {
        sys::seize(tid, OPTIONS).map_err(TraceeError::of("PTRACE_SEIZE"))?;
        let mut tracee = Tracee { tid, pid, state: State::Running, _thread: PhantomData };
        let interrupted = sys::interrupt(tid).map_err(TraceeError::of("PTRACE_INTERRUPT"));
        tracee.check(interrupted)?;
        let (stopped, _) = Running(tracee).wait()?;
        Ok(stopped)
    }

    /// Has the stub thread `leader` of process `pid`, which waits for orders, clone itself. The new thread or process is stopped and
    /// traced by the caller; `leader` is left as it was.
    pub(super) fn order_clone(pid: Tid, leader: Tid) -> Result<Self, OrderError> {
        sys::seize(leader, OPTIONS).map_err(TraceeError::of("PTRACE_SEIZE"))?;
        let mut orderer = Running(Tracee { tid: leader, pid, state: State::Running, _thread: PhantomData });
        let sent = sys::send_signal(pid, leader, stub::ORDER).map_err(TraceeError::of("tgkill"));
        orderer.0.check(sent)?;
        let stopped = loop {
            let (stopped, stop) = orderer.wait()?;
            match stop {
                Stop::Cloned => break stopped,
                Stop::Signal(libc::SIGTRAP) => {
                    let registers = stopped.registers()?;
                    stopped.release()?;
                    let errno = i32::try_from((registers.rax as i64).wrapping_neg()).unwrap_or(libc::EAGAIN);
                    return Err(OrderError::Refused(io::Error::from_raw_os_error(errno)));
                }
                _ => orderer = stopped.resume()?,
            }
        };
        let child = sys::event_message(leader).map_err(TraceeError::of("PTRACE_GETEVENTMSG"))?;
        stopped.release()?;
        let tracee = Tracee { tid: child, pid, state: State::Running, _thread: PhantomData };
        let (child, _) = Running(tracee).wait()?;
        Ok(child)
    }

    /// Which thread this is.
    pub(super) fn tid(&self) -> Tid {
        self.0.tid
    }

    /// Makes this the tracee of a process of its own.
    pub(super) fn into_leader(mut self) -> Self {
        self.0.pid = self.0.tid;
        self
    }

    /// Stops tracing; the thread goes on where it is.
    pub(super) fn release(mut self) -> Result<(), TraceeError> {
        let detached = sys::detach(self.0.tid).map_err(TraceeError::of("PTRACE_DETACH"));
        self.0.check(detached)?;
        self.0.state = State::Gone;
        Ok(())
    }

    /// Stops tracing; the thread waits in its stub and can be [seized](Self::seize_parked) again. Returns its id.
    pub(super) fn park(mut self) -> Result<Tid, TraceeError> {
        let parked = self.0.park();
        self.0.check(parked)?;
        self.0.state = State::Gone;
        Ok(self.0.tid)
    }

    /// Its registers.
    pub(super) fn registers(&self) -> Result<Registers, TraceeError> {
        let mut registers = Registers::default();
        self.read_registers(&mut registers)?;
        Ok(registers)
    }

    /// Its registers, into `registers`.
    pub(super) fn read_registers(&self, registers: &mut Registers) -> Result<(), TraceeError> {
        sys::get_registers(self.0.tid, registers).map_err(TraceeError::of("PTRACE_GETREGS"))
    }

    /// Replaces all its registers.
    pub(super) fn write_registers(&mut self, registers: &Registers) -> Result<(), TraceeError> {
        sys::set_registers(self.0.tid, registers).map_err(TraceeError::of("PTRACE_SETREGS"))
    }

    /// Replaces one register, at `offset` bytes of [`Registers`].
    pub(super) fn write_register(&mut self, offset: usize, value: u64) -> Result<(), TraceeError> {
        sys::set_register(self.0.tid, offset, value).map_err(TraceeError::of("PTRACE_POKEUSER"))
    }

    /// Reads the extended state; returns its length in bytes.
    pub(super) fn read_extended_state(&self, area: &mut [u8]) -> Result<usize, TraceeError> {
        sys::get_extended_state(self.0.tid, area).map_err(TraceeError::of("PTRACE_GETREGSET"))
    }

    /// Replaces the extended state.
    pub(super) fn write_extended_state(&mut self, area: &[u8]) -> Result<(), TraceeError> {
        sys::set_extended_state(self.0.tid, area).map_err(TraceeError::of("PTRACE_SETREGSET"))
    }

    /// What the signal that stopped it says.
    pub(super) fn signal_info(&self) -> Result<SignalInfo, TraceeError> {
        sys::signal_info(self.0.tid).map_err(TraceeError::of("PTRACE_GETSIGINFO"))
    }

    /// Lets stub code run, whose system calls the host executes.
    pub(super) fn resume(mut self) -> Result<Running, TraceeError> {
        let resumed = sys::resume(self.0.tid).map_err(TraceeError::of("PTRACE_CONT"));
        self.0.check(resumed)?;
        self.0.state = State::Running;
        Ok(Running(self.0))
    }

    /// Lets guest code run, whose system calls the host does not execute.
    pub(super) fn emulate(mut self) -> Result<Running, TraceeError> {
        let resumed = sys::emulate(self.0.tid).map_err(TraceeError::of("PTRACE_SYSEMU"));
        self.0.check(resumed)?;
        self.0.state = State::Running;
        Ok(Running(self.0))
    }

    /// Runs stub code up to its breakpoint. Signals that come meanwhile are dropped; a kick is remembered by its sender.
    pub(super) fn run_stub(self) -> Result<Self, TraceeError> {
        let mut tracee = self;
        loop {
            let (stopped, stop) = tracee.resume()?.wait()?;
            match stop {
                Stop::Signal(libc::SIGTRAP) => return Ok(stopped),
                Stop::Signal(signal) if is_fault(signal) && stopped.signal_info()?.code > 0 => {
                    let source = io::Error::other(format!("stub code got signal {signal}"));
                    return Err(TraceeError::Host { call: "PTRACE_CONT", source });
                }
                _ => tracee = stopped,
            }
        }
    }
}

fn is_fault(signal: i32) -> bool {
    matches!(signal, libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE | libc::SIGSYS)
}

impl Running {
    /// Waits until the tracee stops.
    pub(super) fn wait(mut self) -> Result<(Stopped, Stop), TraceeError> {
        let stop = wait_for_stop(self.0.tid);
        let stop = self.0.check(stop)?;
        self.0.state = State::Stopped;
        Ok((Stopped(self.0), stop))
    }
}

/// Why an ordered clone was not made.
#[derive(Debug)]
pub(super) enum OrderError {
    /// The host refused it.
    Refused(io::Error),
    /// The thread that was to make it could not be used.
    Tracee(TraceeError),
}

impl From<TraceeError> for OrderError {
    fn from(error: TraceeError) -> Self {
        Self::Tracee(error)
    }
}

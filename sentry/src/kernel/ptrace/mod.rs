//! Tasks that other tasks trace: `ptrace(2)`.
//!
//! Who traces whom stands in the process tree, under its lock. A task stops on its own thread: it puts its registers and extended state
//! into a [`Stop`], tells its tracer, and sleeps until the tracer lets it go or it is killed; meanwhile the tracer reads and changes the stop, and the
//! memory through the task's address space. What a task that nobody traces pays is nothing: a tracer that wants to know of calls sets a bit of the
//! flag that says whether calls have to be checked (`seccomp`), and a task that is stepped keeps its mark that there is work.
//!
//! Locks: `TaskTree`, then `Ptrace` (the stop and what the tracer has asked for), then `Signal`.

mod access;
mod breakpoints;
mod exit;
mod relation;
mod request;
mod stop;
mod user_area;
mod wait;

use std::sync::atomic::{AtomicU32, Ordering};

use bartizan_abi::process::ptrace::PtraceOptions;
use bartizan_abi::signal::SigInfo;
use bartizan_platform::{FpuState, Registers};
use bitflags::bitflags;

pub use access::AccessMode;
pub use breakpoints::DebugRegisters;
pub use exit::{EndedTracee, Tracing};
pub use relation::{SeizeMode, traceable_event};
pub use request::{Resumption, StoppedTask};
pub use user_area::{USER_REGISTERS_SIZE, put_register};

use super::Task;
use crate::sync::{LockClass, Mutex, MutexGuard};

bitflags! {
    /// What others than the tracer have to know of a tracee, readable without a lock.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Flags: u32 {
        /// It has a tracer.
        const TRACED = 1 << 0;
        /// By `PTRACE_SEIZE`.
        const SEIZED = 1 << 1;
        /// It stops before and after calls.
        const CALLS = 1 << 2;
        /// It stops at calls, which are not made.
        const EMULATE = 1 << 3;
        /// It stops after an instruction.
        const STEP = 1 << 4;
        /// It has breakpoints in its debug registers.
        const BREAKPOINTS = 1 << 5;
    }
}

impl Flags {
    /// What the tracer says anew whenever it lets the task go.
    const MODE: Self = Self::CALLS.union(Self::EMULATE).union(Self::STEP);
}

/// Where a task stands as the tracee of another.
#[derive(Debug)]
pub struct Ptrace {
    flags: AtomicU32,
    state: Mutex<State>,
}

/// What the tracer has asked for, and the stop.
#[derive(Debug, Default)]
struct State {
    options: PtraceOptions,
    /// `PTRACE_GETEVENTMSG`.
    message: u64,
    debug: DebugRegisters,
    stop: Option<Box<Stop>>,
}

/// A task that stands still for its tracer.
#[derive(Debug)]
pub(super) struct Stop {
    kind: StopKind,
    /// The signal, and the event in the second byte, as the tracer's wait shows it.
    code: u16,
    /// Whether the tracer has waited for it.
    told: bool,
    /// Whether it only waits for the stop of its process to end (`PTRACE_LISTEN`).
    listening: bool,
    /// What it goes on with, as soon as the tracer has let it go.
    resumed: Option<i32>,
    info: Option<SigInfo>,
    registers: Registers,
    fpu: FpuState,
    registers_changed: bool,
    fpu_changed: bool,
}

/// Why a task stands still for its tracer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopKind {
    /// It is about to take a signal.
    Signal,
    /// Its process is stopped.
    Group,
    /// It is about to make a call.
    Entry,
    /// It has made a call.
    Exit,
    /// A filter of calls wants the tracer to decide; with the filter's data.
    Seccomp(u16),
    /// Something else that the tracer wants to know.
    Event,
}

impl Default for Ptrace {
    fn default() -> Self {
        Self { flags: AtomicU32::new(0), state: Mutex::new(LockClass::Ptrace, State::default()) }
    }
}

impl Ptrace {
    /// Whether it has a tracer.
    pub fn is_traced(&self) -> bool {
        self.has(Flags::TRACED)
    }

    /// Whether its tracer has it by `PTRACE_SEIZE`.
    pub fn is_seized(&self) -> bool {
        self.has(Flags::SEIZED)
    }

    /// Whether it stops after each instruction, or has to be looked at after each.
    pub fn steps(&self) -> bool {
        self.has(Flags::STEP | Flags::BREAKPOINTS)
    }

    /// Whether its tracer steps it.
    pub fn is_stepped(&self) -> bool {
        self.has(Flags::STEP)
    }

    /// Whether its tracer wants to know of `option`.
    pub fn wants(&self, option: PtraceOptions) -> bool {
        self.is_traced() && self.state().options.contains(option)
    }

    fn has(&self, any: Flags) -> bool {
        Flags::from_bits_retain(self.flags.load(Ordering::Acquire)).intersects(any)
    }

    fn set(&self, flags: Flags) {
        self.flags.fetch_or(flags.bits(), Ordering::AcqRel);
    }

    fn clear(&self, flags: Flags) {
        self.flags.fetch_and(!flags.bits(), Ordering::AcqRel);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Task {
    /// Sets what the tracer wants to know until the next stop.
    fn set_trace_mode(&self, mode: Flags) {
        self.ptrace().clear(Flags::MODE);
        self.ptrace().set(mode);
        self.seccomp().watch(!mode.is_empty());
    }
}

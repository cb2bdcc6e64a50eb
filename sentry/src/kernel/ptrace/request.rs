//! What a tracer does with a tracee that stands still.

use std::sync::Arc;

use bartizan_abi::Errno;
use bartizan_abi::arch::x86_64::AUDIT_ARCH_X86_64;
use bartizan_abi::process::ptrace::{
    PTRACE_EVENT_STOP, PTRACE_SYSCALL_INFO_ENTRY, PTRACE_SYSCALL_INFO_EXIT, PTRACE_SYSCALL_INFO_NONE,
    PTRACE_SYSCALL_INFO_SECCOMP, PtraceOptions, PtraceSyscallInfo,
};
use bartizan_abi::signal::{SigInfo, SigSet, Signal};
use bartizan_platform::{FpuState, Registers};

use super::{DebugRegisters, Flags, Stop, StopKind};
use crate::kernel::{CurrentTask, Task};
use crate::mm::{MemoryManager, UserAddr};

/// How a tracee goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumption {
    /// `PTRACE_CONT`.
    Freely,
    /// `PTRACE_SYSCALL`.
    ToCall,
    /// `PTRACE_SINGLESTEP`.
    OneInstruction,
    /// `PTRACE_SYSEMU`.
    EmulatingCalls,
    /// `PTRACE_SYSEMU_SINGLESTEP`.
    OneInstructionEmulatingCalls,
}

impl Resumption {
    fn mode(self) -> Flags {
        match self {
            Self::Freely => Flags::empty(),
            Self::ToCall => Flags::CALLS,
            Self::OneInstruction => Flags::STEP,
            Self::EmulatingCalls => Flags::EMULATE,
            Self::OneInstructionEmulatingCalls => Flags::STEP | Flags::EMULATE,
        }
    }
}

/// A tracee that stood still when this was made. It may be killed at any time; everything fails with `ESRCH` then.
#[derive(Debug)]
pub struct StoppedTask<'a> {
    tracer: &'a CurrentTask,
    task: Arc<Task>,
}

/// What a tracer has changed of a stop.
#[derive(Debug)]
pub(super) enum Change {
    Registers(Registers),
    Fpu(FpuState),
}

impl Stop {
    pub(super) fn replace(&mut self, change: Change) {
        match change {
            Change::Registers(registers) => {
                self.registers = registers;
                self.registers_changed = true;
            }
            Change::Fpu(fpu) => {
                self.fpu = fpu;
                self.fpu_changed = true;
            }
        }
    }

    /// Whether it stands still and nothing has let it go yet.
    fn is_usable(&self) -> bool {
        self.resumed.is_none() && !self.listening
    }
}

impl CurrentTask {
    /// Tracee `tid` of the caller.
    ///
    /// # Errors
    /// `ESRCH` if it is none.
    fn tracee(&self, tid: i32) -> Result<Arc<Task>, Errno> {
        let tree = self.kernel().tree();
        if tree.tracer_of(tid) != Some(self.tid()) {
            return Err(Errno::ESRCH);
        }
        tree.task(tid).cloned().ok_or(Errno::ESRCH)
    }

    /// Tracee `tid` of the caller, which has to stand still.
    ///
    /// # Errors
    /// `ESRCH` if it is none or runs.
    pub fn stopped_tracee(&self, tid: i32) -> Result<StoppedTask<'_>, Errno> {
        let stopped = StoppedTask { tracer: self, task: self.tracee(tid)? };
        stopped.with_stop(|_| Ok(()))?;
        Ok(stopped)
    }

    /// `PTRACE_KILL`.
    ///
    /// # Errors
    /// `ESRCH` for what is no tracee of the caller's.
    pub fn kill_tracee(&self, tid: i32) -> Result<(), Errno> {
        use crate::kernel::signal::{Sender, Target};
        let task = self.tracee(tid)?;
        task.send_signal(SigInfo::kernel(Signal::SIGKILL), Target::Task, Sender::Kernel)
    }

    /// `PTRACE_INTERRUPT`.
    ///
    /// # Errors
    /// `ESRCH` for what is no tracee of the caller's, `EIO` for one that was not seized.
    pub fn interrupt_tracee(&self, tid: i32) -> Result<(), Errno> {
        let task = self.tracee(tid)?;
        if !task.ptrace().is_seized() {
            return Err(Errno::EIO);
        }
        {
            let mut state = task.ptrace().state();
            let mut signals = task.group().signals();
            if let Some(own) = signals.tasks.get_mut(&tid) {
                own.trap = true;
                // One that listens stops anew at once.
                own.trap_notify |= state.stop.as_ref().is_some_and(|stop| stop.listening);
            }
            drop(signals);
            state.message = 0;
        }
        task.set_work();
        Ok(())
    }
}

impl StoppedTask<'_> {
    /// The tracee.
    pub fn task(&self) -> &Arc<Task> {
        &self.task
    }

    /// Calls `operation` with the stop.
    pub(super) fn with_stop<T>(
        &self,
        operation: impl FnOnce(&mut Stop) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let mut state = self.task.ptrace().state();
        let stop = state.stop.as_mut().filter(|stop| stop.is_usable()).ok_or(Errno::ESRCH)?;
        operation(stop)
    }

    /// Behind the highest address of programs.
    pub(super) fn end_of_addresses(&self) -> u64 {
        self.task.kernel().platform().user_addresses().end
    }

    /// Reads or changes the debug registers.
    pub(super) fn with_debug_registers<T>(
        &self,
        operation: impl FnOnce(&mut DebugRegisters) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let memory = self.memory()?;
        let mut debug = self.task.ptrace().state().debug;
        let value = operation(&mut debug)?;
        debug.refresh(|address, bytes| {
            // What cannot be read does not change.
            let _unreadable = memory.read_forced(UserAddr(address), bytes);
        });
        self.task.set_debug_registers(debug);
        Ok(value)
    }

    /// Its memory.
    ///
    /// # Errors
    /// `ESRCH` if it has none any more.
    pub fn memory(&self) -> Result<Arc<MemoryManager>, Errno> {
        self.task.memory().ok_or(Errno::ESRCH)
    }

    /// Lets it go, with a signal to take, or 0 for none.
    ///
    /// # Errors
    /// `EIO` for what is no signal.
    pub fn resume(&self, how: Resumption, signal: u64) -> Result<(), Errno> {
        let signal = resuming_signal(signal)?;
        {
            let mut state = self.task.ptrace().state();
            let stop = state.stop.as_mut().filter(|stop| stop.is_usable()).ok_or(Errno::ESRCH)?;
            self.task.set_trace_mode(how.mode());
            stop.resumed = Some(signal);
        }
        // A task that is stepped is looked at before each instruction.
        self.task.set_work();
        Ok(())
    }

    /// `PTRACE_LISTEN`: it stands still as long as its process is stopped.
    ///
    /// # Errors
    /// `EIO` unless it was seized and told of a stop of its process.
    pub fn listen(&self) -> Result<(), Errno> {
        if !self.task.ptrace().is_seized() {
            return Err(Errno::EIO);
        }
        self.with_stop(|stop| {
            if stop.code >> 8 != u16::from(PTRACE_EVENT_STOP) {
                return Err(Errno::EIO);
            }
            stop.listening = true;
            Ok(())
        })?;
        self.task.parker().unpark();
        Ok(())
    }

    /// `PTRACE_DETACH`.
    ///
    /// # Errors
    /// `EIO` for what is no signal.
    pub fn detach(&self, signal: u64) -> Result<(), Errno> {
        let signal = resuming_signal(signal)?;
        self.with_stop(|_| Ok(()))?;
        self.tracer.detach_from(&self.task, signal);
        Ok(())
    }

    /// `PTRACE_SETOPTIONS`.
    pub fn set_options(&self, options: PtraceOptions) {
        self.task.ptrace().state().options = options;
    }

    /// `PTRACE_GETEVENTMSG`.
    pub fn event_message(&self) -> u64 {
        self.task.ptrace().state().message
    }

    /// What comes with the signal for which it stopped.
    ///
    /// # Errors
    /// `EINVAL` when its process is stopped.
    pub fn signal_info(&self) -> Result<SigInfo, Errno> {
        self.with_stop(|stop| stop.info.ok_or(Errno::EINVAL))
    }

    /// Replaces what comes with the signal.
    ///
    /// # Errors
    /// `EINVAL` when its process is stopped.
    pub fn set_signal_info(&self, info: SigInfo) -> Result<(), Errno> {
        self.with_stop(|stop| {
            *stop.info.as_mut().ok_or(Errno::EINVAL)? = info;
            Ok(())
        })
    }

    /// The signals that are queued for it, or for its process, `count` from `first` on.
    pub fn queued_signals(&self, of_process: bool, first: u64, count: usize) -> Vec<SigInfo> {
        let signals = self.task.group().signals();
        let queue = match of_process {
            true => Some(&signals.pending),
            false => signals.tasks.get(&self.task.tid()).map(|own| &own.pending),
        };
        let first = usize::try_from(first).unwrap_or(usize::MAX);
        queue.map_or_else(Vec::new, |queue| queue.queued().skip(first).take(count).copied().collect())
    }

    /// What it blocks.
    pub fn signal_mask(&self) -> SigSet {
        let signals = self.task.group().signals();
        signals.tasks.get(&self.task.tid()).map_or(SigSet::EMPTY, |own| own.saved_mask.unwrap_or(own.mask))
    }

    /// Replaces what it blocks.
    pub fn set_signal_mask(&self, mask: SigSet) {
        {
            let mut signals = self.task.group().signals();
            if let Some(own) = signals.tasks.get_mut(&self.task.tid()) {
                own.saved_mask = None;
            }
            signals.set_mask(self.task.tid(), mask);
        }
        self.task.set_work();
    }

    /// `PTRACE_GET_SYSCALL_INFO`, and how many bytes of it mean something.
    ///
    /// # Errors
    /// `ESRCH` if the task does not stand still any more.
    pub fn call_info(&self) -> Result<(PtraceSyscallInfo, usize), Errno> {
        const ENTRY_SIZE: usize = 80;
        const EXIT_SIZE: usize = 33;
        const SECCOMP_SIZE: usize = 84;
        const NONE_SIZE: usize = 24;
        let good = self.task.ptrace().wants(PtraceOptions::PTRACE_O_TRACESYSGOOD);
        self.with_stop(|stop| {
            let Registers { rip, rsp, rdi, rsi, rdx, r10, r8, r9, orig_rax, rax, .. } = stop.registers;
            let mut info = PtraceSyscallInfo {
                op: PTRACE_SYSCALL_INFO_NONE,
                arch: AUDIT_ARCH_X86_64,
                instruction_pointer: rip,
                stack_pointer: rsp,
                ..PtraceSyscallInfo::default()
            };
            let size = match stop.kind {
                StopKind::Entry | StopKind::Seccomp(_) if good || stop.kind != StopKind::Entry => {
                    info.nr = orig_rax;
                    info.args = [rdi, rsi, rdx, r10, r8, r9];
                    match stop.kind {
                        StopKind::Seccomp(data) => {
                            info.op = PTRACE_SYSCALL_INFO_SECCOMP;
                            info.ret_data = data.into();
                            SECCOMP_SIZE
                        }
                        _ => {
                            info.op = PTRACE_SYSCALL_INFO_ENTRY;
                            ENTRY_SIZE
                        }
                    }
                }
                StopKind::Exit if good => {
                    info.op = PTRACE_SYSCALL_INFO_EXIT;
                    info.nr = rax;
                    info.args[0] = u64::from(is_error(rax));
                    EXIT_SIZE
                }
                _ => NONE_SIZE,
            };
            Ok((info, size))
        })
    }
}

/// Whether a result is an error number.
fn is_error(result: u64) -> bool {
    const MAX_ERRNO: u64 = 4095;
    result >= MAX_ERRNO.wrapping_neg()
}

/// The signal with which a tracee goes on; 0 for none.
fn resuming_signal(raw: u64) -> Result<i32, Errno> {
    let signal = i32::try_from(raw).map_err(|_| Errno::EIO)?;
    if signal == 0 || Signal::from_raw(signal).is_some() { Ok(signal) } else { Err(Errno::EIO) }
}

//! The loop of a task's thread: guest code, what stopped it, signals, guest code.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bartizan_abi::Errno;
use bartizan_abi::arch::x86_64::{
    Eflags, PageFaultError, TRAP_ALIGNMENT_CHECK, TRAP_BREAKPOINT, TRAP_DEBUG, TRAP_DIVIDE_ERROR,
    TRAP_GENERAL_PROTECTION, TRAP_INVALID_OPCODE, TRAP_PAGE_FAULT,
};
use bartizan_abi::process::WaitStatus;
use bartizan_abi::signal::{SigCode, SigInfo, Signal};
use bartizan_platform::{Access, Exit, Fault, PlatformError, Registers, Trap};

use super::profile::TaskProfile;
use super::signal::LastFault;
use super::usage::Mode;
use super::{CurrentTask, TaskEnd};
use crate::mm::{FaultOutcome, UserAddr};
use crate::{Restart, SysError, SysResult, syscalls};

impl CurrentTask {
    /// Runs the task to its end.
    pub(super) fn run(&self) -> TaskEnd {
        loop {
            if let Some(end) = self.end() {
                return end;
            }
            if self.has_work() {
                if self.stopped_in_call.take() && self.seccomp().is_watched() {
                    // The tracer has begun to watch calls in the middle of this one.
                    let _made = self.finish_watched_call(Ok(self.registers().rax));
                }
                self.handle_signals(None);
                self.stand_frozen();
                if !self.ptrace().steps() || self.has_work() || self.end().is_some() {
                    continue;
                }
                let exit = self.step();
                let end = self.handle_exit(exit);
                // Before the next instruction it comes this way again.
                self.note_work();
                if end.is_some() {
                    return killed();
                }
                continue;
            }
            self.update_identity();
            let start = self.profile_now();
            self.usage().enter(Mode::User);
            let exit = self.switch();
            self.usage().enter(Mode::System);
            let end = match start {
                None => self.handle_exit(exit),
                Some(start) => self.handle_profiled_exit(start, exit),
            };
            if end.is_some() {
                return killed();
            }
        }
    }

    /// Now, for the profile; `None` if nobody wants one.
    #[inline]
    fn profile_now(&self) -> Option<u64> {
        self.profile().as_ref().map(TaskProfile::now)
    }

    /// As [`handle_exit`](Self::handle_exit), and notes how long that took, and the guest since `start`.
    #[cold]
    fn handle_profiled_exit(&self, start: u64, exit: Result<Exit, PlatformError>) -> Option<()> {
        let left = self.profile_now().unwrap_or(start);
        let (number, _) = self.system_call();
        let noted = exit.as_ref().copied().unwrap_or(Exit::Interrupted);
        let end = self.handle_exit(exit);
        if let Some(profile) = &mut *self.profile() {
            profile.note(start, left, noted, number);
        }
        end
    }

    /// Does what the guest stopped for. `Some` if it cannot go on.
    #[inline]
    fn handle_exit(&self, exit: Result<Exit, PlatformError>) -> Option<()> {
        match exit {
            Ok(Exit::Syscall) => {
                self.handle_system_call();
                self.patch_frequent_call();
            }
            Ok(Exit::Fault(fault)) => self.handle_fault(fault),
            Ok(Exit::Trap(trap)) => self.handle_trap(trap),
            Ok(Exit::Interrupted) => {}
            Err(error) => {
                self.refuse(&error);
                return Some(());
            }
        }
        None
    }

    /// Runs one instruction of the guest. That the processor traps after it is not to be seen in the flags unless the guest wants that, too.
    fn step(&self) -> Result<Exit, PlatformError> {
        const TRAP: u64 = Eflags::TF.bits();
        let registers = self.registers();
        let own = registers.eflags & TRAP;
        self.set_registers(Registers { eflags: registers.eflags | TRAP, ..registers });
        self.usage().enter(Mode::User);
        let exit = self.switch();
        self.usage().enter(Mode::System);
        let registers = self.registers();
        self.set_registers(Registers { eflags: registers.eflags & !TRAP | own, ..registers });
        exit
    }

    /// Makes the call and gives the guest its result, or notes that it was interrupted.
    fn handle_system_call(&self) {
        if self.seccomp().is_active() {
            self.handle_checked_call();
            return;
        }
        let (number, arguments) = self.system_call();
        match self.call(number, &arguments, syscalls::dispatch) {
            Ok(value) => self.set_result(value),
            Err(SysError::Errno(errno)) => self.set_result(errno.to_return_value()),
            Err(SysError::Restart(restart)) => self.handle_interrupted_call(restart),
        }
        if let Some(error) = self.mm().failure() {
            self.refuse(error);
        }
    }

    /// As [`handle_system_call`](Self::handle_system_call), for a call that filters or a tracer have to know of.
    #[cold]
    fn handle_checked_call(&self) {
        let make = |number, arguments: &[u64; 6]| self.call(number, arguments, syscalls::dispatch_checked);
        if let Some(result) = self.make_watched_call(make)
            && self.end().is_none()
        {
            match (self.seccomp().is_watched(), result) {
                (true, result) => {
                    if let Some(restart) = self.finish_watched_call(result) {
                        self.handle_interrupted_call(restart);
                    }
                }
                (false, Ok(value)) => self.set_result(value),
                (false, Err(SysError::Errno(errno))) => self.set_result(errno.to_return_value()),
                (false, Err(SysError::Restart(restart))) => self.handle_interrupted_call(restart),
            }
        }
        self.stopped_in_call.set(false);
        if let Some(error) = self.mm().failure() {
            self.refuse(error);
        }
    }

    /// Has the site patched from which the guest makes many calls.
    fn patch_frequent_call(&self) {
        if let Some(behind_call) = self.take_frequent_call() {
            self.mm().patch_call(UserAddr(behind_call));
        }
    }

    /// A call that a signal has ended: there is a signal to be handled, or there was one that others took.
    fn handle_interrupted_call(&self, restart: Restart) {
        // The number is lost where the platform keeps only what it needs; a restart needs all registers.
        let _complete = self.registers();
        self.handle_signals(Some(restart));
    }

    /// Dispatches the call. A panic of a handler ends this sandbox, with a report, and nothing else.
    #[inline]
    fn call(
        &self,
        number: u64,
        arguments: &[u64; 6],
        dispatch: impl FnOnce(&Self, u64, &[u64; 6]) -> SysResult<u64>,
    ) -> SysResult<u64> {
        let dispatched = catch_unwind(AssertUnwindSafe(|| match self.kernel().tracer() {
            None => dispatch(self, number, arguments),
            Some(tracer) => tracer.trace(self, number, arguments, || dispatch(self, number, arguments)),
        }));
        dispatched.unwrap_or_else(|panic| {
            let call =
                bartizan_abi::Sysno::from_raw(number).map_or("an unknown call", |number| number.name());
            self.kernel().die(format!("the kernel panicked in {call}: {}", describe_panic(&*panic)));
            self.request_end(killed());
            Err(Errno::ENOSYS.into())
        })
    }

    /// Brings the page in, or sends the signal that the access deserves.
    fn handle_fault(&self, fault: Fault) {
        let outcome = match self.mm().handle_fault(fault) {
            Ok(()) => {
                self.check_cgroup_memory();
                return;
            }
            Err(outcome) => outcome,
        };
        let mut error = PageFaultError::USER;
        error.set(PageFaultError::WRITE, fault.access.contains(Access::WRITE));
        error.set(PageFaultError::INSTRUCTION, fault.access.contains(Access::EXECUTE));
        error.set(PageFaultError::PROTECTION, outcome == FaultOutcome::SegvAccErr);
        self.set_last_fault(LastFault {
            vector: TRAP_PAGE_FAULT,
            error: error.bits(),
            address: fault.address,
        });
        let (signal, code) = match outcome {
            FaultOutcome::SegvMapErr => (Signal::SIGSEGV, SigCode::SEGV_MAPERR),
            FaultOutcome::SegvAccErr => (Signal::SIGSEGV, SigCode::SEGV_ACCERR),
            FaultOutcome::BusAdrErr => (Signal::SIGBUS, SigCode::BUS_ADRERR),
            FaultOutcome::OutOfMemory => {
                self.kill_for_memory();
                return;
            }
        };
        self.force_signal(SigInfo::fault(signal, code, fault.address));
    }

    /// The sandbox's own out-of-memory killer: the process that needs the page that is not there ends.
    fn kill_for_memory(&self) {
        self.kernel().statistics().count_out_of_memory();
        let status = WaitStatus::Signaled { signal: Signal::SIGKILL, core_dumped: false };
        self.group().begin_exit(status);
    }

    /// Sends the signal for a processor exception.
    fn handle_trap(&self, trap: Trap) {
        let Some(signal) = Signal::from_raw(trap.signal) else { return };
        let is_step = signal == Signal::SIGTRAP && SigCode(trap.code) == SigCode::TRAP_TRACE;
        if is_step && self.handle_step() {
            return;
        }
        let vector = match signal {
            Signal::SIGFPE => TRAP_DIVIDE_ERROR,
            Signal::SIGILL => TRAP_INVALID_OPCODE,
            Signal::SIGTRAP => TRAP_BREAKPOINT,
            Signal::SIGBUS => TRAP_ALIGNMENT_CHECK,
            _ => TRAP_GENERAL_PROTECTION,
        };
        self.set_last_fault(LastFault { vector, ..self.last_fault() });
        self.force_signal(SigInfo::fault(signal, SigCode(trap.code), trap.address));
    }
}

impl CurrentTask {
    /// An instruction was executed by itself. Returns whether that was not the guest's own doing.
    fn handle_step(&self) -> bool {
        let traps = self.registers().eflags & Eflags::TF.bits() != 0;
        if !self.ptrace().steps() {
            return false;
        }
        self.set_last_fault(LastFault { vector: TRAP_DEBUG, ..self.last_fault() });
        self.check_breakpoints(traps || self.ptrace().is_stepped());
        true
    }
}

/// The end of a task whose sandbox is dead.
fn killed() -> TaskEnd {
    TaskEnd::Process(WaitStatus::Signaled { signal: Signal::SIGKILL, core_dumped: false })
}

/// What a panic says.
pub(super) fn describe_panic(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

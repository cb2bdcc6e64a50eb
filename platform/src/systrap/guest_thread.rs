//! One thread of a stub process that runs guest code, and the ways in which it can stand still.

use std::io;
use std::sync::Arc;

use super::frame::Frame;
use super::notify::{Listener, Notification, Sent};
use super::stub::Addresses;
use super::stub_process::StubProcess;
use crate::arch::FpuState;
use crate::{Exit, PlatformError, Registers, Trap};

/// `AUDIT_ARCH_X86_64`.
const X86_64: u32 = 0xc000_003e;

/// What a call returns that nobody answers.
const NOT_IMPLEMENTED: u64 = (libc::ENOSYS as u64).wrapping_neg();

/// A thread that runs guest code when it is told to, and waits in a call of which the sentry knows otherwise.
#[derive(Debug)]
pub struct GuestThread {
    process: Arc<StubProcess>,
    addresses: Addresses,
    index: u64,
    tid: i32,
    listener: Listener,
    state: State,
}

/// Where a thread stands still.
#[derive(Debug, Clone, Copy)]
enum State {
    /// In a system call of the guest: its registers are unknown but for those in the notification.
    InCall(Notification),
    /// In the signal handler: its registers lie in a frame.
    InHandler {
        /// The handler's call.
        id: u64,
        /// Where the registers are; `None` if the guest jumped into the handler and there is no frame.
        frame: Option<Frame>,
    },
}

impl GuestThread {
    /// Starts a thread with area `index`.
    pub fn start(process: &Arc<StubProcess>, addresses: Addresses, index: u64) -> io::Result<Self> {
        let (tid, listener) = process.start_guest(index)?;
        let first = listener.receive()?;
        let frame = Frame::new(index, &first.arguments);
        let state = State::InHandler { id: first.id, frame };
        Ok(Self { process: Arc::clone(process), addresses, index, tid, listener, state })
    }

    /// Whether it stands in a call of which only the arguments are known.
    pub fn is_in_call(&self) -> bool {
        matches!(self.state, State::InCall(_))
    }

    /// Its process and thread id, for signals.
    pub fn ids(&self) -> (i32, i32) {
        (self.process.pid(), self.tid)
    }

    /// Lets a thread that stands in a call of the guest return `value` from it, and waits until it stands still again. `None` if a signal was
    /// faster: then all of `registers` are filled in, as they are after the call, to be loaded with [`run`](Self::run).
    pub fn answer(&mut self, value: u64, registers: &mut Registers) -> Result<Option<Exit>, PlatformError> {
        let State::InCall(call) = self.state else { return Ok(None) };
        match self.listener.send(call.id, value).map_err(|error| self.died(&error))? {
            Sent::Delivered => self.wait(registers).map(Some),
            Sent::Interrupted => {
                self.wait_for_handler()?;
                *registers = self.registers()?;
                fill_from_call(&call, registers);
                registers.rax = value;
                Ok(None)
            }
        }
    }

    /// Loads all of `registers` (and `fpu`), runs guest code, and waits until it stands still.
    pub fn run(&mut self, registers: &mut Registers, fpu: Option<&FpuState>) -> Result<Exit, PlatformError> {
        let (id, frame) = self.stop()?;
        let memory = self.process.memory();
        frame.set_registers(memory, registers);
        if let Some(fpu) = fpu {
            frame.set_fpu(memory, fpu).ok_or_else(|| self.tampered())?;
        }
        // All signals are blocked in the handler, so that the call cannot be interrupted.
        self.listener.send(id, 0).map_err(|error| self.died(&error))?;
        self.wait(registers)
    }

    /// All registers of the thread as they are where it stands still. The result register of a call is what the contract says.
    pub fn registers(&mut self) -> Result<Registers, PlatformError> {
        let call = match self.state {
            State::InCall(call) => Some(call),
            State::InHandler { .. } => None,
        };
        let (_, frame) = self.stop()?;
        let mut registers = frame.registers(self.process.memory());
        if let Some(call) = call {
            // The interrupted call would be repeated from its instruction; the sentry has taken it already.
            fill_from_call(&call, &mut registers);
        }
        Ok(registers)
    }

    /// The extended state.
    pub fn fpu(&mut self) -> Result<FpuState, PlatformError> {
        let (_, frame) = self.stop()?;
        frame.fpu(self.process.memory()).ok_or_else(|| self.tampered())
    }

    /// Brings the thread into its signal handler, where all of its state can be reached.
    fn stop(&mut self) -> Result<(u64, Frame), PlatformError> {
        if let State::InCall(_) = self.state {
            super::kick(self.ids());
            self.wait_for_handler()?;
        }
        match self.state {
            State::InHandler { id, frame: Some(frame) } => Ok((id, frame)),
            _ => Err(self.tampered()),
        }
    }

    /// Waits for the call of the signal handler, into which a kick has sent the thread.
    fn wait_for_handler(&mut self) -> Result<(), PlatformError> {
        let notification = self.listener.receive().map_err(|error| self.died(&error))?;
        if notification.instruction_pointer != self.addresses.stopped {
            return Err(self.tampered());
        }
        self.state = self.in_handler(&notification);
        Ok(())
    }

    fn in_handler(&self, notification: &Notification) -> State {
        State::InHandler { id: notification.id, frame: Frame::new(self.index, &notification.arguments) }
    }

    /// Waits until the thread stands still and says why. After [`Exit::Syscall`] only the registers of the call are filled in.
    fn wait(&mut self, registers: &mut Registers) -> Result<Exit, PlatformError> {
        let notification = self.listener.receive().map_err(|error| self.died(&error))?;
        if notification.instruction_pointer == self.addresses.stopped {
            self.state = self.in_handler(&notification);
            let State::InHandler { frame: Some(frame), .. } = self.state else { return Err(self.tampered()) };
            let memory = self.process.memory();
            *registers = frame.registers(memory);
            let exit = frame.exit(memory);
            if exit == Exit::Syscall {
                registers.orig_rax = registers.rax;
                registers.rax = NOT_IMPLEMENTED;
            }
            return Ok(exit);
        }
        self.state = State::InCall(notification);
        if notification.architecture != X86_64 {
            // `int 0x80`: a kernel without 32-bit programs refuses the instruction.
            *registers = self.registers()?;
            registers.rip = registers.rip.wrapping_sub(2);
            return Ok(Exit::Trap(Trap { signal: libc::SIGSEGV, code: 0x80, address: 0 }));
        }
        fill_from_call(&notification, registers);
        Ok(Exit::Syscall)
    }

    fn died(&self, error: &io::Error) -> PlatformError {
        PlatformError::Died { what: format!("stub {} thread {}: {error}", self.process.pid(), self.tid) }
    }

    /// The guest did to the stub's memory what leaves the thread without registers: as good as killed.
    fn tampered(&self) -> PlatformError {
        PlatformError::Died {
            what: format!(
                "stub {} thread {}: the guest destroyed its own frame",
                self.process.pid(),
                self.tid
            ),
        }
    }
}

/// What a notification tells of the registers.
fn fill_from_call(call: &Notification, registers: &mut Registers) {
    let [rdi, rsi, rdx, r10, r8, r9] = call.arguments;
    registers.orig_rax = i64::from(call.number) as u64;
    registers.rax = NOT_IMPLEMENTED;
    registers.rip = call.instruction_pointer;
    registers.rcx = call.instruction_pointer;
    (registers.rdi, registers.rsi, registers.rdx) = (rdi, rsi, rdx);
    (registers.r10, registers.r8, registers.r9) = (r10, r8, r9);
}

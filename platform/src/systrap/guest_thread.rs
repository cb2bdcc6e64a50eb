//! One thread of a stub process that runs guest code, and the ways in which it can stand still.

use std::io;
use std::sync::Arc;

use super::frame::{self, Frame, GENERAL_PROTECTION, NOT_IMPLEMENTED, X86_64};
use super::notify::{Listener, Notification, Sent};
use super::stub::Addresses;
use super::stub_process::StubProcess;
use crate::affinity;
use crate::arch::FpuState;
use crate::{Exit, PlatformError, Registers};

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

    /// Its process.
    pub fn process(&self) -> &Arc<StubProcess> {
        &self.process
    }

    /// Its process and thread id, for signals.
    pub fn ids(&self) -> (i32, i32) {
        (self.process.pid(), self.tid)
    }

    /// Lets a thread that stands in a call of the guest return `value` from it, and waits until it stands still again. `None` if a signal was
    /// faster, which only one from outside of the sandbox is: then all of `registers` are filled in, as they are after the call, to be loaded with [`run`](Self::run).
    pub fn answer(&mut self, value: u64, registers: &mut Registers) -> Result<Option<Exit>, PlatformError> {
        while let State::InCall(call) = self.state {
            match self.listener.send(call.id, value).map_err(|error| self.process.died(error))? {
                Sent::Delivered => return self.wait(registers).map(Some),
                Sent::Interrupted => self.follow(&call)?,
            }
            if matches!(self.state, State::InHandler { .. }) {
                let (_, frame) = self.stop()?;
                *registers = frame.registers(self.process.memory());
                fill_from_call(&call, registers);
                registers.rax = value;
            }
        }
        Ok(None)
    }

    /// Loads all of `registers` (and `fpu`), runs guest code, and waits until it stands still.
    pub fn run(&mut self, registers: &mut Registers, fpu: Option<&FpuState>) -> Result<Exit, PlatformError> {
        if !frame::is_possible(registers) {
            return Ok(GENERAL_PROTECTION);
        }
        let (mut id, frame) = self.stop()?;
        let memory = self.process.memory();
        frame.set_registers(memory, registers);
        if let Some(fpu) = fpu {
            frame.set_fpu(memory, fpu).ok_or_else(|| self.tampered())?;
        }
        while self.listener.send(id, 0).map_err(|error| self.process.died(error))? == Sent::Interrupted {
            // All signals are blocked in the handler: either the thread was stopped and continued from outside and calls again, or the guest
            // has jumped into the handler and is in another now.
            let notification = self.receive()?;
            self.state = self.in_handler(&notification);
            match self.state {
                State::InHandler { id: new, frame: Some(new_frame) } if new_frame == frame => id = new,
                _ => return self.report(&notification, registers),
            }
        }
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
            // Its result was made up.
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
        if matches!(self.state, State::InCall(_)) {
            self.fetch_handler()?;
        }
        match self.state {
            State::InHandler { id, frame: Some(frame) } => Ok((id, frame)),
            _ => Err(self.tampered()),
        }
    }

    /// Brings a thread that stands in a call into its handler: a kick that is pending when the call is answered is handled before the guest's next
    /// instruction. The thread sleeps, and would wake on another processor if one is idle, which takes far longer than the rest: so it is kept
    /// here meanwhile.
    fn fetch_handler(&mut self) -> Result<(), PlatformError> {
        let cpus = self.process.cpus().copied();
        // Best effort: a thread that runs elsewhere is only slower.
        let kept = cpus.is_some()
            && affinity::set_affinity(self.tid, &affinity::only(affinity::current_cpu())).is_ok();
        let mut result = Ok(());
        while let State::InCall(call) = self.state
            && result.is_ok()
        {
            super::kick(self.ids());
            // Whatever it returns, its result register is set with the others.
            let sent = self.listener.send(call.id, 0).map_err(|error| self.process.died(error));
            result = sent.and_then(|_| self.follow(&call));
        }
        if let Some(cpus) = cpus.filter(|_| kept) {
            let _gone = affinity::set_affinity(self.tid, &cpus);
        }
        result
    }

    /// Sees where a signal took the thread from `call`: into its handler, or, one that is ignored, back into the call.
    fn follow(&mut self, call: &Notification) -> Result<(), PlatformError> {
        let notification = self.receive()?;
        self.state = if notification.instruction_pointer == self.addresses.stopped {
            self.in_handler(&notification)
        } else if notification.is_repetition_of(call) {
            State::InCall(notification)
        } else {
            return Err(self.tampered());
        };
        Ok(())
    }

    fn receive(&self) -> Result<Notification, PlatformError> {
        self.listener.receive().map_err(|error| self.process.died(error))
    }

    fn in_handler(&self, notification: &Notification) -> State {
        State::InHandler { id: notification.id, frame: Frame::new(self.index, &notification.arguments) }
    }

    /// Waits until the thread stands still and says why. After [`Exit::Syscall`] only the registers of the call are filled in.
    fn wait(&mut self, registers: &mut Registers) -> Result<Exit, PlatformError> {
        let notification = self.receive()?;
        self.report(&notification, registers)
    }

    /// Takes note of where the thread stands and says why.
    fn report(
        &mut self,
        notification: &Notification,
        registers: &mut Registers,
    ) -> Result<Exit, PlatformError> {
        if notification.instruction_pointer == self.addresses.stopped {
            self.state = self.in_handler(notification);
            let State::InHandler { frame: Some(frame), .. } = self.state else { return Err(self.tampered()) };
            let memory = self.process.memory();
            *registers = frame.registers(memory);
            return Ok(frame.exit(memory, registers));
        }
        if notification.architecture != X86_64 {
            // The filter lets no such call come this way.
            return Err(self.tampered());
        }
        self.state = State::InCall(*notification);
        fill_from_call(notification, registers);
        Ok(Exit::Syscall)
    }

    /// The guest did to the stub's memory what leaves the thread without registers: as good as killed.
    fn tampered(&self) -> PlatformError {
        self.process.broken(format_args!("the guest destroyed the frame of thread {}", self.tid))
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

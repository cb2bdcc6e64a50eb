//! One thread of a stub process that runs guest code, and the ways in which it can stand still.

use std::io;
use std::sync::Arc;

use super::call_block::{CallBlock, Turn};
use super::frame::{self, Frame, GENERAL_PROTECTION, NOT_IMPLEMENTED, X86_64};
use super::notify::{Notification, Sent};
use super::stub::{Addresses, KICK};
use super::stub_process::StubProcess;
use super::waiting::{Event, Waiter};
use crate::arch::FpuState;
use crate::{Exit, Identity, PlatformError, Registers};

/// A thread that runs guest code when it is told to, and waits in a call of which the sentry knows otherwise.
#[derive(Debug)]
pub struct GuestThread {
    process: Arc<StubProcess>,
    addresses: Addresses,
    waiter: Waiter,
    state: State,
    /// The FS base by which trampolines find the thread's area.
    base: Option<u64>,
    /// What it may be told without the sentry.
    identity: Option<Identity>,
}

/// Where a thread stands still.
#[derive(Debug, Clone, Copy)]
enum State {
    /// In a system call of the guest: its registers are unknown but for those in the notification.
    Trapped(Notification),
    /// In a call from a patched site: its registers are unknown but for those in the call block.
    Called {
        /// The call in which it sleeps, if the host has reported that.
        id: Option<u64>,
    },
    /// In the signal handler: its registers lie in a frame.
    InHandler {
        /// The handler's call, if it sleeps in it.
        id: Option<u64>,
        /// Where the registers are; `None` if the guest jumped into the handler and there is no frame.
        frame: Option<Frame>,
        /// What the registers of the frame do not say: it stopped in the stub's code for calls.
        in_call: bool,
    },
}

impl GuestThread {
    /// Starts a thread with area `index`.
    pub fn start(process: &Arc<StubProcess>, addresses: Addresses, index: u64) -> io::Result<Self> {
        let (tid, listener) = process.start_guest(index)?;
        let first = listener.receive()?;
        let state = State::InHandler {
            id: Some(first.id),
            frame: Frame::new(index, &first.arguments),
            in_call: false,
        };
        let waiter = Waiter::new(process.governor(), listener, tid, index, process.cpus().copied());
        Ok(Self { process: Arc::clone(process), addresses, waiter, state, base: None, identity: None })
    }

    /// Whether it stands in a call of which only the arguments are known.
    pub fn is_in_call(&self) -> bool {
        matches!(self.state, State::Trapped(_) | State::Called { .. })
    }

    /// Where the guest goes on after the call that the thread stands in, if the host had to trap that.
    pub fn trapped_at(&self) -> Option<u64> {
        match self.state {
            State::Trapped(call) => Some(call.instruction_pointer),
            _ => None,
        }
    }

    /// Its process.
    pub fn process(&self) -> &Arc<StubProcess> {
        &self.process
    }

    /// Its process and thread id, for signals.
    pub fn ids(&self) -> (i32, i32) {
        (self.process.pid(), self.waiter.tid())
    }

    /// To be called before it is used again: guests may have written to its call block since.
    pub fn prepare(&self) {
        let block = self.block(&self.process);
        block.set_patience(0);
        block.resume();
    }

    /// To be called when nobody uses it any more, until somebody runs it again: the host confirms that it stands still, which its call block alone does not.
    ///
    /// # Errors
    /// When the guest only pretended to stop.
    pub fn rest(&mut self) -> Result<(), PlatformError> {
        self.identity = None;
        if let Some(base) = self.base.take() {
            self.process.bases().release(self.process.memory(), self.waiter.index(), base);
        }
        let process = Arc::clone(&self.process);
        self.waiter.rest(self.block(&process));
        if let State::Called { id } | State::InHandler { id, .. } = &mut self.state
            && id.is_none()
        {
            let notification = self.waiter.receive_soon().map_err(|error| process.died(error))?;
            *id = notification.map(|notification| notification.id);
            if id.is_none() {
                return Err(process.broken("the guest pretended to stop"));
            }
        }
        Ok(())
    }

    fn block<'a>(&self, process: &'a StubProcess) -> CallBlock<'a> {
        CallBlock::new(process.memory(), self.waiter.index())
    }

    /// Lets a thread that stands in a call of the guest return `value` from it, and waits until it stands still again. `None` if a signal was
    /// faster, which only one from outside of the sandbox is: then all of `registers` are filled in, as they are after the call, to be loaded with [`run`](Self::run).
    pub fn answer(&mut self, value: u64, registers: &mut Registers) -> Result<Option<Exit>, PlatformError> {
        if let State::Called { id } = self.state {
            self.answer_called(id, value)?;
            return self.wait(registers).map(Some);
        }
        while let State::Trapped(call) = self.state {
            match self.send(call.id, value)? {
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

    /// Answers a call from a patched site. Should the thread go to sleep right now, it is woken when it reports that.
    fn answer_called(&mut self, id: Option<u64>, value: u64) -> Result<(), PlatformError> {
        let process = Arc::clone(&self.process);
        let block = self.block(&process);
        if id.is_some() {
            self.waiter.consider_spinning(block);
        }
        block.answer(value);
        if let Some(id) = id {
            // A signal from outside made it look for itself; it has or will have found the answer.
            let _sent = self.send(id, 0)?;
        }
        Ok(())
    }

    /// Loads all of `registers` (and `fpu`), runs guest code, and waits until it stands still.
    pub fn run(&mut self, registers: &mut Registers, fpu: Option<&FpuState>) -> Result<Exit, PlatformError> {
        if !frame::is_possible(registers) {
            return Ok(GENERAL_PROTECTION);
        }
        let (mut id, frame) = self.stop()?;
        let process = Arc::clone(&self.process);
        frame.set_registers(process.memory(), registers);
        if let Some(fpu) = fpu {
            frame.set_fpu(process.memory(), fpu).ok_or_else(|| self.tampered())?;
        }
        self.claim(registers.fs_base);
        let turn = self.block(&process).resume();
        if id.is_none() && matches!(turn, Turn::Stop { asleep: true }) {
            // It went to sleep in the meantime.
            let notification = self.receive()?;
            id = Some(notification.id);
        }
        while let Some(sleeping) = id {
            if self.send(sleeping, 0)? == Sent::Delivered {
                break;
            }
            // All signals are blocked in the handler: either the thread was stopped and continued from outside and calls again, or the guest
            // has jumped into the handler and is in another now.
            let notification = self.receive()?;
            self.state = self.in_handler(&notification);
            match self.state {
                State::InHandler { id: new, frame: Some(new_frame), .. } if new_frame == frame => id = new,
                _ => match self.report(&notification, registers)? {
                    Some(exit) => return Ok(exit),
                    None => break,
                },
            }
        }
        self.wait(registers)
    }

    /// Makes `base` the one by which trampolines find the thread's area.
    fn claim(&mut self, base: u64) {
        if self.base == Some(base) {
            return;
        }
        let (memory, index) = (self.process.memory(), self.waiter.index());
        if let Some(old) = self.base.replace(base) {
            self.process.bases().release(memory, index, old);
        }
        self.process.bases().claim(memory, index, base, self.identity);
    }

    /// What the thread, which stands still, may be told without the sentry from now on.
    pub fn set_identity(&mut self, identity: Option<Identity>) {
        if std::mem::replace(&mut self.identity, identity) == identity {
            return;
        }
        if let Some(base) = self.base {
            let (memory, index) = (self.process.memory(), self.waiter.index());
            self.process.bases().release(memory, index, base);
            self.process.bases().claim(memory, index, base, identity);
        }
    }

    /// All registers of the thread as they are where it stands still. The result register of a call is what the contract says.
    pub fn registers(&mut self) -> Result<Registers, PlatformError> {
        let call = match self.state {
            State::Trapped(call) => Some(call),
            _ => None,
        };
        let called = matches!(self.state, State::Called { .. });
        let (_, frame) = self.stop()?;
        let process = Arc::clone(&self.process);
        let mut registers = frame.registers(process.memory());
        if let Some(call) = call {
            // Its result was made up.
            fill_from_call(&call, &mut registers);
        }
        if let State::InHandler { in_call: true, .. } = self.state {
            self.block(&process).leave_call(&mut registers);
            if called {
                self.block(&process).fill_call(&mut registers);
            }
        }
        Ok(registers)
    }

    /// The extended state.
    pub fn fpu(&mut self) -> Result<FpuState, PlatformError> {
        let (_, frame) = self.stop()?;
        frame.fpu(self.process.memory()).ok_or_else(|| self.tampered())
    }

    /// Brings the thread into its signal handler, where all of its state can be reached.
    fn stop(&mut self) -> Result<(Option<u64>, Frame), PlatformError> {
        if self.is_in_call() {
            self.fetch_handler()?;
        }
        match self.state {
            State::InHandler { id, frame: Some(frame), .. } => Ok((id, frame)),
            _ => Err(self.tampered()),
        }
    }

    /// Brings a thread that stands in a call into its handler: a kick that is pending when the call is answered is handled before the guest's next
    /// instruction. The thread sleeps, and would wake on another processor if one is idle, which takes far longer than the rest: so it is kept
    /// here meanwhile.
    fn fetch_handler(&mut self) -> Result<(), PlatformError> {
        let process = Arc::clone(&self.process);
        let block = self.block(&process);
        let kicked = self.ids();
        let (addresses, state, index) = (self.addresses, self.state, self.waiter.index());
        let fetched = self.waiter.keep_here(block, |waiter| {
            let mut state = state;
            loop {
                let (id, first) = match state {
                    State::Trapped(call) => (Some(call.id), Some(call)),
                    State::Called { id } => (id, None),
                    State::InHandler { .. } => return Ok(Some(state)),
                };
                super::kick(kicked);
                if let Some(id) = id {
                    // Whatever it returns, its result register is set with the others.
                    let _sent = waiter.send(id, 0)?;
                }
                let notification = waiter.receive()?;
                match followed(&addresses, index, &notification, first.as_ref()) {
                    Some(new) => state = new,
                    None => return Ok(None),
                }
            }
        });
        let fetched = fetched.map_err(|error: io::Error| self.process.died(error))?;
        self.state = fetched.ok_or_else(|| self.tampered())?;
        // Nobody looks for an answer any more.
        block.resume();
        Ok(())
    }

    /// Sees where a signal took the thread from `call`: into its handler, or, one that is ignored, back into the call.
    fn follow(&mut self, call: &Notification) -> Result<(), PlatformError> {
        let notification = self.receive()?;
        let state = followed(&self.addresses, self.waiter.index(), &notification, Some(call));
        self.state = state.ok_or_else(|| self.tampered())?;
        Ok(())
    }

    fn send(&self, id: u64, value: u64) -> Result<Sent, PlatformError> {
        self.waiter.send(id, value).map_err(|error| self.process.died(error))
    }

    fn receive(&self) -> Result<Notification, PlatformError> {
        self.waiter.receive().map_err(|error| self.process.died(error))
    }

    fn in_handler(&self, notification: &Notification) -> State {
        let frame = Frame::new(self.waiter.index(), &notification.arguments);
        State::InHandler { id: Some(notification.id), frame, in_call: false }
    }

    /// Waits until the thread stands still and says why. After [`Exit::Syscall`] only the registers of the call are filled in.
    fn wait(&mut self, registers: &mut Registers) -> Result<Exit, PlatformError> {
        let process = Arc::clone(&self.process);
        loop {
            let block = self.block(&process);
            let event = self.waiter.wait(block).map_err(|error| self.process.died(error))?;
            let exit = match event {
                Event::Notified(notification) => self.report(&notification, registers)?,
                Event::Block(Turn::Call { .. }) => Some(self.report_called(None, registers)),
                Event::Block(_) => Some(self.report_stopped(registers)?),
            };
            if let Some(exit) = exit {
                return Ok(exit);
            }
        }
    }

    /// Takes note of a call from a patched site.
    fn report_called(&mut self, id: Option<u64>, registers: &mut Registers) -> Exit {
        self.state = State::Called { id };
        CallBlock::new(self.process.memory(), self.waiter.index()).fill_call(registers);
        Exit::Syscall
    }

    /// Takes note of a stop that the thread has told by its call block.
    fn report_stopped(&mut self, registers: &mut Registers) -> Result<Exit, PlatformError> {
        let process = Arc::clone(&self.process);
        let arguments = self.block(&process).handler_arguments();
        let frame = Frame::new(self.waiter.index(), &arguments);
        self.state = State::InHandler { id: None, frame, in_call: false };
        let frame = frame.ok_or_else(|| self.tampered())?;
        *registers = frame.registers(process.memory());
        Ok(frame.exit(process.memory(), registers))
    }

    /// Takes note of where the thread stands and says why. `None` if it goes on by itself.
    fn report(
        &mut self,
        notification: &Notification,
        registers: &mut Registers,
    ) -> Result<Option<Exit>, PlatformError> {
        if notification.instruction_pointer == self.addresses.stopped {
            return self.report_handler(notification, registers);
        }
        if notification.instruction_pointer == self.addresses.slept {
            let process = Arc::clone(&self.process);
            if matches!(self.block(&process).turn(), Turn::Call { .. }) {
                return Ok(Some(self.report_called(Some(notification.id), registers)));
            }
            // It was answered while it went to sleep.
            let _sent = self.send(notification.id, 0)?;
            return Ok(None);
        }
        if notification.architecture != X86_64 {
            // The filter lets no such call come this way.
            return Err(self.tampered());
        }
        self.state = State::Trapped(*notification);
        fill_from_call(notification, registers);
        Ok(Some(Exit::Syscall))
    }

    /// Takes note of a stop in the handler.
    fn report_handler(
        &mut self,
        notification: &Notification,
        registers: &mut Registers,
    ) -> Result<Option<Exit>, PlatformError> {
        let process = Arc::clone(&self.process);
        self.state = self.in_handler(notification);
        let State::InHandler { id, frame: Some(frame), .. } = self.state else {
            return Err(self.tampered());
        };
        let memory = process.memory();
        *registers = frame.registers(memory);
        if frame.signal() == KICK && (self.addresses.call..self.addresses.handler).contains(&registers.rip) {
            if registers.rip < self.addresses.called {
                // It is about to stand still in its call.
                let _sent = self.send(notification.id, 0)?;
                return Ok(None);
            }
            let block = self.block(&process);
            self.state = State::InHandler { id, frame: Some(frame), in_call: true };
            let called = matches!(block.resume(), Turn::Call { .. });
            block.leave_call(registers);
            if called {
                // Nobody has seen its call yet.
                block.fill_call(registers);
                return Ok(Some(Exit::Syscall));
            }
        }
        Ok(Some(frame.exit(memory, registers)))
    }

    /// The guest did to the stub's memory what leaves the thread without registers: as good as killed.
    fn tampered(&self) -> PlatformError {
        self.process.broken(format_args!("the guest destroyed the frame of thread {}", self.waiter.tid()))
    }
}

/// Where a thread stands that was kicked in a call: in its handler, or still in the call (`first`, unless that came from a patched site). `None` for anything else.
fn followed(
    addresses: &Addresses,
    index: u64,
    notification: &Notification,
    first: Option<&Notification>,
) -> Option<State> {
    if notification.instruction_pointer == addresses.stopped {
        let frame = Frame::new(index, &notification.arguments);
        return Some(State::InHandler { id: Some(notification.id), frame, in_call: first.is_none() });
    }
    match first {
        Some(first) => notification.is_repetition_of(first).then_some(State::Trapped(*notification)),
        None => (notification.instruction_pointer == addresses.slept)
            .then_some(State::Called { id: Some(notification.id) }),
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

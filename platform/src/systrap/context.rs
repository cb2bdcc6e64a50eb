//! What runs guest code for one task thread.

use std::any::Any;
use std::sync::Arc;

use super::address_space::SystrapAddressSpace;
use super::guest_thread::GuestThread;
use super::interrupter::SystrapInterrupter;
use super::sites::CallSites;
use super::watchdog::Watchdog;
use crate::arch::FpuState;
use crate::{AddressSpace, Context, Exit, Identity, Interrupter, PlatformError, Registers};

/// A context of this platform: at any time it uses at most one thread of one stub.
#[derive(Debug)]
pub struct SystrapContext {
    current: Option<Current>,
    /// Extended state to be loaded before guest code runs.
    pending_fpu: Option<FpuState>,
    interrupter: Arc<SystrapInterrupter>,
    sites: CallSites,
    identity: Option<Identity>,
}

/// The thread that runs guest code for this context.
#[derive(Debug)]
struct Current {
    space: Arc<dyn AddressSpace>,
    thread: GuestThread,
    /// The registers as they were handed out; what differs at the next switch was changed by the sentry.
    handed_out: Registers,
    /// Whether only the registers of a call are known.
    partial: bool,
}

impl SystrapContext {
    /// A context with the FPU in its initial state.
    pub fn new(watchdog: &Arc<Watchdog>) -> Self {
        Self {
            current: None,
            pending_fpu: Some(FpuState::initial()),
            interrupter: SystrapInterrupter::new(watchdog),
            sites: CallSites::default(),
            identity: None,
        }
    }

    /// Gives the current thread back to its address space.
    fn release(&mut self) {
        if let Some(Current { space, thread, .. }) = self.current.take()
            && let Some(space) = downcast(&space)
        {
            space.give_back(thread);
        }
    }

    /// Makes the current thread one of `space`.
    fn enter(&mut self, space: &Arc<dyn AddressSpace>) -> Result<(), PlatformError> {
        if self.current.as_ref().is_some_and(|current| Arc::ptr_eq(&current.space, space)) {
            return Ok(());
        }
        if self.pending_fpu.is_none() {
            self.pending_fpu = Some(self.save_fpu()?);
        }
        self.release();
        let mut thread = downcast(space).ok_or_else(foreign)?.take_thread()?;
        thread.set_identity(self.identity);
        self.interrupter.aim_at(thread.process());
        self.current = Some(Current {
            space: Arc::clone(space),
            thread,
            handed_out: Registers::default(),
            partial: false,
        });
        Ok(())
    }

    /// Runs guest code until there is an exit to report.
    fn run_to_exit(&mut self, registers: &mut Registers) -> Result<Exit, PlatformError> {
        let ids = self.current.as_ref().map_or((0, 0), |current| current.thread.ids());
        self.interrupter.enter(ids);
        let exit = loop {
            if self.interrupter.take() {
                // The caller takes all registers for known after this exit.
                break self.complete_registers(registers).map(|()| Exit::Interrupted);
            }
            let exit = self.run(registers);
            if let Some(current) = &mut self.current {
                current.handed_out = *registers;
                current.partial = current.thread.is_in_call();
                if let Some(behind_call) = current.thread.trapped_at() {
                    self.sites.count(behind_call);
                }
            }
            // A signal that nobody of ours has sent is no reason to stop.
            if !matches!(exit, Ok(Exit::Interrupted)) {
                break exit;
            }
        };
        self.interrupter.leave();
        exit
    }

    /// Forgets a thread that has ended, and all that was only in it.
    fn forget_thread(&mut self) {
        self.current = None;
        self.pending_fpu.get_or_insert_with(FpuState::initial);
    }

    /// Runs guest code until the thread stands still.
    fn run(&mut self, registers: &mut Registers) -> Result<Exit, PlatformError> {
        let Some(current) = &mut self.current else { return Err(foreign()) };
        let fpu = self.pending_fpu.take();
        let only_result = *registers == Registers { rax: registers.rax, ..current.handed_out };
        if fpu.is_none() && current.partial && only_result {
            if let Some(exit) = current.thread.answer(registers.rax, registers)? {
                return Ok(exit);
            }
        } else if current.partial && only_result {
            // The rest of the registers is still only in the thread.
            let result = registers.rax;
            *registers = current.thread.registers()?;
            registers.rax = result;
        }
        current.thread.run(registers, fpu.as_ref())
    }
}

/// The error for an address space of another platform: a bug of the sentry.
fn foreign() -> PlatformError {
    PlatformError::Unavailable {
        platform: "systrap",
        reason: "the address space is another platform's".to_owned(),
    }
}

fn downcast(space: &Arc<dyn AddressSpace>) -> Option<&SystrapAddressSpace> {
    let space: &dyn Any = &**space;
    space.downcast_ref()
}

impl Context for SystrapContext {
    fn switch(
        &mut self,
        space: &Arc<dyn AddressSpace>,
        registers: &mut Registers,
    ) -> Result<Exit, PlatformError> {
        self.enter(space)?;
        let systrap = downcast(space).ok_or_else(foreign)?;
        systrap.enter();
        let exit = systrap.apply().and_then(|()| self.run_to_exit(registers));
        systrap.leave();
        if matches!(exit, Err(PlatformError::Died { .. } | PlatformError::GuestBroke { .. })) {
            self.forget_thread();
        }
        exit
    }

    fn complete_registers(&mut self, registers: &mut Registers) -> Result<(), PlatformError> {
        if let Some(current) = &mut self.current
            && current.partial
        {
            let result = registers.rax;
            *registers = current.thread.registers()?;
            registers.rax = result;
            current.handed_out = *registers;
            current.partial = false;
        }
        Ok(())
    }

    fn set_identity(&mut self, identity: Option<Identity>) {
        self.identity = identity;
        if let Some(current) = &mut self.current {
            current.thread.set_identity(identity);
        }
    }

    fn take_frequent_call(&mut self) -> Option<u64> {
        self.sites.take_frequent()
    }

    fn interrupter(&self) -> Arc<dyn Interrupter> {
        Arc::clone(&self.interrupter) as Arc<dyn Interrupter>
    }

    fn save_fpu(&mut self) -> Result<FpuState, PlatformError> {
        match (&self.pending_fpu, &mut self.current) {
            (Some(pending), _) => Ok(pending.clone()),
            (None, None) => Ok(FpuState::initial()),
            (None, Some(current)) => {
                if current.partial {
                    current.handed_out =
                        Registers { rax: current.handed_out.rax, ..current.thread.registers()? };
                }
                current.thread.fpu()
            }
        }
    }

    fn load_fpu(&mut self, state: &FpuState) -> Result<(), PlatformError> {
        self.pending_fpu = Some(state.clone());
        Ok(())
    }

    fn leave(&mut self, space: &Arc<dyn AddressSpace>) {
        if self.current.as_ref().is_some_and(|current| Arc::ptr_eq(&current.space, space)) {
            self.release();
            self.pending_fpu.get_or_insert_with(FpuState::initial);
        }
    }
}

impl Drop for SystrapContext {
    fn drop(&mut self) {
        self.release();
    }
}

//! Contexts: what runs guest code for one task thread.

use std::marker::PhantomData;
use std::sync::Arc;

use super::Shared;
use super::exit;
use super::processors::{Seat, Seated};
use super::space::{KvmAddressSpace, Space};
use super::vcpu::Stop;
use crate::{AddressSpace, Context, Exit, FpuState, Interrupter, PlatformError, Registers};

/// See the module. What is in the seat may be taken away whenever guest code does not run.
#[derive(Debug)]
pub(super) struct KvmContext {
    shared: Arc<Shared>,
    seat: Arc<Seat>,
    /// The address space that knows of this context.
    home: Option<Arc<Space>>,
    _thread: PhantomData<*const ()>,
}

impl KvmContext {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        super::kick::unblock(shared.signal);
        let seat = shared.processors.add_seat(shared.fpu.initial());
        Self { shared: Arc::clone(shared), seat, home: None, _thread: PhantomData }
    }

    /// Lets `space` know of this context.
    fn move_to(&mut self, space: &Arc<Space>) {
        if self.home.as_ref().is_some_and(|home| Arc::ptr_eq(home, space)) {
            return;
        }
        self.leave_home();
        space.add_runner(&self.seat.runner);
        self.home = Some(Arc::clone(space));
    }

    fn leave_home(&mut self) {
        if let Some(home) = self.home.take() {
            home.remove_runner(&self.seat.runner);
        }
    }

    /// Runs guest code once.
    fn run(
        &self,
        seated: &mut Seated,
        space: &Space,
        registers: &mut Registers,
    ) -> Result<Option<Exit>, PlatformError> {
        let vcpu = match &mut seated.vcpu {
            Some(vcpu) => vcpu,
            none => none.insert(self.shared.processors.take(&self.shared.pages, &self.shared.kernel)?),
        };
        if let Some(fpu) = &seated.fpu {
            vcpu.set_fpu(fpu)?;
            seated.fpu = None;
        }
        let runner = &*self.seat.runner;
        runner.kick.enter(self.shared.signal, vcpu.immediate_exit());
        let stop = if runner.kick.is_pending() {
            Ok(Stop::NotEntered)
        } else {
            let generation = space.enter(runner);
            vcpu.run(registers, space, generation, &runner.kick)
        };
        runner.leave();
        runner.kick.leave();
        exit::decode(stop?, registers, vcpu, space)
    }
}

impl Context for KvmContext {
    fn switch(
        &mut self,
        space: &Arc<dyn AddressSpace>,
        registers: &mut Registers,
    ) -> Result<Exit, PlatformError> {
        let space = KvmAddressSpace::of(space)?;
        self.move_to(space);
        space.prepare()?;
        let seat = Arc::clone(&self.seat);
        loop {
            if seat.runner.kick.take() {
                return Ok(Exit::Interrupted);
            }
            let mut seated = seat.seated.lock();
            if let Some(exit) = self.run(&mut seated, space, registers)? {
                return Ok(exit);
            }
            // It did not stop for an exit: others may want the processor.
            if self.shared.processors.is_short()
                && let Some(vcpu) = seated.vcpu.take()
            {
                seated.fpu = Some(vcpu.fpu()?);
                drop(seated);
                self.shared.processors.give_back(vcpu);
                std::thread::yield_now();
            }
        }
    }

    fn interrupter(&self) -> Arc<dyn Interrupter> {
        Arc::clone(&self.seat.runner) as Arc<dyn Interrupter>
    }

    fn save_fpu(&mut self) -> Result<FpuState, PlatformError> {
        let seated = self.seat.seated.lock();
        let mut area = match (&seated.fpu, &seated.vcpu) {
            (Some(area), _) => area.clone(),
            (None, Some(vcpu)) => vcpu.fpu()?,
            (None, None) => self.shared.fpu.initial(),
        };
        area.resize(self.shared.fpu.size(), 0);
        Ok(FpuState { area: area.into_boxed_slice() })
    }

    fn load_fpu(&mut self, state: &FpuState) -> Result<(), PlatformError> {
        self.seat.seated.lock().fpu = Some(self.shared.fpu.sanitise(&state.area));
        Ok(())
    }

    fn leave(&mut self, space: &Arc<dyn AddressSpace>) {
        if let Ok(space) = KvmAddressSpace::of(space)
            && self.home.as_ref().is_some_and(|home| Arc::ptr_eq(home, space))
        {
            self.leave_home();
        }
    }
}

impl Drop for KvmContext {
    fn drop(&mut self) {
        self.leave_home();
        self.shared.processors.remove_seat(&self.seat);
    }
}

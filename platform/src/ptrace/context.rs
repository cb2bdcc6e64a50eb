//! Contexts: what runs guest code for one task thread.

use std::marker::PhantomData;
use std::mem::offset_of;
use std::sync::Arc;

use smallvec::SmallVec;

use super::exit::{self, LastFetch};
use super::fpu::Layout;
use super::interrupt::Interrupt;
use super::order_failed;
use super::placement::{Placement, Seat};
use super::space::{PtraceAddressSpace, Space};
use super::sys::{self, SI_KERNEL};
use super::tracee::{Stopped, TraceeError};
use crate::{AddressSpace, Context, Exit, FpuState, Interrupter, PlatformError, Registers, Trap};

/// What a context keeps for an address space that it has run in.
#[derive(Debug)]
struct Place {
    /// Dropped first: the stub can only be killed when nothing in it is traced.
    tracee: Option<Stopped>,
    space: Arc<Space>,
}

/// A context of the ptrace platform. Its tracees belong to the thread that made it.
#[derive(Debug)]
pub(super) struct PtraceContext {
    /// One, except around an exec.
    places: SmallVec<[Place; 1]>,
    interrupt: Arc<Interrupt>,
    seat: Arc<Seat>,
    fpu: Fpu,
    /// The address space whose tracee is the one to be interrupted and placed.
    current: Option<*const Space>,
    last_fetch: LastFetch,
    /// The time stamp counter when guest code last stopped.
    left: u64,
    _thread: PhantomData<*const ()>,
}

/// Where the extended state is.
#[derive(Debug)]
struct Fpu {
    layout: Layout,
    /// The state, unless it is in the tracee of `home`.
    stored: Vec<u8>,
    home: Option<*const Space>,
}

impl PtraceContext {
    /// A context for the calling thread.
    pub(super) fn new(placement: &Arc<Placement>, layout: &Layout) -> Self {
        sys::unblock_faults();
        Self {
            places: SmallVec::new(),
            interrupt: Arc::default(),
            seat: Seat::new(placement),
            fpu: Fpu { layout: layout.clone(), stored: layout.initial(), home: None },
            current: None,
            last_fetch: None,
            left: 0,
            _thread: PhantomData,
        }
    }

    fn place_of(&self, space: &Arc<Space>) -> Option<usize> {
        self.places.iter().position(|place| Arc::ptr_eq(&place.space, space))
    }

    /// Takes the tracee for `space` out of its place, which is made if need be.
    fn take_tracee(&mut self, space: &Arc<Space>) -> Result<(usize, Stopped), PlatformError> {
        let index = match self.place_of(space) {
            Some(index) => index,
            None => {
                self.forget_unused();
                self.places.push(Place { tracee: None, space: Arc::clone(space) });
                self.places.len() - 1
            }
        };
        if let Some(tracee) = self.places[index].tracee.take() {
            return Ok((index, tracee));
        }
        // A tracee that was there is gone, and its extended state with it.
        self.forget_current(space);
        self.fpu.home.take_if(|home| *home == Arc::as_ptr(space));
        let tracee = space.stub().attach().map_err(|error| order_failed("a thread", error))?;
        Ok((index, tracee))
    }

    /// Gives places up whose address space nobody else uses.
    fn forget_unused(&mut self) {
        let mut index = 0;
        while let Some(place) = self.places.get(index) {
            if Arc::strong_count(&place.space) == 1 {
                self.give_up_place(index);
            } else {
                index += 1;
            }
        }
    }

    fn give_up_place(&mut self, index: usize) {
        // A state that cannot be read is that of a dead tracee.
        let _lost = self.bring_fpu_home_from(index);
        let Place { tracee, space } = self.places.remove(index);
        self.forget_current(&space);
        if let Some(tracee) = tracee {
            let _dead = space.stub().detach(tracee);
        }
    }

    /// Makes sure that the tracee of `space` is not interrupted or placed any more.
    fn forget_current(&mut self, space: &Arc<Space>) {
        if self.current.take_if(|current| *current == Arc::as_ptr(space)).is_some() {
            self.interrupt.aim_at(None);
            self.seat.seat_tracee(None);
        }
    }

    /// Stores the extended state if it is in the tracee of that place.
    fn bring_fpu_home_from(&mut self, index: usize) -> Result<(), TraceeError> {
        let place = &self.places[index];
        if self.fpu.home != Some(Arc::as_ptr(&place.space)) {
            return Ok(());
        }
        self.fpu.home = None;
        match &place.tracee {
            Some(tracee) => self.fpu.read_from(tracee),
            None => Ok(()),
        }
    }

    /// Makes `tracee`, of `space`, the one that runs for this context.
    fn make_current(&mut self, tracee: &mut Stopped, space: &Arc<Space>) -> Result<(), TraceeError> {
        let here = Arc::as_ptr(space);
        if self.current != Some(here) {
            self.current = Some(here);
            self.interrupt.aim_at(Some((space.stub().pid(), tracee.tid())));
            self.seat.seat_tracee(Some(tracee.tid()));
        }
        if self.fpu.home == Some(here) {
            return Ok(());
        }
        if let Some(index) =
            self.places.iter().position(|place| self.fpu.home == Some(Arc::as_ptr(&place.space)))
        {
            self.bring_fpu_home_from(index)?;
        }
        tracee.write_extended_state(&self.fpu.stored)?;
        self.fpu.home = Some(here);
        Ok(())
    }

    /// Applies what is queued in `space` through this context's tracee.
    pub(super) fn apply(&mut self, space: &Arc<Space>) -> Result<(), PlatformError> {
        let (index, tracee) = self.take_tracee(space)?;
        let (tracee, result) = space.apply(tracee);
        self.places[index].tracee = tracee;
        result
    }

    /// Runs guest code until there is an exit to report; gives the tracee back unless it died.
    fn run(
        &mut self,
        mut tracee: Stopped,
        space: &Space,
        registers: &mut Registers,
    ) -> (Option<Stopped>, Result<Exit, PlatformError>) {
        if space.is_pending() {
            match space.apply(tracee) {
                (Some(stopped), Ok(())) => tracee = stopped,
                (stopped, result) => return (stopped, result.map(|()| Exit::Interrupted)),
            }
        }
        if !self.interrupt.enter() {
            return (Some(tracee), Ok(Exit::Interrupted));
        }
        let result = match load(&mut tracee, registers) {
            Ok(true) => self.run_loaded(tracee, registers),
            Ok(false) => {
                Ok((tracee, Exit::Trap(Trap { signal: libc::SIGSEGV, code: SI_KERNEL, address: 0 })))
            }
            Err(error) => Err(error),
        };
        self.interrupt.leave();
        match result {
            Ok((tracee, exit)) => (Some(tracee), Ok(exit)),
            Err(error) => (None, Err(error.into())),
        }
    }

    fn run_loaded(
        &mut self,
        mut tracee: Stopped,
        registers: &mut Registers,
    ) -> Result<(Stopped, Exit), TraceeError> {
        loop {
            let (stopped, stop) = tracee.emulate()?.wait()?;
            if let Some(exit) = exit::decode(&stopped, stop, registers, &mut self.last_fetch)? {
                return Ok((stopped, exit));
            }
            if self.interrupt.is_pending() {
                stopped.read_registers(registers)?;
                return Ok((stopped, Exit::Interrupted));
            }
            tracee = stopped;
        }
    }
}

impl Fpu {
    fn read_from(&mut self, tracee: &Stopped) -> Result<(), TraceeError> {
        self.stored.resize(self.layout.size(), 0);
        tracee.read_extended_state(&mut self.stored)?;
        Ok(())
    }
}

/// Loads the registers of the guest; false if no program can have such registers.
fn load(tracee: &mut Stopped, registers: &Registers) -> Result<bool, TraceeError> {
    // The kernel must not take what the guest has in rax for a call to be restarted.
    let registers = Registers { orig_rax: u64::MAX, ..*registers };
    match tracee.write_registers(&registers) {
        Err(TraceeError::Host { source, .. }) if source.raw_os_error() == Some(libc::EIO) => {
            load_one_by_one(tracee, &registers)
        }
        result => result.map(|()| true),
    }
}

/// For registers that the kernel refuses, although instructions can set them: bases of segments in the kernel's half (they
/// stay as they are in the tracee, which is what the guest set them to), and null selectors with a privilege level (the plain
/// null selector stands for them).
fn load_one_by_one(tracee: &mut Stopped, registers: &Registers) -> Result<bool, TraceeError> {
    const BASES: [usize; 2] = [offset_of!(Registers, fs_base), offset_of!(Registers, gs_base)];
    const DATA_SELECTORS: [usize; 4] = [
        offset_of!(Registers, ds),
        offset_of!(Registers, es),
        offset_of!(Registers, fs),
        offset_of!(Registers, gs),
    ];
    for (offset, value) in registers.words() {
        match tracee.write_register(offset, value) {
            Err(TraceeError::Host { source, .. }) if source.raw_os_error() == Some(libc::EIO) => {
                if DATA_SELECTORS.contains(&offset) {
                    tracee.write_register(offset, 0)?;
                } else if !BASES.contains(&offset) {
                    return Ok(false);
                }
            }
            result => result?,
        }
    }
    Ok(true)
}

impl Context for PtraceContext {
    fn switch(
        &mut self,
        space: &Arc<dyn AddressSpace>,
        registers: &mut Registers,
    ) -> Result<Exit, PlatformError> {
        let space = PtraceAddressSpace::of(space)?;
        let (index, mut tracee) = self.take_tracee(space)?;
        self.make_current(&mut tracee, space)?;
        space.enter();
        self.seat.enter(sys::time_stamp().wrapping_sub(self.left));
        let (tracee, result) = self.run(tracee, space, registers);
        self.seat.leave();
        space.leave();
        self.left = sys::time_stamp();
        self.places[index].tracee = tracee;
        result
    }

    fn interrupter(&self) -> Arc<dyn Interrupter> {
        Arc::clone(&self.interrupt) as Arc<dyn Interrupter>
    }

    fn save_fpu(&mut self) -> Result<FpuState, PlatformError> {
        if let Some(home) = self.fpu.home
            && let Some(place) = self.places.iter().find(|place| Arc::as_ptr(&place.space) == home)
            && let Some(tracee) = &place.tracee
        {
            self.fpu.read_from(tracee)?;
        }
        Ok(FpuState { area: self.fpu.stored.clone().into_boxed_slice() })
    }

    fn load_fpu(&mut self, state: &FpuState) -> Result<(), PlatformError> {
        self.fpu.stored = self.fpu.layout.sanitise(&state.area);
        self.fpu.home = None;
        Ok(())
    }

    fn leave(&mut self, space: &Arc<dyn AddressSpace>) {
        if let Ok(space) = PtraceAddressSpace::of(space)
            && let Some(index) = self.place_of(space)
        {
            self.give_up_place(index);
        }
    }
}

impl Drop for PtraceContext {
    fn drop(&mut self) {
        while !self.places.is_empty() {
            self.give_up_place(0);
        }
        self.seat.give_up();
    }
}

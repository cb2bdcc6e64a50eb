//! The virtual processors of a machine, which are fewer than tasks can be.
//!
//! A context keeps the processor that it used last, in its *seat*. When no processor is free and no more can be made, one is taken out of a seat whose context
//! does not run guest code; its extended state stays behind. If all run, some of them are made to stop.
//!
//! Locks, in this order: that of a seat (held while guest code runs), `state`. Nobody waits for a seat but its own context: others only try.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::counts::{self, Counts};
use super::machine::Machine;
use super::space::Runner;
use super::stub::{Bases, Stub};
use super::table_memory::TablePages;
use super::tables::KernelTables;
use super::vcpu::Vcpu;
use crate::PlatformError;

/// How long to wait for a processor before some of those that run are asked again to stop.
const PATIENCE: Duration = Duration::from_millis(10);

/// What a context has: a processor, or the extended state that is to be loaded into the next.
#[derive(Debug)]
pub(super) struct Seated {
    pub vcpu: Option<Vcpu>,
    /// Loaded before guest code runs, if it is there.
    pub fpu: Option<Vec<u8>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Seat {
    pub seated: Mutex<Seated>,
    pub runner: Arc<Runner>,
}

/// All processors of a machine.
#[derive(Debug)]
pub(super) struct Processors {
    machine: Arc<Machine>,
    most: usize,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    free: Vec<Vcpu>,
    made: usize,
    /// Of all that were made.
    counts: Vec<Arc<Counts>>,
    seats: Vec<Arc<Seat>>,
    /// Where to look next for a seat to take a processor from.
    hand: usize,
    waiting: usize,
}

impl Processors {
    /// No processors yet; at most `most`, if that is less than the host allows.
    pub(super) fn new(machine: &Arc<Machine>, most: Option<usize>) -> Self {
        let most = machine.most_processors().min(most.unwrap_or(usize::MAX)).max(1);
        Self { machine: Arc::clone(machine), most, state: Mutex::default(), freed: Condvar::new() }
    }

    /// Adds a context, with extended state to begin with.
    pub(super) fn add_seat(&self, fpu: Vec<u8>) -> Arc<Seat> {
        let seat = Arc::new(Seat {
            seated: Mutex::new(Seated { vcpu: None, fpu: Some(fpu) }),
            runner: Arc::default(),
        });
        self.state.lock().seats.push(Arc::clone(&seat));
        seat
    }

    /// Removes a context; its processor is free.
    pub(super) fn remove_seat(&self, seat: &Arc<Seat>) {
        let vcpu = seat.seated.lock().vcpu.take();
        let mut state = self.state.lock();
        state.seats.retain(|other| !Arc::ptr_eq(other, seat));
        state.free.extend(vcpu);
        self.freed.notify_one();
    }

    /// A processor for a context that has none.
    pub(super) fn take(&self, pages: &TablePages, tables: &KernelTables) -> Result<Vcpu, PlatformError> {
        let mut state = self.state.lock();
        loop {
            if let Some(vcpu) = state.free.pop() {
                return Ok(vcpu);
            }
            if state.made < self.most {
                let index = state.made as u64;
                let vcpu = self.make(index, pages, tables);
                if let Ok(vcpu) = &vcpu {
                    state.counts.push(Arc::clone(vcpu.counts()));
                }
                if vcpu.is_ok() || state.made == 0 {
                    // An index that failed half-way cannot be used again.
                    state.made += usize::from(vcpu.is_ok());
                    return vcpu;
                }
                // The host does not give more: these have to do.
            }
            if let Some(vcpu) = take_over(&mut state)? {
                return Ok(vcpu);
            }
            let runners: Vec<_> = state.seats.iter().map(|seat| Arc::clone(&seat.runner)).collect();
            state.waiting += 1;
            parking_lot::MutexGuard::unlocked(&mut state, || {
                runners.iter().for_each(|runner| runner.kick.kick());
            });
            self.freed.wait_for(&mut state, PATIENCE);
            state.waiting -= 1;
        }
    }

    fn make(&self, index: u64, pages: &TablePages, tables: &KernelTables) -> Result<Vcpu, PlatformError> {
        let exhausted = |source: io::Error| PlatformError::Exhausted { what: "a virtual processor", source };
        let fd = self.machine.make_processor(index).map_err(exhausted)?;
        let bases = if self.machine.features().fsgsbase { Bases::ByStub } else { Bases::ByHost };
        let stub = Stub::new(index, bases, pages, tables)?;
        Vcpu::new(fd, &self.machine, stub).map_err(exhausted)
    }

    /// How often guest code was left, by reason.
    pub(super) fn exits(&self) -> Vec<(&'static str, u64)> {
        counts::sum(self.state.lock().counts.iter().map(|counts| &**counts))
    }

    /// Whether a context that was kicked should let others have its processor.
    pub(super) fn is_short(&self) -> bool {
        self.state.lock().waiting > 0
    }

    /// Gives a processor to whoever waits for one.
    pub(super) fn give_back(&self, vcpu: Vcpu) {
        self.state.lock().free.push(vcpu);
        self.freed.notify_one();
    }
}

/// Takes the processor of a context that does not run.
fn take_over(state: &mut State) -> Result<Option<Vcpu>, PlatformError> {
    for _ in 0..state.seats.len() {
        state.hand = (state.hand + 1) % state.seats.len();
        let Some(mut seated) = state.seats[state.hand].seated.try_lock() else { continue };
        let Some(vcpu) = seated.vcpu.take() else { continue };
        if seated.fpu.is_none() {
            seated.fpu = Some(vcpu.fpu()?);
        }
        return Ok(Some(vcpu));
    }
    Ok(None)
}

//! The cost of tracing itself, to compare with.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::nursery::Nursery;
use super::placement::{Placement, Seat};
use super::tracee::{OrderError, injected_registers};
use super::{order_failed, stub};
use crate::{PlatformError, Registers};

/// The mean time of a bare `PTRACE_SYSEMU` round trip (resume, wait, get and set registers), tracer and tracee on one CPU: what no
/// switch of this platform can be faster than.
///
/// # Errors
/// As [`PtracePlatform::new`](super::PtracePlatform::new).
pub fn measure_round_trip(iterations: u32) -> Result<Duration, PlatformError> {
    let placement = Arc::new(Placement::new());
    let nursery = Arc::new(Nursery::new(&placement)?);
    let seat = Seat::new(&placement);
    let mean = measure(&nursery, iterations).map_err(|error| order_failed("a process", error));
    seat.give_up();
    mean
}

fn measure(nursery: &Arc<Nursery>, iterations: u32) -> Result<Duration, OrderError> {
    let stub = nursery.new_stub()?;
    let mut tracee = stub.attach()?;
    let mut registers = Registers { rip: stub::measure(), ..injected_registers() };
    let start = Instant::now();
    for _ in 0..iterations {
        tracee.write_registers(&registers)?;
        let (stopped, _) = tracee.emulate()?.wait()?;
        stopped.read_registers(&mut registers)?;
        tracee = stopped;
    }
    let total = start.elapsed();
    stub.detach(tracee)?;
    Ok(total / iterations.max(1))
}

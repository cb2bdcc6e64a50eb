//! The parameter page: what the code of the vDSO computes the time from. The sentry writes it, guests only read it.
//!
//! It is a sequence lock with one writer at a time: the sequence number is odd while the page is being written. A reader that
//! finds it odd asks the kernel instead of spinning, so that a guest never waits for a preempted writer. All stores are sequentially consistent.

use std::sync::Arc;

use bartizan_platform::BackingFile;
use bartizan_platform::memory::{self, VolatileSlice};

/// Where the fields are in the page, bytes.
pub mod offset {
    /// `u32`: odd while the page is written.
    pub const SEQUENCE: usize = 0;
    /// `u32`: how the CPU number is found; see [`super::CpuNumber`].
    pub const GETCPU: usize = 4;
    /// `u64`: time stamp counter at the base.
    pub const BASE_TSC: usize = 8;
    /// `u64`: ticks from the base on for which the parameters hold; zero when they never do.
    pub const MAX_DELTA: usize = 16;
    /// `u64`: nanoseconds in a tick, times 2^32.
    pub const MULTIPLIER: usize = 24;
    /// Two `i32`: `struct timezone`.
    pub const TIMEZONE: usize = 32;
    /// Two `u64`: seconds and nanoseconds of `CLOCK_REALTIME` at the base.
    pub const REALTIME: usize = 48;
    /// The same of `CLOCK_MONOTONIC`.
    pub const MONOTONIC: usize = 64;
    /// The same of `CLOCK_BOOTTIME`.
    pub const BOOTTIME: usize = 80;
}

/// How `getcpu` finds the number of its processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum CpuNumber {
    /// By the system call.
    Syscall = 0,
    /// By the instruction `rdpid`.
    Rdpid = 1,
    /// By the limit of the segment that Linux keeps for it.
    SegmentLimit = 2,
}

/// The time at one instant, and how it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parameters {
    /// Time stamp counter at the base.
    pub base_tsc: u64,
    /// Ticks for which this holds.
    pub max_delta: u64,
    /// Nanoseconds in a tick, times 2^32.
    pub multiplier: u64,
    /// `CLOCK_MONOTONIC` at the base, nanoseconds.
    pub monotonic: u64,
    /// What to add for `CLOCK_REALTIME`, nanoseconds.
    pub realtime_offset: i64,
    /// What to add for `CLOCK_BOOTTIME`, nanoseconds.
    pub boottime_offset: i64,
}

impl Parameters {
    /// Nanoseconds of `CLOCK_MONOTONIC` at `tsc`, if the parameters hold there: exactly what the code of the vDSO computes.
    pub fn monotonic_at(&self, tsc: u64) -> Option<u64> {
        let delta = tsc.wrapping_sub(self.base_tsc);
        (delta < self.max_delta).then(|| self.monotonic.saturating_add(self.elapsed(delta)))
    }

    /// Nanoseconds in `ticks`.
    pub fn elapsed(&self, ticks: u64) -> u64 {
        let nanoseconds = (u128::from(ticks) * u128::from(self.multiplier)) >> 32;
        u64::try_from(nanoseconds).unwrap_or(u64::MAX)
    }
}

/// The page that guests read.
#[derive(Debug)]
pub struct ParameterPage {
    file: Arc<dyn BackingFile>,
    offset: u64,
}

impl ParameterPage {
    /// The page at `offset` of `file`, which is at most ever written through this value.
    pub fn new(file: Arc<dyn BackingFile>, offset: u64) -> Self {
        Self { file, offset }
    }

    fn view(&self) -> std::io::Result<VolatileSlice<'_>> {
        self.file.view(self.offset, super::code::PARAMETERS_SIZE)
    }

    /// Says how `getcpu` works.
    ///
    /// # Errors
    /// The page cannot be reached.
    pub fn set_cpu_number(&self, how: CpuNumber) -> std::io::Result<()> {
        store_u32(&self.view()?, offset::GETCPU, how as u32)
    }

    /// Publishes `parameters`, which the caller computes while no reader can use the old ones any more. Callers exclude each other.
    ///
    /// # Errors
    /// The page cannot be reached; readers go on with what is there, or ask the kernel.
    pub fn publish(&self, compute: impl FnOnce() -> Parameters) -> std::io::Result<Parameters> {
        let view = self.view()?;
        let sequence = load_u32(&view, offset::SEQUENCE)? & !1;
        store_u32(&view, offset::SEQUENCE, sequence | 1)?;
        let parameters = compute();
        let monotonic = i128::from(parameters.monotonic);
        store_u64(&view, offset::BASE_TSC, parameters.base_tsc)?;
        store_u64(&view, offset::MAX_DELTA, parameters.max_delta)?;
        store_u64(&view, offset::MULTIPLIER, parameters.multiplier)?;
        store_clock(&view, offset::MONOTONIC, monotonic)?;
        store_clock(&view, offset::REALTIME, monotonic + i128::from(parameters.realtime_offset))?;
        store_clock(&view, offset::BOOTTIME, monotonic + i128::from(parameters.boottime_offset))?;
        store_u32(&view, offset::SEQUENCE, sequence.wrapping_add(2))?;
        Ok(parameters)
    }
}

fn store_clock(view: &VolatileSlice<'_>, at: usize, nanoseconds: i128) -> std::io::Result<()> {
    let nanoseconds = u64::try_from(nanoseconds).unwrap_or(0);
    store_u64(view, at, nanoseconds / 1_000_000_000)?;
    store_u64(view, at + 8, nanoseconds % 1_000_000_000)
}

fn store_u32(view: &VolatileSlice<'_>, at: usize, value: u32) -> std::io::Result<()> {
    let field = view.offset(at).map_err(std::io::Error::other)?;
    memory::store_u32(&field, value).map(drop).map_err(std::io::Error::other)
}

fn load_u32(view: &VolatileSlice<'_>, at: usize) -> std::io::Result<u32> {
    let field = view.offset(at).map_err(std::io::Error::other)?;
    memory::load_u32(&field).map_err(std::io::Error::other)
}

fn store_u64(view: &VolatileSlice<'_>, at: usize, value: u64) -> std::io::Result<()> {
    let field = view.offset(at).map_err(std::io::Error::other)?;
    memory::store_u64(&field, value).map(drop).map_err(std::io::Error::other)
}

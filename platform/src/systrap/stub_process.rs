//! One stub process: the host process whose memory is one guest address space.
//!
//! Its leader spawns threads on order and never runs guest code; one thread is the mapper, the others run guest code.

use std::fmt::Display;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::bases::Bases;
use super::control::{ControlMemory, area_address};
use super::frame::signal_stack;
use super::governor::Governor;
use super::layout::{MAPPER_AREA, area, orders};
use super::notify::Listener;
use super::seed::{self, Seed};
use crate::PlatformError;
use crate::affinity::{self, CpuSet};

/// How long a stub may take for what takes microseconds: only a stub that was killed takes this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running stub process. Dropping it ends the process.
#[derive(Debug)]
pub struct StubProcess {
    pid: i32,
    /// Can be read when it has ended.
    end: OwnedFd,
    memory: ControlMemory,
    bases: Bases,
    governor: Arc<Governor>,
    order_event: OwnedFd,
    done_event: OwnedFd,
    /// Whether it was ended and waited for, so that its number may be another's.
    ended: AtomicBool,
    /// Where its threads may run, if that is more than one processor.
    cpus: Option<CpuSet>,
    /// Why it cannot be used any more.
    end_cause: OnceLock<Cause>,
}

/// How long a process may take to end whose threads are gone.
const END_PATIENCE_MILLISECONDS: i32 = 1000;

/// Who has ended a stub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Its own guest.
    Guest,
    /// Somebody else.
    Outside,
}

/// What the leader is asked to make.
#[derive(Debug, Clone, Copy)]
enum Spawn {
    Guest = 0,
    Mapper = 1,
}

impl StubProcess {
    /// Forks a stub from `seed` and starts its mapper.
    pub fn new(seed: &Seed, governor: &Arc<Governor>) -> io::Result<(Self, Listener)> {
        let memory = ControlMemory::new()?;
        let bases = Bases::default();
        bases.prepare(&memory);
        let governor = Arc::clone(governor);
        let (order_event, done_event) = (seed::event()?, seed::event()?);
        let pid =
            seed.fork(memory.descriptor().as_raw_fd(), order_event.as_raw_fd(), done_event.as_raw_fd())?;
        let end = seed::pidfd(pid).inspect_err(|_| seed::kill_and_reap(pid))?;
        let (ended, end_cause) = (AtomicBool::new(false), OnceLock::new());
        let cpus = affinity::affinity(pid).ok().filter(|cpus| affinity::members(cpus).len() > 1);
        let process =
            Self { cpus, pid, end, memory, bases, governor, order_event, done_event, ended, end_cause };
        process.wait_done()?;
        let mapper = process.start_mapper()?;
        Ok((process, mapper))
    }

    /// The process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Where its threads may run, if that is more than one processor.
    pub fn cpus(&self) -> Option<&CpuSet> {
        self.cpus.as_ref()
    }

    /// What it shares with the sentry.
    pub fn memory(&self) -> &ControlMemory {
        &self.memory
    }

    /// By which FS base its threads find their areas.
    pub fn bases(&self) -> &Bases {
        &self.bases
    }

    /// Who may spin.
    pub fn governor(&self) -> &Arc<Governor> {
        &self.governor
    }

    /// Starts a thread for guest code, with area `index`, the next one; callers take turns.
    pub fn start_guest(&self, index: u64) -> io::Result<(i32, Listener)> {
        self.memory.grow(index + 1)?;
        let stack = area_address(index) + area::STACK;
        for (at, word) in (stack..).step_by(8).zip(signal_stack(index)) {
            self.memory.write_area(index, at, word);
        }
        let tid = self.spawn(Spawn::Guest, index)?;
        let listener = self.poll_until(|| Listener::take_from_thread(tid))?;
        Ok((tid, listener))
    }

    /// Starts the mapper. It uses the first area, and tells the number of its listener there: no guest code has run yet.
    fn start_mapper(&self) -> io::Result<Listener> {
        let index = MAPPER_AREA;
        self.memory.grow(index + 1)?;
        let word = area_address(index) + area::LISTENER;
        self.memory.write_area(index, word, 0);
        self.spawn(Spawn::Mapper, index)?;
        let number =
            self.poll_until(|| Ok(self.memory.read_area(index, word).filter(|&number| number != 0)))?;
        Listener::adopt(i32::try_from(number).map_err(|_| io::Error::from_raw_os_error(libc::EMFILE))?)
    }

    /// Has the leader make a thread, and returns its id.
    fn spawn(&self, kind: Spawn, index: u64) -> io::Result<i32> {
        self.memory.write_order(orders::SPAWN_KIND, kind as u64);
        self.memory.write_order(orders::SPAWN_AREA, area_address(index));
        seed::write_all(self.order_event.as_raw_fd(), &1u64.to_ne_bytes())?;
        self.wait_done()?;
        match i32::try_from(self.memory.position()?) {
            Ok(tid) if tid > 0 => Ok(tid),
            _ => Err(io::Error::from_raw_os_error(libc::EAGAIN)),
        }
    }

    /// Waits until the leader has done what it was asked for.
    fn wait_done(&self) -> io::Result<()> {
        let patience = i32::try_from(PATIENCE.as_millis()).unwrap_or(i32::MAX);
        seed::wait_readable(&self.done_event, &self.end, patience)?;
        seed::read_word(self.done_event.as_raw_fd()).map(drop)
    }

    /// Asks `question` until it has an answer.
    fn poll_until<T>(&self, mut question: impl FnMut() -> io::Result<Option<T>>) -> io::Result<T> {
        let start = Instant::now();
        loop {
            if let Some(answer) = question()? {
                return Ok(answer);
            }
            if self.is_dead() || start.elapsed() > PATIENCE {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the stub process does not answer"));
            }
            std::thread::yield_now();
        }
    }
}

impl StubProcess {
    /// Whether the process has ended, or is about to.
    pub fn is_dead(&self) -> bool {
        self.end_cause.get().is_some() || seed::has_ended(&self.end)
    }

    /// The error for a process that does not answer any more, which `symptom` shows: it is made to end, if it has not.
    pub fn died(&self, symptom: impl Display) -> PlatformError {
        let cause = *self.end_cause.get_or_init(|| {
            let cause = match seed::ending_signal(&self.end, END_PATIENCE_MILLISECONDS) {
                // All others are ignored: only the thread itself can have caused it.
                Some(signal) if signal != libc::SIGKILL => Cause::Guest,
                _ => Cause::Outside,
            };
            self.kill();
            cause
        });
        self.error(cause, &symptom)
    }

    /// The error for a process whose guest did `what` to it, after which it cannot be used any more: it is made to end.
    pub fn broken(&self, what: impl Display) -> PlatformError {
        let cause = *self.end_cause.get_or_init(|| {
            self.kill();
            Cause::Guest
        });
        self.error(cause, &what)
    }

    fn kill(&self) {
        if !self.ended.load(Ordering::Acquire) {
            seed::kill(self.pid);
        }
    }

    fn error(&self, cause: Cause, what: &dyn Display) -> PlatformError {
        let what = format!("stub {}: {what}", self.pid);
        match cause {
            Cause::Guest => PlatformError::GuestBroke { what },
            Cause::Outside => PlatformError::Died { what },
        }
    }

    /// Ends the process and waits for its end; for one that cannot be used again while others still refer to it.
    pub fn end(&self) {
        if !self.ended.swap(true, Ordering::AcqRel) {
            seed::kill_and_reap(self.pid);
        }
    }
}

impl Drop for StubProcess {
    fn drop(&mut self) {
        self.end();
    }
}

//! On which CPU a context runs.
//!
//! A task thread and its tracee hand over to each other all the time; on one CPU that is a context switch, across CPUs it is a wake-up of
//! an idle CPU, which costs fifteen times as much. So both are pinned to the same CPU. That takes load balancing away from the
//! host, so it is done here:
//! * a context that comes back after a while moves if another one's guest runs on its CPU and another CPU runs none;
//! * as long as several guests run on one CPU, the keeper thread looks every few milliseconds whether another CPU
//!   runs none, and moves one there. It sleeps while there is no such CPU: an idle sandbox has no tick.
//!
//! Locks, in this order: `seats`, the `threads` of a seat; `keeper` is apart.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::sys::{self, Tid};
use crate::affinity::{self, CpuSet};

/// How often the keeper looks while CPUs are contended.
const TICK: Duration = Duration::from_millis(10);
/// After how many looks that found nothing it sleeps.
const QUIET_TICKS: u32 = 8;
/// Cycles of the time stamp counter after which a context counts as having been away: a fraction of a millisecond.
const LONG_AWAY: u64 = 1 << 20;

/// In the state of a seat: guest code runs.
const IN_GUEST: usize = 1 << (usize::BITS - 1);

/// The CPUs of a platform.
#[derive(Debug)]
pub(super) struct Placement {
    cpus: Vec<Cpu>,
    seats: Mutex<Vec<Weak<Seat>>>,
    keeper: Mutex<Keeper>,
    wake: Condvar,
    /// Whether the keeper looks, so that it need not be woken.
    awake: AtomicBool,
}

#[derive(Debug)]
struct Cpu {
    number: usize,
    /// Contexts whose guest code runs, or waits to run, here.
    busy: AtomicUsize,
}

#[derive(Debug, Default)]
struct Keeper {
    wanted: bool,
    ended: bool,
}

impl Placement {
    /// Uses the CPUs that the calling thread may use.
    pub(super) fn new() -> Self {
        let allowed = affinity::affinity(0).map(|set| affinity::members(&set)).unwrap_or_default();
        let cpus = allowed.into_iter().map(|number| Cpu { number, busy: AtomicUsize::new(0) }).collect();
        Self {
            cpus,
            seats: Mutex::new(Vec::new()),
            keeper: Mutex::new(Keeper::default()),
            wake: Condvar::new(),
            awake: AtomicBool::new(false),
        }
    }

    /// Lets `tid` run where the calling thread does. Best effort.
    pub(super) fn place_here(&self, tid: Tid) -> std::io::Result<()> {
        if self.cpus.len() < 2 {
            return Ok(());
        }
        affinity::set_affinity(tid, &affinity::only(affinity::current_cpu()))
    }

    fn idle(&self) -> Option<usize> {
        self.cpus.iter().position(|cpu| cpu.busy.load(Ordering::Relaxed) == 0)
    }

    fn contended(&self) -> Option<usize> {
        self.cpus.iter().position(|cpu| cpu.busy.load(Ordering::Relaxed) > 1)
    }

    /// Balances until [`stop`](Self::stop) is called. For the keeper thread.
    pub(super) fn keep(&self) {
        let mut keeper = self.keeper.lock();
        loop {
            while !keeper.wanted && !keeper.ended {
                self.wake.wait(&mut keeper);
            }
            keeper.wanted = false;
            let mut quiet = 0;
            let mut before = None;
            while quiet < QUIET_TICKS && !keeper.ended {
                self.wake.wait_for(&mut keeper, TICK);
                let contended = self.contended();
                quiet = if contended.is_some() { 0 } else { quiet + 1 };
                let pair = contended.zip(self.idle());
                // Only an imbalance that lasts is worth a move.
                if let Some((from, to)) = pair.filter(|_| pair == before) {
                    parking_lot::MutexGuard::unlocked(&mut keeper, || self.move_one(from, to));
                }
                before = pair;
            }
            if keeper.ended {
                return;
            }
            self.awake.store(false, Ordering::SeqCst);
            // Whoever found the keeper awake a moment ago is seen here.
            if self.contended().is_some() {
                keeper.wanted = !self.awake.swap(true, Ordering::SeqCst) || keeper.wanted;
            }
        }
    }

    /// Ends the keeper.
    pub(super) fn stop(&self) {
        self.keeper.lock().ended = true;
        self.wake.notify_all();
    }

    fn call_keeper(&self) {
        if !self.awake.load(Ordering::Relaxed) && !self.awake.swap(true, Ordering::SeqCst) {
            self.keeper.lock().wanted = true;
            self.wake.notify_all();
        }
    }

    fn move_one(&self, from: usize, to: usize) {
        let mut seats = self.seats.lock();
        seats.retain(|seat| seat.strong_count() > 0);
        for seat in seats.iter().filter_map(Weak::upgrade) {
            if seat.try_move(from, to) {
                return;
            }
        }
    }
}

/// Where one context runs.
#[derive(Debug)]
pub(super) struct Seat {
    placement: Arc<Placement>,
    /// Index of the CPU, and [`IN_GUEST`].
    state: AtomicUsize,
    threads: Mutex<Threads>,
    /// Where the task thread was allowed to run before.
    original: Option<CpuSet>,
}

#[derive(Debug)]
struct Threads {
    task: Tid,
    tracee: Option<Tid>,
}

impl Seat {
    /// Pins the calling thread to the CPU that it is on, until the seat is dropped.
    pub(super) fn new(placement: &Arc<Placement>) -> Arc<Self> {
        let current = affinity::current_cpu();
        let index = placement.cpus.iter().position(|cpu| cpu.number == current).unwrap_or(0);
        let original = (placement.cpus.len() > 1).then(|| affinity::affinity(0).ok()).flatten();
        let seat = Arc::new(Self {
            placement: Arc::clone(placement),
            state: AtomicUsize::new(index),
            threads: Mutex::new(Threads { task: sys::own_tid(), tracee: None }),
            original,
        });
        if placement.cpus.len() > 1 {
            seat.pin(index);
            placement.seats.lock().push(Arc::downgrade(&seat));
        }
        seat
    }

    /// Pins both threads to the CPU of that index. Best effort: what is not pinned is only slower.
    fn pin(&self, index: usize) {
        let Some(cpu) = self.placement.cpus.get(index) else { return };
        let set = affinity::only(cpu.number);
        let threads = self.threads.lock();
        if let Some(tracee) = threads.tracee {
            let _slower = affinity::set_affinity(tracee, &set);
        }
        let _slower = affinity::set_affinity(threads.task, &set);
    }

    /// Tells which tracee is in use; it is on the CPU of the task thread already.
    pub(super) fn seat_tracee(&self, tracee: Option<Tid>) {
        self.threads.lock().tracee = tracee;
    }

    /// Called before guest code runs, after having been away for `away` cycles: moves to a better CPU if there is one.
    pub(super) fn enter(&self, away: u64) {
        let cpus = &self.placement.cpus;
        if cpus.len() < 2 {
            return;
        }
        let index = self.state.load(Ordering::Relaxed);
        if away > LONG_AWAY
            && busy(cpus, index) > 0
            && let Some(idle) = self.placement.idle()
        {
            self.pin(idle);
            self.state.store(idle, Ordering::Relaxed);
        }
        let index = self.state.fetch_or(IN_GUEST, Ordering::Relaxed);
        let Some(cpu) = cpus.get(index) else { return };
        if cpu.busy.fetch_add(1, Ordering::Relaxed) > 0 {
            self.placement.call_keeper();
        }
    }

    /// Called when guest code does not run any more.
    pub(super) fn leave(&self) {
        let index = self.state.fetch_and(!IN_GUEST, Ordering::Relaxed);
        if index & IN_GUEST != 0
            && let Some(cpu) = self.placement.cpus.get(index & !IN_GUEST)
        {
            cpu.busy.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Moves a context whose guest runs on `from`, if this is one.
    fn try_move(&self, from: usize, to: usize) -> bool {
        let running = from | IN_GUEST;
        let moved =
            self.state.compare_exchange(running, to | IN_GUEST, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if moved {
            self.placement.cpus[from].busy.fetch_sub(1, Ordering::Relaxed);
            self.placement.cpus[to].busy.fetch_add(1, Ordering::Relaxed);
            self.pin(to);
        }
        moved
    }

    /// Lets the task thread, which is the caller, run where it could before.
    pub(super) fn give_up(&self) {
        // The keeper must not pin it again afterwards.
        let mut seats = self.placement.seats.lock();
        seats.retain(|seat| !std::ptr::eq(seat.as_ptr(), self));
        drop(seats);
        if let Some(original) = &self.original {
            let _stays_pinned = affinity::set_affinity(0, original);
        }
    }
}

fn busy(cpus: &[Cpu], index: usize) -> usize {
    cpus.get(index).map_or(0, |cpu| cpu.busy.load(Ordering::Relaxed))
}

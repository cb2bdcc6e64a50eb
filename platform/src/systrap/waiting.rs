//! How the sentry waits for a guest thread: asleep in its listener, or looking at its call block.
//!
//! At first both sides sleep, and take turns on one processor. A thread that makes call after call from patched sites is moved to another processor, and
//! both sides look for their turn instead (see [`governor`](super::governor)). That ends when the guest computes for a while, when a call takes long,
//! when a call comes from a site that is not patched, or when others want the processors; both are then together again.

use std::hint;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::call_block::{CallBlock, Turn};
use super::governor::{Governor, LONGEST_STREAK, Permit, SHORTEST_STREAK, STREAK_GAP, WORTHWHILE};
use super::layout::block::RUNNING;
use super::notify::{Listener, Notification, Sent};
use crate::affinity::{self, CpuSet};

/// How long the sentry looks for a call before it sleeps.
const PATIENCE: Duration = Duration::from_micros(50);
/// How long it does so for a thread that has to wake up on another processor first.
const FIRST_PATIENCE: Duration = Duration::from_micros(400);
/// How often it looks between two looks at the clock and at the listener.
const LOOKS: u32 = 64;
/// How often a thread looks for its answer before it sleeps: some 60 microseconds.
const GUEST_LOOKS: u64 = 4000;

/// How long a thread may take to sleep whose patience ends: far longer than it does, unless the guest forged its state.
const MOST_PATIENCE: Duration = Duration::from_secs(1);

/// The sentry's side of the waiting for one guest thread.
#[derive(Debug)]
pub struct Waiter {
    governor: Arc<Governor>,
    listener: Listener,
    tid: i32,
    /// The thread's area.
    index: u64,
    /// Where the thread may run, if that is more than one processor.
    cpus: Option<CpuSet>,
    /// Both sides look for their turn, the thread on another processor than the sentry.
    spinning: Option<Spinning>,
    /// How many calls have come in quick succession.
    streak: u32,
    /// How many have to for both sides to spin.
    wanted_streak: u32,
}

/// Both sides look for their turn.
#[derive(Debug)]
struct Spinning {
    permit: Permit,
    /// How many calls were handed over so.
    calls: u32,
    /// How many of them since the thread last had to be woken.
    calls_since_sleep: u32,
}

/// What the sentry sees when it looks for its turn.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// The thread looks for its own.
    Turn(Turn),
    /// The thread sleeps in a call.
    Asleep,
    /// It is not worth looking any longer.
    Nothing,
}

/// What the sentry waited for.
#[derive(Debug)]
pub enum Event {
    /// The thread has written to its call block, and looks for its turn.
    Block(Turn),
    /// The thread sleeps in a call that the host has reported.
    Notified(Notification),
}

impl Waiter {
    /// For a thread that stands still, whose area has number `index`.
    pub fn new(
        governor: &Arc<Governor>,
        listener: Listener,
        tid: i32,
        index: u64,
        cpus: Option<CpuSet>,
    ) -> Self {
        Self {
            governor: Arc::clone(governor),
            listener,
            tid,
            index,
            cpus,
            spinning: None,
            streak: 0,
            wanted_streak: SHORTEST_STREAK,
        }
    }

    /// The area's number.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The thread's id.
    pub fn tid(&self) -> i32 {
        self.tid
    }

    /// Waits until the thread has something to say.
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn wait(&mut self, block: CallBlock<'_>) -> std::io::Result<Event> {
        if self.spinning.is_some() {
            match self.look(block) {
                Look::Turn(turn) => return Ok(Event::Block(turn)),
                Look::Asleep if self.may_wake_apart() => return self.listener.receive().map(Event::Notified),
                Look::Asleep | Look::Nothing => {}
            }
            self.stop_spinning(block);
            // A thread that had patience left may have called since.
            if let turn @ (Turn::Call { asleep: false } | Turn::Stop { asleep: false }) = block.turn() {
                return Ok(Event::Block(turn));
            }
        }
        let start = Instant::now();
        let waiting = self.governor.wait();
        let notification = self.listener.receive()?;
        drop(waiting);
        self.streak = if start.elapsed() < STREAK_GAP { self.streak.saturating_add(1) } else { 0 };
        Ok(Event::Notified(notification))
    }

    /// Looks for the thread's next call or stop.
    fn look(&mut self, block: CallBlock<'_>) -> Look {
        let (Some(spinning), Some(state)) = (self.spinning.as_mut(), block.state()) else {
            return Look::Nothing;
        };
        let patience = if spinning.calls_since_sleep == 0 { FIRST_PATIENCE } else { PATIENCE };
        let mut start = None;
        loop {
            for _ in 0..LOOKS {
                if state.load(Ordering::Relaxed) != RUNNING
                    && let turn @ (Turn::Call { asleep: false } | Turn::Stop { asleep: false }) = block.turn()
                {
                    spinning.calls = spinning.calls.saturating_add(1);
                    spinning.calls_since_sleep = spinning.calls_since_sleep.saturating_add(1);
                    return Look::Turn(turn);
                }
                hint::spin_loop();
            }
            if self.listener.is_ready() {
                return Look::Asleep;
            }
            let start = *start.get_or_insert_with(Instant::now);
            if start.elapsed() > patience || spinning.permit.is_withdrawn() {
                return Look::Nothing;
            }
        }
    }

    /// Whether it is worth waking the thread, which has gone to sleep in a call, where it is.
    fn may_wake_apart(&mut self) -> bool {
        let Some(spinning) = &mut self.spinning else { return false };
        std::mem::take(&mut spinning.calls_since_sleep) >= WORTHWHILE
    }

    /// Has both sides sleep from now on.
    fn stop_spinning(&mut self, block: CallBlock<'_>) {
        let Some(spinning) = self.spinning.take() else { return };
        block.set_patience(0);
        self.bring_together();
        self.streak = 0;
        self.wanted_streak = if spinning.calls < WORTHWHILE {
            (self.wanted_streak * 2).min(LONGEST_STREAK)
        } else {
            SHORTEST_STREAK
        };
    }

    /// Makes the thread spin from its next call on if that is worth it: to be called while it sleeps in a call from a patched site.
    pub fn consider_spinning(&mut self, block: CallBlock<'_>) {
        if self.streak < self.wanted_streak || self.spinning.is_some() {
            return;
        }
        self.streak = 0;
        let Some(cpus) = &self.cpus else { return };
        let Some(permit) = self.governor.permit() else { return };
        let others = affinity::without(cpus, affinity::current_cpu());
        if affinity::members(&others).is_empty() || affinity::set_affinity(self.tid, &others).is_err() {
            return;
        }
        block.set_patience(GUEST_LOOKS);
        self.spinning = Some(Spinning { permit, calls: 0, calls_since_sleep: 0 });
    }

    /// Lets the thread, which sleeps in the call with this id, return `value` from it.
    ///
    /// # Errors
    /// When the listener fails.
    pub fn send(&self, id: u64, value: u64) -> std::io::Result<Sent> {
        self.listener.send(id, value)
    }

    /// Receives the report of a thread that is going to sleep. `None` if it does not come.
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn receive_soon(&self) -> std::io::Result<Option<Notification>> {
        if self.listener.is_ready_within(MOST_PATIENCE) {
            self.listener.receive().map(Some)
        } else {
            Ok(None)
        }
    }

    /// Receives what the thread reports next.
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn receive(&self) -> std::io::Result<Notification> {
        self.listener.receive()
    }

    /// Lets the thread run on the sentry's processor again, where it is woken from its next sleep: waking it elsewhere takes far longer.
    fn bring_together(&self) {
        if let Some(cpus) = &self.cpus {
            // Best effort: a thread that runs elsewhere is only slower.
            let _gone = affinity::set_affinity(self.tid, cpus);
        }
    }

    /// Keeps the thread on this processor while `action` makes it wake up in its handler.
    pub fn keep_here<T>(&mut self, block: CallBlock<'_>, action: impl FnOnce(&mut Self) -> T) -> T {
        self.stop_spinning(block);
        let Some(cpus) = self.cpus else { return action(self) };
        let here = affinity::only(affinity::current_cpu());
        let kept = affinity::set_affinity(self.tid, &here).is_ok();
        let result = action(self);
        if kept {
            let _gone = affinity::set_affinity(self.tid, &cpus);
        }
        result
    }

    /// Nobody waits for the thread until further notice.
    pub fn rest(&mut self, block: CallBlock<'_>) {
        self.stop_spinning(block);
        self.streak = 0;
        self.wanted_streak = SHORTEST_STREAK;
    }
}

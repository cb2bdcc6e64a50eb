//! Interrupting guest code, without losing an interrupt and without signals to threads that run none.

use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use super::KICK;
use super::sys::{self, Tid};
use crate::Interrupter;

/// The context runs guest code, or is about to.
const IN_GUEST: u32 = 1 << 0;
/// An interrupt has not been reported.
const PENDING: u32 = 1 << 1;

/// The state that a context shares with those who interrupt it.
#[derive(Debug, Default)]
pub(super) struct Interrupt {
    state: AtomicU32,
    /// Process and thread of the tracee in use. A leaf lock, held while it is signalled: so it cannot be a thread that
    /// has ended and whose id is another's now.
    target: Mutex<Option<(Tid, Tid)>>,
}

impl Interrupt {
    /// Tells which thread is to be kicked.
    pub(super) fn aim_at(&self, target: Option<(Tid, Tid)>) {
        *self.target.lock() = target;
    }

    /// Called before guest code runs. If an interrupt is pending, consumes it and returns false: the guest must not run.
    pub(super) fn enter(&self) -> bool {
        if self.state.fetch_or(IN_GUEST, Ordering::SeqCst) & PENDING == 0 {
            return true;
        }
        self.leave();
        false
    }

    /// Called when guest code does not run any more. Consumes interrupts: this is the return that they asked for.
    pub(super) fn leave(&self) {
        self.state.store(0, Ordering::SeqCst);
    }

    /// Whether there is an interrupt to report.
    pub(super) fn is_pending(&self) -> bool {
        self.state.load(Ordering::SeqCst) & PENDING != 0
    }
}

impl Interrupter for Interrupt {
    fn interrupt(&self) {
        // Whoever finds it pending already relies on the one who set it.
        if self.state.fetch_or(PENDING, Ordering::SeqCst) != IN_GUEST {
            return;
        }
        if let Some((pid, tid)) = *self.target.lock() {
            // If the thread is dead, its tracer is about to see that.
            let _dead = sys::send_signal(pid, tid, KICK);
        }
    }
}

//! Who may spin: a thread that looks for its turn keeps a processor busy, and so does the one that it looks at.
//!
//! A call that is handed over between two threads that both look for it takes a fraction of a microsecond; one where either sleeps takes several, and tens
//! when it wakes on a processor that idles. So a context whose guest makes call after call gets a *permit* to spin, which stands for two
//! processors; there are permits only for as many as are not wanted by other guest code. What a permit costs (moving the
//! guest's thread to another processor) has to be earned by a streak of calls, a longer one each time that it was not worth it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::affinity;

/// A call is one of a streak if it comes this soon after the last.
pub const STREAK_GAP: Duration = Duration::from_micros(20);
/// How many calls make the first streak.
pub const SHORTEST_STREAK: u32 = 16;
/// How many calls make a streak at most.
pub const LONGEST_STREAK: u32 = 256;
/// With fewer calls than this a permit was not worth its costs.
pub const WORTHWHILE: u32 = 48;

/// Counts who runs guest code, and hands out permits; one for each platform.
#[derive(Debug)]
pub struct Governor {
    /// How many processors there are.
    cpus: usize,
    /// How many contexts spin.
    spinning: AtomicUsize,
    /// How many contexts wait, asleep, for guest code that runs.
    waiting: AtomicUsize,
}

impl Governor {
    /// One for the processors that the calling thread may use, or for none to spin on.
    pub fn new(spin: bool) -> Self {
        let cpus = affinity::affinity(0).map_or(1, |cpus| affinity::members(&cpus).len());
        let cpus = if spin { cpus } else { 1 };
        Self { cpus, spinning: AtomicUsize::new(0), waiting: AtomicUsize::new(0) }
    }

    /// Counts a context that sleeps until its guest code stops, for as long as the value lives.
    pub fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self)
    }

    /// A permit to spin, if there is one.
    pub fn permit(self: &Arc<Self>) -> Option<Permit> {
        let waiting = self.waiting.load(Ordering::Relaxed);
        let more = |spinning| (2 * (spinning + 1) + waiting <= self.cpus).then_some(spinning + 1);
        self.spinning.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).ok()?;
        Some(Permit(Arc::clone(self)))
    }
}

/// The right to spin; dropped to give it back.
#[derive(Debug)]
pub struct Permit(Arc<Governor>);

impl Permit {
    /// Whether others want the processors more.
    pub fn is_withdrawn(&self) -> bool {
        2 * self.0.spinning.load(Ordering::Relaxed) + self.0.waiting.load(Ordering::Relaxed) > self.0.cpus
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.spinning.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A context that sleeps until its guest code stops.
#[derive(Debug)]
pub struct Waiting<'a>(&'a Governor);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn governor(cpus: usize) -> Arc<Governor> {
        Arc::new(Governor { cpus, spinning: AtomicUsize::new(0), waiting: AtomicUsize::new(0) })
    }

    #[test]
    fn one_processor_has_no_permit() {
        assert!(governor(1).permit().is_none());
    }

    #[test]
    fn a_permit_is_withdrawn_while_others_run() {
        let governor = governor(2);
        let permit = governor.permit().expect("nobody else runs");
        assert!(governor.permit().is_none());
        assert!(!permit.is_withdrawn());
        let other = governor.wait();
        assert!(permit.is_withdrawn());
        drop(other);
        assert!(!permit.is_withdrawn());
        drop(permit);
        assert!(governor.permit().is_some());
    }
}

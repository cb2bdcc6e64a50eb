//! How busy the sandbox has been (`getloadavg(3)`).
//!
//! No clock ticks for it: how many tasks ran on average since the last look follows from the processor time that all have used, so
//! that averages are brought up to date whenever somebody asks. Lock: class `Table`.

use std::time::Duration;

use super::{EndedTasks, Kernel, Task};
use crate::sync::{LockClass, Mutex};

/// Over how many seconds averages are taken.
const PERIODS: [f64; 3] = [60.0, 300.0, 900.0];
/// Looks that follow one another sooner than this change nothing, seconds.
const SHORTEST: f64 = 0.5;

/// The averages, as of the last look.
#[derive(Debug)]
pub(super) struct Load(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    averages: [f64; 3],
    /// When that was, after the start.
    at: Duration,
    /// What tasks had used then, nanoseconds.
    used: u64,
}

impl Default for Load {
    fn default() -> Self {
        Self(Mutex::new(LockClass::Table, State::default()))
    }
}

impl State {
    /// `used` nanoseconds were used until `now`.
    fn update(&mut self, now: Duration, used: u64) {
        let elapsed = now.saturating_sub(self.at).as_secs_f64();
        if elapsed < SHORTEST {
            return;
        }
        let more = Duration::from_nanos(used.saturating_sub(self.used)).as_secs_f64();
        let running = more / elapsed;
        for (average, period) in self.averages.iter_mut().zip(PERIODS) {
            let kept = (-elapsed / period).exp();
            *average = *average * kept + running * (1.0 - kept);
        }
        (self.at, self.used) = (now, used);
    }
}

impl EndedTasks {
    fn add(&mut self, other: Self) {
        self.user = self.user.saturating_add(other.user);
        self.nice = self.nice.saturating_add(other.nice);
        self.system = self.system.saturating_add(other.system);
        self.switches = self.switches.saturating_add(other.switches);
    }

    /// Time of all sorts, nanoseconds.
    fn time(&self) -> u64 {
        self.user.saturating_add(self.nice).saturating_add(self.system)
    }
}

impl Task {
    /// What it has used so far. All of its user time counts as what its nice value makes of it now.
    pub(super) fn used(&self) -> EndedTasks {
        let (user, system) = self.usage().times();
        let (user, nice) = if self.scheduling().nice > 0 { (0, user) } else { (user, 0) };
        EndedTasks { user, nice, system, switches: self.usage().switches() }
    }
}

impl Kernel {
    /// What all tasks have used since the start, those that live among them.
    pub fn used(&self) -> EndedTasks {
        let tree = self.tree();
        let mut used = self.statistics().ended_tasks();
        for task in tree.tasks() {
            used.add(task.used());
        }
        used
    }

    /// How many tasks ran on average over the last minute, five and fifteen.
    pub fn load_averages(&self) -> [f64; 3] {
        let used = self.used();
        let mut state = self.services.load().0.lock();
        state.update(self.started().elapsed(), used.time());
        state.averages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether two averages are as good as equal.
    fn near(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-6
    }

    #[test]
    fn averages_do_not_depend_on_when_somebody_looks() {
        let second = |count: u64| Duration::from_secs(count);
        let (mut often, mut once) = (State::default(), State::default());
        for now in 1..=60 {
            often.update(second(now), now * 2_000_000_000);
        }
        once.update(second(60), 120_000_000_000);
        for (often, once) in often.averages.into_iter().zip(once.averages) {
            assert!(near(often, once), "{often} {once}");
        }
        assert!(near(once.averages[0], 2.0 * (1.0 - (-1.0f64).exp())));
        once.update(second(60 + 3600), 120_000_000_000);
        assert!(once.averages[0] < 1e-6 && once.averages[2] > 1e-4);
    }

    #[test]
    fn looks_in_quick_succession_change_nothing() {
        let mut state = State::default();
        state.update(Duration::from_secs(10), 10_000_000_000);
        let before = state.averages;
        state.update(Duration::from_millis(10_100), 10_900_000_000);
        assert!(near(state.averages[0], before[0]));
    }
}

//! Memory barriers on other tasks: `membarrier(2)`.
//!
//! A task that is not in guest code passes a full barrier before it is: every platform enters and leaves guest code with one. A task that
//! is, is made to leave. So the caller looks at each task once; who is in guest code then is interrupted, and the caller waits until it has been
//! elsewhere.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use super::{CurrentTask, Task};

/// How often the caller gives its processor away before it sleeps between two looks.
const YIELDS: u32 = 64;
/// How long it sleeps between two looks.
const PAUSE: Duration = Duration::from_micros(100);

/// The tasks on which a barrier is to take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BarrierScope {
    /// Those that share the caller's memory.
    Memory,
    /// Those of processes that have registered for it.
    Registered,
    /// All.
    All,
}

impl CurrentTask {
    /// Returns when every task in `scope` has passed a full memory barrier since the call. None takes long: guest code is left when it is interrupted.
    ///
    /// `registered` tells which bit of [`ThreadGroup::barriers`](super::ThreadGroup::barriers) means a registration.
    pub fn memory_barrier(&self, scope: BarrierScope, registered: u32) {
        // What the caller's guest code did before the call comes before the looks below.
        fence(Ordering::SeqCst);
        let mut waiting: Vec<(Arc<Task>, u64)> =
            self.barrier_tasks(scope, registered).into_iter().filter_map(in_guest).collect();
        for (task, _) in &waiting {
            task.set_work();
        }
        let mut looks = 0;
        while !waiting.is_empty() {
            waiting.retain(|(task, entered)| task.usage().guest_entry() == Some(*entered));
            looks += 1;
            if looks < YIELDS {
                std::thread::yield_now();
            } else {
                self.parker().park(Some(Instant::now() + PAUSE));
            }
        }
        if looks >= YIELDS {
            // Something else may have woken this thread meanwhile.
            self.set_work();
        }
        fence(Ordering::SeqCst);
    }

    /// The living tasks in `scope`, without the caller.
    fn barrier_tasks(&self, scope: BarrierScope, registered: u32) -> Vec<Arc<Task>> {
        let own = self.mm();
        let all: Vec<Arc<Task>> = {
            let tree = self.kernel().tree();
            tree.processes().flat_map(|(_, process)| process.tasks.iter().cloned()).collect()
        };
        all.into_iter()
            .filter(|task| !Arc::ptr_eq(task, self.task()))
            .filter(|task| match scope {
                BarrierScope::Memory => task.memory().is_some_and(|memory| Arc::ptr_eq(&memory, &own)),
                BarrierScope::Registered => task.group().barriers() & registered != 0,
                BarrierScope::All => true,
            })
            .collect()
    }
}

/// A task that is in guest code, with since when.
fn in_guest(task: Arc<Task>) -> Option<(Arc<Task>, u64)> {
    let entered = task.usage().guest_entry()?;
    Some((task, entered))
}

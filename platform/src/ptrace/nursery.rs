//! Where stub processes come from and where they end.
//!
//! A keeper thread is the parent of the seed and so of all stubs, which die with it. It keeps their CPUs balanced, and does nothing at all
//! otherwise. Ended stubs are killed at once but collected later, so that nobody waits for the host to tear an address
//! space down.
//!
//! Locks, in this order: `seed`, `graveyard`; nothing is called under them but the host.

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use parking_lot::Mutex;

use super::placement::Placement;
use super::sys::{self, Tid};
use super::tracee::{OrderError, Stopped, TraceeError};
use super::{seed, stub};
use crate::PlatformError;

/// Stack of the keeper, in bytes.
const KEEPER_STACK: usize = 128 * 1024;

/// Makes and buries stub processes.
#[derive(Debug)]
pub(super) struct Nursery {
    /// The seed's process id; held while it is traced.
    seed: Mutex<Tid>,
    /// Killed, but not yet waited for.
    graveyard: Mutex<Vec<Tid>>,
    placement: Arc<Placement>,
    keeper: Option<JoinHandle<()>>,
}

impl Nursery {
    /// Starts the keeper and the seed.
    pub(super) fn new(placement: &Arc<Placement>) -> Result<Self, PlatformError> {
        let (tell_seed, seed) = mpsc::sync_channel(1);
        let balance = Arc::clone(placement);
        let keeper = std::thread::Builder::new().name("bartizan-keeper".into()).stack_size(KEEPER_STACK);
        let keeper = keeper.spawn(move || {
            sys::block_all_signals();
            let seed = seed::spawn();
            let usable = seed.is_ok();
            if tell_seed.send(seed).is_ok() && usable {
                balance.keep();
            }
        });
        let keeper = keeper.map_err(|source| PlatformError::Exhausted { what: "a thread", source })?;
        let seed = seed.recv().unwrap_or_else(|_| Err(io::Error::other("the keeper thread died")));
        match seed {
            Ok(seed) => Ok(Self {
                seed: Mutex::new(seed),
                graveyard: Mutex::new(Vec::new()),
                placement: Arc::clone(placement),
                keeper: Some(keeper),
            }),
            Err(source) => {
                let _ended = keeper.join();
                Err(PlatformError::Exhausted { what: "a stub process", source })
            }
        }
    }

    /// A new stub process, untraced; its leader waits for orders.
    pub(super) fn new_stub(self: &Arc<Self>) -> Result<Stub, OrderError> {
        self.collect();
        let stopped = match self.order_process() {
            Err(OrderError::Refused(_)) => {
                // The host's limit may be reached only because of processes that have not been collected yet.
                self.collect_all();
                self.order_process()?
            }
            result => result?,
        };
        let pid = stopped.tid();
        let stub = Stub { pid, nursery: Arc::clone(self), parked: Mutex::new(Vec::new()) };
        stopped.release()?;
        Ok(stub)
    }

    fn order_process(&self) -> Result<Stopped, OrderError> {
        let seed = self.seed.lock();
        let _placed = self.placement.place_here(*seed);
        Stopped::order_clone(*seed, *seed).map(Stopped::into_leader)
    }

    /// How the seed ended, if it has.
    pub(super) fn seed_status(&self) -> Option<i32> {
        sys::poll(*self.seed.lock()).ok().flatten()
    }

    fn bury(&self, pid: Tid) {
        let _already_dead = sys::kill(pid);
        self.graveyard.lock().push(pid);
        self.collect();
    }

    /// Collects those that have ended.
    fn collect(&self) {
        self.graveyard.lock().retain(|&pid| matches!(sys::poll(pid), Ok(None)));
    }

    /// Waits for all that were killed.
    fn collect_all(&self) {
        let dying = std::mem::take(&mut *self.graveyard.lock());
        for pid in dying {
            let _collected = sys::wait(pid);
        }
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        let seed = *self.seed.get_mut();
        let _already_dead = sys::kill(seed);
        let _collected = sys::wait(seed);
        self.collect_all();
        self.placement.stop();
        if let Some(keeper) = self.keeper.take() {
            let _ended = keeper.join();
        }
    }
}

/// A stub process; killed when it is dropped, at which time none of its threads may be traced.
#[derive(Debug)]
pub(super) struct Stub {
    pid: Tid,
    nursery: Arc<Nursery>,
    /// Threads that can be used again. Held while the leader is traced.
    parked: Mutex<Vec<Tid>>,
}

impl Stub {
    /// A stopped thread of this stub, traced by the calling thread, on the CPU of the calling thread.
    ///
    /// # Errors
    /// As [`Stopped::order_clone`].
    pub(super) fn attach(&self) -> Result<Stopped, OrderError> {
        let mut parked = self.parked.lock();
        let tracee = if let Some(tid) = parked.pop() {
            let _placed = self.nursery.placement.place_here(tid);
            Stopped::seize_parked(self.pid, tid).map_err(OrderError::from)
        } else {
            let _placed = self.nursery.placement.place_here(self.pid);
            Stopped::order_clone(self.pid, self.pid)
        };
        // The seed could be traced, so this can: unless it is dead, whose tracing is refused as if it was forbidden.
        tracee.map_err(|error| match error {
            OrderError::Tracee(TraceeError::Host { source, .. })
                if source.raw_os_error() == Some(libc::EPERM) =>
            {
                TraceeError::Died { status: None }.into()
            }
            error => error,
        })
    }

    /// Takes a thread back.
    pub(super) fn detach(&self, tracee: Stopped) -> Result<(), TraceeError> {
        let tid = tracee.park()?;
        self.parked.lock().push(tid);
        Ok(())
    }

    /// Its process id.
    pub(super) fn pid(&self) -> Tid {
        self.pid
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.nursery.bury(self.pid);
    }
}

/// What a seed that has ended with `status` was missing.
pub(super) fn explain_seed(status: i32) -> String {
    if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == stub::EXIT_UNMAP_FAILED {
        return "the memory of a new process cannot be unmapped (sealed system mappings?); use another platform".into();
    }
    if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == seed::EXIT_NO_PAGE {
        return "executable memory cannot be made; check the host's security policy".into();
    }
    format!("the first stub process ended with wait status {status:#x}")
}

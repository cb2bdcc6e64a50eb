//! Stub processes that are kept for the next address space.
//!
//! Making a stub takes a fork and several wake-ups of other processors; emptying one takes a single call of its mapper. So a few are
//! kept, which makes `fork` and `exec` of guests cheap.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::address_space::Threads;
use super::governor::Governor;
use super::mapper::Mapper;
use super::seed::Seed;
use super::stub_process::StubProcess;

/// How many stubs are kept at most.
const KEPT: usize = 8;

/// A stub without guest mappings, and its threads, none of which is in use.
#[derive(Debug)]
pub struct Stub {
    /// The process.
    pub process: Arc<StubProcess>,
    /// The sentry's side of its mapper.
    pub mapper: Mapper,
    /// Its threads.
    pub threads: Threads,
}

/// Stubs without an address space, and the seed from which more are made.
///
/// Locks: `spare` and `seed` are never held together.
#[derive(Debug)]
pub struct Pool {
    spare: Mutex<Vec<Stub>>,
    seed: Mutex<Seed>,
    governor: Arc<Governor>,
}

impl Pool {
    /// An empty pool.
    pub fn new(seed: Seed, governor: Governor) -> Self {
        Self { spare: Mutex::default(), seed: Mutex::new(seed), governor: Arc::new(governor) }
    }

    /// A stub: a kept one, or a new one.
    pub fn take(&self) -> io::Result<Stub> {
        while let Some(stub) = self.take_spare() {
            if !stub.process.is_dead() {
                return Ok(stub);
            }
        }
        let (process, listener) = StubProcess::new(&lock(&self.seed), &self.governor)?;
        let mapper = Mapper::new(listener)?;
        Ok(Stub { process: Arc::new(process), mapper, threads: Threads::default() })
    }

    fn take_spare(&self) -> Option<Stub> {
        lock(&self.spare).pop()
    }

    /// Keeps a stub whose guest mappings are gone, or ends it if there are enough.
    pub fn give_back(&self, stub: Stub) {
        let mut spare = lock(&self.spare);
        if spare.len() < KEPT {
            spare.push(stub);
        } else {
            drop(spare);
            drop(stub);
        }
    }
}

/// Locks a mutex of this platform; a panic can have poisoned it only between two consistent states.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

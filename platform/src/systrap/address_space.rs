//! A guest address space: a stub process with its mapper, its queue of mapping operations and its idle threads.
//!
//! Locks, in this order: `mapper`, then `queue` or `retired`; `threads` on its own.

use std::any::Any;
use std::mem;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::guest_thread::GuestThread;
use super::layout::{BASE, LOWEST, MAPPER_AREA, orders};
use super::mapper::{Mapper, MapperError};
use super::pool::{Pool, Stub, lock};
use super::stub;
use super::stub_process::StubProcess;
use crate::memory::PAGE_SIZE;
use crate::operations::{Operation, Queue};
use crate::{Access, AddressSpace, Context, Mapping, PlatformError};

/// Beyond this many queued operations they are applied without waiting for a switch.
const MOST_QUEUED: usize = 4096;

/// See the module.
#[derive(Debug)]
pub struct SystrapAddressSpace {
    process: Arc<StubProcess>,
    /// `None` only while the value is dropped.
    mapper: Mutex<Option<Mapper>>,
    queue: Mutex<Queue>,
    /// Whether there are operations that are not in effect; read without the lock at each switch.
    queued: AtomicBool,
    retired: Mutex<Retired>,
    /// Contexts that run guest code, or are about to.
    running: AtomicUsize,
    threads: Mutex<Threads>,
    /// Where the stub goes back to.
    pool: Arc<Pool>,
}

/// What is dropped when all that was queued before it is in effect.
#[derive(Default)]
struct Retired(Vec<Box<dyn Any + Send>>);

impl std::fmt::Debug for Retired {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} objects", self.0.len())
    }
}

/// Threads that nobody uses, and how many there are in all.
#[derive(Debug, Default)]
pub struct Threads {
    idle: Vec<GuestThread>,
    made: u64,
}

impl Threads {
    /// Whether nobody uses any.
    fn all_idle(&self) -> bool {
        self.idle.len() as u64 == self.made
    }
}

impl SystrapAddressSpace {
    /// An address space of `stub`, in which nothing is mapped; the stub goes back to `pool` in the end.
    pub fn new(stub: Stub, pool: Arc<Pool>) -> Self {
        let Stub { process, mapper, threads } = stub;
        Self {
            process,
            mapper: Mutex::new(Some(mapper)),
            queue: Mutex::default(),
            queued: AtomicBool::new(false),
            retired: Mutex::default(),
            running: AtomicUsize::new(0),
            threads: Mutex::new(threads),
            pool,
        }
    }

    /// A thread to run guest code with, in any state.
    pub fn take_thread(&self) -> Result<GuestThread, PlatformError> {
        if self.process.is_dead() {
            return Err(self.process.died("it has ended before"));
        }
        let mut threads = lock(&self.threads);
        if let Some(thread) = threads.idle.pop() {
            thread.prepare();
            return Ok(thread);
        }
        let exhausted = |source| PlatformError::Exhausted { what: "a thread for guest code", source };
        let area = MAPPER_AREA + 1 + threads.made;
        let thread = GuestThread::start(&self.process, stub::addresses(), area);
        let thread = thread.map_err(|source| match self.process.is_dead() {
            true => self.process.died(source),
            false => exhausted(source),
        })?;
        threads.made += 1;
        Ok(thread)
    }

    /// Gives a thread back. One that does not stand still is not used again, nor is its process.
    pub fn give_back(&self, mut thread: GuestThread) {
        if thread.rest().is_err() {
            return;
        }
        lock(&self.threads).idle.push(thread);
    }

    /// Tells that the caller is about to run guest code; until it tells otherwise, others confirm what they unmap.
    pub fn enter(&self) {
        self.running.fetch_add(1, Ordering::SeqCst);
    }

    /// Tells that the caller does not run guest code any more.
    pub fn leave(&self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
    }

    /// Makes all that is queued take effect.
    ///
    /// # Errors
    /// What could not be done stays queued, so that no guest code runs as if it was in effect.
    pub fn apply(&self) -> Result<(), PlatformError> {
        if !self.queued.load(Ordering::SeqCst) {
            return Ok(());
        }
        let mut mapper = lock(&self.mapper);
        // Objects that are retired later may belong to operations that are queued later.
        let retired = mem::take(&mut lock(&self.retired).0);
        let result = self.apply_all(&mut mapper);
        drop(mapper);
        if result.is_err() {
            lock(&self.retired).0.extend(retired);
        }
        result
    }

    fn apply_all(&self, mapper: &mut Option<Mapper>) -> Result<(), PlatformError> {
        let Some(mapper) = mapper else { return Ok(()) };
        loop {
            let batch = {
                let mut queue = lock(&self.queue);
                let batch = queue.take_batch(orders::CAPACITY);
                if batch.is_empty() {
                    // Only now: whoever finds nothing queued must be able to rely on all of it.
                    self.queued.store(false, Ordering::SeqCst);
                    return Ok(());
                }
                batch
            };
            let Err(error) = mapper.apply(self.process.memory(), &batch) else { continue };
            lock(&self.queue).put_back(batch);
            return Err(match error {
                MapperError::Gone(source) => self.process.died(source),
                MapperError::Refused(source) => match source.raw_os_error() {
                    Some(libc::ENOMEM | libc::EAGAIN) => {
                        PlatformError::Exhausted { what: "a mapping", source }
                    }
                    _ => PlatformError::Host { call: "mmap, munmap or mprotect in a stub", source },
                },
            });
        }
    }

    /// Adds an operation.
    fn push(&self, operation: Operation) -> Result<(), PlatformError> {
        check(operation.range())?;
        let (dropped, length) = {
            let mut queue = lock(&self.queue);
            let dropped = queue.push(operation);
            self.queued.store(true, Ordering::SeqCst);
            (dropped, queue.len())
        };
        drop(dropped);
        if length > MOST_QUEUED { self.apply() } else { Ok(()) }
    }
}

impl Drop for SystrapAddressSpace {
    fn drop(&mut self) {
        let threads = mem::take(self.threads.get_mut().unwrap_or_else(PoisonError::into_inner));
        let mapper = self.mapper.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut mapper) = mapper else { return };
        // What is queued would be unmapped again at once.
        let all = Operation::Unmap(LOWEST..BASE);
        let usable = threads.all_idle() && !self.process.is_dead();
        if usable && mapper.apply(self.process.memory(), &[all]).is_ok() {
            self.pool.give_back(Stub { process: Arc::clone(&self.process), mapper, threads });
        } else {
            self.process.end();
        }
        // Only now is it sure that no guest code reaches what was retired: the queue is dropped after this.
    }
}

/// Refuses ranges that are not a guest's.
fn check(range: &Range<u64>) -> Result<(), PlatformError> {
    let aligned = range.start.is_multiple_of(PAGE_SIZE) && range.end.is_multiple_of(PAGE_SIZE);
    if aligned && range.start < range.end && range.start >= LOWEST && range.end <= BASE {
        Ok(())
    } else {
        Err(PlatformError::InvalidRange(range.clone()))
    }
}

impl AddressSpace for SystrapAddressSpace {
    fn map(&self, mapping: Mapping) -> Result<(), PlatformError> {
        let length = mapping.range.end.saturating_sub(mapping.range.start);
        if !mapping.offset.is_multiple_of(PAGE_SIZE) || mapping.offset.checked_add(length).is_none() {
            return Err(PlatformError::InvalidRange(mapping.range));
        }
        self.push(Operation::Map(mapping))
    }

    fn unmap(&self, range: Range<u64>) -> Result<(), PlatformError> {
        self.push(Operation::Unmap(range))
    }

    fn protect(&self, range: Range<u64>, access: Access) -> Result<(), PlatformError> {
        self.push(Operation::Protect(range, access))
    }

    fn retire(&self, object: Box<dyn Any + Send>) {
        lock(&self.retired).0.push(object);
    }

    fn flush(&self, _current: Option<&mut dyn Context>) -> Result<(), PlatformError> {
        // Taken first: what is retired from here on may belong to operations that nobody has seen yet.
        let retired = mem::take(&mut lock(&self.retired).0);
        let queued = self.queued.load(Ordering::SeqCst);
        if !queued || self.running.load(Ordering::SeqCst) == 0 {
            // No guest code runs here, and none will before what is queued is in effect.
            drop(retired);
            return Ok(());
        }
        lock(&self.retired).0.extend(retired);
        self.apply()
    }
}

//! A guest address space: a stub process with its mapper, its queue of mapping operations and its idle threads.
//!
//! Locks, in this order: `mapper`, then `queue`; `threads` on its own.

use std::any::Any;
use std::io;
use std::mem;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::guest_thread::GuestThread;
use super::layout::{AREA_COUNT, BASE, LOWEST};
use super::mapper::{Mapper, Operation};
use super::pool::{Pool, Stub, lock};
use super::stub;
use super::stub_process::StubProcess;
use crate::memory::PAGE_SIZE;
use crate::{Access, AddressSpace, BackingFile, Context, Mapping, PlatformError};

/// See the module.
#[derive(Debug)]
pub struct SystrapAddressSpace {
    process: Arc<StubProcess>,
    /// `None` only while the value is dropped.
    mapper: Mutex<Option<Mapper>>,
    queue: Mutex<Queue>,
    /// Whether the queue holds anything; read without the lock at each switch.
    queued: AtomicBool,
    threads: Mutex<Threads>,
    /// Where the stub goes back to.
    pool: Arc<Pool>,
}

/// What has not taken effect yet.
#[derive(Default)]
struct Queue {
    operations: Vec<Operation>,
    /// Files that must stay open until the operations that map them are made.
    files: Vec<Arc<dyn BackingFile>>,
    retired: Vec<Box<dyn Any + Send>>,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Queue").field("operations", &self.operations).finish_non_exhaustive()
    }
}

/// Threads that nobody uses, and the areas of those that were never made.
#[derive(Debug, Default)]
pub struct Threads {
    idle: Vec<GuestThread>,
    next_area: u64,
}

impl Threads {
    /// Whether nobody uses any.
    fn all_idle(&self) -> bool {
        self.idle.len() as u64 == self.next_area
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
            threads: Mutex::new(threads),
            pool,
        }
    }

    /// A thread to run guest code with, in any state.
    pub fn take_thread(&self) -> io::Result<GuestThread> {
        let mut threads = lock(&self.threads);
        if let Some(thread) = threads.idle.pop() {
            return Ok(thread);
        }
        // The last area is the mapper's.
        if threads.next_area >= AREA_COUNT - 1 {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        let thread = GuestThread::start(&self.process, stub::addresses(), threads.next_area)?;
        threads.next_area += 1;
        Ok(thread)
    }

    /// Gives a thread back.
    pub fn give_back(&self, thread: GuestThread) {
        lock(&self.threads).idle.push(thread);
    }

    /// Makes all that is queued take effect.
    pub fn apply(&self) -> Result<(), PlatformError> {
        if !self.queued.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut mapper = lock(&self.mapper);
        let queue = mem::take(&mut *lock(&self.queue));
        let result = match &mut *mapper {
            Some(mapper) => mapper.apply(self.process.memory(), &queue.operations),
            None => Ok(()),
        };
        {
            // Only now: whoever finds nothing queued must be able to rely on all of it.
            let rest = lock(&self.queue);
            self.queued.store(!rest.operations.is_empty(), Ordering::Release);
        }
        drop(mapper);
        result.map_err(|source| match source.raw_os_error() {
            Some(libc::ENOMEM | libc::EAGAIN) => PlatformError::Exhausted { what: "a mapping", source },
            Some(_) => PlatformError::Host { call: "mmap, munmap or mprotect in a stub", source },
            None => PlatformError::Died { what: format!("stub {}: {source}", self.process.pid()) },
        })
    }

    fn enqueue(&self, operation: Operation, file: Option<Arc<dyn BackingFile>>) {
        let mut queue = lock(&self.queue);
        match queue.operations.last_mut() {
            Some(last) if last.merged(&operation).is_some() => {
                *last = last.merged(&operation).unwrap_or(operation);
            }
            _ => queue.operations.push(operation),
        }
        queue.files.extend(file);
        self.queued.store(true, Ordering::Release);
    }
}

impl Drop for SystrapAddressSpace {
    fn drop(&mut self) {
        let threads = mem::take(self.threads.get_mut().unwrap_or_else(PoisonError::into_inner));
        let mapper = self.mapper.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut mapper) = mapper else { return };
        // What is queued would be unmapped again at once.
        let all = Operation::unmap(&(LOWEST..BASE));
        if threads.all_idle() && mapper.apply(self.process.memory(), &[all]).is_ok() {
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
        check(&mapping.range)?;
        self.enqueue(Operation::map(&mapping), Some(mapping.file));
        Ok(())
    }

    fn unmap(&self, range: Range<u64>) -> Result<(), PlatformError> {
        check(&range)?;
        self.enqueue(Operation::unmap(&range), None);
        Ok(())
    }

    fn protect(&self, range: Range<u64>, access: Access) -> Result<(), PlatformError> {
        check(&range)?;
        self.enqueue(Operation::protect(&range, access), None);
        Ok(())
    }

    fn retire(&self, object: Box<dyn Any + Send>) {
        let mut queue = lock(&self.queue);
        if queue.operations.is_empty() {
            drop(queue);
            // Wait for a batch that is being applied right now: the object may belong to it.
            drop(lock(&self.mapper));
            drop(object);
        } else {
            queue.retired.push(object);
        }
    }

    fn flush(&self, _current: Option<&mut dyn Context>) -> Result<(), PlatformError> {
        self.apply()
    }
}

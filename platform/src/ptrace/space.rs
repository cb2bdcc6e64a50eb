//! Address spaces: operations are queued, and applied by a tracee before guest code runs again.
//!
//! Locks, in this order: `apply` (held while a tracee is driven), the stub's, `queue` (a leaf).

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::context::PtraceContext;
use super::injection::{MOST_CALLS, inject};
use super::nursery::Stub;
use super::tracee::Stopped;
use super::{order_failed, user_addresses};
use crate::memory::PAGE_SIZE;
use crate::operations::{Operation, Queue};
use crate::{Access, AddressSpace, Context, Mapping, PlatformError};

/// Beyond this many queued operations they are applied without waiting for a switch.
const MOST_QUEUED: usize = 4096;

/// One guest `mm` on this platform.
#[derive(Debug)]
pub(super) struct PtraceAddressSpace {
    space: Arc<Space>,
}

impl PtraceAddressSpace {
    pub(super) fn new(stub: Stub) -> Self {
        let space = Space {
            stub,
            queue: Mutex::new(Queue::default()),
            retired: Mutex::new(Retired::default()),
            apply: Mutex::new(()),
            pending: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
        };
        Self { space: Arc::new(space) }
    }

    /// What is behind `space`.
    ///
    /// # Errors
    /// [`PlatformError::Host`] for an address space of another platform, which is a bug of the sentry.
    pub(super) fn of(space: &Arc<dyn AddressSpace>) -> Result<&Arc<Space>, PlatformError> {
        let any: &dyn Any = &**space;
        any.downcast_ref::<Self>().map(|found| &found.space).ok_or_else(|| PlatformError::Host {
            call: "switch to an address space of another platform",
            source: std::io::ErrorKind::InvalidInput.into(),
        })
    }

    fn push(&self, operation: Operation) -> Result<(), PlatformError> {
        check(operation.range())?;
        if self.space.push(operation) > MOST_QUEUED {
            return self.space.visit();
        }
        Ok(())
    }
}

fn check(range: &Range<u64>) -> Result<(), PlatformError> {
    let user = user_addresses();
    let aligned = range.start.is_multiple_of(PAGE_SIZE) && range.end.is_multiple_of(PAGE_SIZE);
    if range.is_empty() || !aligned || range.start < user.start || range.end > user.end {
        return Err(PlatformError::InvalidRange(range.clone()));
    }
    Ok(())
}

impl AddressSpace for PtraceAddressSpace {
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
        self.space.retired.lock().0.push(object);
    }

    fn flush(&self, current: Option<&mut dyn Context>) -> Result<(), PlatformError> {
        let space = &self.space;
        // Taken first: what is retired from here on may belong to operations that nobody has seen yet.
        let retired = std::mem::take(&mut space.retired.lock().0);
        if !space.is_pending() || !space.is_running() {
            // No guest code runs here, and none will before it has applied what is queued.
            drop(retired);
            return Ok(());
        }
        space.retired.lock().0.extend(retired);
        let current = current.and_then(|context| (context as &mut dyn Any).downcast_mut::<PtraceContext>());
        match current {
            Some(context) => context.apply(space),
            None => space.visit(),
        }
    }
}

/// The part that contexts hold on to.
#[derive(Debug)]
pub(super) struct Space {
    /// Dropped, and so killed, before the retired objects are.
    stub: Stub,
    queue: Mutex<Queue>,
    retired: Mutex<Retired>,
    apply: Mutex<()>,
    /// Operations that are not in effect.
    pending: AtomicUsize,
    /// Contexts that run guest code, or are about to.
    running: AtomicUsize,
}

#[derive(Default)]
struct Retired(Vec<Box<dyn Any + Send>>);

impl fmt::Debug for Retired {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} objects", self.0.len())
    }
}

impl Space {
    /// Adds an operation; returns how many are queued.
    fn push(&self, operation: Operation) -> usize {
        let mut queue = self.queue.lock();
        let before = queue.len();
        let dropped = queue.push(operation);
        let after = queue.len();
        // Those in flight are counted too, so the difference is applied rather than the length stored.
        if after >= before {
            self.pending.fetch_add(after - before, Ordering::SeqCst);
        } else {
            self.pending.fetch_sub(before - after, Ordering::SeqCst);
        }
        drop(queue);
        drop(dropped);
        after
    }

    /// The process that it lives in.
    pub(super) fn stub(&self) -> &Stub {
        &self.stub
    }

    /// Whether there are operations that are not in effect.
    pub(super) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::SeqCst) != 0
    }

    fn is_running(&self) -> bool {
        self.running.load(Ordering::SeqCst) != 0
    }

    /// Tells that the caller is about to run guest code; until it tells otherwise, others confirm what they unmap.
    pub(super) fn enter(&self) {
        self.running.fetch_add(1, Ordering::SeqCst);
    }

    /// Tells that the caller does not run guest code any more.
    pub(super) fn leave(&self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
    }

    /// Brings all that is queued into effect, through `tracee`, which is given back unless it died.
    ///
    /// # Errors
    /// As [`inject`]; what could not be done stays in the queue, so that no guest code runs as if it was in effect.
    pub(super) fn apply(&self, mut tracee: Stopped) -> (Option<Stopped>, Result<(), PlatformError>) {
        let apply = self.apply.lock();
        // Objects that are retired later may belong to operations that are queued later.
        let retired = std::mem::take(&mut self.retired.lock().0);
        loop {
            let batch = self.queue.lock().take_batch(MOST_CALLS);
            if batch.is_empty() {
                break;
            }
            let count = batch.len();
            let (stopped, result) = match inject(tracee, &batch) {
                Ok((stopped, result)) => (Some(stopped), result),
                Err(error) => (None, Err(error.into())),
            };
            match (stopped, result) {
                (Some(stopped), Ok(())) => tracee = stopped,
                (stopped, result) => {
                    self.queue.lock().put_back(batch);
                    self.retired.lock().0.extend(retired);
                    return (stopped, result);
                }
            }
            self.pending.fetch_sub(count, Ordering::SeqCst);
        }
        drop(apply);
        drop(retired);
        (Some(tracee), Ok(()))
    }

    /// Brings all that is queued into effect through a thread of the stub that runs nothing.
    fn visit(&self) -> Result<(), PlatformError> {
        let tracee = self.stub.attach().map_err(|error| order_failed("a thread", error))?;
        let (tracee, result) = self.apply(tracee);
        if let Some(tracee) = tracee {
            self.stub.detach(tracee)?;
        }
        result
    }
}

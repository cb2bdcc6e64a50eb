//! Contexts of asynchronous I/O (`io_setup(2)`): requests that wait, and events that tell how requests ended.
//!
//! Reads and writes are done when they are submitted, as Linux does those of files that it caches; only `IOCB_CMD_POLL` waits.
//! Locks: class `Table` for the contexts, and for one context; never while files are looked at or told.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use bartizan_abi::aio::IoEvent;
use bartizan_abi::{Errno, PollEvents};

use super::{Eventfd, WaitKey, WaitQueue, Wake};
use crate::mm::MemoryManager;
use crate::sync::{LockClass, Mutex};
use crate::vfs::File;

/// Most requests of all contexts together (`/proc/sys/fs/aio-max-nr`).
pub const AIO_MAX_NR: u64 = 65_536;

/// All contexts, by address space and by address in it.
#[derive(Debug)]
pub struct AioContexts(Mutex<HashMap<(usize, u64), Arc<AioContext>>>);

impl Default for AioContexts {
    fn default() -> Self {
        Self(Mutex::new(LockClass::Table, HashMap::new()))
    }
}

fn key(memory: &Arc<MemoryManager>, address: u64) -> (usize, u64) {
    (Arc::as_ptr(memory).addr(), address)
}

impl AioContexts {
    /// How many requests there may be in all.
    pub fn requests(&self) -> u64 {
        self.0.lock().values().map(|context| context.size as u64).sum()
    }

    /// Adds a context for `size` requests, known by `address`; there may be `most` requests in all.
    ///
    /// # Errors
    /// `EAGAIN` if there are too many requests.
    pub fn add(
        &self,
        memory: &Arc<MemoryManager>,
        address: u64,
        size: usize,
        most: u64,
    ) -> Result<(), Errno> {
        let mut contexts = self.0.lock();
        let used: u64 = contexts.values().map(|context| context.size as u64).sum();
        if used + size as u64 > most {
            return Err(Errno::EAGAIN);
        }
        contexts.insert(key(memory, address), Arc::new(AioContext::new(size)));
        Ok(())
    }

    /// The context with this address.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn find(&self, memory: &Arc<MemoryManager>, address: u64) -> Result<Arc<AioContext>, Errno> {
        self.0.lock().get(&key(memory, address)).cloned().ok_or(Errno::EINVAL)
    }

    /// Takes a context out and ends its requests.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn remove(&self, memory: &Arc<MemoryManager>, address: u64) -> Result<(), Errno> {
        let context = self.0.lock().remove(&key(memory, address)).ok_or(Errno::EINVAL)?;
        context.end();
        Ok(())
    }

    /// Takes out all contexts of an address space that goes.
    pub(super) fn remove_all(&self, memory: &Arc<MemoryManager>) {
        let space = Arc::as_ptr(memory).addr();
        let gone: Vec<Arc<AioContext>> = {
            let mut contexts = self.0.lock();
            if contexts.is_empty() {
                return;
            }
            contexts.extract_if(|(other, _), _| *other == space).map(|(_, context)| context).collect()
        };
        for context in gone {
            context.end();
        }
    }
}

/// One context.
#[derive(Debug)]
pub struct AioContext {
    size: usize,
    state: Mutex<State>,
    /// Told of events.
    completions: WaitQueue,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<IoEvent>,
    waiting: Vec<Arc<PollRequest>>,
    ended: bool,
}

impl AioContext {
    fn new(size: usize) -> Self {
        let state = Mutex::new(LockClass::Table, State::default());
        Self { size, state, completions: WaitQueue::new() }
    }

    /// How many requests it takes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Told of events.
    pub fn completions(&self) -> &WaitQueue {
        &self.completions
    }

    /// Whether it takes another request.
    pub fn has_room(&self) -> bool {
        let state = self.state.lock();
        state.events.len() + state.waiting.len() < self.size
    }

    /// Whether it has been destroyed.
    pub fn is_ended(&self) -> bool {
        self.state.lock().ended
    }

    /// A request has ended.
    pub fn complete(&self, event: IoEvent, told: Option<&Arc<File>>) {
        self.state.lock().events.push_back(event);
        self.completions.notify(PollEvents::POLLIN);
        if let Some(counter) = told.and_then(|file| file.downcast::<Eventfd>()) {
            counter.signal();
        }
    }

    /// How many events can be taken.
    pub fn available(&self) -> usize {
        self.state.lock().events.len()
    }

    /// Takes up to `most` events.
    pub fn take(&self, most: usize) -> Vec<IoEvent> {
        let mut state = self.state.lock();
        let count = most.min(state.events.len());
        state.events.drain(..count).collect()
    }

    /// Waits in the background for `file` to be ready; `event` tells of it, with what it is ready for as result.
    ///
    /// # Errors
    /// `EINVAL` for files that cannot be waited for and are not ready.
    pub fn poll(
        self: &Arc<Self>,
        file: &Arc<File>,
        interest: PollEvents,
        event: IoEvent,
        told: Option<Arc<File>>,
    ) -> Result<(), Errno> {
        let interest = interest | PollEvents::ALWAYS;
        let request = Arc::new_cyclic(|this| PollRequest {
            this: Weak::clone(this),
            context: Arc::downgrade(self),
            file: Arc::clone(file),
            interest,
            event,
            told,
            wait: OnceLock::new(),
            done: AtomicBool::new(false),
        });
        self.state.lock().waiting.push(Arc::clone(&request));
        if let Some(queue) = file.ops().wait_queue() {
            let wait = queue.register(Arc::clone(&request) as Arc<dyn Wake>, interest);
            let _once = request.wait.set(wait);
        }
        let ready = file.ops().poll(file) & interest;
        if !ready.is_empty() {
            request.finish(ready);
        } else if file.ops().wait_queue().is_none() {
            self.forget(&request);
            return Err(Errno::EINVAL);
        }
        if request.done.load(Ordering::Acquire) {
            request.leave_queue();
        }
        Ok(())
    }

    /// Ends the request that `object` stands for without a result. Whether there was one.
    pub fn cancel(&self, object: u64) -> bool {
        let found = self.state.lock().waiting.iter().find(|request| request.event.obj == object).cloned();
        match found {
            Some(request) => {
                request.finish(PollEvents::empty());
                true
            }
            None => false,
        }
    }

    fn forget(&self, request: &Arc<PollRequest>) {
        self.state.lock().waiting.retain(|other| !Arc::ptr_eq(other, request));
    }

    fn end(&self) {
        let waiting = {
            let mut state = self.state.lock();
            state.ended = true;
            std::mem::take(&mut state.waiting)
        };
        for request in waiting {
            request.done.store(true, Ordering::Release);
            request.leave_queue();
        }
        self.completions.notify(PollEvents::POLLIN | PollEvents::POLLHUP);
    }
}

/// A request that waits for a file to be ready.
#[derive(Debug)]
struct PollRequest {
    this: Weak<Self>,
    context: Weak<AioContext>,
    file: Arc<File>,
    interest: PollEvents,
    event: IoEvent,
    told: Option<Arc<File>>,
    wait: OnceLock<WaitKey>,
    done: AtomicBool,
}

impl PollRequest {
    /// Tells of the end of the request, once.
    fn finish(&self, ready: PollEvents) {
        if self.done.swap(true, Ordering::AcqRel) {
            return;
        }
        self.leave_queue();
        let (Some(context), Some(this)) = (self.context.upgrade(), self.this.upgrade()) else { return };
        context.forget(&this);
        context.complete(IoEvent { res: ready.bits().into(), ..self.event }, self.told.as_ref());
    }

    fn leave_queue(&self) {
        if let (Some(queue), Some(wait)) = (self.file.ops().wait_queue(), self.wait.get()) {
            queue.unregister(*wait);
        }
    }
}

impl Wake for PollRequest {
    fn wake(&self, events: PollEvents) {
        let ready = events & self.interest;
        if !ready.is_empty() {
            self.finish(ready);
        }
    }
}

//! Waiting for any of several files (`poll(2)`, `select(2)`).

use std::sync::Arc;
use std::time::Instant;

use bartizan_abi::PollEvents;
use smallvec::SmallVec;

use super::{CurrentTask, WaitKey, Wake};
use crate::WaitError;
use crate::vfs::File;

/// A file and what of it is waited for.
#[derive(Debug, Clone)]
pub struct Watch {
    /// Which file; `None` for one that is not open, which is ready at once with `POLLNVAL`.
    pub file: Option<Arc<File>>,
    /// For what; errors and hang-ups are reported in any case.
    pub interest: PollEvents,
}

impl Watch {
    /// What of the interest holds now.
    fn ready(&self) -> PollEvents {
        match &self.file {
            Some(file) => file.ops().poll(file) & (self.interest | PollEvents::ALWAYS),
            None => PollEvents::POLLNVAL,
        }
    }
}

/// Registrations of one task at the queues of files; dropped, they are gone.
#[derive(Debug, Default)]
struct Registrations<'a>(SmallVec<[(&'a File, WaitKey); 8]>);

impl<'a> Registrations<'a> {
    fn add(&mut self, task: &CurrentTask, watch: &'a Watch) {
        if let Some(file) = &watch.file
            && let Some(queue) = file.ops().wait_queue()
        {
            let waker = Arc::clone(task.parker()) as Arc<dyn Wake>;
            self.0.push((file, queue.register(waker, watch.interest)));
        }
    }
}

impl Drop for Registrations<'_> {
    fn drop(&mut self) {
        for (file, key) in self.0.drain(..) {
            if let Some(queue) = file.ops().wait_queue() {
                queue.unregister(key);
            }
        }
    }
}

/// Whether and for how long a wait may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollTimeout {
    /// Not at all.
    Now,
    /// Until then; `None` is for ever.
    Until(Option<Instant>),
}

/// Waits until one of `watches` is ready; gives what each of them is ready for, all nothing if the time is up.
///
/// # Errors
/// [`WaitError::Interrupted`].
pub fn poll_files(
    task: &CurrentTask,
    watches: &[Watch],
    timeout: PollTimeout,
) -> Result<Vec<PollEvents>, WaitError> {
    let mut ready = vec![PollEvents::empty(); watches.len()];
    let mut look = || {
        let mut any = false;
        for (watch, ready) in watches.iter().zip(&mut ready) {
            *ready = watch.ready();
            any |= !ready.is_empty();
        }
        any.then_some(())
    };
    let PollTimeout::Until(deadline) = timeout else {
        let _none_may_be_ready = look();
        return Ok(ready);
    };
    if look().is_some() {
        return Ok(ready);
    }
    let mut registrations = Registrations::default();
    for watch in watches {
        registrations.add(task, watch);
    }
    match task.wait_until(deadline, look) {
        Ok(()) | Err(WaitError::TimedOut) => Ok(ready),
        Err(WaitError::Interrupted) => Err(WaitError::Interrupted),
    }
}

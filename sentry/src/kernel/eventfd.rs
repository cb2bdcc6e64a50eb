//! Event counters (`eventfd(2)`).

use bartizan_abi::{Errno, PollEvents};

use super::WaitQueue;
use crate::sync::{LockClass, Mutex};
use crate::vfs::{DataSink, DataSource, File, FileOps, Written};

/// What a read takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventMode {
    /// The whole count.
    Counter,
    /// One (`EFD_SEMAPHORE`).
    Semaphore,
}

/// A counter that can be waited for.
#[derive(Debug)]
pub struct Eventfd {
    count: Mutex<u64>,
    mode: EventMode,
    events: WaitQueue,
}

impl Eventfd {
    /// A counter that stands at `count`.
    pub fn new(count: u64, mode: EventMode) -> Self {
        Self { count: Mutex::new(LockClass::InodeData, count), mode, events: WaitQueue::new() }
    }

    /// Takes from the count; none when it is zero.
    fn take(&self) -> Option<u64> {
        let mut count = self.count.lock();
        let taken = match self.mode {
            EventMode::Counter => *count,
            EventMode::Semaphore => (*count).min(1),
        };
        *count -= taken;
        (taken > 0).then_some(taken)
    }

    /// Counts one more, as the kernel does: at the largest number that stays.
    pub fn signal(&self) {
        // As in Linux, nobody hears of a count that does not fit.
        let _full = self.add(1);
        self.events.notify(PollEvents::POLLIN);
    }

    /// Adds to the count, unless that would bring it to the largest number.
    fn add(&self, value: u64) -> Result<(), Errno> {
        let mut count = self.count.lock();
        *count = count.checked_add(value).filter(|&sum| sum < u64::MAX).ok_or(Errno::EAGAIN)?;
        Ok(())
    }
}

impl FileOps for Eventfd {
    fn seekable(&self) -> bool {
        false
    }

    fn read(&self, _file: &File, sink: &mut dyn DataSink, _offset: u64) -> Result<usize, Errno> {
        if sink.remaining() < size_of::<u64>() {
            return Err(Errno::EINVAL);
        }
        let taken = self.take().ok_or(Errno::EAGAIN)?;
        self.events.notify(PollEvents::POLLOUT);
        sink.put(&taken.to_ne_bytes())
    }

    fn write(&self, _file: &File, source: &mut dyn DataSource, offset: u64) -> Result<Written, Errno> {
        let mut bytes = [0; size_of::<u64>()];
        if source.remaining() < bytes.len() {
            return Err(Errno::EINVAL);
        }
        let count = source.take(&mut bytes)?;
        if count < bytes.len() {
            return Err(Errno::EFAULT);
        }
        let value = u64::from_ne_bytes(bytes);
        if value == u64::MAX {
            return Err(Errno::EINVAL);
        }
        if let Err(errno) = self.add(value) {
            source.put_back(count);
            return Err(errno);
        }
        self.events.notify(PollEvents::POLLIN);
        Ok(Written { count, end: offset })
    }

    fn poll(&self, _file: &File) -> PollEvents {
        let count = *self.count.lock();
        let mut events = PollEvents::empty();
        events.set(PollEvents::POLLIN, count > 0);
        events.set(PollEvents::POLLOUT, count < u64::MAX - 1);
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.events)
    }

    fn describe(&self) -> String {
        format!("eventfd-count: {:16x}\n", *self.count.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counter_gives_all_and_semaphore_one() {
        let counter = Eventfd::new(3, EventMode::Counter);
        assert_eq!((counter.take(), counter.take()), (Some(3), None));
        let semaphore = Eventfd::new(2, EventMode::Semaphore);
        assert_eq!((semaphore.take(), semaphore.take(), semaphore.take()), (Some(1), Some(1), None));
    }

    #[test]
    fn the_largest_number_is_never_reached() {
        let counter = Eventfd::new(u64::MAX - 2, EventMode::Counter);
        assert_eq!(counter.add(1), Ok(()));
        assert_eq!(counter.add(1), Err(Errno::EAGAIN));
        assert_eq!(counter.add(0), Ok(()));
    }
}

//! Settings of the whole kernel that its administrator may change while it runs (`proc_sys(5)`): limits that are taken from here
//! wherever they bind. Those of namespaces are kept by these.

use std::sync::atomic::{AtomicU64, Ordering};

use bartizan_abi::Errno;

use super::aio::AIO_MAX_NR;
use super::pipe::PIPE_MAX_SIZE;
use crate::vfs::leases::LEASE_BREAK_TIME;
use crate::vfs::notify::{MAX_QUEUED_EVENTS, MAX_WATCHES};

/// One number, from `least` to `most`. What guests have of it costs the host memory, so that the most may be below Linux's.
#[derive(Debug)]
pub struct Setting {
    value: AtomicU64,
    least: u64,
    most: u64,
}

impl Setting {
    /// A number from `least` to `most` that is `value` at first.
    pub const fn new(value: u64, least: u64, most: u64) -> Self {
        Self { value: AtomicU64::new(value), least, most }
    }

    /// What it is.
    #[inline]
    pub fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }

    /// Changes it.
    ///
    /// # Errors
    /// `EINVAL` outside of what is possible.
    pub fn set(&self, value: u64) -> Result<(), Errno> {
        if !(self.least..=self.most).contains(&value) {
            return Err(Errno::EINVAL);
        }
        self.value.store(value, Ordering::Relaxed);
        Ok(())
    }
}

/// The settings of a kernel.
#[derive(Debug)]
pub struct Settings {
    /// Bytes that a pipe may hold without privilege (`fs/pipe-max-size`); pages by a power of two.
    pub pipe_max_size: Setting,
    /// Events that an inotify instance keeps (`fs/inotify/max_queued_events`); new instances go by it.
    pub inotify_events: Setting,
    /// Watches of an inotify instance (`fs/inotify/max_user_watches`); new instances go by it.
    pub inotify_watches: Setting,
    /// Requests of asynchronous I/O under way at once (`fs/aio-max-nr`).
    pub aio_requests: Setting,
    /// Seconds that the holder of a lease has to give it up (`fs/lease-break-time`).
    pub lease_break_time: Setting,
}

impl Default for Settings {
    fn default() -> Self {
        const MOST_WATCHES: u64 = 1 << 20;
        const MOST_EVENTS: u64 = 1 << 20;
        let pipe = PIPE_MAX_SIZE as u64;
        Self {
            pipe_max_size: Setting::new(pipe, 1, pipe),
            inotify_events: Setting::new(MAX_QUEUED_EVENTS as u64, 0, MOST_EVENTS),
            inotify_watches: Setting::new(MAX_WATCHES as u64, 0, MOST_WATCHES),
            aio_requests: Setting::new(AIO_MAX_NR, 0, AIO_MAX_NR),
            lease_break_time: Setting::new(LEASE_BREAK_TIME.as_secs(), 0, i32::MAX as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_stay_within_their_bounds() {
        let setting = Setting::new(5, 2, 9);
        assert_eq!(
            (setting.set(1), setting.set(10), setting.get()),
            (Err(Errno::EINVAL), Err(Errno::EINVAL), 5)
        );
        assert_eq!((setting.set(9), setting.get()), (Ok(()), 9));
    }
}

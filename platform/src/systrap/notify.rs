//! Seccomp's user notifications (`seccomp_unotify(2)`): how a stub thread's call reaches the sentry and is answered.

#![expect(unsafe_code, reason = "ioctls on listeners, and descriptors taken from stub threads")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Wakes the other side on the caller's processor and lets it run at once (`SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`).
const SYNC_WAKE_UP: u64 = 1;
/// `PIDFD_THREAD`: the descriptor stands for one thread.
const PIDFD_THREAD: libc::c_int = libc::O_EXCL;

/// A call that a stub thread made and that waits for its answer.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Notification {
    /// Names it in the answer.
    pub id: u64,
    /// The thread.
    pub tid: u32,
    flags: u32,
    /// The number of the call.
    pub number: i32,
    /// `AUDIT_ARCH_*`.
    pub architecture: u32,
    /// The address behind the instruction.
    pub instruction_pointer: u64,
    /// Its arguments.
    pub arguments: [u64; 6],
}

impl Notification {
    /// Whether this is the call `first`, made again because a signal interrupted it that is ignored.
    pub fn is_repetition_of(&self, first: &Self) -> bool {
        let what = |call: &Self| (call.number, call.architecture, call.instruction_pointer, call.arguments);
        what(self) == what(first)
    }
}

#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Answer {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// The receiving end of the notifications of one thread.
#[derive(Debug)]
pub struct Listener {
    descriptor: OwnedFd,
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The thread goes on.
    Delivered,
    /// A signal took the thread out of the call before the answer; it is in its handler.
    Interrupted,
}

impl Listener {
    /// Takes over descriptor `number`, which is a listener of this process's own.
    ///
    /// # Errors
    /// When it is none.
    pub fn adopt(number: RawFd) -> io::Result<Self> {
        // SAFETY: F_GETFD reads the flags of a descriptor, whatever it is.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the mapper made this descriptor in the shared table for the sentry alone, and reports it once.
        Self::prepare(unsafe { OwnedFd::from_raw_fd(number) })
    }

    /// Takes descriptor 0 of thread `tid`, which holds no other. `None` if it is no listener yet.
    pub fn take_from_thread(tid: i32) -> io::Result<Option<Self>> {
        // SAFETY: pidfd_open takes two integers.
        let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, tid, PIDFD_THREAD) };
        if pidfd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above returned a new descriptor.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd as RawFd) };
        // SAFETY: pidfd_getfd takes three integers.
        let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), 0, 0) };
        if descriptor < 0 {
            let error = io::Error::last_os_error();
            return if error.raw_os_error() == Some(libc::EBADF) { Ok(None) } else { Err(error) };
        }
        // SAFETY: the call above returned a new descriptor.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) };
        Ok(Self::prepare(descriptor).ok())
    }

    /// Checks that `descriptor` is a listener, and makes its wake-ups synchronous.
    fn prepare(descriptor: OwnedFd) -> io::Result<Self> {
        // SAFETY: this ioctl takes its argument by value; other kinds of files refuse it.
        let result =
            unsafe { libc::ioctl(descriptor.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(Self { descriptor }) }
    }

    /// Waits for the thread's next call.
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn receive(&self) -> io::Result<Notification> {
        loop {
            let mut notification = Notification::default();
            // SAFETY: the kernel fills in one `struct seccomp_notif`, which `Notification` is, from a zeroed one.
            let result = unsafe {
                libc::ioctl(
                    self.descriptor.as_raw_fd(),
                    libc::SECCOMP_IOCTL_NOTIF_RECV,
                    &raw mut notification,
                )
            };
            if result == 0 {
                return Ok(notification);
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                // Either the thread is gone, or a signal took it out of the call while it was being received.
                Some(libc::ENOENT) if !self.is_hung_up() => {}
                _ => return Err(error),
            }
        }
    }

    /// Whether a call waits to be received, or no thread is left that could make one.
    pub fn is_ready(&self) -> bool {
        self.is_ready_within(Duration::ZERO)
    }

    /// As [`is_ready`](Self::is_ready), or becomes so within `time`.
    pub fn is_ready_within(&self, time: Duration) -> bool {
        let mut poll = libc::pollfd { fd: self.descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let milliseconds = i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: one live pollfd.
        unsafe { libc::poll(&raw mut poll, 1, milliseconds) != 0 }
    }

    /// Whether no thread is left that could call.
    fn is_hung_up(&self) -> bool {
        let mut poll = libc::pollfd { fd: self.descriptor.as_raw_fd(), events: 0, revents: 0 };
        // SAFETY: one pollfd, and no waiting.
        let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
        ready > 0 && poll.revents & libc::POLLHUP != 0
    }

    /// Lets call `id` return `value`.
    ///
    /// # Errors
    /// When the listener itself fails.
    pub fn send(&self, id: u64, value: u64) -> io::Result<Sent> {
        let answer = Answer { id, value: value as i64, error: 0, flags: 0 };
        loop {
            // SAFETY: the kernel reads one `struct seccomp_notif_resp`, which `Answer` is.
            let result = unsafe {
                libc::ioctl(self.descriptor.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const answer)
            };
            if result == 0 {
                return Ok(Sent::Delivered);
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::ENOENT) => return Ok(Sent::Interrupted),
                _ => return Err(error),
            }
        }
    }
}

const _: () = assert!(size_of::<Notification>() == 80 && size_of::<Answer>() == 24);

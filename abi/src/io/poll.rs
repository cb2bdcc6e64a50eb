//! `poll(2)`, `select(2)`, `epoll(7)`, `eventfd(2)`, pipes and `splice(2)`.

use bitflags::bitflags;

use crate::macros::{abi_enum, abi_structs};

/// Bits in an `fd_set`: `select(2)`.
pub const FD_SETSIZE: usize = 1024;

bitflags! {
    /// What can be waited for. `poll` uses the lower 16 bits, `epoll` all of them.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct PollEvents: u32 {
        /// There is something to read.
        const POLLIN = 0x0001;
        /// There is something urgent to read.
        const POLLPRI = 0x0002;
        /// Writing would not block.
        const POLLOUT = 0x0004;
        /// An error; always reported.
        const POLLERR = 0x0008;
        /// Hung up; always reported.
        const POLLHUP = 0x0010;
        /// Not open; `poll` alone.
        const POLLNVAL = 0x0020;
        /// As `POLLIN`.
        const POLLRDNORM = 0x0040;
        /// Priority data to read.
        const POLLRDBAND = 0x0080;
        /// As `POLLOUT`.
        const POLLWRNORM = 0x0100;
        /// Priority data may be written.
        const POLLWRBAND = 0x0200;
        /// Unused.
        const POLLMSG = 0x0400;
        /// Unused.
        const POLLREMOVE = 0x1000;
        /// The peer shut down its writing half.
        const POLLRDHUP = 0x2000;
        /// `epoll`: in place before reports, busy polling.
        const EPOLL_URING_WAKE = 1 << 27;
        /// `epoll`: wake one of several waiters.
        const EPOLLEXCLUSIVE = 1 << 28;
        /// `epoll`: keep the machine awake.
        const EPOLLWAKEUP = 1 << 29;
        /// `epoll`: one report.
        const EPOLLONESHOT = 1 << 30;
        /// `epoll`: report changes only.
        const EPOLLET = 1 << 31;
    }
}

impl PollEvents {
    /// Ready to read, as every readable file reports it.
    pub const READABLE: Self = Self::POLLIN.union(Self::POLLRDNORM);
    /// Ready to write, as every writable file reports it.
    pub const WRITABLE: Self = Self::POLLOUT.union(Self::POLLWRNORM);
    /// Reported whether asked for or not.
    pub const ALWAYS: Self = Self::POLLERR.union(Self::POLLHUP);
    /// The options of an epoll entry, which are no events.
    pub const EPOLL_OPTIONS: Self = Self::EPOLLEXCLUSIVE
        .union(Self::EPOLLWAKEUP)
        .union(Self::EPOLLONESHOT)
        .union(Self::EPOLLET)
        .union(Self::EPOLL_URING_WAKE);
    /// What `select(2)` calls readable.
    pub const SELECT_READ: Self = Self::POLLIN
        .union(Self::POLLRDNORM)
        .union(Self::POLLRDBAND)
        .union(Self::POLLHUP)
        .union(Self::POLLERR)
        .union(Self::POLLNVAL);
    /// What `select(2)` calls writable.
    pub const SELECT_WRITE: Self = Self::POLLOUT
        .union(Self::POLLWRNORM)
        .union(Self::POLLWRBAND)
        .union(Self::POLLERR)
        .union(Self::POLLNVAL);
    /// What `select(2)` calls exceptional.
    pub const SELECT_EXCEPT: Self = Self::POLLPRI.union(Self::POLLNVAL);

    /// The events of a [`PollFd`]; bits that do not exist are dropped, as `poll` does.
    pub const fn from_poll(events: i16) -> Self {
        Self::from_bits_truncate(events as u16 as u32)
    }

    /// The `revents` of a [`PollFd`].
    pub const fn to_poll(self) -> i16 {
        (self.bits() & 0xffff) as u16 as i16
    }
}

abi_structs! {
    /// `struct pollfd`.
    pub struct PollFd: 8 {
        /// The descriptor; negative entries are skipped.
        pub fd: i32,
        /// What is waited for: [`PollEvents::from_poll`].
        pub events: i16,
        /// What happened.
        pub revents: i16,
    }
}

/// `struct epoll_event`, which x86-64 packs.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::KnownLayout,
    zerocopy::Immutable,
)]
#[repr(C, packed)]
pub struct EpollEvent {
    /// [`PollEvents`].
    pub events: u32,
    /// Whatever the guest wants.
    pub data: u64,
}

const _: () = assert!(size_of::<EpollEvent>() == 12);

abi_enum! {
    /// Operations of `epoll_ctl(2)`.
    pub enum EpollOperation: i32 {
        /// Add an entry.
        EPOLL_CTL_ADD = 1,
        /// Remove it.
        EPOLL_CTL_DEL = 2,
        /// Change it.
        EPOLL_CTL_MOD = 3,
    }
}

bitflags! {
    /// Flags of `epoll_create1(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct EpollCreateFlags: u32 {
        /// As `O_CLOEXEC`.
        const EPOLL_CLOEXEC = 0o2_000_000;
    }
}

bitflags! {
    /// Flags of `eventfd2(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct EventfdFlags: u32 {
        /// Reads take one.
        const EFD_SEMAPHORE = 1;
        /// As `O_NONBLOCK`.
        const EFD_NONBLOCK = 0o4000;
        /// As `O_CLOEXEC`.
        const EFD_CLOEXEC = 0o2_000_000;
    }
}

bitflags! {
    /// Flags of `pipe2(2)`: some of `open(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct PipeFlags: u32 {
        /// `O_EXCL`: for the kernel's notifications.
        const O_NOTIFICATION_PIPE = 0o200;
        /// Do not block.
        const O_NONBLOCK = 0o4000;
        /// Packet mode.
        const O_DIRECT = 0o40_000;
        /// Close at `execve`.
        const O_CLOEXEC = 0o2_000_000;
    }
}

bitflags! {
    /// Flags of `splice(2)`, `tee(2)` and `vmsplice(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct SpliceFlags: u32 {
        /// Move pages if that is possible.
        const SPLICE_F_MOVE = 1;
        /// Do not block on the pipe.
        const SPLICE_F_NONBLOCK = 2;
        /// More will follow.
        const SPLICE_F_MORE = 4;
        /// The pages are a gift.
        const SPLICE_F_GIFT = 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_poll_and_epoll_are_the_same_bits() {
        assert_eq!(PollEvents::POLLRDHUP.bits() as i32, libc::EPOLLRDHUP);
        assert_eq!(PollEvents::EPOLLET.bits() as i32, libc::EPOLLET);
        assert_eq!(PollEvents::POLLWRNORM.to_poll(), libc::POLLWRNORM);
        assert_eq!(PollEvents::from_poll(-1).to_poll() & libc::POLLNVAL, libc::POLLNVAL);
    }

    #[test]
    fn epoll_events_are_packed() {
        assert_eq!(size_of::<EpollEvent>(), size_of::<libc::epoll_event>());
    }
}

//! What the kernel has one of: futexes, timers, names of the machine, and so on.

use super::Kernel;
use super::epoll::EpollNesting;
use super::futex::Futexes;
use super::timer::Timers;

/// The services of one kernel. Nothing here costs a thread or a system call before it is used.
#[derive(Debug, Default)]
pub(super) struct Services {
    futexes: Futexes,
    timers: Timers,
    epoll_nesting: EpollNesting,
}

impl Kernel {
    /// Who waits at which futex.
    pub fn futexes(&self) -> &Futexes {
        &self.services.futexes
    }

    /// What happens later.
    pub fn timers(&self) -> &Timers {
        &self.services.timers
    }

    /// Which epoll instance may watch which other.
    pub fn epoll_nesting(&self) -> &EpollNesting {
        &self.services.epoll_nesting
    }
}

//! What the kernel has one of: futexes, timers, names of the machine, and so on.

use super::Kernel;
use super::futex::Futexes;

/// The services of one kernel. Nothing here costs a thread or a system call before it is used.
#[derive(Debug, Default)]
pub(super) struct Services {
    futexes: Futexes,
}

impl Kernel {
    /// Who waits at which futex.
    pub fn futexes(&self) -> &Futexes {
        &self.services.futexes
    }
}

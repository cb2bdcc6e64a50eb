//! How system calls fail.

use bartizan_abi::Errno;

/// The result of a system call handler.
pub type SysResult<T> = Result<T, SysError>;

/// Why a system call does not return a value: an error that the guest sees, or an interruption by a signal.
///
/// A [`Restart`] cannot reach the guest: signal delivery turns it into a repeated call or into `EINTR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SysError {
    /// An error number for the guest.
    Errno(Errno),
    /// A signal interrupted the call before it did anything; what happens then depends on the handler.
    Restart(Restart),
}

/// What becomes of an interrupted system call (`signal(7)`, "Interruption of system calls").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// `ERESTARTSYS`: restarted without a handler or with `SA_RESTART`, else `EINTR`.
    IfAsked,
    /// `ERESTARTNOINTR`: always restarted.
    Always,
    /// `ERESTARTNOHAND`: restarted only if no handler runs.
    WithoutHandler,
    /// `ERESTART_RESTARTBLOCK`: like `WithoutHandler`, but continued by `restart_syscall(2)` with the state that the task keeps
    /// (a relative time-out's deadline).
    Continue,
}

impl Restart {
    const ALL: [(Self, u64); 4] =
        [(Self::IfAsked, 512), (Self::Always, 513), (Self::WithoutHandler, 514), (Self::Continue, 516)];

    /// What a tracer finds in the result register of the interrupted call.
    pub fn to_register(self) -> u64 {
        Self::ALL.iter().find(|(restart, _)| *restart == self).map_or(0, |(_, number)| number.wrapping_neg())
    }

    /// What a result register with this value says.
    pub fn from_register(value: u64) -> Option<Self> {
        Self::ALL.iter().find(|(_, number)| number.wrapping_neg() == value).map(|(restart, _)| *restart)
    }
}

impl From<Errno> for SysError {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

/// Why a wait ended without what was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitError {
    /// A signal has to be handled, or the task has to die.
    Interrupted,
    /// The deadline has passed.
    TimedOut,
}

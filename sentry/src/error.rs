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

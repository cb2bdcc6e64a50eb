//! Waiting for children: `wait4(2)`, `waitid(2)`.

use crate::macros::{abi_enum, abi_named_flags};
use crate::signal::Signal;

abi_named_flags! {
    /// Options of `wait4(2)` and `waitid(2)`.
    pub struct WaitOptions: u32 {
        WNOHANG = 0x0000_0001,
        WUNTRACED = 0x0000_0002,
        WEXITED = 0x0000_0004,
        WCONTINUED = 0x0000_0008,
        WNOWAIT = 0x0100_0000,
        __WNOTHREAD = 0x2000_0000,
        __WALL = 0x4000_0000,
        __WCLONE = 0x8000_0000,
    }
}

impl WaitOptions {
    /// `waitid`: the same bit as `WUNTRACED`.
    pub const WSTOPPED: Self = Self::WUNTRACED;
    /// What `wait4` accepts.
    pub const WAIT4: Self = Self::WNOHANG
        .union(Self::WUNTRACED)
        .union(Self::WCONTINUED)
        .union(Self::__WNOTHREAD)
        .union(Self::__WALL)
        .union(Self::__WCLONE);
}

abi_enum! {
    /// Whom `waitid(2)` waits for.
    pub enum IdType: i32 {
        /// Any child.
        P_ALL = 0,
        /// The child with this process ID.
        P_PID = 1,
        /// Children of this process group.
        P_PGID = 2,
        /// The child that this descriptor refers to.
        P_PIDFD = 3,
    }
}

/// How a process ended or changed, as `wait4` encodes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WaitStatus {
    /// It exited with this code.
    Exited(u8),
    /// A signal ended it.
    Signaled {
        /// Which one.
        signal: Signal,
        /// Whether there is a core dump.
        core_dumped: bool,
    },
    /// It stopped. A traced process may add an event (`PTRACE_EVENT_*`) to the signal.
    Stopped {
        /// The signal, with `0x80` for a system call stop where that was asked for.
        signal: u8,
        /// The event; zero for none.
        event: u8,
    },
    /// It continued.
    Continued,
}

impl WaitStatus {
    /// The status word.
    pub const fn encode(self) -> i32 {
        match self {
            Self::Exited(code) => (code as i32) << 8,
            Self::Signaled { signal, core_dumped } => signal.raw() | if core_dumped { 0x80 } else { 0 },
            Self::Stopped { signal, event } => 0x7f | (signal as i32) << 8 | (event as i32) << 16,
            Self::Continued => 0xffff,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_words_are_those_of_the_c_library() {
        let exited = WaitStatus::Exited(3).encode();
        assert!(libc::WIFEXITED(exited) && libc::WEXITSTATUS(exited) == 3);
        let killed = WaitStatus::Signaled { signal: Signal::SIGSEGV, core_dumped: true }.encode();
        assert!(
            libc::WIFSIGNALED(killed) && libc::WCOREDUMP(killed) && libc::WTERMSIG(killed) == libc::SIGSEGV
        );
        let stopped = WaitStatus::Stopped { signal: 19, event: 0 }.encode();
        assert!(libc::WIFSTOPPED(stopped) && libc::WSTOPSIG(stopped) == libc::SIGSTOP);
        assert!(libc::WIFCONTINUED(WaitStatus::Continued.encode()));
    }

    #[test]
    fn options_are_those_of_the_c_library() {
        assert_eq!(WaitOptions::__WCLONE.bits() as i32, libc::__WCLONE);
        assert_eq!(WaitOptions::WNOWAIT.bits() as i32, libc::WNOWAIT);
    }
}

//! Signal numbers and what they do by default.

use std::fmt;

use crate::Errno;

/// The number of a signal: 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

/// What a signal does to a process that neither handles nor ignores it: `signal(7)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DefaultAction {
    /// Ends the process.
    Terminate,
    /// Ends the process with a core dump.
    Core,
    /// Nothing.
    Ignore,
    /// Stops the process.
    Stop,
    /// Continues the process if it is stopped.
    Continue,
}

macro_rules! signals {
    ($($name:ident = $number:literal, $action:ident, $meaning:literal;)*) => {
        impl Signal {
            $(
                #[doc = concat!($meaning, ".")]
                pub const $name: Self = Self($number);
            )*

            const fn standard(self) -> Option<(&'static str, DefaultAction, &'static str)> {
                match self.0 {
                    $($number => Some((stringify!($name), DefaultAction::$action, $meaning)),)*
                    _ => None,
                }
            }
        }
    };
}

signals! {
    SIGHUP = 1, Terminate, "Hangup";
    SIGINT = 2, Terminate, "Interrupt";
    SIGQUIT = 3, Core, "Quit";
    SIGILL = 4, Core, "Illegal instruction";
    SIGTRAP = 5, Core, "Trace/breakpoint trap";
    SIGABRT = 6, Core, "Aborted";
    SIGBUS = 7, Core, "Bus error";
    SIGFPE = 8, Core, "Floating point exception";
    SIGKILL = 9, Terminate, "Killed";
    SIGUSR1 = 10, Terminate, "User defined signal 1";
    SIGSEGV = 11, Core, "Segmentation fault";
    SIGUSR2 = 12, Terminate, "User defined signal 2";
    SIGPIPE = 13, Terminate, "Broken pipe";
    SIGALRM = 14, Terminate, "Alarm clock";
    SIGTERM = 15, Terminate, "Terminated";
    SIGSTKFLT = 16, Terminate, "Stack fault";
    SIGCHLD = 17, Ignore, "Child exited";
    SIGCONT = 18, Continue, "Continued";
    SIGSTOP = 19, Stop, "Stopped (signal)";
    SIGTSTP = 20, Stop, "Stopped";
    SIGTTIN = 21, Stop, "Stopped (tty input)";
    SIGTTOU = 22, Stop, "Stopped (tty output)";
    SIGURG = 23, Ignore, "Urgent I/O condition";
    SIGXCPU = 24, Core, "CPU time limit exceeded";
    SIGXFSZ = 25, Core, "File size limit exceeded";
    SIGVTALRM = 26, Terminate, "Virtual timer expired";
    SIGPROF = 27, Terminate, "Profiling timer expired";
    SIGWINCH = 28, Ignore, "Window changed";
    SIGIO = 29, Terminate, "I/O possible";
    SIGPWR = 30, Terminate, "Power failure";
    SIGSYS = 31, Core, "Bad system call";
}

impl Signal {
    /// The number of signals; also the highest number.
    pub const COUNT: u8 = 64;
    /// The first real-time signal, as the kernel sees it.
    pub const SIGRTMIN: Self = Self(32);
    /// The last real-time signal.
    pub const SIGRTMAX: Self = Self(Self::COUNT);
    /// The same number as [`Signal::SIGIO`].
    pub const SIGPOLL: Self = Self::SIGIO;
    /// The same number as [`Signal::SIGABRT`].
    pub const SIGIOT: Self = Self::SIGABRT;

    /// The signal with this number, if there is one; zero is none.
    pub const fn from_raw(raw: i32) -> Option<Self> {
        if raw >= 1 && raw <= Self::COUNT as i32 { Some(Self(raw as u8)) } else { None }
    }

    /// The number.
    pub const fn raw(self) -> i32 {
        self.0 as i32
    }

    /// The place in a table of all signals: the number less one.
    pub const fn index(self) -> usize {
        self.0 as usize - 1
    }

    /// All signals by ascending number.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        (1..=Self::COUNT).map(Self)
    }

    /// Whether it is queued once for each time that it is sent.
    pub const fn is_realtime(self) -> bool {
        self.0 >= Self::SIGRTMIN.0
    }

    /// What it does by default; real-time signals end the process.
    pub const fn default_action(self) -> DefaultAction {
        match self.standard() {
            Some((_, action, _)) => action,
            None => DefaultAction::Terminate,
        }
    }

    /// The name of a standard signal: `SIGTERM`.
    pub const fn name(self) -> Option<&'static str> {
        match self.standard() {
            Some((name, _, _)) => Some(name),
            None => None,
        }
    }

    /// What `strsignal(3)` says of a standard signal.
    pub const fn description(self) -> &'static str {
        match self.standard() {
            Some((_, _, meaning)) => meaning,
            None => "Real-time signal",
        }
    }

    /// Whether it can neither be caught, blocked nor ignored.
    pub const fn is_unstoppable(self) -> bool {
        matches!(self, Self::SIGKILL | Self::SIGSTOP)
    }
}

/// `SIGTERM`, `SIGRT_3`: as `strace(1)` prints it.
impl fmt::Display for Signal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => formatter.pad(name),
            None => write!(formatter, "SIGRT_{}", self.0 - Self::SIGRTMIN.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// `EINVAL` for what is no signal, zero too.
impl TryFrom<i32> for Signal {
    type Error = Errno;

    fn try_from(raw: i32) -> Result<Self, Errno> {
        Self::from_raw(raw).ok_or(Errno::EINVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_c_library() {
        assert_eq!(Signal::SIGSYS.raw(), libc::SIGSYS);
        assert_eq!(Signal::SIGCHLD.raw(), libc::SIGCHLD);
        assert_eq!(Signal::SIGSTKFLT.raw(), libc::SIGSTKFLT);
        assert_eq!(Signal::from_raw(0), None);
        assert_eq!(Signal::from_raw(65), None);
        assert_eq!(Signal::try_from(64), Ok(Signal::SIGRTMAX));
        assert_eq!(Signal::all().count(), 64);
    }

    #[test]
    fn default_actions_are_those_of_the_manual_page() {
        assert_eq!(Signal::SIGQUIT.default_action(), DefaultAction::Core);
        assert_eq!(Signal::SIGTTOU.default_action(), DefaultAction::Stop);
        assert_eq!(Signal::SIGURG.default_action(), DefaultAction::Ignore);
        assert_eq!(Signal::SIGRTMAX.default_action(), DefaultAction::Terminate);
    }

    #[test]
    fn names_are_those_of_strace() {
        assert_eq!(Signal::SIGTERM.to_string(), "SIGTERM");
        assert_eq!(Signal::from_raw(35).map(|signal| signal.to_string()).as_deref(), Some("SIGRT_3"));
    }
}

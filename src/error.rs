//! What can go wrong for a host program.

use std::path::PathBuf;
use std::time::Duration;

use bartizan_abi::Errno;
use bartizan_platform::PlatformError;

/// The result of the facade's operations.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a sandbox, or a program in it, could not be made to run. Each message names the object, the operation and what can be
/// done about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The machine cannot run guest code in the way that was asked for, or the host refused a resource.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// The platform exists, but not in this version.
    #[error("platform {name} is not part of this version; choose one of: {choices}")]
    UnknownPlatform {
        /// What was asked for.
        name: String,
        /// What there is.
        choices: &'static str,
    },
    /// The kernel could not be set up.
    #[error("cannot set up the sandbox: {what}: {source}")]
    Setup {
        /// Which part.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A directory of the host cannot be served.
    #[error("cannot mount the host's {}: {source}", path.display())]
    HostDirectory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A mount could not be placed.
    #[error("cannot mount on {target:?} in the sandbox: {errno} ({})", errno.description())]
    Mount {
        /// Where in the sandbox.
        target: String,
        /// Why.
        errno: Errno,
    },
    /// A file or directory in the sandbox could not be made or used.
    #[error("cannot {operation} {path:?} in the sandbox: {errno} ({})", errno.description())]
    File {
        /// What was tried.
        operation: &'static str,
        /// With what.
        path: String,
        /// Why.
        errno: Errno,
    },
    /// There is no such program in the sandbox.
    #[error("program {0:?} is not in the sandbox: give its path there, or a name that PATH finds")]
    ProgramNotFound(String),
    /// The program is there but cannot be run.
    #[error("cannot run {program:?} in the sandbox: {errno} ({})", errno.description())]
    ProgramNotRunnable {
        /// Which.
        program: String,
        /// Why.
        errno: Errno,
    },
    /// A name, argument or path holds a NUL byte.
    #[error("{what} {value:?} holds a NUL byte, which no program can be given")]
    NulByte {
        /// What it was meant for.
        what: &'static str,
        /// The value.
        value: String,
    },
    /// The standard streams of a program could not be set up or read.
    #[error("cannot use the program's {stream}: {source}")]
    Stream {
        /// Which.
        stream: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The sandbox ended by itself: a process that ran guest code was killed, or the kernel met an error of its own.
    #[error("the sandbox ended: {0}")]
    SandboxDied(String),
    /// The program did not end in time. It still runs.
    #[error("the program did not end within {0:?}")]
    TimedOut(Duration),
}

//! Bartizan: a user-space Linux kernel as a library.
//!
//! A host program builds a [`Sandbox`] and runs unmodified Linux programs in it. Every system call that they make is answered by
//! the kernel in this library, out of its own file systems, processes, memory and signals.
//!
//! ```no_run
//! use bartizan::{Mount, Sandbox};
//!
//! # fn main() -> bartizan::Result<()> {
//! let sandbox = Sandbox::builder().root(Mount::host_directory("/")).mount("/tmp", Mount::tmpfs()).build()?;
//! sandbox.write_file("/tmp/greeting", b"hello\n")?;
//! let output = sandbox.command("/bin/cat").arg("/tmp/greeting").output()?;
//! assert_eq!(output.stdout, b"hello\n");
//! # Ok(())
//! # }
//! ```
//!
//! Several sandboxes may live side by side in one process; dropping one ends everything in it. A guest never brings its host down: what it
//! does wrong ends that sandbox at most, with [`Error::SandboxDied`].

#![forbid(unsafe_code)]

mod builder;
mod command;
mod error;
mod files;
mod mount;
mod platforms;
mod sandbox;
mod spawn;
mod terminal;

pub use builder::SandboxBuilder;
pub use command::{Command, ExitStatus, Output, Process, Stdio, User};
pub use error::{Error, Result};
pub use mount::{Changes, Mount};
pub use platforms::PlatformKind;
pub use sandbox::Sandbox;
pub use terminal::{Terminal, TerminalSize};

/// What one needs to write a file system of one's own; see `examples/custom_fs.rs`.
pub mod vfs {
    pub use bartizan_sentry::vfs::*;
}

pub use bartizan_abi as abi;
pub use bartizan_sentry::kernel::Profiler;
pub use bartizan_sentry::syscalls::compatibility_page;

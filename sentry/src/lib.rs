//! The kernel of Bartizan: memory management, virtual file system, tasks, loader and system calls.
//!
//! The way of a system call: [`kernel`] runs the guest through the platform; on a system call `syscalls` finds the table line,
//! decodes the arguments and calls the handler, which works on [`mm`], [`vfs`] and [`kernel`]; its result becomes `rax`.

mod error;
pub mod kernel;
pub mod loader;
pub mod mm;
pub mod sync;
pub mod syscalls;
pub mod vfs;

pub use error::{Restart, SysError, SysResult, WaitError};

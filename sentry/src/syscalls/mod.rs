//! System calls: one table, typed handlers, one file for each area of section 2 of the manual.
//!
//! A table line names a call, its handler and how complete it is. Dispatch, `--strace` and `docs/compat.md` are all
//! made from it: the types of a handler's parameters say how a register is decoded and how it is shown.

mod aio;
mod anonymous;
mod argument;
pub mod attributes;
mod compatibility;
mod copy;
mod credentials;
mod descriptor;
mod directory;
mod dispatch;
mod epoll;
mod event;
mod exec;
mod file_signal;
mod futex;
mod handle;
mod inotify;
mod kcmp;
mod limits;
mod lock;
mod membarrier;
mod memfd;
mod memory;
mod mount;
mod mount_tree;
mod mqueue;
mod open;
mod pidfd;
mod pipe;
mod poll;
mod prctl;
mod priority;
mod process;
mod process_memory;
mod ptrace;
mod read_write;
mod refused;
mod restart;
mod schedule;
mod seccomp;
mod set_mm;
mod signal;
mod socket;
mod stat;
mod statfs;
mod sync;
mod system;
mod sysv_message;
mod sysv_semaphore;
mod sysv_shared_memory;
mod table;
mod time;
mod timer;
pub mod trace;
mod usage;
mod wait;
mod xattr;
mod xattr_at;

pub use argument::{Argument, IntoRegister, UserPath};
pub use compatibility::compatibility_page;
pub use dispatch::{dispatch, dispatch_checked};
pub(crate) use pidfd::install_pidfd;
pub use table::{Entry, Support, entry};

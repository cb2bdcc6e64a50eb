//! System calls: one table, typed handlers, one file for each area of section 2 of the manual.
//!
//! A table line names a call, its handler and how complete it is. Dispatch, `--strace` and `docs/compat.md` are all
//! made from it: the types of a handler's parameters say how a register is decoded and how it is shown.

mod argument;
pub mod attributes;
mod compatibility;
mod descriptor;
mod directory;
mod dispatch;
mod exec;
mod lock;
mod memory;
mod open;
mod process;
mod read_write;
mod signal;
mod stat;
mod table;
pub mod trace;
mod wait;

pub use argument::{Argument, IntoRegister, UserPath};
pub use compatibility::compatibility_page;
pub use dispatch::dispatch;
pub use table::{Entry, Support, entry};

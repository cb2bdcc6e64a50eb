//! The Linux ABI of x86-64 as data: error numbers, flags, structures and numbers, without behaviour.
//!
//! Names are those of the manual pages and of the uapi headers, so that a search for `O_CREAT` finds it. Flags are
//! `bitflags` types: use `from_bits` on what a guest passes, and `iter_names` to print them. C enumerations are Rust
//! enumerations whose `TryFrom` answers `EINVAL`. Structures are plain bytes without padding (`zerocopy`), so that any
//! bytes of a guest are a valid value and none of the host's memory leaks out; raw numbers in them are decoded by
//! whoever uses them. An item's `u64` that is an address is the guest's, never a host pointer.

mod errno;
mod macros;
mod number;

pub mod aio;
pub mod arch;
pub mod elf;
pub mod fs;
pub mod io;
pub mod ipc;
pub mod memory;
pub mod namespace;
pub mod process;
pub mod signal;
pub mod socket;
pub mod time;

pub use errno::Errno;
pub use fs::*;
pub use io::*;
pub use memory::*;
pub use number::Sysno;
pub use process::*;
pub use signal::*;
pub use time::*;

//! Memory of guest processes: what is mapped, what is in place, and how the kernel reads and writes it.
//!
//! A [`MemoryManager`] is an address space. It keeps two maps over addresses: the *areas* that the guest asked for
//! (`mappings`), and the *pages* that are in place behind them (`pages`). A page fault, of the guest or of the
//! sentry's own access, turns areas into pages (`fault`); everything else takes pages away again or changes how they
//! may be used. Locks: `Mappings`, then `Pages`, then what a [`PageSource`] takes.

mod access;
mod advise;
mod area;
mod attachment;
mod fault;
mod foreign;
mod fork;
mod futex_key;
mod interval_map;
mod limits;
mod lock;
mod manager;
mod map;
mod mapping_set;
mod mappings;
mod pages;
mod patch;
mod protect;
mod remap;
mod report;
mod setup;
mod shared_memory;
mod source;
mod user;
mod user_buffers;

#[cfg(test)]
mod guest_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use advise::SyncMode;
pub use area::{AreaFlags, access_of};
pub use attachment::{Attach, Attachment};
use bartizan_platform::Access;
pub use fault::FaultOutcome;
pub use futex_key::{FutexKey, FutexScope};
pub use limits::{LockPrivilege, MemoryLimits};
pub use lock::{LockAll, LockMode};
pub use manager::MemoryManager;
pub use map::{MapBacking, MapPlacement, MapPopulate, MapRequest};
pub use mapping_set::{MappingSet, PrivateCopies};
pub use mappings::{Layout, MAX_MAP_COUNT, MMAP_MIN_ADDR, STACK_GUARD_GAP, Totals};
pub use protect::ProtectFrom;
pub use remap::RemapPlacement;
pub use report::{AreaName, AreaReport, MemorySizes};
pub use shared_memory::SharedMemory;
pub use source::{PageError, PageRun, PageSource};
pub use user::{UserAddr, UserPtr, UserSlice};
pub use user_buffers::UserBuffers;

//! Memory of guest processes: what is mapped, what is in place, and how the kernel reads and writes it.

mod source;
mod user;

pub use source::{PageError, PageRun, PageSource};
pub use user::{UserAddr, UserPtr, UserSlice};

/// Who maps a file.
#[derive(Debug, Default)]
pub struct MappingSet {}

/// The address space of a process (`struct mm_struct`).
#[derive(Debug)]
pub struct MemoryManager {}

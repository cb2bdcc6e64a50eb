//! Guests for tests of the kernel: programs written as closures, which make real system calls on the mock platform.
//!
//! Each task has two threads here: its own, and one that runs the closure; they take turns, so that a test is as
//! deterministic as the kernel is. Memory that the closure accesses faults as a guest's does.

mod guest;
mod world;

pub use guest::{Guest, handler_address};
pub use world::World;

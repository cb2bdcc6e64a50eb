//! What depends on the processor.

mod x86_64;

pub use x86_64::{FpuState, Registers, SMALLEST_FPU_STATE, enabled_components, extended_state_size};

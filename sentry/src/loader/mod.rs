//! Turns an executable file into a process image.

pub mod vdso;

//! Tests of processes and signals, with guests that make real system calls on the mock platform.

mod exit;
mod job_control;
mod process;
mod signal;

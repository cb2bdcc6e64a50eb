//! The file systems of the sentry.
//!
//! One module each; they do not know each other. What they share is in `bartizan_sentry::vfs`.

#![forbid(unsafe_code)]

pub mod dev;
pub mod host;
pub mod proc;
mod pseudo;
pub mod tmpfs;

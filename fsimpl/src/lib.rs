//! The file systems of the sentry.
//!
//! One module each; they do not know each other. What generated trees share is in `pseudo`, the rest in `bartizan_sentry::vfs`.

#![forbid(unsafe_code)]

pub mod cgroup;
pub mod dev;
pub mod devpts;
pub mod host;
pub mod overlay;
pub mod proc;
mod pseudo;
pub mod sys;
#[cfg(test)]
mod tests;
pub mod tmpfs;

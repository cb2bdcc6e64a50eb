//! A user-space Linux kernel as a library.

//! The Linux ABI as data.

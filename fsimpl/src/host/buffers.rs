//! Memory for data on its way between the host and the guest, which is used again: memory that is new to the process costs more than the copying.

use bartizan_sentry::sync::{LockClass, Mutex};

/// How many buffers are kept.
const KEPT: usize = 8;

/// Buffers that nobody uses.
#[derive(Debug)]
pub struct Buffers {
    spare: Mutex<Vec<Vec<u8>>>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self { spare: Mutex::new(LockClass::Table, Vec::new()) }
    }
}

impl Buffers {
    /// Calls `action` with an empty buffer, which may have room.
    pub fn with<T>(&self, action: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let mut buffer = self.spare.lock().pop().unwrap_or_default();
        let result = action(&mut buffer);
        buffer.clear();
        let mut spare = self.spare.lock();
        if spare.len() < KEPT {
            spare.push(buffer);
        }
        result
    }
}

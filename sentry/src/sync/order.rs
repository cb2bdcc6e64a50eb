//! The run-time check of the lock order, in debug builds.

use std::cell::RefCell;

use super::LockClass;

thread_local! {
    static HELD: RefCell<Vec<(LockClass, usize)>> = const { RefCell::new(Vec::new()) };
}

/// The record of one lock that this thread holds.
#[derive(Debug)]
pub struct Held {
    class: LockClass,
    address: usize,
}

impl Held {
    /// Checks that the lock may be taken now, and records it.
    pub fn acquire(class: LockClass, address: usize) -> Self {
        HELD.with_borrow(|held| {
            for &(other, at) in held {
                assert!(
                    other < class || (other == class && at < address),
                    "lock order: {class:?} at {address:#x} taken while {other:?} at {at:#x} is held (all: {held:?})"
                );
            }
        });
        Self::record(class, address)
    }

    /// Records a lock without a check.
    pub fn record(class: LockClass, address: usize) -> Self {
        HELD.with_borrow_mut(|held| held.push((class, address)));
        Self { class, address }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.with_borrow_mut(|held| {
            if let Some(index) = held.iter().rposition(|&entry| entry == (self.class, self.address)) {
                held.swap_remove(index);
            }
        });
    }
}

/// Panics when the calling thread holds any lock: called where a thread may sleep or run guest code.
pub fn assert_none_held(what: &str) {
    HELD.with_borrow(|held| assert!(held.is_empty(), "{what} while holding {held:?}"));
}

#[cfg(test)]
mod tests {
    use super::super::{LockClass, Mutex};

    #[test]
    fn later_class_inside_earlier_is_fine() {
        let outer = Mutex::new(LockClass::TaskTree, ());
        let inner = Mutex::new(LockClass::Signal, ());
        let _outer = outer.lock();
        let _inner = inner.lock();
    }

    #[test]
    #[should_panic(expected = "lock order")]
    fn earlier_class_inside_later_panics() {
        let outer = Mutex::new(LockClass::TaskTree, ());
        let inner = Mutex::new(LockClass::Signal, ());
        let _inner = inner.lock();
        let _outer = outer.lock();
    }
}

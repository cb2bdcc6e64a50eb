//! The locks of the kernel: `parking_lot`'s, each with a class in one documented order.
//!
//! Every lock names its [`LockClass`] when it is made. A thread that holds a lock may take only locks of later
//! classes; two of one class are taken in the order of their addresses. Debug builds check this at run time and
//! panic with both classes; release builds pay nothing.

mod class;
#[cfg(debug_assertions)]
mod order;

use std::fmt;
use std::ops::{Deref, DerefMut};

pub use class::LockClass;

/// A mutual-exclusion lock with a class.
pub struct Mutex<T: ?Sized> {
    #[cfg(debug_assertions)]
    class: LockClass,
    inner: parking_lot::Mutex<T>,
}

/// Access to what a [`Mutex`] guards.
#[derive(Debug)]
pub struct MutexGuard<'a, T: ?Sized> {
    inner: parking_lot::MutexGuard<'a, T>,
    #[cfg(debug_assertions)]
    _held: order::Held,
}

/// A reader-writer lock with a class.
pub struct RwLock<T: ?Sized> {
    #[cfg(debug_assertions)]
    class: LockClass,
    inner: parking_lot::RwLock<T>,
}

/// Shared access to what a [`RwLock`] guards.
#[derive(Debug)]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    inner: parking_lot::RwLockReadGuard<'a, T>,
    #[cfg(debug_assertions)]
    _held: order::Held,
}

/// Exclusive access to what a [`RwLock`] guards.
#[derive(Debug)]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    inner: parking_lot::RwLockWriteGuard<'a, T>,
    #[cfg(debug_assertions)]
    _held: order::Held,
}

impl<T> Mutex<T> {
    /// A lock of `class` around `value`.
    pub const fn new(class: LockClass, value: T) -> Self {
        #[cfg(not(debug_assertions))]
        let _ = class;
        Self {
            #[cfg(debug_assertions)]
            class,
            inner: parking_lot::Mutex::new(value),
        }
    }

    /// What was guarded.
    pub fn into_inner(self) -> T {
        self.inner.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        #[cfg(debug_assertions)]
        let held = order::Held::acquire(self.class, (&raw const self.inner).cast::<()>().addr());
        MutexGuard {
            inner: self.inner.lock(),
            #[cfg(debug_assertions)]
            _held: held,
        }
    }

    /// Takes the lock if it is free. Never a cause of deadlock, so the order is not checked.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let inner = self.inner.try_lock()?;
        Some(MutexGuard {
            inner,
            #[cfg(debug_assertions)]
            _held: order::Held::record(self.class, (&raw const self.inner).cast::<()>().addr()),
        })
    }

    /// The value, when nobody else can hold the lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut()
    }
}

impl<T> RwLock<T> {
    /// A lock of `class` around `value`.
    pub const fn new(class: LockClass, value: T) -> Self {
        #[cfg(not(debug_assertions))]
        let _ = class;
        Self {
            #[cfg(debug_assertions)]
            class,
            inner: parking_lot::RwLock::new(value),
        }
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits for shared access. Never recursive: a waiting writer would deadlock it.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        #[cfg(debug_assertions)]
        let held = order::Held::acquire(self.class, (&raw const self.inner).cast::<()>().addr());
        RwLockReadGuard {
            inner: self.inner.read(),
            #[cfg(debug_assertions)]
            _held: held,
        }
    }

    /// Waits for exclusive access.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        #[cfg(debug_assertions)]
        let held = order::Held::acquire(self.class, (&raw const self.inner).cast::<()>().addr());
        RwLockWriteGuard {
            inner: self.inner.write(),
            #[cfg(debug_assertions)]
            _held: held,
        }
    }

    /// The value, when nobody else can hold the lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut()
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(formatter)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(formatter)
    }
}

/// In debug builds, panics when the calling thread holds any lock: called where it may sleep or run guest code.
#[inline]
pub fn assert_none_held(what: &str) {
    #[cfg(debug_assertions)]
    order::assert_none_held(what);
    #[cfg(not(debug_assertions))]
    let _ = what;
}

//! Addresses of the guest. A raw register becomes one of these at the edge and cannot be used as anything else.

use std::marker::PhantomData;

use bartizan_abi::Errno;

/// An address in the guest's memory. It may be anything; only access through a
/// [`MemoryManager`](super::MemoryManager) tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UserAddr(pub u64);

impl UserAddr {
    /// The null pointer.
    pub const NULL: Self = Self(0);

    /// Whether this is the null pointer.
    pub fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The address `bytes` further on, or `EFAULT`.
    pub fn checked_add(self, bytes: u64) -> Result<Self, Errno> {
        self.0.checked_add(bytes).map(Self).ok_or(Errno::EFAULT)
    }

    /// The address rounded down to a page.
    pub fn page(self) -> Self {
        Self(self.0 & !(bartizan_platform::memory::PAGE_SIZE - 1))
    }
}

/// A pointer of the guest to one `T`, or to the first of several.
#[derive(Debug)]
pub struct UserPtr<T> {
    address: UserAddr,
    pointee: PhantomData<fn() -> T>,
}

impl<T> UserPtr<T> {
    /// The pointer with this address.
    pub const fn new(address: UserAddr) -> Self {
        Self { address, pointee: PhantomData }
    }

    /// Where it points.
    pub fn address(self) -> UserAddr {
        self.address
    }

    /// Whether this is the null pointer.
    pub fn is_null(self) -> bool {
        self.address.is_null()
    }

    /// `None` for the null pointer: an argument that may be left out.
    pub fn optional(self) -> Option<Self> {
        (!self.is_null()).then_some(self)
    }

    /// A pointer to element `index`, or `EFAULT`.
    pub fn element(self, index: u64) -> Result<Self, Errno> {
        let bytes = index.checked_mul(size_of::<T>() as u64).ok_or(Errno::EFAULT)?;
        self.address.checked_add(bytes).map(Self::new)
    }

    /// The same address as a pointer to something else.
    pub fn cast<U>(self) -> UserPtr<U> {
        UserPtr::new(self.address)
    }
}

impl<T> Clone for UserPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for UserPtr<T> {}

/// A range of the guest's memory: a buffer with its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserSlice {
    /// Where it starts.
    pub address: UserAddr,
    /// Its length in bytes.
    pub length: u64,
}

impl UserSlice {
    /// `length` bytes from `address`.
    pub const fn new(address: UserAddr, length: u64) -> Self {
        Self { address, length }
    }

    /// What remains behind the first `bytes`.
    pub fn skip(self, bytes: u64) -> Self {
        let bytes = bytes.min(self.length);
        Self { address: UserAddr(self.address.0.wrapping_add(bytes)), length: self.length - bytes }
    }
}

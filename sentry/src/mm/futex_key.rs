//! What a futex is known by: the page for those that processes share, the address for private ones.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bartizan_abi::Errno;

use super::{MemoryManager, PageSource, UserAddr};

/// Identifies a futex (`union futex_key`). It is valid as long as somebody runs in the address space that it was made from.
#[derive(Debug, Clone)]
pub struct FutexKey(Identity);

#[derive(Debug, Clone)]
enum Identity {
    /// A word of one address space, by the address of its `MemoryManager` and its own.
    Private { mm: usize, address: u64 },
    /// A word of what can be mapped by several.
    Shared { source: Arc<dyn PageSource>, offset: u64 },
}

/// Whether a futex operation is about one process or about all that share the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FutexScope {
    /// `FUTEX_PRIVATE_FLAG`.
    Private,
    /// Without it.
    Shared,
}

impl FutexKey {
    /// A private key of an address space that does not exist.
    #[cfg(test)]
    pub(crate) fn of_nobody(address: u64) -> Self {
        Self(Identity::Private { mm: 0, address })
    }

    /// Numbers that are equal for equal keys.
    fn numbers(&self) -> (usize, u64, bool) {
        match &self.0 {
            Identity::Private { mm, address } => (*mm, *address, false),
            Identity::Shared { source, offset } => (Arc::as_ptr(source).cast::<()>().addr(), *offset, true),
        }
    }
}

impl PartialEq for FutexKey {
    fn eq(&self, other: &Self) -> bool {
        self.numbers() == other.numbers()
    }
}

impl Eq for FutexKey {}

impl Hash for FutexKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.numbers().hash(state);
    }
}

impl MemoryManager {
    /// By what the futex at `address` is known.
    ///
    /// # Errors
    /// `EINVAL` if the address is not aligned, `EFAULT` if it is not the guest's or, for a shared futex, not mapped.
    pub fn futex_key(&self, address: UserAddr, scope: FutexScope) -> Result<FutexKey, Errno> {
        if !address.0.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        if address.0 >= self.platform().user_addresses().end {
            return Err(Errno::EFAULT);
        }
        let private = FutexKey(Identity::Private { mm: std::ptr::from_ref(self).addr(), address: address.0 });
        if scope == FutexScope::Private {
            return Ok(private);
        }
        let mappings = self.mappings.read();
        let (_, area) = mappings.areas().get(address.0).ok_or(Errno::EFAULT)?;
        if area.access.is_empty() {
            return Err(Errno::EFAULT);
        }
        Ok(match area.source() {
            Some(mapping) if area.is_shared() => FutexKey(Identity::Shared {
                source: Arc::clone(&mapping.source),
                offset: mapping.offset(address.0),
            }),
            _ => private,
        })
    }
}

//! Address spaces of the mock platform: a table of mappings, and a record of what was done.
//!
//! Lock: `inner`, a leaf.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::memory::{PAGE_SIZE, VolatileSlice, read, write};
use crate::{Access, AddressSpace, BackingFile, Context, Fault, Mapping, PlatformError, Populate};

/// What was done to an address space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// [`AddressSpace::map`].
    Map {
        /// Where.
        range: Range<u64>,
        /// From which byte of the file.
        offset: u64,
        /// What may be done.
        access: Access,
        /// When pages are filled in.
        populate: Populate,
    },
    /// [`AddressSpace::unmap`].
    Unmap(Range<u64>),
    /// [`AddressSpace::protect`].
    Protect(Range<u64>, Access),
    /// [`AddressSpace::flush`].
    Flush,
}

/// An address space without hardware behind it.
#[derive(Debug)]
pub struct MockAddressSpace {
    user: Range<u64>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// By page: what is there.
    pages: BTreeMap<u64, Page>,
    operations: Vec<Operation>,
    retired: Vec<Box<dyn Any + Send>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Inner").field("operations", &self.operations).finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Page {
    file: Arc<dyn BackingFile>,
    offset: u64,
    access: Access,
}

impl MockAddressSpace {
    pub(super) fn new(user: Range<u64>) -> Self {
        Self { user, inner: Mutex::default() }
    }

    /// What was done, in order.
    pub fn operations(&self) -> Vec<Operation> {
        self.inner.lock().operations.clone()
    }

    fn check(&self, range: &Range<u64>) -> Result<(), PlatformError> {
        let aligned = range.start.is_multiple_of(PAGE_SIZE) && range.end.is_multiple_of(PAGE_SIZE);
        if range.is_empty() || !aligned || range.start < self.user.start || range.end > self.user.end {
            return Err(PlatformError::InvalidRange(range.clone()));
        }
        Ok(())
    }

    /// Drops what was retired: all operations are in effect at once here.
    pub(super) fn take_effect(&self) {
        let retired = std::mem::take(&mut self.inner.lock().retired);
        drop(retired);
    }

    pub(super) fn load(&self, address: u64, data: &mut [u8]) -> Result<(), Fault> {
        let mut done = 0;
        while done < data.len() {
            let part = &mut data[done..];
            let wanted = part.len();
            done += self
                .access(address.wrapping_add(done as u64), wanted, Access::READ, |view| read(view, part))?;
        }
        Ok(())
    }

    pub(super) fn store(&self, address: u64, data: &[u8]) -> Result<(), Fault> {
        let mut done = 0;
        while done < data.len() {
            let part = &data[done..];
            done += self.access(address.wrapping_add(done as u64), part.len(), Access::WRITE, |view| {
                write(part, view)
            })?;
        }
        Ok(())
    }

    /// Accesses at most `length` bytes in the page of `address`; returns how many.
    fn access(
        &self,
        address: u64,
        length: usize,
        access: Access,
        act: impl FnOnce(&VolatileSlice<'_>) -> usize,
    ) -> Result<usize, Fault> {
        let fault = |bus_error| Fault { address, access, bus_error };
        let start = address - address % PAGE_SIZE;
        let page = self.inner.lock().pages.get(&start).cloned();
        let page = page.filter(|page| page.access.contains(access)).ok_or(fault(false))?;
        let inside = address - start;
        let room = usize::try_from(PAGE_SIZE - inside).unwrap_or(length);
        let view = page.file.view(page.offset + inside, length.min(room)).map_err(|_| fault(true))?;
        match act(&view) {
            0 => Err(fault(true)),
            done => Ok(done),
        }
    }
}

fn pages_of(range: &Range<u64>) -> impl Iterator<Item = u64> + use<> {
    range.clone().step_by(PAGE_SIZE as usize)
}

impl AddressSpace for MockAddressSpace {
    fn map(&self, mapping: Mapping) -> Result<(), PlatformError> {
        self.check(&mapping.range)?;
        let Mapping { range, file, offset, access, populate } = mapping;
        if !offset.is_multiple_of(PAGE_SIZE) || offset.checked_add(range.end - range.start).is_none() {
            return Err(PlatformError::InvalidRange(range));
        }
        let mut inner = self.inner.lock();
        for start in pages_of(&range) {
            let page = Page { file: Arc::clone(&file), offset: offset + (start - range.start), access };
            inner.pages.insert(start, page);
        }
        inner.operations.push(Operation::Map { range, offset, access, populate });
        Ok(())
    }

    fn unmap(&self, range: Range<u64>) -> Result<(), PlatformError> {
        self.check(&range)?;
        let mut inner = self.inner.lock();
        let behind = inner.pages.split_off(&range.start).split_off(&range.end);
        inner.pages.extend(behind);
        inner.operations.push(Operation::Unmap(range));
        Ok(())
    }

    fn protect(&self, range: Range<u64>, access: Access) -> Result<(), PlatformError> {
        self.check(&range)?;
        let mut inner = self.inner.lock();
        for start in pages_of(&range) {
            // The operation is recorded only if all of it is possible; what was changed before is a bug of the caller's anyway.
            let page = inner.pages.get_mut(&start).ok_or_else(|| PlatformError::Exhausted {
                what: "protect",
                source: std::io::ErrorKind::NotFound.into(),
            })?;
            page.access = access;
        }
        inner.operations.push(Operation::Protect(range, access));
        Ok(())
    }

    fn retire(&self, object: Box<dyn Any + Send>) {
        self.inner.lock().retired.push(object);
    }

    fn flush(&self, _current: Option<&mut dyn Context>) -> Result<(), PlatformError> {
        self.inner.lock().operations.push(Operation::Flush);
        self.take_effect();
        Ok(())
    }
}

//! Descriptor tables.

use std::sync::Arc;

use bartizan_abi::Errno;
use bitflags::bitflags;

use super::File;
use crate::sync::{LockClass, RwLock};

/// A descriptor as the guest numbers it; never negative once it has been looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FdNumber(pub i32);

bitflags! {
    /// Flags of a descriptor, not shared by its duplicates.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct FdFlags: u8 {
        /// Closed by `execve`.
        const CLOEXEC = 1 << 0;
    }
}

/// The highest number of descriptors that a table ever holds (`fs.nr_open`).
pub const NR_OPEN: u64 = 1 << 20;

/// The descriptors of a process (`struct files_struct`).
///
/// Files are closed without the lock of the table: whatever is taken out is dropped after it.
#[derive(Debug)]
pub struct FdTable {
    slots: RwLock<Slots>,
}

#[derive(Debug, Default, Clone)]
struct Slots {
    entries: Vec<Option<Slot>>,
    /// No free number is below this.
    first_free: usize,
}

#[derive(Debug, Clone)]
struct Slot {
    file: Arc<File>,
    flags: FdFlags,
}

impl Default for FdTable {
    fn default() -> Self {
        Self::with(Slots::default())
    }
}

impl Slots {
    /// The lowest free number from `least` on.
    fn free_from(&self, least: usize) -> usize {
        let start = least.max(self.first_free);
        let taken = self.entries.iter().skip(start).take_while(|slot| slot.is_some()).count();
        start + taken
    }

    fn put(&mut self, number: usize, slot: Slot) -> Option<Slot> {
        if number >= self.entries.len() {
            self.entries.resize(number + 1, None);
        }
        if number == self.first_free {
            self.first_free += 1;
        }
        self.entries[number].replace(slot)
    }

    fn take(&mut self, number: usize) -> Option<Slot> {
        let slot = self.entries.get_mut(number)?.take()?;
        self.first_free = self.first_free.min(number);
        Some(slot)
    }
}

impl FdTable {
    fn with(slots: Slots) -> Self {
        Self { slots: RwLock::new(LockClass::FdTable, slots) }
    }

    /// A copy, for a child that does not share it.
    pub fn duplicate(&self) -> Arc<Self> {
        Arc::new(Self::with(self.slots.read().clone()))
    }

    /// The description that `fd` refers to.
    ///
    /// # Errors
    /// `EBADF` if it is not open or was opened with `O_PATH`.
    #[inline]
    pub fn get(&self, fd: FdNumber) -> Result<Arc<File>, Errno> {
        let file = self.get_any(fd)?;
        if file.is_path() { Err(Errno::EBADF) } else { Ok(file) }
    }

    /// The description that `fd` refers to, opened with `O_PATH` or not.
    ///
    /// # Errors
    /// `EBADF` if it is not open.
    #[inline]
    pub fn get_any(&self, fd: FdNumber) -> Result<Arc<File>, Errno> {
        let number = usize::try_from(fd.0).map_err(|_| Errno::EBADF)?;
        let slots = self.slots.read();
        let slot = slots.entries.get(number).and_then(Option::as_ref).ok_or(Errno::EBADF)?;
        Ok(Arc::clone(&slot.file))
    }

    /// Gives `file` the lowest free number from `least` on, below `limit` (`RLIMIT_NOFILE`).
    ///
    /// # Errors
    /// `EMFILE` when there is none, `EINVAL` for a `least` beyond the limit.
    pub fn add_from(
        &self,
        least: i32,
        file: Arc<File>,
        flags: FdFlags,
        limit: u64,
    ) -> Result<FdNumber, Errno> {
        let least = usize::try_from(least).map_err(|_| Errno::EINVAL)?;
        if least as u64 >= limit {
            return Err(Errno::EINVAL);
        }
        let mut slots = self.slots.write();
        let number = slots.free_from(least);
        if number as u64 >= limit.min(NR_OPEN) {
            return Err(Errno::EMFILE);
        }
        slots.put(number, Slot { file, flags });
        i32::try_from(number).map(FdNumber).map_err(|_| Errno::EMFILE)
    }

    /// Gives `file` the lowest free number below `limit`.
    ///
    /// # Errors
    /// `EMFILE` when there is none.
    pub fn add(&self, file: Arc<File>, flags: FdFlags, limit: u64) -> Result<FdNumber, Errno> {
        if limit == 0 {
            return Err(Errno::EMFILE);
        }
        self.add_from(0, file, flags, limit)
    }

    /// Makes `fd` refer to `file`, whatever it was before; what that was is returned, to be closed.
    ///
    /// # Errors
    /// `EBADF` for a number beyond `limit`.
    pub fn replace(
        &self,
        fd: FdNumber,
        file: Arc<File>,
        flags: FdFlags,
        limit: u64,
    ) -> Result<Option<Arc<File>>, Errno> {
        let number = usize::try_from(fd.0).map_err(|_| Errno::EBADF)?;
        if number as u64 >= limit.min(NR_OPEN) {
            return Err(Errno::EBADF);
        }
        let old = self.slots.write().put(number, Slot { file, flags });
        Ok(old.map(|slot| slot.file))
    }

    /// Takes `fd` out; its description is returned, to be closed.
    ///
    /// # Errors
    /// `EBADF` if it is not open.
    pub fn remove(&self, fd: FdNumber) -> Result<Arc<File>, Errno> {
        let number = usize::try_from(fd.0).map_err(|_| Errno::EBADF)?;
        let taken = self.slots.write().take(number);
        taken.map(|slot| slot.file).ok_or(Errno::EBADF)
    }

    /// Takes all of `first..=last` out; their descriptions are returned, to be closed.
    pub fn remove_range(&self, first: u32, last: u32) -> Vec<Arc<File>> {
        let mut slots = self.slots.write();
        let end = slots.entries.len().min(last as usize + 1);
        (first as usize..end).filter_map(|number| slots.take(number)).map(|slot| slot.file).collect()
    }

    /// Sets the flags of all of `first..=last`.
    pub fn set_range_flags(&self, first: u32, last: u32, flags: FdFlags) {
        let mut slots = self.slots.write();
        let count = (last as usize + 1).saturating_sub(first as usize);
        for slot in slots.entries.iter_mut().skip(first as usize).take(count).flatten() {
            slot.flags = flags;
        }
    }

    /// The flags of `fd`.
    ///
    /// # Errors
    /// `EBADF` if it is not open.
    pub fn flags(&self, fd: FdNumber) -> Result<FdFlags, Errno> {
        let number = usize::try_from(fd.0).map_err(|_| Errno::EBADF)?;
        let slots = self.slots.read();
        slots.entries.get(number).and_then(Option::as_ref).map(|slot| slot.flags).ok_or(Errno::EBADF)
    }

    /// Replaces the flags of `fd`.
    ///
    /// # Errors
    /// `EBADF` if it is not open.
    pub fn set_flags(&self, fd: FdNumber, flags: FdFlags) -> Result<(), Errno> {
        let number = usize::try_from(fd.0).map_err(|_| Errno::EBADF)?;
        let mut slots = self.slots.write();
        let slot = slots.entries.get_mut(number).and_then(Option::as_mut).ok_or(Errno::EBADF)?;
        slot.flags = flags;
        Ok(())
    }

    /// Closes what `execve` closes.
    pub fn close_on_exec(&self) {
        let closed: Vec<Slot> = {
            let mut slots = self.slots.write();
            let marked: Vec<usize> = slots
                .entries
                .iter()
                .enumerate()
                .filter(|(_, slot)| slot.as_ref().is_some_and(|slot| slot.flags.contains(FdFlags::CLOEXEC)))
                .map(|(number, _)| number)
                .collect();
            marked.into_iter().filter_map(|number| slots.take(number)).collect()
        };
        drop(closed);
    }

    /// All open descriptors, by ascending number.
    pub fn entries(&self) -> Vec<(FdNumber, Arc<File>, FdFlags)> {
        let slots = self.slots.read();
        let open = slots.entries.iter().enumerate().filter_map(|(number, slot)| {
            let slot = slot.as_ref()?;
            Some((FdNumber(i32::try_from(number).ok()?), Arc::clone(&slot.file), slot.flags))
        });
        open.collect()
    }

    /// Whether some descriptor refers to `file`.
    pub fn refers_to(&self, file: &Arc<File>) -> bool {
        self.slots.read().entries.iter().flatten().any(|slot| Arc::ptr_eq(&slot.file, file))
    }

    /// How many slots the table has (`FDSize` of `/proc/[pid]/status`).
    pub fn size(&self) -> usize {
        self.slots.read().entries.len().next_power_of_two().max(64)
    }
}

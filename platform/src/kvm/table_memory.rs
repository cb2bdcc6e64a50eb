//! The memory that page tables and the stub's pages are in.
//!
//! One range of addresses is reserved in the host; memory slots are added to the machine as it is used, so that the address of a page in the
//! guest's physical memory tells its address in the host.
//!
//! Where the host follows changes of tables only when the guest makes them (see [`quirks`](super::quirks)), pages that were used wait in
//! quarantine until it has forgotten all that it knew of them.
//!
//! Locks: `state`, a leaf but for the slots of the machine.
//!
//! # Safety
//! The reservation lives as long as this value, and every [`Table`] names a page of it; pages are only ever accessed as atomics.

#![expect(unsafe_code, reason = "mmap, and words that the processor of a guest reads and writes")]

use std::ffi::c_void;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::machine::Machine;
use crate::PlatformError;
use crate::memory::PAGE_SIZE;

/// Words in a page.
pub(super) const WORDS: usize = 512;
/// Where the pages are in the guest's physical memory.
pub(super) const TABLES_AT: u64 = 1 << 30;
/// A page that is shown for a moment, for the sake of hiding it again.
pub(super) const SPARE_AT: u64 = TABLES_AT - (1 << 20);
/// How many bytes there can be: tables for some ten thousand processes.
pub(super) const MOST_BYTES: u64 = 8 << 30;
/// By how much it grows.
const SLOT_BYTES: u64 = 16 << 20;
/// How many pages wait at most before the host is made to forget them.
const MOST_QUARANTINED: usize = 1024;

/// A page of words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    address: u64,
    words: NonNull<AtomicU64>,
}

// SAFETY: a table names memory of the process, not of a thread; all access is atomic.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

impl Table {
    /// Where it is in the guest's physical memory.
    pub(super) fn address(self) -> u64 {
        self.address
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        debug_assert!(index < WORDS);
        // SAFETY: a table has `WORDS` words, and the index is cut to them.
        let word = unsafe { self.words.add(index % WORDS) };
        // SAFETY: the page is mapped as long as the machine is, which whoever holds a table holds too.
        unsafe { word.as_ref() }
    }

    pub(super) fn load(self, index: usize) -> u64 {
        self.word(index).load(Ordering::SeqCst)
    }

    pub(super) fn store(self, index: usize, value: u64) {
        self.word(index).store(value, Ordering::SeqCst);
    }

    pub(super) fn compare_exchange(self, index: usize, expected: u64, new: u64) -> Result<u64, u64> {
        self.word(index).compare_exchange(expected, new, Ordering::SeqCst, Ordering::SeqCst)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct TablePages {
    start: NonNull<c_void>,
    machine: Arc<Machine>,
    state: Mutex<State>,
}

// SAFETY: the reservation is memory of the process, not of a thread.
unsafe impl Send for TablePages {}
// SAFETY: as above; what changes is under a lock.
unsafe impl Sync for TablePages {}

#[derive(Debug, Default)]
struct State {
    /// Bytes that were given out at least once.
    used: u64,
    /// Bytes that the machine has slots for.
    ready: u64,
    free: Vec<u64>,
    quarantined: Vec<u64>,
}

impl TablePages {
    /// Reserves the addresses.
    pub(super) fn new(machine: &Arc<Machine>) -> Result<Self, PlatformError> {
        let length = MOST_BYTES as usize;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: the kernel chooses fresh addresses (no MAP_FIXED), so no memory of the process is replaced.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, access, flags, -1, 0) };
        let failed = || PlatformError::Exhausted { what: "page tables", source: io::Error::last_os_error() };
        if start == libc::MAP_FAILED {
            return Err(failed());
        }
        let start = NonNull::new(start).ok_or_else(failed)?;
        let pages = Self { start, machine: Arc::clone(machine), state: Mutex::default() };
        // SAFETY: the range is this value's own; the advice changes only what `fork` copies.
        if unsafe { libc::madvise(start.as_ptr(), length, libc::MADV_DONTFORK) } != 0 {
            return Err(failed());
        }
        Ok(pages)
    }

    /// The table at a physical address that [`take`](Self::take) gave out.
    pub(super) fn table(&self, address: u64) -> Table {
        let offset = (address.wrapping_sub(TABLES_AT)).min(MOST_BYTES - PAGE_SIZE) as usize;
        // SAFETY: the offset is inside the reservation.
        let start = unsafe { self.start.byte_add(offset) };
        Table { address, words: start.cast() }
    }

    /// The last page, in the host.
    fn spare(&self) -> u64 {
        self.table(TABLES_AT + MOST_BYTES - PAGE_SIZE).words.as_ptr().addr() as u64
    }

    /// A page of zeroes.
    pub(super) fn take(&self) -> Result<Table, PlatformError> {
        let mut state = self.state.lock();
        if let Some(address) = state.free.pop() {
            drop(state);
            let table = self.table(address);
            (0..WORDS).for_each(|index| table.store(index, 0));
            return Ok(table);
        }
        let full = || PlatformError::Exhausted {
            what: "page tables",
            source: io::Error::from_raw_os_error(libc::ENOMEM),
        };
        if state.used == MOST_BYTES {
            return Err(full());
        }
        if state.used == state.ready {
            let host = self.table(TABLES_AT + state.ready).words.as_ptr().addr() as u64;
            self.machine.add_slot(TABLES_AT + state.ready, host, SLOT_BYTES)?;
            state.ready += SLOT_BYTES;
        }
        let address = TABLES_AT + state.used;
        state.used += PAGE_SIZE;
        Ok(self.table(address))
    }

    /// Takes pages back which no processor uses any more.
    pub(super) fn give_back(&self, addresses: impl IntoIterator<Item = u64>) {
        let mut state = self.state.lock();
        if self.machine.quirks().follows_tables {
            state.free.extend(addresses);
            return;
        }
        state.quarantined.extend(addresses);
        // If the host refuses, they wait for the next time.
        if state.quarantined.len() >= MOST_QUARANTINED && self.machine.forget_tables(self.spare()).is_ok() {
            let released = std::mem::take(&mut state.quarantined);
            state.free.extend(released);
        }
    }
}

impl Drop for TablePages {
    fn drop(&mut self) {
        // SAFETY: the range was returned by `mmap` and belongs to this value alone. The machine may keep slots of it, but no processor of the machine
        // runs any more: whoever runs one holds this value.
        let result = unsafe { libc::munmap(self.start.as_ptr(), MOST_BYTES as usize) };
        debug_assert_eq!(result, 0, "unmapping one's own mapping cannot fail");
    }
}

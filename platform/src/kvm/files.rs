//! Files in the guest's physical memory: windows of them, each a memory slot, made when they are first needed.
//!
//! A file that is mapped nowhere any more keeps its windows for a while, because removing a slot is expensive and programs map the same files again.
//!
//! Locks: `state`, then that of the machine's slots.

#![expect(unsafe_code, reason = "madvise of the sentry's views")]

use std::collections::{BTreeMap, HashMap};
use std::ffi::c_void;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use super::machine::Machine;
use super::table_memory::{MOST_BYTES, TABLES_AT};
use super::tables::Touched;
use crate::{BackingFile, PlatformError};

/// Where files begin in the guest's physical memory: behind the tables.
const FILES_AT: u64 = TABLES_AT + MOST_BYTES;
/// The size of large pages: addresses of guest and host are equal modulo this, so that the host can use them.
const LARGE_PAGE: u64 = 2 << 20;
/// How many files are kept though nobody uses them, at least.
const MOST_UNUSED: usize = 32;

/// A file that is, or was, mapped into guests.
#[derive(Debug)]
pub(super) struct MappedFile {
    file: Arc<dyn BackingFile>,
    windows: Mutex<BTreeMap<u64, Window>>,
}

impl MappedFile {
    /// What it is.
    pub(super) fn file(&self) -> &Arc<dyn BackingFile> {
        &self.file
    }

    /// The offset in the file of what is at `physical`, if it is this file's.
    pub(super) fn offset_of(&self, physical: u64) -> Option<u64> {
        let windows = self.windows.lock();
        let (start, window) =
            windows.iter().find(|(_, window)| physical.wrapping_sub(window.physical) < window.length)?;
        Some(start + (physical - window.physical))
    }
}

/// A part of a file in the guest's physical memory.
#[derive(Debug, Clone, Copy)]
struct Window {
    physical: u64,
    length: u64,
    host: u64,
    slot: u32,
}

/// All files of a machine.
#[derive(Debug)]
pub(super) struct Files {
    machine: Arc<Machine>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// By the address of the value.
    files: HashMap<usize, Arc<MappedFile>>,
    /// From how many files on it is worth looking for some that nobody uses.
    sweep_at: usize,
    /// Where the host has what is in the guest's physical memory.
    windows: BTreeMap<u64, Window>,
    /// The first physical address that was never used.
    next: u64,
    /// Physical addresses that are free again, by their length.
    free: HashMap<u64, Vec<u64>>,
}

impl Files {
    /// No files.
    pub(super) fn new(machine: &Arc<Machine>) -> Self {
        let state = State {
            files: HashMap::new(),
            sweep_at: MOST_UNUSED,
            windows: BTreeMap::new(),
            next: FILES_AT,
            free: HashMap::new(),
        };
        Self { machine: Arc::clone(machine), state: Mutex::new(state) }
    }

    /// The entry for `file`.
    pub(super) fn find(&self, file: &Arc<dyn BackingFile>) -> Arc<MappedFile> {
        let key = Arc::as_ptr(file).cast::<()>().addr();
        let unused = {
            let mut state = self.state.lock();
            if let Some(found) = state.files.get(&key) {
                return Arc::clone(found);
            }
            if state.files.len() >= state.sweep_at { self.sweep(&mut state) } else { Vec::new() }
        };
        // Files are closed without the lock.
        drop(unused);
        let mapped = Arc::new(MappedFile { file: Arc::clone(file), windows: Mutex::default() });
        Arc::clone(self.state.lock().files.entry(key).or_insert(mapped))
    }

    /// Removes the files that nobody uses.
    fn sweep(&self, state: &mut State) -> Vec<Arc<MappedFile>> {
        let unused: Vec<usize> = state
            .files
            .iter()
            .filter(|(_, file)| Arc::strong_count(file) == 1)
            .map(|(key, _)| *key)
            .collect();
        let mut removed = Vec::new();
        for key in unused {
            let Some(file) = state.files.remove(&key) else { continue };
            let mut windows = file.windows.lock();
            windows.retain(|_, window| {
                let removed = self.machine.remove_slot(window.slot).is_ok();
                if removed {
                    state.windows.remove(&window.physical);
                    state
                        .free
                        .entry(reserved(window.length))
                        .or_default()
                        .push(window.physical & !(LARGE_PAGE - 1));
                }
                !removed
            });
            let all_gone = windows.is_empty();
            drop(windows);
            if all_gone {
                removed.push(file);
            } else {
                state.files.insert(key, file);
            }
        }
        state.sweep_at = state.files.len() * 2 + MOST_UNUSED;
        removed
    }

    /// Where the byte at `offset` of a file is in the guest's physical memory, and how many bytes follow there.
    pub(super) fn physical(&self, file: &MappedFile, offset: u64) -> Result<(u64, u64), PlatformError> {
        let range = file.file.window(offset);
        let inside = offset.wrapping_sub(range.start);
        let found = file.windows.lock().get(&range.start).copied();
        let window = match found {
            Some(window) => window,
            None => self.add_window(file, &range)?,
        };
        let rest = window.length.checked_sub(inside).filter(|rest| *rest > 0);
        let rest = rest.ok_or_else(|| PlatformError::Host {
            call: "view of a file",
            source: io::ErrorKind::UnexpectedEof.into(),
        })?;
        Ok((window.physical + inside, rest))
    }

    fn add_window(&self, file: &MappedFile, range: &Range<u64>) -> Result<Window, PlatformError> {
        let view = file
            .file
            .view(range.start, (range.end - range.start) as usize)
            .map_err(|source| PlatformError::Exhausted { what: "a view of a file", source })?;
        let (host, length) = (view.ptr_guard_mut().as_ptr().addr() as u64, view.len() as u64);
        let mut state = self.state.lock();
        let mut windows = file.windows.lock();
        if let Some(window) = windows.get(&range.start) {
            return Ok(*window);
        }
        let reserved = reserved(length);
        let start = match state.free.get_mut(&reserved).and_then(Vec::pop) {
            Some(start) => start,
            None => {
                let end = 1 << self.machine.features().physical_bits;
                let start = state.next;
                let next = start.checked_add(reserved).filter(|next| *next <= end);
                state.next = next.ok_or_else(|| PlatformError::Exhausted {
                    what: "physical addresses",
                    source: io::Error::from_raw_os_error(libc::ENOMEM),
                })?;
                start
            }
        };
        let physical = start + host % LARGE_PAGE;
        let slot = match self.machine.add_slot(physical, host, length) {
            Ok(slot) => slot,
            Err(error) => {
                state.free.entry(reserved).or_default().push(start);
                return Err(error);
            }
        };
        let window = Window { physical, length, host, slot };
        state.windows.insert(physical, window);
        windows.insert(range.start, window);
        Ok(window)
    }

    /// Makes the host, and through it all processors, forget the translations of physical pages that are files'.
    pub(super) fn revoke(&self, touched: &Touched) {
        for range in touched {
            let mut start = range.start;
            while start < range.end {
                let found = self.state.lock().windows.range(..=start).next_back().map(|(_, window)| *window);
                let Some(window) = found else { break };
                let inside = start - window.physical;
                if inside >= window.length {
                    break;
                }
                let length = (window.length - inside).min(range.end - start);
                let host = (window.host + inside) as *mut c_void;
                // SAFETY: the range is part of a shared mapping of a file that is still in the table of windows, so mapped; the advice only drops page table entries,
                // which come back at the next access.
                unsafe { libc::madvise(host, length as usize, libc::MADV_DONTNEED) };
                start += length;
            }
        }
    }
}

/// The physical addresses that a window of `length` bytes takes.
fn reserved(length: u64) -> u64 {
    length.next_multiple_of(LARGE_PAGE) + LARGE_PAGE
}

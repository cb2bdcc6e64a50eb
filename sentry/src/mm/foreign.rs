//! The memory of other processes as debuggers see it: what the protection forbids they may do all the same, where the guest itself could have
//! allowed it (`FOLL_FORCE`). A write to private memory that the guest may not write makes a private copy of the page.

use bartizan_platform::Access;
use bartizan_platform::memory::{self, PAGE_SIZE};

use super::area::Area;
use super::fault::Need;
use super::{FaultOutcome, MemoryManager, UserAddr};

impl MemoryManager {
    /// Reads as a debugger does; gives the number of bytes that could be read.
    pub fn read_forced(&self, address: UserAddr, buffer: &mut [u8]) -> usize {
        let mut done = self.copy_in(address, buffer);
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let Some(at) = address.0.checked_add(done as u64) else { break };
            let step = rest.len().min(to_page_end(at));
            let moved = self.on_page(at, Access::READ, |view| memory::read(view, &mut rest[..step]), step);
            match moved {
                Ok(moved) if moved > 0 => done += moved,
                _ => break,
            }
        }
        done
    }

    /// Writes as a debugger does; gives the number of bytes that could be written.
    pub fn write_forced(&self, address: UserAddr, data: &[u8]) -> usize {
        let end = address.0.saturating_add(data.len() as u64);
        self.restore_code_unlocked(&(address.0..end));
        let mut done = 0;
        while let Some(rest) = data.get(done..).filter(|rest| !rest.is_empty()) {
            let Some(at) = address.0.checked_add(done as u64) else { break };
            let step = rest.len().min(to_page_end(at));
            match self.on_page(at, Access::WRITE, |view| memory::write(&rest[..step], view), step) {
                Ok(moved) if moved > 0 => done += moved,
                _ => break,
            }
        }
        // Threads that run may still use the pages that were replaced.
        self.settle_for_others();
        done
    }

    /// Brings in the page of `at` for `access` and calls `operation` with `length` bytes of it.
    fn on_page(
        &self,
        at: u64,
        access: Access,
        operation: impl FnOnce(&memory::VolatileSlice<'_>) -> usize,
        length: usize,
    ) -> Result<usize, FaultOutcome> {
        let page = at & !(PAGE_SIZE - 1);
        let mappings = self.mappings.read();
        let (_, area) = mappings.areas().get(page).ok_or(FaultOutcome::SegvMapErr)?;
        let write = access.contains(Access::WRITE);
        if !may_force(area, access) {
            return Err(FaultOutcome::SegvAccErr);
        }
        let mut pages = self.pages.write();
        let bounds = page..page + PAGE_SIZE;
        self.provide(&mut pages, &Need { address: page, length: PAGE_SIZE, write, area, bounds })?;
        let (_, placement) = pages.get(page).ok_or(FaultOutcome::BusAdrErr)?;
        let view = placement.file.view(placement.offset(at), length).map_err(|_| FaultOutcome::BusAdrErr)?;
        Ok(operation(&view))
    }
}

/// Whether a debugger may do in the area what the guest may not (`check_vma_flags`).
fn may_force(area: &Area, access: Access) -> bool {
    if access.contains(Access::WRITE) {
        let copies = !area.is_shared() && area.may.contains(Access::WRITE);
        area.access.contains(Access::WRITE) || copies
    } else {
        area.access.contains(Access::READ) || area.may.contains(Access::READ)
    }
}

fn to_page_end(address: u64) -> usize {
    (PAGE_SIZE - address % PAGE_SIZE) as usize
}

//! Patched system call sites: code of the guest that was changed so that its calls need no trap of the host.
//!
//! The platform says which sites are worth it and how to patch them ([`Patcher`]); this keeps the changed pages, which are private copies as after a
//! write by a debugger, and the area with the trampolines. Whatever changes the mapping of either restores the guest's code first. Nothing here is
//! visible to a guest but the area, in `/proc/[pid]/maps`, and the changed bytes, if it reads its own code.

use std::collections::BTreeMap;
use std::ops::Range;

use bartizan_platform::memory::{self, PAGE_SIZE};
use bartizan_platform::{Access, CodeChange, Patch, Patcher, Populate};

use super::area::{Area, AreaFlags, Backing};
use super::mappings::{MAX_MAP_COUNT, Mappings};
use super::pages::{Pages, Placement, WriteRule};
use super::{FaultOutcome, MemoryManager, UserAddr};

/// Bytes of an area for trampolines.
const TRAMPOLINES: u64 = 4 * PAGE_SIZE;
/// How far from the code an area for trampolines is at least, so that neither is in the other's way when it grows.
const DISTANCE: u64 = 1 << 20;
/// How much code before and behind a call a patcher gets to see.
const CONTEXT: u64 = 192;
/// The most sites that are patched in an address space.
const MOST_SITES: usize = 4096;

/// The patched sites of an address space.
#[derive(Debug, Default, Clone)]
pub(super) struct Patches {
    /// The areas of trampolines, and how many bytes of each are in use.
    trampolines: Vec<(Range<u64>, u64)>,
    /// What was changed: address and original bytes.
    originals: BTreeMap<u64, Vec<u8>>,
    /// Whether nothing may be patched any more.
    disabled: bool,
}

impl Patches {
    fn is_empty(&self) -> bool {
        self.trampolines.is_empty()
    }

    fn has_trampolines_in(&self, range: &Range<u64>) -> bool {
        self.trampolines.iter().any(|(area, _)| area.start < range.end && range.start < area.end)
    }

    fn touches(&self, range: &Range<u64>) -> bool {
        self.has_trampolines_in(range) || self.originals.range(range.clone()).next().is_some()
    }

    /// Room for a trampoline of `size` bytes that is in reach of `site`.
    fn room(&mut self, site: u64, size: u64, reach: u64) -> Option<(usize, u64)> {
        let (index, (area, used)) = self.trampolines.iter().enumerate().find(|(_, (area, used))| {
            area.end - area.start - used >= size && area.start.abs_diff(site) <= reach
        })?;
        Some((index, area.start + used))
    }
}

impl MemoryManager {
    /// Patches the system call site that returns to `behind_call`, if that can safely be done: it is in private code that nobody may write.
    /// Best effort: a site that is not patched works as well.
    pub fn patch_call(&self, behind_call: UserAddr) {
        if let Some(patcher) = self.platform().patcher() {
            let mut mappings = self.mappings.write();
            let _unpatched = self.try_patch(&mut mappings, patcher, behind_call.0);
        }
    }

    /// Restores all code, and patches none from now on: for debuggers, which read and single-step it.
    pub fn stop_patching(&self) {
        let mut mappings = self.mappings.write();
        mappings.patches.disabled = true;
        let all = mappings.bounds().clone();
        self.restore_code(&mut mappings, &all);
        drop(mappings);
        self.settle_for_others();
    }

    /// `None` if the site cannot be patched.
    fn try_patch(&self, mappings: &mut Mappings, patcher: &dyn Patcher, behind_call: u64) -> Option<()> {
        let (start, code) = self.code_around(mappings, behind_call)?;
        let patches = &mut mappings.patches;
        if patches.disabled || patches.originals.len() >= MOST_SITES {
            return None;
        }
        let size = patcher.trampoline_size();
        let room = match patches.room(behind_call, size, patcher.reach()) {
            Some(room) => room,
            // What cannot be patched needs no area either: the plan does not depend on where exactly it is.
            None => {
                patcher.plan(&code, start, behind_call, behind_call.checked_sub(DISTANCE)?)?;
                self.add_trampolines(mappings, behind_call, patcher.reach())?;
                mappings.patches.room(behind_call, size, patcher.reach())?
            }
        };
        let (index, trampoline) = room;
        let patch = patcher.plan(&code, start, behind_call, trampoline)?;
        self.apply_patch(mappings, &patch, trampoline).ok()?;
        let patches = &mut mappings.patches;
        patches.trampolines[index].1 += size;
        for change in patch.changes {
            let at = usize::try_from(change.address - start).ok()?;
            let original = code.get(at..at + change.bytes.len())?.to_vec();
            patches.originals.entry(change.address).or_insert(original);
        }
        Some(())
    }

    /// The code around a call in an area that may be patched, and where it starts.
    fn code_around(&self, mappings: &Mappings, behind_call: u64) -> Option<(u64, Vec<u8>)> {
        let (bounds, area) = mappings.areas().get(behind_call.checked_sub(1)?)?;
        let code = area.access.contains(Access::EXECUTE) && !area.access.contains(Access::WRITE);
        if area.is_shared() || !code || area.flags.contains(AreaFlags::DONT_EXPAND) {
            return None;
        }
        let start = behind_call.saturating_sub(CONTEXT).max(bounds.start);
        let end = behind_call.saturating_add(CONTEXT).min(bounds.end);
        let mut code = vec![0; usize::try_from(end - start).ok()?];
        let mut pages = self.pages.write();
        for page in pages_of(&(start..end)) {
            let placement = self.code_page(mappings, &mut pages, page).ok()?;
            let part = page.max(start)..(page + PAGE_SIZE).min(end);
            let into = usize::try_from(part.start - start).ok()?..usize::try_from(part.end - start).ok()?;
            let view = placement.file.view(placement.offset(part.start), into.len()).ok()?;
            if memory::read(&view, code.get_mut(into.clone())?) < into.len() {
                return None;
            }
        }
        Some((start, code))
    }

    /// What stands behind a page of code, which is brought in if need be.
    fn code_page(
        &self,
        mappings: &Mappings,
        pages: &mut Pages,
        page: u64,
    ) -> Result<Placement, FaultOutcome> {
        if pages.get(page).is_none() {
            self.bring_in_locked(mappings, pages, page)?;
        }
        pages.get(page).map(|(_, placement)| placement.clone()).ok_or(FaultOutcome::BusAdrErr)
    }

    /// Makes another area for trampolines in reach of `site`.
    fn add_trampolines(&self, mappings: &mut Mappings, site: u64, reach: u64) -> Option<()> {
        if mappings.areas().len() >= MAX_MAP_COUNT - 2 {
            return None;
        }
        let reach = reach - TRAMPOLINES;
        let site = site & !(PAGE_SIZE - 1);
        let below = site.saturating_sub(reach)..site.saturating_sub(DISTANCE);
        let start = mappings.find_room_below(TRAMPOLINES, below).or_else(|| {
            mappings
                .find_room_upwards(TRAMPOLINES, site.saturating_add(DISTANCE)..site.saturating_add(reach))
                .ok()
        })?;
        let range = start..start + TRAMPOLINES;
        let access = Access::READ | Access::EXECUTE;
        let area = Area {
            access,
            may: access,
            flags: AreaFlags::DONT_EXPAND | AreaFlags::DONT_DUMP,
            backing: Backing::Anonymous,
            name: Some("[trampolines]"),
            given_name: None,
        };
        let replaced = mappings.insert(range.clone(), area);
        debug_assert!(replaced.is_empty(), "there was room");
        mappings.patches.trampolines.push((range, 0));
        Some(())
    }

    fn apply_patch(&self, mappings: &Mappings, patch: &Patch, trampoline: u64) -> Result<(), FaultOutcome> {
        let mut pages = self.pages.write();
        self.rewrite(mappings, &mut pages, trampoline, &patch.trampoline)?;
        for CodeChange { address, bytes } in &patch.changes {
            self.rewrite(mappings, &mut pages, *address, bytes)?;
        }
        Ok(())
    }

    /// Replaces code: the page is copied, the copy changed and put in place, so that no thread executes half of a change. A change in two pages
    /// is refused.
    fn rewrite(
        &self,
        mappings: &Mappings,
        pages: &mut Pages,
        address: u64,
        bytes: &[u8],
    ) -> Result<(), FaultOutcome> {
        let page = address & !(PAGE_SIZE - 1);
        if address + bytes.len() as u64 > page + PAGE_SIZE {
            return Err(FaultOutcome::BusAdrErr);
        }
        let placement = self.code_page(mappings, pages, page)?;
        let (range, frames) = self.copy_pages(&(page..page + PAGE_SIZE), &placement)?;
        let written = self
            .frames
            .view(frames.start + (address - page), bytes.len())
            .is_ok_and(|view| memory::write(bytes, &view) == bytes.len());
        if !written {
            self.frames.release(frames);
            return Err(FaultOutcome::BusAdrErr);
        }
        let delta = frames.start.wrapping_sub(page);
        let file = std::sync::Arc::clone(&self.frames);
        let changed = Placement { file, delta, write: WriteRule::InPlace, private: true, ..placement };
        self.place(pages, range, changed, Populate::Now)
    }

    /// As [`restore_code`](Self::restore_code), for callers without locks.
    pub(super) fn restore_code_unlocked(&self, range: &Range<u64>) {
        if self.mappings.read().patches.touches(range) {
            self.restore_code(&mut self.mappings.write(), range);
        }
    }

    /// Restores the code in `range`, whose mapping is about to change; all code, if trampolines are in it.
    pub(super) fn restore_code(&self, mappings: &mut Mappings, range: &Range<u64>) {
        if mappings.patches.is_empty() {
            return;
        }
        let everything = mappings.patches.has_trampolines_in(range);
        let restored: Vec<(u64, Vec<u8>)> = if everything {
            mappings.patches.trampolines.clear();
            std::mem::take(&mut mappings.patches.originals).into_iter().collect()
        } else {
            let inside: Vec<u64> =
                mappings.patches.originals.range(range.clone()).map(|(&at, _)| at).collect();
            inside.into_iter().filter_map(|at| mappings.patches.originals.remove_entry(&at)).collect()
        };
        let mut pages = self.pages.write();
        for (address, bytes) in restored {
            // A page that is gone has its original content when it comes back.
            if pages.get(address).is_some_and(|(_, placement)| placement.private) {
                let _out_of_memory = self.rewrite(mappings, &mut pages, address, &bytes);
            }
        }
    }
}

/// The pages that `range` touches.
fn pages_of(range: &Range<u64>) -> impl Iterator<Item = u64> + use<> {
    (range.start & !(PAGE_SIZE - 1)..range.end).step_by(PAGE_SIZE as usize)
}

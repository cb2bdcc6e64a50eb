//! `fork`: a second address space with the same contents, sharing pages until one of the two writes to them.

use std::sync::Arc;

use bartizan_abi::Errno;
use bartizan_platform::{Access, Context};

use super::area::{Area, AreaFlags};
use super::manager::new_space;
use super::mappings::Mappings;
use super::pages::{Pages, Placement, WriteRule};
use super::protect::ProtectBatch;
use super::{MappingSet, MemoryManager};

impl MemoryManager {
    /// A copy of this address space. Private pages are shared until either side writes to them; nothing is
    /// installed in the child, so that it costs no platform operation but the protection of the parent's pages.
    ///
    /// `current` is the caller's own context.
    ///
    /// # Errors
    /// `EAGAIN` when the host's limit of processes is reached; `ENOMEM`.
    pub fn fork(&self, current: Option<&mut dyn Context>) -> Result<Arc<Self>, Errno> {
        let space = new_space(self.platform())?;
        let child = {
            let mappings = self.mappings.write();
            let mut pages = self.pages.write();
            let child_pages = self.share_pages(&mappings, &mut pages)?;
            let child_mappings = mappings.fork(inherited);
            let child = Self::with_content(self.platform(), &self.memory, space, child_mappings, child_pages);
            // Before the locks are let go: whoever takes pages away from the parent then finds the child too.
            join_sources(&mappings, &child);
            child
        };
        child.inherit(self);
        // Until then other threads of the parent may still write to what the child shares.
        self.settle(current).map_err(|error| self.record(error))?;
        Ok(child)
    }

    /// The pages that the child gets. What is private in the parent becomes read-only there.
    fn share_pages(&self, mappings: &Mappings, pages: &mut Pages) -> Result<Pages, Errno> {
        let mut shared = Pages::default();
        let mut protected = ProtectBatch::new(self);
        for (bounds, area) in mappings.areas().iter() {
            if area.flags.intersects(AreaFlags::DONT_FORK | AreaFlags::WIPE_ON_FORK) {
                continue;
            }
            let writable = pages
                .placements()
                .clipped(bounds.clone())
                .any(|(_, placement)| placement.write == WriteRule::InPlace);
            if writable && !area.is_shared() {
                pages.update(bounds.clone(), |range, placement| {
                    if placement.write == WriteRule::InPlace {
                        placement.write = WriteRule::CopyFirst;
                        if placement.installed.contains(Access::WRITE) {
                            let access = placement.usable();
                            protected.add(range, placement.installed, access);
                            placement.installed = access;
                        }
                    }
                });
            }
            for (range, placement) in pages.placements().clipped(bounds) {
                give(&mut shared, range, placement);
            }
        }
        protected.finish()?;
        Ok(shared)
    }
}

/// Puts pages of the parent into the child's, with a reference of its own.
fn give(shared: &mut Pages, range: std::ops::Range<u64>, placement: &Placement) {
    placement.file.retain(placement.file_range(&range));
    let replaced = shared.insert(range, Placement { installed: Access::empty(), ..placement.clone() });
    debug_assert!(replaced.is_empty(), "areas do not overlap");
}

/// The child's area for one of the parent's, if it gets one. Locks are not inherited.
fn inherited(area: &Area) -> Option<Area> {
    if area.flags.contains(AreaFlags::DONT_FORK) {
        return None;
    }
    let flags = area.flags.difference(AreaFlags::LOCKED | AreaFlags::LOCK_ON_FAULT);
    Some(Area { flags, ..area.clone() })
}

/// Notes with each file that the child maps it.
fn join_sources(mappings: &Mappings, child: &Arc<MemoryManager>) {
    let mut last: Option<&MappingSet> = None;
    for (_, area) in mappings.areas().iter() {
        let Some(mapping) = area.source() else { continue };
        let set = mapping.source.mappings();
        if !last.is_some_and(|last| std::ptr::eq(last, set)) {
            set.join(child.weak());
            last = Some(set);
        }
    }
}

//! `mremap`.

use std::ops::Range;
use std::sync::Arc;

use bartizan_abi::Errno;
use bartizan_platform::memory::PAGE_SIZE;

use super::area::{Area, AreaFlags, Backing};
use super::interval_map::Removed;
use super::limits::LockPrivilege;
use super::manager::{is_aligned, whole_pages};
use super::mappings::{MAX_MAP_COUNT, MMAP_MIN_ADDR, Mappings};
use super::pages::{Pages, Placement};
use super::{MapBacking, MapPlacement, MapPopulate, MapRequest, MemoryManager, UserAddr};

/// Where `mremap` may put the area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemapPlacement {
    /// Only where it is.
    InPlace,
    /// Elsewhere if it does not fit (`MREMAP_MAYMOVE`).
    MayMove,
    /// There, in place of what is there (`MREMAP_FIXED`).
    Fixed(UserAddr),
    /// Elsewhere in any case, the old place staying mapped without pages (`MREMAP_DONTUNMAP`); with an address, there.
    KeepOld(Option<UserAddr>),
}

impl RemapPlacement {
    fn target(self) -> Option<UserAddr> {
        match self {
            Self::Fixed(target) => Some(target),
            Self::KeepOld(target) => target,
            Self::InPlace | Self::MayMove => None,
        }
    }

    fn keeps_old(self) -> bool {
        matches!(self, Self::KeepOld(_))
    }
}

impl MemoryManager {
    /// Changes the size and perhaps the place of a mapping, and gives its address.
    ///
    /// # Errors
    /// As `mremap(2)`: `EINVAL`, `EFAULT`, `ENOMEM`, `EAGAIN`.
    pub fn remap(
        &self,
        address: UserAddr,
        old_length: u64,
        new_length: u64,
        placement: RemapPlacement,
        privilege: LockPrivilege,
    ) -> Result<UserAddr, Errno> {
        if !is_aligned(address.0) {
            return Err(Errno::EINVAL);
        }
        let (Some(old_length), Some(new_length)) = (whole_pages(old_length), whole_pages(new_length)) else {
            return Err(Errno::EINVAL);
        };
        let mut mappings = self.mappings.write();
        let bounds = mappings.bounds().clone();
        if new_length == 0 || new_length > bounds.end || address.0 > bounds.end {
            return Err(Errno::EINVAL);
        }
        if placement.keeps_old() && old_length != new_length {
            return Err(Errno::EINVAL);
        }
        let mut removed = Removed::new();
        let old = address.0..address.0.checked_add(old_length).ok_or(Errno::EINVAL)?;
        self.restore_code(&mut mappings, &old);
        let remap = Remap { old, new_length, placement, privilege };
        let result = self.remap_locked(&mut mappings, &remap, &mut removed);
        let locked = mappings.future_flags.contains(AreaFlags::LOCKED);
        drop(mappings);
        drop(removed);
        let start = result?;
        if locked && new_length > old_length {
            let _best_effort = self.populate(start + old_length..start + new_length, super::Access::READ);
        }
        Ok(UserAddr(start))
    }

    /// Shows other pages of the same file in part of a shared mapping.
    ///
    /// # Errors
    /// As `remap_file_pages(2)`: `EINVAL`, and those of [`map`](Self::map).
    pub fn remap_file_pages(&self, address: UserAddr, length: u64, page_offset: u64) -> Result<(), Errno> {
        let end = address.0.checked_add(length).filter(|&end| end > address.0).ok_or(Errno::EINVAL)?;
        let offset = page_offset.checked_mul(PAGE_SIZE).ok_or(Errno::EINVAL)?;
        offset.checked_add(length).ok_or(Errno::EINVAL)?;
        let (source, file, area) = {
            let mappings = self.mappings.read();
            let (whole, area) = mappings.areas().get(address.0).ok_or(Errno::EINVAL)?;
            let mapping =
                area.source().filter(|_| area.is_shared() && end <= whole.end).ok_or(Errno::EINVAL)?;
            (Arc::clone(&mapping.source), mapping.file.clone(), area.clone())
        };
        self.map(&MapRequest {
            may: area.may,
            flags: area.flags,
            backing: MapBacking::Source { source, file, offset },
            populate: MapPopulate::Now,
            ..MapRequest::anonymous(MapPlacement::Fixed(address.0), length, area.access)
        })
        .map(|_| ())
    }

    fn remap_locked(
        &self,
        mappings: &mut Mappings,
        remap: &Remap,
        removed: &mut Removed<Area>,
    ) -> Result<u64, Errno> {
        let old = &remap.old;
        if let Some(target) = remap.placement.target() {
            remap.check_target(mappings, target.0)?;
        }
        let (whole, area) = {
            let (whole, area) = mappings.areas().get(old.start).ok_or(Errno::EFAULT)?;
            (whole, area.clone())
        };
        let old_length = old.end - old.start;
        if old_length == 0 && (!area.is_shared() || remap.placement == RemapPlacement::InPlace) {
            return Err(if area.is_shared() { Errno::ENOMEM } else { Errno::EINVAL });
        }
        if remap.new_length <= old_length
            && remap.placement.target().is_none()
            && !remap.placement.keeps_old()
        {
            if remap.new_length < old_length {
                if old.end > mappings.bounds().end {
                    return Err(Errno::EINVAL);
                }
                let tail = old.start + remap.new_length..old.end;
                removed.extend(self.take_away(mappings, tail));
            }
            return Ok(old.start);
        }
        if old.end > whole.end {
            return Err(Errno::EFAULT);
        }
        self.check_growth(mappings, remap, &area)?;
        if remap.placement.target().is_none() && !remap.placement.keeps_old() {
            let grown = old.end..old.start + remap.new_length;
            let room = old.end == whole.end
                && old_length > 0
                && grown.end <= mappings.bounds().end
                && mappings.is_free(grown.clone());
            if room {
                removed.extend(mappings.insert(grown, area));
                return Ok(old.start);
            }
            if remap.placement == RemapPlacement::InPlace {
                return Err(Errno::ENOMEM);
            }
        }
        self.move_area(mappings, remap, &area, removed)
    }

    fn check_growth(&self, mappings: &Mappings, remap: &Remap, area: &Area) -> Result<(), Errno> {
        let growth = remap.new_length.saturating_sub(remap.old.end - remap.old.start);
        if growth == 0 {
            return Ok(());
        }
        if area.flags.contains(AreaFlags::DONT_EXPAND) {
            return Err(Errno::EFAULT);
        }
        if let Some(mapping) = area.source() {
            mapping.offset(remap.old.start).checked_add(remap.new_length).ok_or(Errno::EINVAL)?;
        }
        let locked = area.flags.contains(AreaFlags::LOCKED) && remap.privilege == LockPrivilege::Limited;
        if locked && mappings.totals().locked.saturating_add(growth) > self.limits().locked {
            return Err(Errno::EAGAIN);
        }
        let memory = self.memory.limit();
        let impossible = super::mappings::is_data(area)
            && !area.flags.contains(AreaFlags::NO_RESERVE)
            && remap.new_length > memory;
        if impossible || !self.may_expand(mappings, area, growth, 0) { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// Moves the area with its pages to where `remap` says or to where there is room.
    fn move_area(
        &self,
        mappings: &mut Mappings,
        remap: &Remap,
        area: &Area,
        removed: &mut Removed<Area>,
    ) -> Result<u64, Errno> {
        if mappings.areas().len() >= MAX_MAP_COUNT - 3 {
            return Err(Errno::ENOMEM);
        }
        let old = remap.old.clone();
        let start = match remap.placement.target() {
            Some(target) => target.0,
            None => mappings.find_room(remap.new_length)?,
        };
        let new = start..start + remap.new_length;
        removed.extend(self.take_away(mappings, new.clone()));
        let moved = old.start..old.end.min(old.start + remap.new_length);
        if !old.is_empty() {
            // What `mremap` drops of a larger mapping goes first, so that all that is left moves.
            self.discard(&mut self.pages.write(), moved.end..old.end);
            self.move_pages(&mut self.pages.write(), moved, start)?;
        }
        let mut area = area.clone().moved(old.start, start);
        if remap.placement.keeps_old() {
            let unlocked = AreaFlags::LOCKED | AreaFlags::LOCK_ON_FAULT;
            mappings.update(old, |_, area| area.flags.remove(unlocked));
        } else if !old.is_empty() {
            removed.extend(mappings.remove(old));
        }
        if matches!(area.backing, Backing::Anonymous) {
            area.name = None;
        }
        removed.extend(mappings.insert(new, area));
        Ok(start)
    }

    /// Moves pages to another address, where nothing is in place.
    fn move_pages(&self, pages: &mut Pages, from: Range<u64>, to: u64) -> Result<(), Errno> {
        let moved = pages.remove(from.clone());
        let installed = moved.iter().any(|(_, placement)| !placement.installed.is_empty());
        for (range, placement) in moved {
            let start = range.start - from.start + to;
            let delta = placement.delta.wrapping_add(range.start).wrapping_sub(start);
            let placement = Placement { delta, installed: super::Access::empty(), ..placement };
            let replaced = pages.insert(start..start + (range.end - range.start), placement);
            debug_assert!(replaced.is_empty(), "the target was cleared");
        }
        if installed {
            self.reinstall(&from, super::Access::all(), super::Access::empty())?;
        }
        Ok(())
    }
}

/// What `mremap` was asked for.
#[derive(Debug)]
struct Remap {
    old: Range<u64>,
    new_length: u64,
    placement: RemapPlacement,
    privilege: LockPrivilege,
}

impl Remap {
    /// Whether the mapping can go to `target`.
    fn check_target(&self, mappings: &Mappings, target: u64) -> Result<(), Errno> {
        let bounds = mappings.bounds();
        if !is_aligned(target) || target > bounds.end || self.new_length > bounds.end - target {
            return Err(Errno::EINVAL);
        }
        let end = target + self.new_length;
        if target < self.old.end && self.old.start < end {
            return Err(Errno::EINVAL);
        }
        if target < MMAP_MIN_ADDR.max(bounds.start) {
            return Err(Errno::EPERM);
        }
        Ok(())
    }
}

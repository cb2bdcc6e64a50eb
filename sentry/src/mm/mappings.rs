//! The areas of an address space with their sizes, and where new ones go.

use std::ops::Range;

use bartizan_abi::Errno;
use bartizan_platform::Access;
use bartizan_platform::memory::PAGE_SIZE;

use super::area::{Area, AreaFlags};
use super::interval_map::{IntervalMap, Removed};
use super::patch::Patches;

/// The most areas that an address space may have (`vm.max_map_count`).
pub const MAX_MAP_COUNT: usize = 65530;

/// Nothing is mapped below this address (`vm.mmap_min_addr`).
pub const MMAP_MIN_ADDR: u64 = 0x1_0000;

/// Bytes that stay vacant below an area that grows down (`stack_guard_gap`).
pub const STACK_GUARD_GAP: u64 = 256 * PAGE_SIZE;

/// Sizes in bytes, as limits and `/proc/[pid]/statm` count them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// All areas (`total_vm`).
    pub all: u64,
    /// Private, writable, not a stack (`data_vm`).
    pub data: u64,
    /// Those that grow down (`stack_vm`).
    pub stack: u64,
    /// Executable and not writable (`exec_vm`).
    pub executable: u64,
    /// Locked (`locked_vm`).
    pub locked: u64,
}

impl Totals {
    fn counts(&mut self, area: &Area) -> impl Iterator<Item = &mut u64> {
        let stack = area.flags.contains(AreaFlags::GROWS_DOWN);
        let data = is_data(area);
        let executable =
            !stack && area.access.contains(Access::EXECUTE) && !area.access.contains(Access::WRITE);
        let locked = area.flags.contains(AreaFlags::LOCKED);
        [
            (true, &mut self.all),
            (data, &mut self.data),
            (stack, &mut self.stack),
            (executable, &mut self.executable),
            (locked, &mut self.locked),
        ]
        .into_iter()
        .filter_map(|(counted, total)| counted.then_some(total))
    }

    fn add(&mut self, area: &Area, bytes: u64) {
        self.counts(area).for_each(|total| *total += bytes);
    }

    fn subtract(&mut self, area: &Area, bytes: u64) {
        self.counts(area).for_each(|total| *total -= bytes);
    }
}

/// Whether `RLIMIT_DATA` counts the area.
pub(super) fn is_data(area: &Area) -> bool {
    area.access.contains(Access::WRITE) && !area.flags.intersects(AreaFlags::SHARED | AreaFlags::GROWS_DOWN)
}

/// Where the parts of a program are, for `brk` and `/proc` (`struct prctl_mm_map`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names are those of prctl(2), PR_SET_MM")]
pub struct Layout {
    pub start_code: u64,
    pub end_code: u64,
    pub start_data: u64,
    pub end_data: u64,
    pub start_brk: u64,
    pub brk: u64,
    pub start_stack: u64,
    pub arg_start: u64,
    pub arg_end: u64,
    pub env_start: u64,
    pub env_end: u64,
    /// Below which address `mmap` looks for room.
    pub mmap_base: u64,
}

/// The areas of an address space.
#[derive(Debug)]
pub(super) struct Mappings {
    areas: IntervalMap<Area>,
    totals: Totals,
    peak: u64,
    /// What new areas are besides what `mmap` asks for: `mlockall(MCL_FUTURE)`.
    pub future_flags: AreaFlags,
    /// Where the parts of the program are.
    pub layout: Layout,
    /// The addresses that may be mapped.
    bounds: Range<u64>,
    hint: SearchHint,
    /// Which of the code was changed.
    pub patches: Patches,
}

/// Between `from` and the top of the search no vacancy is larger than `largest`, so that a search for more can start at `from`.
#[derive(Debug, Clone, Copy)]
struct SearchHint {
    top: u64,
    from: u64,
    largest: u64,
}

impl SearchHint {
    const NONE: Self = Self { top: 0, from: 0, largest: u64::MAX };
}

impl Mappings {
    /// No areas yet, in the addresses `bounds`.
    pub fn new(bounds: Range<u64>) -> Self {
        let bounds = bounds.start.max(MMAP_MIN_ADDR)..bounds.end;
        // Below the top of the stack, with the room that Linux leaves for a stack of the usual size.
        let mmap_base = bounds.end.saturating_sub(256 << 20) & !(PAGE_SIZE - 1);
        Self {
            areas: IntervalMap::default(),
            totals: Totals::default(),
            peak: 0,
            future_flags: AreaFlags::empty(),
            layout: Layout { mmap_base, ..Layout::default() },
            bounds,
            hint: SearchHint::NONE,
            patches: Patches::default(),
        }
    }

    /// A copy for a forked address space, of the areas that `keep` keeps.
    pub fn fork(&self, keep: impl Fn(&Area) -> Option<Area>) -> Self {
        let mut copy = Self::new(self.bounds.clone());
        for (range, area) in self.areas.iter() {
            if let Some(area) = keep(area) {
                drop(copy.insert(range, area));
            }
        }
        copy.layout = self.layout;
        copy.patches = self.patches.clone();
        copy
    }

    /// The areas, by address.
    pub fn areas(&self) -> &IntervalMap<Area> {
        &self.areas
    }

    /// The addresses that may be mapped.
    pub fn bounds(&self) -> &Range<u64> {
        &self.bounds
    }

    /// The sizes.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The most bytes that were ever mapped.
    pub fn peak(&self) -> u64 {
        self.peak
    }

    /// Makes an area; gives back those that it replaces.
    pub fn insert(&mut self, range: Range<u64>, area: Area) -> Removed<Area> {
        self.totals.add(&area, range.end - range.start);
        let removed = self.areas.insert(range, area);
        self.account_removed(&removed);
        self.peak = self.peak.max(self.totals.all);
        removed
    }

    /// Removes what is in `range`.
    pub fn remove(&mut self, range: Range<u64>) -> Removed<Area> {
        let removed = self.areas.remove(range.clone());
        self.account_removed(&removed);
        let vacancy = self.areas.vacancy(range.start, 0..u64::MAX);
        if vacancy.end > self.hint.from {
            self.hint.largest = self.hint.largest.max(vacancy.end - vacancy.start);
        }
        removed
    }

    /// Changes the areas in `range`.
    pub fn update(&mut self, range: Range<u64>, mut change: impl FnMut(Range<u64>, &mut Area)) {
        let totals = &mut self.totals;
        self.areas.update(range, |range, area| {
            let bytes = range.end - range.start;
            totals.subtract(area, bytes);
            change(range, area);
            totals.add(area, bytes);
        });
    }

    /// Room for a new area of `length` below the base, else anywhere.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn find_room(&mut self, length: u64) -> Result<u64, Errno> {
        let base = self.layout.mmap_base.min(self.bounds.end);
        let skip = self.hint.top == base && length > self.hint.largest;
        let ceiling = if skip { self.hint.from } else { base };
        let found = self.areas.highest_vacancy(length, self.bounds.start..ceiling, guard_below);
        if let Some(end) = found {
            let largest = if skip { self.hint.largest.max(length - 1) } else { length - 1 };
            self.hint = SearchHint { top: base, from: end, largest };
            return Ok(end - length);
        }
        self.find_room_upwards(length, base..self.bounds.end)
    }

    /// The highest room in `bounds`.
    pub fn find_room_below(&self, length: u64, bounds: Range<u64>) -> Option<u64> {
        let bounds = bounds.start.max(self.bounds.start)..bounds.end.min(self.bounds.end);
        self.areas.highest_vacancy(length, bounds, guard_below).map(|end| end - length)
    }

    /// The lowest room in `bounds`.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn find_room_upwards(&self, length: u64, bounds: Range<u64>) -> Result<u64, Errno> {
        let bounds = bounds.start.max(self.bounds.start)..bounds.end.min(self.bounds.end);
        self.areas.lowest_vacancy(length, bounds, guard_below).ok_or(Errno::ENOMEM)
    }

    /// Whether nothing is in `range`, and no stack needs it to grow into.
    pub fn is_free(&self, range: Range<u64>) -> bool {
        self.areas.is_vacant(range.clone())
            && self
                .areas
                .first_from(range.end)
                .is_none_or(|(above, area)| above.start - guard_below(area).min(above.start) >= range.end)
    }

    fn account_removed(&mut self, removed: &Removed<Area>) {
        for (range, area) in removed {
            self.totals.subtract(area, range.end - range.start);
        }
    }
}

/// How many bytes must stay vacant below an area.
fn guard_below(area: &Area) -> u64 {
    if area.flags.contains(AreaFlags::GROWS_DOWN) { STACK_GUARD_GAP } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;
    use crate::mm::area::Backing;

    fn area() -> Area {
        Area {
            access: Access::READ,
            may: Access::all(),
            flags: AreaFlags::empty(),
            backing: Backing::Anonymous,
            name: None,
            given_name: None,
        }
    }

    proptest! {
        #[test]
        fn hint_never_changes_what_is_found(steps in proptest::collection::vec((any::<bool>(), 1..8_u64, 0..64_u64), 1..80)) {
            let mut mappings = Mappings::new(0..(MMAP_MIN_ADDR + 64 * PAGE_SIZE));
            mappings.layout.mmap_base = mappings.bounds.end;
            for (map, pages, at) in steps {
                let length = pages * PAGE_SIZE;
                if map {
                    let plain = mappings.areas.highest_vacancy(length, mappings.bounds.clone(), guard_below);
                    let found = mappings.find_room(length).ok();
                    prop_assert_eq!(found, plain.map(|end| end - length));
                    if let Some(start) = found {
                        mappings.insert(start..start + length, area());
                    }
                } else {
                    let start = MMAP_MIN_ADDR + at * PAGE_SIZE;
                    mappings.remove(start..(start + length).min(mappings.bounds.end));
                }
            }
        }
    }
}

//! Bringing pages in: what a guest's page fault and the sentry's own access to guest memory have in common.
//!
//! Pages come in pieces larger than a page: new memory in runs of [`ANONYMOUS_WINDOW`], pages of files in runs of
//! [`FILE_WINDOW`], copies in runs of [`COPY_WINDOW`]. The window doubles as long as faults go on in order.

use std::ops::Range;
use std::sync::Arc;

use bartizan_platform::memory::{OutOfMemory, PAGE_SIZE};
use bartizan_platform::{Access, Fault, Populate};

use super::area::{Area, AreaFlags, Backing, SourceMapping};
use super::interval_map::Removed;
use super::manager::Unmapping;
use super::mappings::{MMAP_MIN_ADDR, Mappings, STACK_GUARD_GAP};
use super::pages::{Pages, Placement, WindowLimits, WriteRule};
use super::{MemoryManager, PageError, PageRun};

/// New memory.
const ANONYMOUS_WINDOW: WindowLimits = WindowLimits { first: 64 << 10, most: 2 << 20 };
/// Pages of a file.
const FILE_WINDOW: WindowLimits = WindowLimits { first: 64 << 10, most: 2 << 20 };
/// Copies of pages that others use too.
const COPY_WINDOW: WindowLimits = WindowLimits { first: 16 << 10, most: 256 << 10 };
/// Pages that are there and need only be mapped (again), aligned to this size.
const INSTALL_WINDOW: u64 = 2 << 20;
/// Up to this size, mapping existing pages fills the page tables at once.
const POPULATE_MOST: u64 = 128 << 10;

/// Why an access cannot be made: which signal it becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultOutcome {
    /// `SIGSEGV`, `SEGV_MAPERR`: nothing is mapped there.
    SegvMapErr,
    /// `SIGSEGV`, `SEGV_ACCERR`: what is mapped there does not allow it.
    SegvAccErr,
    /// `SIGBUS`, `BUS_ADRERR`: the file has no such page.
    BusAdrErr,
    /// No memory is left in the sandbox.
    OutOfMemory,
}

impl From<OutOfMemory> for FaultOutcome {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl From<PageError> for FaultOutcome {
    fn from(error: PageError) -> Self {
        match error {
            PageError::BeyondEnd | PageError::Io => Self::BusAdrErr,
            PageError::OutOfMemory => Self::OutOfMemory,
        }
    }
}

/// An access that a page is needed for.
#[derive(Debug, Clone)]
pub(super) struct Need<'a> {
    pub address: u64,
    /// How many bytes from `address` on will be wanted soon.
    pub length: u64,
    pub write: bool,
    pub area: &'a Area,
    /// The addresses of the area.
    pub bounds: Range<u64>,
}

impl MemoryManager {
    /// Makes the access possible that guest code could not make, so that it can be repeated.
    ///
    /// # Errors
    /// The signal that the guest gets instead.
    pub fn handle_fault(&self, fault: Fault) -> Result<(), FaultOutcome> {
        if fault.bus_error {
            return Err(FaultOutcome::BusAdrErr);
        }
        self.bring_in(fault.address, PAGE_SIZE, fault.access)
    }

    /// Makes `access` to the page of `address` possible, if the area there allows it; `length` bytes will be wanted soon.
    pub(super) fn bring_in(&self, address: u64, length: u64, access: Access) -> Result<(), FaultOutcome> {
        let address = address & !(PAGE_SIZE - 1);
        // The processor reads what it may write or execute.
        let access = access | Access::READ;
        loop {
            let mappings = self.mappings.read();
            let Some((bounds, area)) = mappings.areas().get(address) else {
                drop(mappings);
                self.grow_stack(address)?;
                continue;
            };
            if !allows(area, access) {
                return Err(FaultOutcome::SegvAccErr);
            }
            let need = Need { address, length, write: access.contains(Access::WRITE), area, bounds };
            return self.provide(&mut self.pages.write(), &need);
        }
    }

    /// Brings in the one page `page` of an area, to be read.
    pub(super) fn bring_in_locked(
        &self,
        mappings: &Mappings,
        pages: &mut Pages,
        page: u64,
    ) -> Result<(), FaultOutcome> {
        let (_, area) = mappings.areas().get(page).ok_or(FaultOutcome::SegvMapErr)?;
        let bounds = page..page + PAGE_SIZE;
        self.provide(pages, &Need { address: page, length: PAGE_SIZE, write: false, area, bounds })
    }

    pub(super) fn provide(&self, pages: &mut Pages, need: &Need<'_>) -> Result<(), FaultOutcome> {
        let Some((run, placement)) = pages.get(need.address) else {
            return match &need.area.backing {
                Backing::Anonymous => self.provide_zeros(pages, need),
                Backing::Source(mapping) => self.provide_from_source(pages, need, mapping),
            };
        };
        match placement.write {
            WriteRule::CopyFirst if need.write => self.provide_copy(pages, need),
            WriteRule::AskSource if need.write => {
                let run = run.start.max(need.bounds.start)..run.end.min(need.bounds.end);
                let Backing::Source(mapping) = &need.area.backing else {
                    return Err(FaultOutcome::BusAdrErr);
                };
                let window = pages.window(need.address, need.length, FILE_WINDOW, &run);
                self.place_source_run(pages, need, mapping, window)
            }
            _ => self.map_again(pages, need),
        }
    }

    /// New memory for a hole in private anonymous memory.
    fn provide_zeros(&self, pages: &mut Pages, need: &Need<'_>) -> Result<(), FaultOutcome> {
        let hole = pages.placements().vacancy(need.address, need.bounds.clone());
        let mut range = pages.window(need.address, need.length, ANONYMOUS_WINDOW, &hole);
        let frames = match self.memory.allocate(range.end - range.start) {
            Ok(frames) => frames,
            Err(_) => {
                range.start = need.address;
                let frames = self.memory.allocate_at_most(range.end - range.start)?;
                range.end = range.start + (frames.end - frames.start);
                frames
            }
        };
        let placement = Placement {
            file: Arc::clone(&self.frames),
            delta: frames.start.wrapping_sub(range.start),
            permission: need.area.permission(),
            write: WriteRule::InPlace,
            private: true,
            installed: Access::empty(),
        };
        self.place(pages, range, placement, Populate::Now)
    }

    /// Pages of a source for a hole.
    fn provide_from_source(
        &self,
        pages: &mut Pages,
        need: &Need<'_>,
        mapping: &SourceMapping,
    ) -> Result<(), FaultOutcome> {
        let hole = pages.placements().vacancy(need.address, need.bounds.clone());
        let copies = need.write && !need.area.is_shared();
        let limits = if copies { COPY_WINDOW } else { FILE_WINDOW };
        let window = pages.window(need.address, need.length, limits, &hole);
        self.place_source_run(pages, need, mapping, window)?;
        if copies { self.provide_copy(pages, need) } else { Ok(()) }
    }

    /// Asks the source for pages of `window`, at least that of the access, and puts them in place.
    fn place_source_run(
        &self,
        pages: &mut Pages,
        need: &Need<'_>,
        mapping: &SourceMapping,
        window: Range<u64>,
    ) -> Result<(), FaultOutcome> {
        let shared = need.area.is_shared();
        let asked = if shared && need.write { Access::READ | Access::WRITE } else { Access::READ };
        let (range, run) = ask_source(mapping, window, need.address, asked)?;
        if asked.contains(Access::WRITE) && !run.access.contains(Access::WRITE) {
            run.file.release(run.range);
            return Err(FaultOutcome::BusAdrErr);
        }
        let write = match (shared, run.access.contains(Access::WRITE)) {
            (false, _) => WriteRule::CopyFirst,
            (true, true) => WriteRule::InPlace,
            (true, false) => WriteRule::AskSource,
        };
        let placement = Placement {
            delta: run.range.start.wrapping_sub(range.start),
            file: run.file,
            permission: need.area.permission(),
            write,
            private: false,
            installed: Access::empty(),
        };
        if need.write && !shared {
            // Copied next; mapping the source's pages first would be for nothing.
            self.retire(pages.insert(range, placement), Unmapping::Needed);
            return Ok(());
        }
        self.place(pages, range, placement, Populate::Now)
    }

    /// Makes pages writable that others may use too: takes over those that nobody else uses, copies the others.
    fn provide_copy(&self, pages: &mut Pages, need: &Need<'_>) -> Result<(), FaultOutcome> {
        let Some((run, placement)) = pages.get(need.address) else { return Err(FaultOutcome::BusAdrErr) };
        let run = run.start.max(need.bounds.start)..run.end.min(need.bounds.end);
        let placement = placement.clone();
        if placement.private {
            let owned = self.owned_alone(&run, &placement, need.address);
            if !owned.is_empty() {
                return self.take_over(pages, owned, &placement);
            }
        }
        let window = pages.window(need.address, need.length, COPY_WINDOW, &run);
        let (range, frames) = match self.copy_pages(&window, &placement) {
            Ok(copied) => copied,
            // Part of the window cannot be read or memory is short: the one page decides.
            Err(_) => self.copy_pages(&(need.address..need.address + PAGE_SIZE), &placement)?,
        };
        let copy = Placement {
            file: Arc::clone(&self.frames),
            delta: frames.start.wrapping_sub(range.start),
            write: WriteRule::InPlace,
            private: true,
            ..placement
        };
        self.place(pages, range, copy, Populate::Now)
    }

    /// The pages around `address`, within `run`, that no other address space refers to; empty if that page is not one.
    fn owned_alone(&self, run: &Range<u64>, placement: &Placement, address: u64) -> Range<u64> {
        let block = install_block(address, run);
        let alone = |page: u64| self.memory.reference_count(placement.offset(page)) == 1;
        if !alone(address) {
            return address..address;
        }
        let mut range = address..address + PAGE_SIZE;
        while range.end < block.end && alone(range.end) {
            range.end += PAGE_SIZE;
        }
        while range.start > block.start && alone(range.start - PAGE_SIZE) {
            range.start -= PAGE_SIZE;
        }
        range
    }

    fn take_over(
        &self,
        pages: &mut Pages,
        range: Range<u64>,
        placement: &Placement,
    ) -> Result<(), FaultOutcome> {
        let owned = Placement { write: WriteRule::InPlace, ..placement.clone() };
        let installed = if owned.installed.is_empty() {
            self.install(&range, &owned, populate(&range))
        } else {
            self.reinstall(&range, owned.installed, owned.usable())
        };
        let installed = installed.map_err(|_| FaultOutcome::OutOfMemory)?;
        pages.update(range, |_, placement| {
            placement.write = WriteRule::InPlace;
            placement.installed = installed;
        });
        Ok(())
    }

    /// New frames with the contents of `range`, all of it.
    pub(super) fn copy_pages(
        &self,
        range: &Range<u64>,
        placement: &Placement,
    ) -> Result<(Range<u64>, Range<u64>), FaultOutcome> {
        let frames = self.memory.allocate(range.end - range.start)?;
        let from = placement.file_range(range);
        if super::access::copy_between(&*placement.file, from, &*self.frames, frames.start) {
            Ok((range.clone(), frames))
        } else {
            self.frames.release(frames);
            Err(FaultOutcome::BusAdrErr)
        }
    }

    /// Maps pages that are in place: after a fork, or because the platform lost them.
    fn map_again(&self, pages: &mut Pages, need: &Need<'_>) -> Result<(), FaultOutcome> {
        let Some((run, placement)) = pages.get(need.address) else { return Ok(()) };
        let block = install_block(need.address, &run);
        let installed =
            self.install(&block, placement, populate(&block)).map_err(|_| FaultOutcome::OutOfMemory)?;
        if installed != placement.installed {
            pages.update(block, |_, placement| placement.installed = installed);
        }
        Ok(())
    }

    /// Maps pages and notes them in place of whatever was there.
    pub(super) fn place(
        &self,
        pages: &mut Pages,
        range: Range<u64>,
        mut placement: Placement,
        populate: Populate,
    ) -> Result<(), FaultOutcome> {
        let installed = self.install(&range, &placement, populate);
        placement.installed = installed.unwrap_or_default();
        let unmapping = if placement.installed.is_empty() { Unmapping::Needed } else { Unmapping::Done };
        let replaced = pages.insert(range, placement);
        self.retire(replaced, unmapping);
        installed.map(|_| ()).map_err(|_| FaultOutcome::OutOfMemory)
    }

    /// Extends the stack above `address` down to it (`expand_stack`).
    fn grow_stack(&self, address: u64) -> Result<(), FaultOutcome> {
        const REFUSED: Result<(), FaultOutcome> = Err(FaultOutcome::SegvMapErr);
        let mut mappings = self.mappings.write();
        if mappings.areas().get(address).is_some() {
            return Ok(());
        }
        let Some((range, area)) = mappings.areas().first_from(address) else { return REFUSED };
        if !area.flags.contains(AreaFlags::GROWS_DOWN) || address < MMAP_MIN_ADDR.max(mappings.bounds().start)
        {
            return REFUSED;
        }
        let blocked = mappings.areas().last_below(address).is_some_and(|(below, neighbour)| {
            !neighbour.flags.contains(AreaFlags::GROWS_DOWN)
                && !neighbour.access.is_empty()
                && address - below.end < STACK_GUARD_GAP
        });
        let limits = self.limits();
        let growth = range.start - address;
        let locked = area.flags.contains(AreaFlags::LOCKED)
            && mappings.totals().locked.saturating_add(growth) > limits.locked;
        if blocked
            || locked
            || range.end - address > limits.stack
            || mappings.totals().all.saturating_add(growth) > limits.address_space
        {
            return REFUSED;
        }
        let area = area.clone();
        let replaced = mappings.insert(address..range.start, area);
        debug_assert!(replaced.is_empty(), "the stack grows into vacant addresses");
        Ok(())
    }

    /// Takes pages of a file away that it does not have any more; `range` is in bytes of the file.
    pub(super) fn invalidate(
        &self,
        set: &super::MappingSet,
        range: &Range<u64>,
        copies: super::PrivateCopies,
    ) {
        {
            let mappings = self.mappings.read();
            let mut pages = self.pages.write();
            for (bounds, area) in mappings.areas().iter() {
                let Some(mapping) = area.source() else { continue };
                if !std::ptr::eq(mapping.source.mappings(), set) {
                    continue;
                }
                let Some(part) = shown_part(mapping, &bounds, range) else { continue };
                let stale: Removed<()> = pages
                    .placements()
                    .clipped(part)
                    .filter(|(_, placement)| copies == super::PrivateCopies::Discard || !placement.private)
                    .map(|(range, _)| (range, ()))
                    .collect();
                for (range, ()) in stale {
                    self.discard(&mut pages, range);
                }
            }
        }
        self.settle_for_others();
    }
}

/// Whether the area allows the access, as the processor can enforce it.
pub(super) fn allows(area: &Area, access: Access) -> bool {
    area.permission().contains(access)
}

/// The addresses in `bounds` where the area shows `range` of its source.
fn shown_part(mapping: &SourceMapping, bounds: &Range<u64>, range: &Range<u64>) -> Option<Range<u64>> {
    let shown = mapping.offset(bounds.start);
    let length = bounds.end - bounds.start;
    let start = range.start.saturating_sub(shown);
    let end = range.end.saturating_sub(shown).min(length);
    (start < end).then(|| bounds.start + start..bounds.start + end)
}

/// The part of `run` that is mapped in one go around `address`.
fn install_block(address: u64, run: &Range<u64>) -> Range<u64> {
    let start = address & !(INSTALL_WINDOW - 1);
    start.max(run.start)..start.saturating_add(INSTALL_WINDOW).min(run.end)
}

/// Small pieces are worth filling page tables for at once.
fn populate(range: &Range<u64>) -> Populate {
    if range.end - range.start <= POPULATE_MOST { Populate::Now } else { Populate::Lazily }
}

/// Asks for the pages of `window`, and if those do not reach `address`, for those from `address` on.
fn ask_source(
    mapping: &SourceMapping,
    window: Range<u64>,
    address: u64,
    access: Access,
) -> Result<(Range<u64>, PageRun), PageError> {
    if window.start < address
        && let Ok(run) = ask_source_once(mapping, &window, access)
    {
        if run.0.end > address {
            return Ok(run);
        }
        run.1.file.release(run.1.range);
    }
    ask_source_once(mapping, &(address..window.end), access)
}

fn ask_source_once(
    mapping: &SourceMapping,
    window: &Range<u64>,
    access: Access,
) -> Result<(Range<u64>, PageRun), PageError> {
    let length = window.end - window.start;
    let mut run = mapping.source.pages(mapping.offset(window.start), length, access)?;
    let given = run.range.end.saturating_sub(run.range.start);
    if given == 0 {
        return Err(PageError::Io);
    }
    if given > length {
        let surplus = run.range.start + length..run.range.end;
        run.range.end = surplus.start;
        run.file.release(surplus);
    }
    Ok((window.start..window.start + given.min(length), run))
}

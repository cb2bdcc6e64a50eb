//! The address space of a process as a whole: its parts, its life, and what all operations on it share.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use bartizan_abi::Errno;
use bartizan_platform::memory::{MemoryFile, PAGE_SIZE};
use bartizan_platform::{
    Access, AddressSpace, BackingFile, Context, Mapping, Platform, PlatformError, Populate,
};

use super::area::{Area, AreaFlags};
use super::interval_map::Removed;
use super::limits::{MemoryLimits, SharedLimits};
use super::mappings::{Layout, Mappings};
use super::pages::{Pages, Placement, Released};
use crate::sync::{LockClass, Mutex, RwLock};
use crate::vfs::{File, WritesForbidden};

/// The address space of a process (`struct mm_struct`), shared by its threads.
///
/// - *Areas* (`mappings`) are what the guest asked for; *pages* are what is in place behind them. Each page in place
///   lies in an area and carries that area's permission.
/// - Operations are queued at the [`AddressSpace`]; they are in effect for the task that made them when it runs again.
///   When other tasks run in the same address space, [`settle`](Self::settle) makes them effective for those too.
/// - Pages that were mapped for guest code are given back only through [`AddressSpace::retire`].
#[derive(Debug)]
pub struct MemoryManager {
    this: Weak<Self>,
    platform: Arc<dyn Platform>,
    pub(super) memory: Arc<MemoryFile>,
    /// `memory` as mappings name it.
    pub(super) frames: Arc<dyn BackingFile>,
    space: Arc<dyn AddressSpace>,
    /// What the guest asked for. Taken before `pages`.
    pub(super) mappings: RwLock<Mappings>,
    /// What is in place.
    pub(super) pages: RwLock<Pages>,
    limits: SharedLimits,
    /// How many tasks run in it.
    users: AtomicUsize,
    /// How often mappings were narrowed or replaced that guest code may use.
    narrowed: AtomicU64,
    /// Up to which of those guest code cannot use the old ones any more.
    settled: AtomicU64,
    program: Mutex<Program>,
    /// Why the platform could not do what it was told; the sandbox cannot go on.
    failure: OnceLock<PlatformError>,
}

/// What `/proc` tells of the program that runs.
#[derive(Debug, Default, Clone)]
struct Program {
    executable: Option<Arc<File>>,
    /// Nobody may write that while somebody runs it.
    forbidden: Option<Arc<WritesForbidden>>,
    auxiliary_vector: Arc<[u8]>,
}

impl MemoryManager {
    /// An empty address space, with one user.
    ///
    /// # Errors
    /// `EAGAIN` when the host's limit of processes is reached, `ENOMEM` when something else of the host is short.
    pub fn new(platform: &Arc<dyn Platform>, memory: &Arc<MemoryFile>) -> Result<Arc<Self>, Errno> {
        let space = new_space(platform)?;
        let mappings = Mappings::new(platform.user_addresses());
        Ok(Self::with_content(platform, memory, space, mappings, Pages::default()))
    }

    /// An address space with `mappings` and `pages`, none of which is installed.
    pub(super) fn with_content(
        platform: &Arc<dyn Platform>,
        memory: &Arc<MemoryFile>,
        space: Arc<dyn AddressSpace>,
        mappings: Mappings,
        pages: Pages,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            platform: Arc::clone(platform),
            memory: Arc::clone(memory),
            frames: Arc::clone(memory) as Arc<dyn BackingFile>,
            space,
            mappings: RwLock::new(LockClass::Mappings, mappings),
            pages: RwLock::new(LockClass::Pages, pages),
            limits: SharedLimits::new(MemoryLimits::default()),
            users: AtomicUsize::new(1),
            narrowed: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            program: Mutex::new(LockClass::Table, Program::default()),
            failure: OnceLock::new(),
        })
    }

    /// How guest code is run.
    pub fn platform(&self) -> &Arc<dyn Platform> {
        &self.platform
    }

    /// What [`Context::switch`] runs guest code in.
    pub fn space(&self) -> &Arc<dyn AddressSpace> {
        &self.space
    }

    pub(super) fn weak(&self) -> &Weak<Self> {
        &self.this
    }

    /// The limits of the process that it belongs to.
    pub fn limits(&self) -> MemoryLimits {
        self.limits.get()
    }

    /// Replaces the limits; called when the process changes them, and after fork and exec.
    pub fn set_limits(&self, limits: MemoryLimits) {
        self.limits.set(limits);
    }

    /// One more task runs in it (`CLONE_VM`).
    pub fn add_user(&self) {
        self.users.fetch_add(1, Ordering::Relaxed);
    }

    /// One task less runs in it (exec, exit).
    pub fn remove_user(&self) {
        let before =
            self.users.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |users| users.checked_sub(1));
        if before == Ok(1) {
            self.release_executable();
        }
    }

    /// How many tasks run in it (`mm_users`).
    pub fn users(&self) -> usize {
        self.users.load(Ordering::Relaxed)
    }

    /// Makes what this address space's system calls have queued effective for all tasks in it. To be called by each task
    /// without locks before it runs guest code again; costs one load when there is nothing to do.
    ///
    /// # Errors
    /// What the platform answers: the sandbox cannot go on.
    #[inline]
    pub fn settle(&self, current: Option<&mut dyn Context>) -> Result<(), PlatformError> {
        let wanted = self.narrowed.load(Ordering::Acquire);
        if self.settled.load(Ordering::Acquire) >= wanted || self.users() <= 1 {
            return Ok(());
        }
        self.settle_all(wanted, current)
    }

    /// As [`settle`](Self::settle), also when only one other task runs in it.
    pub(super) fn settle_for_others(&self) {
        if let Err(error) = self.settle_all(self.narrowed.load(Ordering::Acquire), None) {
            let _reported = self.record(error);
        }
    }

    fn settle_all(&self, wanted: u64, current: Option<&mut dyn Context>) -> Result<(), PlatformError> {
        self.space.flush(current)?;
        self.settled.fetch_max(wanted, Ordering::Release);
        Ok(())
    }

    /// Notes that guest code may still use what was just narrowed or replaced.
    pub(super) fn mark_unsettled(&self) {
        self.narrowed.fetch_add(1, Ordering::Release);
    }

    /// Why the platform could not do what it was told, if that happened: the sandbox cannot go on.
    pub fn failure(&self) -> Option<&PlatformError> {
        self.failure.get()
    }

    /// Notes a failure of the platform; the errno is for the operation that met it.
    pub(super) fn record(&self, error: PlatformError) -> Errno {
        let _first_counts = self.failure.set(error);
        Errno::ENOMEM
    }

    /// Where the parts of the program are.
    pub fn layout(&self) -> Layout {
        self.mappings.read().layout
    }

    /// Changes where the parts of the program are: the loader, `prctl(PR_SET_MM)`.
    pub fn update_layout(&self, change: impl FnOnce(&mut Layout)) {
        change(&mut self.mappings.write().layout);
    }

    /// The program that runs (`/proc/[pid]/exe`).
    pub fn executable(&self) -> Option<Arc<File>> {
        self.program.lock().executable.clone()
    }

    /// Replaces the program that runs.
    pub fn set_executable(&self, file: Option<Arc<File>>) {
        // The file has been opened to be executed, so nobody writes it.
        let forbidden = file.as_ref().and_then(|file| WritesForbidden::new(file.inode()).ok());
        let old = {
            let mut program = self.program.lock();
            let executable = std::mem::replace(&mut program.executable, file);
            (executable, std::mem::replace(&mut program.forbidden, forbidden))
        };
        drop(old);
    }

    /// Nobody runs the program here any more: it may be written.
    pub(super) fn release_executable(&self) {
        let forbidden = self.program.lock().forbidden.take();
        drop(forbidden);
    }

    /// The auxiliary vector as the program got it (`/proc/[pid]/auxv`).
    pub fn auxiliary_vector(&self) -> Arc<[u8]> {
        Arc::clone(&self.program.lock().auxiliary_vector)
    }

    /// Sets the auxiliary vector.
    pub fn set_auxiliary_vector(&self, bytes: &[u8]) {
        self.program.lock().auxiliary_vector = bytes.into();
    }

    /// For a forked address space: takes over what is not in the maps.
    pub(super) fn inherit(&self, parent: &Self) {
        let program = parent.program.lock().clone();
        *self.program.lock() = program;
        self.set_limits(parent.limits());
    }

    /// Whether `bytes` more of `area` are within the limits, `replaced` being removed first (`may_expand_vm`).
    pub(super) fn may_expand(&self, mappings: &Mappings, area: &Area, bytes: u64, replaced: u64) -> bool {
        let limits = self.limits();
        let totals = mappings.totals();
        let fits = |total: u64, limit: u64| total.checked_add(bytes).is_some_and(|total| total <= limit);
        fits(totals.all.saturating_sub(replaced), limits.address_space)
            && (!super::mappings::is_data(area) || fits(totals.data, limits.data))
            && (!area.flags.contains(AreaFlags::GROWS_DOWN) || fits(totals.stack, limits.stack))
    }

    /// Queues the mapping of `range` as `placement` says; the access that is installed then.
    pub(super) fn install(
        &self,
        range: &Range<u64>,
        placement: &Placement,
        populate: Populate,
    ) -> Result<Access, Errno> {
        let access = placement.usable();
        if access.is_empty() {
            return Ok(access);
        }
        let mapping = Mapping {
            range: range.clone(),
            file: Arc::clone(&placement.file),
            offset: placement.offset(range.start),
            access,
            populate,
        };
        self.space.map(mapping).map_err(|error| self.record(error))?;
        Ok(access)
    }

    /// Queues a change of what may be done with all of `range`, which is installed with `old`; the access that is installed then.
    pub(super) fn reinstall(&self, range: &Range<u64>, old: Access, new: Access) -> Result<Access, Errno> {
        if old == new {
            return Ok(old);
        }
        let queued = if new.is_empty() {
            self.space.unmap(range.clone())
        } else {
            self.space.protect(range.clone(), new)
        };
        queued.map_err(|error| self.record(error))?;
        if !new.contains(old) {
            self.mark_unsettled();
        }
        Ok(new)
    }

    /// Takes the pages of `range` out, and gives them back once no guest code reaches them.
    pub(super) fn discard(&self, pages: &mut Pages, range: Range<u64>) {
        let removed = pages.remove(range);
        self.retire(removed, Unmapping::Needed);
    }

    /// Gives pages back once no guest code reaches them.
    pub(super) fn retire(&self, removed: Removed<Placement>, unmapping: Unmapping) {
        let mut installed = removed.iter().filter(|(_, placement)| !placement.installed.is_empty());
        if let Some((first, _)) = installed.next() {
            let last = installed.next_back().map_or(first.end, |(last, _)| last.end);
            self.mark_unsettled();
            if unmapping == Unmapping::Needed
                && let Err(error) = self.space.unmap(first.start..last)
            {
                self.record(error);
                // The guest may still reach these pages, so nobody else may ever get them.
                std::mem::forget(removed);
                return;
            }
        }
        if !removed.is_empty() {
            self.space.retire(Box::new(Released(removed)));
        }
    }
}

/// A new address space of the platform.
pub(super) fn new_space(platform: &Arc<dyn Platform>) -> Result<Arc<dyn AddressSpace>, Errno> {
    platform.new_address_space().map_err(|error| match error {
        PlatformError::Exhausted { .. } => Errno::EAGAIN,
        _ => Errno::ENOMEM,
    })
}

/// Whether removed pages are still mapped for guest code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unmapping {
    /// They may be; only addresses that belong to removed pages or to nothing lie between them.
    Needed,
    /// Other pages were already mapped in their place.
    Done,
}

impl Drop for MemoryManager {
    fn drop(&mut self) {
        let removed = self.pages.get_mut().remove(0..u64::MAX);
        if !removed.is_empty() {
            // Nobody runs guest code here any more, so nothing has to be unmapped first.
            self.space.retire(Box::new(Released(removed)));
        }
    }
}

/// `length` rounded up to whole pages; `None` when that is more than there are.
pub(super) fn whole_pages(length: u64) -> Option<u64> {
    length.checked_next_multiple_of(PAGE_SIZE)
}

/// Whether `address` is at the start of a page.
pub(super) fn is_aligned(address: u64) -> bool {
    address.is_multiple_of(PAGE_SIZE)
}

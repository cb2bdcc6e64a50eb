//! Address spaces: what is mapped, and the page tables of it.
//!
//! Operations change the tables at once. What a processor may still know is forgotten before it runs guest code again, by the *generation*: it grows with each change that
//! takes something away, and a processor that comes with an older one flushes its translations. [`settle`](Space::settle) waits for those that run.
//!
//! Pages are entered in the tables when they are mapped, up to a bound; the rest of a large mapping when it is first accessed, in large pieces.
//!
//! Locks, in this order: `inner`, then those of [`files`](super::files) and [`table_memory`](super::table_memory); `retired` and `runners` are leaves.

use std::any::Any;
use std::fmt;
use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::kick::Kick;
use super::pieces::{Piece, Pieces};
use super::tables::{LEAF_TABLE_SPAN, PageTables, Touched};
use super::{Shared, user_addresses};
use crate::memory::{self, PAGE_SIZE};
use crate::{Access, AddressSpace, Context, Mapping, PlatformError, Populate};

/// Up to this many bytes of a mapping get into the tables at once.
const FILLED_AT_ONCE: u64 = LEAF_TABLE_SPAN;

/// One guest `mm` on this platform.
#[derive(Debug)]
pub(super) struct KvmAddressSpace {
    space: Arc<Space>,
}

impl KvmAddressSpace {
    pub(super) fn new(shared: &Arc<Shared>) -> Result<Self, PlatformError> {
        let tables = PageTables::new(&shared.pages, &shared.kernel)?;
        let space = Space {
            id: shared.next_space.fetch_add(1, Ordering::Relaxed),
            root: tables.root(),
            shared: Arc::clone(shared),
            inner: Mutex::new(Inner { pieces: Pieces::default(), tables, refused: Vec::new() }),
            has_refused: AtomicBool::new(false),
            generation: AtomicU64::new(1),
            settled: AtomicU64::new(1),
            runners: Mutex::default(),
            retired: Mutex::default(),
            has_retired: AtomicBool::new(false),
        };
        Ok(Self { space: Arc::new(space) })
    }

    /// What is behind `space`.
    ///
    /// # Errors
    /// [`PlatformError::Host`] for an address space of another platform, which is a bug of the sentry.
    pub(super) fn of(space: &Arc<dyn AddressSpace>) -> Result<&Arc<Space>, PlatformError> {
        let any: &dyn Any = &**space;
        any.downcast_ref::<Self>().map(|found| &found.space).ok_or_else(|| PlatformError::Host {
            call: "switch to an address space of another platform",
            source: std::io::ErrorKind::InvalidInput.into(),
        })
    }
}

fn check(range: &Range<u64>) -> Result<(), PlatformError> {
    let user = user_addresses();
    let aligned = range.start.is_multiple_of(PAGE_SIZE) && range.end.is_multiple_of(PAGE_SIZE);
    if range.is_empty() || !aligned || range.start < user.start || range.end > user.end {
        return Err(PlatformError::InvalidRange(range.clone()));
    }
    Ok(())
}

impl AddressSpace for KvmAddressSpace {
    fn map(&self, mapping: Mapping) -> Result<(), PlatformError> {
        check(&mapping.range)?;
        let length = mapping.range.end - mapping.range.start;
        if !mapping.offset.is_multiple_of(PAGE_SIZE) || mapping.offset.checked_add(length).is_none() {
            return Err(PlatformError::InvalidRange(mapping.range));
        }
        self.space.map(mapping)
    }

    fn unmap(&self, range: Range<u64>) -> Result<(), PlatformError> {
        check(&range)?;
        self.space.unmap(&range);
        Ok(())
    }

    fn protect(&self, range: Range<u64>, access: Access) -> Result<(), PlatformError> {
        check(&range)?;
        self.space.protect(range, access);
        Ok(())
    }

    fn retire(&self, object: Box<dyn Any + Send>) {
        self.space.retired.lock().0.push(object);
        self.space.has_retired.store(true, Ordering::SeqCst);
    }

    fn flush(&self, _current: Option<&mut dyn Context>) -> Result<(), PlatformError> {
        self.space.settle();
        Ok(())
    }
}

#[derive(Default)]
struct Retired(Vec<Box<dyn Any + Send>>);

impl fmt::Debug for Retired {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} objects", self.0.len())
    }
}

/// A context that runs guest code in this address space, or did.
#[derive(Debug, Default)]
pub(super) struct Runner {
    /// The generation with which it runs now; 0 if it does not.
    inside: AtomicU64,
    pub(super) kick: Kick,
}

/// The part that contexts hold on to.
#[derive(Debug)]
pub(super) struct Space {
    /// Never used again, unlike `root`.
    id: u64,
    root: u64,
    shared: Arc<Shared>,
    inner: Mutex<Inner>,
    /// Whether there are refused operations; read without the lock at each switch.
    has_refused: AtomicBool,
    generation: AtomicU64,
    /// The last generation that all processors have.
    settled: AtomicU64,
    runners: Mutex<Vec<Arc<Runner>>>,
    retired: Mutex<Retired>,
    has_retired: AtomicBool,
}

#[derive(Debug)]
struct Inner {
    pieces: Pieces,
    tables: PageTables,
    /// Where something was to be done that cannot be: guest code must not run as if it had been.
    refused: Vec<Range<u64>>,
}

/// What became of a page fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    /// The access is allowed, and the tables say so now.
    Yes,
    /// It is not.
    No,
}

impl Space {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// What belongs into `CR3`.
    pub(super) fn root(&self) -> u64 {
        self.root
    }

    fn map(&self, mapping: Mapping) -> Result<(), PlatformError> {
        let file = self.shared.files.find(&mapping.file);
        let range = mapping.range;
        let piece = Piece { end: range.end, file, offset: mapping.offset, access: mapping.access };
        let mut inner = self.inner.lock();
        let old = inner.pieces.remove(&range);
        let mut touched = Touched::new();
        let all = range.end - range.start <= FILLED_AT_ONCE || mapping.populate == Populate::Now;
        let result = if all {
            self.fill(&mut inner.tables, &range, range.start, &piece, &mut touched)
        } else {
            inner.tables.clear(range.clone(), self.may_cut(), &mut touched);
            Ok(())
        };
        match result {
            Ok(()) => {
                inner.pieces.insert(range.start, piece);
                inner.allow(&range, &self.has_refused);
            }
            Err(_) => inner.tables.clear(range.clone(), self.may_cut(), &mut touched),
        }
        self.forget(&touched, &inner);
        drop(inner);
        drop(old);
        result
    }

    /// Puts the pages `range` of a piece that begins at `start` into the tables.
    fn fill(
        &self,
        tables: &mut PageTables,
        range: &Range<u64>,
        start: u64,
        piece: &Piece,
        touched: &mut Touched,
    ) -> Result<(), PlatformError> {
        let mut address = range.start;
        while address < range.end {
            let (physical, length) =
                self.shared.files.physical(&piece.file, piece.offset + (address - start))?;
            let end = range.end.min(address + length);
            tables.set(address..end, physical, piece.access, touched)?;
            address = end;
        }
        Ok(())
    }

    fn unmap(&self, range: &Range<u64>) {
        let mut inner = self.inner.lock();
        let old = inner.pieces.remove(range);
        let mut touched = Touched::new();
        inner.tables.clear(range.clone(), self.may_cut(), &mut touched);
        inner.allow(range, &self.has_refused);
        self.forget(&touched, &inner);
        drop(inner);
        drop(old);
    }

    fn protect(&self, range: Range<u64>, access: Access) {
        let mut inner = self.inner.lock();
        if !inner.pieces.protect(&range, access) {
            inner.refused.push(range);
            self.has_refused.store(true, Ordering::SeqCst);
            return;
        }
        let mut touched = Touched::new();
        inner.tables.protect(range, access, &mut touched);
        self.forget(&touched, &inner);
    }

    /// Whether tables may be cut off while processors use the address space.
    fn may_cut(&self) -> bool {
        self.shared.machine.quirks().follows_tables
    }

    /// Sees to it that no processor goes on with what was changed; called under the lock.
    fn forget(&self, touched: &Touched, _inner: &Inner) {
        if touched.is_empty() {
            return;
        }
        if self.shared.machine.quirks().follows_tables {
            self.generation.fetch_add(1, Ordering::SeqCst);
        } else {
            self.shared.files.revoke(touched);
        }
    }

    /// Waits until every processor has all that was changed, and drops what waits for that.
    pub(super) fn settle(&self) {
        // Taken first: what is retired from here on may belong to changes that nobody has seen yet.
        let retired = if self.has_retired.swap(false, Ordering::SeqCst) {
            mem::take(&mut self.retired.lock().0)
        } else {
            Vec::new()
        };
        let cut_off = if self.may_cut() { self.inner.lock().tables.take_cut_off() } else { Vec::new() };
        let generation = self.generation.load(Ordering::SeqCst);
        if self.settled.load(Ordering::SeqCst) < generation {
            let runners = self.runners.lock().clone();
            for runner in runners {
                runner.wait_for(generation);
            }
            self.settled.fetch_max(generation, Ordering::SeqCst);
        }
        if !cut_off.is_empty() {
            self.shared.pages.give_back(cut_off);
        }
        drop(retired);
    }

    /// Called before guest code may run: what was queued is in effect then.
    ///
    /// # Errors
    /// If something that was to be done could not be.
    pub(super) fn prepare(&self) -> Result<(), PlatformError> {
        if self.has_refused.load(Ordering::SeqCst) {
            return Err(PlatformError::Host {
                call: "protection of pages that are not mapped",
                source: std::io::Error::from_raw_os_error(libc::ENOMEM),
            });
        }
        if self.has_retired.load(Ordering::SeqCst) {
            self.settle();
        }
        Ok(())
    }

    /// Adds a context that will run here.
    pub(super) fn add_runner(&self, runner: &Arc<Runner>) {
        self.runners.lock().push(Arc::clone(runner));
    }

    /// Removes a context, which does not run.
    pub(super) fn remove_runner(&self, runner: &Arc<Runner>) {
        self.runners.lock().retain(|other| !Arc::ptr_eq(other, runner));
    }

    /// Tells that guest code runs from now on; returns the generation that the processor has to have.
    pub(super) fn enter(&self, runner: &Runner) -> u64 {
        loop {
            let generation = self.generation.load(Ordering::SeqCst);
            runner.inside.store(generation, Ordering::SeqCst);
            if self.generation.load(Ordering::SeqCst) == generation {
                return generation;
            }
        }
    }

    /// Sees whether an access that faulted is allowed; if so, makes the tables say so.
    pub(super) fn fault(&self, address: u64, access: Access) -> Result<Filled, PlatformError> {
        let mut inner = self.inner.lock();
        let Some((range, piece)) = inner.pieces.find(address) else { return Ok(Filled::No) };
        // Page tables cannot forbid reading alone.
        if !piece.access.contains(access.difference(Access::READ)) {
            return Ok(Filled::No);
        }
        let piece = piece.clone();
        let around = address - address % LEAF_TABLE_SPAN;
        let part = range.start.max(around)..range.end.min(around + LEAF_TABLE_SPAN);
        let mut touched = Touched::new();
        let result = self.fill(&mut inner.tables, &part, range.start, &piece, &mut touched);
        self.forget(&touched, &inner);
        result.map(|()| Filled::Yes)
    }

    /// Where the page at `physical` is mapped, if it is.
    pub(super) fn address_of(&self, physical: u64) -> Vec<u64> {
        let inner = self.inner.lock();
        let mut found = Vec::new();
        for (range, piece) in inner.pieces.iter() {
            if let Some(offset) = piece.file.offset_of(physical)
                && let Some(inside) = offset.checked_sub(piece.offset)
                && inside < range.end - range.start
            {
                found.push(range.start + inside);
            }
        }
        found
    }

    /// Reads guest memory as the guest could; returns how many bytes there were.
    pub(super) fn read(&self, address: u64, into: &mut [u8]) -> usize {
        let mut done = 0;
        while done < into.len() {
            let Some(at) = address.checked_add(done as u64) else { break };
            let found = self.inner.lock().pieces.find(at).map(|(range, piece)| {
                (Arc::clone(&piece.file), piece.offset + (at - range.start), (range.end - at) as usize)
            });
            let Some((file, offset, length)) = found else { break };
            let length = length.min(into.len() - done);
            let Ok(view) = file.file().view(offset, length) else { break };
            let read = memory::read(&view, &mut into[done..done + length]);
            done += read;
            if read == 0 {
                break;
            }
        }
        done
    }
}

impl Inner {
    /// Forgets refused operations that `range` makes void.
    fn allow(&mut self, range: &Range<u64>, has_refused: &AtomicBool) {
        if self.refused.is_empty() {
            return;
        }
        self.refused.retain(|refused| !(range.start <= refused.start && refused.end <= range.end));
        has_refused.store(!self.refused.is_empty(), Ordering::SeqCst);
    }
}

impl Runner {
    /// Tells that guest code does not run any more.
    pub(super) fn leave(&self) {
        self.inside.store(0, Ordering::SeqCst);
    }

    /// Waits until it does not run with an older generation.
    fn wait_for(&self, generation: u64) {
        const SPINS: u32 = 200;
        const PAUSE: Duration = Duration::from_micros(20);
        let mut round = 0;
        while (1..generation).contains(&self.inside.load(Ordering::SeqCst)) {
            if round % SPINS == 0 {
                self.kick.kick();
            }
            round += 1;
            if round < SPINS { std::hint::spin_loop() } else { std::thread::sleep(PAUSE) }
        }
    }
}

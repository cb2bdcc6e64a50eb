//! A platform for tests of memory management: a page table without a processor.
//!
//! Operations stay queued until a test's "guest" accesses memory or somebody flushes; what was given to `retire` is
//! dropped then. After that every mapped frame must still have an owner.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bartizan_platform::memory::{self, MemoryFile, PAGE_SIZE};
use bartizan_platform::{
    Access, AddressSpace, BackingFile, Capabilities, Context, Fault, Mapping, Platform, PlatformError,
};

use super::{FaultOutcome, MemoryManager};
use crate::sync::{LockClass, Mutex};

/// Where the tests' guests live.
pub const ADDRESSES: Range<u64> = 0x1_0000..0x7fff_ffff_f000;

/// A platform that cannot run anything.
#[derive(Debug)]
pub struct TablePlatform {
    memory: Arc<MemoryFile>,
}

impl Platform for TablePlatform {
    fn name(&self) -> &'static str {
        "table"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::empty()
    }

    fn user_addresses(&self) -> Range<u64> {
        ADDRESSES
    }

    fn new_address_space(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        Ok(Arc::new(TableSpace {
            memory: Arc::clone(&self.memory),
            state: Mutex::new(LockClass::Parker, State::default()),
        }))
    }

    fn new_context(&self) -> Result<Box<dyn Context>, PlatformError> {
        Err(PlatformError::Unavailable { platform: "table", reason: "it has no processor".to_owned() })
    }
}

/// A page table.
#[derive(Debug)]
pub struct TableSpace {
    memory: Arc<MemoryFile>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queue: Vec<Operation>,
    table: BTreeMap<u64, Entry>,
    /// How many map, unmap and protect operations there were.
    operations: usize,
}

#[derive(Debug)]
enum Operation {
    Map(Mapping),
    Unmap(Range<u64>),
    Protect(Range<u64>, Access),
    Retire(Box<dyn Any + Send>),
}

#[derive(Debug, Clone)]
struct Entry {
    file: Arc<dyn BackingFile>,
    offset: u64,
    access: Access,
}

fn pages(range: Range<u64>) -> impl Iterator<Item = u64> {
    range.step_by(PAGE_SIZE as usize)
}

impl State {
    fn apply(&mut self, memory: &MemoryFile) {
        for operation in std::mem::take(&mut self.queue) {
            match operation {
                Operation::Map(mapping) => {
                    for (index, page) in pages(mapping.range.clone()).enumerate() {
                        let entry = Entry {
                            file: Arc::clone(&mapping.file),
                            offset: mapping.offset + index as u64 * PAGE_SIZE,
                            access: mapping.access,
                        };
                        self.table.insert(page, entry);
                    }
                }
                Operation::Unmap(range) => self.table.retain(|page, _| !range.contains(page)),
                Operation::Protect(range, access) => {
                    for page in pages(range) {
                        self.table.get_mut(&page).expect("only what is mapped is protected").access = access;
                    }
                }
                Operation::Retire(object) => drop(object),
            }
        }
        for (page, entry) in &self.table {
            assert!(memory.reference_count(entry.offset) > 0, "the frame mapped at {page:#x} has no owner");
        }
    }

    fn queue(&mut self, range: &Range<u64>, operation: Operation) -> Result<(), PlatformError> {
        let valid = !range.is_empty()
            && range.start.is_multiple_of(PAGE_SIZE)
            && range.end.is_multiple_of(PAGE_SIZE)
            && range.start >= ADDRESSES.start
            && range.end <= ADDRESSES.end;
        assert!(valid, "invalid range {range:#x?} in {operation:?}");
        self.operations += 1;
        self.queue.push(operation);
        Ok(())
    }
}

impl AddressSpace for TableSpace {
    fn map(&self, mapping: Mapping) -> Result<(), PlatformError> {
        assert!(!mapping.access.is_empty(), "nothing is mapped without access");
        self.state.lock().queue(&mapping.range.clone(), Operation::Map(mapping))
    }

    fn unmap(&self, range: Range<u64>) -> Result<(), PlatformError> {
        self.state.lock().queue(&range.clone(), Operation::Unmap(range))
    }

    fn protect(&self, range: Range<u64>, access: Access) -> Result<(), PlatformError> {
        self.state.lock().queue(&range.clone(), Operation::Protect(range, access))
    }

    fn retire(&self, object: Box<dyn Any + Send>) {
        self.state.lock().queue.push(Operation::Retire(object));
    }

    fn flush(&self, _current: Option<&mut dyn Context>) -> Result<(), PlatformError> {
        self.state.lock().apply(&self.memory);
        Ok(())
    }
}

/// A memory file and a platform for it.
pub fn machine(limit: u64) -> (Arc<dyn Platform>, Arc<MemoryFile>) {
    let memory = MemoryFile::new(limit).expect("a memory file");
    (Arc::new(TablePlatform { memory: Arc::clone(&memory) }), memory)
}

/// An address space on a machine of its own.
pub fn address_space(limit: u64) -> Arc<MemoryManager> {
    let (platform, memory) = machine(limit);
    MemoryManager::new(&platform, &memory).expect("an address space")
}

fn table(mm: &MemoryManager) -> &TableSpace {
    let space: &dyn Any = &**mm.space();
    space.downcast_ref().expect("a table")
}

/// How many operations the platform was given.
pub fn operations(mm: &MemoryManager) -> usize {
    table(mm).state.lock().operations
}

/// Applies what is queued, as a switch to the guest does.
pub fn apply(mm: &MemoryManager) {
    let space = table(mm);
    space.state.lock().apply(&space.memory);
}

/// The page that guest code would reach, after as many faults as it takes.
fn reach(
    mm: &MemoryManager,
    address: u64,
    access: Access,
) -> Result<(Arc<dyn BackingFile>, u64), FaultOutcome> {
    let page = address & !(PAGE_SIZE - 1);
    for _ in 0..4 {
        apply(mm);
        let entry = table(mm).state.lock().table.get(&page).cloned();
        let reported = match &entry {
            Some(entry) if entry.access.contains(access) => {
                return Ok((Arc::clone(&entry.file), entry.offset + (address - page)));
            }
            Some(_) => access,
            // The platform cannot tell a write to an absent page from a read.
            None if access == Access::EXECUTE => access,
            None => Access::READ,
        };
        mm.handle_fault(Fault { address, access: reported, bus_error: false })?;
    }
    panic!("the access to {address:#x} never succeeds");
}

/// What guest code reads.
pub fn guest_read(mm: &MemoryManager, address: u64) -> Result<u8, FaultOutcome> {
    reach(mm, address, Access::READ).map(|(file, offset)| {
        let mut byte = [0];
        assert_eq!(memory::read(&file.view(offset, 1).expect("a view"), &mut byte), 1);
        byte[0]
    })
}

/// What guest code writes.
pub fn guest_write(mm: &MemoryManager, address: u64, byte: u8) -> Result<(), FaultOutcome> {
    reach(mm, address, Access::WRITE).map(|(file, offset)| {
        assert_eq!(memory::write(&[byte], &file.view(offset, 1).expect("a view")), 1);
    })
}

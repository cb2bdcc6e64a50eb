//! Page tables of four levels (Intel SDM volume 3, section 4.5), written by the host.
//!
//! The lower half of an address space is the guest's; of the upper half there is one entry, which all address spaces share, with the pages of the
//! [stub](super::stub). Leaf entries are made without the *accessed* bit: the processor (or the host's shadow of the tables) sets it before it
//! keeps a translation, so an entry without it can be removed without telling anybody.

use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

use super::stub::STUB_BASE;
use super::table_memory::{Table, TablePages, WORDS};
use crate::memory::PAGE_SIZE;
use crate::{Access, PlatformError};

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const NO_EXECUTE: u64 = 1 << 63;
/// The bits of an entry that are an address.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Bytes that a table of the last level maps.
pub(super) const LEAF_TABLE_SPAN: u64 = PAGE_SIZE * WORDS as u64;
/// The levels above the last: by how much an address is shifted for the index.
const UPPER_LEVELS: [u32; 3] = [39, 30, 21];
const LEAF_LEVEL: u32 = 12;

fn index(address: u64, shift: u32) -> usize {
    (address >> shift) as usize % WORDS
}

/// The entry that lets user code do `access` with the page at `physical`.
pub(super) fn user_entry(physical: u64, access: Access) -> u64 {
    let mut entry = physical & ADDRESS | PRESENT | USER | DIRTY;
    if access.contains(Access::WRITE) {
        entry |= WRITABLE;
    }
    if !access.contains(Access::EXECUTE) {
        entry |= NO_EXECUTE;
    }
    entry
}

/// The table of the last level for `address` below `root`, which is made if it is not there.
fn leaf_table(root: Table, address: u64, flags: u64, pages: &TablePages) -> Result<Table, PlatformError> {
    let mut table = root;
    for shift in UPPER_LEVELS {
        let index = index(address, shift);
        let entry = table.load(index);
        table = if entry & PRESENT != 0 {
            pages.table(entry & ADDRESS)
        } else {
            let next = pages.take()?;
            table.store(index, next.address() | flags);
            next
        };
    }
    Ok(table)
}

/// The part of all address spaces that belongs to the stub.
#[derive(Debug)]
pub(super) struct KernelTables {
    root: Table,
}

impl KernelTables {
    /// Tables in which nothing is mapped.
    pub(super) fn new(pages: &TablePages) -> Result<Self, PlatformError> {
        let root = pages.take()?;
        leaf_table(root, STUB_BASE, PRESENT | WRITABLE | ACCESSED, pages)?;
        Ok(Self { root })
    }

    fn map(&self, address: u64, entry: u64, pages: &TablePages) -> Result<(), PlatformError> {
        let table = leaf_table(self.root, address, PRESENT | WRITABLE | ACCESSED, pages)?;
        table.store(index(address, LEAF_LEVEL), entry | PRESENT | ACCESSED);
        Ok(())
    }

    /// Maps a page of code, for ever.
    pub(super) fn map_code(
        &self,
        address: u64,
        physical: u64,
        pages: &TablePages,
    ) -> Result<(), PlatformError> {
        self.map(address, physical, pages)
    }

    /// Maps a page of data, for ever.
    pub(super) fn map_data(
        &self,
        address: u64,
        physical: u64,
        pages: &TablePages,
    ) -> Result<(), PlatformError> {
        self.map(address, physical | WRITABLE | DIRTY | NO_EXECUTE, pages)
    }
}

/// Pages of the guest's physical memory that may be known to a processor, as runs.
pub(super) type Touched = SmallVec<[Range<u64>; 4]>;

/// The tables of one address space.
#[derive(Debug)]
pub(super) struct PageTables {
    root: Table,
    pages: Arc<TablePages>,
    /// Tables of the last level that were cut off, and wait until no processor can use them.
    cut_off: Vec<u64>,
}

impl PageTables {
    /// Tables with nothing of the guest's.
    pub(super) fn new(pages: &Arc<TablePages>, kernel: &KernelTables) -> Result<Self, PlatformError> {
        let root = pages.take()?;
        let shared = index(STUB_BASE, UPPER_LEVELS[0]);
        root.store(shared, kernel.root.load(shared));
        Ok(Self { root, pages: Arc::clone(pages), cut_off: Vec::new() })
    }

    /// What belongs into `CR3`.
    pub(super) fn root(&self) -> u64 {
        self.root.address()
    }

    /// Lets `range` be the pages from `physical` on, where it is not that already. What was known of other pages is added to `touched`.
    pub(super) fn set(
        &mut self,
        range: Range<u64>,
        physical: u64,
        access: Access,
        touched: &mut Touched,
    ) -> Result<(), PlatformError> {
        let mut address = range.start;
        while address < range.end {
            let table = leaf_table(self.root, address, PRESENT | WRITABLE | USER | ACCESSED, &self.pages)?;
            let end = range.end.min(next_table(address));
            while address < end {
                let entry = user_entry(physical + (address - range.start), access);
                change(table, index(address, LEAF_LEVEL), entry, touched);
                address += PAGE_SIZE;
            }
        }
        Ok(())
    }

    /// Removes what is mapped in `range`; what was known of it is added to `touched`. Tables that are empty then are cut off if `cut` says so.
    pub(super) fn clear(&mut self, range: Range<u64>, cut: bool, touched: &mut Touched) {
        let mut address = range.start;
        while address < range.end {
            let next = next_table(address);
            let end = range.end.min(next);
            let (upper, skip) = self.last_upper(address);
            let Some(upper) = upper else {
                address = skip;
                continue;
            };
            let at = index(address, UPPER_LEVELS[2]);
            let entry = upper.load(at);
            if entry & PRESENT != 0 {
                let table = self.pages.table(entry & ADDRESS);
                let whole = address.is_multiple_of(LEAF_TABLE_SPAN) && end == next;
                while address < end {
                    change(table, index(address, LEAF_LEVEL), 0, touched);
                    address += PAGE_SIZE;
                }
                if cut && whole {
                    upper.store(at, 0);
                    self.cut_off.push(table.address());
                }
            }
            address = next;
        }
    }

    /// Changes what may be done with the pages of `range` that are mapped.
    pub(super) fn protect(&mut self, range: Range<u64>, access: Access, touched: &mut Touched) {
        let mut address = range.start;
        while address < range.end {
            let next = next_table(address);
            let end = range.end.min(next);
            let (upper, skip) = self.last_upper(address);
            let Some(upper) = upper else {
                address = skip;
                continue;
            };
            let entry = upper.load(index(address, UPPER_LEVELS[2]));
            if entry & PRESENT != 0 {
                let table = self.pages.table(entry & ADDRESS);
                while address < end {
                    let at = index(address, LEAF_LEVEL);
                    let old = table.load(at);
                    if old & PRESENT != 0 {
                        change(table, at, user_entry(old & ADDRESS, access), touched);
                    }
                    address += PAGE_SIZE;
                }
            }
            address = next;
        }
    }

    /// The table of the last level but one for `address`, or where to look next if there is none.
    fn last_upper(&self, address: u64) -> (Option<Table>, u64) {
        let mut table = self.root;
        for shift in [UPPER_LEVELS[0], UPPER_LEVELS[1]] {
            let entry = table.load(index(address, shift));
            if entry & PRESENT == 0 {
                return (None, (address | ((1 << shift) - 1)) + 1);
            }
            table = self.pages.table(entry & ADDRESS);
        }
        (Some(table), address)
    }

    /// Tables that no processor may use any more when it has forgotten its translations.
    pub(super) fn take_cut_off(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.cut_off)
    }
}

impl Drop for PageTables {
    fn drop(&mut self) {
        let mut tables = std::mem::take(&mut self.cut_off);
        let half = WORDS / 2;
        collect(self.root, 0..half, 0, &self.pages, &mut tables);
        tables.push(self.root.address());
        self.pages.give_back(tables);
    }
}

/// All tables below the entries `indices` of `table`, which is of `level`.
fn collect(table: Table, indices: Range<usize>, level: usize, pages: &TablePages, found: &mut Vec<u64>) {
    for index in indices {
        let entry = table.load(index);
        if entry & PRESENT != 0 {
            let next = pages.table(entry & ADDRESS);
            found.push(next.address());
            if level + 1 < UPPER_LEVELS.len() {
                collect(next, 0..WORDS, level + 1, pages, found);
            }
        }
    }
}

fn next_table(address: u64) -> u64 {
    (address | (LEAF_TABLE_SPAN - 1)) + 1
}

/// Replaces an entry; what it was is added to `touched` if a processor may know it and would be wrong then.
fn change(table: Table, index: usize, entry: u64, touched: &mut Touched) {
    let mut old = table.load(index);
    loop {
        if old & !ACCESSED == entry {
            return;
        }
        let fewer_rights = (old & WRITABLE & !entry) | (entry & NO_EXECUTE & !old);
        let kept = entry & PRESENT != 0 && (old ^ entry) & ADDRESS == 0 && fewer_rights == 0;
        // What a processor keeps of an entry that gave less is no harm, but has to be known when the entry goes.
        let new = if kept { entry | old & ACCESSED } else { entry };
        match table.compare_exchange(index, old, new) {
            Ok(_) if !kept && old & PRESENT != 0 && old & ACCESSED != 0 => {
                return add(old & ADDRESS, touched);
            }
            Ok(_) => return,
            Err(found) => old = found,
        }
    }
}

fn add(page: u64, touched: &mut Touched) {
    match touched.last_mut() {
        Some(last) if last.end == page => last.end += PAGE_SIZE,
        _ => touched.push(page..page + PAGE_SIZE),
    }
}

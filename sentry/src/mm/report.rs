//! What `/proc/[pid]` tells of an address space: `maps`, `smaps`, `statm`, the `Vm` lines of `status`.

use std::ops::Range;
use std::sync::Arc;

use bartizan_platform::Access;

use super::area::{Area, AreaFlags};
use super::mappings::{Layout, Totals};
use super::{MemoryManager, UserAddr};
use crate::vfs::File;

/// One area, as `/proc/[pid]/maps` and `smaps` show it.
#[derive(Debug, Clone)]
pub struct AreaReport {
    /// Its addresses.
    pub range: Range<u64>,
    /// What the guest may do.
    pub access: Access,
    /// What `mprotect` may allow.
    pub may: Access,
    /// What else it is.
    pub flags: AreaFlags,
    /// From which byte of the file; zero without one.
    pub offset: u64,
    /// Device and inode number; zeros without a file.
    pub identity: (u64, u64),
    /// What it shows.
    pub name: AreaName,
    /// Bytes in place that belong to the process.
    pub private_bytes: u64,
    /// Bytes in place that are the file's.
    pub source_bytes: u64,
}

/// What an area shows, as far as it has a name.
#[derive(Debug, Clone)]
pub enum AreaName {
    /// Private anonymous memory.
    None,
    /// Memory of a purpose of its own: `[vdso]`, `[heap]`, `[stack]`.
    Special(&'static str),
    /// A file; its path is for the reader to resolve.
    File(Arc<File>),
    /// Shared anonymous memory: `/dev/zero (deleted)`.
    SharedAnonymous,
    /// Memory without a file that has a name: System V shared memory.
    Label(String),
    /// Memory without a file that the guest has given a name, and whether it is shared.
    Given(Arc<[u8]>, bool),
}

/// Sizes in bytes, as `status` and `statm` show them.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemorySizes {
    /// Sizes of the areas: `VmSize`, `VmData`, `VmStk`, `VmExe` with `VmLib`, `VmLck`.
    pub totals: Totals,
    /// `VmPeak`.
    pub peak: u64,
    /// `RssAnon`.
    pub private_bytes: u64,
    /// `RssFile` with `RssShmem`.
    pub source_bytes: u64,
    /// `VmHWM`.
    pub resident_peak: u64,
}

impl MemorySizes {
    /// `VmRSS`.
    pub fn resident(&self) -> u64 {
        self.private_bytes + self.source_bytes
    }
}

impl MemoryManager {
    /// The areas by address, as they are now.
    pub fn areas(&self) -> Vec<AreaReport> {
        self.areas_in(0..u64::MAX)
    }

    /// The area that `address` lies in.
    pub fn area_at(&self, address: UserAddr) -> Option<AreaReport> {
        self.areas_in(address.0..address.0.saturating_add(1)).pop()
    }

    fn areas_in(&self, wanted: Range<u64>) -> Vec<AreaReport> {
        let mappings = self.mappings.read();
        let pages = self.pages.read();
        let layout = mappings.layout;
        mappings
            .areas()
            .overlapping(wanted)
            .map(|(range, area)| {
                let (mut private_bytes, mut source_bytes) = (0, 0);
                for (part, placement) in pages.placements().clipped(range.clone()) {
                    let bytes = part.end - part.start;
                    *(if placement.private { &mut private_bytes } else { &mut source_bytes }) += bytes;
                }
                AreaReport {
                    access: area.access,
                    may: area.may,
                    flags: area.flags,
                    offset: area.source().map_or(0, |mapping| mapping.offset(range.start)),
                    identity: area.source().map_or((0, 0), |mapping| mapping.source.identity()),
                    name: name_of(&range, area, &layout),
                    private_bytes,
                    source_bytes,
                    range,
                }
            })
            .collect()
    }

    /// The sizes, as they are now.
    pub fn sizes(&self) -> MemorySizes {
        let mappings = self.mappings.read();
        let pages = self.pages.read();
        let (private_bytes, source_bytes) = pages.resident();
        MemorySizes {
            totals: mappings.totals(),
            peak: mappings.peak(),
            private_bytes,
            source_bytes,
            resident_peak: pages.peak(),
        }
    }
}

fn name_of(range: &Range<u64>, area: &Area, layout: &Layout) -> AreaName {
    if let Some(name) = area.name {
        return AreaName::Special(name);
    }
    if let Some(name) = &area.given_name {
        return AreaName::Given(Arc::clone(name), area.is_shared());
    }
    match area.source() {
        Some(mapping) => match (mapping.file.clone(), mapping.source.label()) {
            (Some(file), _) => AreaName::File(file),
            (None, Some(label)) => AreaName::Label(label),
            (None, None) => AreaName::SharedAnonymous,
        },
        None if range.start <= layout.brk && range.end > layout.start_brk && layout.start_brk != 0 => {
            AreaName::Special("[heap]")
        }
        None if range.contains(&layout.start_stack) => AreaName::Special("[stack]"),
        None => AreaName::None,
    }
}

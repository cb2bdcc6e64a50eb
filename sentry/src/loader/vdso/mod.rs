//! The vDSO: calls that ask for the time or the processor without entering the kernel (`vdso(7)`).
//!
//! Two pages of the sandbox's memory, shared by all its processes: the parameter page, and the image right above it. Both are made
//! at start-up; nothing of them depends on a process.

mod clock;
mod code;
mod image;
mod parameters;
#[cfg(test)]
mod tests;
mod tsc;

use std::ops::Range;
use std::sync::Arc;

use bartizan_abi::Errno;
use bartizan_platform::memory::{MemoryFile, PAGE_SIZE};
use bartizan_platform::{Access, BackingFile};

use crate::mm::{
    AreaFlags, LockPrivilege, MapBacking, MapPlacement, MapPopulate, MapRequest, MappingSet, MemoryManager,
    PageError, PageRun, PageSource, UserAddr,
};

pub use clock::{SharedClock, SharedClocks, TimeSource};
use parameters::ParameterPage;

/// The vDSO of one sandbox.
#[derive(Debug)]
pub struct Vdso {
    file: Arc<dyn BackingFile>,
    /// Two pages of `file`; parameters first.
    range: Range<u64>,
    clocks: SharedClocks,
    mappings: MappingSet,
}

impl Vdso {
    /// Bytes of parameter page and image.
    pub const SIZE: u64 = 2 * PAGE_SIZE;
    /// Where the image starts, bytes: `AT_SYSINFO_EHDR` is the address of the mapping plus this.
    pub const IMAGE_OFFSET: u64 = PAGE_SIZE;

    /// A vDSO in two new pages of `memory`.
    ///
    /// # Errors
    /// The sandbox has no memory left.
    pub fn allocate(memory: &Arc<MemoryFile>, source: TimeSource) -> std::io::Result<Arc<Self>> {
        let range = memory.allocate(Self::SIZE).map_err(std::io::Error::other)?;
        Self::new(Arc::clone(memory) as Arc<dyn BackingFile>, range.start, source).map(Arc::new)
    }

    /// Fills the [`Self::SIZE`] bytes from `offset` of `file`, which are zeros; their reference passes to this value.
    ///
    /// # Errors
    /// The pages cannot be written.
    pub fn new(file: Arc<dyn BackingFile>, offset: u64, source: TimeSource) -> std::io::Result<Self> {
        let image = image::build();
        let view = file.view(offset + Self::IMAGE_OFFSET, PAGE_SIZE as usize)?;
        if bartizan_platform::memory::write(&image, &view) != image.len() {
            return Err(std::io::Error::other("the vDSO does not fit its page"));
        }
        let page = ParameterPage::new(Arc::clone(&file), offset);
        let clocks = SharedClocks::new(page, source)?;
        Ok(Self { clocks, range: offset..offset + Self::SIZE, file, mappings: MappingSet::new() })
    }

    /// Where its pages are.
    pub fn file(&self) -> &Arc<dyn BackingFile> {
        &self.file
    }

    /// Which bytes of the file they are.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// Maps both pages where there is room, and returns the address of the image.
    ///
    /// # Errors
    /// As `mmap(2)`.
    pub fn map(self: &Arc<Self>, memory: &MemoryManager) -> Result<u64, Errno> {
        let request = |placement, length, access, may, name| MapRequest {
            placement,
            length,
            access,
            may,
            flags: AreaFlags::DONT_EXPAND | AreaFlags::DONT_DUMP,
            backing: MapBacking::Source {
                source: Arc::clone(self) as Arc<dyn PageSource>,
                file: None,
                offset: 0,
            },
            populate: MapPopulate::Later,
            name: Some(name),
            privilege: LockPrivilege::Unlimited,
        };
        let read = Access::READ;
        let both =
            request(MapPlacement::Anywhere(0), Self::SIZE, read | Access::EXECUTE, Access::all(), "[vdso]");
        let UserAddr(start) = memory.map(&both)?;
        memory.map(&request(MapPlacement::Fixed(start), Self::IMAGE_OFFSET, read, read, "[vvar]"))?;
        Ok(start + Self::IMAGE_OFFSET)
    }

    /// The clock that it shows.
    pub fn clocks(&self) -> &SharedClocks {
        &self.clocks
    }
}

impl PageSource for Vdso {
    fn pages(&self, offset: u64, length: u64, _access: Access) -> Result<PageRun, PageError> {
        if offset >= Self::SIZE {
            return Err(PageError::BeyondEnd);
        }
        let end = offset.saturating_add(length).min(Self::SIZE);
        let range = self.range.start + offset..self.range.start + end;
        self.file.retain(range.clone());
        // Guests write to copies alone.
        Ok(PageRun { file: Arc::clone(&self.file), range, access: Access::READ | Access::EXECUTE })
    }

    fn mappings(&self) -> &MappingSet {
        &self.mappings
    }

    fn writable(&self) -> bool {
        false
    }

    fn identity(&self) -> (u64, u64) {
        (0, 0)
    }
}

impl Drop for Vdso {
    fn drop(&mut self) {
        self.file.release(self.range());
    }
}

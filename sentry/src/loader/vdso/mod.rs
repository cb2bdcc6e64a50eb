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

use bartizan_platform::BackingFile;
use bartizan_platform::memory::PAGE_SIZE;

pub use clock::{SharedClock, SharedClocks, TimeSource};
use parameters::ParameterPage;

/// The vDSO of one sandbox.
#[derive(Debug)]
pub struct Vdso {
    file: Arc<dyn BackingFile>,
    /// Two pages of `file`; parameters first.
    range: Range<u64>,
    clocks: SharedClocks,
}

impl Vdso {
    /// Bytes of parameter page and image.
    pub const SIZE: u64 = 2 * PAGE_SIZE;
    /// Where the image starts, bytes: `AT_SYSINFO_EHDR` is the address of the mapping plus this.
    pub const IMAGE_OFFSET: u64 = PAGE_SIZE;

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
        Ok(Self { clocks: SharedClocks::new(page, source)?, range: offset..offset + Self::SIZE, file })
    }

    /// Where its pages are.
    pub fn file(&self) -> &Arc<dyn BackingFile> {
        &self.file
    }

    /// Which bytes of the file they are.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// The clock that it shows.
    pub fn clocks(&self) -> &SharedClocks {
        &self.clocks
    }
}

impl Drop for Vdso {
    fn drop(&mut self) {
        self.file.release(self.range());
    }
}

//! Turns an executable file into a process image, as `fs/exec.c` and `fs/binfmt_elf.c` of Linux do: `execve(2)`, `elf(5)`.
//!
//! Two steps, because Linux has a point of no return between them:
//! 1. [`prepare()`] follows `#!` lines, reads headers and opens the ELF interpreter. Its errors are the errno of `execve`.
//! 2. [`Program::load`] makes a new address space with everything in place. Linux has thrown the old one away by then, so that an error here
//!    kills the process with `SIGSEGV`; the errno is for the log.
//!
//! In between the caller works out the new credentials from [`Program::executable`] and ends the other threads.
//!
//! What comes out of files is hostile: headers are read by value, all arithmetic on them is checked or meant to wrap, and nothing is
//! allocated by a size from a file beyond 64 KiB. Files are mapped, never read whole.
//!
//! Parsing (`script`, `elf`, `segment`) and the stack's contents (`stack`) know nothing of tasks or memory.

mod arguments;
mod auxiliary;
mod elf;
mod layout;
mod load;
mod prepare;
mod script;
mod segment;
mod stack;
#[cfg(test)]
mod tests;
pub mod vdso;

use std::fmt::Debug;
use std::sync::Arc;

use bartizan_abi::Errno;

use crate::mm::PageSource;
use crate::vfs::{File, SliceSink};

pub use arguments::{ArgumentBudget, Arguments, MAX_ARG_STRLEN};
pub use auxiliary::Identity;
pub use load::{LoadRequest, LoadedImage};
pub use prepare::{AfterExec, ExecRequest, Program, prepare};

/// What a program is loaded from: an open file that the caller may execute.
pub trait ProgramFile: Debug + Send + Sync {
    /// Reads from `offset` on; less than asked for only at the end of the file.
    ///
    /// # Errors
    /// What the file system answers.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno>;

    /// Its pages.
    ///
    /// # Errors
    /// `ENODEV` for what cannot be mapped.
    fn page_source(&self) -> Result<Arc<dyn PageSource>, Errno>;

    /// The open file that its mappings belong to.
    fn mapped_file(self: &Arc<Self>) -> Option<Arc<File>>;
}

impl ProgramFile for File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        let mut filled = 0;
        while filled < buffer.len() {
            let mut sink = SliceSink::new(&mut buffer[filled..]);
            let at = offset.checked_add(filled as u64).ok_or(Errno::EINVAL)?;
            match self.ops().read(self, &mut sink, at)? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    }

    fn page_source(&self) -> Result<Arc<dyn PageSource>, Errno> {
        self.ops().page_source(self)
    }

    fn mapped_file(self: &Arc<Self>) -> Option<Arc<File>> {
        Some(Arc::clone(self))
    }
}

/// Fills `buffer` from `offset` on; `EIO` where the file ends before.
fn read_exact(file: &dyn ProgramFileRead, offset: u64, buffer: &mut [u8]) -> Result<(), Errno> {
    if file.read(offset, buffer)? == buffer.len() { Ok(()) } else { Err(Errno::EIO) }
}

/// The part of [`ProgramFile`] that parsers need.
trait ProgramFileRead {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno>;
}

impl<F: ProgramFile> ProgramFileRead for F {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.read_at(offset, buffer)
    }
}

//! What the headers of an ELF file say, read as Linux reads them: what is wrong but does not matter to Linux is not looked at.

use bartizan_abi::Errno;
use bartizan_abi::elf::{
    ELF_MAGIC, EM_X86_64, ET_DYN, ET_EXEC, Elf64Header, PF_X, PT_GNU_STACK, PT_INTERP, PT_LOAD, ProgramHeader,
};
use bartizan_platform::memory::PAGE_SIZE;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::{ProgramFileRead, read_exact};
use crate::vfs::{FsString, PATH_MAX};

/// The largest table of program headers, bytes.
const LARGEST_TABLE: usize = 65536;

/// Where a program may be placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElfKind {
    /// At its own addresses (`ET_EXEC`).
    Fixed,
    /// Anywhere (`ET_DYN`).
    Movable,
}

/// The headers of an ELF file.
#[derive(Debug, Clone)]
pub struct ElfHeaders {
    /// Where it may be placed.
    pub kind: ElfKind,
    /// The file's own header.
    pub header: Elf64Header,
    /// All program headers, in the order of the file.
    pub programs: Vec<ProgramHeader>,
}

impl ElfHeaders {
    /// Reads the headers of a program whose file starts with `prefix`.
    ///
    /// # Errors
    /// `ENOEXEC` for anything that is no program of this machine.
    pub fn read(file: &dyn ProgramFileRead, prefix: &[u8]) -> Result<Self, Errno> {
        let (header, _) = Elf64Header::read_from_prefix(prefix).map_err(|_| Errno::ENOEXEC)?;
        let kind = kind(&header).ok_or(Errno::ENOEXEC)?;
        let programs = read_programs(file, &header).ok_or(Errno::ENOEXEC)?;
        Ok(Self { kind, header, programs })
    }

    /// Reads the headers of an ELF interpreter.
    ///
    /// # Errors
    /// `EIO` for a file that is shorter than a header, `ELIBBAD` for anything that is no program of this machine.
    pub fn read_interpreter(file: &dyn ProgramFileRead) -> Result<Self, Errno> {
        let mut header = Elf64Header::new_zeroed();
        read_exact(file, 0, header.as_mut_bytes())?;
        let kind = kind(&header).ok_or(Errno::ELIBBAD)?;
        let programs = read_programs(file, &header).ok_or(Errno::ELIBBAD)?;
        Ok(Self { kind, header, programs })
    }

    /// The path that the first `PT_INTERP` holds, if there is one.
    ///
    /// # Errors
    /// `ENOEXEC` for a path that is empty, too long or without an end, `EIO` for one beyond the end of the file, `EINVAL` for one where no
    /// file can be read.
    pub fn interpreter(&self, file: &dyn ProgramFileRead) -> Result<Option<FsString>, Errno> {
        let Some(header) = self.programs.iter().find(|header| header.p_type == PT_INTERP) else {
            return Ok(None);
        };
        let length = usize::try_from(header.p_filesz).map_err(|_| Errno::ENOEXEC)?;
        if !(2..=PATH_MAX).contains(&length) {
            return Err(Errno::ENOEXEC);
        }
        i64::try_from(header.p_offset).map_err(|_| Errno::EINVAL)?;
        let mut path = vec![0; length];
        read_exact(file, header.p_offset, &mut path)?;
        if path.pop() != Some(0) {
            return Err(Errno::ENOEXEC);
        }
        // What follows an earlier NUL is not part of the path.
        path.truncate(path.iter().position(|byte| *byte == 0).unwrap_or(path.len()));
        Ok(Some(path))
    }

    /// Whether the program wants to execute code on its stack: the last `PT_GNU_STACK` decides, and without one it does not.
    pub fn wants_executable_stack(&self) -> bool {
        let last = self.programs.iter().rfind(|header| header.p_type == PT_GNU_STACK);
        last.is_some_and(|header| header.p_flags & PF_X != 0)
    }

    /// The parts that are loaded.
    pub fn loaded(&self) -> impl Iterator<Item = &ProgramHeader> {
        self.programs.iter().filter(|header| header.p_type == PT_LOAD)
    }

    /// Bytes from the page of the lowest loaded address to the end of the highest; `None` if nothing is loaded or
    /// the addresses are no such range.
    pub fn total_size(&self) -> Option<u64> {
        let lowest = self.loaded().map(|header| header.p_vaddr).min()?;
        let mut highest = 0;
        for header in self.loaded() {
            highest = highest.max(header.p_vaddr.checked_add(header.p_memsz)?);
        }
        highest.checked_sub(lowest & !(PAGE_SIZE - 1)).filter(|size| *size > 0)
    }

    /// The largest alignment, bytes, that a loaded part asks for; those that are no power of two do not count.
    pub fn alignment(&self) -> u64 {
        let alignments = self.loaded().map(|header| header.p_align).filter(|align| align.is_power_of_two());
        alignments.max().unwrap_or(0).max(PAGE_SIZE)
    }

    /// The address, before it is moved, at which a loaded part shows the program headers; zero if none does.
    pub fn table_address(&self) -> u64 {
        let table = self.header.e_phoff;
        let shows =
            |header: &&ProgramHeader| header.p_offset <= table && table - header.p_offset < header.p_filesz;
        // Linux takes the last one that does.
        let found = self.loaded().filter(shows).last();
        found.map_or(0, |header| (table - header.p_offset).wrapping_add(header.p_vaddr))
    }
}

fn kind(header: &Elf64Header) -> Option<ElfKind> {
    if !header.e_ident.starts_with(&ELF_MAGIC) || header.e_machine != EM_X86_64 {
        return None;
    }
    match header.e_type {
        ET_EXEC => Some(ElfKind::Fixed),
        ET_DYN => Some(ElfKind::Movable),
        _ => None,
    }
}

/// The table of program headers, if it is there and has a size that Linux takes.
fn read_programs(file: &dyn ProgramFileRead, header: &Elf64Header) -> Option<Vec<ProgramHeader>> {
    let count = usize::from(header.e_phnum);
    let size = count * size_of::<ProgramHeader>();
    if usize::from(header.e_phentsize) != size_of::<ProgramHeader>() || !(1..=LARGEST_TABLE).contains(&size) {
        return None;
    }
    let mut programs = vec![ProgramHeader::default(); count];
    read_exact(file, header.e_phoff, programs.as_mut_bytes()).ok()?;
    Some(programs)
}

//! Makes the address space of a new program.

use std::ops::Range;
use std::sync::Arc;

use bartizan_abi::elf::PF_X;
use bartizan_abi::{Errno, Personality, ProtFlags, arch::x86_64 as processor};
use bartizan_platform::memory::{MemoryFile, PAGE_SIZE};
use bartizan_platform::{Access, Platform, Registers};

use super::auxiliary::{Identity, ProgramFacts};
use super::elf::{ElfHeaders, ElfKind};
use super::layout::{AddressLayout, HostRandom, Random};
use super::prepare::Program;
use super::segment::Segment;
use super::vdso::Vdso;
use super::{ProgramFile, stack};
use crate::mm::{
    AreaFlags, Layout, LockPrivilege, MapBacking, MapPlacement, MapPopulate, MapRequest, MemoryLimits,
    MemoryManager, PageSource, UserAddr, access_of,
};
use crate::vfs::File;

/// Stack that is mapped at once below what the program finds there, bytes.
const STACK_HEADROOM: u64 = 128 << 10;

/// Where and as whom a program is loaded.
#[derive(Debug)]
pub struct LoadRequest<'a> {
    /// How guest code is run.
    pub platform: &'a Arc<dyn Platform>,
    /// The sandbox's memory.
    pub memory: &'a Arc<MemoryFile>,
    /// The sandbox's vDSO.
    pub vdso: &'a Arc<Vdso>,
    /// The limits of the process.
    pub limits: MemoryLimits,
    /// As whom the program runs.
    pub identity: Identity,
    /// The personality of the process. `READ_IMPLIES_EXEC` does not survive the execution of a 64-bit program: the caller clears it.
    pub personality: Personality,
}

/// A process image.
#[derive(Debug)]
pub struct LoadedImage {
    /// The address space, with one user.
    pub memory: Arc<MemoryManager>,
    /// The registers at the first instruction.
    pub registers: Registers,
}

/// Where a program has come to lie.
struct Placed {
    /// What was added to its addresses (modulo 2^64).
    bias: u64,
    code: Option<Range<u64>>,
    data: Range<u64>,
    /// Behind its last byte.
    end: u64,
}

/// A file to map from.
struct Mapped {
    source: Arc<dyn PageSource>,
    file: Option<Arc<File>>,
}

impl Mapped {
    fn new<F: ProgramFile>(file: &Arc<F>) -> Result<Self, Errno> {
        Ok(Self { source: file.page_source()?, file: file.mapped_file() })
    }
}

impl<F: ProgramFile> Program<F> {
    /// Loads the program into a new address space.
    ///
    /// # Errors
    /// Linux kills the process with `SIGSEGV` where this fails: `ENOMEM`, `EINVAL`, `EEXIST`, `EFAULT` for segments that cannot be mapped, `EAGAIN` when the
    /// host has no room for another process.
    pub fn load(self, request: &LoadRequest<'_>) -> Result<LoadedImage, Errno> {
        let user = request.platform.user_addresses();
        let mut random = HostRandom;
        let places = AddressLayout::new(&user, request.limits.stack, request.personality, &mut random);
        let memory = MemoryManager::new(request.platform, request.memory)?;
        memory.set_limits(request.limits);
        memory.update_layout(|layout| layout.mmap_base = places.mmap_base);
        let loader = Loader { memory: &memory, user, places };

        loader.map_stack(&self)?;
        let program =
            loader.map_program(&self.headers, &Mapped::new(&self.file)?, self.interpreter.is_some())?;
        let interpreter = match &self.interpreter {
            Some((file, headers)) => Some((loader.map_interpreter(headers, &Mapped::new(file)?)?, headers)),
            None => None,
        };
        let vdso = request.vdso.map(&memory)?;
        let own_entry = self.headers.header.e_entry.wrapping_add(program.bias);
        let (base, entry) = match &interpreter {
            Some((placed, headers)) => (placed.bias, headers.header.e_entry.wrapping_add(placed.bias)),
            None => (0, own_entry),
        };
        if entry >= loader.user.end {
            return Err(Errno::EINVAL);
        }
        let facts = ProgramFacts {
            vdso,
            table: self.headers.table_address().wrapping_add(program.bias),
            table_length: u64::from(self.headers.header.e_phnum),
            interpreter_base: base,
            entry: own_entry,
            identity: request.identity,
        };
        let pointer = loader.fill_stack(&self, &facts, &program, &mut random)?;
        if request.personality.contains(Personality::MMAP_PAGE_ZERO) {
            loader.map_page_zero();
        }
        memory.set_executable(self.file.mapped_file());
        Ok(LoadedImage { registers: first_registers(entry, pointer), memory })
    }
}

/// The registers at the first instruction: nothing but where to go.
fn first_registers(entry: u64, pointer: u64) -> Registers {
    Registers {
        rip: entry,
        rsp: pointer,
        cs: processor::USER_CS,
        ss: processor::USER_DS,
        eflags: (processor::Eflags::IF | processor::Eflags::FIXED).bits(),
        orig_rax: u64::MAX,
        ..Registers::default()
    }
}

/// An address space that is being filled.
struct Loader<'a> {
    memory: &'a Arc<MemoryManager>,
    user: Range<u64>,
    places: AddressLayout,
}

impl Loader<'_> {
    fn map_stack<F>(&self, program: &Program<F>) -> Result<(), Errno> {
        let strings = program.arguments.argv.iter().chain(&program.arguments.envp);
        // Each string with its NUL and its pointer; all the rest is less than two pages.
        let content: u64 = strings.map(|string| string.len() as u64 + 9).sum();
        let length =
            (content + program.path.len() as u64 + 16 * 1024 + STACK_HEADROOM).next_multiple_of(PAGE_SIZE);
        let start = self.places.stack_top.checked_sub(length).ok_or(Errno::ENOMEM)?;
        let mut access = Access::READ | Access::WRITE;
        access.set(Access::EXECUTE, program.headers.wants_executable_stack());
        let request = MapRequest {
            flags: AreaFlags::GROWS_DOWN,
            name: Some("[stack]"),
            ..MapRequest::anonymous(MapPlacement::FixedNoReplace(start), length, access)
        };
        self.memory.map(&request).map(drop)
    }

    /// Maps the program itself: where it wants to be, or else where nothing is.
    fn map_program(
        &self,
        headers: &ElfHeaders,
        mapped: &Mapped,
        has_interpreter: bool,
    ) -> Result<Placed, Errno> {
        let Some(first) = headers.loaded().next() else {
            // Nothing is loaded; Linux jumps to the entry point all the same.
            return Ok(Placed { bias: 0, code: None, data: 0..0, end: 0 });
        };
        if headers.kind == ElfKind::Fixed {
            return self.map_segments(headers, mapped, 0, FirstSegment::NoReplace);
        }
        let total = headers.total_size().ok_or(Errno::EINVAL)?;
        let alignment = headers.alignment();
        if has_interpreter {
            let base = self.places.program_base & !(alignment - 1);
            let bias = base.wrapping_sub(first.p_vaddr) & !(PAGE_SIZE - 1);
            return self.map_segments(headers, mapped, bias, FirstSegment::Reserve(total));
        }
        self.map_anywhere(headers, mapped, total, alignment)
    }

    fn map_interpreter(&self, headers: &ElfHeaders, mapped: &Mapped) -> Result<Placed, Errno> {
        let total = headers.total_size().ok_or(Errno::EINVAL)?;
        match headers.kind {
            ElfKind::Fixed => self.map_segments(headers, mapped, 0, FirstSegment::Replace),
            ElfKind::Movable => self.map_anywhere(headers, mapped, total, PAGE_SIZE),
        }
    }

    /// Maps a movable file of `total` bytes where `mmap` finds room.
    fn map_anywhere(
        &self,
        headers: &ElfHeaders,
        mapped: &Mapped,
        total: u64,
        alignment: u64,
    ) -> Result<Placed, Errno> {
        let first = headers.loaded().next().ok_or(Errno::EINVAL)?;
        let slack = if alignment > PAGE_SIZE { alignment } else { 0 };
        let length = total.checked_add(slack).ok_or(Errno::ENOMEM)?;
        let hole = MapRequest {
            flags: AreaFlags::NO_RESERVE,
            ..MapRequest::anonymous(MapPlacement::Anywhere(0), length, Access::empty())
        };
        let start = self.memory.map(&hole)?;
        self.memory.unmap(start, length)?;
        let base = start.0.checked_add(slack).ok_or(Errno::ENOMEM)? & !(alignment - 1);
        let bias = base.wrapping_sub(first.p_vaddr) & !(PAGE_SIZE - 1);
        self.map_segments(headers, mapped, bias, FirstSegment::Reserve(total))
    }

    fn map_segments(
        &self,
        headers: &ElfHeaders,
        mapped: &Mapped,
        bias: u64,
        mut how: FirstSegment,
    ) -> Result<Placed, Errno> {
        let mut placed = Placed { bias, code: None, data: 0..0, end: 0 };
        for header in headers.loaded() {
            let segment = Segment::new(header, bias, &self.user)?;
            self.map_segment(&segment, mapped, how)?;
            how = FirstSegment::Replace;
            let start = header.p_vaddr.wrapping_add(bias);
            let file_end = start.saturating_add(header.p_filesz);
            if header.p_flags & PF_X != 0 {
                placed.code = Some(match &placed.code {
                    Some(code) => code.start.min(start)..code.end.max(file_end),
                    None => start..file_end,
                });
            }
            placed.data = placed.data.start.max(start)..placed.data.end.max(file_end);
            placed.end = placed.end.max(start.saturating_add(header.p_memsz));
        }
        Ok(placed)
    }

    fn map_segment(&self, segment: &Segment, mapped: &Mapped, how: FirstSegment) -> Result<(), Errno> {
        if segment.file_length > 0 {
            self.map_file_part(segment, mapped, how)?;
        }
        if !segment.tail.is_empty() {
            let length = (segment.tail.end - segment.tail.start) as usize;
            let cleared = self.memory.zero_bytes(UserAddr(segment.tail.start), length);
            // Of what the program cannot write anyway the rest of the page stays, as on Linux.
            if segment.protection.contains(ProtFlags::PROT_WRITE) {
                cleared.map_err(|_| Errno::EFAULT)?;
            }
        }
        if !segment.zeros.is_empty() {
            let mut access = Access::READ | Access::WRITE;
            access.set(Access::EXECUTE, segment.protection.contains(ProtFlags::PROT_EXEC));
            let length = segment.zeros.end - segment.zeros.start;
            let placement = match how {
                FirstSegment::NoReplace if segment.file_length == 0 => {
                    MapPlacement::FixedNoReplace(segment.zeros.start)
                }
                _ => MapPlacement::Fixed(segment.zeros.start),
            };
            self.memory.map(&MapRequest::anonymous(placement, length, access))?;
        }
        Ok(())
    }

    /// Maps the part of a segment that comes from the file. With a reservation the whole program must find room, although what is behind this
    /// segment is given back at once.
    fn map_file_part(&self, segment: &Segment, mapped: &Mapped, how: FirstSegment) -> Result<(), Errno> {
        let reserved = match how {
            FirstSegment::Reserve(total) => total.checked_next_multiple_of(PAGE_SIZE).ok_or(Errno::ENOMEM)?,
            FirstSegment::NoReplace | FirstSegment::Replace => segment.file_length,
        };
        let placement = match how {
            FirstSegment::Replace => MapPlacement::Fixed(segment.start),
            FirstSegment::NoReplace | FirstSegment::Reserve(_) => MapPlacement::FixedNoReplace(segment.start),
        };
        self.memory.map(&MapRequest {
            placement,
            length: reserved.max(segment.file_length),
            access: access_of(segment.protection),
            may: Access::all(),
            flags: AreaFlags::empty(),
            backing: MapBacking::Source {
                source: Arc::clone(&mapped.source),
                file: mapped.file.clone(),
                offset: segment.file_offset,
            },
            populate: MapPopulate::Later,
            name: None,
            privilege: LockPrivilege::Unlimited,
        })?;
        match reserved.checked_sub(segment.file_length) {
            None | Some(0) => Ok(()),
            Some(rest) => self.memory.unmap(UserAddr(segment.start + segment.file_length), rest),
        }
    }

    /// Writes the stack, notes where everything is, and returns the stack pointer.
    fn fill_stack<F: ProgramFile>(
        &self,
        program: &Program<F>,
        facts: &ProgramFacts,
        placed: &Placed,
        random: &mut dyn Random,
    ) -> Result<u64, Errno> {
        let mut seed = [0; 16];
        seed[..8].copy_from_slice(&random.next().to_ne_bytes());
        seed[8..].copy_from_slice(&random.next().to_ne_bytes());
        let places = &self.places;
        let image = stack::build(
            places.stack_top,
            places.stack_shift,
            seed,
            &program.path,
            &program.arguments,
            facts,
        )?;
        self.memory.write_bytes(UserAddr(image.pointer), &image.bytes)?;
        self.memory.set_auxiliary_vector(&image.vector);
        let alone = program.headers.kind == ElfKind::Movable && program.interpreter.is_none();
        let heap_from = places.lone_heap.filter(|_| alone).unwrap_or(placed.end);
        let heap = heap_from.checked_next_multiple_of(PAGE_SIZE).unwrap_or(heap_from);
        self.memory.set_brk_start(heap.saturating_add(places.heap_shift));
        let code = placed.code.clone().unwrap_or_default();
        self.memory.update_layout(|layout| {
            *layout = Layout {
                start_code: code.start,
                end_code: code.end,
                start_data: placed.data.start,
                end_data: placed.data.end,
                start_stack: image.pointer,
                arg_start: image.arguments.start,
                arg_end: image.arguments.end,
                env_start: image.environment.start,
                env_end: image.environment.end,
                ..*layout
            };
        });
        Ok(image.pointer)
    }

    /// What programs of System V expect at address zero. Where it may not be mapped they go without, as on Linux.
    fn map_page_zero(&self) {
        let access = Access::READ | Access::EXECUTE;
        let _without = self.memory.map(&MapRequest::anonymous(MapPlacement::Fixed(0), PAGE_SIZE, access));
    }
}

/// How the first segment of a file gets its place; all others lie in what it has found free.
#[derive(Debug, Clone, Copy)]
enum FirstSegment {
    /// Where it says, if nothing is there.
    NoReplace,
    /// The same, and so many bytes have to be free from there on.
    Reserve(u64),
    /// Where it says, in place of what is there.
    Replace,
}

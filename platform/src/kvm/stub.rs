//! The code that runs in ring 0 of the guest, and the two pages that each virtual processor has for it.
//!
//! The first page holds the code, the second the data: descriptor tables, what is loaded and saved, and the stack of exceptions. Both are in the
//! upper half of every address space, for supervisor access only, at an address that depends on the processor alone. Each processor has a copy of the code,
//! which finds its data relative to the instruction pointer: so `GS` stays the guest's.
//!
//! There are two ways in. An exception of ring 3 makes the processor push a frame, to which the handler adds the number; `SYSCALL` uses no stack.
//! Both save what the host does not see at no cost (`rax`, `cr2`, segment selectors and bases), and halt, which is the exit. The way out loads the same and ends with `iretq`:
//! the frame is the host's, so there is no register content with which `sysretq` would be unsafe.
//!
//! # Safety
//! The host writes the pages only while the processor does not run; ring 3 cannot reach them.

#![expect(unsafe_code, reason = "assembly, and pages that the processor of a guest reads")]

use std::arch::global_asm;
use std::slice;

use super::descriptors::{self, GATE_SIZE, GATES};
use super::table_memory::{Table, TablePages};
use super::tables::KernelTables;
use crate::PlatformError;
use crate::memory::PAGE_SIZE;

/// Where the pages of processors begin.
pub(super) const STUB_BASE: u64 = 0xffff_fe00_0000_0000;
/// Where the next processor's pages are.
const STRIDE: u64 = 2 * PAGE_SIZE;

/// Bytes between the handlers of two vectors.
const HANDLER_DISTANCE: u64 = 16;

/// Offsets in the data page.
pub(super) mod data {
    pub(crate) const RAX: usize = 0x00;
    pub(crate) const FS_BASE: usize = 0x08;
    pub(crate) const GS_BASE: usize = 0x10;
    pub(crate) const CR2: usize = 0x18;
    pub(crate) const SELECTORS: usize = 0x20;
    pub(crate) const CR3: usize = 0x28;
    /// Vector of the exception, or [`SYSCALL`].
    pub(crate) const VECTOR: usize = 0x30;
    pub(crate) const ERROR: usize = 0x38;
    pub(crate) const GDT: usize = 0x100;
    pub(crate) const TSS: usize = 0x180;
    pub(crate) const IDT: usize = 0x200;
    /// Where the stack of exceptions ends.
    pub(crate) const STACK_END: usize = 0x1000;
    /// What the processor pushes for an exception of ring 3: rip, cs, rflags, rsp, ss.
    pub(crate) const FRAME: usize = STACK_END - 40;
    /// The number that stands for a system call.
    pub(crate) const SYSCALL: u64 = 0x100;
    /// The number that stands for a system call of 32-bit code.
    pub(crate) const SYSCALL_32: u64 = 0x101;
}

const _: () = assert!(data::IDT + GATES * GATE_SIZE <= data::FRAME - 1024);

// Intel syntax. `{data}` is what lies behind the page of the code.
global_asm!(
    ".pushsection .rodata.bartizan_kvm, \"a\", @progbits",
    ".balign 64",
    ".globl bartizan_kvm_stub",
    ".hidden bartizan_kvm_stub",
    "bartizan_kvm_stub:",
    ".Lkvm_stub:",
    ".set .Lkvm_data, .Lkvm_stub + 4096",
    // The ways out, from more to less.
    ".globl bartizan_kvm_enter_all",
    ".hidden bartizan_kvm_enter_all",
    "bartizan_kvm_enter_all:",
    "mov ds, [rip + .Lkvm_data + {selectors}]",
    "mov es, [rip + .Lkvm_data + {selectors} + 2]",
    "mov fs, [rip + .Lkvm_data + {selectors} + 4]",
    "mov gs, [rip + .Lkvm_data + {selectors} + 6]",
    ".globl bartizan_kvm_enter_flushing",
    ".hidden bartizan_kvm_enter_flushing",
    "bartizan_kvm_enter_flushing:",
    "mov rax, [rip + .Lkvm_data + {cr3}]",
    "mov cr3, rax",
    ".globl bartizan_kvm_enter",
    ".hidden bartizan_kvm_enter",
    "bartizan_kvm_enter:",
    "mov rax, [rip + .Lkvm_data + {fs_base}]",
    "wrfsbase rax",
    "mov rax, [rip + .Lkvm_data + {gs_base}]",
    "wrgsbase rax",
    "mov rax, [rip + .Lkvm_data + {rax}]",
    "iretq",
    ".globl bartizan_kvm_entered",
    ".hidden bartizan_kvm_entered",
    "bartizan_kvm_entered:",
    // The ways in.
    ".balign 16",
    ".globl bartizan_kvm_syscall",
    ".hidden bartizan_kvm_syscall",
    "bartizan_kvm_syscall:",
    "mov [rip + .Lkvm_data + {rax}], rax",
    "mov eax, {syscall_number}",
    "jmp .Lkvm_save",
    ".balign 16",
    ".globl bartizan_kvm_syscall_32",
    ".hidden bartizan_kvm_syscall_32",
    "bartizan_kvm_syscall_32:",
    "mov [rip + .Lkvm_data + {rax}], rax",
    "mov eax, {syscall_number_32}",
    "jmp .Lkvm_save",
    ".balign 16",
    ".globl bartizan_kvm_handlers",
    ".hidden bartizan_kvm_handlers",
    "bartizan_kvm_handlers:",
    ".set .Lkvm_vector, 0",
    ".rept 32",
    ".balign 16",
    // The vectors whose frame has an error code.
    ".if (.Lkvm_vector != 8) && (.Lkvm_vector != 10) && (.Lkvm_vector != 11) && (.Lkvm_vector != 12) && (.Lkvm_vector != 13) && (.Lkvm_vector != 14) && (.Lkvm_vector != 17) && (.Lkvm_vector != 21) && (.Lkvm_vector != 29) && (.Lkvm_vector != 30)",
    "push 0",
    ".endif",
    "push .Lkvm_vector",
    "jmp .Lkvm_exception",
    ".set .Lkvm_vector, .Lkvm_vector + 1",
    ".endr",
    ".balign 16",
    ".Lkvm_exception:",
    "mov [rip + .Lkvm_data + {rax}], rax",
    "mov rax, cr2",
    "mov [rip + .Lkvm_data + {cr2}], rax",
    "mov rax, [rsp + 8]",
    "mov [rip + .Lkvm_data + {error}], rax",
    "mov rax, [rsp]",
    ".Lkvm_save:",
    "mov [rip + .Lkvm_data + {vector}], rax",
    "rdfsbase rax",
    "mov [rip + .Lkvm_data + {fs_base}], rax",
    "rdgsbase rax",
    "mov [rip + .Lkvm_data + {gs_base}], rax",
    "mov [rip + .Lkvm_data + {selectors}], ds",
    "mov [rip + .Lkvm_data + {selectors} + 2], es",
    "mov [rip + .Lkvm_data + {selectors} + 4], fs",
    "mov [rip + .Lkvm_data + {selectors} + 6], gs",
    "2:",
    "hlt",
    "jmp 2b",
    ".globl bartizan_kvm_stub_end",
    ".hidden bartizan_kvm_stub_end",
    "bartizan_kvm_stub_end:",
    ".popsection",
    rax = const data::RAX,
    fs_base = const data::FS_BASE,
    gs_base = const data::GS_BASE,
    cr2 = const data::CR2,
    cr3 = const data::CR3,
    selectors = const data::SELECTORS,
    vector = const data::VECTOR,
    error = const data::ERROR,
    syscall_number = const data::SYSCALL,
    syscall_number_32 = const data::SYSCALL_32,
);

unsafe extern "C" {
    static bartizan_kvm_stub: u8;
    static bartizan_kvm_enter_all: u8;
    static bartizan_kvm_enter_flushing: u8;
    static bartizan_kvm_enter: u8;
    static bartizan_kvm_entered: u8;
    static bartizan_kvm_syscall: u8;
    static bartizan_kvm_syscall_32: u8;
    static bartizan_kvm_handlers: u8;
    static bartizan_kvm_stub_end: u8;
}

/// Where parts of the code are, in bytes from its beginning.
#[derive(Debug, Clone, Copy)]
struct Offsets {
    enter_all: u64,
    enter_flushing: u64,
    enter: u64,
    entered: u64,
    syscall: u64,
    syscall_32: u64,
    handlers: u64,
}

fn offsets() -> Offsets {
    let start = (&raw const bartizan_kvm_stub).addr();
    let from_start = |symbol: *const u8| (symbol.addr() - start) as u64;
    Offsets {
        enter_all: from_start(&raw const bartizan_kvm_enter_all),
        enter_flushing: from_start(&raw const bartizan_kvm_enter_flushing),
        enter: from_start(&raw const bartizan_kvm_enter),
        entered: from_start(&raw const bartizan_kvm_entered),
        syscall: from_start(&raw const bartizan_kvm_syscall),
        syscall_32: from_start(&raw const bartizan_kvm_syscall_32),
        handlers: from_start(&raw const bartizan_kvm_handlers),
    }
}

/// The code that each processor has a copy of.
fn code() -> &'static [u8] {
    let start = &raw const bartizan_kvm_stub;
    let length = (&raw const bartizan_kvm_stub_end).addr() - start.addr();
    // SAFETY: the assembler put `length` constant bytes between the two symbols.
    unsafe { slice::from_raw_parts(start, length) }
}

/// How much is loaded on the way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// General registers and bases.
    Plain,
    /// Also forgets all translations.
    Flushing,
    /// Also loads segment selectors.
    All,
}

/// Who loads and saves the bases of `FS` and `GS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bases {
    /// The stub, with the instructions for that.
    ByStub,
    /// The host, because the processor lacks them.
    ByHost,
}

/// The code with `rdfsbase rax`, `rdgsbase rax`, `wrfsbase rax` and `wrgsbase rax` left out.
fn without_bases(code: &[u8]) -> Vec<u8> {
    const NOP: [u8; 5] = [0x0f, 0x1f, 0x44, 0, 0];
    let mut code = code.to_vec();
    for at in 0..code.len().saturating_sub(NOP.len()) {
        if matches!(code[at..at + NOP.len()], [0xf3, 0x48, 0x0f, 0xae, 0xc0 | 0xc8 | 0xd0 | 0xd8]) {
            code[at..at + NOP.len()].copy_from_slice(&NOP);
        }
    }
    code
}

/// The pages of one processor.
#[derive(Debug)]
pub(super) struct Stub {
    /// Where the guest sees the code; the data are behind.
    address: u64,
    data: Table,
    offsets: Offsets,
}

impl Stub {
    /// Makes the pages of processor `index`, which stay for ever.
    pub(super) fn new(
        index: u64,
        bases: Bases,
        pages: &TablePages,
        tables: &KernelTables,
    ) -> Result<Self, PlatformError> {
        let address = STUB_BASE + index * STRIDE;
        let (code_page, data) = (pages.take()?, pages.take()?);
        let code = match bases {
            Bases::ByStub => code().to_vec(),
            Bases::ByHost => without_bases(code()),
        };
        for (index, word) in code.chunks(8).enumerate() {
            let mut bytes = [0xcc; 8];
            bytes[..word.len()].copy_from_slice(word);
            code_page.store(index, u64::from_le_bytes(bytes));
        }
        let stub = Self { address, data, offsets: offsets() };
        let handlers = address + stub.offsets.handlers;
        stub.fill(data::GDT, &descriptors::gdt(stub.data_address(data::TSS)));
        stub.fill(data::IDT, &descriptors::idt(handlers, HANDLER_DISTANCE));
        let tss = descriptors::tss(stub.data_address(data::STACK_END));
        let words: Vec<u64> = tss.chunks_exact(8).map(word_of).collect();
        stub.fill(data::TSS, &words);
        tables.map_code(address, code_page.address(), pages)?;
        tables.map_data(address + PAGE_SIZE, data.address(), pages)?;
        Ok(stub)
    }

    fn fill(&self, offset: usize, words: &[u64]) {
        for (index, word) in words.iter().enumerate() {
            self.data.store(offset / 8 + index, *word);
        }
    }

    /// Where the guest sees the data at `offset`.
    pub(super) fn data_address(&self, offset: usize) -> u64 {
        self.address + PAGE_SIZE + offset as u64
    }

    /// Where `SYSCALL` enters.
    pub(super) fn syscall_address(&self) -> u64 {
        self.address + self.offsets.syscall
    }

    /// Where `SYSCALL` of 32-bit code enters, where there is such a thing.
    pub(super) fn syscall_32_address(&self) -> u64 {
        self.address + self.offsets.syscall_32
    }

    /// Where the way out begins.
    pub(super) fn entry_address(&self, entry: Entry) -> u64 {
        let offset = match entry {
            Entry::Plain => self.offsets.enter,
            Entry::Flushing => self.offsets.enter_flushing,
            Entry::All => self.offsets.enter_all,
        };
        self.address + offset
    }

    /// Whether `rip` is on the way out: nothing has happened to the guest yet.
    pub(super) fn is_entering(&self, rip: u64) -> bool {
        let on_the_way = self.address + self.offsets.enter_all..self.address + self.offsets.entered;
        on_the_way.contains(&rip)
    }

    /// Reads a word of the data page; `offset` is a multiple of eight inside it.
    pub(super) fn load(&self, offset: usize) -> u64 {
        self.data.load(offset / 8)
    }

    /// Writes a word of the data page.
    pub(super) fn store(&self, offset: usize, value: u64) {
        self.data.store(offset / 8, value);
    }
}

fn word_of(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_fits_its_page() {
        let offsets = offsets();
        assert!(code().len() <= PAGE_SIZE as usize);
        assert!(offsets.enter_all < offsets.enter_flushing && offsets.enter < offsets.entered);
        assert_eq!(offsets.handlers % HANDLER_DISTANCE, 0);
        let handlers = offsets.handlers as usize..offsets.handlers as usize + 32 * 16;
        // push 13; with an error code there is only one push.
        assert_eq!(code()[handlers.start + 13 * 16..][..2], [0x6a, 13]);
        let other = without_bases(code());
        assert_eq!(code().iter().zip(&other).filter(|(one, other)| one != other).count(), 4 * 5);
        assert_eq!(code()[handlers.start + 6 * 16..][..4], [0x6a, 0, 0x6a, 6]);
    }
}

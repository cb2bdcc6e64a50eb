//! Where things are in a stub's address space, above all that a guest can map.
//!
//! ```text
//! BASE      code       read, execute  the stub's code and constants (`stub.rs`); the same for all
//! +4 KiB    orders     read           what the sentry asks of mapper and spawner; written by the sentry alone
//! +8 KiB    bases      read           which area belongs to which FS base (`bases.rs`); written by the sentry alone
//! +12 KiB   answers    read           what calls return that need no sentry (`bases.rs`); written by the sentry alone
//! +16 KiB   scratch    private        where the seed reads its orders; means nothing once a guest runs
//! +1 MiB    areas      read, write    one for each guest thread: its call block, and its signal stack with its registers
//! END
//! ```
//!
//! Guest code can read all of it, jump anywhere into the code and write to scratch and areas. See `mod.rs` for why that gains it nothing.

/// Where the stub's region starts: the end of the guest's addresses.
pub const BASE: u64 = 0x7fff_c000_0000;
/// Where the stub's region ends.
pub const END: u64 = 0x7fff_e000_0000;
/// The end of user addresses with four-level page tables (`TASK_SIZE`).
pub const TASK_SIZE: u64 = 0x7fff_ffff_f000;
/// The lowest address that guests may map (`vm.mmap_min_addr`).
pub const LOWEST: u64 = 0x1_0000;

/// Bytes in the code, orders, bases, answers and scratch page each.
pub const PAGE: u64 = 4096;
/// The page of orders.
pub const ORDERS: u64 = BASE + PAGE;
/// The page of FS bases.
pub const BASES: u64 = BASE + 2 * PAGE;
/// The page of answers.
pub const ANSWERS: u64 = BASE + 3 * PAGE;
/// The scratch page.
pub const SCRATCH: u64 = BASE + 4 * PAGE;
/// Bytes in the pages that the sentry alone writes: orders, bases, answers.
pub const READ_ONLY_SIZE: u64 = 3 * PAGE;
/// The first area.
pub const AREAS: u64 = BASE + 0x10_0000;
/// Bytes in an area; areas are aligned to their size. The signal frame with all of AMX fits four times.
pub const AREA_SIZE: u64 = 0x1_0000;
/// The area of the mapper, which it uses only before any guest code runs.
pub const MAPPER_AREA: u64 = 0;
/// How many areas, and so threads, there are in an address space at most.
pub const AREA_COUNT: u64 = 4096;
/// Bytes in the file that backs orders and bases (its first pages) and areas.
pub const CONTROL_SIZE: u64 = READ_ONLY_SIZE + AREA_COUNT * AREA_SIZE;

/// Offsets in an area's header; the signal stack is the rest.
pub mod area {
    /// `stack_t` for `sigaltstack(2)`.
    pub const STACK: u64 = 0x00;
    /// FS base while the thread is in its handler.
    pub const FS_BASE: u64 = 0x20;
    /// GS base while the thread is in its handler.
    pub const GS_BASE: u64 = 0x28;
    /// Where a mapper leaves the number of its listener, before any guest code runs.
    pub const LISTENER: u64 = 0x30;
    /// Where the signal stack starts.
    pub const STACK_START: u64 = 0x100;
}

/// Offsets in an area of the call block, through which a thread and the sentry hand over to each other without the host: two
/// cache lines. What each word means is told in `call_block.rs`.
pub mod block {
    /// Whose turn it is (32 bits).
    pub const STATE: u64 = 0x80;
    /// The result of the call.
    pub const RESULT: u64 = 0x88;
    /// The number of the call; of a stop the signal.
    pub const NUMBER: u64 = 0x90;
    /// Where the call returns to; of a stop the address of the `siginfo_t`.
    pub const RETURN: u64 = 0x98;
    /// The first argument of the call; of a stop the address of the `ucontext_t`.
    pub const ARGUMENTS: u64 = 0xa0;
    /// The sixth argument of the call.
    pub const LAST_ARGUMENT: u64 = 0xc8;
    /// The guest's RBX during a call.
    pub const RBX: u64 = 0xd0;
    /// The guest's flags during a call, as `lahf` and `seto al` leave them in RAX.
    pub const FLAGS: u64 = 0xd8;
    /// How often the thread looks for an answer before it sleeps; written by the sentry.
    pub const PATIENCE: u64 = 0xe0;

    /// The thread runs guest code, or is to go on with it.
    pub const RUNNING: u32 = 0;
    /// A call waits for its answer; the thread looks for it.
    pub const CALLED: u32 = 1;
    /// A call waits for its answer; the thread sleeps, or is about to.
    pub const CALLED_ASLEEP: u32 = 2;
    /// A stopped thread waits to be let go; it looks for that.
    pub const STOPPED: u32 = 3;
    /// A stopped thread waits to be let go; it sleeps, or is about to.
    pub const STOPPED_ASLEEP: u32 = 4;
}

/// The page of bases: two tables, each with a word for each slot.
pub mod bases {
    /// How many slots there are. An FS base belongs to the slot with the number in its bits 12 to 19.
    pub const SLOTS: u64 = 256;
    /// The negated FS base of the thread that owns the slot.
    pub const NEGATED: u64 = super::BASES;
    /// The address of that thread's area.
    pub const AREAS: u64 = super::BASES + 8 * SLOTS;
    /// In a page of their own: what `getpid` returns to that thread, with [`VALID`].
    pub const PROCESS: u64 = super::ANSWERS;
    /// What `gettid` returns, with [`VALID`].
    pub const THREAD: u64 = super::ANSWERS + 8 * SLOTS;
    /// Set in an answer that the sentry has given.
    pub const VALID: u64 = 1 << 32;
}

/// Offsets in the page of orders.
pub mod orders {
    /// What the spawner makes: 0 a guest thread, 1 a mapper.
    pub const SPAWN_KIND: u64 = 0x00;
    /// The address of the new thread's area.
    pub const SPAWN_AREA: u64 = 0x08;
    /// The mapper's operations: number and six arguments of each, as 64-bit words.
    pub const OPERATIONS: u64 = 0x40;
    /// Bytes of one operation.
    pub const OPERATION_SIZE: u64 = 56;
    /// How many operations fit.
    pub const CAPACITY: usize = 64;
}

/// The number of the call with which stub code asks for the sentry. No Linux call has it; what counts is the address it
/// is made from.
pub const MAGIC: u64 = 0x4000;

const _: () = assert!(orders::OPERATIONS + orders::OPERATION_SIZE * orders::CAPACITY as u64 <= PAGE);
const _: () =
    assert!(bases::AREAS + 8 * bases::SLOTS <= ANSWERS && bases::THREAD + 8 * bases::SLOTS <= SCRATCH);
const _: () = assert!(block::PATIENCE + 8 <= area::STACK_START);
const _: () = assert!(AREAS + AREA_COUNT * AREA_SIZE <= END && AREAS.is_multiple_of(AREA_SIZE));

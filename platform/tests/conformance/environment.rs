//! What every check starts with: a platform, a memory and guests in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bartizan_platform::memory::{MemoryFile, PAGE_SIZE, read, write};
use bartizan_platform::{
    Access, AddressSpace, BackingFile, Context, Exit, Mapping, Platform, PlatformError, Populate, Registers,
};

use crate::Constructor;

pub const READ_WRITE: Access = Access::READ.union(Access::WRITE);
pub const READ_EXECUTE: Access = Access::READ.union(Access::EXECUTE);

/// A platform and a memory.
pub struct Environment {
    pub constructor: Constructor,
    pub platform: Arc<dyn Platform>,
    pub memory: Arc<MemoryFile>,
}

impl Environment {
    /// `None`, with a word about it, where a platform that needs what not every machine has does not work.
    pub fn new(constructor: Constructor) -> Option<Self> {
        match constructor() {
            Ok(platform) => Some(Self { constructor, platform, memory: MemoryFile::new(64 << 20).unwrap() }),
            Err(error @ PlatformError::Unavailable { platform: "kvm", .. }) => {
                eprintln!("not tested: {error}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// An address space.
    pub fn space(&self) -> Space {
        Space {
            space: self.platform.new_address_space().unwrap(),
            memory: Arc::clone(&self.memory),
            next: AtomicU64::new(0x40_0000),
        }
    }

    /// A context for this thread.
    pub fn context(&self) -> Box<dyn Context> {
        self.platform.new_context().unwrap()
    }
}

/// An address space, and a place to put the next thing.
pub struct Space {
    pub space: Arc<dyn AddressSpace>,
    pub memory: Arc<MemoryFile>,
    next: AtomicU64,
}

/// Memory of the guest.
#[derive(Debug, Clone)]
pub struct Piece {
    pub address: u64,
    pub offset: u64,
    pub length: u64,
}

impl Piece {
    pub fn range(&self) -> std::ops::Range<u64> {
        self.address..self.address + self.length
    }
}

impl Space {
    /// Addresses that nothing was put at, with unmapped pages around them.
    pub fn place(&self, length: u64) -> u64 {
        self.next.fetch_add(length + 16 * PAGE_SIZE, Ordering::Relaxed)
    }

    /// Memory that is not mapped yet.
    pub fn piece(&self, length: u64) -> Piece {
        let range = self.memory.allocate(length).unwrap();
        Piece { address: self.place(length), offset: range.start, length }
    }

    pub fn map(&self, piece: &Piece, access: Access) {
        self.space.map(self.mapping(piece, access)).unwrap();
    }

    pub fn mapping(&self, piece: &Piece, access: Access) -> Mapping {
        Mapping {
            range: piece.range(),
            file: Arc::clone(&self.memory) as Arc<dyn BackingFile>,
            offset: piece.offset,
            access,
            populate: Populate::Lazily,
        }
    }

    /// Mapped memory of one page.
    pub fn page(&self, access: Access) -> Piece {
        let piece = self.piece(PAGE_SIZE);
        self.map(&piece, access);
        piece
    }

    pub fn put(&self, piece: &Piece, data: &[u8]) {
        assert_eq!(write(data, &self.memory.view(piece.offset, data.len()).unwrap()), data.len());
    }

    pub fn word(&self, piece: &Piece) -> u64 {
        let mut word = [0; 8];
        assert_eq!(read(&self.memory.view(piece.offset, 8).unwrap(), &mut word), 8);
        u64::from_le_bytes(word)
    }

    /// Registers that start `code`, which is put into a page of its own.
    pub fn program(&self, code: &[u8]) -> Registers {
        let page = self.page(READ_EXECUTE);
        self.put(&page, code);
        start_at(page.address)
    }
}

/// Registers of 64-bit user code at `rip`.
pub fn start_at(rip: u64) -> Registers {
    Registers { rip, cs: 0x33, ss: 0x2b, eflags: 0x202, ..Registers::default() }
}

/// Switches once, and fetches all registers.
#[track_caller]
pub fn run(context: &mut dyn Context, space: &Space, registers: &mut Registers) -> Exit {
    let exit = context.switch(&space.space, registers).unwrap();
    if exit == Exit::Syscall {
        context.complete_registers(registers).unwrap();
    }
    exit
}

/// As [`run`], for guests whose next exit is a system call.
#[track_caller]
pub fn run_to_call(context: &mut dyn Context, space: &Space, registers: &mut Registers) {
    assert_eq!(run(context, space, registers), Exit::Syscall, "{registers:x?}");
}

//! Guest code of a real platform in address spaces of the sentry. Skipped, saying so, where the host forbids tracing.

use std::sync::Arc;

use bartizan_platform::memory::{MemoryFile, PAGE_SIZE};
use bartizan_platform::ptrace::PtracePlatform;
use bartizan_platform::{Access, Context, Exit, Platform, Registers};

use super::{FaultOutcome, MapPlacement, MapRequest, MemoryManager, ProtectFrom, UserAddr};

const READ_WRITE: Access = Access::READ.union(Access::WRITE);
const CODE: u64 = 0x20_0000;
const DATA: u64 = 0x40_0000;

/// `mov [rdi], sil; mov al, [rdx]; mov [rdi + 1], al; syscall`
const STORE_AND_COPY: &[u8] = &[0x40, 0x88, 0x37, 0x8a, 0x02, 0x88, 0x47, 0x01, 0x0f, 0x05];

struct Machine {
    context: Box<dyn Context>,
    mm: Arc<MemoryManager>,
    memory: Arc<MemoryFile>,
}

fn machine() -> Option<Machine> {
    let platform: Arc<dyn Platform> = match PtracePlatform::new() {
        Ok(platform) => platform,
        Err(error) => {
            eprintln!("skipped: {error}");
            return None;
        }
    };
    let memory = MemoryFile::new(64 << 20).expect("a memory file");
    let mm = MemoryManager::new(&platform, &memory).expect("an address space");
    mm.map(&MapRequest::anonymous(MapPlacement::Fixed(CODE), PAGE_SIZE, READ_WRITE)).expect("mapped");
    mm.write_bytes(UserAddr(CODE), STORE_AND_COPY).expect("written");
    mm.protect(UserAddr(CODE), PAGE_SIZE, Access::READ | Access::EXECUTE, ProtectFrom::Address)
        .expect("protected");
    mm.map(&MapRequest::anonymous(MapPlacement::Fixed(DATA), 64 * PAGE_SIZE, READ_WRITE)).expect("mapped");
    let context = platform.new_context().expect("a context");
    Some(Machine { context, mm, memory })
}

impl Machine {
    /// Stores `byte` at `to`, and behind it the byte that is at `from`.
    #[expect(clippy::unwrap_in_result, reason = "a test fails by panicking")]
    fn run(&mut self, mm: &MemoryManager, to: u64, byte: u8, from: u64) -> Result<(), FaultOutcome> {
        let mut registers = Registers {
            rip: CODE,
            rdi: to,
            rsi: byte.into(),
            rdx: from,
            cs: 0x33,
            ss: 0x2b,
            eflags: 0x202,
            ..Registers::default()
        };
        for _ in 0..16 {
            mm.settle(Some(&mut *self.context)).expect("settled");
            match self.context.switch(mm.space(), &mut registers).expect("the platform works") {
                Exit::Syscall => return Ok(()),
                Exit::Fault(fault) => mm.handle_fault(fault)?,
                Exit::Interrupted => {}
                Exit::Trap(trap) => panic!("{trap:?} at {registers:#x?}"),
            }
        }
        panic!("the same access faults again and again: {registers:#x?}");
    }
}

fn bytes_at(mm: &MemoryManager, address: u64) -> [u8; 2] {
    let mut bytes = [0; 2];
    mm.read_bytes(UserAddr(address), &mut bytes).expect("readable");
    bytes
}

#[test]
fn guest_and_kernel_see_the_same_memory() {
    let Some(mut machine) = machine() else { return };
    let mm = Arc::clone(&machine.mm);
    mm.write_bytes(UserAddr(DATA + 9 * PAGE_SIZE), &[77]).expect("written");
    assert_eq!(machine.run(&mm, DATA, 42, DATA + 9 * PAGE_SIZE), Ok(()));
    assert_eq!(bytes_at(&mm, DATA), [42, 77]);
    assert_eq!(machine.run(&mm, CODE, 1, DATA), Err(FaultOutcome::SegvAccErr));
    assert_eq!(machine.run(&mm, DATA - PAGE_SIZE, 1, DATA), Err(FaultOutcome::SegvMapErr));
    mm.unmap(UserAddr(DATA), PAGE_SIZE).expect("unmapped");
    assert_eq!(machine.run(&mm, DATA, 1, DATA + PAGE_SIZE), Err(FaultOutcome::SegvMapErr));
}

#[test]
fn forked_guests_do_not_see_each_others_writes() {
    let Some(mut machine) = machine() else { return };
    let parent = Arc::clone(&machine.mm);
    for page in 0..64 {
        assert_eq!(machine.run(&parent, DATA + page * PAGE_SIZE, page as u8, DATA), Ok(()));
    }
    let child = parent.fork(Some(&mut *machine.context)).expect("forked");
    assert_eq!(machine.run(&parent, DATA + PAGE_SIZE, 100, DATA + 2 * PAGE_SIZE), Ok(()));
    assert_eq!(machine.run(&child, DATA + 3 * PAGE_SIZE, 101, DATA + PAGE_SIZE), Ok(()));
    assert_eq!(bytes_at(&child, DATA + 3 * PAGE_SIZE), [101, 1]);
    assert_eq!(bytes_at(&child, DATA + PAGE_SIZE)[0], 1);
    assert_eq!(bytes_at(&parent, DATA + PAGE_SIZE), [100, 2]);
    assert_eq!(bytes_at(&parent, DATA + 3 * PAGE_SIZE)[0], 3);
    machine.context.leave(child.space());
    drop(child);
    assert_eq!(machine.run(&parent, DATA + 40 * PAGE_SIZE, 102, DATA + 41 * PAGE_SIZE), Ok(()));
    assert_eq!(bytes_at(&parent, DATA + 40 * PAGE_SIZE), [102, 41]);
    machine.context.leave(parent.space());
    let Machine { context, mm, memory } = machine;
    drop((context, mm, parent));
    assert_eq!(memory.used(), 0);
}

//! Where the parts of a process are: address space layout randomisation, in the shape of Linux' `arch/x86/mm/mmap.c`.

use std::ops::Range;

use bartizan_abi::Personality;
use bartizan_platform::memory::PAGE_SIZE;

/// Random pages between the top of the addresses and the stack: 16 GiB.
const STACK_RANDOM_PAGES: u64 = 1 << 22;
/// Random pages of mappings and of movable programs: 1 TiB.
const MAP_RANDOM_PAGES: u64 = 1 << 28;
/// The most by which the heap is moved, bytes.
const HEAP_RANDOM: u64 = 1 << 30;
/// The most by which the stack pointer is moved within the stack, bytes.
const STACK_POINTER_RANDOM: u64 = 8192;
/// Room that is left for the stack at least, bytes.
const LEAST_STACK_GAP: u64 = 128 << 20;
/// Pages below the stack that stay free.
const STACK_GUARD_GAP: u64 = 256 * PAGE_SIZE;

/// Random numbers, or none.
pub trait Random {
    /// 64 random bits.
    fn next(&mut self) -> u64;
}

/// The host's random numbers.
#[derive(Debug)]
pub struct HostRandom;

impl Random for HostRandom {
    fn next(&mut self) -> u64 {
        let mut bytes = [0; 8];
        // Eight bytes come whole; before the host has entropy at all, addresses are not random.
        let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        filled.map_or(0, |_| u64::from_ne_bytes(bytes))
    }
}

/// Where things go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressLayout {
    /// Behind the highest byte of the stack.
    pub stack_top: u64,
    /// By how much the stack pointer is moved down.
    pub stack_shift: u64,
    /// Below which address `mmap` looks for room.
    pub mmap_base: u64,
    /// Where a movable program with an interpreter goes.
    pub program_base: u64,
    /// Where the heap of a movable program without an interpreter goes, so that it does not meet the stack; `None` for right behind
    /// the program.
    pub lone_heap: Option<u64>,
    /// By how much the heap is moved up.
    pub heap_shift: u64,
}

impl AddressLayout {
    /// A layout in the addresses `user`, for a soft stack limit of `stack_limit` bytes.
    pub fn new(
        user: &Range<u64>,
        stack_limit: u64,
        personality: Personality,
        random: &mut dyn Random,
    ) -> Self {
        let randomise = !personality.contains(Personality::ADDR_NO_RANDOMIZE);
        let size = user.end.saturating_sub(user.start);
        let mut pages = |most: u64, share: u64| {
            let most = most.min(size / share / PAGE_SIZE).max(1);
            if randomise { random.next() % most * PAGE_SIZE } else { 0 }
        };
        // Small address spaces give up randomness rather than room.
        let stack_shift_pages = pages(STACK_RANDOM_PAGES, 64);
        let map_shift = pages(MAP_RANDOM_PAGES, 16);
        let program_shift = pages(MAP_RANDOM_PAGES, 16);
        let heap_shift = pages(HEAP_RANDOM / PAGE_SIZE, 256);
        let stack_shift = if randomise { random.next() % STACK_POINTER_RANDOM } else { 0 };
        let stack_random = if randomise { (STACK_RANDOM_PAGES * PAGE_SIZE).min(size / 64) } else { 0 };
        let most_gap = size / 6 * 5;
        let gap = stack_limit.saturating_add(stack_random).saturating_add(STACK_GUARD_GAP);
        let gap = gap.clamp(LEAST_STACK_GAP.min(most_gap), most_gap);
        let below = |address: u64, bytes: u64| {
            let page = address.saturating_sub(bytes) & !(PAGE_SIZE - 1);
            page.max(user.start)
        };
        let program = below(user.end / 3 * 2, 0);
        Self {
            stack_top: below(user.end, stack_shift_pages),
            stack_shift,
            mmap_base: below(user.end, gap.saturating_add(map_shift)),
            program_base: program.saturating_add(program_shift),
            lone_heap: randomise.then_some(program),
            heap_shift,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u64);

    impl Random for Fixed {
        fn next(&mut self) -> u64 {
            self.0
        }
    }

    const USER: Range<u64> = 0x1_0000..0x7fff_ffff_f000;

    #[test]
    fn without_randomisation_all_is_where_linux_has_it() {
        let layout = AddressLayout::new(&USER, 8 << 20, Personality::ADDR_NO_RANDOMIZE, &mut Fixed(u64::MAX));
        assert_eq!(layout.stack_top, 0x7fff_ffff_f000);
        assert_eq!(layout.mmap_base, 0x7fff_f7ff_f000);
        assert_eq!(layout.program_base, 0x5555_5555_4000);
        assert_eq!((layout.heap_shift, layout.stack_shift), (0, 0));
    }

    #[test]
    fn random_layouts_keep_their_order() {
        for random in [0, 1, u64::MAX, 0x1234_5678_9abc_def0] {
            for stack_limit in [0, 8 << 20, u64::MAX] {
                let layout = AddressLayout::new(&USER, stack_limit, Personality::empty(), &mut Fixed(random));
                assert!(layout.mmap_base < layout.stack_top && layout.stack_top <= USER.end);
                assert!(layout.program_base >= 0x5555_5555_4000 && layout.program_base < 0x5655_5555_5000);
                assert!(
                    layout.stack_top.is_multiple_of(PAGE_SIZE) && layout.mmap_base.is_multiple_of(PAGE_SIZE)
                );
            }
        }
    }

    #[test]
    fn tiny_address_spaces_do_not_overflow() {
        for end in [0x2_0000, 0x10_0000, 1 << 32] {
            let user = 0x1_0000..end;
            let layout = AddressLayout::new(&user, u64::MAX, Personality::empty(), &mut Fixed(u64::MAX));
            assert!(user.contains(&layout.mmap_base) && layout.stack_top <= user.end);
        }
    }
}

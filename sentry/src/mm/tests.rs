//! Memory management as guests and the sentry see it.

use std::ops::Range;
use std::sync::Arc;

use bartizan_abi::{Errno, MadviseAdvice};
use bartizan_platform::Access;
use bartizan_platform::memory::PAGE_SIZE;

use super::testing::{address_space, apply, guest_read, guest_write, machine, operations};
use super::{
    AreaFlags, AreaName, AreaReport, FaultOutcome, FutexScope, LockMode, LockPrivilege, MapBacking,
    MapPlacement, MapPopulate, MapRequest, MemoryLimits, MemoryManager, PageSource, PrivateCopies,
    ProtectFrom, RemapPlacement, STACK_GUARD_GAP, SharedMemory, UserAddr,
};

const READ_WRITE: Access = Access::READ.union(Access::WRITE);
const LIMIT: u64 = 64 << 20;
const BASE: u64 = 0x10_0000_0000;

fn anonymous(mm: &MemoryManager, start: u64, pages: u64) -> UserAddr {
    mm.map(&MapRequest::anonymous(MapPlacement::Fixed(start), pages * PAGE_SIZE, READ_WRITE)).expect("mapped")
}

fn shared(
    mm: &MemoryManager,
    start: u64,
    pages: u64,
    source: &Arc<SharedMemory>,
    flags: AreaFlags,
) -> UserAddr {
    mm.map(&MapRequest {
        flags,
        backing: MapBacking::Source {
            source: Arc::clone(source) as Arc<dyn PageSource>,
            file: None,
            offset: 0,
        },
        ..MapRequest::anonymous(MapPlacement::Fixed(start), pages * PAGE_SIZE, READ_WRITE)
    })
    .expect("mapped")
}

/// The one area that there is.
fn only_area(mm: &MemoryManager) -> Range<u64> {
    let areas = mm.areas();
    assert_eq!(areas.len(), 1, "{areas:#x?}");
    areas[0].range.clone()
}

#[test]
fn areas_are_placed_top_down_and_neighbours_merge() {
    let mm = address_space(LIMIT);
    let first = mm.map(&MapRequest::anonymous(MapPlacement::Anywhere(0), 100, READ_WRITE)).unwrap();
    let second = mm.map(&MapRequest::anonymous(MapPlacement::Anywhere(0), PAGE_SIZE, READ_WRITE)).unwrap();
    assert_eq!(first.0 + PAGE_SIZE, mm.layout().mmap_base);
    assert_eq!(second.0 + PAGE_SIZE, first.0);
    assert_eq!(only_area(&mm), second.0..first.0 + PAGE_SIZE);
    mm.unmap(second, PAGE_SIZE).unwrap();
    assert_eq!(only_area(&mm), first.0..first.0 + PAGE_SIZE);
}

#[test]
fn placement_errors_are_those_of_linux() {
    let mm = address_space(LIMIT);
    let map = |placement, length| mm.map(&MapRequest::anonymous(placement, length, READ_WRITE));
    assert_eq!(map(MapPlacement::Anywhere(0), 0), Err(Errno::EINVAL));
    assert_eq!(map(MapPlacement::Anywhere(0), u64::MAX), Err(Errno::ENOMEM));
    assert_eq!(map(MapPlacement::Anywhere(0), 1 << 47), Err(Errno::ENOMEM));
    assert_eq!(map(MapPlacement::Fixed(BASE + 1), PAGE_SIZE), Err(Errno::EINVAL));
    assert_eq!(map(MapPlacement::Fixed(0), PAGE_SIZE), Err(Errno::EPERM));
    assert_eq!(map(MapPlacement::Fixed(0x7fff_ffff_f000), PAGE_SIZE), Err(Errno::ENOMEM));
    assert_eq!(map(MapPlacement::Fixed(BASE), LIMIT + 1), Err(Errno::ENOMEM));
    map(MapPlacement::Fixed(BASE), PAGE_SIZE).unwrap();
    assert_eq!(map(MapPlacement::FixedNoReplace(BASE), PAGE_SIZE), Err(Errno::EEXIST));
    let low = map(MapPlacement::Low(0), PAGE_SIZE).unwrap();
    assert!((0x4000_0000..0x8000_0000).contains(&low.0));
    let hinted = map(MapPlacement::Anywhere(BASE + 5 * PAGE_SIZE - 1), PAGE_SIZE).unwrap();
    assert_eq!(hinted.0, BASE + 5 * PAGE_SIZE);
    assert_eq!(mm.unmap(UserAddr(BASE + 1), 1), Err(Errno::EINVAL));
    assert_eq!(mm.unmap(UserAddr(BASE), 0), Err(Errno::EINVAL));
    assert_eq!(mm.unmap(UserAddr(!4095), PAGE_SIZE), Err(Errno::EINVAL));
    assert_eq!(mm.unmap(UserAddr(0), PAGE_SIZE), Ok(()));
}

#[test]
fn memory_comes_in_runs_that_grow_and_go_back_when_unmapped() {
    let mm = address_space(LIMIT);
    anonymous(&mm, BASE, 4096);
    assert_eq!(guest_read(&mm, BASE), Ok(0));
    assert_eq!(mm.sizes().private_bytes, 64 << 10);
    let before = operations(&mm);
    for page in 0..4096 {
        guest_write(&mm, BASE + page * PAGE_SIZE, page as u8).unwrap();
    }
    assert!(operations(&mm) - before < 16, "{}", operations(&mm) - before);
    assert_eq!(guest_read(&mm, BASE + 77 * PAGE_SIZE), Ok(77));
    mm.unmap(UserAddr(BASE), 4096 * PAGE_SIZE).unwrap();
    assert_eq!(guest_read(&mm, BASE), Err(FaultOutcome::SegvMapErr));
    apply(&mm);
    assert_eq!(mm.memory.used(), 0);
}

#[test]
fn mapping_and_unmapping_without_access_costs_no_operation() {
    let mm = address_space(LIMIT);
    anonymous(&mm, BASE, 16);
    mm.protect(UserAddr(BASE), PAGE_SIZE, Access::empty(), ProtectFrom::Address).unwrap();
    mm.unmap(UserAddr(BASE), 16 * PAGE_SIZE).unwrap();
    assert_eq!(operations(&mm), 0);
}

#[test]
fn protection_is_enforced_for_guest_and_kernel() {
    let mm = address_space(LIMIT);
    anonymous(&mm, BASE, 4);
    guest_write(&mm, BASE, 7).unwrap();
    mm.protect(UserAddr(BASE), PAGE_SIZE, Access::READ, ProtectFrom::Address).unwrap();
    assert_eq!(guest_write(&mm, BASE, 8), Err(FaultOutcome::SegvAccErr));
    assert_eq!(mm.write_bytes(UserAddr(BASE), &[1]), Err(Errno::EFAULT));
    assert_eq!(guest_read(&mm, BASE), Ok(7));
    mm.protect(UserAddr(BASE), PAGE_SIZE, Access::empty(), ProtectFrom::Address).unwrap();
    assert_eq!(guest_read(&mm, BASE), Err(FaultOutcome::SegvAccErr));
    assert_eq!(mm.read_bytes(UserAddr(BASE), &mut [0]), Err(Errno::EFAULT));
    mm.protect(UserAddr(BASE), PAGE_SIZE, READ_WRITE, ProtectFrom::Address).unwrap();
    guest_write(&mm, BASE, 9).unwrap();
    assert_eq!(guest_read(&mm, BASE), Ok(9));
}

#[test]
fn protect_changes_what_lies_below_a_hole_before_it_fails() {
    let mm = address_space(LIMIT);
    anonymous(&mm, BASE, 2);
    let result = mm.protect(UserAddr(BASE), 4 * PAGE_SIZE, Access::READ, ProtectFrom::Address);
    assert_eq!(result, Err(Errno::ENOMEM));
    assert_eq!(mm.areas()[0].access, Access::READ);
    let hole = mm.protect(UserAddr(BASE + 8 * PAGE_SIZE), PAGE_SIZE, Access::READ, ProtectFrom::Address);
    assert_eq!(hole, Err(Errno::ENOMEM));
    assert_eq!(mm.protect(UserAddr(BASE + 1), 0, Access::READ, ProtectFrom::Address), Err(Errno::EINVAL));
    let not_a_stack = mm.protect(UserAddr(BASE), PAGE_SIZE, Access::READ, ProtectFrom::StackStart);
    assert_eq!(not_a_stack, Err(Errno::EINVAL));
}

#[test]
fn kernel_copies_cross_areas_and_report_how_far_they_came() {
    let mm = address_space(LIMIT);
    anonymous(&mm, BASE, 3);
    mm.protect(UserAddr(BASE + 2 * PAGE_SIZE), PAGE_SIZE, Access::READ, ProtectFrom::Address).unwrap();
    let data = vec![5; 3 * PAGE_SIZE as usize];
    assert_eq!(mm.copy_out(UserAddr(BASE + 100), &data), 2 * PAGE_SIZE as usize - 100);
    let mut back = vec![0; 4 * PAGE_SIZE as usize];
    assert_eq!(mm.copy_in(UserAddr(BASE), &mut back), 3 * PAGE_SIZE as usize);
    assert_eq!(back[99..102], [0, 5, 5]);
    assert_eq!(mm.read_bytes(UserAddr(u64::MAX - 3), &mut back), Err(Errno::EFAULT));
    assert_eq!(guest_read(&mm, BASE + 100), Ok(5));
}

#[test]
fn strings_end_at_their_nul_even_at_the_end_of_memory() {
    let mm = address_space(LIMIT);
    anonymous(&mm, BASE, 1);
    let end = BASE + PAGE_SIZE;
    mm.write_bytes(UserAddr(end - 4), b"abc\0").unwrap();
    assert_eq!(mm.read_c_string(UserAddr(end - 4), 4096).unwrap(), b"abc");
    assert_eq!(mm.read_c_string(UserAddr(end - 4), 3), Err(Errno::ENAMETOOLONG));
    mm.write_bytes(UserAddr(end - 1), b"d").unwrap();
    assert_eq!(mm.read_c_string(UserAddr(end - 4), 4096), Err(Errno::EFAULT));
}

#[test]
fn forked_memory_is_shared_until_it_is_written() {
    let mm = address_space(LIMIT);
    anonymous(&mm, BASE, 64);
    for page in 0..64 {
        guest_write(&mm, BASE + page * PAGE_SIZE, page as u8).unwrap();
    }
    let used = mm.memory.used();
    let child = mm.fork(None).unwrap();
    assert_eq!(mm.memory.used(), used);
    assert_eq!(operations(&child), 0);
    guest_write(&child, BASE, 100).unwrap();
    guest_write(&mm, BASE + PAGE_SIZE, 101).unwrap();
    child.write_bytes(UserAddr(BASE + 40 * PAGE_SIZE), &[102]).unwrap();
    assert_eq!(guest_read(&mm, BASE), Ok(0));
    assert_eq!(guest_read(&child, BASE + PAGE_SIZE), Ok(1));
    assert_eq!(guest_read(&mm, BASE + 40 * PAGE_SIZE), Ok(40));
    assert_eq!(guest_read(&child, BASE + 40 * PAGE_SIZE), Ok(102));
    assert_eq!(guest_read(&child, BASE + 63 * PAGE_SIZE), Ok(63));
    let memory = Arc::clone(&mm.memory);
    apply(&mm);
    apply(&child);
    drop(child);
    // Nobody else refers to these pages now, so they are taken over without a copy.
    let before = memory.used();
    guest_write(&mm, BASE + 50 * PAGE_SIZE, 103).unwrap();
    assert_eq!(memory.used(), before);
    assert_eq!(guest_read(&mm, BASE + 51 * PAGE_SIZE), Ok(51));
    drop(mm);
    assert_eq!(memory.used(), 0);
}

#[test]
fn fork_heeds_advice() {
    let mm = address_space(LIMIT);
    anonymous(&mm, BASE, 3);
    for page in 0..3 {
        guest_write(&mm, BASE + page * PAGE_SIZE, 1).unwrap();
    }
    mm.advise(UserAddr(BASE), PAGE_SIZE, MadviseAdvice::MADV_DONTFORK).unwrap();
    mm.advise(UserAddr(BASE + PAGE_SIZE), PAGE_SIZE, MadviseAdvice::MADV_WIPEONFORK).unwrap();
    let child = mm.fork(None).unwrap();
    assert_eq!(guest_read(&child, BASE), Err(FaultOutcome::SegvMapErr));
    assert_eq!(guest_read(&child, BASE + PAGE_SIZE), Ok(0));
    assert_eq!(guest_read(&child, BASE + 2 * PAGE_SIZE), Ok(1));
    assert_eq!(guest_read(&mm, BASE + PAGE_SIZE), Ok(1));
}

#[test]
fn shared_memory_is_the_same_for_all_and_private_views_copy() {
    let (platform, memory) = machine(LIMIT);
    let (one, two) =
        (MemoryManager::new(&platform, &memory).unwrap(), MemoryManager::new(&platform, &memory).unwrap());
    let source = SharedMemory::new(&memory, 8 * PAGE_SIZE, (0, 1));
    shared(&one, BASE, 8, &source, AreaFlags::SHARED);
    shared(&two, BASE + (1 << 20), 8, &source, AreaFlags::SHARED);
    shared(&two, BASE, 9, &source, AreaFlags::empty());
    guest_write(&one, BASE + PAGE_SIZE, 5).unwrap();
    assert_eq!(guest_read(&two, BASE + (1 << 20) + PAGE_SIZE), Ok(5));
    assert_eq!(guest_read(&two, BASE + PAGE_SIZE), Ok(5));
    guest_write(&two, BASE + PAGE_SIZE, 6).unwrap();
    assert_eq!(guest_read(&one, BASE + PAGE_SIZE), Ok(5));
    assert_eq!(guest_read(&two, BASE + 8 * PAGE_SIZE), Err(FaultOutcome::BusAdrErr));
    assert_eq!(two.read_bytes(UserAddr(BASE + 8 * PAGE_SIZE), &mut [0]), Err(Errno::EFAULT));
    let child = one.fork(None).unwrap();
    guest_write(&child, BASE + PAGE_SIZE, 9).unwrap();
    assert_eq!(guest_read(&one, BASE + PAGE_SIZE), Ok(9));
    let key = one.futex_key(UserAddr(BASE + 4), FutexScope::Shared).unwrap();
    assert_eq!(key, two.futex_key(UserAddr(BASE + (1 << 20) + 4), FutexScope::Shared).unwrap());
    assert_ne!(key, two.futex_key(UserAddr(BASE + 4), FutexScope::Shared).unwrap());
    assert_eq!(one.futex_key(UserAddr(BASE + 2), FutexScope::Shared), Err(Errno::EINVAL));
    drop((one, two, child, source, key));
    assert_eq!(memory.used(), 0);
}

#[test]
fn invalidated_pages_are_gone_everywhere() {
    let (platform, memory) = machine(LIMIT);
    let one = MemoryManager::new(&platform, &memory).unwrap();
    let source = SharedMemory::new(&memory, 8 * PAGE_SIZE, (0, 1));
    shared(&one, BASE, 8, &source, AreaFlags::SHARED);
    for page in 0..8 {
        guest_write(&one, BASE + page * PAGE_SIZE, 5).unwrap();
    }
    let two = one.fork(None).unwrap();
    assert_eq!(guest_read(&two, BASE + 3 * PAGE_SIZE), Ok(5));
    source.remove(2 * PAGE_SIZE..4 * PAGE_SIZE).unwrap();
    assert_eq!(guest_read(&two, BASE + 3 * PAGE_SIZE), Ok(0));
    assert_eq!(guest_read(&one, BASE + 2 * PAGE_SIZE), Ok(0));
    assert_eq!(guest_read(&one, BASE + 4 * PAGE_SIZE), Ok(5));
    guest_write(&one, BASE + 3 * PAGE_SIZE, 6).unwrap();
    assert_eq!(guest_read(&two, BASE + 3 * PAGE_SIZE), Ok(6));
    source.mappings().invalidate(0..u64::MAX, PrivateCopies::Discard);
    assert_eq!(one.sizes().resident() + two.sizes().resident(), 0);
}

#[test]
fn stacks_grow_down_to_their_limit_and_keep_their_distance() {
    let mm = address_space(LIMIT);
    let top = BASE + (32 << 20);
    mm.map_stack(UserAddr(top), 4 * PAGE_SIZE, READ_WRITE).unwrap();
    mm.set_limits(MemoryLimits { stack: 4 << 20, ..MemoryLimits::default() });
    guest_write(&mm, top - (1 << 20), 3).unwrap();
    assert_eq!(only_area(&mm), top - (1 << 20)..top);
    assert_eq!(guest_read(&mm, top - (5 << 20)), Err(FaultOutcome::SegvMapErr));
    anonymous(&mm, top - (3 << 20), 1);
    assert_eq!(guest_read(&mm, top - (3 << 20) + 2 * PAGE_SIZE), Err(FaultOutcome::SegvMapErr));
    assert_eq!(guest_read(&mm, top - (3 << 20) + STACK_GUARD_GAP + PAGE_SIZE), Ok(0));
    assert_eq!(mm.sizes().totals.stack, (3 << 20) - STACK_GUARD_GAP - PAGE_SIZE);
}

#[test]
fn heap_grows_shrinks_and_stays_within_limits() {
    let mm = address_space(LIMIT);
    mm.set_brk_start(BASE);
    assert_eq!(mm.set_brk(0, LockPrivilege::Limited), BASE);
    assert_eq!(mm.set_brk(BASE + 5000, LockPrivilege::Limited), BASE + 5000);
    assert_eq!(only_area(&mm), BASE..BASE + 2 * PAGE_SIZE);
    guest_write(&mm, BASE + 4096, 1).unwrap();
    assert_eq!(mm.set_brk(BASE + 10, LockPrivilege::Limited), BASE + 10);
    assert_eq!(guest_read(&mm, BASE + 4096), Err(FaultOutcome::SegvMapErr));
    anonymous(&mm, BASE + 8 * PAGE_SIZE, 1);
    assert_eq!(mm.set_brk(BASE + 10 * PAGE_SIZE, LockPrivilege::Limited), BASE + 10);
    mm.set_limits(MemoryLimits { data: 3 * PAGE_SIZE, ..MemoryLimits::default() });
    assert_eq!(mm.set_brk(BASE + 4 * PAGE_SIZE, LockPrivilege::Limited), BASE + 10);
    assert_eq!(mm.set_brk(BASE - PAGE_SIZE, LockPrivilege::Limited), BASE + 10);
}

#[test]
fn limits_refuse_what_is_beyond_them() {
    let mm = address_space(LIMIT);
    mm.set_limits(MemoryLimits {
        address_space: 16 * PAGE_SIZE,
        data: 8 * PAGE_SIZE,
        locked: 2 * PAGE_SIZE,
        ..MemoryLimits::default()
    });
    let map =
        |pages, access| mm.map(&MapRequest::anonymous(MapPlacement::Anywhere(0), pages * PAGE_SIZE, access));
    assert_eq!(map(17, Access::READ), Err(Errno::ENOMEM));
    assert_eq!(map(9, READ_WRITE), Err(Errno::ENOMEM));
    let area = map(16, Access::READ).unwrap();
    assert_eq!(mm.protect(area, 9 * PAGE_SIZE, READ_WRITE, ProtectFrom::Address), Err(Errno::ENOMEM));
    assert_eq!(mm.lock(area, 3 * PAGE_SIZE, LockMode::Now, LockPrivilege::Limited), Err(Errno::ENOMEM));
    mm.lock(area, 2 * PAGE_SIZE, LockMode::Now, LockPrivilege::Limited).unwrap();
    assert_eq!(mm.sizes().totals.locked, 2 * PAGE_SIZE);
    assert_eq!(mm.advise(area, PAGE_SIZE, MadviseAdvice::MADV_DONTNEED), Err(Errno::EINVAL));
    mm.unlock(area, 2 * PAGE_SIZE).unwrap();
    assert_eq!(mm.sizes().totals.locked, 0);
}

#[test]
fn memory_that_runs_out_is_an_outcome_not_a_panic() {
    let mm = address_space(16 * PAGE_SIZE);
    mm.map(&MapRequest {
        flags: AreaFlags::NO_RESERVE,
        ..MapRequest::anonymous(MapPlacement::Fixed(BASE), 64 * PAGE_SIZE, READ_WRITE)
    })
    .unwrap();
    let outcomes: Vec<_> = (0..64).map(|page| guest_write(&mm, BASE + page * PAGE_SIZE, 1)).collect();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 16);
    assert!(outcomes.contains(&Err(FaultOutcome::OutOfMemory)));
    assert_eq!(mm.write_bytes(UserAddr(BASE + 63 * PAGE_SIZE), &[0]), Err(Errno::EFAULT));
}

#[test]
fn remap_grows_in_place_moves_and_duplicates() {
    let mm = address_space(LIMIT);
    let remap = |address, old, new, placement| {
        mm.remap(UserAddr(address), old * PAGE_SIZE, new * PAGE_SIZE, placement, LockPrivilege::Limited)
            .map(|address| address.0)
    };
    anonymous(&mm, BASE, 4);
    guest_write(&mm, BASE + 3 * PAGE_SIZE, 9).unwrap();
    assert_eq!(remap(BASE, 4, 8, RemapPlacement::InPlace), Ok(BASE));
    anonymous(&mm, BASE + 8 * PAGE_SIZE, 1);
    mm.protect(UserAddr(BASE + 8 * PAGE_SIZE), PAGE_SIZE, Access::READ, ProtectFrom::Address).unwrap();
    assert_eq!(remap(BASE, 8, 9, RemapPlacement::InPlace), Err(Errno::ENOMEM));
    let moved = remap(BASE, 8, 16, RemapPlacement::MayMove).unwrap();
    assert_eq!(guest_read(&mm, moved + 3 * PAGE_SIZE), Ok(9));
    assert_eq!(guest_read(&mm, BASE), Err(FaultOutcome::SegvMapErr));
    assert_eq!(remap(moved, 16, 4, RemapPlacement::InPlace), Ok(moved));
    let fixed = BASE + (1 << 30);
    assert_eq!(remap(moved, 4, 4, RemapPlacement::Fixed(UserAddr(fixed))), Ok(fixed));
    assert_eq!(guest_read(&mm, fixed + 3 * PAGE_SIZE), Ok(9));
    let kept = remap(fixed, 4, 4, RemapPlacement::KeepOld(None)).unwrap();
    assert_eq!(guest_read(&mm, kept + 3 * PAGE_SIZE), Ok(9));
    assert_eq!(guest_read(&mm, fixed + 3 * PAGE_SIZE), Ok(0));
    assert_eq!(remap(fixed, 4, 0, RemapPlacement::MayMove), Err(Errno::EINVAL));
    assert_eq!(remap(0x1000_0000, 1, 2, RemapPlacement::MayMove), Err(Errno::EFAULT));
    assert_eq!(remap(fixed, 0, 4, RemapPlacement::MayMove), Err(Errno::EINVAL));
    let source = SharedMemory::new(&mm.memory, 4 * PAGE_SIZE, (0, 1));
    shared(&mm, BASE, 4, &source, AreaFlags::SHARED);
    guest_write(&mm, BASE + PAGE_SIZE, 4).unwrap();
    let copy = remap(BASE, 0, 4, RemapPlacement::MayMove).unwrap();
    assert_eq!(guest_read(&mm, copy + PAGE_SIZE), Ok(4));
    assert_eq!(guest_read(&mm, BASE + PAGE_SIZE), Ok(4));
}

#[test]
fn advice_discards_and_populates() {
    let mm = address_space(LIMIT);
    anonymous(&mm, BASE, 8);
    guest_write(&mm, BASE, 1).unwrap();
    mm.advise(UserAddr(BASE), 8 * PAGE_SIZE, MadviseAdvice::MADV_DONTNEED).unwrap();
    assert_eq!(mm.resident_pages(UserAddr(BASE), 8 * PAGE_SIZE).unwrap(), [0; 8]);
    assert_eq!(guest_read(&mm, BASE), Ok(0));
    mm.advise(UserAddr(BASE), 8 * PAGE_SIZE, MadviseAdvice::MADV_POPULATE_WRITE).unwrap();
    assert_eq!(mm.resident_pages(UserAddr(BASE), 8 * PAGE_SIZE).unwrap(), [1; 8]);
    let hole = mm.advise(UserAddr(BASE), 9 * PAGE_SIZE, MadviseAdvice::MADV_DONTNEED);
    assert_eq!(hole, Err(Errno::ENOMEM));
    assert_eq!(mm.sizes().private_bytes, 0);
    assert_eq!(mm.advise(UserAddr(BASE), 1, MadviseAdvice::MADV_HWPOISON), Err(Errno::EPERM));
    assert_eq!(mm.advise(UserAddr(BASE), 1, MadviseAdvice::MADV_REMOVE), Err(Errno::EINVAL));
    assert_eq!(mm.advise(UserAddr(BASE + 1), 1, MadviseAdvice::MADV_NORMAL), Err(Errno::EINVAL));
}

#[test]
fn populated_mappings_are_in_place_at_once() {
    let mm = address_space(LIMIT);
    mm.map(&MapRequest {
        populate: MapPopulate::Now,
        ..MapRequest::anonymous(MapPlacement::Fixed(BASE), 1 << 20, READ_WRITE)
    })
    .unwrap();
    assert_eq!(mm.sizes().private_bytes, 1 << 20);
}

#[test]
fn atomic_operations_see_guest_memory() {
    let mm = address_space(LIMIT);
    anonymous(&mm, BASE, 1);
    assert_eq!(mm.compare_exchange_u32(UserAddr(BASE), 0, 5), Ok(0));
    assert_eq!(mm.fetch_update_u32(UserAddr(BASE), |value| value + 2), Ok(5));
    assert_eq!(mm.load_u32(UserAddr(BASE)), Ok(7));
    assert_eq!(mm.load_u32(UserAddr(BASE + PAGE_SIZE)), Err(Errno::EFAULT));
}

#[test]
fn anonymous_memory_has_the_names_that_it_is_given() {
    let mm = address_space(LIMIT);
    let start = anonymous(&mm, BASE, 3);
    let middle = UserAddr(start.0 + PAGE_SIZE);
    mm.name_anonymous(middle, 1, Some(&Arc::from(&b"arena"[..]))).unwrap();
    let named = |area: &AreaReport| match &area.name {
        AreaName::Given(name, false) => Some(name.to_vec()),
        _ => None,
    };
    let names: Vec<_> = mm.areas().iter().map(named).collect();
    assert_eq!(names, [None, Some(b"arena".to_vec()), None]);
    mm.name_anonymous(middle, PAGE_SIZE, None).unwrap();
    assert_eq!(only_area(&mm), start.0..start.0 + 3 * PAGE_SIZE);
    assert_eq!(mm.name_anonymous(UserAddr(start.0 + 1), PAGE_SIZE, None), Err(Errno::EINVAL));
    assert_eq!(mm.name_anonymous(start, 4 * PAGE_SIZE, None), Err(Errno::ENOMEM));
}

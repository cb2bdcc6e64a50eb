//! Random operations against a model that knows each page by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use bartizan_abi::{Errno, MadviseAdvice};
use bartizan_platform::Access;
use bartizan_platform::memory::PAGE_SIZE;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::testing::{guest_read, guest_write, machine};
use super::{
    AreaFlags, FaultOutcome, LockPrivilege, MapBacking, MapPlacement, MapRequest, MemoryManager, PageSource,
    ProtectFrom, RemapPlacement, SharedMemory, UserAddr,
};

const BASE: u64 = 0x10_0000_0000;
const PAGES: u64 = 48;

#[derive(Debug, Clone)]
enum Step {
    MapAnonymous(u64, u64, Access),
    /// Address, length, offset in the shared memory, shared or private.
    MapSource(u64, u64, u64, bool),
    Unmap(u64, u64),
    Protect(u64, u64, Access),
    /// From, length, new length, to.
    Remap(u64, u64, u64, u64),
    Forget(u64, u64),
    GuestWrite(u64, u8),
    KernelWrite(u64, u8),
    Fork,
    /// Go on in the other address space.
    Swap,
}

fn access() -> impl Strategy<Value = Access> {
    prop_oneof![
        1 => Just(Access::empty()),
        1 => Just(Access::READ),
        3 => Just(Access::READ | Access::WRITE),
        1 => Just(Access::WRITE),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let at = || 0..PAGES;
    let length = || 1..12_u64;
    prop_oneof![
        1 => (at(), length(), access()).prop_map(|(at, length, access)| Step::MapAnonymous(at, length, access)),
        1 => (at(), length(), 0..8_u64, any::<bool>()).prop_map(|(at, length, offset, shared)| {
            Step::MapSource(at, length, offset, shared)
        }),
        1 => (at(), length()).prop_map(|(at, length)| Step::Unmap(at, length)),
        1 => (at(), length(), access()).prop_map(|(at, length, access)| Step::Protect(at, length, access)),
        1 => (at(), length(), length(), at()).prop_map(|(from, old, new, to)| Step::Remap(from, old, new, to)),
        1 => (at(), length()).prop_map(|(at, length)| Step::Forget(at, length)),
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Step::GuestWrite(at, byte)),
        2 => (at(), any::<u8>()).prop_map(|(at, byte)| Step::KernelWrite(at, byte)),
        1 => Just(Step::Fork),
        1 => Just(Step::Swap),
    ]
}

/// What one page is.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Page {
    access: Access,
    backing: Contents,
    /// The area that it was mapped with: `mremap` cannot cross areas.
    area: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Contents {
    Own(u8),
    Shared(u64),
    /// A private view, with a copy once it was written.
    View(u64, Option<u8>),
}

const SOURCE_PAGES: u64 = 16;

#[derive(Debug, Clone, Default)]
struct Model {
    pages: BTreeMap<u64, Page>,
}

impl Model {
    fn read(&self, source: &[u8], at: u64) -> Result<u8, FaultOutcome> {
        let page = self.pages.get(&at).ok_or(FaultOutcome::SegvMapErr)?;
        if page.access.is_empty() {
            return Err(FaultOutcome::SegvAccErr);
        }
        match page.backing {
            Contents::Own(byte) | Contents::View(_, Some(byte)) => Ok(byte),
            Contents::Shared(offset) | Contents::View(offset, None) => {
                source.get(offset as usize).copied().ok_or(FaultOutcome::BusAdrErr)
            }
        }
    }

    fn write(&mut self, source: &mut [u8], at: u64, byte: u8) -> Result<(), FaultOutcome> {
        let page = self.pages.get_mut(&at).ok_or(FaultOutcome::SegvMapErr)?;
        if !page.access.contains(Access::WRITE) {
            return Err(FaultOutcome::SegvAccErr);
        }
        match &mut page.backing {
            Contents::Own(own) => *own = byte,
            Contents::Shared(offset) => {
                *source.get_mut(*offset as usize).ok_or(FaultOutcome::BusAdrErr)? = byte;
            }
            Contents::View(offset, copy) => {
                if *offset >= SOURCE_PAGES {
                    return Err(FaultOutcome::BusAdrErr);
                }
                *copy = Some(byte);
            }
        }
        Ok(())
    }
}

struct World {
    source: Arc<SharedMemory>,
    /// All that each page of the source ever was: a private view may have copied it at any time (`mmap(2)` leaves open
    /// whether later changes of the file are seen).
    history: Vec<BTreeSet<u8>>,
    contents: Vec<u8>,
    spaces: Vec<(Arc<MemoryManager>, Model)>,
    current: usize,
    next_area: u64,
}

fn address(page: u64) -> u64 {
    BASE + page * PAGE_SIZE
}

impl World {
    fn step(&mut self, step: &Step) {
        let (mm, model) = &mut self.spaces[self.current];
        self.next_area += 1;
        let area = self.next_area;
        match *step {
            Step::MapAnonymous(at, length, access) => {
                let place = MapPlacement::Fixed(address(at));
                mm.map(&MapRequest::anonymous(place, length * PAGE_SIZE, access)).expect("mapped");
                for page in at..at + length {
                    model.pages.insert(page, Page { access, backing: Contents::Own(0), area });
                }
            }
            Step::MapSource(at, length, offset, shared) => {
                let access = Access::READ | Access::WRITE;
                let source = Arc::clone(&self.source) as Arc<dyn PageSource>;
                let backing = MapBacking::Source { source, file: None, offset: offset * PAGE_SIZE };
                let flags = if shared { AreaFlags::SHARED } else { AreaFlags::empty() };
                let place = MapPlacement::Fixed(address(at));
                let plain = MapRequest::anonymous(place, length * PAGE_SIZE, access);
                mm.map(&MapRequest { backing, flags, ..plain }).expect("mapped");
                for page in at..at + length {
                    let offset = offset + page - at;
                    let backing =
                        if shared { Contents::Shared(offset) } else { Contents::View(offset, None) };
                    model.pages.insert(page, Page { access, backing, area });
                }
            }
            Step::Unmap(at, length) => {
                mm.unmap(UserAddr(address(at)), length * PAGE_SIZE).expect("unmapped");
                model.pages.retain(|page, _| !(at..at + length).contains(page));
            }
            Step::Protect(at, length, access) => {
                let result =
                    mm.protect(UserAddr(address(at)), length * PAGE_SIZE, access, ProtectFrom::Address);
                let mut expected = Ok(());
                for page in at..at + length {
                    match model.pages.get_mut(&page) {
                        Some(page) => page.access = access,
                        None => {
                            expected = Err(Errno::ENOMEM);
                            break;
                        }
                    }
                }
                assert_eq!(result, expected);
            }
            Step::Remap(from, old, new, to) => Self::remap(mm, model, from..from + old, new, to, area),
            Step::Forget(at, length) => {
                let result =
                    mm.advise(UserAddr(address(at)), length * PAGE_SIZE, MadviseAdvice::MADV_DONTNEED);
                let mut expected = Ok(());
                for page in at..at + length {
                    match model.pages.get_mut(&page).map(|page| &mut page.backing) {
                        Some(Contents::Own(byte)) => *byte = 0,
                        Some(Contents::View(_, copy)) => *copy = None,
                        Some(Contents::Shared(_)) => {}
                        None => expected = Err(Errno::ENOMEM),
                    }
                }
                assert_eq!(result, expected);
            }
            Step::GuestWrite(at, byte) => {
                let expected = model.write(&mut self.contents, at, byte);
                let result = guest_write(mm, address(at), byte);
                // A platform that reports the write as a read first learns that there is no page at all.
                let inexact =
                    (result, expected) == (Err(FaultOutcome::BusAdrErr), Err(FaultOutcome::SegvAccErr));
                assert!(result == expected || inexact, "{result:?}, not {expected:?}");
            }
            Step::KernelWrite(at, byte) => {
                let expected = model.write(&mut self.contents, at, byte);
                assert_eq!(mm.write_bytes(UserAddr(address(at)), &[byte]).is_ok(), expected.is_ok());
            }
            Step::Fork => {
                let child = (mm.fork(None).expect("forked"), model.clone());
                if self.spaces.len() < 3 {
                    self.spaces.push(child);
                } else {
                    let last = self.spaces.len() - 1 - usize::from(self.current == self.spaces.len() - 1);
                    self.spaces[last] = child;
                }
            }
            Step::Swap => self.current = (self.current + 1) % self.spaces.len(),
        }
    }

    fn remap(mm: &MemoryManager, model: &mut Model, moved: Range<u64>, new: u64, to: u64, area: u64) {
        let (from, old) = (moved.start, moved.end - moved.start);
        // Within one area of the model's; where the real areas merged, more works than the model can tell.
        let Some(first) = model.pages.get(&from).copied() else {
            let placement = RemapPlacement::Fixed(UserAddr(address(to)));
            if to + new <= from || from + old <= to {
                let result = mm.remap(
                    UserAddr(address(from)),
                    old * PAGE_SIZE,
                    new * PAGE_SIZE,
                    placement,
                    LockPrivilege::Limited,
                );
                assert_eq!(result, Err(Errno::EFAULT));
            }
            return;
        };
        let same = |page: u64| {
            model.pages.get(&page).is_some_and(|page| page.area == first.area && page.access == first.access)
        };
        if !(from..from + old).all(same) {
            return;
        }
        let placement = RemapPlacement::Fixed(UserAddr(address(to)));
        let result = mm.remap(
            UserAddr(address(from)),
            old * PAGE_SIZE,
            new * PAGE_SIZE,
            placement,
            LockPrivilege::Limited,
        );
        if to < from + old && from < to + new {
            assert_eq!(result, Err(Errno::EINVAL));
            return;
        }
        assert_eq!(result, Ok(UserAddr(address(to))));
        let pages: Vec<Page> = (from..from + old).filter_map(|page| model.pages.remove(&page)).collect();
        for index in 0..new {
            let page = pages.get(index as usize).copied().unwrap_or_else(|| {
                let backing = match first.backing {
                    Contents::Own(_) => Contents::Own(0),
                    Contents::Shared(offset) => Contents::Shared(offset + index),
                    Contents::View(offset, _) => Contents::View(offset + index, None),
                };
                Page { backing, ..first }
            });
            model.pages.insert(to + index, Page { area, ..page });
        }
    }
}

proptest! {
    #[test]
    fn every_page_is_what_the_model_says(steps in proptest::collection::vec(step(), 1..60)) {
        let (platform, memory) = machine(64 << 20);
        let mm = MemoryManager::new(&platform, &memory).expect("an address space");
        let mut world = World {
            source: SharedMemory::new(&memory, SOURCE_PAGES * PAGE_SIZE, (0, 7)),
            history: vec![BTreeSet::from([0]); SOURCE_PAGES as usize],
            contents: vec![0; SOURCE_PAGES as usize],
            spaces: vec![(mm, Model::default())],
            current: 0,
            next_area: 0,
        };
        for step in steps {
            world.step(&step);
            for (history, &byte) in world.history.iter_mut().zip(&world.contents) {
                history.insert(byte);
            }
        }
        for (mm, model) in &world.spaces {
            for page in 0..PAGES + 24 {
                let expected = model.read(&world.contents, page);
                let mut byte = [0];
                let kernel = mm.read_bytes(UserAddr(address(page)), &mut byte).map(|()| byte[0]);
                let guest = guest_read(mm, address(page));
                prop_assert_eq!(kernel.ok(), guest.ok());
                match model.pages.get(&page).map(|page| page.backing) {
                    Some(Contents::View(offset, None)) if expected.is_ok() => {
                        prop_assert!(world.history[offset as usize].contains(&guest.unwrap()));
                    }
                    _ => prop_assert_eq!(guest, expected),
                }
            }
            let mapped: u64 = mm.areas().iter().map(|area| area.range.end - area.range.start).sum();
            prop_assert_eq!(mapped, model.pages.len() as u64 * PAGE_SIZE);
            prop_assert_eq!(mm.sizes().totals.all, mapped);
        }
        drop(world);
        prop_assert!(memory.used() == 0, "{} bytes are still in use", memory.used());
    }
}

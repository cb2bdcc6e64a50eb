//! The vDSO as programs see it: parsed as an object, and called natively.
//!
//! # Safety
//! The `unsafe` code here maps the two pages into the test's own process and calls the functions at the offsets that the symbol
//! table gives, with the types of `vdso(7)`.

#![expect(unsafe_code, reason = "runs the vDSO's code natively")]

use std::ffi::c_void;
use std::ptr::{null_mut, without_provenance_mut};

use bartizan_platform::memory::MemoryFile;
use object::read::elf::{ElfFile64, FileHeader};
use object::{Endianness, Object, ObjectSymbol};
use rustix::mm::{MapFlags, ProtFlags};

use bartizan_abi::Timespec;

use super::*;

type ClockGettime = unsafe extern "C" fn(i32, *mut [i64; 2]) -> i32;
type Gettimeofday = unsafe extern "C" fn(*mut [i64; 2], *mut [i32; 2]) -> i32;
type Time = unsafe extern "C" fn(*mut i64) -> i64;
type Getcpu = unsafe extern "C" fn(*mut u32, *mut u32, *mut c_void) -> i32;

/// A vDSO in the test's own address space.
struct Mapped {
    vdso: Vdso,
    address: *mut c_void,
    image: Vec<u8>,
}

impl Mapped {
    fn new(source: TimeSource) -> Self {
        let memory = MemoryFile::new(4 * PAGE_SIZE).expect("a memory file");
        let range = memory.allocate(Vdso::SIZE).expect("two pages");
        let vdso = Vdso::new(memory, range.start, source).expect("a vDSO");
        let size = Vdso::SIZE as usize;
        let protection = ProtFlags::READ | ProtFlags::EXEC;
        // SAFETY: the mapping is a new one at an address of the kernel's choice.
        let address = unsafe {
            rustix::mm::mmap(
                null_mut(),
                size,
                protection,
                MapFlags::SHARED,
                vdso.file().descriptor(),
                range.start,
            )
        };
        Self { vdso, address: address.expect("an executable mapping"), image: image::build() }
    }

    fn function(&self, name: &str) -> *mut c_void {
        let file = ElfFile64::<Endianness>::parse(&*self.image).expect("an ELF file");
        let symbol = file.dynamic_symbols().find(|symbol| symbol.name() == Ok(name)).expect("the symbol");
        let offset = (Vdso::IMAGE_OFFSET + symbol.address()) as usize;
        self.address.cast::<u8>().wrapping_add(offset).cast()
    }

    fn clock_gettime(&self, clock: i32) -> (i32, Timespec) {
        // SAFETY: the code at this symbol has this type.
        let function: ClockGettime = unsafe { std::mem::transmute(self.function("__vdso_clock_gettime")) };
        let mut time = [-1; 2];
        // SAFETY: `time` can be written.
        let result = unsafe { function(clock, &raw mut time) };
        (result, Timespec::new(time[0], time[1]))
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: `new` made this mapping, and all pointers into it are gone.
        let _unmapped = unsafe { rustix::mm::munmap(self.address, Vdso::SIZE as usize) };
    }
}

/// Has the sentry draw lines until guests can read them without it.
fn warm_up(mapped: &Mapped) {
    for _ in 0..4 {
        mapped.vdso.clocks().read(SharedClock::Monotonic);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    mapped.vdso.clocks().read(SharedClock::Monotonic);
}

fn host(clock: rustix::time::ClockId) -> i128 {
    let time = rustix::time::clock_gettime(clock);
    Timespec::new(time.tv_sec, time.tv_nsec).to_nanoseconds()
}

#[test]
fn the_image_is_a_shared_object_of_one_page() {
    let image = image::build();
    assert!(image.len() <= PAGE_SIZE as usize, "{} bytes", image.len());
    let header = object::elf::FileHeader64::<Endianness>::parse(&*image).expect("a header");
    let endian = header.endian().expect("little endian");
    let sections = header.sections(endian, &*image).expect("sections");
    let symbols = sections.symbols(endian, &*image, object::elf::SHT_DYNSYM).expect("dynamic symbols");
    let versions = sections.versions(endian, &*image).expect("readable versions").expect("versions");
    let mut names = Vec::new();
    for (index, symbol) in symbols.enumerate().skip(1) {
        let version = versions.version_index(endian, index);
        let version = versions.version(version.into()).expect("a known index").expect("a version");
        assert_eq!(version.name(), b"LINUX_2.6");
        assert!(symbol.st_size.get(endian) > 0);
        names.push(symbols.symbol_name(endian, symbol).expect("a name"));
    }
    assert_eq!(names.len(), 10);
    assert!(names.contains(&b"__vdso_clock_gettime".as_slice()) && names.contains(&b"getcpu".as_slice()));
}

#[test]
fn both_hash_tables_find_every_symbol() {
    let image = image::build();
    let header = object::elf::FileHeader64::<Endianness>::parse(&*image).expect("a header");
    let endian = header.endian().expect("little endian");
    let sections = header.sections(endian, &*image).expect("sections");
    let symbols = sections.symbols(endian, &*image, object::elf::SHT_DYNSYM).expect("dynamic symbols");
    let versions = sections.versions(endian, &*image).expect("readable").expect("versions");
    let (sysv, _) = sections.hash(endian, &*image).expect("readable").expect("a hash table");
    let (gnu, _) = sections.gnu_hash(endian, &*image).expect("readable").expect("a GNU hash table");
    for (index, symbol) in symbols.enumerate().skip(1) {
        let name = symbols.symbol_name(endian, symbol).expect("a name");
        let found = sysv.find::<&[u8]>(endian, name, object::elf::hash(name), None, &symbols, &versions);
        assert_eq!(found.map(|(found, _)| found), Some(index));
        let found = gnu.find::<&[u8]>(endian, name, object::elf::gnu_hash(name), None, &symbols, &versions);
        assert_eq!(found.map(|(found, _)| found), Some(index));
    }
}

#[test]
fn clocks_agree_with_the_host_and_never_step_backwards() {
    let mapped = Mapped::new(TimeSource::detect());
    warm_up(&mapped);
    let clocks = [
        (0, rustix::time::ClockId::Realtime, SharedClock::Realtime),
        (1, rustix::time::ClockId::Monotonic, SharedClock::Monotonic),
        (6, rustix::time::ClockId::Monotonic, SharedClock::Monotonic),
        (7, rustix::time::ClockId::Boottime, SharedClock::Boottime),
    ];
    for (number, host_clock, shared) in clocks {
        let mut last = 0;
        for _ in 0..2000 {
            let before = host(host_clock);
            let (result, time) = mapped.clock_gettime(number);
            let after = host(host_clock);
            let time = time.to_nanoseconds();
            assert_eq!(result, 0);
            let allowed = 50_000;
            assert!(
                time > before - allowed && time < after + allowed,
                "clock {number}: {before} {time} {after}"
            );
            assert!(time >= last, "clock {number} went back by {}", last - time);
            // A call that comes to the sentry reads the same line. The monotonic clock alone cannot be set meanwhile.
            last = mapped.vdso.clocks().read(shared).to_nanoseconds();
            if mapped.vdso.clocks().is_counting() {
                assert!(last >= time, "the sentry is behind by {}", time - last);
            }
        }
    }
}

#[test]
fn the_time_is_computed_from_the_page() {
    let mapped = Mapped::new(TimeSource::detect());
    if !mapped.vdso.clocks().is_counting() {
        return;
    }
    warm_up(&mapped);
    let at = mapped.vdso.range().start + parameters::offset::MONOTONIC as u64;
    let seconds = mapped.vdso.file().view(at, 8).expect("a view");
    bartizan_platform::memory::store_u64(&seconds, 12345).expect("writable");
    assert!((12345..12347).contains(&mapped.clock_gettime(1).1.tv_sec));
}

#[test]
fn without_a_counter_every_call_enters_the_kernel() {
    let mapped = Mapped::new(TimeSource::Syscall);
    let (result, time) = mapped.clock_gettime(1);
    assert_eq!(result, 0);
    assert!(host(rustix::time::ClockId::Monotonic) - time.to_nanoseconds() < 1_000_000_000);
    let realtime = mapped.vdso.clocks().read(SharedClock::Realtime).to_nanoseconds();
    assert!((host(rustix::time::ClockId::Realtime) - realtime).abs() < 1_000_000_000);
}

#[test]
fn unknown_clocks_are_left_to_the_kernel() {
    let mapped = Mapped::new(TimeSource::detect());
    warm_up(&mapped);
    assert_eq!(mapped.clock_gettime(12345).0, -22);
    assert_eq!(mapped.clock_gettime(i32::MAX).0, -22);
    assert_eq!(mapped.clock_gettime(3).0, 0, "CLOCK_THREAD_CPUTIME_ID");
}

#[test]
fn the_other_functions_answer_as_the_host_does() {
    let mapped = Mapped::new(TimeSource::detect());
    warm_up(&mapped);
    // SAFETY: the code at these symbols has these types.
    let gettimeofday: Gettimeofday = unsafe { std::mem::transmute(mapped.function("gettimeofday")) };
    // SAFETY: as above.
    let time: Time = unsafe { std::mem::transmute(mapped.function("__vdso_time")) };
    // SAFETY: as above.
    let getcpu: Getcpu = unsafe { std::mem::transmute(mapped.function("__vdso_getcpu")) };
    // SAFETY: as above.
    let clock_getres: ClockGettime = unsafe { std::mem::transmute(mapped.function("__vdso_clock_getres")) };

    let (mut value, mut zone) = ([0; 2], [-1; 2]);
    // SAFETY: both can be written.
    assert_eq!(unsafe { gettimeofday(&raw mut value, &raw mut zone) }, 0);
    let now = host(rustix::time::ClockId::Realtime);
    assert!(
        (now - (i128::from(value[0]) * 1_000_000_000 + i128::from(value[1]) * 1000)).abs() < 1_000_000_000
    );
    assert!((0..1_000_000).contains(&value[1]));
    assert_eq!(zone, [0, 0]);
    // SAFETY: null pointers are allowed.
    assert_eq!(unsafe { gettimeofday(null_mut(), null_mut()) }, 0);

    let mut stored = 0;
    // SAFETY: `stored` can be written.
    let seconds = unsafe { time(&raw mut stored) };
    assert_eq!(seconds, stored);
    // SAFETY: a null pointer is allowed.
    assert!(unsafe { time(null_mut()) } - seconds <= 1);

    let (mut cpu, mut node) = (u32::MAX, u32::MAX);
    // SAFETY: both can be written; the third is ignored.
    assert_eq!(unsafe { getcpu(&raw mut cpu, &raw mut node, without_provenance_mut(1)) }, 0);
    assert!(cpu < 4096 && node < 1024);

    let mut resolution = [-1; 2];
    // SAFETY: `resolution` can be written.
    assert_eq!(unsafe { clock_getres(0, &raw mut resolution) }, 0);
    assert_eq!(resolution, [0, 1]);
    // SAFETY: a null pointer is allowed.
    assert_eq!(unsafe { clock_getres(1, null_mut()) }, 0);
    // SAFETY: a null pointer is allowed.
    assert_eq!(unsafe { clock_getres(12345, null_mut()) }, -22);
}

#[test]
fn a_page_that_is_being_written_is_not_waited_for() {
    let mapped = Mapped::new(TimeSource::detect());
    warm_up(&mapped);
    let view = mapped.vdso.file().view(mapped.vdso.range().start, 4).expect("a view");
    bartizan_platform::memory::store_u32(&view, 1).expect("writable");
    assert_eq!(mapped.clock_gettime(1).0, 0);
}

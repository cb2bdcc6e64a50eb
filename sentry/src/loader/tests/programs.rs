//! Good programs are loaded as Linux does.

use bartizan_abi::elf::{AuxType, PF_X, PT_GNU_STACK, ProgramHeader};
use bartizan_abi::{Errno, Personality};

use super::fixture::{Machine, SmallElf};
use crate::loader::LoadedImage;
use crate::mm::UserAddr;

fn bytes<const N: usize>(image: &LoadedImage, address: u64) -> [u8; N] {
    let mut buffer = [0; N];
    image.memory.read_bytes(UserAddr(address), &mut buffer).expect("readable memory");
    buffer
}

fn word(image: &LoadedImage, address: u64) -> u64 {
    u64::from_ne_bytes(bytes(image, address))
}

fn auxiliary(image: &LoadedImage, kind: AuxType) -> u64 {
    let vector = image.memory.auxiliary_vector();
    let words: Vec<u64> = vector
        .chunks_exact(8)
        .map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes")))
        .collect();
    words.chunks_exact(2).find(|entry| entry[0] == kind.0).expect("the entry")[1]
}

fn strings(image: &LoadedImage) -> Vec<String> {
    let count = word(image, image.registers.rsp);
    (1..=count)
        .map(|index| {
            let address = word(image, image.registers.rsp + index * 8);
            let text = image.memory.read_c_string(UserAddr(address), 1 << 17).expect("a string");
            String::from_utf8(text).expect("test text")
        })
        .collect()
}

#[test]
fn a_fixed_program_lies_where_it_says() {
    let machine = Machine::new().with("/a", &SmallElf::new().bytes());
    let image = machine.run("/a").expect("it loads");
    assert_eq!(image.registers.rip, 0x40_0200);
    assert_eq!(bytes::<4>(&image, 0x40_0000), *b"\x7fELF");
    assert_eq!(bytes::<1>(&image, 0x40_210f), [0xcc]);
    assert_eq!(bytes::<1>(&image, 0x40_2110), [0], "what is behind the file is zeros");
    assert_eq!(bytes::<1>(&image, 0x40_500f), [0]);
    let mut beyond = [0];
    assert_eq!(image.memory.read_bytes(UserAddr(0x40_6000), &mut beyond), Err(Errno::EFAULT));
    assert_eq!(image.memory.write_bytes(UserAddr(0x40_0000), &[0]), Err(Errno::EFAULT));
    let layout = image.memory.layout();
    assert_eq!((layout.start_code, layout.end_code), (0x40_0000, 0x40_1000));
    assert_eq!((layout.start_data, layout.end_data), (0x40_2010, 0x40_2110));
    assert_eq!((layout.start_brk, layout.brk), (0x40_6000, 0x40_6000));
    assert_eq!(layout.start_stack, image.registers.rsp);
}

#[test]
fn the_stack_and_the_vdso_are_in_place() {
    let machine = Machine::new().with("/bin/a", &SmallElf::new().bytes());
    let image = machine.run("/bin/a").expect("it loads");
    assert_eq!(image.registers.rsp % 16, 0);
    assert_eq!(strings(&image), ["/bin/a"]);
    assert_eq!(bytes::<4>(&image, auxiliary(&image, AuxType::AT_SYSINFO_EHDR)), *b"\x7fELF");
    assert_eq!(auxiliary(&image, AuxType::AT_PHDR), 0x40_0040);
    assert_eq!(auxiliary(&image, AuxType::AT_BASE), 0);
    let below = image.registers.rsp - (100 << 10);
    image.memory.write_bytes(UserAddr(below), &[1]).expect("there is room below the stack pointer");
}

#[test]
fn a_movable_program_starts_its_interpreter() {
    let interpreter = SmallElf::new().movable();
    let program = SmallElf::new().movable().with_interpreter(b"/lib/ld.so\0");
    let machine = Machine::new().with("/a", &program.bytes()).with("/lib/ld.so", &interpreter.bytes());
    let image = machine.run("/a").expect("it loads");
    let base = auxiliary(&image, AuxType::AT_BASE);
    assert_eq!(auxiliary(&image, AuxType::AT_ENTRY), 0x5555_5555_4200);
    assert_eq!(auxiliary(&image, AuxType::AT_PHDR), 0x5555_5555_4040);
    assert_eq!(image.registers.rip, base + 0x200);
    assert!((0x7fff_0000_0000..0x7fff_f7ff_f000).contains(&base), "{base:#x}");
    assert_eq!(image.memory.layout().start_brk, 0x5555_5555_a000);
}

#[test]
fn a_movable_program_without_interpreter_goes_where_mmap_finds_room() {
    let mut program = SmallElf::new().movable();
    let mut machine = Machine::new().with("/a", &program.bytes());
    let image = machine.run("/a").expect("it loads");
    assert!((0x7fff_0000_0000..0x7fff_f7ff_f000).contains(&image.registers.rip));
    program.programs[0].p_align = 1 << 21;
    machine = machine.with("/aligned", &program.bytes());
    let image = machine.run("/aligned").expect("it loads");
    assert_eq!(image.registers.rip % (1 << 21), 0x200);
    machine.personality = Personality::empty();
    let image = machine.run("/a").expect("it loads");
    assert!(image.memory.layout().start_brk < 0x5600_0000_0000);
}

#[test]
fn random_places_differ() {
    let program = SmallElf::new().movable().with_interpreter(b"/ld\0");
    let mut machine =
        Machine::new().with("/a", &program.bytes()).with("/ld", &SmallElf::new().movable().bytes());
    machine.personality = Personality::empty();
    let one = machine.run("/a").expect("it loads");
    let two = machine.run("/a").expect("it loads");
    assert_ne!(auxiliary(&one, AuxType::AT_ENTRY), auxiliary(&two, AuxType::AT_ENTRY));
    assert_ne!(auxiliary(&one, AuxType::AT_BASE), auxiliary(&two, AuxType::AT_BASE));
    assert_ne!(one.registers.rsp, two.registers.rsp);
    let random = |image: &LoadedImage| bytes::<16>(image, auxiliary(image, AuxType::AT_RANDOM));
    assert_ne!(random(&one), random(&two));
}

#[test]
fn only_programs_that_ask_for_it_get_an_executable_stack() {
    let mut program = SmallElf::new();
    let stack = ProgramHeader { p_type: PT_GNU_STACK, ..ProgramHeader::default() };
    for (flags, executable) in [(None, false), (Some(0), false), (Some(PF_X), true)] {
        program.programs.truncate(2);
        program.programs.extend(flags.map(|p_flags| ProgramHeader { p_flags, ..stack }));
        let machine = Machine::new().with("/a", &program.bytes());
        let prepared = machine.prepare("/a", &["a"]).expect("a program");
        assert_eq!(prepared.headers.wants_executable_stack(), executable);
        machine.load(prepared).expect("it loads");
    }
}

#[test]
fn scripts_put_their_interpreter_before_the_arguments() {
    let machine = Machine::new()
        .with("/bin/sh", &SmallElf::new().bytes())
        .with("/s", b"#!/bin/sh -x -y\n")
        .with("/t", b"#! /s\n");
    let program = machine.prepare("/t", &["t", "one"]).expect("a program");
    assert_eq!(program.task_name(), b"t");
    let image = machine.load(program).expect("it loads");
    assert_eq!(strings(&image), ["/bin/sh", "-x -y", "/s", "/t", "one"]);
}

#[test]
fn five_scripts_may_be_nested() {
    let mut machine = Machine::new().with("/0", &SmallElf::new().bytes());
    for depth in 1..=6 {
        machine = machine.with(&format!("/{depth}"), format!("#!/{}\n", depth - 1).as_bytes());
    }
    assert!(machine.prepare("/5", &["5"]).is_ok());
    assert_eq!(machine.prepare("/6", &["6"]).map(drop), Err(Errno::ELOOP));
}

#[test]
fn a_program_gets_one_empty_argument_at_least() {
    let machine = Machine::new().with("/a", &SmallElf::new().bytes()).with("/s", b"#!/a");
    let image = machine.load(machine.prepare("/a", &[]).expect("a program")).expect("it loads");
    assert_eq!(strings(&image), [""]);
}

#[test]
fn large_arguments_fit_their_stack() {
    let machine = Machine::new().with("/a", &SmallElf::new().bytes());
    let long = "x".repeat(100_000);
    let program = machine.prepare("/a", &[long.as_str(); 18]).expect("a program");
    let image = machine.load(program).expect("it loads");
    assert_eq!(strings(&image).len(), 18);
    assert_eq!(machine.prepare("/a", &[long.as_str(); 30]).map(drop), Err(Errno::E2BIG));
}

#[test]
fn programs_of_the_host_are_loaded() {
    let Ok(content) = std::fs::read("/bin/true") else { return };
    let mut machine = Machine::new().with("/bin/true", &content);
    for path in ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-musl-x86_64.so.1"] {
        if let Ok(content) = std::fs::read(path) {
            machine = machine.with(path, &content);
        }
    }
    let image = machine.run("/bin/true").expect("it loads");
    assert_eq!(image.registers.rip >> 40, 0x7f);
    let entry = auxiliary(&image, AuxType::AT_ENTRY);
    let header = auxiliary(&image, AuxType::AT_PHDR) - 0x40;
    let offset = (entry - header) as usize;
    assert_eq!(bytes::<16>(&image, entry)[..], content[offset..offset + 16]);
}

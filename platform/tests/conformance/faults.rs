//! Promise 7, and processor exceptions.

use std::sync::Arc;

use bartizan_platform::memory::{HostFile, PAGE_SIZE};
use bartizan_platform::{Access, Capabilities, Exit, Fault, Mapping, Populate, Registers, Trap};

use crate::code;
use crate::environment::{Environment, READ_EXECUTE, READ_WRITE, run, run_to_call};

fn fault(address: u64, access: Access) -> Exit {
    Exit::Fault(Fault { address, access, bus_error: false })
}

pub fn reads_writes_and_fetches_of_absent_pages(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let absent = space.place(PAGE_SIZE);
    let exact = environment.platform.capabilities().contains(Capabilities::EXACT_ACCESS);
    let write = if exact { Access::WRITE } else { Access::READ };
    for (code, access) in
        [(code::load(), Access::READ), (code::store(), write), (code::jump(), Access::EXECUTE)]
    {
        let program = space.program(code);
        let mut registers = Registers { rdi: absent + 24, ..program };
        assert_eq!(run(&mut *context, &space, &mut registers), fault(absent + 24, access));
        let rip = if access == Access::EXECUTE { absent + 24 } else { program.rip };
        assert_eq!(registers.rip, rip, "the instruction is not executed");
    }
}

pub fn writes_to_read_only_pages(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    for access in [Access::READ, READ_EXECUTE] {
        let page = space.page(access);
        let mut registers = Registers { rdi: page.address + 8, rsi: 5, ..space.program(code::store()) };
        assert_eq!(run(&mut *context, &space, &mut registers), fault(page.address + 8, Access::WRITE));
        assert_eq!(run(&mut *context, &space, &mut registers), fault(page.address + 8, Access::WRITE));
        space.map(&page, READ_WRITE);
        run_to_call(&mut *context, &space, &mut registers);
    }
}

pub fn fetches_of_data_pages(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    for access in [Access::READ, READ_WRITE] {
        let page = space.page(access);
        let mut registers = Registers { rdi: page.address, ..space.program(code::jump()) };
        assert_eq!(run(&mut *context, &space, &mut registers), fault(page.address, Access::EXECUTE));
    }
    // An instruction that begins in a good page and ends in the next.
    let piece = space.piece(2 * PAGE_SIZE);
    space.map(&piece, READ_EXECUTE);
    space.space.protect(piece.address + PAGE_SIZE..piece.address + 2 * PAGE_SIZE, Access::READ).unwrap();
    space.put(
        &crate::environment::Piece { offset: piece.offset + PAGE_SIZE - 1, ..piece.clone() },
        &[0x0f, 0x05],
    );
    let start = piece.address + PAGE_SIZE - 1;
    let mut registers = Registers { rdi: start, ..space.program(code::jump()) };
    assert_eq!(run(&mut *context, &space, &mut registers), fault(start + 1, Access::EXECUTE));
}

pub fn a_write_to_its_own_instruction(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let mut registers = space.program(code::self_write());
    let start = registers.rip;
    let first = run(&mut *context, &space, &mut registers);
    // It may look like a fetch first, but a sentry that says "it is executable" gets to know.
    if first == fault(start, Access::EXECUTE) {
        assert_eq!(run(&mut *context, &space, &mut registers), fault(start, Access::WRITE));
    } else {
        assert_eq!(first, fault(start, Access::WRITE));
    }
    space.space.protect(start..start + PAGE_SIZE, READ_WRITE | Access::EXECUTE).unwrap();
    run_to_call(&mut *context, &space, &mut registers);
}

pub fn faults_repeat_after_mapping(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let piece = space.piece(PAGE_SIZE);
    space.put(&piece, &77_u64.to_le_bytes());
    let mut registers = Registers { rdi: piece.address, ..space.program(code::load()) };
    assert_eq!(run(&mut *context, &space, &mut registers), fault(piece.address, Access::READ));
    space.map(&piece, Access::READ);
    run_to_call(&mut *context, &space, &mut registers);
    assert_eq!(registers.rsi, 77);
    let mut registers = Registers { rdi: piece.address, rsi: 78, ..space.program(code::store()) };
    assert_eq!(run(&mut *context, &space, &mut registers), fault(piece.address, Access::WRITE));
    space.space.protect(piece.range(), READ_WRITE).unwrap();
    run_to_call(&mut *context, &space, &mut registers);
    assert_eq!(space.word(&piece), 78);
}

pub fn addresses_outside_are_faults(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let end = environment.platform.user_addresses().end;
    for address in [0, 8, 0xffff, end, end + 64, 0x7fff_ffff_fff8, 0xffff_8000_0000_0000, u64::MAX - 7] {
        for code in [code::load(), code::store()] {
            let mut registers = Registers { rdi: address, ..space.program(code) };
            match run(&mut *context, &space, &mut registers) {
                Exit::Fault(Fault { address: found, bus_error: false, .. }) => assert_eq!(found, address),
                // Where the platform has pages of its own, they may be read.
                Exit::Syscall => assert!(address >= end && address < 0x7fff_ffff_f000 && registers.rsi != 0),
                other => panic!("{address:#x}: {other:?}"),
            }
        }
        let mut registers = Registers { rdi: address, ..space.program(code::jump()) };
        let _any_exit_is_fine = run(&mut *context, &space, &mut registers);
    }
}

pub fn truncated_files_are_bus_errors(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let file = tempfile::tempfile().unwrap();
    file.set_len(2 * PAGE_SIZE).unwrap();
    let host = Arc::new(HostFile::new(file.try_clone().unwrap().into()).unwrap());
    let address = space.place(2 * PAGE_SIZE);
    let range = address..address + 2 * PAGE_SIZE;
    let mapping = Mapping { range, file: host, offset: 0, access: READ_WRITE, populate: Populate::Now };
    space.space.map(mapping).unwrap();
    let target = address + PAGE_SIZE + 16;
    let mut registers = Registers { rdi: target, ..space.program(code::load()) };
    run_to_call(&mut *context, &space, &mut registers);
    file.set_len(PAGE_SIZE).unwrap();
    let exit = run(&mut *context, &space, &mut registers);
    assert!(
        matches!(exit, Exit::Fault(Fault { address, bus_error: true, .. }) if address == target),
        "{exit:?}"
    );
    file.set_len(2 * PAGE_SIZE).unwrap();
    run_to_call(&mut *context, &space, &mut registers);
}

pub fn exceptions_are_traps(environment: &Environment) {
    const SI_KERNEL: i32 = 0x80;
    let space = environment.space();
    let mut context = environment.context();
    for (code, signal, code_expected, distance, executed) in [
        (code::invalid(), libc::SIGILL, 2, Some(0), 0),
        (code::breakpoint(), libc::SIGTRAP, SI_KERNEL, None, 1),
        (code::division(), libc::SIGFPE, 1, Some(9), 9),
        (code::privileged(), libc::SIGSEGV, SI_KERNEL, None, 0),
        (code::not_canonical(), libc::SIGSEGV, SI_KERNEL, None, 10),
    ] {
        let mut registers = space.program(code);
        let start = registers.rip;
        let address = distance.map_or(0, |distance| start + distance);
        let expected = Exit::Trap(Trap { signal, code: code_expected, address });
        assert_eq!(run(&mut *context, &space, &mut registers), expected);
        assert_eq!(registers.rip, start + executed);
    }
}

pub fn single_steps_are_traps(environment: &Environment) {
    const TRAP_TRACE: i32 = 2;
    let space = environment.space();
    let mut context = environment.context();
    let stack = space.page(READ_WRITE);
    let mut registers = Registers { rsp: stack.address + 64, ..space.program(code::single_step()) };
    for _ in 0..2 {
        let exit = run(&mut *context, &space, &mut registers);
        assert!(
            matches!(exit, Exit::Trap(Trap { signal: libc::SIGTRAP, code: TRAP_TRACE, .. }))
                || exit == Exit::Syscall,
            "{exit:?}"
        );
    }
    registers.eflags &= !0x100;
    registers.rip = space.program(code::system_calls()).rip;
    run_to_call(&mut *context, &space, &mut registers);
}

//! Promises 3, 4 and 9: registers, system calls, extended state.

use bartizan_platform::{Exit, FpuState, Registers, Trap};

use crate::code;
use crate::environment::{Environment, READ_WRITE, run, run_to_call, start_at};

const ENOSYS: u64 = (-libc::ENOSYS as i64) as u64;

fn general_protection() -> Exit {
    Exit::Trap(Trap { signal: libc::SIGSEGV, code: 0x80, address: 0 })
}

pub fn registers_go_in_and_out(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let program = space.program(code::increment());
    let mut registers = Registers {
        rax: 1,
        rbx: 2,
        rdx: 4,
        rsi: 5,
        rdi: 6,
        rbp: 7,
        rsp: 8,
        r8: 9,
        r9: 10,
        r10: 11,
        r12: 13,
        r13: 14,
        r14: u64::MAX,
        r15: 16,
        ..program
    };
    run_to_call(&mut *context, &space, &mut registers);
    assert_eq!((registers.rbx, registers.rdx, registers.rsi, registers.rdi), (3, 5, 6, 7));
    assert_eq!((registers.rbp, registers.rsp, registers.r8, registers.r9), (8, 9, 10, 11));
    assert_eq!((registers.r10, registers.r12, registers.r13), (12, 14, 15));
    assert_eq!((registers.r14, registers.r15, registers.orig_rax), (0, 17, 2));
}

pub fn a_system_call_stops_behind_its_instruction(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let mut registers = space.program(code::system_calls());
    let start = registers.rip;
    for number in [0, 39, 60, 231, 500, 0x4000_0001, u64::from(u32::MAX), u64::MAX] {
        registers.rax = number;
        run_to_call(&mut *context, &space, &mut registers);
        assert_eq!(registers.rip, start + 2);
        assert_eq!(registers.rax, ENOSYS);
        // The kernel has numbers of 32 bits.
        assert_eq!(registers.orig_rax as u32, number as u32);
        assert_eq!(registers.cs, 0x33);
    }
}

pub fn no_call_reaches_the_host(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let program = space.program(code::system_calls());
    // exit_group would end the stub, munmap would unmap the code, kill would hit the test.
    for (rax, rdi, rsi) in
        [(231, 0, 0), (60, 0, 0), (11, program.rip, 4096), (62, u64::from(std::process::id()), 9)]
    {
        let mut registers = Registers { rax, rdi, rsi, ..program };
        run_to_call(&mut *context, &space, &mut registers);
        run_to_call(&mut *context, &space, &mut registers);
    }
}

pub fn no_call_is_restarted(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let mut registers = space.program(code::system_calls());
    let spin = space.program(code::spin());
    for restart in 512..=516_i64 {
        registers.rax = 1;
        run_to_call(&mut *context, &space, &mut registers);
        registers.rax = -restart as u64;
        registers.rip = spin.rip;
        // With an interrupt on its way when it resumes.
        let interrupter = context.interrupter();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_millis(2));
                interrupter.interrupt();
            });
            assert_eq!(run(&mut *context, &space, &mut registers), Exit::Interrupted);
        });
        assert_eq!(registers.rax, -restart as u64);
        assert!((spin.rip..spin.rip + 5).contains(&registers.rip));
        registers.rip = space.program(code::system_calls()).rip;
    }
}

pub fn old_entries_are_no_system_calls(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let mut registers = space.program(code::interrupt_80());
    registers.rax = 20;
    let start = registers.rip;
    assert_eq!(run(&mut *context, &space, &mut registers), general_protection());
    assert_eq!((registers.rip, registers.rax), (start, 20));
    // 32-bit code through a far jump, at an address that it can have.
    let target = space.program(code::interrupt_80_only()).rip;
    let pointer = space.page(READ_WRITE);
    let mut far = (target as u32).to_le_bytes().to_vec();
    far.extend(0x23_u16.to_le_bytes());
    space.put(&pointer, &far);
    let mut registers = space.program(code::compatibility());
    registers.rdi = pointer.address;
    assert_eq!(run(&mut *context, &space, &mut registers), general_protection());
    assert_eq!(registers.cs, 0x23);
}

pub fn vsyscalls_are_system_calls(environment: &Environment) {
    if !std::fs::read_to_string("/proc/self/maps").unwrap().contains("[vsyscall]") {
        return;
    }
    let space = environment.space();
    let mut context = environment.context();
    let stack = space.page(READ_WRITE);
    let program = space.program(code::vsyscall());
    let mut registers = Registers { rsp: stack.address + 4096, ..program };
    run_to_call(&mut *context, &space, &mut registers);
    assert_eq!((registers.orig_rax, registers.rax), (201, ENOSYS));
    assert_eq!(registers.rsp, stack.address + 4096);
    // It has returned: the next instruction is the one behind the call.
    assert!(matches!(
        run(&mut *context, &space, &mut registers),
        Exit::Trap(Trap { signal: libc::SIGILL, .. })
    ));
}

pub fn strange_segments_are_survived(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let mut registers = space.program(code::segments());
    for _ in 0..3 {
        match run(&mut *context, &space, &mut registers) {
            Exit::Syscall => assert_eq!(registers.orig_rax as u32, 39),
            // Without FSGSBASE.
            Exit::Trap(Trap { signal: libc::SIGILL, .. }) => return,
            other => panic!("{other:?}"),
        }
        registers.rax = 39;
    }
    assert_eq!(registers.rbx, 0xffff_8000_0000_1000);
}

pub fn impossible_registers_trap(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let program = space.program(code::system_calls());
    for (cs, ss) in [(0, 0x2b), (0x10, 0x2b), (0x33, 0), (0x33, 0x18), (!3, 0x2b)] {
        let mut registers = Registers { cs, ss, ..program };
        assert_eq!(run(&mut *context, &space, &mut registers), general_protection());
    }
    // Selectors of user level that are none, and an instruction pointer that is not canonical: the processor refuses.
    for (cs, rip) in [(0x53, program.rip), (0x33, 0x8000_0000_0000_0000), (0x33, u64::MAX)] {
        let mut registers = Registers { cs, rip, ..program };
        let exit = run(&mut *context, &space, &mut registers);
        assert!(matches!(exit, Exit::Trap(Trap { signal: libc::SIGSEGV, .. }) | Exit::Fault(_)), "{exit:?}");
    }
    // All sorts of flags are as good as none.
    let mut registers = Registers { eflags: !0x100, ..program };
    run_to_call(&mut *context, &space, &mut registers);
    run_to_call(&mut *context, &space, &mut { program });
}

pub fn segment_bases_are_loaded(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let (first, second) = (space.page(READ_WRITE), space.page(READ_WRITE));
    space.put(&first, &7_u64.to_le_bytes());
    space.put(&second, &[0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
    let mut registers = space.program(code::through_segments());
    registers.fs_base = first.address;
    registers.gs_base = second.address;
    run_to_call(&mut *context, &space, &mut registers);
    assert_eq!((registers.rbx, registers.r12), (7, 9));
    assert_eq!((registers.fs_base, registers.gs_base), (first.address, second.address));
}

pub fn vector_state_belongs_to_the_context(environment: &Environment) {
    if !std::is_x86_feature_detected!("avx2") {
        return;
    }
    let space = environment.space();
    let (set, get) = (space.program(code::set_vector()), space.program(code::get_vector()));
    let mut first = environment.context();
    let mut second = environment.context();
    run_to_call(&mut *first, &space, &mut Registers { rsi: 1 << 40, ..set });
    run_to_call(&mut *second, &space, &mut Registers { rsi: 1 << 20, ..set });
    let state = first.save_fpu().unwrap();
    for (context, value) in [(&mut first, 1_u64 << 40), (&mut second, 1 << 20)] {
        let mut registers = get;
        run_to_call(&mut **context, &space, &mut registers);
        assert_eq!(registers.rbx, 3 * value);
    }
    second.load_fpu(&state).unwrap();
    let mut registers = get;
    run_to_call(&mut *second, &space, &mut registers);
    assert_eq!(registers.rbx, 3 << 40);
    assert_eq!(second.save_fpu().unwrap().area.len(), state.area.len());
    // A new context starts with the initial state.
    let mut registers = get;
    run_to_call(&mut *environment.context(), &space, &mut registers);
    assert_eq!(registers.rbx, 0);
}

pub fn hostile_vector_state_is_sanitised(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let program = space.program(code::system_calls());
    for length in [0, 1, 511, 512, 575, 576, 577, 832, 4096, 100_000] {
        for byte in [0, 0xff, 0x5a] {
            context.load_fpu(&FpuState { area: vec![byte; length].into() }).unwrap();
            run_to_call(&mut *context, &space, &mut { program });
            context.save_fpu().unwrap();
        }
    }
    run_to_call(&mut *context, &space, &mut start_at(program.rip));
}

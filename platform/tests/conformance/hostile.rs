//! Guests that do anything at all: the platform answers each switch, and goes on working.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bartizan_platform::memory::PAGE_SIZE;
use bartizan_platform::{Access, Context, Exit, PlatformError, Registers};

use crate::code;
use crate::environment::{Environment, READ_WRITE, Space, run_to_call, start_at};

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Calls `body` while another thread interrupts the context again and again.
fn with_interrupts(context: &mut dyn Context, body: impl FnOnce(&mut dyn Context)) {
    let interrupter = context.interrupter();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_micros(500));
                interrupter.interrupt();
            }
        });
        body(context);
        done.store(true, Ordering::Relaxed);
    });
}

/// The platform still does what it should.
fn check_health(environment: &Environment, space: &Space, context: &mut dyn Context) {
    // An interrupt may be left over.
    let mut registers = space.program(code::system_calls());
    let _interrupted = context.switch(&space.space, &mut registers).unwrap();
    run_to_call(context, space, &mut space.program(code::system_calls()));
    let other = environment.space();
    run_to_call(&mut *environment.context(), &other, &mut other.program(code::system_calls()));
}

/// Entries to the kernel, and instructions that few programs have.
const ODD_INSTRUCTIONS: [&[u8]; 22] = [
    &[0x0f, 0x34],                   // sysenter
    &[0x0f, 0x35],                   // sysexit
    &[0x0f, 0x07],                   // sysret
    &[0xcd, 0x80],                   // int 0x80
    &[0xcd, 0x03],                   // int 3, long form
    &[0xcd, 0x04],                   // int 4
    &[0xcd, 0x2e],                   // int 0x2e
    &[0xf1],                         // int1
    &[0xcf],                         // iret
    &[0xfa],                         // cli
    &[0xe4, 0x80],                   // in al, 0x80
    &[0x0f, 0x30],                   // wrmsr
    &[0x0f, 0x33],                   // rdpmc
    &[0x0f, 0x01, 0xef],             // wrpkru
    &[0x0f, 0x01, 0xd5],             // xend
    &[0xc7, 0xf8, 0, 0, 0, 0],       // xbegin
    &[0x0f, 0x01, 0xd1],             // xsetbv
    &[0x0f, 0x00, 0x00],             // sldt [rax]
    &[0x0f, 0x01, 0x0c, 0x24],       // sidt [rsp]
    &[0x48, 0x0f, 0xc7, 0x1c, 0x24], // xrstors64 [rsp]
    &[0xf2, 0x0f, 0xae, 0xf0],       // umwait eax
    &[0xca, 0x00, 0x00],             // far return
];

pub fn odd_instructions_are_survived(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let stack = space.page(READ_WRITE);
    for instruction in ODD_INSTRUCTIONS {
        let mut code = instruction.to_vec();
        code.extend(code::system_calls());
        let program = space.program(&code);
        // exit and exit_group of either kind of call, then addresses.
        for rax in [1, 60, 231, 252, stack.address, u64::MAX] {
            for rcx in [0, program.rip + instruction.len() as u64, u64::MAX] {
                let mut registers = Registers {
                    rax,
                    rcx,
                    r11: program.eflags,
                    rsp: stack.address + 2048,
                    rbp: stack.address + 1024,
                    ..program
                };
                for _ in 0..3 {
                    with_interrupt_soon(&mut *context, |context| {
                        context.switch(&space.space, &mut registers).unwrap();
                    });
                }
            }
        }
    }
    check_health(environment, &space, &mut *context);
}

/// Calls `body`, and interrupts the context when it takes long.
fn with_interrupt_soon(context: &mut dyn Context, body: impl FnOnce(&mut dyn Context)) {
    let interrupter = context.interrupter();
    let (done, waiting) = std::sync::mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if waiting.recv_timeout(Duration::from_millis(200)).is_err() {
                interrupter.interrupt();
            }
        });
        body(context);
        let _over = done.send(());
    });
}

pub fn random_code_is_survived(environment: &Environment) {
    const ROUNDS: usize = 4000;
    let space = environment.space();
    let mut context = environment.context();
    let page = space.piece(4 * PAGE_SIZE);
    space.map(&page, READ_WRITE | Access::EXECUTE);
    let mut random = Random(0x1234_5678_9abc_def1);
    with_interrupts(&mut *context, |context| {
        for round in 0..ROUNDS {
            let code: Vec<u8> = (0..512).flat_map(|_| random.next().to_le_bytes()).collect();
            space.put(&page, &code);
            let middle = page.address + 2 * PAGE_SIZE;
            let mut registers = Registers {
                rsp: middle,
                rbp: middle,
                rdi: middle,
                rsi: page.address + (round as u64 % 64),
                rbx: middle,
                rdx: random.next(),
                r8: random.next(),
                ..start_at(page.address)
            };
            for _ in 0..4 {
                context.switch(&space.space, &mut registers).unwrap();
            }
        }
    });
    check_health(environment, &space, &mut *context);
}

pub fn random_registers_are_survived(environment: &Environment) {
    const ROUNDS: usize = 4000;
    let space = environment.space();
    let mut context = environment.context();
    let program = space.program(code::increment());
    let mut random = Random(0xfeed_beef_0bad_f00d);
    with_interrupts(&mut *context, |context| {
        for round in 0..ROUNDS {
            let mut word = || match round % 3 {
                0 => random.next(),
                1 => random.next() >> 17,
                _ => random.next() & 0xff,
            };
            let mut registers = Registers {
                rax: word(),
                rbx: word(),
                rsp: word(),
                rip: word(),
                cs: word(),
                ss: word(),
                eflags: word(),
                fs_base: word(),
                gs_base: word(),
                ds: word(),
                es: word(),
                fs: word(),
                gs: word(),
                orig_rax: word(),
                ..program
            };
            if round % 2 == 0 {
                registers = Registers { rip: program.rip, cs: 0x33, ss: 0x2b, ..registers };
            }
            match context.switch(&space.space, &mut registers) {
                Ok(_) => {}
                Err(PlatformError::Died { what }) => panic!("{what} with {registers:x?}"),
                Err(error) => panic!("{error} with {registers:x?}"),
            }
        }
    });
    check_health(environment, &space, &mut *context);
}

/// The addresses behind the guest's that a program can have: some platforms have pages of their own there.
fn foreign_pages(environment: &Environment) -> impl Iterator<Item = u64> {
    const END: u64 = 0x7fff_ffff_f000;
    (environment.platform.user_addresses().end..END).step_by(PAGE_SIZE as usize)
}

/// Of the pages that belong to the platform, those that guest code can do `code` to.
fn reachable(environment: &Environment, program: fn() -> &'static [u8]) -> Vec<u64> {
    // Only the first megabytes: what comes behind is more of the same.
    const MOST: usize = 1024;
    let mut space = environment.space();
    let mut context = environment.context();
    let mut registers = space.program(program());
    let mut found = Vec::new();
    for address in foreign_pages(environment).take(MOST) {
        let mut registers_here = Registers { rdi: address, ..registers };
        match context.switch(&space.space, &mut registers_here) {
            Ok(Exit::Syscall) => found.push(address),
            Ok(_) => {}
            Err(error) => {
                assert_broken(&error);
                space = environment.space();
                registers = space.program(program());
            }
        }
    }
    found
}

/// A guest may end the process that it lives in, and nothing else.
#[track_caller]
pub fn assert_broken(error: &PlatformError) {
    assert!(matches!(error, PlatformError::GuestBroke { .. }), "{error}");
}

pub fn jumps_into_the_platforms_pages_are_survived(environment: &Environment) {
    const ROUNDS_A_BYTE: usize = 3;
    let mut random = Random(0x0123_4567_89ab_cdef);
    let mut space = environment.space();
    let mut context = environment.context();
    for page in reachable(environment, code::load).into_iter().take(2) {
        for address in page..page + PAGE_SIZE {
            for round in 0..ROUNDS_A_BYTE {
                let mut word = || match round {
                    0 => page | (random.next() & 0xf_ffff),
                    1 => random.next() & 0x1ff,
                    _ => random.next(),
                };
                let mut registers = Registers {
                    rax: if round == 1 { libc::SYS_rt_sigreturn as u64 } else { word() },
                    rbx: word(),
                    rcx: word(),
                    rdx: word(),
                    rsi: word(),
                    rdi: word(),
                    rbp: word(),
                    rsp: word(),
                    r12: word(),
                    r13: word(),
                    r14: word(),
                    r15: word(),
                    ..start_at(address)
                };
                for _ in 0..2 {
                    let mut result = Ok(Exit::Interrupted);
                    if address % 64 == 0 {
                        with_interrupt_soon(&mut *context, |context| {
                            result = context.switch(&space.space, &mut registers);
                        });
                    } else {
                        result = context.switch(&space.space, &mut registers);
                    }
                    if let Err(error) = result {
                        assert_broken(&error);
                        context.leave(&space.space);
                        space = environment.space();
                        break;
                    }
                }
            }
        }
    }
    let space = environment.space();
    check_health(environment, &space, &mut *context);
}

pub fn writes_to_the_platforms_pages_are_survived(environment: &Environment) {
    const ROUNDS: usize = 60;
    let writable = reachable(environment, code::store);
    let Some(first) = writable.first().copied() else { return };
    // The areas of threads lie together; what is between is not mapped, which the guest survives too.
    let length = (writable.last().unwrap() + PAGE_SIZE - first).next_power_of_two();
    let mut random = Random(0x0fed_cba9_8765_4321);
    for _ in 0..ROUNDS {
        let space = environment.space();
        let (seed, target) = (random.next() | 1, writable[random.next() as usize % writable.len()]);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let mut context = environment.context();
            let attacker = context.interrupter();
            let (space, stop) = (&space, &done);
            let victim = scope.spawn(move || {
                let mut context = environment.context();
                let mut registers = space.program(code::system_calls());
                for round in 0..300 {
                    // Answers, loaded registers and fetched registers by turns.
                    registers.rbx = round / 2;
                    registers.rax = if round % 3 == 0 { 60 } else { 39 };
                    let result = context.switch(&space.space, &mut registers).and_then(|exit| {
                        if exit == Exit::Syscall {
                            context.complete_registers(&mut registers)
                        } else {
                            Ok(())
                        }
                    });
                    if let Err(error) = result.and_then(|()| context.save_fpu().map(drop)) {
                        assert_broken(&error);
                        break;
                    }
                    registers = Registers { rip: registers.rip, ..registers };
                }
                stop.store(true, Ordering::SeqCst);
                attacker.interrupt();
            });
            let wide = seed & 2 == 0;
            let (rdi, rdx) = if wide { (first, (length - 1) & !7) } else { (target, PAGE_SIZE - 8) };
            let mut registers = Registers { rdi, rdx, rsi: seed, ..space.program(code::scribble()) };
            while !done.load(Ordering::SeqCst) {
                match context.switch(&space.space, &mut registers) {
                    // Behind the store, so that it goes on.
                    Ok(Exit::Fault(_)) => {
                        registers =
                            Registers { rdi, rdx, rsi: random.next() | 1, ..space.program(code::scribble()) }
                    }
                    Ok(_) => {}
                    Err(error) => {
                        assert_broken(&error);
                        break;
                    }
                }
            }
            victim.join().unwrap();
        });
    }
    let space = environment.space();
    let mut context = environment.context();
    check_health(environment, &space, &mut *context);
}

/// Where `bytes` are in the platform's first page that can be read.
fn find_in_foreign_page(environment: &Environment, bytes: &[u8]) -> Option<u64> {
    let page = reachable(environment, code::load).into_iter().next()?;
    let space = environment.space();
    let mut context = environment.context();
    let mut registers = space.program(code::load());
    let mut found = Vec::new();
    for address in (page..page + PAGE_SIZE).step_by(8) {
        registers.rdi = address;
        run_to_call(&mut *context, &space, &mut registers);
        found.extend(registers.rsi.to_le_bytes());
    }
    let offset = found.windows(bytes.len()).position(|window| window == bytes)?;
    Some(page + offset as u64)
}

pub fn a_guest_that_blocks_signals_is_ended(environment: &Environment) {
    // mov eax, SYS_rt_sigreturn; syscall
    let Some(sigreturn) = find_in_foreign_page(environment, &[0xb8, 15, 0, 0, 0, 0x0f, 0x05]) else { return };
    let space = environment.space();
    let spin = space.program(code::spin());
    // A `struct ucontext` with all signals blocked.
    let stack = space.page(READ_WRITE);
    let mut frame = [0_u64; 64];
    frame[0] = 6;
    frame[3] = 2;
    frame[5 + 16] = spin.rip;
    frame[5 + 17] = 0x202;
    frame[5 + 18] = 0x33 | 0x2b << 48;
    frame[37] = u64::MAX;
    let bytes: Vec<u8> = frame.into_iter().flat_map(u64::to_le_bytes).collect();
    space.put(&stack, &bytes);
    let mut context = environment.context();
    let mut registers = Registers { rsp: stack.address, ..start_at(sigreturn) };
    let mut result = Ok(Exit::Interrupted);
    with_interrupt_soon(&mut *context, |context| result = context.switch(&space.space, &mut registers));
    match result {
        Ok(Exit::Interrupted) => {}
        Ok(exit) => panic!("the guest stopped at {exit:?} with {registers:x?}"),
        Err(error) => assert_broken(&error),
    }
    context.leave(&space.space);
    check_health(environment, &environment.space(), &mut *context);
}

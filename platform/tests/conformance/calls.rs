//! Calls from sites that were patched: nobody can tell them from others but by their speed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bartizan_platform::memory::PAGE_SIZE;
use bartizan_platform::{Context, Exit, Registers};

use crate::code;
use crate::environment::{Environment, READ_EXECUTE, READ_WRITE, Space, run, start_at};
use crate::hostile::assert_broken;

/// The number of the first call of [`code::counted_calls`]; the second has number 0.
const NUMBER: u64 = 500;

/// Registers that start [`code::counted_calls`] with both of its sites patched; `None` where nothing is patched.
fn patched(environment: &Environment, space: &Space) -> Option<Registers> {
    let patcher = environment.platform.patcher()?;
    let text = code::counted_calls();
    let page = space.page(READ_EXECUTE);
    let trampolines = space.page(READ_EXECUTE);
    let mut bytes = text.to_vec();
    let mut code = Vec::new();
    let sites: Vec<usize> = (0..text.len() - 1).filter(|&at| text[at..at + 2] == [0x0f, 0x05]).collect();
    assert_eq!(sites.len(), 2, "the program makes two calls");
    for site in sites {
        let trampoline = trampolines.address + code.len() as u64;
        let patch = patcher.plan(&bytes, page.address, page.address + site as u64 + 2, trampoline);
        let patch = patch.unwrap_or_else(|| panic!("the site at {site} can be patched"));
        for change in patch.changes {
            let at = (change.address - page.address) as usize;
            bytes[at..at + change.bytes.len()].copy_from_slice(&change.bytes);
        }
        code.extend(patch.trampoline);
        code.resize(code.len().next_multiple_of(patcher.trampoline_size() as usize), 0xcc);
    }
    assert!(text.windows(2).enumerate().all(|(at, pair)| pair != [0x0f, 0x05] || bytes[at..at + 2] == *pair));
    space.put(&page, &bytes);
    space.put(&trampolines, &code);
    Some(Registers { rbx: 1, rbp: 2, r14: 3, r15: 4, ..start_at(page.address) })
}

/// Runs to the next call, whatever interrupts come.
fn next_call(context: &mut dyn Context, space: &Space, registers: &mut Registers) {
    loop {
        match context.switch(&space.space, registers).unwrap() {
            Exit::Syscall => return,
            Exit::Interrupted => {}
            exit => panic!("{exit:?}, {registers:x?}"),
        }
    }
}

/// Makes `rounds` rounds of both calls, and checks all that guest and sentry see of each other.
fn count_calls(context: &mut dyn Context, space: &Space, registers: &mut Registers, rounds: u64) {
    let mut rbx = registers.rbx;
    for round in 1..=rounds {
        next_call(context, space, registers);
        let seen = [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9];
        assert_eq!(seen, [round, round + 1, round + 2, round + 3, round + 4, round + 5]);
        assert_eq!(registers.orig_rax, NUMBER);
        if round % 1000 == 0 {
            registers.rax = 77;
            context.complete_registers(registers).unwrap();
            let Registers { rax, rbp, r12, r14, r15, .. } = *registers;
            assert_eq!((rax, rbp, r12, r14, r15), (77, 2, round, 3, 4));
            assert_eq!(registers.rbx, rbx);
            rbx += 1;
            registers.rbx = rbx;
        }
        registers.rax = 3 * round;
        next_call(context, space, registers);
        assert_eq!((registers.orig_rax, registers.rdi), (0, 3 * round));
        registers.rax = round.wrapping_neg();
    }
}

pub fn patched_calls_are_calls(environment: &Environment) {
    let space = environment.space();
    let Some(mut registers) = patched(environment, &space) else { return };
    let mut context = environment.context();
    count_calls(&mut *context, &space, &mut registers, 50_000);
}

pub fn interrupts_lose_no_patched_call(environment: &Environment) {
    let space = environment.space();
    let Some(mut registers) = patched(environment, &space) else { return };
    let mut context = environment.context();
    let interrupter = context.interrupter();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut pause = 1;
            while !done.load(Ordering::SeqCst) {
                interrupter.interrupt();
                pause = pause * 7 % 211;
                thread::sleep(Duration::from_micros(pause));
            }
        });
        count_calls(&mut *context, &space, &mut registers, 20_000);
        done.store(true, Ordering::SeqCst);
    });
}

pub fn contexts_with_one_base_do_not_mix_up(environment: &Environment) {
    let space = environment.space();
    let Some(registers) = patched(environment, &space) else { return };
    thread::scope(|scope| {
        for base in [0x7000, 0x7000, 0x10_7000, 0x9000] {
            let space = &space;
            scope.spawn(move || {
                let mut context = environment.context();
                let mut registers = Registers { fs_base: base, ..registers };
                count_calls(&mut *context, space, &mut registers, 2000);
            });
        }
    });
}

pub fn a_context_may_rest_in_a_patched_call(environment: &Environment) {
    let space = environment.space();
    let Some(start) = patched(environment, &space) else { return };
    for rounds in 1..40 {
        let mut context = environment.context();
        let mut registers = start;
        count_calls(&mut *context, &space, &mut registers, rounds * 3);
        // In the middle of a call, spinning or not.
        next_call(&mut *context, &space, &mut registers);
        context.leave(&space.space);
    }
}

pub fn slow_answers_are_answers(environment: &Environment) {
    let space = environment.space();
    let Some(mut registers) = patched(environment, &space) else { return };
    let mut context = environment.context();
    for round in 1..=300_u64 {
        for answer in [3 * round, round.wrapping_neg()] {
            next_call(&mut *context, &space, &mut registers);
            if round % 50 == 0 {
                thread::sleep(Duration::from_millis(2));
            }
            registers.rax = answer;
        }
    }
    assert_eq!(run(&mut *context, &space, &mut registers), Exit::Syscall);
    assert_eq!(registers.r12, 301);
}

pub fn writes_to_call_blocks_are_survived(environment: &Environment) {
    const AREAS: u64 = 0x7fff_c010_0000;
    for seed in 1..16_u64 {
        let space = environment.space();
        let Some(start) = patched(environment, &space) else { return };
        // The areas of the victim and of the attacker; their blocks are in the first page of each.
        let area = AREAS + (1 + seed % 2) * 0x1_0000;
        let (ready, done) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            let mut context = environment.context();
            let attacker = context.interrupter();
            let (space, ready, stop) = (&space, &ready, &done);
            scope.spawn(move || {
                let mut context = environment.context();
                let victim = context.interrupter();
                let mut registers = start;
                next_call(&mut *context, space, &mut registers);
                ready.store(true, Ordering::SeqCst);
                let watched = Arc::new(AtomicBool::new(true));
                let watching = Arc::clone(&watched);
                // A guest may make its own thread wait for ever, but not the sentry's.
                let watch = thread::spawn(move || {
                    while watching.load(Ordering::SeqCst) {
                        thread::sleep(Duration::from_millis(2));
                        victim.interrupt();
                    }
                });
                for round in 0..100_u64 {
                    match context.switch(&space.space, &mut registers) {
                        // Whatever it sees, it goes on.
                        Ok(Exit::Syscall) => registers.rax = round,
                        Ok(Exit::Interrupted) => {}
                        Ok(_) => registers = start,
                        Err(error) => {
                            assert_broken(&error);
                            break;
                        }
                    }
                }
                stop.store(true, Ordering::SeqCst);
                attacker.interrupt();
                watched.store(false, Ordering::SeqCst);
                watch.join().unwrap();
            });
            let stack = space.page(READ_WRITE);
            let first = Registers {
                rdi: area + if seed % 4 < 2 { 0x80 } else { 0 },
                rdx: if seed % 4 < 2 { 0x78 } else { PAGE_SIZE - 8 },
                rsp: stack.address + PAGE_SIZE,
                ..space.program(code::scribble())
            };
            let mut registers = Registers { rsi: seed * 0x9e37_79b9, ..first };
            while !ready.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            while !done.load(Ordering::SeqCst) {
                match context.switch(&space.space, &mut registers) {
                    Ok(Exit::Interrupted) => {}
                    Ok(_) => registers = Registers { rsi: registers.rsi | 1, ..first },
                    Err(error) => {
                        assert_broken(&error);
                        break;
                    }
                }
            }
        });
    }
}

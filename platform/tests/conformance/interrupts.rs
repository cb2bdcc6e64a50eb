//! Promise 8, and signals that have nothing to do with guests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use bartizan_platform::{Exit, Registers};

use crate::code;
use crate::environment::{Environment, run, run_to_call};
use crate::leftovers::children;

pub fn a_spinning_guest_is_interrupted(environment: &Environment) {
    const ROUNDS: u32 = 1000;
    let space = environment.space();
    let mut context = environment.context();
    let interrupter = context.interrupter();
    let seen = Arc::new(AtomicU32::new(0));
    let returned = Arc::clone(&seen);
    let interrupting = thread::spawn(move || {
        for round in 0..ROUNDS {
            interrupter.interrupt();
            // Lost interrupts would make this wait for ever.
            while returned.load(Ordering::Acquire) <= round {
                thread::yield_now();
            }
        }
    });
    let mut registers = space.program(code::spin());
    for _ in 0..ROUNDS {
        assert_eq!(run(&mut *context, &space, &mut registers), Exit::Interrupted);
        seen.fetch_add(1, Ordering::Release);
    }
    interrupting.join().unwrap();
    run_to_call(&mut *context, &space, &mut space.program(code::system_calls()));
}

pub fn an_early_interrupt_is_kept(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let mut registers = space.program(code::system_calls());
    let before = registers;
    context.interrupter().interrupt();
    context.interrupter().interrupt();
    assert_eq!(run(&mut *context, &space, &mut registers), Exit::Interrupted);
    assert_eq!(registers, before);
    run_to_call(&mut *context, &space, &mut registers);
    run_to_call(&mut *context, &space, &mut registers);
}

pub fn registers_are_complete_after_an_early_interrupt(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let start = Registers {
        rbx: 10,
        rbp: 20,
        rsp: 30,
        r12: 40,
        r13: 50,
        r14: 60,
        r15: 70,
        ..space.program(code::increment())
    };
    let mut registers = Registers { rax: 39, ..start };
    run_to_call(&mut *context, &space, &mut registers);
    registers.rax = 7;
    context.interrupter().interrupt();
    assert_eq!(run(&mut *context, &space, &mut registers), Exit::Interrupted);
    let Registers { rax, rbx, rbp, rsp, r12, r13, r14, r15, .. } = registers;
    assert_eq!([rax, rbx, rbp, rsp, r12, r13, r14, r15], [7, 11, 21, 31, 41, 51, 61, 71]);
    assert_eq!(registers.rip, start.rip + code::increment().len() as u64);
}

pub fn interrupts_do_not_change_registers(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let interrupter = context.interrupter();
    let mut registers = Registers { rcx: 3, rdx: 4, r11: 5, r15: 6, ..space.program(code::spin()) };
    let start = registers.rip;
    thread::scope(|scope| {
        let interrupting = scope.spawn(|| {
            for _ in 0..200 {
                thread::sleep(Duration::from_micros(100));
                interrupter.interrupt();
            }
        });
        let mut last = 0;
        while !interrupting.is_finished() {
            interrupter.interrupt();
            assert_eq!(run(&mut *context, &space, &mut registers), Exit::Interrupted);
            assert_eq!((registers.rcx, registers.rdx, registers.r11, registers.r15), (3, 4, 5, 6));
            assert!((start..start + 5).contains(&registers.rip));
            assert!(registers.rbx >= last);
            last = registers.rbx;
        }
    });
}

pub fn signals_from_outside_are_ignored(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let mut registers = space.program(code::spin());
    let interrupter = context.interrupter();
    interrupter.interrupt();
    assert_eq!(run(&mut *context, &space, &mut registers), Exit::Interrupted);
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(5));
            for child in children() {
                for signal in ["-HUP", "-INT", "-SEGV", "-BUS", "-ILL", "-URG", "-CHLD", "-STOP", "-CONT"] {
                    let _gone =
                        std::process::Command::new("/bin/kill").arg(signal).arg(child.to_string()).status();
                }
            }
            thread::sleep(Duration::from_millis(5));
            interrupter.interrupt();
        });
        assert_eq!(run(&mut *context, &space, &mut registers), Exit::Interrupted);
    });
    run_to_call(&mut *context, &space, &mut space.program(code::system_calls()));
}

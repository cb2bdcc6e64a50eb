//! How often guest code is left for what: what the host makes of it costs what it costs, but an operation must not take more exits than it needs.

use std::sync::Arc;

use bartizan_platform::memory::PAGE_SIZE;
use bartizan_platform::{Access, BackingFile, Exit, Fault, Mapping, Populate, Registers};

use crate::code;
use crate::environment::{Environment, READ_WRITE, run, run_to_call};

/// All exits so far.
fn all(environment: &Environment) -> u64 {
    environment.platform.exits().into_iter().map(|(_, count)| count).sum()
}

fn of(environment: &Environment, reason: &str) -> u64 {
    let exits = environment.platform.exits();
    exits.into_iter().find(|(name, _)| *name == reason).expect("it is counted").1
}

pub fn a_system_call_is_one_exit(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let mut registers = Registers { rax: 39, ..space.program(code::system_calls()) };
    run_to_call(&mut *context, &space, &mut registers);
    let (before, calls) = (all(environment), of(environment, "system calls"));
    for _ in 0..100 {
        run_to_call(&mut *context, &space, &mut registers);
    }
    assert_eq!(all(environment) - before, 100);
    assert_eq!(of(environment, "system calls") - calls, 100);
}

/// A fault that the sentry fills is one, and so is one that only the tables lacked; what is mapped around it costs no more.
pub fn a_populated_fault_is_one_exit(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let piece = space.piece(16 * PAGE_SIZE);
    let mut registers = Registers { rdi: piece.address, rsi: 7, ..space.program(code::store()) };
    let before = all(environment);
    let fault = Fault { address: piece.address, access: Access::WRITE, bus_error: false };
    assert_eq!(run(&mut *context, &space, &mut registers), Exit::Fault(fault));
    assert_eq!(all(environment) - before, 1);
    space.map(&piece, READ_WRITE);
    for page in 0..16 {
        registers.rdi = piece.address + page * PAGE_SIZE;
        run_to_call(&mut *context, &space, &mut registers);
    }
    assert_eq!(all(environment) - before, 1 + 16, "the fault, and a call for each page");
    // Too large to be put into the tables when it is mapped: one fault for each two megabytes.
    let large = space.piece(8 << 20);
    space.map(&large, READ_WRITE);
    let (before, faults) = (all(environment), of(environment, "page faults"));
    for page in 0..large.length / (64 << 10) {
        registers.rdi = large.address + page * (64 << 10);
        run_to_call(&mut *context, &space, &mut registers);
    }
    let faults = of(environment, "page faults") - faults;
    let pieces = (large.address + large.length).div_ceil(2 << 20) - large.address / (2 << 20);
    assert_eq!(faults, pieces);
    assert_eq!(all(environment) - before, faults + large.length / (64 << 10));
}

pub fn mapping_is_no_exit(environment: &Environment) {
    let space = environment.space();
    let mut context = environment.context();
    let mut registers = Registers { rax: 39, ..space.program(code::system_calls()) };
    run_to_call(&mut *context, &space, &mut registers);
    let piece = space.piece(64 * PAGE_SIZE);
    let before = all(environment);
    for populate in [Populate::Lazily, Populate::Now] {
        space
            .space
            .map(Mapping {
                range: piece.range(),
                file: Arc::clone(&space.memory) as Arc<dyn BackingFile>,
                offset: piece.offset,
                access: READ_WRITE,
                populate,
            })
            .unwrap();
        run_to_call(&mut *context, &space, &mut registers);
        space.space.protect(piece.range(), Access::READ).unwrap();
        run_to_call(&mut *context, &space, &mut registers);
        // What nobody has touched needs nobody to forget it.
        space.space.unmap(piece.range()).unwrap();
        space.space.flush(Some(&mut *context)).unwrap();
        run_to_call(&mut *context, &space, &mut registers);
    }
    assert_eq!(all(environment) - before, 6, "the calls alone");
}
